"""What a run left behind of itself: the plans that it was made by, and its journal."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import attrs

from executors.journal.index import JournalIndex
from executors.journal.journal import read_log
from executors.journal.plankeeping import kept_plans
from executors.journal.runfolder import RunFolder
from executors.outcome import Attempt
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.neighbours import maker_of, row_of
from supertask.datasets import Dataset
from supertask.errors import DagFileError, PreflightError

__all__ = ["Archive", "Place"]


@attrs.frozen(eq=False)
class Place:
    """Where a dataset or a quantum is in a plan."""

    plan: ScienceDag
    file: Path
    row: int
    """Of a dataset in the table of its type; index of a quantum."""


class Archive:
    """The plans and the journal of one run; both are opened when they are first asked for.

    Parameters
    ----------
    root : str
        Of the data repository.
    run : str
        The RUN collection.
    """

    def __init__(self, root: str, run: str) -> None:
        self.folder = RunFolder(root, run)
        self._problems: list[str] = []

    @property
    def exists(self) -> bool:
        """Whether anything was executed into the run."""
        return self.folder.journal.is_dir() or self.folder.plans.is_dir()

    @property
    def problems(self) -> list[str]:
        """What is damaged or missing of what was asked for."""
        return [*self._problems, *(self.index.problems if "index" in self.__dict__ else ())]

    @cached_property
    def index(self) -> JournalIndex:
        """Where each quantum stands in the journal."""
        if not self.folder.journal.is_dir():
            self._problems.append(
                f"run {self.folder.run!r} has no journal ({self.folder.journal}): hosts, times and what was "
                "really read are not known"
            )
        return JournalIndex(self.folder)

    @cached_property
    def plans(self) -> list[tuple[Path, ScienceDag]]:
        """The plans, the last one first."""
        files = list(kept_plans(self.folder))
        if not files:
            # Runs of before plans were kept: where the driver said that it is.
            said = dict.fromkeys(h.plan_file for h in reversed(self.index.headers()) if h.plan_file)
            files = [Path(f) for f in said if Path(f).is_file()]
        found = []
        for file in files:
            try:
                found.append((file, ScienceDag.open(file)))
            except DagFileError as error:
                self._problems.append(f"run {self.folder.run!r}: {error}")
        if not found:
            self._problems.append(f"no plan of run {self.folder.run!r} is left: what made it cannot be told")
        return found

    def places(self, dataset: Dataset) -> Iterator[Place]:
        """Yield where a dataset is in the run's plans."""
        for file, plan in self.plans:
            row = row_of(plan, dataset)
            if row is not None:
                yield Place(plan, file, row)

    def maker(self, dataset: Dataset) -> Place | None:
        """Return the quantum that makes a dataset."""
        for place in self.places(dataset):
            dataset_type = place.plan.dataset_type(dataset.name)
            quantum = maker_of(place.plan, dataset_type, place.row)
            if quantum is not None:
                return Place(place.plan, place.file, quantum)
        return None

    def quantum(self, identity: str) -> Place:
        """Return a quantum by the beginning of its identity in hexadecimal.

        Raises
        ------
        PreflightError
            None has it, or several begin so.
        """
        why = PreflightError(
            f"no plan of run {self.folder.run!r} is left to look for quantum {identity!r} in"
        )
        for file, plan in self.plans:
            try:
                return Place(plan, file, plan.find_identity(identity))
            except PreflightError as error:
                why = error
        raise PreflightError(f"run {self.folder.run!r}: {why}")

    def attempts(self, identity: bytes) -> list[tuple[Attempt, Path]]:
        """Return the attempts to run a quantum, first to last, with the journal's file of each."""
        types = {t.name: t for _, plan in self.plans for t in plan.datasets}
        return self.index.attempts(identity, types)

    @staticmethod
    def log(attempt: Attempt, file: Path) -> str:
        """Return what was logged in an attempt."""
        return read_log(file, attempt.log_span) if attempt.log_span is not None else ""
