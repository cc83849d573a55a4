"""Metrics of a run in a text file, for the textfile collector of Prometheus' node exporter.

The file is in Prometheus' text format 0.0.4 and replaced as a whole, by renaming, at most once a second.
Counters are of one session of a run: they begin at zero when it is resumed, which Prometheus knows to handle.

===================================================  =======  ==================  =========================
metric                                               type     labels              meaning
===================================================  =======  ==================  =========================
``supertask_run_quanta``                             gauge    run, task           quanta of the plan
``supertask_run_finished_before``                    gauge    run, task           finished in earlier sessions
``supertask_run_running``                            gauge    run, task           attempts under way
``supertask_run_blocked``                            gauge    run, task           blocked by a failure
``supertask_attempts_total``                         counter  run, task, status   attempts that ended so
``supertask_attempt_wall_seconds_total``             counter  run, task           seconds that these took
``supertask_attempt_cpu_seconds_total``              counter  run, task           CPU seconds of these
``supertask_attempt_peak_memory_bytes``              gauge    run, task           most that one had resident
``supertask_attempt_read_bytes_total``               counter  run, task           bytes of inputs read
``supertask_attempt_written_bytes_total``            counter  run, task           bytes of outputs written
``supertask_datasets_registered_total``              counter  run                 outputs made visible
``supertask_run_started_time_seconds``               gauge    run                 when the session began
``supertask_run_updated_time_seconds``               gauge    run                 when this was written
``supertask_run_active``                             gauge    run                 1 while it goes on, else 0
``supertask_run_exit_code``                          gauge    run                 of a session that ended
===================================================  =======  ==================  =========================
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from executors.events import (
    Event,
    QuantaBlocked,
    QuantumEnded,
    QuantumStarted,
    Registered,
    RunFinished,
    RunStarted,
)
from executors.outcome import Attempt
from supertask.errors import ExecutionError

__all__ = ["MetricsFile"]

_SECONDS = 1.0
_GRACE = 5.0


@attrs.define
class _Task:
    """The numbers of one task."""

    quanta: int = 0
    before: int = 0
    running: int = 0
    blocked: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    read: int = 0
    written: int = 0
    attempts: dict[str, int] = attrs.field(factory=dict)
    """Status → attempts that ended so."""


_PER_TASK: tuple[tuple[str, str, str, Callable[[_Task], float]], ...] = (
    ("supertask_run_quanta", "gauge", "Quanta of the plan.", lambda t: t.quanta),
    ("supertask_run_finished_before", "gauge", "Quanta that earlier sessions finished.", lambda t: t.before),
    ("supertask_run_running", "gauge", "Attempts under way.", lambda t: t.running),
    ("supertask_run_blocked", "gauge", "Quanta blocked by a failure.", lambda t: t.blocked),
    ("supertask_attempt_wall_seconds_total", "counter", "Seconds that attempts took.", lambda t: t.wall),
    ("supertask_attempt_cpu_seconds_total", "counter", "CPU seconds of attempts.", lambda t: t.cpu),
    ("supertask_attempt_peak_memory_bytes", "gauge", "Most that one had resident.", lambda t: t.memory),
    ("supertask_attempt_read_bytes_total", "counter", "Bytes of inputs that were read.", lambda t: t.read),
    ("supertask_attempt_written_bytes_total", "counter", "Bytes of outputs.", lambda t: t.written),
)


class MetricsFile:
    """Keeps a metrics file up to date; to be entered around a run, and given to it as a listener.

    Parameters
    ----------
    path : path
        The file; the node exporter wants its name to end in ``.prom``.
    seconds : float, optional
        It is written at most so often.

    Raises
    ------
    ExecutionError
        Its folder is not there: a collector watches a folder that exists.

    Notes
    -----
    The file is written by a thread, so that a folder on a file system that hangs holds up nothing. What
    goes wrong in writing stands in `problem`; the run takes no notice of it.
    """

    inline = True

    def __init__(self, path: str | Path, seconds: float = _SECONDS) -> None:
        self._path = os.path.abspath(path)
        folder = os.path.dirname(self._path)
        if not os.path.isdir(folder):
            raise ExecutionError(
                f"metrics cannot be written to {path}: there is no folder {folder}; make it, and let "
                "node_exporter watch it with --collector.textfile.directory"
            )
        if os.path.isdir(self._path):
            raise ExecutionError(f"metrics cannot be written to {path}: it is a folder; name a file in it")
        if os.path.exists(self._path) and not os.path.isfile(self._path):
            raise ExecutionError(f"metrics cannot be written to {path}: it is a device or pipe; name a file")
        self.problem = ""
        """Why the file could not be written the last time."""
        self._seconds = seconds
        self._run = ""
        self._tasks: dict[str, _Task] = {}
        self._running: dict[int, str] = {}
        self._registered = 0
        self._began = 0.0
        self._exit_code: int | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._changed = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the last state, also of a run that was broken off, for some seconds at most."""
        if self._thread is not None:
            if self._exit_code is None:
                with self._lock:
                    self._running.clear()
                    for task in self._tasks.values():
                        task.running = 0
                    self._exit_code = 1
                    self._changed = True
            self._over.set()
            self._thread.join(_GRACE)
            self._thread = None

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""
        with self._lock:
            self._note(event)
            self._changed = True
        if self._thread is None and isinstance(event, RunStarted):
            self._over.clear()
            self._thread = threading.Thread(target=self._keep, name="supertask-metrics", daemon=True)
            self._thread.start()

    def _note(self, event: Event) -> None:
        if isinstance(event, QuantumStarted):
            self._running[event.index] = event.label
            self._tasks[event.label].running += 1
        elif isinstance(event, QuantumEnded):
            self._ended(event.attempt)
        elif isinstance(event, QuantaBlocked):
            for label, count in event.counts.items():
                self._tasks[label].blocked += count
        elif isinstance(event, Registered):
            self._registered += event.datasets
        elif isinstance(event, RunStarted):
            self._run, self._began, self._exit_code = event.run, time.time(), None
            self._running.clear()
            self._tasks = {
                label: _Task(quanta=count, before=event.finished.get(label, 0))
                for label, count in event.counts.items()
            }
        elif isinstance(event, RunFinished):
            self._exit_code = event.report.exit_code

    def _ended(self, attempt: Attempt) -> None:
        task = self._tasks[attempt.label]
        if self._running.pop(attempt.index, None) is not None:
            task.running -= 1
        status = attempt.status.value
        task.attempts[status] = task.attempts.get(status, 0) + 1
        task.wall += attempt.wall
        task.cpu += attempt.cpu
        task.memory = max(task.memory, attempt.peak_memory)
        task.read += attempt.bytes_read
        task.written += attempt.bytes_written

    # -- the file -----------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._over.is_set():
            self._write()
            self._over.wait(self._seconds)
        self._write()

    def _write(self) -> None:
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            text = self.text()
        temporary = f"{self._path}.{os.getpid()}.tmp"  # node_exporter reads only what ends in .prom
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, self._path)
            self.problem = ""
        except OSError as error:
            self.problem = f"metrics cannot be written to {self._path}: {error.strerror or error}"
            self._changed = True
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def text(self) -> str:
        """Return the metrics as they are now, in Prometheus' text format."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for name, kind, words, value in _PER_TASK:
            yield from _family(
                name, kind, words, ((self._labels(task=label), value(t)) for label, t in self._tasks.items())
            )
        yield from _family(
            "supertask_attempts_total",
            "counter",
            "Attempts that ended, by what came of them.",
            (
                (self._labels(task=label, status=status), count)
                for label, t in self._tasks.items()
                for status, count in t.attempts.items()
            ),
        )
        whole: list[tuple[str, str, str, float]] = [
            ("supertask_datasets_registered_total", "counter", "Outputs made visible.", self._registered),
            (
                "supertask_run_started_time_seconds",
                "gauge",
                "When the session began, Unix time.",
                self._began,
            ),
            ("supertask_run_updated_time_seconds", "gauge", "When this was written, Unix time.", time.time()),
            ("supertask_run_active", "gauge", "1 while the run goes on.", float(self._exit_code is None)),
        ]
        if self._exit_code is not None:
            whole.append(("supertask_run_exit_code", "gauge", "0 if everything succeeded.", self._exit_code))
        for name, kind, words, number in whole:
            yield from _family(name, kind, words, [(self._labels(), number)])

    def _labels(self, **labels: str) -> str:
        return ",".join(f'{name}="{_escaped(value)}"' for name, value in {"run": self._run, **labels}.items())


def _family(name: str, kind: str, words: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{{{labels}}} {float(value)!r}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
