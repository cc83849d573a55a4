"""Starts, runs and ends one quantum after another, each in the journal before it counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from executors.bundlewalk import BundleWalk
from executors.journal import Journal, encode_attempt, encode_start
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
    """

    def __init__(
        self,
        runner: QuantumRunner,
        journal: Journal,
        started: Callable[[int, int, int, bytes], object],
        ended: Callable[[Attempt, bytes], object],
        fusion: Fusion | None = None,
    ) -> None:
        self._runner = runner
        self._journal = journal
        self._started = started
        self._ended = ended
        self._fusion = fusion

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
        walk = BundleWalk(work, self._runner.plan.successors)
        records: dict[int, QuantumRecord] = {}
        left_out = dict(missing or {})
        fused = self._fusion.of(work) if self._fusion is not None else None
        for q in work.quanta if quanta is None else quanta:
            if not walk.may_run(q):
                continue
            if q not in records:
                at = work.quanta.index(q)
                ahead = work.quanta[at : at + _AHEAD]
                records = dict(zip(ahead, self._runner.plan.records(ahead), strict=True))
            record = records[q]
            number = numbers.get(q, 1) if numbers else 1
            now = time.time_ns()
            line = self._journal.write(encode_start(q, record.identity.hex(), number, now))
            self._started(q, number, now, line)
            attempt = self._runner.run(
                record,
                number=number,
                absent=walk.absent(q),
                missing=left_out,
                lost=walk.lost(q),
                behind=walk.behind(q),
                memory=memory.get(q) if memory else None,
            )
            if attempt.missing:
                left_out[q] = frozenset(attempt.missing)
            walk.finish(q, attempt.status, partial=bool(attempt.missing), whole=attempt.whole)
            self._end([attempt] if fused is None else fused.ended(attempt))
            if attempt.status is QuantumStatus.CANCELLED:
                break
        if fused is not None:
            self._end(fused.close())

    def _end(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            self._ended(attempt, self._journal.write(encode_attempt(attempt, self._journal.header)))
