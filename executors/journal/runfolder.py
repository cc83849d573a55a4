"""Where a run keeps its journal, and the lock that lets one driver at a time work on it.

::

    ROOT/.supertask/runs/<run>/
        driver.lock         held by the driver; says who that is
        plan.h5             a plan that was handed over in memory, for worker processes to read
        plans/              every plan that was run, by its identity, to know later what made what
        journal/            one file for each process that ran quanta or drove the run, see `journal`
        retention.json      how long datasets stay, where that was said when the plan was run, see `wishes`
        journal.index       where each quantum stands in these, see `journalindex`

Locks are the kernel's (``flock``): they end with the process that holds them, however it ends, so that there
is never a stale one to clean up. What holds where machines do not see each other's locks is said in `lease`.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from executors.journal.lease import Lease
from executors.journal.locks import hold, is_held
from supertask.errors import ExecutionError

__all__ = ["RunFolder", "hold", "is_held"]


@attrs.frozen
class RunFolder:
    """The folder of one run."""

    root: str
    """Of the data repository."""
    run: str
    """The RUN collection."""

    @property
    def path(self) -> Path:
        """The folder itself."""
        return Path(self.root) / ".supertask" / "runs" / self.run

    @property
    def journal(self) -> Path:
        """Folder of the journal's files."""
        return self.path / "journal"

    @property
    def plan(self) -> Path:
        """A plan that was handed over in memory."""
        return self.path / "plan.h5"

    @property
    def plans(self) -> Path:
        """Folder of the plans that were run."""
        return self.path / "plans"

    def make(self) -> None:
        """Make the folder.

        Raises
        ------
        ExecutionError
            It cannot be made.
        """
        try:
            self.journal.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExecutionError(
                f"run {self.run!r} cannot keep its journal in {self.journal}: {error.strerror or error}; "
                "a run writes into its repository, so that must be writable and not full"
            ) from error

    def lock(self) -> Lease:
        """Become the run's driver; see `Lease`."""
        return Lease(self.path / "driver.lock", self.run)
