"""SlurmFramework: bundles as jobs of Slurm, submitted in arrays.

What is ready is submitted at once, one array for each request of memory and time. Which job of an array runs
which bundle stands in a file beside the folders of the jobs, written before the array is submitted; so a
driver that comes later finds the jobs of one that went away, by the name of the array.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import attrs

from executors.batch import BatchFramework, Job, JobState
from executors.driver import Driver
from executors.engines import EngineOptions
from executors.jobs.folder import write_whole
from executors.jobs.settling import folder_for
from executors.slurm.controller import Controller, Known
from executors.slurm.site import SlurmSite
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler
from supertask.policy import FailureClass

__all__ = ["SlurmFramework"]

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
_HELD = {"launch failed requeued held", "job requeued in held state"}
_FOLDER = ".slurm"


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
    python : str, optional
        The interpreter on the nodes; this one unless given.
    controller : Controller, optional
        How to reach Slurm, where it is not as everywhere.
    """

    def __init__(
        self,
        jobs: str | Path | None = None,
        *,
        site: SlurmSite | None = None,
        staged: bool = False,
        slots: int = 1000,
        late: float = 30.0,
        python: str | None = None,
        controller: Controller | None = None,
    ) -> None:
        super().__init__(jobs, staged=staged, slots=slots, late=late, python=python)
        self.site = site or SlurmSite()
        self.controller = controller or Controller()
        self._places: dict[str, _Place] = {}
        self._known: dict[_Place, Known] = {}

    @classmethod
    def from_options(cls, options: EngineOptions) -> Self:
        """Make one as a command line says it."""
        site = options.site_as(SlurmSite)
        return cls(options.jobs, site=site, staged=options.staged, slots=options.slots)

    def prepare(self, plan: ScienceDag, butler: AbstractButler) -> None:
        """Take what jobs of an earlier driver made, and end those that have not ended."""
        self._find(self.jobs or folder_for(plan, butler))
        super().prepare(plan, butler)

    def walk(self, driver: Driver) -> None:
        """Run all that the driver hands out."""
        super().walk(driver)
        if not driver.tally.failures():
            # Lists of arrays and what jobs printed: of use only where something went wrong.
            shutil.rmtree((self.jobs or driver.folder.path / "jobs") / _FOLDER, ignore_errors=True)

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
        for asked, members in alike.items():
            self._submit(members, asked)

    def _submit(self, jobs: Sequence[Job], asked: Sequence[str]) -> None:
        array = f"supertask-{secrets.token_hex(6)}"
        place = jobs[0].folder.parent / _FOLDER
        place.mkdir(parents=True, exist_ok=True)
        listed = place / f"{array}.txt"
        write_whole(listed, "".join(f"{job.folder}\n" for job in jobs).encode())
        (place / array).mkdir()
        throttle = f"%{self.site.throttle}" if self.site.throttle else ""
        self.controller.submit(
            [
                f"--job-name={array}",
                f"--array=0-{len(jobs) - 1}{throttle}",
                *asked,
                f"--output={place / array}/%a.log",
                f"--chdir={place}",
                "--requeue",
                "--open-mode=append",
                *self.site.arguments(),
            ],
            self._script(jobs[0], listed),
        )
        self._places |= {job.name: _Place(array, i) for i, job in enumerate(jobs)}

    def _script(self, job: Job, listed: Path) -> str:
        # Commands differ in the folder alone.
        words = ['"$folder"' if word == str(job.folder) else shlex.quote(word) for word in job.command]
        return "\n".join(
            [
                "#!/bin/sh",
                *self.site.setup,
                f'folder=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(listed))})',
                f"exec {' '.join(words)}",
                "",
            ]
        )

    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """Say where jobs stand, from Slurm's own list of them."""
        places = {name: self._places[name] for name in names if name in self._places}
        self._known = {
            _Place(k.name, k.index): k for k in self.controller.known({p.array for p in places.values()})
        }
        return {name: _state(self._known.get(place)) for name, place in places.items()}

    def cancel(self, names: Sequence[str], *, at_once: bool = False) -> None:
        """End jobs: a waiting one never begins."""
        self.states(names)
        ids = [
            known.id
            for name in names
            if (known := self._known.get(self._places.get(name, _Place("", 0)))) is not None
            and _state(known) is not JobState.GONE
        ]
        if ids:
            self.controller.cancel(ids, at_once=at_once)

    def why_gone(self, name: str) -> tuple[str, FailureClass]:
        """Say what Slurm knows of a job's end."""
        known = self._known.get(self._places.get(name, _Place("", 0)))
        said = self.controller.why(known.id) if known is not None else {}
        state = said.get("JobState", known.state if known is not None else "")
        why, kind = _WHY.get(state, ("its job was ended from outside", FailureClass.KILLED))
        return (f"{why} (Slurm's {state}, job {known.id})" if known is not None and state else why), kind

    def _find(self, home: Path) -> None:
        """Find the jobs that an earlier driver submitted, in the folder of the jobs."""
        for listed in sorted((home / _FOLDER).glob("supertask-*.txt")):
            for i, line in enumerate(listed.read_text(encoding="utf-8").splitlines()):
                self._places.setdefault(Path(line).name, _Place(listed.stem, i))


def _state(known: Known | None) -> JobState:
    if known is None:
        return JobState.GONE
    if known.state in _WAITING:
        # One that could not be launched waits for an administrator; what it was to do goes into another.
        return JobState.GONE if known.reason in _HELD else JobState.WAITING
    return JobState.RUNNING if known.state in _RUNNING else JobState.GONE
