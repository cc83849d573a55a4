"""Takes what jobs of earlier sessions made, before a run goes on or while nobody drives it.

What they finished is not run again, in whichever framework the run goes on. Nothing else may write in the
run meanwhile: who settles holds its lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import attrs
import numpy as np

from executors.driving.cutshort import cut_short
from executors.driving.opening import check_repository, plan_identity
from executors.host.processes import end_left_behind
from executors.jobs.folder import JobFolder
from executors.jobs.gathering import Begun, Gatherer, Progressed
from executors.jobs.pieces import Piece
from executors.jobs.sheaf import discard, open_in
from executors.jobs.slots import FOLDER
from executors.journal.journal import Header, Journal, encode_attempt
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.datastore import Datastore
from supertask.butler.port import AbstractButler
from supertask.errors import ExecutionError

__all__ = ["Settled", "folder_for", "jobs_in", "names_in", "settle"]

_PATIENCE = 30.0
_LOOK = 0.05


@attrs.define
class Settled:
    """What was taken."""

    attempts: int = 0
    """How many ends are in the journal now that were not."""
    open: int = 0
    """How many jobs have not ended, or not been seen to."""
    names: list[str] = attrs.field(factory=list)
    """Of these."""
    problems: list[str] = attrs.field(factory=list)


def folder_for(plan: ScienceDag, butler: AbstractButler) -> Path:
    """Return the folder in which a run keeps the folders of its jobs, unless told otherwise."""
    return RunFolder(check_repository(plan, butler), plan.meta.output_run).path / "jobs"


def names_in(home: Path) -> list[str]:
    """Return the names of what may be jobs in a folder: they have folders, or a sheaf says so."""
    if not home.is_dir():
        return []
    folders = {entry.name for entry in os.scandir(home) if not entry.name.startswith(".")}
    return sorted(folders.union(open_in(home)))


def jobs_in(homes: Iterable[Path]) -> list[JobFolder]:
    """Return the jobs in some folders; a folder may be a job itself."""
    found = []
    for home in homes:
        jobs = map(JobFolder, [home, *(home / name for name in names_in(home))])
        found += [job for job in jobs if (job.path / ".supertask").is_dir() or job.is_wanted]
    return found


def settle(
    plan: ScienceDag,
    butler: AbstractButler,
    homes: Sequence[Path],
    *,
    revoke: bool = False,
    but: Collection[str] = (),
    late: float = 0.0,
) -> Settled:
    """Bring home what jobs made, and merge what they wrote in the run's journal.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    butler : AbstractButler
        Its repository.
    homes : sequence of Path
        Folders of jobs, or folders that hold such.
    revoke : bool, optional
        Whether jobs that have not ended are taken back, so that the run may go on without them.
    but : collection of str, optional
        Names of jobs that are left as they are.
    late : float, optional
        Seconds to wait for outputs that a shared file system may show late.

    Raises
    ------
    ExecutionError
        Another driver works on the run, or a job that is to be taken back still runs.
    """
    root = check_repository(plan, butler)
    jobs = [job for job in jobs_in(homes) if job.path != Path(root) and job.path.name not in but]
    sheaves = [home for home in homes if (home / FOLDER).is_dir()] if revoke else []
    if not jobs and not sheaves:
        return Settled()
    folder = RunFolder(root, plan.meta.output_run)
    folder.make()
    lock = folder.lock()
    try:
        with lock.beating():
            for home in sheaves:
                discard(home)
            return _Settling(plan, folder, Datastore.open(root), jobs, late).run(revoke=revoke)
    finally:
        lock.release()


class _Settling:
    def __init__(
        self, plan: ScienceDag, folder: RunFolder, datastore: Datastore, jobs: list[JobFolder], late: float
    ) -> None:
        found = replay(folder, np.asarray(plan.identities))
        lost = {b.index for b in found.begun}
        self._numbers = found.numbers
        header = Header(
            run=folder.run,
            plan=plan_identity(plan),
            quanta=plan.n_quanta,
            tasks=tuple((t.label, t.first, t.count) for t in plan.tasks),
            plan_file=next((h.plan_file for h in found.headers if h.plan_file), ""),
            repository=plan.meta.repository,
            role="collector",
        )
        self._brought: list[str] = []
        self._datastore = datastore
        self._plan = plan
        self._jobs = jobs
        self._journal = Journal(folder, header)
        self._gatherer = Gatherer(
            plan,
            datastore,
            self._journal,
            lambda q: int(self._numbers[q]) - (q in lost),
            late,
        )

    def run(self, *, revoke: bool) -> Settled:
        settled = Settled()
        try:
            for job in self._jobs:
                self._take(job, settled, revoke=revoke)
            self._journal.sync()
        finally:
            self._journal.close()
        settled.problems = self._gatherer.problems
        return settled

    def _take(self, job: JobFolder, settled: Settled, *, revoke: bool) -> None:
        if revoke:
            # From now on it does not begin any more; what has begun is seen by its lock.
            job.take_back()
            _wait_for(job)
            end_left_behind(job.path)
        piece = Piece(job)
        begun: dict[int, Begun] = {}
        while True:
            for each in self._gatherer.take(piece):
                if isinstance(each, Begun):
                    begun[each.index] = each
                    continue
                if isinstance(each, Progressed):
                    continue
                begun.pop(each.index, None)
                self._brought += (r.location for r in each.records)
                settled.attempts += 1
            if not self._gatherer.is_waiting(piece):
                break
            time.sleep(_LOOK)
        over = piece.ending()
        if revoke:
            for each in begun.values():
                self._lost(each)
        elif over is None or over.again:
            settled.open += 1
            settled.names.append(job.path.name)
            return
        if not self._gatherer.problems:
            self._datastore.sync(self._brought)
            self._brought.clear()
            self._journal.sync()
            self._gatherer.clear_away(job)

    def _lost(self, begun: Begun) -> None:
        where, why = (begun.host, begun.pid), "its job ended before it did"
        attempt = cut_short(self._plan, begun.index, begun.number, where, begun.time, why)
        self._journal.write(encode_attempt(attempt, self._journal.header))


def _wait_for(job: JobFolder) -> None:
    until = time.monotonic() + _PATIENCE
    while Piece(job).is_running:
        if time.monotonic() > until:
            raise ExecutionError(
                f"job {job.path} of an earlier driver still runs: wait for it, or cancel it, and run "
                "the same again"
            )
        time.sleep(_LOOK)
