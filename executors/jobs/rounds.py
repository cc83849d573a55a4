"""The rounds of a session in which jobs of an engine run bundles: hand out, hear, clear away, and again.

What came of a job is read in its folder, while it runs; the engine is asked only whether it still lives.
Where its folder says that it ended and the engine that it runs, the folder is right; where the engine says
that it is gone and the folder does not say that it ended, the job was killed: what it ran is tried again as
the task's failure policy says, what it had not begun goes into another job.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import attrs

from executors.decisions.work import Work
from executors.driving.cutshort import cut_short
from executors.driving.driver import Driver
from executors.driving.tokens import TokenSchedule
from executors.host.processes import is_alive
from executors.jobs.enginejobs import Chained, Job, JobState
from executors.jobs.folder import JobFolder
from executors.jobs.following import work_left
from executors.jobs.foresight import foresee
from executors.jobs.gathering import Begun, Gatherer, Progressed
from executors.jobs.packing import Packer
from executors.jobs.pieces import Piece
from executors.jobs.requesting import Requesting
from executors.jobs.stacking import Stack
from executors.outcome import Attempt, Failure, QuantumStatus
from executors.quanta.jobfolders import job_folders
from supertask.configs.policy import FailureClass
from supertask.errors import ExecutionError

__all__ = ["Engine", "Round"]

_log = logging.getLogger(__name__)
_MOST = 100
"""Quanta of one job, where the plan has no bundles."""
_ROUND = 0.05
_SLOW = 1.0
"""Seconds between two looks: at first, and at most."""
_SHARE = 5.0
"""So many times as long as a look at all jobs took, those that ended are looked at alone."""
_STOPS = 10
"""So often a quantum may be broken off with its job before that counts as a failure."""
_DEATHS = 3
"""So many jobs in a row may end before one has run anything."""


class Engine(Protocol):
    """What rounds ask of a framework; see `executors.batch.BatchFramework`."""

    jobs: Path | None
    staged: bool
    detached: bool
    slots: int
    at_a_time: int
    late: float
    grace: float
    python: str
    going: tuple[str, ...]

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand jobs to the engine."""

    def submit_chained(self, chained: Sequence[Chained]) -> None:
        """Hand jobs to the engine that wait for each other."""

    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """Say where jobs stand; those left out are gone."""

    def cancel(self, names: Sequence[str], *, at_once: bool = False) -> None:
        """End jobs."""

    def end(self, names: Sequence[str]) -> None:
        """End jobs, and wait until they have ended."""

    def why_gone(self, name: str) -> tuple[str, FailureClass]:
        """Say why a job ended without saying so itself."""

    def last_words(self, name: str) -> str:
        """Return the end of what a job printed."""

    def forget(self, name: str) -> None:
        """Take note that nothing more is asked about a job."""

    def wait(self, seconds: float) -> Collection[str]:
        """Wait between two looks; return names of jobs that are known to have ended."""


@attrs.define(eq=False)
class _Active:
    job: Job
    piece: Piece
    left: dict[int, None]
    """Quanta that have not ended, in order."""
    current: Begun | None = None
    gone: float = 0.0
    """Since when the engine says that it is gone."""


