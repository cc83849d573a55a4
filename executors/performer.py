"""Starts, runs and ends one quantum after another, each in the journal before it counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from executors.bundlerun import BundleRun
from executors.bundlewalk import BundleWalk
from executors.journal import Journal, encode_attempt, encode_overhead, encode_start
from executors.outcome import Attempt, QuantumStatus
from executors.runner import QuantumRunner
from executors.schedule import Work
from graphbuilder.dag.values import QuantumRecord

if TYPE_CHECKING:
    from executors.fusion import Fusion

__all__ = ["Performer"]

_AHEAD = 16
"""Records of quanta that are fetched together: that costs a fraction of fetching each by itself."""


class Performer:
    """Does the work that is handed to this process.

    Parameters
    ----------
    runner : QuantumRunner
        Runs the quanta.
    journal : Journal
        This process's file.
    started : callable
        Called with index, number and time of each attempt that begins, and its line in the journal.
    ended : callable
        Called with each attempt that ended, and its line.
    fusion : Fusion, optional
        Finds what of a bundle's outputs need not be written.
    shared : callable, optional
        Called with each line of the journal about time that quanta share.
    """

    def __init__(
        self,
        runner: QuantumRunner,
        journal: Journal,
        started: Callable[[int, int, int, bytes], object],
        ended: Callable[[Attempt, bytes], object],
        fusion: Fusion | None = None,
        shared: Callable[[bytes], object] = lambda _: None,
    ) -> None:
        self._runner = runner
        self._journal = journal
        self._started = started
        self._ended = ended
        self._fusion = fusion
        self._shared = shared

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

        def record_of(q: int) -> QuantumRecord:
            nonlocal records
            if q not in records:
                at = work.quanta.index(q)
                ahead = work.quanta[at : at + _AHEAD]
                records = dict(zip(ahead, self._runner.plan.records(ahead), strict=True))
            return records[q]

        def told(q: int) -> dict[str, Any]:
            return {
                "number": numbers.get(q, 1),
                "absent": walk.absent(q),
                "missing": left_out,
                "lost": walk.lost(q),
                "behind": walk.behind(q),
                "memory": memory.get(q),
            }

        def finished(attempt: Attempt) -> None:
            q = attempt.index
            if attempt.missing:
                left_out[q] = frozenset(attempt.missing)
            walk.finish(q, attempt.status, partial=bool(attempt.missing), whole=attempt.whole)
            self._end([attempt] if fused is None else fused.ended(attempt))

        ahead = _Ahead(work.quanta if quanta is None else quanta)
        for q in ahead:
            if not walk.may_run(q):
                continue
            record = record_of(q)
            alike = self._runner.bundled(record) if work.bundle >= 0 else None
            if alike is not None:
                together = [record]
                for following in ahead:
                    if walk.may_run(following):
                        if self._runner.bundled(record_of(following)) != alike:
                            ahead.put_back(following)
                            break
                        together.append(record_of(following))
                if self._run_bundle(together, told, finished):
                    break
                continue
            self._begin(record, numbers.get(q, 1))
            attempt = self._runner.run(record, **told(q))
            finished(attempt)
            if attempt.status is QuantumStatus.CANCELLED:
                break
        if fused is not None:
            self._end(fused.close())

    def _begin(self, record: QuantumRecord, number: int) -> None:
        now = time.time_ns()
        line = self._journal.write(encode_start(record.index, record.identity.hex(), number, now))
        self._started(record.index, number, now, line)

    def _run_bundle(
        self,
        records: Sequence[QuantumRecord],
        told: Callable[[int], dict[str, Any]],
        finished: Callable[[Attempt], None],
    ) -> bool:
        """Run quanta that their task takes together; tell whether that was broken off."""
        trials = []
        for record in records:
            trial = self._runner.open(record, **told(record.index))
            if trial.over:  # it has too few inputs, or its task cannot be made
                self._begin(record, trial.number)
                finished(self._runner.conclude(trial))
            else:
                trials.append(trial)
        if not trials:
            return False
        run = BundleRun(
            self._runner,
            trials,
            lambda trial: self._begin(trial.record, trial.number),
            finished,
            lambda making: self._shared(self._journal.write(encode_overhead(making))),
        )
        run.run()
        return run.cancelled

    def _end(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            self._ended(attempt, self._journal.write(encode_attempt(attempt, self._journal.header)))


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
