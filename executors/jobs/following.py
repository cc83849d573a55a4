"""Jobs of an earlier driver that live: what they have left, so that another driver goes on with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from executors.decisions.work import Work
from executors.jobs.bundlefile import BundlePlan, read_job
from executors.jobs.folder import JobFolder
from graphbuilder.dag.dag import ScienceDag
from supertask.errors import ExecutionError

__all__ = ["may_be_followed", "work_left"]


def may_be_followed(folder: Path, plan: ScienceDag) -> bool:
    """Tell whether a job is of this very plan, and was submitted with all that it reads made."""
    return _read(folder, plan) is not None


def work_left(folder: Path, plan: ScienceDag, ended: Callable[[int], int]) -> Work:
    """Return what a job has left to do.

    Parameters
    ----------
    folder : path
        Its folder.
    plan : ScienceDag
        The plan.
    ended : callable
        Returns the number of the last attempt of a quantum that has an end in the journal, 0 for none.

    Returns
    -------
    Work
        Its quanta whose ends the journal does not know; none at all if it may not be followed.
    """
    bundle = _read(folder, plan)
    if bundle is None:
        return Work(())
    left = tuple(q for q in bundle.work.quanta if ended(q) < bundle.numbers.get(q, 1))
    return attrs.evolve(bundle.work, quanta=left)


def _read(folder: Path, plan: ScienceDag) -> BundlePlan | None:
    try:
        bundle = read_job(JobFolder(folder))
    except ExecutionError:  # taken back, of another version, or no job
        return None
    same = bundle.meta.output_run == plan.meta.output_run and all(
        q < plan.n_quanta and bundle.identity(q) == plan.identities[q].tobytes() for q in bundle.work.quanta
    )
    # What waits for others reads in the folders of their jobs, which are cleared away now.
    return bundle if same and not bundle.said.get("waits") else None
