"""What came of a run: counts, failures, times, and the exit code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from executors.journal.journal import Header
from executors.journal.replay import Begun, Replay, replay
from executors.journal.runfolder import RunFolder, is_held
from executors.outcome import Attempt, QuantumStatus
from supertask.configs.policy import FailureClass
from supertask.errors import ExecutionError

__all__ = ["FailureGroup", "Report", "Tally", "TaskReport", "status"]

_SHOWN = 20
_GROUPS = 1000
_VARIES = re.compile(r"\{[^{}]*\}|0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?|(?:/[^\s/'\"]+)+/?")
"""What differs between messages that say the same: data IDs, addresses, numbers, paths."""


@attrs.frozen
class FailureGroup:
    """Quanta of one task that failed alike: the same exception, the same words in the message."""

    label: str
    exception: str
    message: str
    """Of the first."""
    count: int
    indices: tuple[int, ...]
    """Of the first quanta, twenty at most."""
    dataIds: tuple[dict[str, Any], ...]
    """Of the same."""
    traceback: str
    """Of the first."""
    kind: str = FailureClass.ERROR.value
    """What class of failure it is."""
    attempts: int = 1
    """How often the one of them was tried that was tried most."""


@attrs.frozen
class CaveatGroup:
    """Quanta of one task that ended well, with the same caveat."""

    label: str
    caveat: str
    """Of the first."""
    count: int
    indices: tuple[int, ...]
    """Of the first quanta, twenty at most."""


@attrs.frozen
class TaskReport:
    """What came of one task's quanta, and what those that ended in this session used."""

    label: str
    planned: int
    """How many quanta the plan has."""
    counts: dict[QuantumStatus, int]
    """How many stand where; statuses that none has are left out."""
    ended: int = 0
    """How many attempts the figures below are of."""
    retried: int = 0
    """How many of them failed and were followed by another."""
    wall: float = 0.0
    """Seconds."""
    cpu: float = 0.0
    """Seconds."""
    peak_memory: int = 0
    """Bytes: the most that one used."""
    bytes_read: int = 0
    bytes_written: int = 0


@attrs.frozen
class Report:
    """What came of a run, or how it stands."""

    run: str
    tasks: tuple[TaskReport, ...]
    failures: tuple[FailureGroup, ...] = ()
    problems: tuple[str, ...] = ()
    """What went wrong beside quanta: outputs that could not be registered, listeners that raised, damage
    found in the journal."""
    interrupted: bool = False
    """Whether it was stopped before its end."""
    wall: float = 0.0
    """Seconds that this session took."""
    cpu: float = 0.0
    """Seconds of this session, driver and workers."""
    registered: int = 0
    """Datasets that became visible in the repository in this session."""
    unregistered: int = 0
    """Quanta whose outputs are whole and could not be registered; running again tries again."""
    finished_before: int = 0
    """Quanta that earlier sessions finished."""
    running: tuple[Begun, ...] = ()
    """Attempts under way; of a report made while the run goes on."""
    active: bool = False
    """Whether a driver works on the run."""
    stopped: str = ""
    """Which failures were too many, where it was stopped for that."""
    caveats: tuple[CaveatGroup, ...] = ()
    """What is to be known of outputs that were made."""
    plan_file: str = ""
    """Where the plan is, if it is in a file."""
    tags: Mapping[str, Any] = attrs.field(factory=dict)
    """Of the run."""
    progress: Mapping[int, tuple[float, str]] = attrs.field(factory=dict)
    """Quantum that runs → how far it says to be (0 to 1), and what it does."""

    @property
    def counts(self) -> dict[QuantumStatus, int]:
        """How many quanta stand where, over all tasks."""
        total = dict.fromkeys(QuantumStatus, 0)
        for task in self.tasks:
            for each, count in task.counts.items():
                total[each] += count
        return {s: n for s, n in total.items() if n}

    @property
    def n_quanta(self) -> int:
        """How many quanta the plan has."""
        return sum(task.planned for task in self.tasks)

    @property
    def exit_code(self) -> int:
        """0 if every quantum succeeded (or found no work) and its outputs are registered, else 1."""
        done = sum(n for s, n in self.counts.items() if s.finished)
        return 0 if done == self.n_quanta and not self.unregistered else 1

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return {
            "run": self.run,
            "tags": dict(self.tags),
            "exit_code": self.exit_code,
            "active": self.active,
            "interrupted": self.interrupted,
            "quanta": self.n_quanta,
            "counts": _words(self.counts),
            "finished_before": self.finished_before,
            "wall": round(self.wall, 3),
            "cpu": round(self.cpu, 3),
            "registered": self.registered,
            "unregistered": self.unregistered,
            "tasks": [{**attrs.asdict(t, recurse=False), "counts": _words(t.counts)} for t in self.tasks],
            "stopped": self.stopped,
            "caveats": [attrs.asdict(c) for c in self.caveats],
            "failures": [attrs.asdict(f) for f in self.failures],
            "running": [
                {
                    "index": b.index,
                    "label": label_of(b.header, b.index),
                    "attempt": b.number,
                    "progress": self.progress.get(b.index),
                    "since": b.time,
                    "host": b.header.host,
                    "pid": b.header.pid,
                }
                for b in self.running
            ],
            "problems": list(self.problems),
        }

    def __str__(self) -> str:
        words = ", ".join(f"{n:,} {word}" for word, n in _words(self.counts).items())
        lines = [f"run {self.run!r}: {self.n_quanta:,} quanta: {words or 'none'}"]
        lines += [f"  {f.label}: {f.count:,} × {f.exception}: {f.message}" for f in self.failures]
        lines += [f"  {problem}" for problem in self.problems]
        return "\n".join(lines)


