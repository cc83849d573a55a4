"""Run one quantum of a task in one line, on a Butler in memory.

result = runQuantum(IsrTask(config), {"raw": frame, "bias": bias}, {"exposure": 7, "detector": 2})
assert result.image.data.mean() < 1
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from supertask.butler.memory import InMemoryButler
from supertask.butler.port import CollectionKind
from supertask.connections.fields import DatasetField, FieldRole
from supertask.dataids import DataId, Key
from supertask.datasets import Dataset
from supertask.errors import ConfigError, Problems, StorageError, did_you_mean
from supertask.formats.find import find_format
from supertask.quanta import Quantum
from supertask.tasks.metadata import collect_metadata
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask
from supertask.unitmodels import load_unit_model
from supertask.units import KeyKind, UnitModel

__all__ = ["runQuantum"]

_IN, _OUT = "inputs", "outputs"


def runQuantum(
    task: SuperTask | type[SuperTask],
    inputs: Mapping[str, Any],
    dataId: Mapping[str, Key] | None = None,
    *,
    outputs: Mapping[str, Iterable[Mapping[str, Key]]] | None = None,
    model: str | UnitModel = "imaging",
) -> Struct:
    """Run one quantum of a task on values given by field, and return what it wrote.

    Values go through the storage formats of their fields, so what cannot be written is refused.

    Parameters
    ----------
    task : SuperTask or type
        The task; of a class, with its default configuration.
    inputs : Mapping
        Input field → value. Where the field has several datasets: a sequence of values, or a
        mapping from data IDs (of as many units as tell them apart) to values.
    dataId : Mapping, optional
        Data ID of the quantum, and values of units that it implies; what is not given is made up.
    outputs : Mapping, optional
        Output field → data IDs, needed where a field has several datasets.
    model : str or UnitModel, optional
        Unit model; by name or itself.

    Returns
    -------
    Struct
        Output field → value; where the field has several datasets a dict from data IDs to values;
        None where the task left out what it may.

    Raises
    ------
    ConfigError
        Fields are named that the task does not have, or datasets do not fit them.
    NoWork
        The task found nothing to do.
    """
    if isinstance(task, type):
        task = task()
    world = _World(load_unit_model(model), task, dataId or {})
    butler = InMemoryButler(world.model, collections=(_OUT, _IN), run=_OUT)
    for run in (_IN, _OUT):
        butler.create_collection(run, CollectionKind.RUN)
    problems = Problems(f"inputs of task {task.full_name!r}")
    read = task.config.fields_of(FieldRole.INPUT, FieldRole.CALIBRATION)
    written = task.config.fields_of(FieldRole.OUTPUT)
    for name in inputs:
        if name not in read:
            problems.add(f"no input field {name!r}{did_you_mean(name, read)}; it has {', '.join(read)}")
    for name in outputs or {}:
        if name not in written:
            problems.add(
                f"no output field {name!r}{did_you_mean(name, written)}; it has {', '.join(written)}"
            )
    given = {name: world.inputs(read[name], inputs[name], problems) for name in read if name in inputs}
    made = {name: world.outputs(f, (outputs or {}).get(name), problems) for name, f in written.items()}
    problems.raise_if_any(ConfigError)
    for pairs in given.values():
        for dataset, value in pairs:
            world.insert(butler, dataset.dataId)
            butler.put(_through_file(value, dataset), dataset, run=_IN)
    for datasets in made.values():
        for dataset in datasets:
            world.insert(butler, dataset.dataId)
    quantum = Quantum(
        {read[name].dataset_type: [d for d, _ in pairs] for name, pairs in given.items()},
        {written[name].dataset_type: datasets for name, datasets in made.items()},
        label=task.name,
        dataId=world.dataId,
    )
    with collect_metadata():
        task.runQuantum(quantum, butler)
    return Struct(**{name: world.result(butler, written[name], made[name]) for name in written})


def _through_file(value: Any, dataset: Dataset) -> Any:
    """Return what is read back of a value that is written in the dataset's storage format."""
    storage = find_format(dataset.storage)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"value{storage.extension}")
        try:
            storage.write(value, path)
        except StorageError as error:
            raise StorageError(f"{dataset} cannot be written as {storage.name}: {error}") from error
        return storage.read(path, {})


