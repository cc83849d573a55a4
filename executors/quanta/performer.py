"""Starts, runs and ends one quantum after another, each in the journal before it counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from executors.decisions.bundlewalk import BundleWalk
from executors.decisions.work import Work
from executors.journal.journal import Journal
from executors.journal.lines import Alike, Lines
from executors.outcome import Attempt, QuantumStatus
from executors.quanta.bundlerun import BundleRun
from executors.quanta.runner import QuantumRunner
from executors.quanta.trial import Trial
from graphbuilder.dag.values import Outline, QuantumRecord

if TYPE_CHECKING:
    from executors.quanta.fusion import Fusion

__all__ = ["Performer"]

_AHEAD = 64
"""Records of quanta that are fetched together at most: that costs a fraction of fetching each by itself."""


class Performer:
    """Does the work that is handed to this process.

    Parameters
    ----------
    runner : QuantumRunner
        Runs the quanta.
    journal : Journal
        This process's file.
    started : callable
        Called with index, number and time of each attempt that begins, and its lines, see `Lines`.
    ended : callable
        Called with each attempt that ended, and its lines.
    fusion : Fusion, optional
        Finds what of a bundle's outputs need not be written.
    shared : callable, optional
        Called with each line of the journal about time that quanta share.
    alike : callable, optional
        Called with an attempt, others that came to the very same, and their lines; unless given, `started`
        and `ended` are called with each.
    """

    def __init__(
        self,
        runner: QuantumRunner,
        journal: Journal,
        started: Callable[[int, int, int, bytes], object],
        ended: Callable[[Attempt, bytes], object],
        fusion: Fusion | None = None,
        shared: Callable[[bytes], object] = lambda _: None,
        alike: Alike | None = None,
    ) -> None:
        self._runner = runner
        self._fusion = fusion
        self._lines = Lines(journal, started, ended, shared, alike)

    def perform(
        self,
        work: Work,
        quanta: Iterable[int] | None = None,
        *,
        numbers: Mapping[int, int] | None = None,
        missing: Mapping[int, frozenset[bytes]] | None = None,
        memory: Mapping[int, int] | None = None,
    ) -> None:
        """Run quanta until there are none left, or one was cancelled.

        Parameters
        ----------
        work : Work
            What was handed out.
        quanta : iterable of int, optional
            Gives its quanta, in order, as long as they are wanted; all of them unless given.
        numbers : Mapping, optional
            Quantum → number of its attempt, where that is not 1.
        missing : Mapping, optional
            As for `QuantumRunner.run`.
        memory : Mapping, optional
            Quantum → bytes that it may hold, where that is not what its task says.

        Raises
        ------
        ExecutionError
            The journal cannot be written. What was not in it by then does not count.
        """
        with self._runner.overheads.bundle():
            self._perform(work, quanta, numbers or {}, missing or {}, memory or {})

    def _perform(
        self,
        work: Work,
        quanta: Iterable[int] | None,
        numbers: Mapping[int, int],
        missing: Mapping[int, frozenset[bytes]],
        memory: Mapping[int, int],
    ) -> None:
        walk = BundleWalk(work, self._runner.plan.successors)
        records: dict[int, QuantumRecord] = {}
        left_out = dict(missing)
        fused = self._fusion.of(work) if self._fusion is not None else None
        size = 1 if work.bundle >= 0 else _AHEAD

        def record_of(q: int) -> QuantumRecord:
            nonlocal records, size
            record = records.get(q)
            if record is None:
                at = work.quanta.index(q)
                ahead = work.quanta[at : at + size]
                # Ever more: a task that takes a bundle whole may ask for no more than the first.
                size = min(4 * size, _AHEAD)
                records = dict(zip(ahead, self._runner.plan.records(ahead), strict=True))
                record = records[q]
            return record

        def told(q: int) -> dict[str, Any]:
            if not (numbers or memory or walk.tells):
                return {}
            said: dict[str, Any] = {
                "number": numbers.get(q, 1),
                "absent": walk.absent(q),
                "missing": left_out,
                "lost": walk.lost(q),
                "behind": walk.behind(q),
                "memory": memory.get(q),
            }
            return said

        def finished(attempt: Attempt) -> None:
            q = attempt.index
            if attempt.missing:
                left_out[q] = frozenset(attempt.missing)
            walk.finish(q, attempt.status, partial=bool(attempt.missing), whole=attempt.whole)
            self._end([attempt] if fused is None else fused.ended(attempt))

        ahead = _Ahead(work.quanta if quanta is None else quanta)
        try:
            for q in ahead:
                if not walk.may_run(q):
                    continue
                record = records.get(q)
                # What is known of one that was fetched with others before it need not be looked up.
                if work.bundle >= 0 and (record is None or not self._runner.runs_alone(record)):
                    together = self._together(q, work, ahead, walk, record_of)
                    if together:
                        alike = None if fused else self._alike
                        if self._run_bundle(together, record_of, told, finished, alike):
                            break
                        continue
                    size = _AHEAD
                if record is None:
                    record = record_of(q)
                self._begin(record, numbers.get(q, 1))
                attempt = self._runner.run(record, **told(q))
                # Its end shares a write with what begins within microseconds, unless that depends on it.
                self._lines.held = attempt.status.finished
                finished(attempt)
                if attempt.status is QuantumStatus.CANCELLED:
                    break
        finally:
            self._lines.flush()
        if fused is not None:
            self._end(fused.close())
            self._lines.flush()

    def _together(
        self,
        first: int,
        work: Work,
        ahead: _Ahead,
        walk: BundleWalk,
        record_of: Callable[[int], QuantumRecord],
    ) -> Sequence[Outline]:
        """Return a quantum and those after it that its task takes with it; nothing where it takes one."""
        plan, bundled = self._runner.plan, self._runner.bundled
        together = plan.outlines((first,))
        alike = bundled(together[0], record_of)
        if alike is None:
            return ()
        outlines = {o.quantum: o for o in plan.outlines(work.quanta)}
        for q in ahead:
            if walk.may_run(q):
                if bundled(outlines[q], record_of) != alike:
                    ahead.put_back(q)
                    break
                together.append(outlines[q])
        return together

    def _alike(self, attempt: Attempt, others: Sequence[Outline]) -> None:
        self._lines.end_alike(attempt, others)

    def _begin(self, record: QuantumRecord, number: int) -> None:
        self._lines.begin(record.index, record.identity.hex(), number, time.time_ns())

    def _run_bundle(
        self,
        outlines: Sequence[Outline],
        record_of: Callable[[int], QuantumRecord],
        told: Callable[[int], dict[str, Any]],
        finished: Callable[[Attempt], None],
        alike: Callable[[Attempt, Sequence[Outline]], None] | None,
    ) -> bool:
        """Run quanta that their task takes together; tell whether that was broken off."""
        left: list[Outline] = []
        opened: dict[int, Trial] = {}
        for outline in outlines:
            said = told(outline.quantum)
            # What is told of a quantum may keep it from running; so may its task, which the first shows.
            if said or not left:
                trial = self._runner.open(record_of(outline.quantum), **said)
                if trial.over:  # it has too few inputs, or its task cannot be made
                    self._begin(trial.record, trial.number)
                    finished(self._runner.conclude(trial))
                    continue
                opened[len(left)] = trial
            left.append(outline)
        if not left:
            return False
        run = BundleRun(
            self._runner,
            left,
            record_of,
            opened,
            lambda trial: self._begin(trial.record, trial.number),
            finished,
            alike,
            self._lines,
        )
        run.run()
        return run.cancelled

    def _end(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            self._lines.end(attempt)


class _Ahead:
    """Gives quanta one by one, and takes back the last one."""

    def __init__(self, quanta: Iterable[int]) -> None:
        self._quanta = iter(quanta)
        self._back: list[int] = []

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return self._back.pop() if self._back else next(self._quanta)

    def put_back(self, quantum: int) -> None:
        self._back.append(quantum)