def _words(counts: Mapping[QuantumStatus, int]) -> dict[str, int]:
    return {s.value: n for s, n in counts.items()}


def label_of(header: Header, index: int) -> str:
    """Return the label of the task that a quantum belongs to."""
    return next((t for t, first, n in header.tasks if first <= index < first + n), "")


@attrs.define
class _Sums:
    ended: int = 0
    retried: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    peak_memory: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


class Tally:
    """Adds up attempts as they end: a million leave nothing behind but sums and a few failures."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sums] = {}
        self._groups: dict[tuple[str, str, str], list[Any]] = {}
        self._caveats: dict[tuple[str, str], list[Any]] = {}

    def add(self, attempt: Attempt, *, final: bool = True, times: int = 1) -> None:
        """Add one that ended, or many that came to the same; `final` unless it failed and is tried again."""
        sums = self._sums.get(attempt.label)
        if sums is None:
            sums = self._sums[attempt.label] = _Sums()
        sums.ended += times
        sums.wall += times * attempt.wall
        sums.cpu += times * attempt.cpu
        sums.peak_memory = max(sums.peak_memory, attempt.peak_memory)
        sums.bytes_read += times * attempt.bytes_read
        sums.bytes_written += times * attempt.bytes_written
        if not final:
            sums.retried += 1
        elif attempt.failure is not None and attempt.status is QuantumStatus.FAILED:
            self._fail(attempt)
        for caveat in attempt.caveats:
            self._warn(attempt, caveat)

    def _warn(self, attempt: Attempt, caveat: str) -> None:
        key = (attempt.label, _VARIES.sub("#", caveat) if len(self._caveats) < _GROUPS else "")
        group = self._caveats.setdefault(key, [caveat, 0, []])
        group[1] += 1
        if len(group[2]) < _SHOWN:
            group[2].append(attempt.index)

    def _fail(self, attempt: Attempt) -> None:
        failure = attempt.failure
        assert failure is not None  # noqa: S101 - asked by the caller
        key = (attempt.label, failure.exception, _VARIES.sub("#", failure.message))
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= _GROUPS:
                key = (attempt.label, failure.exception, "")
            group = self._groups.setdefault(key, [failure, 0, [], [], 1])
        group[1] += 1
        group[4] = max(group[4], attempt.number)
        if len(group[2]) < _SHOWN:
            group[2].append(attempt.index)
            group[3].append(dict(attempt.dataId or {}))

    @property
    def cpu(self) -> float:
        """Seconds that all attempts used."""
        return sum(s.cpu for s in self._sums.values())

    def failures(self) -> tuple[FailureGroup, ...]:
        """Return what failed, most frequent first."""
        groups = [
            FailureGroup(
                label,
                exception,
                failure.message,
                count,
                tuple(indices),
                tuple(ids),
                failure.traceback,
                failure.kind.value,
                attempts,
            )
            for (label, exception, _), (failure, count, indices, ids, attempts) in self._groups.items()
        ]
        return tuple(sorted(groups, key=lambda g: -g.count))

    def caveats(self) -> tuple[CaveatGroup, ...]:
        """Return what is to be known of outputs, most frequent first."""
        groups = [
            CaveatGroup(label, caveat, count, tuple(indices))
            for (label, _), (caveat, count, indices) in self._caveats.items()
        ]
        return tuple(sorted(groups, key=lambda g: -g.count))

    def tasks(
        self, tasks: Iterable[tuple[str, int, int]], statuses: npt.NDArray[np.uint8]
    ) -> tuple[TaskReport, ...]:
        """Return the report of each task.

        Parameters
        ----------
        tasks : iterable of tuple
            Label, index of the first quantum, and number of quanta.
        statuses : numpy.ndarray
            Shape (n,), uint8: code of each quantum's status.
        """
        made = []
        for label, first, n in tasks:
            codes = np.bincount(statuses[first : first + n], minlength=len(QuantumStatus))
            counts = {s: int(codes[s.code]) for s in QuantumStatus if codes[s.code]}
            sums = self._sums.get(label) or _Sums()
            made.append(TaskReport(label, n, counts, **attrs.asdict(sums)))
        return tuple(made)


def status(root: str | Path, run: str) -> Report:
    """Return how a run stands, from its journal alone: while it goes on, or after.

    Parameters
    ----------
    root : path
        Folder of the data repository.
    run : str
        The RUN collection.

    Raises
    ------
    ExecutionError
        The run has no journal.
    """
    folder = RunFolder(str(root), run)
    found = replay(folder)
    if not found.headers:
        if found.problems:
            why = "; ".join(found.problems[:3])
            raise ExecutionError(
                f"the journal of run {run!r} cannot be read: {why}. What is registered stays; running the "
                "plan again begins another"
            )
        raise ExecutionError(
            f"run {run!r} has no journal in {folder.journal}: nothing was executed into it, or not in the "
            f"repository {root}"
        )
    active = is_held(folder.path / "driver.lock")
    statuses = _standing(found, active=active)
    tally = Tally()
    for attempt in found.attempts(np.flatnonzero(found.statuses != QuantumStatus.PLANNED.code).tolist()):
        again = active and found.retries.get(attempt.index) == attempt.number
        tally.add(attempt, final=not again)
    last = found.sessions[-1] if found.sessions else {}
    began = next((s["time"] for s in reversed(found.sessions) if s["state"] == "began"), 0)
    wall = (last["time"] - began) / 1e9 if last.get("state") == "ended" else 0.0
    return Report(
        run,
        tally.tasks(found.headers[-1].tasks, statuses),
        tally.failures(),
        tuple(found.problems),
        interrupted=not active and (last.get("state") != "ended" or bool(last.get("interrupted"))),
        wall=max(wall, 0.0),
        cpu=tally.cpu,
        registered=int(last.get("registered", 0)),
        unregistered=int(
            (found.statuses == QuantumStatus.SUCCEEDED.code).sum() - (found.registered > 0).sum()
        )
        if not active
        else 0,
        running=tuple(b for b in found.begun if b.alive),
        active=active,
        caveats=tally.caveats(),
        plan_file=next((h.plan_file for h in reversed(found.headers) if h.plan_file), ""),
        tags=found.headers[-1].tags,
    )


def _standing(found: Replay, *, active: bool) -> npt.NDArray[np.uint8]:
    """Return where each quantum stands for people: what runs, what is blocked, what was lost."""
    statuses = found.statuses.copy()
    planned = QuantumStatus.PLANNED.code
    statuses[statuses == QuantumStatus.LOST.code] = planned
    statuses[statuses == QuantumStatus.CANCELLED.code] = planned
    for q, number in found.retries.items():
        if active and number == found.numbers[q]:
            statuses[q] = planned
    for begun in found.begun:
        statuses[begun.index] = QuantumStatus.RUNNING.code if begun.alive else planned
    for q in found.blocked:
        if not QuantumStatus.from_code(int(statuses[q])).finished:
            statuses[q] = QuantumStatus.BLOCKED.code
    return statuses
