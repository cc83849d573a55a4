"""What becomes of an attempt whose process ended before it did: others say it for it."""

from __future__ import annotations

import time

from executors.outcome import Attempt, Failure, QuantumStatus
from graphbuilder.dag.dag import ScienceDag

__all__ = ["cut_short"]


def cut_short(
    plan: ScienceDag, index: int, number: int, where: tuple[str, int], start: int, why: Failure | str
) -> Attempt:
    """Return the end, as of now, of an attempt that came to none.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    index, number : int
        The quantum, and the number of the attempt.
    where : tuple of str and int
        Host and process that ran it.
    start : int
        When it began: UTC, ns since 1970.
    why : Failure or str
        What it failed for; or why it is lost without being to blame.
    """
    end = time.time_ns()
    failed = isinstance(why, Failure)
    quantum = plan.quanta[index]
    return Attempt(
        index=index,
        identity=plan.identities[index].tobytes(),
        label=quantum.label,
        dataId=quantum.dataId,
        status=QuantumStatus.FAILED if failed else QuantumStatus.LOST,
        number=number,
        host=where[0],
        pid=where[1],
        start=start,
        end=end,
        wall=max(0.0, (end - start) / 1e9),
        failure=why if isinstance(why, Failure) else None,
        reason="" if isinstance(why, Failure) else why,
    )
