"""SlurmFramework: bundles as jobs of Slurm, submitted in arrays.

What is ready is submitted at once, one array for each request of memory and time. Which job of an array runs
which bundle stands in a file beside the folders of the jobs, written before the array is submitted; so a
driver that comes later finds the jobs of one that went away, by the name of the array.
"""

from __future__ import annotations

import math
import os
import secrets
import shlex
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import attrs

from executors.batch import BatchFramework, Chained, Job, JobState
from executors.driving.driver import Driver
from executors.engines import EngineOptions
from executors.jobs.enginejobs import SLOTS
from executors.jobs.folder import write_whole
from executors.jobs.settling import folder_for
from executors.slurm.chains import Array, arrays_of
from executors.slurm.controller import Controller, Known
from executors.slurm.site import SlurmSite
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler
from supertask.configs.policy import FailureClass

__all__ = ["SlurmFramework", "ranges", "reason_of", "state_of", "submitted_in"]

_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED", "SPECIAL_EXIT"}
_RUNNING = {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "STOPPED", "RESIZING"}
_WHY = {
    "TIMEOUT": ("its job ran out of time", FailureClass.TIMEOUT),
    "DEADLINE": ("its job ran out of time", FailureClass.TIMEOUT),
    "OUT_OF_MEMORY": ("its job used more memory than it had asked for", FailureClass.OUT_OF_MEMORY),
    "NODE_FAIL": ("the node of its job failed", FailureClass.TRANSIENT),
    "BOOT_FAIL": ("the node of its job failed", FailureClass.TRANSIENT),
    "PREEMPTED": ("its job was preempted", FailureClass.TRANSIENT),
}
_PUT_BACK = "its job was put back in the queue", FailureClass.TRANSIENT
"""By an administrator, for a job that is more urgent, or as its node failed."""
_HELD = {"launch failed requeued held", "job requeued in held state", "DependencyNeverSatisfied"}
_KEPT = {"launch failed requeued held", "job requeued in held state", "JobHeldUser", "JobHeldAdmin"}
_FOLDER = ".slurm"
_LOOK = 0.1
"""Seconds between two looks at least."""
_PATIENCE = 4.0
"""The same, as a multiple of what a look takes."""
_ENDING = 3.0
"""Seconds to wait for what comes of a job that is about to end."""
_SHOWN = 500


@attrs.frozen
class _Place:
    """Where in which array a job is."""

    array: str
    index: int


