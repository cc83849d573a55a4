"""What is the same for all engines that call functions and return futures.

Dependencies are kept by the driver, and at most `slots` jobs are with the engine at once: of a hundred
thousand bundles it sees those that may run next. The engine is told of a function by name and of strings, see
`executors.futures.errand`; all else about jobs is as in `executors.batch`.
"""

from __future__ import annotations

import abc
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from executors.batch import BatchFramework, Job, JobState
from executors.driving.driver import Driver
from executors.futures import errand
from executors.futures.children import Manner
from executors.jobs.enginejobs import SLOTS
from executors.jobs.folder import ExitCode, JobFolder
from executors.jobs.pieces import Piece
from executors.jobs.settling import folder_for
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler
from supertask.configs.policy import FailureClass
from supertask.errors import ExecutionError

__all__ = ["Call", "FuturesFramework"]

_PATIENCE = 5.0
_FETCH = 10.0
_LOST = "its worker was lost", FailureClass.TRANSIENT
_WITHDRAWN = "it was withdrawn", FailureClass.KILLED


class Call(Protocol):
    """A future, of whichever engine."""

    def done(self) -> bool:
        """Tell whether it is over."""

    def result(self, timeout: float, /) -> Any:
        """Return what the function returned, or raise what it raised or what the engine says."""

    def add_done_callback(self, function: Callable[[Any], object], /) -> Any:
        """Have a function called when it is over."""


