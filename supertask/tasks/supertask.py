"""SuperTask: a task that says itself how its work divides, and how one piece of it is done.

Three levels of writing one: declare inputs, outputs and the quantum's units in the configuration and
write only `run`; or group with the RepoGraph in `defineQuanta`; or make every `Quantum` by hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import Any, ClassVar, cast

import attrs

from supertask.butler.port import DatasetSource
from supertask.configs.config import Config
from supertask.connections.fields import DatasetField, FieldRole, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import ExecutionError, PartialOutputs, Problems, did_you_mean
from supertask.quanta import Quantum
from supertask.tasks.bundles import Bundle
from supertask.tasks.calls import current_call
from supertask.tasks.initsteps import Step, init_steps
from supertask.tasks.overheads import QuantumScope, current_scope, overhead_methods, sharing
from supertask.tasks.quantumparameters import Parameters
from supertask.tasks.struct import Struct
from supertask.tasks.task import Task

__all__ = ["DatasetClasses", "SuperTask", "takes_bundles"]


@attrs.frozen
class DatasetClasses:
    """The dataset types of a task, each by the name of its field."""

    inputs: dict[str, type[Dataset]]
    """What quanta read, calibrations too."""
    outputs: dict[str, type[Dataset]]
    """What quanta write."""
    initInputs: dict[str, type[Dataset]]
    """What construction reads."""
    initOutputs: dict[str, type[Dataset]]
    """What is known once the task is constructed."""


class SuperTask(Task):
    """Base of all SuperTasks.

    Parameters
    ----------
    butler : DatasetSource, optional
        Where init inputs can be read: schemas and configurations of earlier tasks, nothing else.
        A subclass must accept it even if it has no use for it.
    **kwargs
        Arguments of `Task`.

    Examples
    --------
    >>> class Double(SuperTask):
    ...     ConfigClass = DoubleConfig  # declares an InputField `number` and an OutputField `twice`
    ...     _DefaultName = "double"
    ...
    ...     def run(self, number):
    ...         return Struct(twice=2 * number)
    """

    ConfigClass: ClassVar[type[Config]] = SuperTaskConfig
    ParametersClass: ClassVar[type[Parameters] | None] = None
    """Class of the parameters that each quantum has; None for quanta without."""

    def __init__(self, butler: DatasetSource | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def defineQuanta(self, repoGraph: Any) -> Sequence[Quantum]:
        """Divide the work, and add to `repoGraph` the datasets that will be made.

        Parameters
        ----------
        repoGraph : RepoGraph
            What the selected part of the repository holds and, after earlier tasks, will hold.

        Returns
        -------
        sequence of Quantum
            One for each combination of values of the configuration's `quantum_units` that has the
            inputs it needs, unless a subclass says otherwise.
        """
        from supertask.repograph.declared import define_declared

        return define_declared(repoGraph, self.config)

    def adjustQuanta(self, quanta: Any, repoGraph: Any) -> Any:
        """Look over all quanta of the task at once, to leave some out, or to trim or extend their inputs.

        Called by preflight after `defineQuanta`, however that is written.

        Parameters
        ----------
        quanta : GroupedQuanta
            The quanta, with `where`, `trim`, `extend`, `join` and columns of their values.
        repoGraph : RepoGraph
            What the repository holds and will hold.

        Returns
        -------
        GroupedQuanta
            These quanta, or fewer of them. What tells others from them is written down in the plan.
        """
        return quanta

    def runQuantum(self, quantum: Quantum, butler: DatasetSource) -> None:
        """Read the inputs of one quantum, call `run` with them by field name, and write what it returns.

        `run` gets for each field one object, or a list in the order of data IDs where the field has
        several datasets; None (or an empty list) where there is none and none is required. It gets
        `dataId` too if it has a parameter of that name, and what init steps restored.

        Parameters
        ----------
        quantum : Quantum
            The piece of work.
        butler : DatasetSource
            Where its datasets are.

        Raises
        ------
        ExecutionError
            Inputs do not fit the fields, or results are missing, unknown or of the wrong number.
        NoWork
            The task found nothing to do.
        PartialOutputs
            It made some outputs, which are written.
        """
        scope = current_scope()
        if scope is None and overhead_methods(cast("Any", type(self))):
            with sharing(QuantumScope(quantum, butler)):
                SuperTask.runQuantum(self, quantum, butler)
            return
        problems = Problems(f"task {self.full_name!r}, quantum {_say(quantum)}")
        units = _known_units(quantum, self.config, butler)
        arguments: dict[str, Any] = {}
        steps = init_steps(self) if isinstance(self.config, SuperTaskConfig) else {}
        kept_back = {name for step in steps.values() for name in step.reads} - _parameters(type(self).run)
        for name, field in self.config.fields_of(FieldRole.INPUT, FieldRole.CALIBRATION).items():
            if field.mark or name in kept_back or (field.overhead and not _takes(type(self).run, name)):
                continue  # an overhead may be for overhead methods alone, which read it where they must
            found = sorted(quantum.inputs.get(field.dataset_type, ()))
            read = partial(_read, field, found, butler, problems, units)
            shared = scope is not None and scope.shares(self, field)
            arguments[name] = scope.input(self, field, read) if scope is not None and shared else read()
        problems.raise_if_any(ExecutionError)
        if steps:
            restored = current_call().restored
            arguments |= restored if restored is not None else self.restoreState(quantum, butler)
        if "dataId" in _parameters(type(self).run):
            arguments["dataId"] = quantum.dataId
        if self.ParametersClass is not None and "parameters" in _parameters(type(self).run):
            arguments["parameters"] = self.parametersOf(quantum)
        part: PartialOutputs | None = None
        notes = [f for f in self.config.fields_of(FieldRole.OUTPUT).values() if f.metadata]
        try:
            with self.timer("run") if notes else nullcontext():
                results = self.run(**arguments)
        except PartialOutputs as some:
            part, results = some, some.results
        for value, dataset in self._matched(results, quantum, units, problems, whole=part is None):
            butler.put(value, dataset)
        for field in notes:
            for dataset in quantum.outputs.get(field.dataset_type, ()):
                butler.put(self.metadata.to_dict(), dataset)
        if part is not None:
            raise part

    def runBundle(self, bundle: Bundle, butler: DatasetSource) -> None:
        """Run quanta that share their overheads; to be overridden where the algorithm itself is vectorised.

        Unless overridden it runs `preExecute`, `execute` and `postExecute`.

        Parameters
        ----------
        bundle : Bundle
            The quanta: work on each in a block, ``with item: …``, so that one that fails fails alone.
        butler : DatasetSource
            Where all their datasets are.
        """
        with bundle.stage("pre_execute"):
            self.preExecute(bundle, butler)
        with bundle.stage("execute"):
            self.execute(bundle, butler)
        with bundle.stage("post_execute"):
            self.postExecute(bundle, butler)

    def preExecute(self, bundle: Bundle, butler: DatasetSource) -> None:
        """Do what comes before the quanta of a bundle; a quantum that fails here is not run further."""

    def execute(self, bundle: Bundle, butler: DatasetSource) -> None:
        """Run the quanta of a bundle: unless overridden, one after another by `runQuantum`."""
        for item in bundle:
            if not item.ended:
                with item:
                    self.runQuantum(item.quantum, item.butler)

    def postExecute(self, bundle: Bundle, butler: DatasetSource) -> None:
        """Do what comes after the quanta of a bundle; they have not ended until this has."""

    def parametersOf(self, quantum: Quantum) -> Any:
        """Return the parameters of a quantum; the defaults of `ParametersClass` where it carries none.

        Raises
        ------
        ExecutionError
            It carries those of another class.
        """
        cls, found = self.ParametersClass, quantum.parameters
        if cls is None or isinstance(found, cls):
            return found
        if found is None:
            return cls()
        raise ExecutionError(
            f"task {self.full_name!r}: parameters of a quantum are of class {cls.__name__}, "
            f"got {found!r} ({type(found).__name__})"
        )

    def readInput(self, name: str, quantum: Quantum, butler: DatasetSource) -> Any:
        """Read one of a quantum's inputs by the name of its field, as `run` would get it.

        Overhead inputs are read once for all quanta that have the same, where overheads are shared.

        Raises
        ------
        ExecutionError
            There is no such input, or there are too few datasets.
        """
        fields = self.config.fields_of(FieldRole.INPUT, FieldRole.CALIBRATION)
        if name not in fields:
            raise ExecutionError(f"task {self.full_name!r} has no input {name!r}{did_you_mean(name, fields)}")

        def read() -> Any:
            problems = Problems(f"task {self.full_name!r}, quantum {_say(quantum)}")
            units = _known_units(quantum, self.config, butler)
            found = sorted(quantum.inputs.get(fields[name].dataset_type, ()))
            value = _read(fields[name], found, butler, problems, units)
            problems.raise_if_any(ExecutionError)
            return value

        scope = current_scope()
        if scope is not None and scope.shares(self, fields[name]):
            return scope.input(self, fields[name], read)
        return read()

    def restoreState(
        self,
        quantum: Quantum,
        butler: DatasetSource,
        keep: Callable[[Step, Sequence[Dataset], Callable[[], Any]], Any] | None = None,
    ) -> dict[str, Any]:
        """Run the init steps of the task; see `supertask.tasks.initsteps`.

        Parameters
        ----------
        quantum : Quantum
            The piece of work.
        butler : DatasetSource
            Where its datasets are.
        keep : callable, optional
            Called with a step, the datasets that it restores from and what makes the object; gives this, or
            an equal one that was kept.

        Returns
        -------
        dict
            Field of each step → what it restored.
        """
        restored: dict[str, Any] = {}
        units = _known_units(quantum, self.config, butler)
        for name, step in init_steps(self).items():
            fields = {word: self.config.dataset_fields[word] for word in step.reads}
            found = {word: sorted(quantum.inputs.get(f.dataset_type, ())) for word, f in fields.items()}

            def make(
                step: Step = step,
                fields: Mapping[str, DatasetField] = fields,
                found: Mapping[str, list[Dataset]] = found,
            ) -> Any:
                problems = Problems(f"init step {step.task.full_name!r}, quantum {_say(quantum)}")
                read = {w: _read(f, found[w], butler, problems, units) for w, f in fields.items()}
                problems.raise_if_any(ExecutionError)
                return step.task.restore(**read)

            datasets = [d for some in found.values() for d in some]
            restored[name] = make() if keep is None else keep(step, datasets, make)
        return restored

    def _matched(
        self, results: Any, quantum: Quantum, units: frozenset[str], problems: Problems, *, whole: bool
    ) -> list[tuple[Any, Dataset]]:
        """Return what is to be written, or raise before anything is."""
        fields = {n: f for n, f in self.config.fields_of(FieldRole.OUTPUT).items() if not f.metadata}
        if isinstance(results, Struct):
            results = results.to_dict()
        needed = {n for n, f in fields.items() if whole and f.minimum and quantum.outputs.get(f.dataset_type)}
        if results is None and not needed:
            return []
        if not isinstance(results, Mapping):
            problems.add(
                f"run must return a Struct (or dict) of {', '.join(fields) or 'nothing'}, "
                f"got {type(results).__name__}"
            )
            problems.raise_if_any(ExecutionError)
        matched: list[tuple[Any, Dataset]] = []
        for name, field in fields.items():
            expected = sorted(quantum.outputs.get(field.dataset_type, ()))
            value = results.get(name)
            if not expected:
                continue
            if value is None:
                if name in needed:
                    problems.add(f"run returned no {name!r}{did_you_mean(name, results)}")
                continue
            several = len(expected) > 1 or _is_several(field, units)
            matched += _deal(field, value, expected, problems) if several else [(value, expected[0])]
        problems.raise_if_any(ExecutionError)
        return matched

    def getDatasetClasses(self) -> DatasetClasses:
        """Return the dataset types that the task reads and writes, by field."""
        if not isinstance(self.config, SuperTaskConfig):
            return DatasetClasses({}, {}, {}, {})

        def of(*roles: FieldRole) -> dict[str, type[Dataset]]:
            return {name: f.dataset_type for name, f in self.config.fields_of(*roles).items()}

        return DatasetClasses(
            of(FieldRole.INPUT, FieldRole.CALIBRATION),
            of(FieldRole.OUTPUT),
            of(FieldRole.INIT_INPUT),
            of(FieldRole.INIT_OUTPUT),
        )

    def getDatasetSchemas(self) -> dict[type[Dataset], Any]:
        """Return dataset type → object for each init output: what is known once the task is made.

        A task with `InitOutputField` overrides this.
        """
        return {}


def takes_bundles(task: SuperTask) -> bool:
    """Tell whether a task has a method of its own that works on a bundle."""
    hooks = ("runBundle", "preExecute", "execute", "postExecute")
    return any(getattr(type(task), name) is not getattr(SuperTask, name) for name in hooks)


def _say(quantum: Quantum) -> str:
    return str(quantum.dataId) if quantum.dataId is not None else repr(quantum)


def _known_units(quantum: Quantum, config: SuperTaskConfig, butler: DatasetSource) -> frozenset[str]:
    """Return the units whose values follow from the quantum."""
    units = set(config.quantum_units) | set(quantum.dataId or ())
    model = butler.model
    if model is None:
        return frozenset(units)
    return frozenset(model.determined([u for u in units if u in model]))


def _is_several(field: DatasetField, units: frozenset[str]) -> bool:
    """Tell whether a field has several datasets: as declared, else if units leave open which one."""
    return field.multiple if field.multiple is not None else not set(field.dataset_type.units) <= units


def _read(
    field: DatasetField,
    datasets: list[Dataset],
    butler: DatasetSource,
    problems: Problems,
    units: frozenset[str],
) -> Any:
    several = _is_several(field, units)
    if not several and len(datasets) > 1:
        problems.add(
            f"input {field.attribute!r} is a single dataset, but there are {len(datasets)} of "
            f"{field.dataset_type.name!r}; declare it with multiple=True to get a list"
        )
        return None
    there = [d for d in datasets if butler.exists(d)] if several or not field.minimum else datasets
    if len(there) < field.minimum:
        missing = ", ".join(map(repr, [d for d in datasets if d not in there][:3])) or "none is planned"
        problems.add(
            f"input {field.attribute!r} needs at least {field.minimum} {field.dataset_type.name!r}, "
            f"there are {len(there)} ({missing})"
        )
        return None
    values = [butler.get_deferred(d) if field.deferred else butler.get(d) for d in there]
    if several:
        return values
    return values[0] if values else None


@lru_cache(maxsize=1024)
def _parameters(run: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(run).parameters)


def _takes(run: Callable[..., Any], name: str) -> bool:
    """Tell whether a function has an argument of some name, or takes any."""
    return name in _parameters(run) or any(
        p.kind is p.VAR_KEYWORD for p in inspect.signature(run).parameters.values()
    )


def _deal(
    field: DatasetField, value: Any, expected: list[Dataset], problems: Problems
) -> list[tuple[Any, Dataset]]:
    """Return the datasets of an output field that has several, with the value of each."""
    name, kind = field.attribute, field.dataset_type.name
    if isinstance(value, Mapping):
        by_id = {getattr(key, "dataId", key): v for key, v in value.items()}
        known = {d.dataId: d for d in expected}
        for key in by_id:
            if key not in known:
                problems.add(f"run returned {name!r} for {key}, which is not among the quantum's {kind!r}")
        missing = [d for d in expected if d.dataId not in by_id]
        if missing and len(expected) - len(missing) < field.minimum:
            problems.add(f"run returned no {name!r} for {', '.join(map(repr, missing[:3]))}")
        return [(by_id[d.dataId], d) for d in expected if d.dataId in by_id]
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        values = list(value)
        if len(values) == len(expected):
            return list(zip(values, expected, strict=True))
        problems.add(
            f"run returned {len(values)} values for {name!r}, the quantum has {len(expected)} {kind!r}: "
            "return one for each, in the order of data IDs, or a dict by data ID"
        )
        return []
    problems.add(
        f"{name!r} stands for {len(expected)} {kind!r}: run must return a dict by data ID or a sequence, "
        f"got {type(value).__name__}"
    )
    return []
