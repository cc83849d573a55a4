"""SlurmPilotFramework: a few long jobs of Slurm, whose warm workers take one bundle after another.

What is ready goes into a queue in the folder of the jobs (`executors.pilots`). As long as there are orders
there are pilots, as many as wanted at most; those that end, for whatever reason, are replaced. What a pilot
had in its hands when it went is gone with it, and handed out anew by the rules of all batch systems. A bundle
that needs more memory or time than a pilot has is a job of its own.
"""

from __future__ import annotations

import math
import shlex
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Self

from executors.batch import Job, JobState
from executors.driving.driver import Driver
from executors.engines import EngineOptions
from executors.jobs.enginejobs import SLOTS
from executors.jobs.settling import folder_for
from executors.pilots.queue import ENDED, Order, Queue
from executors.slurm.controller import Controller, Known
from executors.slurm.framework import SlurmFramework, reason_of, state_of
from executors.slurm.site import SlurmSite
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler
from supertask.configs.policy import FailureClass
from supertask.errors import ExecutionError

__all__ = ["SlurmPilotFramework"]

_FOLDER = ".pilots"
_ARRAYS = "arrays"
_DEATHS = 3
"""So many pilots in a row may end before they have begun."""
_PATIENCE = 5.0
_LOOK = 0.05
_GONE = JobState.GONE
_SILENT = 300.0
"""Seconds without a beat after which a pilot is given up, whatever Slurm says."""