class SlurmFramework(BatchFramework):
    """Runs bundles as jobs of Slurm.

    Parameters
    ----------
    jobs : path, optional
        Folder for the folders of jobs, on a file system that nodes see; in the repository unless given.
    site : SlurmSite, optional
        What is said with each job.
    staged : bool, optional
        Whether nodes cannot see the repository, but only `jobs`.
    slots : int, optional
        How many jobs are submitted at most at once.
    late : float, optional
        Seconds to wait for files that a shared file system may show late.
    grace : float, optional
        Seconds that what runs may take to finish once its job is asked to end.
    python : str, optional
        The interpreter on the nodes; this one unless given.
    controller : Controller, optional
        How to reach Slurm, where it is not as everywhere.
    detached : bool, optional
        As for `BatchFramework`.
    """

    follows = True

    def __init__(
        self,
        jobs: str | Path | None = None,
        *,
        site: SlurmSite | None = None,
        staged: bool = False,
        slots: int = SLOTS,
        late: float = 30.0,
        grace: float = 20.0,
        python: str | None = None,
        controller: Controller | None = None,
        detached: bool = False,
    ) -> None:
        super().__init__(
            jobs, staged=staged, slots=slots, late=late, grace=grace, python=python, detached=detached
        )
        self.site = site or SlurmSite()
        self.controller = controller or Controller()
        self._places: dict[str, _Place] = {}
        self._known: dict[_Place, Known] = {}
        self._place = Path(_FOLDER)
        self._watched: set[str] = set()
        self._since: dict[str, float] = {}
        """Array → when it was submitted."""
        self._looked = -math.inf
        self._due = -math.inf

    @classmethod
    def from_options(cls, options: EngineOptions) -> Self:
        """Make one as a command line says it."""
        site = options.site_as(SlurmSite)
        return cls(
            options.jobs, site=site, staged=options.staged, slots=options.slots, detached=options.detached
        )

    def prepare(self, plan: ScienceDag, butler: AbstractButler) -> None:
        """Take what jobs of an earlier driver made, and end those that have not ended."""
        self.open(self.jobs or folder_for(plan, butler))
        super().prepare(plan, butler)

    def walk(self, driver: Driver) -> None:
        """Run all that the driver hands out."""
        self._place = (self.jobs or driver.folder.path / "jobs") / _FOLDER
        super().walk(driver)
        if not self.detached and not driver.tally.failures():
            # Lists of arrays and what jobs printed: of use only where something went wrong.
            shutil.rmtree(self._place, ignore_errors=True)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit jobs, those of equal requests as one array.

        Raises
        ------
        ExecutionError
            Slurm is not there, or refuses them.
        """
        alike: dict[tuple[str, ...], list[Job]] = {}
        for job in jobs:
            alike.setdefault(tuple(self.site.asked(job)), []).append(job)
        most = self.controller.largest_array
        for asked, members in alike.items():
            for first in range(0, len(members), most):
                self.submit_jobs(dict(enumerate(members[first : first + most])), asked)

    def submit_chained(self, chained: Sequence[Chained]) -> None:
        """Submit jobs that wait for each other, as arrays with dependencies.

        Raises
        ------
        ExecutionError
            Slurm is not there, or refuses them.
        """
        numbers: dict[Array, str] = {}
        most = self.controller.largest_array
        for array in arrays_of(chained, lambda each: tuple(self.site.asked(each.job)), most):
            jobs = {i: each.job for i, each in array.jobs.items()}
            options = [*self.site.asked(next(iter(jobs.values()))), "--kill-on-invalid-dep=yes"]
            options += array.dependencies(numbers.__getitem__)
            numbers[array] = self.submit_jobs(jobs, options)

    def submit_jobs(self, jobs: Mapping[int, Job], options: Sequence[str]) -> str:
        """Submit jobs by their indices in an array; return its number."""
        array = self.new_array()
        self._place.mkdir(parents=True, exist_ok=True)
        listed = "".join(f"{i} {job.folder}\n" for i, job in jobs.items())
        write_whole(self._place / f"{array}.txt", listed.encode())
        command = self._command(next(iter(jobs.values())), array)
        number = self.submit_array(array, jobs, command, ["--requeue", *options])
        self._places |= {job.name: _Place(array, i) for i, job in jobs.items()}
        return number

    @property
    def submitted(self) -> list[str]:
        """Names of jobs that are known to have been submitted."""
        return list(self._places)

    def new_array(self) -> str:
        """Return a name that no other array has."""
        return f"supertask-{secrets.token_hex(6)}"

    def submit_array(
        self,
        array: str,
        indices: Collection[int],
        command: str,
        options: Sequence[str],
    ) -> str:
        """Submit one line of shell as the jobs of an array; return its number.

        Raises
        ------
        ExecutionError
            Slurm is not there, or refuses them.
        """
        (self._place / array).mkdir(parents=True, exist_ok=True)
        throttle = f"%{self.site.throttle}" if self.site.throttle else ""
        self._since[array] = math.inf
        number = self.controller.submit(
            [
                f"--job-name={array}",
                f"--array={ranges(indices)}{throttle}",
                f"--output={self._place / array}/%a.log",
                f"--chdir={os.getcwd()}",
                "--open-mode=append",
                *options,
                *self.site.arguments(),
            ],
            "\n".join(["#!/bin/sh", *self.site.setup, command, ""]),
        )
        self._since[array] = time.monotonic()
        return number

    def _command(self, job: Job, array: str) -> str:
        listed = shlex.quote(str(self._place / f"{array}.txt"))
        # Commands differ in the folder alone.
        words = ['"$folder"' if word == str(job.folder) else shlex.quote(word) for word in job.command]
        return f'folder=$(sed -n "s/^$SLURM_ARRAY_TASK_ID //p" {listed})\nexec {" ".join(words)}'

    # -- what Slurm knows ---------------------------------------------------------------------

    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """Say where jobs stand, from Slurm's own list of them."""
        self._watched = {self._places[name].array for name in names if name in self._places}
        self._look()
        return {name: self._state_at(self._places[name]) for name in names if name in self._places}

    def _state_at(self, place: _Place) -> JobState:
        known = self._known.get(place)
        if known is None and self._since.get(place.array, -math.inf) > self._looked:
            return JobState.WAITING  # submitted since
        return state_of(known)

    def _look(self, *, now: bool = False) -> None:
        """Ask Slurm for its list, unless that was done lately: with many jobs it is long."""
        begin = time.monotonic()
        if not now and begin < self._due:
            return
        arrays = self._watched | self.watched()
        self._known = {_Place(k.name, k.index): k for k in self.controller.known(sorted(arrays))}
        self._looked = begin
        self._due = time.monotonic() + max(_LOOK, _PATIENCE * (time.monotonic() - begin))

    def watched(self) -> set[str]:
        """Return arrays that are looked at besides those of bundles."""
        return set()

    def known_as(self, array: str, index: int) -> Known | None:
        """Return what Slurm said of one job of an array when it was looked last."""
        known = self._known.get(_Place(array, index))
        if known is None and self._since.get(array, -math.inf) > self._looked:
            return Known(array, index, "", "PENDING")
        return known

    def cancel(self, names: Sequence[str], *, at_once: bool = False) -> None:
        """End jobs: a waiting one never begins."""
        places = [self._places[name] for name in names if name in self._places]
        if not places:
            return
        self._watched |= {place.array for place in places}
        self._look(now=True)
        found = [known for place in places if (known := self._known.get(place)) is not None]
        ids = [known.id for known in found if state_of(known) is not JobState.GONE]
        if ids:
            self.controller.cancel(ids, at_once=at_once)
            self._due = 0.0

    def why_gone(self, name: str) -> tuple[str, FailureClass]:
        """Say what Slurm knows of a job's end."""
        return reason_of(self.controller, self._known.get(self._places.get(name, _Place("", 0))))

    def printed(self, array: str, index: int) -> str:
        """Return the end of what a job printed, in one line."""
        try:
            data = (self._place / array / f"{index}.log").read_bytes()
        except OSError:
            return ""
        return " ".join(data[-_SHOWN:].decode(errors="replace").split())

    def last_words(self, name: str) -> str:
        """Return the end of what a job printed."""
        place = self._places.get(name)
        return "" if place is None else self.printed(place.array, place.index)

    def open(self, home: Path) -> None:
        """Work in a folder of jobs; find those that an earlier driver submitted."""
        self._place = home / _FOLDER
        self._places |= {Path(folder).name: _Place(array, i) for array, i, folder in submitted_in(home)}

    def held(self, names: Sequence[str]) -> Mapping[str, str]:
        """Say which of some jobs wait until they are released, and Slurm's reason."""
        known = {name: self._known.get(self._places[name]) for name in names if name in self._places}
        return {
            n: k.reason
            for n, k in known.items()
            if k is not None and k.state in _WAITING and k.reason in _KEPT
        }


