"""The batch port: what runs bundles as jobs of an engine that others keep (Slurm, HTCondor, Parsl, Dask …).

An engine is given jobs, each a folder with all that one bundle needs (`executors.jobs`), a command line that
runs it, and what it may use. It must

- start the command of every job once it can, in any order: only jobs are submitted whose inputs are made;
- say of jobs whether they wait, run or are gone (`states`); a job that it has lost is gone;
- cancel: a waiting job never begins; a running one gets SIGTERM and, where it does not end, SIGKILL.

Nothing else. What a job does, the journal, retries by class of failure with grown requests, staging, capture
of logs, identities and registering are the same everywhere: they are in `executors.jobs.rounds`, in the
`Driver` and in the runner.
"""

from __future__ import annotations

import abc
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from executors.driving.driver import Driver
from executors.jobs.enginejobs import SLOTS, Chained, Job, JobState
from executors.jobs.following import may_be_followed
from executors.jobs.rounds import Round
from executors.jobs.settling import folder_for, names_in, settle
from executors.port import ExecutionFramework
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler
from supertask.configs.policy import FailureClass
from supertask.errors import ExecutionError

__all__ = ["BatchFramework", "Chained", "Job", "JobState"]

_GRACE = 30.0
_LOOK = 0.05


class BatchFramework(ExecutionFramework):
    """Runs bundles as jobs of an engine.

    Parameters
    ----------
    jobs : path, optional
        Folder for the folders of jobs, which workers must see; in the repository unless given.
    staged : bool, optional
        Whether jobs cannot see the repository: inputs are sent along, and outputs fetched.
    slots : int, optional
        How many jobs are submitted at most at once.
    late : float, optional
        Seconds to wait for files that a shared file system may show late.
    grace : float, optional
        Seconds that what runs may take to finish once its job is asked to end.
    python : str, optional
        The interpreter on the workers; this one unless given.
    detached : bool, optional
        Whether all that is left is submitted at once, to run without a driver: `execute` returns when that is
        done. `executors.jobs.collecting.collect`, or any other execution, later takes what was made.
    """

    def __init__(
        self,
        jobs: str | Path | None = None,
        *,
        staged: bool = False,
        slots: int = SLOTS,
        late: float = 30.0,
        grace: float = 20.0,
        python: str | None = None,
        detached: bool = False,
    ) -> None:
        if slots < 1:
            raise ExecutionError(f"a batch framework needs 1 slot or more, not {slots}")
        self.jobs = Path(jobs).absolute() if jobs is not None else None
        self.staged = staged
        self.slots = slots
        self.late = late
        self.grace = grace
        self.detached = detached
        if detached and staged:
            raise ExecutionError(
                "jobs that run without a driver read what others made where these put it: nodes must see the "
                "repository, and nothing can be staged"
            )
        self.python = python or sys.executable
        self.going: tuple[str, ...] = ()
        """Names of jobs of an earlier driver that live, and that the next session goes on with."""

    follows = False
    """Whether jobs outlive their driver, so that a later one may go on with them."""
    at_a_time = 100_000
    """So many jobs are packed before they are submitted: for an engine to which a call costs nothing, few."""

    # -- what an engine does ------------------------------------------------------------------

    @abc.abstractmethod
    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand jobs to the engine.

        Raises
        ------
        ExecutionError
            It is not there, or refuses them (quota, account, partition); the plan stays as it is, and the
            same call goes on later.
        """

    @abc.abstractmethod
    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """Say where jobs stand; those left out are gone."""

    @abc.abstractmethod
    def cancel(self, names: Sequence[str], *, at_once: bool = False) -> None:
        """End jobs: in order (SIGTERM), or at once (SIGKILL)."""

    def submit_chained(self, chained: Sequence[Chained]) -> None:
        """Hand jobs to the engine that wait for each other; each comes after those that it waits for.

        Raises
        ------
        ExecutionError
            As `submit`; or the engine cannot do so.
        """
        raise ExecutionError(f"{type(self).__name__} has no jobs that wait for others: a driver must stay")

    def why_gone(self, name: str) -> tuple[str, FailureClass]:
        """Say why a job ended without saying so itself, and what that means for trying again."""
        return "its job was ended from outside", FailureClass.KILLED

    def last_words(self, name: str) -> str:
        """Return the end of what a job printed, where that is known."""
        return ""

    def forget(self, name: str) -> None:
        """Take note that nothing more is asked about a job."""

    def wait(self, seconds: float) -> Collection[str]:
        """Wait between two looks; one that hears of jobs that end may return before, with their names."""
        time.sleep(seconds)
        return ()

    # -- what is the same for all -------------------------------------------------------------

    def prepare(self, plan: ScienceDag, butler: AbstractButler) -> None:
        """Take what jobs of an earlier driver made; end those that live, but for what can be gone on with."""
        home = self.jobs or folder_for(plan, butler)
        names = names_in(home)
        alive = [n for n, s in self.states(names).items() if s is not JobState.GONE] if names else []
        if self.follows and not self.detached:
            self.going = tuple(n for n in alive if may_be_followed(home / n, plan))
        self.end([n for n in alive if n not in self.going])
        settle(plan, butler, [home], revoke=True, but=self.going)

    def end(self, names: Sequence[str]) -> None:
        """End jobs, and wait until they have ended."""
        if not names:
            return
        self.cancel(names)
        at_once = False
        until = time.monotonic() + _GRACE
        while any(s is not JobState.GONE for s in self.states(names).values()):
            if time.monotonic() > until:
                if at_once:
                    break  # an engine that never says so: the folders of the jobs tell whether one lives
                at_once = True
                self.cancel(names, at_once=True)
                until = time.monotonic() + _GRACE
            time.sleep(_LOOK)

    def walk(self, driver: Driver) -> None:
        """Run all that the driver hands out."""
        round_ = Round(self, driver)
        if self.detached:
            round_.detach()
            return
        try:
            round_.run()
        except BaseException:
            round_.end_all()
            raise
