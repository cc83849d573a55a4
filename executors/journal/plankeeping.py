"""The plans that a run was made by, kept beside its journal: the files of their owners may go or change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from executors.journal.runfolder import RunFolder
from graphbuilder.dag.dag import ScienceDag
from supertask.errors import DagFileError, ExecutionError

__all__ = ["keep_plan", "kept_plans"]


def keep_plan(plan: ScienceDag, folder: RunFolder, identity: str) -> None:
    """Keep a plan in the folder of its run, unless it is there.

    Raises
    ------
    ExecutionError
        It cannot be written.
    """
    path = folder.plans / f"{identity}.h5"
    if path.exists():
        return
    try:
        folder.plans.mkdir(parents=True, exist_ok=True)
        plan.save(path)
    except (OSError, DagFileError) as error:
        raise ExecutionError(f"run {folder.run!r} cannot keep its plan: {error}") from error


def kept_plans(folder: RunFolder) -> Iterator[Path]:
    """Yield the files of the plans that a run was made by, the last one first."""
    try:
        paths = list(folder.plans.glob("*.h5"))
    except OSError:
        paths = []
    yield from sorted(paths, key=lambda p: p.stat().st_mtime_ns, reverse=True)
    if folder.plan.is_file():
        yield folder.plan
