"""Runs a job: one bundle, from its folder, through the same runner as everywhere.

The process may be stopped, killed and begun again at any moment, also by the batch system itself (a job that
is put back in the queue keeps its folder): what an earlier process finished in the folder is not run again.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import attrs

from executors.host.limits import Guard, Limits
from executors.host.processes import become_reaper, children, end_children, keep_files
from executors.jobs.bundlefile import BundlePlan, read_job
from executors.jobs.folder import ExitCode, JobFolder, write_whole
from executors.jobs.store import JobStore
from executors.jobs.warmth import Warmth
from executors.journal.journal import Header, Journal, encode_progress
from executors.journal.locks import is_held
from executors.journal.runfolder import RunFolder
from executors.outcome import Attempt, QuantumStatus
from executors.overheads.shared import SharedObjects
from executors.quanta.attemptfolders import AttemptKeeper
from executors.quanta.performer import Performer
from executors.quanta.runner import QuantumRunner
from executors.quanta.surroundings import Surroundings, SurroundingsSpec, environment_with
from executors.workplaces.workplace import Workplace, WorkplaceSpec
from supertask.butler.datastore import Datastore
from supertask.butler.templates import PathTemplate
from supertask.errors import ExecutionError

__all__ = ["JobEnd", "Stop", "run_job"]

_GRACE = 20.0
_LATE = 30.0
_LOOK = 0.25
_UNENDED = (None, QuantumStatus.CANCELLED)


@attrs.frozen
class JobEnd:
    """What came of a job."""

    code: ExitCode
    why: str = ""
    """In words, where it is not that all succeeded."""
    counts: Mapping[str, int] = attrs.field(factory=dict)
    """Status → how many quanta came to it."""


def run_job(
    folder: Path,
    *,
    grace: float = _GRACE,
    late: float = _LATE,
    scratch: str = "",
    scratch_size: int | None = None,
    stop: Stop | None = None,
    warmth: Warmth | None = None,
) -> JobEnd:
    """Run the job in a folder, or what is left of it.

    Parameters
    ----------
    folder : Path
        Its folder.
    grace : float, optional
        Seconds that what runs may take to finish after SIGTERM, before it is broken off.
    late : float, optional
        Seconds to wait for inputs that a shared file system may show late.
    scratch, scratch_size : optional
        As for `ExecutionFramework.execute`.
    stop : Stop, optional
        By which the job is asked to end, besides signals.
    warmth : Warmth, optional
        What this process keeps from one job to the next.

    Raises
    ------
    ExecutionError
        It is no job, is damaged or was taken back, or the repository is not where it should be.
    """
    job = JobFolder(folder)
    ending = job.ending()
    if ending is not None and ending["exit"] != ExitCode.AGAIN:
        return JobEnd(ExitCode(ending["exit"]), "it had ended before", ending.get("counts", {}))
    plan = read_job(job)
    if any(map(is_held, job.journals())):
        return JobEnd(ExitCode.AGAIN, f"another process works on {job.path}")
    keep_files()
    before = set(children())
    become_reaper(job.path)
    left_out = 0
    if plan.said.get("waits"):
        from executors.jobs.binding import bind

        left_out = bind(plan, folder, late)
    spec = WorkplaceSpec(scratch=scratch, scratch_size=scratch_size, elide=tuple(plan.said["elide"]))
    # A process that is kept warm has a driver, who writes what he has read in a journal that lasts.
    run = _Job(job, plan, spec, lasting=warmth is None)
    try:
        end = run.perform(stop or Stop(grace), late, warmth or Warmth(), left_out)
    finally:
        if children() - before:  # ending them takes an import
            # In a process that had children before, a notebook's say, these are not the job's.
            end_children(but=before)
        run.close()
    said = {"exit": int(end.code), "why": end.why, "counts": end.counts, "time": time.time_ns()}
    write_whole(job.done, json.dumps(said).encode(), lasting=run.lasting)
    return end


class _Job:
    def __init__(self, job: JobFolder, plan: BundlePlan, spec: WorkplaceSpec, *, lasting: bool) -> None:
        said = plan.said
        self.lasting = lasting
        """Whether what is said in its folder must outlive the machine."""
        self._job = job
        self._plan = plan
        folder = RunFolder(str(job.path), said["run"])
        self._work, self._numbers, self._missing = plan.work, plan.numbers, plan.missing
        self._statuses: dict[int, QuantumStatus] = {}
        self._locations: list[str] = []
        self._is_first = not job.journals()
        if not self._is_first:
            from executors.jobs.resuming import rest_of

            rest = rest_of(plan, folder)
            self._work, self._numbers, self._missing = rest.work, rest.numbers, rest.missing
            self._statuses.update(rest.ended)
        self._store = self._open_store()
        # Its driver sees to the files of what he registers; from another machine, that does not reach ours.
        self._sees_to_files = lasting or said["header"].get("host") != socket.gethostname()
        fields = {k: v for k, v in said["header"].items() if k not in {"host", "pid", "time", "role"}}
        header = Header(**{**fields, "role": "job", "tasks": tuple(map(tuple, fields["tasks"]))})
        folder.make()
        self._journal = Journal(folder, header, lasting=lasting)
        self._workplace = Workplace(self._store, spec)

    def close(self) -> None:
        """Delete what is on scratch; see to it that the journal outlives the machine, if it must."""
        self._workplace.close()
        if self.lasting:
            self._journal.sync()
        self._journal.close()

    def _open_store(self) -> Datastore:
        said = self._plan.said
        templates = {name: PathTemplate.parse(text) for name, text in said["templates"].items()}
        if not said["root"]:
            return JobStore(str(self._job.path), templates, said["files"])
        if not os.path.isdir(said["root"]):
            raise ExecutionError(
                f"the repository {said['root']} cannot be seen from here: mount it under the same path, or "
                "pack the bundle with what it reads (`supertask pack --staged`)"
            )
        return Datastore(said["root"], templates)

    def perform(self, stop: Stop, late: float, warmth: Warmth, left_out: int) -> JobEnd:
        """Run what is left; say what came of it."""
        # Whoever takes a job back says so first, and then looks for our lock.
        if not self._job.is_wanted:
            if self._is_first and self._job.slot is not None:
                import shutil

                shutil.rmtree(self._job.path, ignore_errors=True)  # which was made for our lock alone
            raise ExecutionError(f"job {self._job.path} was taken back before it began")
        missing = self._wait_for_inputs(late)
        if missing:
            return self._end(
                f"{len(missing)} of its inputs are not there, such as {missing[0]}: what makes them has not "
                "ended, or the file system shows them late",
                again=True,
            )
        with stop.heeding():
            try:
                self._run(stop, warmth)
            except ExecutionError as error:  # the journal cannot be written, say
                return self._end(str(error), again=True)
        if self._sees_to_files:
            self._store.sync(self._locations)
        left = [q for q in self._work.quanta if self._statuses.get(q) in _UNENDED]
        if stop.stopped and left:
            return self._end(f"it was stopped before {len(left)} quanta had ended", again=True)
        return self._end(left_out=left_out)

    def _run(self, stop: Stop, warmth: Warmth) -> None:
        plan, said = self._plan, self._plan.said
        tasks = warmth.tasks(plan, self._store)
        limits = {label: tuple(Limits(*one) for one in each) for label, each in said["limits"].items()}
        fusion = None
        if self._workplace.spec.elide:
            from executors.quanta.fusion import Fusion

            fusion = Fusion(plan, self._workplace, plan.readings)
        guard = Guard(limits, alarm=True)
        overheads = warmth.overheads(guard)
        overheads.machine = SharedObjects(
            self._store.root, self._journal.header.run, self._journal.header.plan
        )
        around = self._surroundings()
        keep_log = self._journal.write_log
        keeper = AttemptKeeper(own_process=threading.current_thread() is threading.main_thread())
        with (
            environment_with(self._common()),
            self._keeping(keeper),
            QuantumRunner(plan, self._workplace, tasks, keep_log, guard, around, overheads) as runner,
        ):
            ended = keeper.noting(self._ended)
            performer = Performer(runner, self._journal, lambda *_: None, ended, fusion)
            performer.perform(
                self._work,
                stop.until_stopped(self._work.quanta),
                numbers=self._numbers,
                missing=self._missing,
                memory=plan.memory,
            )

    # -- what surrounds calls -----------------------------------------------------------------

    def _surroundings(self) -> Surroundings | None:
        plan = self._plan
        if plan.around is None:
            return None
        spec = SurroundingsSpec(
            root=plan.said["root"] or str(self._job.path),
            run=plan.meta.output_run,
            tags=plan.around["tags"],
            environ=plan.around["environ"],
        )
        return Surroundings(spec, self._progressed)

    def _progressed(self, index: int, fraction: float, message: str) -> None:
        identity = self._plan.record(index).identity.hex()
        self._journal.write(encode_progress(index, identity, fraction, message))

    def _common(self) -> Mapping[str, str]:
        """Return variables that all quanta have: libraries see them when they are imported."""
        if self._plan.around is None or not self._work.quanta:
            return {}
        environ = self._plan.around["environ"]
        each = [
            environ[record.label][record.variant].items() if record.label in environ else ()
            for record in self._plan.records(self._work.quanta)
        ]
        return dict(set.intersection(*map(set, each)))

    def _keeping(self, keeper: AttemptKeeper) -> AbstractContextManager[None]:
        """Keep the folder that people look into, if the run wants any."""
        around = self._plan.around
        if around is None or not around["folder"]:
            return nullcontext()
        folder = self._job.path / around["folder"]
        folder.mkdir(parents=True, exist_ok=True)
        return keeper.keeping(folder)

    def _ended(self, attempt: Attempt, _: bytes) -> None:
        self._statuses[attempt.index] = attempt.status
        self._locations += (r.location for r in attempt.records)

    def _wait_for_inputs(self, late: float) -> list[str]:
        """Wait for inputs from outside, where these are on a file system that others share."""
        if not self._plan.said["root"]:
            return []
        wanted = self._outside()
        until = time.monotonic() + late
        while True:
            wanted = [place for place in wanted if not self._store.exists(place)]
            if not wanted or time.monotonic() > until:
                return wanted
            time.sleep(_LOOK)

    def _outside(self) -> list[str]:
        """Return locations of what other bundles of this run make for this one, and have not left out."""
        plan, work = self._plan, self._work
        records = plan.records(work.quanta)
        made = {d for q in plan.work.quanta for ds in plan.quanta[q].outputs.values() for d in ds}
        out = {p for told in (work.absent, work.lost) for ps in told.values() for p in ps}
        made |= {d for p in out for ds in plan.quanta[p].outputs.values() for d in ds}
        place, run = self._store.location_for, plan.meta.output_run
        return [
            place(dataset_type, dataset.dataId, run)
            for record in records
            for dataset_type, datasets in record.quantum.inputs.items()
            for dataset in datasets
            if dataset not in made and dataset not in record.locations
        ]

    def _end(self, why: str = "", *, again: bool = False, left_out: int = 0) -> JobEnd:
        counts: dict[str, int] = {}
        for status in self._statuses.values():
            counts[status.value] = counts.get(status.value, 0) + 1
        failed = counts.get(QuantumStatus.FAILED.value, 0)
        if again:
            return JobEnd(ExitCode.AGAIN, why, counts)
        if failed or left_out:
            why = f"{failed} of {len(self._plan.work.quanta) + left_out} quanta failed"
            behind = f", {left_out} have to wait for others that did" if left_out else ""
            return JobEnd(ExitCode.FAILED, why + behind, counts)
        return JobEnd(ExitCode.SUCCEEDED, "", counts)


class Stop:
    """Asks a job to end: what runs may finish within the grace, then it is broken off.

    Parameters
    ----------
    grace : float
        Seconds.
    patient : bool, optional
        Whether a second signal changes nothing: where several may send one, and all mean the same.
    """

    def __init__(self, grace: float, *, patient: bool = False) -> None:
        self.stopped = False
        self._patient = patient
        self._over = False
        self._timer = threading.Timer(grace, self._break_off)
        self._timer.daemon = True

    def ask(self) -> None:
        """Ask, from whichever thread."""
        if not self.stopped:
            self.stopped = True
            self._timer.start()

    def _break_off(self) -> None:
        self._over = True
        os.kill(os.getpid(), signal.SIGTERM)

    @contextmanager
    def heeding(self) -> Iterator[None]:
        """Heed SIGTERM and SIGINT in the block; outside of the main thread there is nothing to heed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def heed(_: int, __: FrameType | None) -> None:
            if self._over or (self.stopped and not self._patient):
                raise KeyboardInterrupt
            self.ask()

        before = {s: signal.signal(s, heed) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            self._timer.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def until_stopped(self, quanta: Sequence[int]) -> Iterator[int]:
        """Give quanta until it is stopped."""
        for q in quanta:
            if self.stopped:
                return
            yield q