class SlurmPilotFramework(SlurmFramework):
    """Runs bundles in pilots.

    Parameters
    ----------
    jobs : path, optional
        Folder for the folders of jobs and the queue, on a file system that nodes see; in the repository
        unless given.
    pilots : int, optional
        How many there are at most.
    scratch : str, optional
        Folder on a local disk of the nodes, as for `ExecutionFramework.execute`.
    site, staged, slots, late, grace, python, controller : optional
        As for `SlurmFramework`.
    """

    at_a_time = 10
    follows = False  # pilots end with who drives them

    def __init__(
        self,
        jobs: str | Path | None = None,
        *,
        pilots: int = 2,
        site: SlurmSite | None = None,
        staged: bool = False,
        slots: int = SLOTS,
        late: float = 30.0,
        grace: float = 20.0,
        python: str | None = None,
        controller: Controller | None = None,
    ) -> None:
        super().__init__(
            jobs,
            site=site,
            staged=staged,
            slots=slots,
            late=late,
            grace=grace,
            python=python,
            controller=controller,
        )
        if pilots < 1:
            raise ExecutionError(f"pilot mode needs 1 pilot or more, not {pilots}")
        self.pilots = pilots
        self._queue: Queue | None = None
        self._orders: dict[str, str] = {}
        """Name of a job → that of its order."""
        self._heard: set[str] = set()
        """Orders that are known to have ended."""
        self._count = 0
        self._arrays: dict[str, int] = {}
        """Arrays of pilots → how many each has."""
        self._unborn = 0
        self._counted: set[str] = set()
        self._beats: dict[str, tuple[str, float]] = {}
        self._scratch = ""
        self._tending = False
        """Whether pilots are launched: by who drives, not by who looks."""

    @classmethod
    def from_options(cls, options: EngineOptions) -> Self:
        """Make one as a command line says it."""
        return cls(
            options.jobs,
            pilots=options.pilots or 2,
            site=options.site_as(SlurmSite),
            staged=options.staged,
            slots=options.slots,
        )

    # -- sessions -----------------------------------------------------------------------------

    def prepare(self, plan: ScienceDag, butler: AbstractButler) -> None:
        """Take what jobs of an earlier driver made, and end those that have not ended."""
        super().prepare(plan, butler)
        home = (self.jobs or folder_for(plan, butler)) / _FOLDER
        for path in home.iterdir() if home.is_dir() else ():
            if self._queue is None or path != self._queue.path:
                shutil.rmtree(path, ignore_errors=True)

    def open(self, home: Path) -> None:
        """Work in a folder of jobs; find those that an earlier driver submitted, its queue and its pilots."""
        super().open(home)
        self._reopen(home / _FOLDER)

    def walk(self, driver: Driver) -> None:
        """Run all that the driver hands out."""
        home = (self.jobs or driver.folder.path / "jobs") / _FOLDER
        if self._queue is None:
            self._queue = Queue(home / f"{time.time_ns():x}")
        self._queue.make()
        self._scratch = driver.workplace.scratch
        self._tending = True
        try:
            super().walk(driver)
        except BaseException:
            self._end_pilots(0.0)
            raise
        self._end_pilots(_PATIENCE)
        shutil.rmtree(home, ignore_errors=True)

    def _reopen(self, home: Path) -> None:
        """Go on with the queue of a driver that went away: its pilots may still be there."""
        for path in sorted(home.iterdir(), reverse=True) if home.is_dir() else ():
            queue = Queue(path)
            if self._queue is not None or queue.is_over or not (path / _ARRAYS).is_file():
                continue
            for line in (path / _ARRAYS).read_text(encoding="utf-8").splitlines():
                name, _, size = line.partition(" ")
                self._arrays[name] = int(size)
                self._counted |= {f"{name}.{i}" for i in range(int(size))}
            self._queue = queue
            self._orders = {order.partition(".")[2]: order for order in queue.stands()}
            self._count = max((int(o.partition(".")[0]) for o in self._orders.values()), default=0)

    def _end_pilots(self, patience: float) -> None:
        """End pilots: what is idle does so by itself, soon."""
        assert self._queue is not None  # noqa: S101 - made before anything runs
        self._queue.close()
        until = time.monotonic() + patience
        while True:
            beats = self._queue.beats()
            # What has not begun has nothing to end in order; what has ended is Slurm's to clear away.
            asked = [p for p in self._pilots() if beats.get(p) != ENDED]
            begun = [p for p in asked if p in beats] if time.monotonic() < until else []
            if len(begun) < len(asked):
                self._look(now=True)
                found = [self._pilot(p) for p in asked if p not in begun]
                self.controller.cancel(
                    [k.id for k in found if k is not None and k.id and state_of(k) is not _GONE]
                )
            if not begun:
                break
            time.sleep(_LOOK)
        self._arrays.clear()

    # -- what an engine does ------------------------------------------------------------------

    def submit(self, jobs: Sequence[Job]) -> None:
        """Put jobs in the queue; those that are too much for a pilot are submitted as they are.

        Raises
        ------
        ExecutionError
            Slurm is not there, or refuses them.
        """
        assert self._queue is not None  # noqa: S101 - made before anything runs
        large, orders = [], []
        for job in jobs:
            if not self.site.fits_a_pilot(job):
                large.append(job)
                continue
            self._count += 1
            self._orders[job.name] = f"{self._count:08d}.{job.name}"
            seconds = None if job.seconds is None else 60.0 * self.site.request(None, job.seconds)[1]
            orders.append(Order(self._orders[job.name], str(job.folder), seconds))
        if large:
            super().submit(large)
        self._queue.put(orders)
        self._tend(len(orders))

    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """Say where jobs stand: from the queue, and from Slurm's list of pilots."""
        if self._queue is None:
            return super().states(names)
        own = [name for name in names if name in self._orders]
        found = dict(super().states([name for name in names if name not in self._orders]))
        stands = self._queue.stands()
        for name in own:
            found[name] = self._state_in(stands.get(self._orders[name]))
        if self._tending:
            self._tend(sum(found[name] is not JobState.GONE for name in own))
        return found

    def wait(self, seconds: float) -> Collection[str]:
        """Wait until orders have ended, but not longer than this; return names of their jobs."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(_LOOK, left))
            heard = self._queue.endings() - self._heard if self._queue is not None else set()
            if heard:
                self._heard |= heard
                return [order.partition(".")[2] for order in heard]
        return ()

    def _state_in(self, where: str | None) -> JobState:
        if where == "":
            return JobState.WAITING
        if where is None or where == ENDED:
            return JobState.GONE
        pilot = where.rpartition(".")[0]
        known = self._pilot(pilot)
        if state_of(known) is JobState.GONE or self._is_silent(pilot):
            return JobState.GONE
        return JobState.RUNNING

    def _pilots(self) -> list[str]:
        return [f"{array}.{i}" for array, size in self._arrays.items() for i in range(size)]

    def _pilot(self, name: str) -> Known | None:
        array, _, index = name.rpartition(".")
        return self.known_as(array, int(index))

    def cancel(self, names: Sequence[str], *, at_once: bool = False) -> None:
        """End jobs: a waiting one never begins."""
        queue = self._queue
        own = [name for name in names if name in self._orders] if queue is not None else []
        super().cancel([name for name in names if name not in own], at_once=at_once)
        for name in own:
            if queue is not None and not queue.withdraw(self._orders[name]):
                queue.cancel(self._orders[name], at_once=at_once)

    def why_gone(self, name: str) -> tuple[str, FailureClass]:
        """Say what pilot, or Slurm, know of a job's end."""
        order = self._orders.get(name)
        if order is None or self._queue is None:
            return super().why_gone(name)
        said = self._queue.ending(order)
        if said is not None:
            late = "longer than" in said["why"]
            return f"in a pilot, {said['why']}", FailureClass.TIMEOUT if late else FailureClass.KILLED
        where = self._queue.stands().get(order, "")
        return reason_of(self.controller, self._pilot(where.rpartition(".")[0]) if "." in where else None)

    def forget(self, name: str) -> None:
        """Take note that nothing more is asked about a job."""
        order = self._orders.pop(name, None)
        self._heard.discard(order or "")
        if order is not None and self._queue is not None:
            self._queue.forget(order)

    # -- pilots -------------------------------------------------------------------------------

    def watched(self) -> set[str]:
        """Return arrays whose jobs are asked for besides those of bundles."""
        return set(self._arrays)

    def _tend(self, orders: int) -> None:
        """See to it that there are pilots for so many orders."""
        assert self._queue is not None  # noqa: S101 - asked by those who call
        self._look()
        beats = self._queue.beats()
        now = time.monotonic()
        for pilot, text in beats.items():
            if self._beats.get(pilot, ("", 0.0))[0] != text:
                self._beats[pilot] = (text, now)
        alive, silent = 0, []
        for pilot in self._pilots():
            known = self._pilot(pilot)
            if state_of(known) is _GONE or beats.get(pilot) == ENDED:
                if state_of(known) is _GONE and pilot not in self._counted:
                    self._counted.add(pilot)
                    self._unborn = 0 if pilot in beats else self._unborn + 1
            elif self._is_silent(pilot) and known is not None:
                silent.append(known.id)
            else:
                alive += 1
                self._unborn = 0 if pilot in beats else self._unborn
        if silent:
            self.controller.cancel(silent, at_once=True)
        if self._unborn >= _DEATHS:
            raise ExecutionError(
                f"{self._unborn} pilots in a row ended before they began: does {self.python} have what the "
                f"plan needs where jobs run, and do they see {self._queue.path}? {self._last_words()}"
            )
        wanted = min(self.pilots, math.ceil(orders / self.site.workers))
        if wanted > alive:
            self._launch(wanted - alive)

    def _is_silent(self, pilot: str) -> bool:
        """Tell whether a pilot that Slurm says is running has not been heard of for long."""
        text, since = self._beats.get(pilot, ("", math.inf))
        return text != ENDED and time.monotonic() - since > _SILENT

    def _launch(self, n: int) -> None:
        assert self._queue is not None  # noqa: S101 - asked by those who call
        site = self.site
        array = self.new_array()
        # Written before, so that a driver that comes later finds pilots that this one did not live to note.
        with (self._queue.path / _ARRAYS).open("a", encoding="utf-8") as file:
            file.write(f"{array} {n}\n")
        words = [self.python, "-m", "executors.pilots.pilot", str(self._queue.path)]
        more = [f"--workers={site.workers}", f"--idle={site.pilot_idle:g}",
                f"--seconds={60 * site.pilot_minutes}", f"--grace={self.grace:g}",
                f"--late={self.late:g}"]  # fmt: skip
        if self._scratch:
            more.append(f"--scratch={self._scratch}")
        self.submit_array(
            array,
            range(n),
            f'exec {shlex.join(words)} "{array}.$SLURM_ARRAY_TASK_ID" {shlex.join(more)}',
            ["--no-requeue", *site.asked_by_pilot()],
        )
        self._arrays[array] = n

    def _last_words(self) -> str:
        """Return the end of what a pilot printed, if it did."""
        for array in reversed(self._arrays):
            said = self.printed(array, 0)
            if said:
                return f"It said: {said}"
        return "What Slurm keeps of their output may say why"