class _World:
    """What is known of units around one quantum, and what is made up where nothing is known."""

    def __init__(self, model: UnitModel, task: SuperTask, dataId: Mapping[str, Key]) -> None:
        self.model = model
        units = model.closure(getattr(task.config, "quantum_units", ()) or tuple(dataId))
        self.determined = model.determined(units)
        self.values = {u: dataId.get(u, self._invent(u, 1)) for u in self.determined}
        self.dataId = model.standardize(units, {**dataId, **self.values}, what=f"task {task.full_name!r}")

    def _invent(self, unit: str, number: int) -> Key:
        kind = self.model.unit(unit).key
        if kind is KeyKind.INT:
            return number
        return f"{unit}{number}" if kind is KeyKind.STR else f"2026-01-{number:02d}"

    def is_several(self, field: DatasetField) -> bool:
        """Tell whether a field has several datasets in a quantum."""
        if field.multiple is not None:
            return field.multiple
        return not set(field.dataset_type.units) <= set(self.determined)

    def _complete(self, field: DatasetField, given: Mapping[str, Key]) -> Dataset:
        """Return the dataset of a field with some units given."""
        units = self.model.closure(field.dataset_type.units)
        values = {u: given[u] if u in given else self.values.get(u, self._invent(u, 1)) for u in units}
        return field.dataset_type(self.model.standardize(units, {**given, **values}, what=field.attribute))

    def inputs(self, field: DatasetField, value: Any, problems: Problems) -> list[tuple[Dataset, Any]]:
        """Return the datasets of an input field with their values."""
        if not self.is_several(field):
            return [] if value is None else [(self._complete(field, {}), value)]
        if isinstance(value, Mapping):
            ids: dict[Any, Any] = {getattr(key, "dataId", key): v for key, v in value.items()}
            return [(self._complete(field, key), v) for key, v in ids.items()]
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            problems.add(
                f"{field.attribute!r} has several datasets: give a sequence of values, or a mapping from "
                f"data IDs, got {type(value).__name__}"
            )
            return []
        leaves = self.model.leaves(field.dataset_type.units)
        open_ = [u for u in leaves if u not in self.determined] or list(leaves)
        return [
            (self._complete(field, {open_[0]: self._invent(open_[0], i + 1)}), v) for i, v in enumerate(value)
        ]

    def outputs(
        self, field: DatasetField, given: Iterable[Mapping[str, Key]] | None, problems: Problems
    ) -> list[Dataset]:
        """Return the datasets of an output field."""
        if given is not None:
            return [self._complete(field, d) for d in given]
        if not self.is_several(field):
            return [self._complete(field, {})]
        if field.minimum:
            name = field.attribute
            problems.add(f"{name!r} has several datasets: say which, outputs={{{name!r}: [data ID, …]}}")
        return []

    def insert(self, butler: InMemoryButler, dataId: DataId) -> None:
        """Make the units of a data ID known, and of the quantum's own all that follows from them."""
        own = all(self.values.get(u, v) == v for u, v in dataId.items())
        known = {**self.values, **dataId} if own else dict(dataId)
        for unit in self._in_order(known):
            spoken = self.model.closure((unit, *self.model.unit(unit).implies))
            butler.insert_units(unit, [{u: known[u] for u in spoken if u in known}])

    def _in_order(self, units: Iterable[str]) -> list[str]:
        """Return units so that each comes after its parents and what it implies."""
        done: list[str] = []

        def visit(unit: str) -> None:
            if unit not in done and unit in wanted:
                for other in self.model.unit(unit).parents + self.model.unit(unit).implies:
                    visit(other)
                done.append(unit)

        wanted = set(units)
        for unit in units:
            visit(unit)
        return done

    def result(self, butler: InMemoryButler, field: DatasetField, datasets: list[Dataset]) -> Any:
        """Return what was written of a field."""
        there = {d: _through_file(butler.get(d), d) for d in datasets if butler.exists(d)}
        if self.is_several(field) or len(datasets) > 1:
            return {d.dataId: v for d, v in there.items()}
        return next(iter(there.values()), None)
