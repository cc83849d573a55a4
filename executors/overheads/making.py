"""Overheads in a process that runs quanta: each object is made once for its key, and its making is timed.

The key of an object holds all that it may depend on, typed, so that no quantum ever gets what was made for
another case: class, version and method; the values of the fields, parameters and inputs (by identity) that
the method declares. What it does not declare it cannot read: while an object is made, the task's
configuration refuses other fields. A task that keeps a state of its own (attributes besides its
configuration), or declares no field as overhead, has its whole configuration in the key.

A method that fails, fails all quanta of a bundle that need it, with one reason and without being tried for
each. Time is measured at the methods, wall and CPU, without what overhead methods below them take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from typing import Any

import attrs

from executors.host.resources import own_cpu_ns
from executors.outcome import Making
from executors.overheads.shared import SharedObjects
from executors.overheads.store import Kept, OverheadStore, freeze, resident, size_of
from graphbuilder.dag.values import QuantumRecord
from supertask.butler.port import DatasetSource
from supertask.classpath import class_path
from supertask.configs.config import Config
from supertask.configs.identities import canonical, digest
from supertask.connections.fields import DatasetField, SuperTaskConfig
from supertask.errors import ExecutionError
from supertask.quanta import Quantum
from supertask.tasks.overheads import OverheadMethod, OverheadNames, declared_overhead
from supertask.tasks.supertask import SuperTask

__all__ = ["Overheads"]

_STATELESS = frozenset({"config", "full_name", "log", "name"})
_Times = tuple[int, int]


@attrs.define(eq=False)
class _Turn:
    """The quantum under way."""

    task: SuperTask
    record: QuantumRecord
    quantum: Quantum
    butler: DatasetSource
    makings: list[Making] = attrs.field(factory=list)
    uses: dict[int, None] = attrs.field(factory=dict)
    keys: set[bytes] = attrs.field(factory=set)
    read: dict[str, Any] = attrs.field(factory=dict)
    """Field → the very object that the quantum was handed for it."""


@attrs.define(eq=False)
class _Frame:
    """An object in the making."""

    method: OverheadMethod | None
    names: tuple[frozenset[str], frozenset[str], frozenset[str]]
    below_wall: int = 0
    below_cpu: int = 0
    needs: dict[int, None] = attrs.field(factory=dict)


@attrs.frozen(eq=False, kw_only=True)
class _Basis:
    """What is the same of an overhead method for all quanta of a task."""

    method: OverheadMethod
    names: tuple[frozenset[str], frozenset[str], frozenset[str]]
    config: tuple[str, ...]
    parameters: tuple[str, ...]
    fields: Mapping[str, DatasetField]
    """Overhead inputs by attribute."""
    inputs: tuple[DatasetField, ...]
    """Those that the method depends on."""
    whole: bool
    """Whether it depends on the whole configuration."""
    key: bytes
    """Of all objects that it makes; with parameters and inputs, of each."""


class Overheads:
    """Gives overhead methods what was made before; an `OverheadScope`.

    Parameters
    ----------
    store : OverheadStore
        Keeps objects.
    pause : callable, optional
        Gives a context manager within which the clock of the quantum's timeout stands still.
    machine : SharedObjects, optional
        What processes hold once, of methods that are ``shared``; unless given, this one has its own.
    """

    def __init__(
        self,
        store: OverheadStore,
        pause: Callable[[], AbstractContextManager[object]] = nullcontext,
        machine: SharedObjects | None = None,
    ) -> None:
        self.store = store
        self.machine = machine
        self._pause = pause
        self._turn: _Turn | None = None
        self._frames: list[_Frame] = []
        self._failed: dict[bytes, tuple[int, BaseException, Any]] = {}
        self._names: dict[int, tuple[SuperTask, OverheadNames]] = {}
        self._bases: dict[tuple[int, str, int], _Basis] = {}
        """Number of a task (which `_names` keeps), method, and how many attributes the task has."""
        self._serial = 0

    # -- turns --------------------------------------------------------------------------------

    @contextmanager
    def bundle(self) -> Iterator[None]:
        """Run a bundle, or other quanta that belong together, in the block."""
        self._failed.clear()
        try:
            yield
        finally:
            self._failed.clear()
            self.store.trim()

    def serial(self) -> int:
        """Return a number that no other making of this process has."""
        self._serial += 1
        return self._serial

    def are_all_alike(self, task: SuperTask) -> bool:
        """Tell whether all quanta of a task (that is, of one variant) share all overheads."""
        names = self._names_of(task)
        return not names.parameters and not names.inputs

    def alike(self, task: SuperTask, record: QuantumRecord) -> bytes:
        """Return what is equal for quanta of a task that share all overheads."""
        names, quantum = self._names_of(task), record.quantum
        parameters = task.parametersOf(quantum)
        inputs = sorted((t.name, sorted(quantum.inputs[t])) for t in quantum.inputs if t.name in names.inputs)
        return digest(
            canonical({name: getattr(parameters, name) for name in names.parameters}),
            *(record.identities[d] for _, datasets in inputs for d in datasets),
        )

    def begin(self, task: SuperTask, record: QuantumRecord, quantum: Quantum, butler: DatasetSource) -> None:
        """Turn to a quantum."""
        self._turn = _Turn(task, record, quantum, butler)
        self._frames.clear()

    def end(self) -> tuple[list[Making], list[int]]:
        """Return what was made for the quantum, and the serials of all that it used."""
        turn, self._turn = self._turn, None
        return ([], []) if turn is None else (turn.makings, list(turn.uses))

    # -- what tasks ask -----------------------------------------------------------------------

    def shares(self, task: SuperTask, field: DatasetField) -> bool:
        """Tell whether an input is read once for all quanta that have the same."""
        return not field.deferred and field.dataset_type.name in self._names_of(task).inputs

    def input(self, task: SuperTask, field: DatasetField, read: Callable[[], Any]) -> Any:
        """Return an overhead input of the quantum under way, read unless it was before."""
        turn = self._turn
        if turn is None or task is not turn.task:
            return read()
        if field.attribute not in turn.read:
            key = digest(b"overhead input", field.dataset_type.storage.encode(), self._identities(field))
            names = (frozenset[str](), frozenset[str](), frozenset({field.attribute}))
            turn.read[field.attribute] = self._get(
                key, _Frame(None, names), f"reading {field.attribute}", read
            )
        return turn.read[field.attribute]

    def made(self, task: Any, method: OverheadMethod, given: Mapping[str, Any]) -> Any:
        """Return what an overhead method makes for the quantum under way; see `OverheadScope`."""
        turn = self._turn
        if turn is None or not isinstance(task, SuperTask) or type(task) is not type(turn.task):
            return method.function(task, **given)
        task = turn.task
        basis = self._basis(task, method)
        frame = _Frame(method, basis.names)
        self._check_nested(frame)
        if not self._are_own(method, given, basis.fields):
            return self._make(frame, method.name, lambda: method.function(task, **given))[0]
        key = basis.key
        if basis.parameters or basis.inputs:
            key = digest(
                key,
                canonical({name: _parameter(turn, name) for name in basis.parameters}),
                *map(self._identities, basis.inputs),
            )

        def make() -> Any:
            maker = task if basis.whole else _bounded(task, basis.config, method)
            return method.function(maker, **self._own(method, basis.fields))

        machine = self.machine if method.shared else None
        if machine is None:
            return self._get(key, frame, method.name, make)
        who = f"overhead method {type(task).__name__}.{method.name}"
        return self._get(key, frame, method.name, lambda: machine.get(key, who, make))

    # -- making -------------------------------------------------------------------------------

    def _get(self, key: bytes, frame: _Frame, name: str, make: Callable[[], Any]) -> Any:
        turn = self._turn
        assert turn is not None  # noqa: S101 - asked by the caller
        failed = self._failed.get(key)
        if failed is not None:
            serial, error, trace = failed
            self._use((serial,))
            raise error.with_traceback(trace)
        kept = self.store.get(key)
        if kept is None:
            before = resident()
            try:
                value, serial = self._make(frame, name, make)
            except Exception as error:
                self._failed[key] = (turn.makings[-1].serial, error, error.__traceback__)
                raise
            size = max(size_of(value), resident() - before) if not _mapped(value) else 0
            kept = Kept(freeze(value), size, serial, frozenset(frame.needs))
            turn.keys.add(key)
            self.store.put(key, kept, in_use=turn.keys)
        turn.keys.add(key)
        self._use((kept.serial, *kept.needs))
        return kept.value

    def _use(self, serials: tuple[int, ...]) -> None:
        """Note that the quantum uses something, and so does what is being made."""
        assert self._turn is not None  # noqa: S101 - asked by the caller
        self._turn.uses |= dict.fromkeys(serials)
        if self._frames:
            self._frames[-1].needs |= dict.fromkeys(serials)

    def _make(self, frame: _Frame, name: str, make: Callable[[], Any]) -> tuple[Any, int]:
        """Make an object and note its time, whatever comes of it."""
        turn, serial = self._turn, self.serial()
        assert turn is not None  # noqa: S101 - asked by the caller
        self._frames.append(frame)
        wall, cpu = time.perf_counter_ns(), own_cpu_ns()
        try:
            with self._pause() if len(self._frames) == 1 else nullcontext():
                return make(), serial
        finally:
            wall, cpu = time.perf_counter_ns() - wall, own_cpu_ns() - cpu
            self._frames.pop()
            turn.makings.append(Making(serial, name, wall - frame.below_wall, cpu - frame.below_cpu))
            turn.uses[serial] = None
            if self._frames:
                self._frames[-1].below_wall += wall
                self._frames[-1].below_cpu += cpu

    def _check_nested(self, frame: _Frame) -> None:
        """Refuse an object made of another that depends on more than it says itself."""
        if not self._frames or self._frames[-1].method is None or frame.method is None:
            return
        outer = self._frames[-1]
        more = [
            n for mine, theirs in zip(frame.names, outer.names, strict=True) for n in sorted(mine - theirs)
        ]
        if more and outer.method is not None:
            raise ExecutionError(
                f"overhead method {outer.method.name!r} calls {frame.method.name!r}, which depends on "
                f"{', '.join(more)}, and does not say so: name that in its own @overhead(…), too"
            )

    # -- keys ---------------------------------------------------------------------------------

    def _basis(self, task: SuperTask, method: OverheadMethod) -> _Basis:
        state = len(vars(task))
        found = self._bases.get((id(task), method.name, state))
        if found is not None and found.method is method:
            return found
        names = self._names_of(task)
        config = names.config if method.config is None else method.config
        parameters = names.parameters if method.parameters is None else method.parameters
        fields = {f.attribute: f for f in _inputs(task) if f.dataset_type.name in names.inputs}
        inputs = tuple(fields) if method.inputs is None else method.inputs
        whole = not config or bool(set(vars(task)) - _STATELESS)
        key = digest(
            b"overhead",
            class_path(type(task)).encode(),
            type(task).version.encode(),
            method.function.__qualname__.encode(),
            canonical(task.config if whole else {path: _at(task.config, path) for path in config}),
        )
        found = self._bases[id(task), method.name, state] = _Basis(
            method=method,
            names=(frozenset(config), frozenset(parameters), frozenset(inputs)),
            config=config,
            parameters=parameters,
            fields=fields,
            inputs=tuple(fields[name] for name in sorted(inputs) if name in fields),
            whole=whole,
            key=key,
        )
        return found

    def _names_of(self, task: SuperTask) -> OverheadNames:
        found = self._names.get(id(task))
        if found is None:
            # The task is kept, so that no other gets its number.
            found = self._names[id(task)] = (task, declared_overhead(type(task), task.config))
        return found[1]

    def _identities(self, field: DatasetField) -> bytes:
        turn = self._turn
        assert turn is not None  # noqa: S101 - asked by the caller
        datasets = sorted(turn.quantum.inputs.get(field.dataset_type, ()))
        return digest(field.attribute.encode(), *(turn.record.identities[d] for d in datasets))

    def _are_own(
        self, method: OverheadMethod, given: Mapping[str, Any], fields: Mapping[str, DatasetField]
    ) -> bool:
        """Tell whether arguments are the quantum's own; what is made of others is shared with nobody."""
        turn = self._turn
        assert turn is not None  # noqa: S101 - asked by the caller
        for name, value in given.items():
            if name not in method.arguments:
                return False
            if name in fields:
                if name not in turn.read or turn.read[name] is not value:
                    return False
            elif canonical(value) != canonical(_parameter(turn, name)):
                return False
        return True

    def _own(self, method: OverheadMethod, fields: Mapping[str, DatasetField]) -> dict[str, Any]:
        """Return the arguments of a method, as the quantum under way has them."""
        turn = self._turn
        assert turn is not None  # noqa: S101 - asked by the caller
        return {
            name: turn.task.readInput(name, turn.quantum, turn.butler)
            if name in fields
            else _parameter(turn, name)
            for name in method.arguments
        }


