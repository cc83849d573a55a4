"""What surrounds each call of ``runQuantum``: its folder, tags, environment, progress, and restored state."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from executors.journal.runfolder import RunFolder
from graphbuilder.dag.values import QuantumRecord
from supertask.butler.port import DatasetSource
from supertask.datasets import Dataset
from supertask.quanta import Quantum
from supertask.tasks.calls import Call, opened_call
from supertask.tasks.initsteps import Restored, Step, init_steps
from supertask.tasks.supertask import SuperTask

__all__ = [
    "ProgressTold",
    "Surroundings",
    "SurroundingsSpec",
    "cache_folder",
    "environment_with",
    "quantum_folder",
]

ProgressTold = Callable[[int, float, str], object]
"""Takes the index of a quantum, the fraction of it that is done, and what is being done."""
_OFTEN = 0.2
"""Seconds between two tellings of one quantum's progress."""
_NOTHING: Mapping[str, Any] = {}


@attrs.frozen(kw_only=True)
class SurroundingsSpec:
    """What a process must know of the surroundings; plain values."""

    root: str
    """Folder of the repository."""
    run: str
    tags: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    """Task label → tags of run and task."""
    environ: Mapping[str, Sequence[Mapping[str, str]]] = attrs.field(factory=dict)
    """Task label → variables that submit hooks set, for each of its variants; only tasks that have any."""
    caches: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    """Task label → folders, below that of caches, of what it and its subtasks cache; only tasks that do."""
    job_folders: bool = False
    """Whether each job has a folder, see `executors.quanta.jobfolders`."""

    tokens: Mapping[str, int] = attrs.field(factory=dict)
    """How many there are, for who runs a job again; the schedule counts them."""
    token_folder: str = ""
    """Where they are shared with other runs."""

    def variables(self, label: str, variant: int) -> Mapping[str, str]:
        """Return the variables that submit hooks set for a task's variant."""
        return self.environ[label][variant] if label in self.environ else _NOTHING


def quantum_folder(root: str, run: str, label: str, identity: bytes) -> Path:
    """Return the folder of a quantum, whether it is there or not."""
    return RunFolder(root, run).path / "quanta" / label / identity.hex()


def cache_folder(root: str) -> Path:
    """Return the folder of what tasks cache, in a repository or in a job."""
    return Path(root) / ".supertask" / "cache"


class Surroundings:
    """Opens the surroundings of one call after another.

    Parameters
    ----------
    spec : SurroundingsSpec
        What they are.
    tell : callable, optional
        Takes what tasks say of their progress.
    """

    def __init__(self, spec: SurroundingsSpec, tell: ProgressTold | None = None) -> None:
        self._spec = spec
        self._tell = tell
        self._cache = cache_folder(spec.root)
        self._restored = Restored()

    def around(
        self, task: SuperTask, record: QuantumRecord, quantum: Quantum, butler: DatasetSource, number: int
    ) -> _Around:
        """Return the surroundings of one call, to be entered around it.

        Parameters
        ----------
        task : SuperTask
            Who is called.
        record : QuantumRecord
            The quantum as the plan has it.
        quantum : Quantum
            The quantum as it is run, which may have fewer inputs.
        butler : DatasetSource
            Where its datasets are.
        number : int
            Of the attempt.
        """
        spec, label = self._spec, record.label

        def folder() -> Path:
            made = quantum_folder(spec.root, spec.run, label, record.identity)
            made.mkdir(parents=True, exist_ok=True)
            return made

        call = Call(
            folder,
            self._teller(record.index),
            lambda: spec.tags.get(label, _NOTHING),
            self._cache,
            number=number,
        )
        variables = spec.variables(label, record.variant)
        restore = None
        if init_steps(task):

            def keep(step: Step, datasets: Sequence[Dataset], make: Callable[[], Any]) -> Any:
                known = record.identities
                key = (step.key, type(step.task), tuple((d.name, known.get(d)) for d in datasets))
                return self._restored.get(key, make) if all(d in known for d in datasets) else make()

            def restore() -> Mapping[str, Any]:
                return task.restoreState(quantum, butler, keep)

        return _Around(call, variables, restore)

    def _teller(self, index: int) -> Callable[[float, str], None]:
        told = self._tell
        if told is None:
            return _tell_nobody
        last: list[Any] = [0.0, ""]

        def tell(fraction: float, message: str) -> None:
            now = time.monotonic()
            if message != last[1] or fraction >= 1 or now - last[0] >= _OFTEN:
                last[:] = now, message
                told(index, fraction, message)

        return tell


def _tell_nobody(_: float, __: str) -> None:
    """Nobody listens."""


@contextmanager
def environment_with(variables: Mapping[str, str]) -> Iterator[None]:
    """Have variables set in the environment within the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Around:
    """The surroundings of one call."""

    def __init__(
        self,
        call: Call,
        variables: Mapping[str, str],
        restore: Callable[[], Mapping[str, Any]] | None,
    ) -> None:
        self._call = call
        self._opened = opened_call(call)
        self._environ = environment_with(variables) if variables else None
        self._restore = restore

    def __enter__(self) -> Self:
        self._opened.__enter__()
        try:
            if self._environ is not None:
                self._environ.__enter__()
            if self._restore is not None:
                self._call.restored = self._restore()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._environ is not None:
            self._environ.__exit__(None, None, None)
        self._opened.__exit__(None, None, None)