def submitted_in(home: Path) -> Iterator[tuple[str, int, str]]:
    """Give what was submitted for the jobs in a folder: array, index in it, folder of the job."""
    for listed in sorted((home / _FOLDER).glob("supertask-*.txt")):
        for line in listed.read_text(encoding="utf-8").splitlines():
            index, _, folder = line.partition(" ")
            yield listed.stem, int(index), folder


def ranges(indices: Collection[int]) -> str:
    """Return indices as ``--array`` takes them, such as ``0-3,7``."""
    found: list[list[int]] = []
    for i in sorted(indices):
        if found and found[-1][1] == i - 1:
            found[-1][1] = i
        else:
            found.append([i, i])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def state_of(known: Known | None) -> JobState:
    """Return where a job stands, from what Slurm knows of it."""
    if known is None:
        return JobState.GONE
    if known.state in _WAITING:
        # One that could not be launched waits for an administrator, and one whose dependency failed for ever;
        # what it was to do goes into another.
        return JobState.GONE if known.reason in _HELD else JobState.WAITING
    return JobState.RUNNING if known.state in _RUNNING else JobState.GONE


def reason_of(controller: Controller, known: Known | None) -> tuple[str, FailureClass]:
    """Return why a job ended that did not say so itself, and what that means for trying again."""
    state, reason = "", ""
    until = time.monotonic() + _ENDING
    while known is not None:
        said = controller.why(known.id)
        state, reason = said.get("JobState", known.state), said.get("Reason", "")
        # It is about to end, or to be put back in the queue.
        if state != "COMPLETING" or reason == "TimeLimit" or time.monotonic() > until:
            break
        time.sleep(_LOOK)
    if reason == "TimeLimit":
        state = "TIMEOUT"  # it was told to end and is about to: until then its state is COMPLETING
    ended = ("its job was ended from outside", FailureClass.KILLED)
    why, kind = _PUT_BACK if state in _WAITING else _WHY.get(state, ended)
    return (f"{why} (Slurm's {state}, job {known.id})" if known is not None and state else why), kind