def _inputs(task: SuperTask) -> list[DatasetField]:
    config = task.config
    if not isinstance(config, SuperTaskConfig):
        return []
    return [f for f in config.dataset_fields.values() if f.is_input]


def _parameter(turn: _Turn, name: str) -> Any:
    return getattr(turn.task.parametersOf(turn.quantum), name)


def _at(config: Any, path: str) -> Any:
    value = config
    for name in path.split("."):
        # A subtask's configuration is found through what was chosen for it.
        value = getattr(value if isinstance(value, Config) else getattr(value, "config", value), name)
    return value


def _mapped(value: Any) -> bool:
    return type(value).__name__ == "memmap"


def _bounded(task: SuperTask, allowed: tuple[str, ...], method: OverheadMethod) -> SuperTask:
    """Return the task with a configuration that gives what the method depends on, and nothing else."""
    bounded = copy(task)
    bounded.config = _Allowed(task.config, allowed, "", f"{type(task).__name__}.{method.name}")
    return bounded


class _Allowed:
    """A configuration as an overhead method may see it."""

    def __init__(self, config: Any, allowed: tuple[str, ...], prefix: str, who: str) -> None:
        self._config, self._allowed, self._prefix, self._who = config, allowed, prefix, who

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._config, name)
        field = getattr(self._config, "config_fields", {}).get(name)
        path = f"{self._prefix}{name}"
        if field is None or hasattr(field.kind, "template") or path in self._allowed:
            return value
        if any(each.startswith(f"{path}.") for each in self._allowed):
            return _Allowed(getattr(value, "config", value), self._allowed, f"{path}.", self._who)
        raise ExecutionError(
            f"overhead method {self._who} reads field {path!r} of the configuration, which it does not "
            f"say it depends on ({', '.join(self._allowed)}): declare it with overhead=True, or "
            "name it in @overhead(…)"
        )
