"""CondorFramework: bundles as jobs of HTCondor, submitted in clusters.

What is ready is submitted at once, one cluster for each request of memory and time. How its jobs stand is
read in the log that HTCondor writes of them, beside the folders of the jobs; the queue itself is asked now
and then alone, for a log that has gone astray must not make a run wait for ever. Which job of a cluster
runs which bundle stands in a file that is written before it is submitted; so a driver that comes later finds
the jobs of one that went away.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import attrs

from executors.batch import BatchFramework, Chained, Job, JobState
from executors.condor.bindings import queue_of_host
from executors.condor.dag import DAGS, WrittenDag, dagman_of, submit_dag, write_dag
from executors.condor.dagnodes import standings_in
from executors.condor.joblog import JobLog, Kind
from executors.condor.queue import HELD, CondorRefusedError, Queue
from executors.condor.site import CondorSite
from executors.condor.standing import Standing
from executors.condor.submitting import ARRAY, describe, refuse_odd, write_script
from executors.driving.driver import Driver
from executors.engines import EngineOptions
from executors.jobs.enginejobs import SLOTS
from executors.jobs.folder import write_whole
from executors.jobs.settling import folder_for
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler
from supertask.configs.policy import FailureClass
from supertask.errors import ExecutionError

__all__ = ["CondorFramework"]

_FOLDER = ".condor"
_ROUND = 0.05
_LOOK = 0.2
_HOLDS = 4
"""So many jobs in a row may be held."""
_GRACE = 60.0
_CHECK = 30.0
"""Seconds between two questions to the queue whether what the log says is so."""


@attrs.define(eq=False)
class _Array:
    """Jobs that were submitted together."""

    name: str
    jobs: list[str]
    log: JobLog
    cluster: int = 0
    """Its number, 0 until that is known."""

    def ids(self, standings: Mapping[str, Standing]) -> dict[str, str]:
        """Return which jobs are not known to be gone: id → name."""
        return {
            f"{self.cluster}.{i}": name
            for i, name in enumerate(self.jobs)
            if standings[name].state is not JobState.GONE or standings[name].held
        }


class CondorFramework(BatchFramework):
    """Runs bundles as jobs of HTCondor.

    Parameters
    ----------
    jobs : path, optional
        Folder for the folders of jobs, which machines see unless the site lets HTCondor carry them; in the
        repository unless given.
    site : CondorSite, optional
        What is said with each job.
    staged : bool, optional
        Whether machines cannot see the repository. Where HTCondor carries folders, they are taken not to.
    slots : int, optional
        How many jobs are submitted at most at once.
    late : float, optional
        Seconds to wait for files that a shared file system may show late.
    python : str, optional
        The interpreter on the machines; what the site says, or this one, unless given.
    detached : bool, optional
        Whether all that is left is submitted at once, as one DAG, and runs without a driver.
    queue : Queue, optional
        How to reach HTCondor, where it is not as everywhere.
    check : float, optional
        Seconds between two questions to the queue, beside what is read in its log.
    submits : bool, optional
        Whether a DAG is submitted, and not only written; `dag` says where it is.
    """

    follows = True

    def __init__(
        self,
        jobs: str | Path | None = None,
        *,
        site: CondorSite | None = None,
        staged: bool = False,
        slots: int = SLOTS,
        late: float = 30.0,
        python: str | None = None,
        detached: bool = False,
        queue: Queue | None = None,
        check: float = _CHECK,
        submits: bool = True,
    ) -> None:
        self.site = site or CondorSite()
        super().__init__(
            jobs,
            staged=staged or self.site.transfer,
            slots=slots,
            late=late,
            grace=min(20.0, 0.7 * self.site.vacate),
            python=python or self.site.python or None,
            detached=detached,
        )
        self.submits = submits
        self.dag: WrittenDag | None = None
        self._write: Callable[[Sequence[Chained]], WrittenDag] | None = None
        self.queue = queue or queue_of_host()
        self.check = check
        self._arrays: dict[str, _Array] = {}
        self._standings: dict[str, Standing] = {}
        self._held: list[Standing] = []
        """Jobs that HTCondor holds, and that are in the queue yet."""
        self._holds = 0
        """How many were held since one came to its own end."""
        self._checked = time.monotonic()
        self._machines: list[tuple[int, int]] | None = None
        self._looks = False
        """Whether it only looks: nothing is taken out of the queue then."""

    @classmethod
    def from_options(cls, options: EngineOptions) -> Self:
        """Make one as a command line says it."""
        site = options.site_as(CondorSite)
        return cls(
            options.jobs, site=site, staged=options.staged, slots=options.slots, detached=options.detached
        )

    def prepare(self, plan: ScienceDag, butler: AbstractButler) -> None:
        """Take what jobs of an earlier driver made, and end those that have not ended."""
        home = self.jobs or folder_for(plan, butler)
        self._end_dags(home)
        self._find(home)
        super().prepare(plan, butler)

    def walk(self, driver: Driver) -> None:
        """Run all that the driver hands out."""
        if self.detached:
            plan_file = Path(driver.header.plan_file) if driver.header.plan_file else driver.folder.plan
            self._write = partial(
                write_dag, plan_file=plan_file, site=self.site, policies=driver.retrying.policies
            )
        super().walk(driver)
        if not self.detached and not driver.tally.failures():
            # Lists, logs and what jobs printed: of use only where something went wrong.
            shutil.rmtree((self.jobs or driver.folder.path / "jobs") / _FOLDER, ignore_errors=True)

    # -- submitting ---------------------------------------------------------------------------

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit jobs, those of equal requests as one cluster.

        Raises
        ------
        ExecutionError
            HTCondor is not there, or refuses them, or no machine of its can run them.
        """
        alike: dict[tuple[str, ...], list[Job]] = {}
        for job in jobs:
            alike.setdefault(tuple(self.site.asked(job)), []).append(job)
        for asked, members in alike.items():
            self._refuse_too_great(
                self.site.cores(members[0]), self.site.megabytes(members[0].memory, members[0].measured)
            )
            self._submit(members, asked)

    def _refuse_too_great(self, cpus: int, megabytes: int) -> None:
        """Refuse what no machine can run: HTCondor would let it wait for ever."""
        if self.site.elastic:
            return
        if self._machines is None:
            self._machines = self.queue.machines()
        greatest = max((m for m, c in self._machines if c >= cpus), default=0)
        if self._machines and megabytes > greatest:
            raise CondorRefusedError(
                f"no machine of the pool can run a job of {cpus} CPUs and {megabytes} MB: the greatest with "
                f"so many CPUs has {greatest} MB. Ask for less (memory, cpus in the site's file), or say "
                "'elastic: true' there if machines come as they are asked for"
            )

    def _submit(self, jobs: Sequence[Job], asked: Sequence[str]) -> None:
        name = f"supertask-{secrets.token_hex(6)}"
        home = jobs[0].folder.parent
        place = home / _FOLDER
        refuse_odd([home])
        place.mkdir(parents=True, exist_ok=True)
        listed, script = place / f"{name}.txt", place / f"{name}.sh"
        write_whole(listed, "".join(f"{job.folder.name}\n" for job in jobs).encode())
        write_script(script, jobs[0], self.site)
        (place / name).mkdir()
        log = place / f"{name}.log"
        lines = describe(
            self.site,
            script,
            folder=f"{home}/$(folder)",
            home=home,
            log=log,
            printed=f"{place}/{name}/$(Process)",
            asked=asked,
            more={ARRAY: f'"{name}"', "JobBatchName": '"supertask"'},
        )
        description = place / f"{name}.sub"
        write_whole(description, "\n".join([*lines, f"queue folder from {listed}", ""]).encode())
        array = _Array(name, [job.name for job in jobs], JobLog(log))
        array.cluster = self.queue.submit(description)
        self._add(array)

    def _add(self, array: _Array) -> None:
        self._arrays[array.name] = array
        for i, name in enumerate(array.jobs):
            known = f"{array.cluster}.{i}" if array.cluster else ""
            self._standings[name] = Standing(id=known)

    # -- without a driver ---------------------------------------------------------------------

    def submit_chained(self, chained: Sequence[Chained]) -> None:
        """Submit jobs that wait for each other, as one DAG.

        Raises
        ------
        ExecutionError
            HTCondor is not there, or refuses it.
        """
        if not chained:
            return
        assert self._write is not None  # noqa: S101 - set before any is packed
        refuse_odd([chained[0].job.folder.parent])
        self.dag = self._write(chained)
        if self.submits:
            submit_dag(self.dag, self.queue, throttle=self.site.throttle)

    def _end_dags(self, home: Path) -> None:
        """Remove the DAGs of an earlier session from the queue, with their jobs."""
        mine = {log: dagman_of(log) for log in (home / DAGS).glob("*/*.dagman.log")}
        ids = [str(cluster) for cluster in mine.values() if cluster is not None]
        if not ids:
            return
        self.queue.remove(ids)
        until = time.monotonic() + _GRACE
        while any(dagman_of(log) is not None for log in mine) and time.monotonic() < until:
            time.sleep(_LOOK)

    # -- how they stand -----------------------------------------------------------------------

    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """Say where jobs stand, from the log that HTCondor writes of them."""
        wanted = set(names)
        for array in list(self._arrays.values()):
            self._read(array)
            over = all(self._standings[name].state is JobState.GONE for name in array.jobs)
            if over and not wanted.intersection(array.jobs):
                del self._arrays[array.name]
        if time.monotonic() - self._checked > self.check:
            self._look_again()
        if self._held and not self._looks:
            # They would wait for an administrator; what they were to do goes into others.
            held, self._held = self._held, []
            self.queue.remove([standing.id for standing in held])
            if self._holds >= _HOLDS:
                raise ExecutionError(
                    f"HTCondor has held {self._holds} jobs in a row, the last one ({held[-1].id}) with these "
                    f"words: {held[-1].why}. Mend that, and give the same command again"
                )
        return {n: self._standings[n].state for n in names if n in self._standings}

    def _read(self, array: _Array) -> None:
        for event in array.log.read():
            array.cluster = event.cluster
            if event.process >= len(array.jobs):
                continue
            standing = self._standings[array.jobs[event.process]]
            standing.take(event)
            if event.kind == Kind.HELD and standing.held:
                self._held.append(standing)
                self._holds += 1
            elif event.kind == Kind.ENDED:
                self._holds = 0

    def _look_again(self) -> None:
        """Ask the queue which jobs it still has."""
        self._checked = time.monotonic()
        for array in self._arrays.values():
            ids = array.ids(self._standings)
            if not ids:
                continue
            there = self.queue.standing(f'{ARRAY} == "{array.name}"')
            self._read(array)  # what ended while it was asked
            for known, name in ids.items():
                if known not in there:
                    self._standings[name].lost()

    def wait(self, seconds: float) -> Collection[str]:
        """Wait until something has happened to a job, but not longer than this."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(_ROUND, left))
            if any(array.log.has_grown for array in self._arrays.values()):
                break
        return ()

    def cancel(self, names: Sequence[str], *, at_once: bool = False) -> None:
        """End jobs: a waiting one never begins."""
        alive = [n for n, state in self.states(names).items() if state is not JobState.GONE]
        ids = [known for n in alive if (known := self._standings[n].id)]
        if ids:
            self.queue.remove(ids, at_once=at_once)

    def why_gone(self, name: str) -> tuple[str, FailureClass]:
        """Say what HTCondor knows of a job's end."""
        standing = self._standings.get(name)
        if standing is None or not standing.ours:
            return super().why_gone(name)
        return f"{standing.ours} (HTCondor's job {standing.id}: {standing.why})", standing.kind

    def open(self, home: Path) -> None:
        """Find the jobs that an earlier driver submitted for a folder, as DAGs or not, to look at them.

        Raises
        ------
        ExecutionError
            HTCondor is not installed here, or cannot be reached.
        """
        self._looks = True
        for file in sorted((home / DAGS).glob("*/plan.dag")):
            self._standings |= standings_in(file, self.queue)
        self._find(home)

    def held(self, names: Sequence[str]) -> Mapping[str, str]:
        """Say which of some jobs are held, by HTCondor or by whom they belong to, and why."""
        found = ((name, self._standings.get(name)) for name in names)
        return {name: each.why for name, each in found if each is not None and each.is_held}

    def _find(self, home: Path) -> None:
        """Find the jobs that an earlier driver submitted, in the folder of the jobs."""
        found = []
        for listed in sorted((home / _FOLDER).glob("supertask-*.txt")):
            names = listed.read_text(encoding="utf-8").split("\n")[:-1]
            array = _Array(listed.stem, names, JobLog(listed.with_suffix(".log")))
            self._add(array)
            self._read(array)
            found.append(array)
        if any(array.ids(self._standings) for array in found):
            self._ask_for(found)

    def _ask_for(self, arrays: Sequence[_Array]) -> None:
        """Learn which of these jobs the queue has: not those that an earlier driver did not get submitted."""
        there: dict[str, int] = {}
        for array in arrays:
            there |= self.queue.standing(f'{ARRAY} == "{array.name}"')
        for array in arrays:
            for i, name in enumerate(array.jobs):
                standing = self._standings[name]
                standing.id = standing.id or f"{array.cluster}.{i}"
                if standing.state is not JobState.GONE and standing.id not in there:
                    standing.lost()
                elif there.get(standing.id) == HELD and not standing.is_held:
                    standing.hold_by_user()  # the log will say why
