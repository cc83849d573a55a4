"""Goes from a dataset to what it was made of, and to what was made of it, through all runs.

What a run made is told by its plan: which quantum, of which task, with which inputs. What happened is told by
its journal: where, when, how often, and which of these inputs were really read. An input that another run
made leads into that run's plan. So nothing needs to be kept for provenance alone, and one dataset of
millions costs a few look-ups.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from executors.lineage.archive import Archive, Place
from executors.lineage.homes import Homes
from executors.lineage.values import (
    DatasetNode,
    FileState,
    InputUse,
    Provenance,
    QuantumNode,
    RunNode,
    Use,
)
from executors.outcome import Attempt, QuantumStatus
from graphbuilder.dag.neighbours import maker_of, readers_of, row_of
from graphbuilder.dag.parameters import ParameterColumn, parameter_values
from graphbuilder.dag.records import records_of
from graphbuilder.dag.values import QuantumRecord
from supertask.butler.port import AbstractButler
from supertask.datasets import Dataset
from supertask.errors import ExecutionError, did_you_mean
from supertask.rows import FileRecord

__all__ = ["LIMIT", "Tracer", "provenance", "run_lineage"]

LIMIT = 10_000
"""Quanta that are told of unless more are asked for."""


def provenance(
    butler: AbstractButler,
    dataset: Dataset | type[Dataset] | str,
    dataId: Mapping[str, Any] | None = None,
    /,
    *,
    up: int | None = 1,
    down: int | None = 0,
    collections: Sequence[str] | None = None,
    check: bool = False,
    logs: bool = False,
    limit: int = LIMIT,
    **units: Any,
) -> Provenance:
    """Return where a dataset came from, and what was made of it.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    dataset : Dataset or dataset type or str
        A handle; a type or its name with a data ID (what is unambiguous may be left out); the path of a
        dataset's file; or the beginning of an identity, eight hexadecimal digits at least.
    dataId : Mapping, optional
        Unit names and key values.
    up, down : int or None, optional
        How many quanta one after another to go up and down; None is all.
    collections : sequence of str, optional
        Where to look for the dataset, in order.
    check : bool, optional
        Whether to compare the files with the checksums that were registered.
    logs : bool, optional
        Whether to give what was logged.
    limit : int, optional
        Tell of so many quanta at most.
    **units
        Further unit values.

    Raises
    ------
    DatasetNotFoundError
        There is no such dataset, or there are several.
    DatasetTypeError
        Its type is not known.
    """
    tracer = Tracer(butler, check=check, logs=logs, limit=limit)
    homes = tracer.homes
    values = {**(dataId or {}), **units}
    name = dataset if isinstance(dataset, str) else dataset.name
    if isinstance(dataset, str) and os.sep in dataset:
        handle, record, run = homes.by_location(dataset)
    elif (
        isinstance(dataset, str) and not values and Homes.is_identity(name) and name not in homes.types(name)
    ):
        handle, record, run = homes.by_identity(name)
    else:
        given = {**(dataset.dataId if isinstance(dataset, Dataset) else {}), **values}
        whole = isinstance(dataset, Dataset) and not values
        handle = (
            dataset if isinstance(dataset, Dataset) and whole else homes.by_name(name, given, collections)
        )
        record, run = homes.find(handle, collections)
    return tracer.around(handle, record, run, up=up, down=down)


def run_lineage(
    butler: AbstractButler, run: str, *, check: bool = False, logs: bool = False, limit: int = LIMIT
) -> Provenance:
    """Return all quanta of a run, with what they read and made.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    run : str
        The RUN collection.
    check, logs, limit
        As for `provenance`.

    Raises
    ------
    ExecutionError
        There is no such run, or nothing was executed into it.
    """
    tracer = Tracer(butler, check=check, logs=logs, limit=limit)
    archive = tracer.archive(run)
    if not archive.exists:
        known = [r for r in tracer.homes.runs if tracer.archive(r).exists]
        raise ExecutionError(
            f"there is no run {run!r} that anything was executed into{did_you_mean(run, known)}; "
            f"there are {', '.join(known) or 'none'}"
        )
    return tracer.of_run(archive)


class Tracer:
    """Gathers a `Provenance`.

    Parameters
    ----------
    butler, check, logs, limit
        As for `provenance`.
    """

    def __init__(
        self, butler: AbstractButler, *, check: bool = False, logs: bool = False, limit: int = LIMIT
    ) -> None:
        self.homes = Homes(butler)
        self._check = check
        self._logs = logs
        self._limit = limit
        self._archives: dict[str, Archive] = {}
        self._places: dict[str, Place] = {}
        self._handles: dict[str, Dataset] = {}
        self._planned: dict[str, bytes] = {}
        """Key of a dataset → identity by which plans know it, which is not always that of the registry."""
        self.found = Provenance()

    def archive(self, run: str) -> Archive:
        """Return what a run left behind."""
        if run not in self._archives:
            self._archives[run] = Archive(self.homes.datastore.root, run)
        return self._archives[run]

    def handle(self, key: str) -> Dataset:
        """Return the dataset of a key."""
        return self._handles[key]

    def quantum(self, run: str, place: Place) -> QuantumNode:
        """Tell of one quantum of a run."""
        node = self._quantum(self.archive(run), place)
        self._finished()
        return node

    def around(
        self, dataset: Dataset, record: FileRecord, run: str, *, up: int | None, down: int | None
    ) -> Provenance:
        """Tell what is around a dataset."""
        root = self._dataset(dataset, record.identity, run, record.location, record=record)
        self.found.root = root
        if up is None or up > 0:
            self._go([root], up, self._up)
        else:
            self._make(root)
        self._go([root], down, self._down)
        return self._finished()

    def of_run(self, archive: Archive) -> Provenance:
        """Tell all of a run."""
        seen: set[bytes] = set()
        for file, plan in archive.plans:
            digests = np.asarray(plan.identities).tobytes()
            for q in range(plan.n_quanta):
                identity = digests[16 * q : 16 * q + 16]
                if identity in seen:
                    continue
                seen.add(identity)
                if not self._room():
                    return self._finished()
                self._quantum(archive, Place(plan, file, q))
        return self._finished()

    def _finished(self) -> Provenance:
        for run, archive in self._archives.items():
            if run:
                self.found.problems += [p for p in archive.problems if p not in self.found.problems]
        names = {d.run for d in self.found.datasets.values()} | {q.run for q in self.found.quanta.values()}
        for run in sorted(names - {""}):
            said = self.homes.butler.run_provenance(run) if run in self.homes.runs else {}
            self.found.runs[run] = RunNode.from_provenance(run, said)
        return self.found

    def _room(self) -> bool:
        if len(self.found.quanta) < self._limit:
            return True
        problem = f"there are more than {self._limit:,} quanta: the rest is left out"
        if problem not in self.found.problems:
            self.found.problems.append(problem)
        return False

    def _go(self, keys: list[str], depth: int | None, step: Any) -> None:
        """Go on from datasets level by level, each once."""
        seen: set[str] = set(keys)
        level = 0
        while keys and (depth is None or level < depth):
            following = dict.fromkeys(other for key in keys for other in step(key))
            keys = [key for key in following if key not in seen]
            seen.update(keys)
            level += 1

    # -- up -----------------------------------------------------------------------------------

    def _up(self, key: str) -> list[str]:
        """Tell of the quantum that made a dataset; return the keys of its inputs."""
        quantum = self._make(key)
        return [i.dataset for i in quantum.inputs] if quantum is not None else []

    def _make(self, key: str) -> QuantumNode | None:
        node = self.found.datasets[key]
        if node.maker:
            return self.found.quanta[node.maker]
        archive = self.archive(node.run)
        if not node.run or not archive.exists or not self._room():
            return None
        place = archive.maker(self._handles[key])
        return self._quantum(archive, place) if place is not None else None

    # -- down ---------------------------------------------------------------------------------

    def _down(self, key: str) -> list[str]:
        """Tell of the quanta that have a dataset among their inputs; return the keys of their outputs."""
        self._make(key)  # a plan knows what it makes by another identity than the registry, at times
        node, handle = self.found.datasets[key], self._handles[key]
        identities = {bytes.fromhex(node.identity), self._planned.get(key, b"")}
        made: list[str] = []
        for run in dict.fromkeys([node.run, *self.homes.runs]):
            archive = self.archive(run)
            if not run or not archive.exists:
                continue
            for place in archive.places(handle):
                dataset_type = place.plan.dataset_type(handle.name)
                rows = np.array([place.row], np.int64)
                if place.plan.dataset_identities(dataset_type, rows)[0].tobytes() not in identities:
                    continue
                for q in readers_of(place.plan, dataset_type, place.row):
                    if not self._room():
                        return made
                    made += self._quantum(archive, Place(place.plan, place.file, q)).outputs
        return made

    # -- nodes --------------------------------------------------------------------------------

    def _quantum(self, archive: Archive, place: Place) -> QuantumNode:
        """Tell of a quantum, its inputs and outputs."""
        plan, index = place.plan, place.row
        run = archive.folder.run
        node = plan.task_of(index)
        table = plan.quantum_tables[plan.tasks.index(node)]
        # Not plan.record: parameters are of classes that need not be there any more.
        plain = attrs.evolve(table, parameters=None)
        record = next(records_of(plan, node, plain, np.array([index], np.int64)))
        key = f"{run}#{record.identity.hex()}"
        if key in self.found.quanta:
            return self.found.quanta[key]
        attempts = archive.attempts(record.identity)
        ended = [a for a, _ in attempts]
        variant = node.variant(record.variant)
        outputs = self._outputs(record, run, key, ended, place)
        quantum = self.found.quanta[key] = QuantumNode(
            key=key,
            run=run,
            plan=str(place.file),
            index=index,
            label=node.label,
            dataId=dict(record.quantum.dataId or {}),
            identity=record.identity.hex(),
            class_path=variant.class_path,
            version=variant.version,
            source=node.source,
            variant=record.variant,
            config=variant.config,
            overrides=tuple(map(str, variant.overrides)),
            parameters=_parameters(table.parameters, index - node.first),
            inputs=tuple(self._inputs(archive, place, record, ended)),
            outputs=outputs,
            attempts=tuple(ended),
            logs=tuple(archive.log(a, f) for a, f in attempts) if self._logs else (),
        )
        return quantum

    def _outputs(
        self, record: QuantumRecord, run: str, maker: str, attempts: Sequence[Attempt], place: Place
    ) -> tuple[str, ...]:
        last = attempts[-1] if attempts else None
        written = {r.dataset: r for r in last.records} if last is not None else {}
        keys = []
        for datasets in record.quantum.outputs.values():
            for dataset in sorted(datasets):
                if last is not None and dataset not in written and last.status.finished:
                    continue  # left out, or never written
                note = written.get(dataset)
                planned = record.identities[dataset]
                identity = note.identity if note is not None else planned
                location = note.location if note is not None else self._location(dataset, run)
                key = self._dataset(dataset, identity, run, location, record=note, maker=maker)
                self._planned[key] = planned
                keys.append(key)
        return tuple(keys)

    def _location(self, dataset: Dataset, run: str) -> str:
        return self.homes.datastore.location_for(type(dataset), dataset.dataId, run)

    def _inputs(
        self, archive: Archive, place: Place, record: QuantumRecord, attempts: Sequence[Attempt]
    ) -> list[InputUse]:
        last = attempts[-1] if attempts else None
        unread = set(last.unread) if last is not None else set()
        short = set(last.short) if last is not None else set()
        run, uses = archive.folder.run, []
        for dataset_type, datasets in record.quantum.inputs.items():
            for dataset in sorted(datasets):
                identity = record.identities[dataset]
                location = record.locations.get(dataset, "")
                if location:
                    home = self.homes.run_of(dataset, identity, location)
                else:
                    home, location = run, self._location(dataset, run)
                key = self._dataset(dataset, identity, home, location)
                self._planned.setdefault(key, identity)
                if last is None:
                    use = Use.PLANNED
                elif identity in short:
                    use = Use.FAILED
                elif identity in unread:
                    use = Use.UNREAD
                elif self.found.datasets[key].state is FileState.GONE and self._never_made(
                    archive, place, dataset_type, dataset
                ):
                    use = Use.ABSENT
                else:
                    use = Use.READ
                uses.append(InputUse(key, use))
        return uses

    @staticmethod
    def _never_made(archive: Archive, place: Place, dataset_type: type[Dataset], dataset: Dataset) -> bool:
        """Tell whether whoever was to make an input of the same plan made none."""
        row = row_of(place.plan, dataset)
        maker = maker_of(place.plan, dataset_type, row) if row is not None else None
        if maker is None:
            return False
        attempts = archive.attempts(np.asarray(place.plan.identities[maker]).tobytes())
        if not attempts:
            return True
        last = attempts[-1][0]
        if last.status is not QuantumStatus.SUCCEEDED:
            return True
        return dataset not in {r.dataset for r in last.records} and dataset.name not in last.elided

    def _dataset(
        self,
        dataset: Dataset,
        identity: bytes,
        run: str,
        location: str,
        *,
        record: FileRecord | None = None,
        maker: str = "",
    ) -> str:
        """Tell of a dataset, or of what is newly known of it; return its key."""
        words = ",".join(f"{u}={v}" for u, v in dataset.dataId.items())
        key = f"{run}/{dataset.name}?{words}"
        known = self.found.datasets.get(key)
        self._handles[key] = dataset
        if known is not None:
            if maker and not known.maker:
                known = self.found.datasets[key] = attrs.evolve(known, maker=maker)
            if record is None or known.size >= 0:
                return key
        if self._check and (record is None or not record.checksum):
            record = self.homes.registered(dataset, run) or record
        kept = record or FileRecord(dataset, location, -1, "", identity)
        self.found.datasets[key] = DatasetNode(
            key=key,
            name=dataset.name,
            dataId=dict(dataset.dataId),
            identity=kept.identity.hex(),
            run=run,
            location=kept.location,
            path=self.homes.datastore.path(kept.location),
            size=kept.size,
            checksum=kept.checksum,
            state=self.homes.state(kept, check=self._check),
            maker=maker or (known.maker if known is not None else ""),
            storage=dataset.storage,
        )
        return key


def _parameters(column: Any, row: int) -> Any:
    if column is None:
        return None
    if isinstance(column, ParameterColumn):
        return column.plain(row)
    said = parameter_values(column[row])
    return None if said is None else said["values"]