class FuturesFramework(BatchFramework):
    """Runs bundles as calls of a function, on workers of an engine.

    Parameters
    ----------
    jobs : path, optional
        Folder for the folders of jobs, which workers must see; in the repository unless given.
    staged : bool, optional
        Whether workers cannot see the repository, but only `jobs`.
    slots : int, optional
        How many jobs are with the engine at most at once, running or waiting there.
    late : float, optional
        Seconds to wait for files that a shared file system may show late.
    grace : float, optional
        Seconds that what runs may take to finish once its job is asked to end.
    python : str, optional
        The interpreter on the workers; the workers' own unless given.
    """

    engine = "engine"
    """Its name, for messages."""
    at_a_time = 10

    def __init__(
        self,
        jobs: str | Path | None = None,
        *,
        staged: bool = False,
        slots: int = SLOTS,
        late: float = 30.0,
        grace: float = 20.0,
        python: str | None = None,
    ) -> None:
        super().__init__(jobs, staged=staged, slots=slots, late=late, grace=grace, python=python)
        self._interpreter = python or ""
        self._manner = ""
        self._home = Path()
        self._calls: dict[str, Call] = {}
        self._over: dict[str, Call] = {}
        """Jobs that have ended in order, as their folders say → their calls."""
        self._ended: dict[str, tuple[str, FailureClass]] = {}
        """Jobs whose calls are over → why, should they not have said so themselves."""
        self._cancelled: set[str] = set()
        self._moved = threading.Event()
        self._heard: deque[str] = deque()
        """Names of jobs whose calls are over, as the engine's threads say."""

    # -- what an engine does ------------------------------------------------------------------

    @property
    def here(self) -> int:
        """How many jobs run at once on threads of this very process; none where workers are elsewhere."""
        return 0

    @abc.abstractmethod
    def open(self, folder: Path) -> None:
        """Reach the engine, or start it.

        Parameters
        ----------
        folder : Path
            Of the run; the engine may write there.

        Raises
        ------
        ExecutionError
            It is not installed or cannot be reached; says what to do.
        """

    @abc.abstractmethod
    def call(self, job: Job, *arguments: str) -> Call:
        """Have `errand.run` called with these arguments."""

    @abc.abstractmethod
    def closed(self) -> str:
        """Return why the engine takes no more calls; nothing as long as it does."""

    @abc.abstractmethod
    def is_loss(self, error: BaseException) -> bool:
        """Tell whether an exception says that a worker was lost, not that the call cannot be made."""

    @abc.abstractmethod
    def close(self) -> None:
        """Leave the engine, and end what was started here."""

    def withdraw(self, call: Call) -> None:
        """Tell the engine that a call is not wanted any more, as far as it can take that."""

    # -- what is the same for all -------------------------------------------------------------

    def prepare(self, plan: ScienceDag, butler: AbstractButler) -> None:
        """Take what jobs of an earlier driver made, and end those that have not ended."""
        self._home = self.jobs or folder_for(plan, butler)
        super().prepare(plan, butler)

    def walk(self, driver: Driver) -> None:
        """Run all that the driver hands out; what was started here ends with it."""
        manner = Manner(
            session=secrets.token_hex(8),
            home=os.getcwd(),
            python=self._interpreter,
            scratch=driver.workplace.scratch,
            memory=driver.workplace.overhead_memory,
            late=self.late,
            grace=self.grace,
        )
        self._manner = manner.to_text()
        try:
            errand.prepare(manner, self.here, _modules(driver))
            self.open(driver.folder.path)
            try:
                super().walk(driver)
            finally:
                self.close()
        finally:
            errand.dismiss(manner.session)  # an engine's workers may be threads of this process
            self._calls.clear()
            self._heard.clear()
            self._over.clear()
            self._ended.clear()
            self._cancelled.clear()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Have jobs called for."""
        self._check_open()
        for job in jobs:
            # Who claims it, to run it or to withdraw it, does so there.
            job.folder.mkdir(parents=True, exist_ok=True)
            made = self.call(job, str(job.folder), self._manner)
            self._calls[job.name] = made
            made.add_done_callback(partial(self._hear, job.name))

    def _hear(self, name: str, _: object) -> None:
        self._heard.append(name)
        self._moved.set()

    def wait(self, seconds: float) -> Collection[str]:
        """Wait until calls are over, at most for a time; return names of their jobs."""
        self._moved.wait(seconds)
        self._moved.clear()
        return {self._heard.popleft() for _ in range(len(self._heard))}

    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """Say which calls are over. One that is not may wait or run: engines do not tell.

        Raises
        ------
        ExecutionError
            The engine is closed, or its workers cannot run jobs.
        """
        if self._calls:
            self._check_open()  # calls to an engine that is gone may never be over
        return {name: JobState.RUNNING if self._is_open(name) else JobState.GONE for name in names}

    def _is_open(self, name: str) -> bool:
        call = self._calls.get(name)
        if call is None:
            # Over, or of a driver that went away.
            over = name in self._over or name in self._ended
            return not over and Piece(JobFolder(self._home / name)).is_running
        if not call.done():
            return True
        del self._calls[name]
        if JobFolder(self._home / name).done.exists():
            self._over[name] = call  # what it returned need not be fetched: a way to the engine and back
        else:
            self._ended[name] = self._why(name, call)
        return False

    def _why(self, name: str, call: Call) -> tuple[str, FailureClass]:
        """Return why a call is over, should its job not have said so itself.

        Raises
        ------
        ExecutionError
            The engine is closed, or its workers cannot run jobs: so it would be with every other one.
        """
        try:
            # Over does not mean here: what was returned may be gone with a worker.
            ended = errand.Ended.from_text(call.result(_FETCH))
        except Exception as error:
            self._check_open()
            if isinstance(error, TimeoutError) or self.is_loss(error):
                return _LOST
            raise ExecutionError(
                f"workers of {self.engine} cannot run jobs: {type(error).__name__}: {error}. SuperTask and "
                "what the plan needs must be installed where they run, in the same versions as here"
            ) from error
        if ended.begun_before:
            return _LOST
        if name not in self._cancelled and (ended.code is None or ended.code == ExitCode.BAD_INPUT):
            raise ExecutionError(f"job {name} could not begin on a worker of {self.engine}: {ended.said}")
        return ended.said, FailureClass.KILLED

    def _check_open(self) -> None:
        why = self.closed()
        if why:
            raise ExecutionError(
                f"{self.engine} takes no more jobs: {why}. What has finished stays finished: the same "
                "command goes on from there, with this or any other framework"
            )

    def cancel(self, names: Sequence[str], *, at_once: bool = False) -> None:
        """End jobs: one that has not begun is withdrawn, one that runs finds it in its folder."""
        for name in names:
            folder = self._home / name
            if name in self._ended or name in self._over:
                continue
            self._cancelled.add(name)
            if errand.claim(folder):
                call = self._calls.pop(name, None)
                self._ended[name] = _WITHDRAWN
                if call is not None:
                    self.withdraw(call)
            else:
                errand.tell(folder, at_once=at_once)
        until = time.monotonic() + (_PATIENCE if at_once else 0.0)
        while time.monotonic() < until and not all(call.done() for call in self._calls.values()):
            self.wait(0.1)

    def forget(self, name: str) -> None:
        """Take note that nothing more is asked about a job."""
        self._calls.pop(name, None)
        self._over.pop(name, None)
        self._ended.pop(name, None)
        self._cancelled.discard(name)

    def why_gone(self, name: str) -> tuple[str, FailureClass]:
        """Say why a job ended without saying so itself, and what that means for trying again."""
        call = self._over.pop(name, None)
        if call is not None:
            self._ended[name] = self._why(name, call)
        return self._ended.get(name, _LOST)


def _modules(driver: Driver) -> list[str]:
    """Return modules of the tasks; none where variables are asked for, which these must see when imported."""
    if driver.surroundings.environ:
        return []
    return driver.plan.task_modules()
