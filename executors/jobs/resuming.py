"""What is left of a job whose process ended before it did: a job that was put back in its queue, say."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np

from executors.decisions.work import Work
from executors.jobs.bundlefile import BundlePlan
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder
from executors.outcome import QuantumStatus

__all__ = ["Rest", "rest_of"]

_FAILED = QuantumStatus.FAILED


@attrs.frozen
class Rest:
    """What is left to do."""

    work: Work
    numbers: dict[int, int]
    """Quantum → number of its next attempt, where that is not 1."""
    missing: dict[int, frozenset[bytes]]
    """Quantum that left out outputs → identities of these."""
    ended: dict[int, QuantumStatus] = attrs.field(factory=dict)
    """What ended in the folder before."""


def rest_of(plan: BundlePlan, folder: RunFolder) -> Rest:
    """Return what earlier processes of a job have left to do.

    What failed stays failed: whether it is tried again is for the driver to decide, who makes another job.
    Where there is none, whoever decides it puts quanta back in the job, with the numbers of what failed.
    """
    work = plan.work
    digests = b"".join(plan.identity(q) for q in work.quanta)
    found = replay(folder, np.frombuffer(digests, np.uint8).reshape(-1, 16))
    after = {int(q): each for q, each in plan.said["successors"].items()}
    rest = Rest(work, dict(plan.numbers), dict(plan.missing))
    absent = {q: list(each) for q, each in work.absent.items()}
    behind = {q: list(each) for q, each in work.behind.items()}
    again = {int(q): number for q, number in plan.said.get("again", {}).items()}
    for at, q in enumerate(work.quanta):
        status = QuantumStatus.from_code(int(found.statuses[at]))
        if found.numbers[at]:
            rest.numbers[q] = int(found.numbers[at]) + 1
        if not status.finished and (status is not _FAILED or found.numbers[at] <= again.get(q, 0)):
            continue
        rest.ended[q] = status
        partial = at in found.partial
        if partial:
            rest.missing[q] = found.partial[at]
        for c in after.get(q, ()):
            if status is QuantumStatus.NO_WORK or partial:
                absent.setdefault(c, []).append(q)
            if at in found.tainted:
                behind.setdefault(c, []).append(q)
    left_out = {*rest.ended, *_behind((q for q, s in rest.ended.items() if s is _FAILED), after)}
    left = tuple(q for q in work.quanta if q not in left_out)
    told = ({q: tuple(each) for q, each in one.items()} for one in (absent, behind))
    return attrs.evolve(rest, work=Work(left, work.bundle, next(told), work.lost, next(told)))


def _behind(quanta: Iterable[int], after: dict[int, list[int]]) -> set[int]:
    found: set[int] = set()
    front = list(quanta)
    while front:
        for c in after.get(front.pop(), ()):
            if c not in found:
                found.add(c)
                front.append(c)
    return found
