"""Callbacks on what is complete: a quantum, a task, a run. Each is delivered exactly once, also over resumes.

    callbacks = Callbacks()

    @callbacks.on_quantum("isr")
    def archive(completed): ...

    framework.execute(plan, butler, listeners=[callbacks])

What was delivered stands in ``callbacks.jsonl`` in the folder of the run, by the name of the callback. A
callback that returned (or raised, which is among the report's problems) is never called again for the
same completion, however often a driver is killed and the run resumed; what was complete and not told when
the driver ended is told by the next session, from the journal. One that was broken off by the death of
its process did not return: it is called again, with ``completed.again`` set, so that it can look for what
it did before.

A callback on quanta is called for each that ended for good, well or not; on a task or run when all of its
quanta have succeeded or found no work.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import numpy as np

from executors.events import Event, QuantumEnded, RunFinished, RunStarted
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder
from executors.outcome import Attempt, QuantumStatus
from supertask.errors import ConfigError, ExecutionError, did_you_mean

__all__ = ["Callbacks", "Completed"]

_log = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])
_FINAL = (QuantumStatus.SUCCEEDED, QuantumStatus.NO_WORK, QuantumStatus.FAILED)


@attrs.frozen(kw_only=True)
class Completed:
    """What is complete."""

    run: str
    label: str = ""
    """Of the task; empty for the run."""
    index: int = -1
    """Of the quantum in its plan; -1 for a task or run."""
    number: int = 0
    """Of the quantum's attempt."""
    status: QuantumStatus = QuantumStatus.SUCCEEDED
    key: str = ""
    """Tells this completion from all others of the run, for callbacks that keep books of their own."""
    again: bool = False
    """Whether the callback was called before, and broken off with its process."""


@attrs.frozen
class _Callback:
    name: str
    kind: str
    labels: tuple[str, ...]
    function: Callable[[Completed], Any]


class Callbacks:
    """A listener that calls back; to be given to ``execute`` as one of its listeners."""

    def __init__(self) -> None:
        self._callbacks: list[_Callback] = []
        self._books: _Books | None = None
        self._run = ""
        self._counts: dict[str, int] = {}
        self._left: dict[str, int] = {}
        self.raised: list[str] = []
        """What callbacks raised."""

    def on_quantum(self, *labels: str, name: str = "") -> Callable[[F], F]:
        """Return a decorator: call a function for each quantum that ended for good.

        Parameters
        ----------
        *labels : str
            Of these tasks only.
        name : str, optional
            By which the books know the callback; that of the function unless given.
        """
        return self._add("quantum", labels, name)

    def on_task(self, *labels: str, name: str = "") -> Callable[[F], F]:
        """Return a decorator: call a function when all quanta of a task have succeeded or found no work."""
        return self._add("task", labels, name)

    def on_run(self, *, name: str = "") -> Callable[[F], F]:
        """Return a decorator: call a function when all quanta of the run have succeeded or found no work."""
        return self._add("run", (), name)

    def _add(self, kind: str, labels: tuple[str, ...], name: str) -> Callable[[F], F]:
        def add(function: F) -> F:
            called = name or getattr(function, "__qualname__", "")
            if not called or any(c.name == called for c in self._callbacks):
                raise ConfigError(f"a callback needs a name that no other has, not {called!r}: give name=…")
            self._callbacks.append(_Callback(called, kind, labels, function))
            return function

        return add

    # -- events -------------------------------------------------------------------------------

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""
        if isinstance(event, RunStarted):
            self._begin(event)
        elif isinstance(event, QuantumEnded) and event.retry_in is None:
            attempt = event.attempt
            if attempt.status in _FINAL:
                self._quantum(attempt)
                if attempt.status.finished:
                    self._finish(attempt.label)
        elif isinstance(event, RunFinished) and self._books is not None:
            self._books.close()
            self._books = None
            if self.raised:
                raise ExecutionError("; ".join(self.raised))

    def _begin(self, event: RunStarted) -> None:
        for callback in self._callbacks:
            for label in callback.labels:
                if label not in event.counts:
                    raise ConfigError(
                        f"callback {callback.name!r} waits for task {label!r}, which the plan does not have"
                        f"{did_you_mean(label, event.counts)}"
                    )
        folder = RunFolder(event.root, event.run)
        self._run, self._counts = event.run, dict(event.counts)
        self._left = {label: n - event.finished.get(label, 0) for label, n in event.counts.items()}
        self.raised.clear()
        self._books = _Books(folder.path / "callbacks.jsonl")
        if sum(event.finished.values()) and any(c.kind == "quantum" for c in self._callbacks):
            found = replay(folder)
            done = [s.code for s in QuantumStatus if s.finished]
            for attempt in found.attempts(np.flatnonzero(np.isin(found.statuses, done)).tolist()):
                self._quantum(attempt)
        for label, left in self._left.items():
            if not left:
                self._task(label)
        self._complete()

    def _finish(self, label: str) -> None:
        self._left[label] -= 1
        if not self._left[label]:
            self._task(label)
            self._complete()

    def _quantum(self, a: Attempt) -> None:
        key = f"quantum {a.identity.hex()} {a.number}"
        told = Completed(
            run=self._run, label=a.label, index=a.index, number=a.number, status=a.status, key=key
        )
        self._deliver("quantum", told)

    def _task(self, label: str) -> None:
        n = self._counts[label]
        self._deliver("task", Completed(run=self._run, label=label, key=f"task {label} {n}"))

    def _complete(self) -> None:
        if not any(self._left.values()):
            self._deliver("run", Completed(run=self._run, key=f"run {sum(self._counts.values())}"))

    def _deliver(self, kind: str, completed: Completed) -> None:
        books = self._books
        assert books is not None  # noqa: S101 - open while a run goes on
        for callback in self._callbacks:
            if callback.kind != kind or (callback.labels and completed.label not in callback.labels):
                continue
            entry = (callback.name, completed.key)
            if entry in books.done:
                continue
            told = attrs.evolve(completed, again=entry in books.begun)
            books.begin(entry)
            try:
                callback.function(told)
            except Exception as error:  # noqa: BLE001 - whatever it does must not hurt the run
                said = f"callback {callback.name} ({completed.key}) raised {type(error).__name__}: {error}"
                self.raised.append(said)
                _log.warning(said, exc_info=error)
            books.end(entry)


class _Books:
    """What was delivered: two lines for each delivery, before and after it."""

    def __init__(self, path: Path) -> None:
        self.begun: set[tuple[str, str]] = set()
        self.done: set[tuple[str, str]] = set()
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            name, key, ended = json.loads(line)
            (self.done if ended else self.begun).add((name, key))
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            # The driver is alone here, and half a line is of one that died.
            os.ftruncate(self._fd, len(whole))
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise ExecutionError(
                f"what was called back cannot be written: {path}: {error.strerror}"
            ) from error

    def begin(self, entry: tuple[str, str]) -> None:
        self._write(entry, ended=False)
        self.begun.add(entry)

    def end(self, entry: tuple[str, str]) -> None:
        self._write(entry, ended=True)
        self.done.add(entry)

    def _write(self, entry: tuple[str, str], *, ended: bool) -> None:
        os.write(self._fd, json.dumps([*entry, ended]).encode() + b"\n")

    def close(self) -> None:
        os.close(self._fd)