class Round:
    """Jobs of one session of a run.

    Parameters
    ----------
    engine : Engine
        Who runs them.
    driver : Driver
        Says what is to run, and takes what came of it.
    """

    def __init__(self, engine: Engine, driver: Driver) -> None:
        self._engine = engine
        self._driver = driver
        self._home = engine.jobs or driver.folder.path / "jobs"
        self._active: dict[str, _Active] = {}
        # All that began in earlier sessions has ended by now, but for what jobs go on with.
        before = driver.numbers(range(driver.plan.n_quanta))
        self._ended = lambda q: before.get(q, 1) - 1
        self._stops: dict[int, int] = {}
        """Quantum → how often its job was stopped before it had ended."""
        self._gatherer = Gatherer(
            driver.plan, driver.datastore, driver.journal, self._ended, engine.late, self._why_stopped
        )
        self._packer = Packer(
            plan=driver.plan,
            datastore=driver.datastore,
            header=driver.header,
            init_inputs=driver.init_inputs,
            surroundings=driver.surroundings,
            folders=job_folders(driver.surroundings, driver.plan, driver.header.plan, own_process=True),
            limits={
                label: [(one.timeout, one.memory) for one in each]
                for label, each in driver.retrying.limits.items()
                if any(each)
            },
            elide=driver.workplace.elide,
            staged=engine.staged,
        )
        scratch = driver.workplace.scratch
        self._words: tuple[str, ...] = (f"--grace={engine.grace:g}", f"--late={engine.late:g}")
        self._words += (f"--scratch={scratch}",) if scratch else ()
        self._words += ("--chained",) if engine.detached else ()
        self._requesting = Requesting(driver.plan, driver.retrying, driver.jobs)
        self._stack = Stack(self._packer, self._home, f"{time.time_ns():x}")
        self._stopping = False
        self._host = socket.gethostname()
        self._over: list[tuple[JobFolder, int]] = []
        """Jobs that have ended and have their folders yet, and how many quanta with outputs had by then."""
        self._deaths = 0
        self._look_at_all = 0.0
        """When to look at all jobs again, although some are known to have ended."""

    def run(self) -> None:
        """Run all that the driver hands out."""
        self._follow()
        pause = _ROUND
        heard: Collection[str] = ()
        while True:
            driver = self._driver
            if driver.schedule.stopped:
                self._stop()
            else:
                self._hand_out()
            if driver.over and not self._active:
                break
            moved = self._listen(heard)
            driver.pulse()
            self._clear_away()
            pause = _ROUND if moved else min(_SLOW, 1.5 * pause)
            heard = self._engine.wait(pause)
        if self._over:
            driver.collector.flush()
            self._clear_away()
        driver.collector.problems += self._gatherer.problems

    def _follow(self) -> None:
        """Go on with jobs of an earlier driver; end those of which something is planned otherwise now."""
        driver, engine = self._driver, self._engine
        works = {name: work_left(self._home / name, driver.plan, self._ended) for name in engine.going}
        claimed = driver.claim(list(works.values()))
        for (name, work), is_ours in zip(works.items(), claimed, strict=True):
            if is_ours:
                labels = tuple(dict.fromkeys(driver.plan.task_of(q).label for q in work.quanta))
                folder = self._home / name
                job = Job(name=name, folder=folder, command=(), quanta=len(work.quanta), labels=labels)
                self._active[name] = _Active(job, Piece(JobFolder(folder)), dict.fromkeys(work.quanta))
        engine.going = ()
        engine.end([name for name in works if name not in self._active])
        if self._active:
            count = sum(active.job.quanta for active in self._active.values())
            _log.warning(
                "%d jobs of an earlier driver go on, with %d quanta; cancel them to have these run anew",
                len(self._active), count,
            )  # fmt: skip

    # -- handing out --------------------------------------------------------------------------

    def _hand_out(self) -> None:
        driver = self._driver
        made: list[Job] = []
        while len(self._active) < self._engine.slots and not driver.schedule.stopped:
            work = driver.take(min(_MOST, max(1, driver.schedule.margin)))
            if work is None:
                break
            made.append(self._pack(work))
            if len(made) >= self._engine.at_a_time:
                self._submit(made)
                made = []
        if made:
            self._submit(made)

    def _submit(self, jobs: Sequence[Job]) -> None:
        self._stack.flush()
        self._engine.submit(jobs)

    def detach(self) -> None:
        """Submit all that is left to run."""
        driver = self._driver
        if driver.plan.bundling(None) is None:
            raise ExecutionError(
                "what runs without a driver runs in bundles: make some with `supertask batch`"
            )
        if isinstance(driver.schedule, TokenSchedule):
            raise ExecutionError("tokens bound what runs at once, and without a driver nobody counts them")
        names: dict[int, str] = {}
        chained = []
        for ahead in foresee(driver.plan, driver.schedule):
            after = {names[bundle]: quanta for bundle, quanta in ahead.after.items()}
            job = self._pack(ahead.work, ahead.waits, after)
            names[ahead.work.bundle] = job.name
            chained.append(Chained(job, tuple(after)))
        self._stack.flush()
        try:
            self._engine.submit_chained(chained)
        except BaseException:
            self.end_all()
            raise

    def _pack(
        self,
        work: Work,
        waits: Mapping[int, Sequence[int]] | None = None,
        after: Mapping[str, Sequence[int]] | None = None,
    ) -> Job:
        driver = self._driver
        granted = driver.retrying.granted(work.quanta)
        folder = self._stack.add(
            work,
            numbers=driver.numbers(work.quanta),
            missing=driver.missing(work),
            memory=granted,
            waits=waits,
            after=after,
        )
        command = (self._engine.python, "-m", "executors.cmdline", "run-bundle", str(folder), *self._words)
        labels = tuple(self._packer.labels(work))
        made = self._requesting.job(work, folder, command, labels, granted)
        self._active[made.name] = _Active(made, Piece(JobFolder(folder)), dict.fromkeys(work.quanta))
        return made

    # -- hearing ------------------------------------------------------------------------------

    def _listen(self, heard: Collection[str]) -> bool:
        """Take what is new; return whether there was anything.

        To look at all that is active takes its time, so where jobs are known to have ended, others wait.
        """
        began, moved = time.monotonic(), False
        all_of_them = began >= self._look_at_all or not heard
        looked = [name for name in (self._active if all_of_them else heard) if name in self._active]
        for name in looked:
            active = self._active[name]
            for each in self._gatherer.take(active.piece):
                moved = True
                self._note(active, each)
        states = self._engine.states(looked)
        for name in looked:
            active = self._active[name]
            ended = active.piece.ending() is not None and not self._gatherer.is_waiting(active.piece)
            if ended or self._is_lost(active, states.get(name, JobState.GONE)):
                moved = True
                self._close(active)
                self._over.append((active.piece.job, self._driver.collector.n_added))
        if all_of_them:
            now = time.monotonic()
            self._look_at_all = now + _SHARE * (now - began)
        return moved

    def _clear_away(self) -> None:
        """Delete folders of jobs, once what they made is on the disk for good, and then the journal."""
        safe = self._driver.collector.n_safe
        ready = [job for job, n_added in self._over if n_added <= safe]
        if ready:
            self._driver.sync()  # once for all: it takes milliseconds
            for job in ready:
                self._gatherer.clear_away(job)
            self._over = [each for each in self._over if each[1] > safe]

    def _note(self, active: _Active, each: Begun | Progressed | Attempt) -> None:
        driver = self._driver
        if isinstance(each, Progressed):
            driver.progressed(each.index, each.fraction, each.message)
            return
        if isinstance(each, Begun):
            active.current = each
            driver.started(each.index, each.number, each.host, each.pid, each.time)
            return
        if active.current is not None and active.current.index == each.index:
            active.current = None
        if each.index not in active.left:
            return  # of a job that was put back in its queue, and ran it twice
        self._deaths = 0
        del active.left[each.index]
        driver.ended(each)
        if each.status is QuantumStatus.FAILED:
            self._drop_left_out(active)

    def _drop_left_out(self, active: _Active) -> None:
        """Forget what the job leaves out behind a failure in its bundle."""
        for q in self._driver.schedule.not_running(active.left):
            del active.left[q]

    def _is_lost(self, active: _Active, state: JobState) -> bool:
        """Tell whether a job is gone for good, and what it wrote will not come any more."""
        if active.piece.is_running or (state is not JobState.GONE and not self._is_dead(active)):
            active.gone = 0.0
            return False
        if not active.gone:
            active.gone = time.monotonic()
        said = active.piece.job.ending() is not None or self._gatherer.is_waiting(active.piece)
        # A folder on this host shows everything at once; another's end may be seen before its last lines.
        return time.monotonic() - active.gone > (self._engine.late if said else min(_SLOW, self._engine.late))

    def _is_dead(self, active: _Active) -> bool:
        """Tell whether a job began on this very host and its process is gone, whatever the engine says."""
        begun = active.current
        return begun is not None and begun.host == self._host and not is_alive(begun.pid)

    def _close(self, active: _Active) -> None:
        """Take note that a job has ended: of what it was running, and of what it had not begun."""
        driver, job = self._driver, active.job
        del self._active[job.name]
        begun = active.current
        if begun is not None and begun.index in active.left:
            del active.left[begun.index]
            driver.died(self._attempt_of_dead(job.name, begun))
            self._drop_left_out(active)
        elif begun is None and len(active.left) == job.quanta and not self._stopping:
            self._deaths += 1
        driver.give_back(active.left)
        words = self._engine.last_words(job.name) if self._deaths >= _DEATHS else ""
        self._engine.forget(job.name)
        if self._deaths >= _DEATHS:
            raise ExecutionError(
                f"{self._deaths} jobs in a row ended before they ran anything, the last one {job.name}: does "
                f"{self._engine.python} have what the plan needs where jobs run, and do they see "
                f"{self._home}? "
                + (f"It said: {words}" if words else "What the engine keeps of their output may say why")
            )

    def _attempt_of_dead(self, name: str, begun: Begun) -> Attempt:
        why: Failure | str = "its job was ended with the run"
        if not self._stopping:
            said, kind = self._engine.why_gone(name)
            why = Failure("JobDied", f"{said} (process {begun.pid} on {begun.host})", kind=kind)
        where = begun.host, begun.pid
        return cut_short(self._driver.plan, begun.index, begun.number, where, begun.time, why)

    def _why_stopped(self, job: JobFolder, index: int) -> Failure | None:
        """Return why a job that was stopped counts as a failure of what it was running.

        What takes longer than its job may, another job of as many minutes would not see the end of either.
        """
        if self._stopping:
            return None
        said, kind = self._engine.why_gone(job.path.name)
        stops = self._stops[index] = self._stops.get(index, 0) + 1
        if kind is FailureClass.TIMEOUT:
            return Failure("JobDied", said, kind=kind)
        if stops < _STOPS:
            return None
        return Failure("JobDied", f"its job was stopped {stops} times", kind=FailureClass.TRANSIENT)

    # -- the end ------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Let what runs finish, and end."""
        if not self._stopping:
            self._stopping = True
            self._engine.cancel(list(self._active))

    def end_all(self) -> None:
        """End all jobs at once; what they have finished is taken when the run goes on."""
        self._engine.cancel(list(self._active), at_once=True)
