"""Costs from the journals of runs, for the reports of later plans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from executors.cmdline import terminal
from executors.journal.report import Report, status
from executors.journal.runfolder import RunFolder
from supertask.errors import ExecutionError

if TYPE_CHECKING:
    from graphbuilder.preview.costs import TaskCost
    from supertask.butler.port import AbstractButler

__all__ = ["costs_of", "earlier_costs"]

_RUNS = 5
_LARGEST = 100 << 20


def costs_of(report: Report) -> list[TaskCost]:
    """Return what the tasks of a run cost."""
    from graphbuilder.preview.costs import TaskCost

    return [
        TaskCost(
            t.label, t.ended, t.cpu, t.wall, t.peak_memory, t.bytes_read, t.bytes_written, source=report.run
        )
        for t in report.tasks
        if t.ended
    ]


def earlier_costs(butler: AbstractButler) -> list[TaskCost]:
    """Return what tasks cost in the newest few runs that have a journal in a repository.

    Of each task the newest run that has it counts. Journals that would take long to read are passed over,
    which is said.
    """
    found: dict[str, TaskCost] = {}
    read = 0
    for info in reversed(butler.collection_infos()):
        folder = RunFolder(butler.root, info.name).journal
        if read == _RUNS or not butler.root or not folder.is_dir():
            continue
        if _size(folder) > _LARGEST:
            terminal.note(
                f"the journal of run {info.name!r} is large: export its costs once with "
                f"supertask report {butler.root} {info.name} --costs FILE, and give that file"
            )
            continue
        read += 1
        try:
            costs = costs_of(status(butler.root, info.name))
        except ExecutionError as error:
            terminal.note(f"no costs of run {info.name!r}: {error}")
            continue
        for cost in costs:
            found.setdefault(cost.label, cost)
    return list(found.values())


def _size(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file())
