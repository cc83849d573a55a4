"""What a job runs that was submitted before those that it waits for had run: found out when it begins.

Its bundle file says which quanta of it depend on which others, and which jobs these are in. What came of them
stands in the journals in those jobs' folders; of jobs that were collected meanwhile, in the run's own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from executors.jobs.bundlefile import BundlePlan
from executors.jobs.folder import JobFolder
from executors.jobs.pieces import Piece
from executors.journal.replay import Replay, replay
from executors.journal.runfolder import RunFolder
from executors.outcome import QuantumStatus

__all__ = ["bind"]

_LOOK = 0.25
_FAILED = QuantumStatus.FAILED


def bind(plan: BundlePlan, folder: Path, late: float) -> int:
    """Let a bundle know what came of those that it waited for; return how many of its quanta cannot run.

    Quanta behind one that failed, or that did not come to run, are left out: whether they run without it, or
    after it is tried again, is for a driver to decide.

    Parameters
    ----------
    plan : BundlePlan
        The bundle; its `work` and `missing` are changed.
    folder : Path
        Of its job.
    late : float
        Seconds to wait for what a shared file system may show late, of all jobs together.
    """
    waits = {int(q): before for q, before in plan.said["waits"].items()}
    ended: dict[int, QuantumStatus] = {}
    tainted: set[int] = set()
    missing = dict(plan.missing)
    until = time.monotonic() + late  # of all together: many may have been ended before they began
    for name, members in plan.said["after"].items():
        found = _read(plan, folder.parent / name, members, until)
        for at, q in enumerate(members):
            ended[q] = QuantumStatus.from_code(int(found.statuses[at]))
            if at in found.partial:
                missing[q] = found.partial[at]
            if at in found.tainted:
                tainted.add(q)
    absent = {q: list(each) for q, each in plan.work.absent.items()}
    behind = {q: list(each) for q, each in plan.work.behind.items()}
    out: set[int] = set()
    for q, before in waits.items():
        for p in before:
            if not ended[p].finished:
                out.add(q)
            elif ended[p] is QuantumStatus.NO_WORK or p in missing:
                absent.setdefault(q, []).append(p)
            if p in tainted:
                behind.setdefault(q, []).append(p)
    after = {int(q): each for q, each in plan.said["successors"].items()}
    front = list(out)
    while front:
        more = [c for c in after.get(front.pop(), ()) if c not in out]
        out.update(more)
        front += more
    told = ({q: tuple(each) for q, each in one.items()} for one in (absent, behind))
    quanta = tuple(q for q in plan.work.quanta if q not in out)
    plan.work = attrs.evolve(plan.work, quanta=quanta, absent=next(told), behind=next(told))
    plan.missing = missing
    return len(out)


def _read(plan: BundlePlan, before: Path, members: Sequence[int], until: float) -> Replay:
    """Read what came of quanta of a job."""
    digests = b"".join(map(plan.identity, members))
    identities = np.frombuffer(digests, np.uint8).reshape(-1, 16)
    run = plan.meta.output_run
    piece = Piece(JobFolder(before))
    while piece.job.is_wanted and time.monotonic() < until:
        # The engine says that it has ended; its last lines may not be seen from here yet.
        for _ in piece.read():
            pass
        if piece.ending() is not None:
            break
        time.sleep(_LOOK)
    found = replay(RunFolder(str(before), run), identities)
    if found.headers:
        return found
    return replay(RunFolder(plan.said["root"], run), identities)
