"""The driver of a run: what all frameworks do alike.

It opens the run, finds out what is done, decides what may run next, writes down what came of it, tells
listeners, registers outputs, and reports. A framework takes work from it and says what became of it::

    while not driver.over:
        work = driver.take()
        …
        driver.started(…)
        driver.ended(attempt)
        driver.pulse()
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, Self

import attrs
import numpy as np

from executors.decisions.policy import failures_allowed
from executors.decisions.quorum import Quorums
from executors.decisions.schedule import Schedule
from executors.decisions.work import Work
from executors.driving import opening
from executors.driving.cutshort import cut_short
from executors.driving.jobrequests import job_requests, surroundings_of
from executors.driving.openbundles import OpenBundles
from executors.driving.options import Options
from executors.driving.provenance import note_caveats
from executors.driving.retrying import Retrying, policies_of
from executors.driving.tokens import TokenSchedule, token_use
from executors.events import (
    BundleEnded,
    BundleStarted,
    Event,
    EventStream,
    Listener,
    QuantaBlocked,
    QuantumEnded,
    QuantumProgressed,
    QuantumStarted,
    Registered,
    RunFinished,
    RunStarted,
)
from executors.host.processes import end_left_behind
from executors.host.resources import own_cpu
from executors.host.signals import heeding
from executors.journal.journal import Header, Journal, encode_attempt, encode_retry
from executors.journal.replay import Replay
from executors.journal.report import Report, Tally
from executors.journal.runfolder import RunFolder
from executors.keeping import clobbering
from executors.keeping.collect import Collector
from executors.keeping.deletion import Deleter, without
from executors.keeping.leftovers import sweep
from executors.keeping.retention import Keeper, elidable
from executors.keeping.wishes import policies_in
from executors.outcome import Attempt, QuantumStatus
from executors.quanta.taskset import TaskSet, outside_init_inputs
from executors.workplaces.workplace import sweep_left_over
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Outline
from supertask.butler.datastore import Datastore
from supertask.butler.limited import LimitedButler
from supertask.butler.port import AbstractButler
from supertask.datasets import Dataset

__all__ = ["Driver", "Options"]

_SUCCEEDED = QuantumStatus.SUCCEEDED
_MOMENT = 0.05
_UNENDED = (QuantumStatus.CANCELLED, QuantumStatus.LOST)


class Driver:
    """Drives one run, from construction to `end`; to be used as a context manager.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    butler : AbstractButler
        The repository that it was made from.
    plan_file : path, optional
        The plan's file, if it has one.
    listeners : iterable of Listener, optional
        Who is told what happens.
    options : Options, optional
        How to run it.
    framework : str, optional
        Name of the framework, for the journal.

    Raises
    ------
    ExecutionError
        The plan is of another repository, another driver works on the run, or another plan wrote in it; a
        task cannot be constructed; the journal cannot be written.
    """

    def __init__(
        self,
        plan: ScienceDag,
        butler: AbstractButler,
        *,
        plan_file: str | Path | None = None,
        listeners: Iterable[Listener] = (),
        options: Options | None = None,
        framework: str = "",
    ) -> None:
        options = options or Options()
        self._clock = (time.perf_counter(), own_cpu())
        root = opening.check_repository(plan, butler)
        self.plan = plan
        self.folder = RunFolder(root, plan.meta.output_run)
        self.datastore = Datastore.open(root)
        self.events = EventStream(listeners)
        self.types: dict[str, type[Dataset]] = {t.name: t for t in plan.datasets}
        self.interrupted = False
        self.worker_cpu = 0.0
        """Seconds that other processes used; frameworks add to it."""
        self._butler = butler
        self._plan_file = plan_file
        self._syncs: list[Callable[[], None]] = []
        self._bundles = OpenBundles()
        self._problems: list[str] = []
        self.folder.make()
        self._lock = self.folder.lock()
        try:
            self._open(options, framework)
        except BaseException:
            if hasattr(self, "journal"):
                self.journal.close()
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.events.close()
        self.journal.close()
        self._lock.release()

    # -- opening ------------------------------------------------------------------------------

    def _open(self, options: Options, framework: str) -> None:
        plan, run = self.plan, self.plan.meta.output_run
        policies = policies_in(self.folder, plan, options.retention)
        self.workplace = attrs.evolve(options.workplace, elide=elidable(policies))
        sweep_left_over(self.workplace)
        opening.wait_for_workers(self.folder)
        clobbering.clear_replaced(plan, self._butler, self.datastore, self.folder)
        found = opening.earlier_work(plan, self.folder, self.datastore, resume=options.resume)
        adopted = [] if found.headers else opening.registered_before(plan, self._butler, self.datastore)
        nodes = plan.tasks
        init = [(t, self._locate_init(t)) for t in outside_init_inputs(nodes)]
        self.init_inputs = [(t.name, t.storage, location) for t, location in init]
        outside = LimitedButler(self.datastore, plan.model, {t(): where for t, where in init}, {})
        self.tasks = TaskSet(nodes, outside)
        self.jobs = job_requests(nodes, self.tasks)
        self.retrying = Retrying(
            plan, policies_of(nodes, self.tasks, options.policies, self.jobs), found.memory
        )
        tags = opening.run_tags(self._butler, run, options.tags)
        around = surroundings_of(
            plan, self.tasks, self.jobs, self.folder.root, tags, options.tokens, options.token_folder
        )
        self.surroundings = attrs.evolve(around, job_folders=options.job_folders)
        self._use = token_use(nodes, self.tasks, options.tokens, options.token_folder)
        opening.prepare_repository(plan, self._butler, self.datastore, self.tasks, tags)
        self.header = Header(
            run=run,
            plan=opening.plan_identity(plan),
            quanta=plan.n_quanta,
            tasks=tuple((t.label, t.first, t.count) for t in nodes),
            plan_file=str(Path(self._plan_file).absolute()) if self._plan_file else "",
            repository=plan.meta.repository,
            tags=tags,
        )
        self.journal = Journal(self.folder, self.header)
        self._deleter = Deleter(plan, self._butler, self.datastore, self.journal, lambda q: self._numbers[q])
        self.collector = Collector(
            self._butler,
            self.datastore,
            run,
            self.journal,
            self.sync,
            registered=lambda datasets: self._emit(Registered(datasets)),
            deleter=self._deleter,
        )
        self.tally = Tally()
        self._problems += found.problems
        numbers = found.numbers.copy()
        self._numbers = memoryview(numbers)
        self._partial = dict(found.partial)
        statuses = found.statuses.copy()
        self._say_session("began", framework=framework)
        for attempt in adopted:
            self.journal.write(encode_attempt(attempt, self.header))
            statuses[attempt.index] = _SUCCEEDED.code
            numbers[attempt.index] = attempt.number
        if policies:
            self._deleter.keeper = Keeper(plan, policies, statuses, found.deleted)
        self._clean_up(found)
        self._deleter.again(found.deleted)
        self._catch_up(found, adopted)
        most = options.max_failures
        bundling = plan.bundling(options.bundling) if options.bundles else None
        make = Schedule if self._use is None else partial(TokenSchedule, self._use)
        self.schedule = make(
            plan.successors(),
            bundling,
            statuses=statuses,
            partial=[q for q in self._partial if statuses[q] == _SUCCEEDED.code],
            tainted=found.tainted,
            quorum=Quorums(plan, lambda label: self.retrying.quorums(label, self.tasks)),
            max_failures=None if most is None else failures_allowed(most, plan.n_quanta),
            budgets=self.retrying.budgets(),
            keep_failed=not options.retry_failed,
        )
        self._due: float | None = None
        done = np.isin(statuses, [s.code for s in QuantumStatus if s.finished])
        self.finished_before = int(done.sum())
        finished = {t.label: int(done[t.first : t.first + t.count].sum()) for t in nodes}
        self._emit(RunStarted(run, {t.label: t.count for t in nodes}, finished, self.folder.root))
        self.events.settle(1.0, last=False)

    def _locate_init(self, dataset_type: type[Dataset]) -> str:
        meta = self.plan.meta
        known = {c.name for c in self._butler.collection_infos()}
        searched = [c for c in (meta.output_run, *meta.collections) if c in known]
        return self._butler.locate(dataset_type(), collections=searched).location

    def _clean_up(self, found: Replay) -> None:
        """Note attempts that were lost with their process, and delete what they left behind."""
        place, run = self.datastore.location_for, self.folder.run
        if found.begun:
            end_left_behind(self.folder.path)
        for begun in found.begun:
            quantum = self.plan.quanta[begun.index]
            outputs = [d for datasets in quantum.outputs.values() for d in datasets]
            sweep(self.datastore, (place(type(d), d.dataId, run) for d in outputs))
            where, why = (begun.header.host, begun.header.pid), "its process ended before it did"
            lost = cut_short(self.plan, begun.index, begun.number, where, begun.time, why)
            self.journal.write(encode_attempt(lost, self.header))
        # Their registered rows speak of files that are gone; what is made again is registered anew.
        quanta = (self.plan.quanta[index] for index in found.gone)
        gone = [d for quantum in quanta for datasets in quantum.outputs.values() for d in datasets]
        if gone:
            self._butler.remove(gone, run=run, skip_missing=True)

    def _catch_up(self, found: Replay, adopted: Sequence[Attempt]) -> None:
        """Register what earlier sessions made and did not come to register."""
        for attempt in adopted:
            self.collector.add(attempt)
        succeeded = found.statuses == _SUCCEEDED.code
        late = np.flatnonzero(succeeded & (found.registered != found.numbers)).tolist()
        for attempt in found.attempts(late, self.types):
            self.collector.add(without(attempt, found.deleted.get(attempt.index, ())))
            if self.collector.due:
                self.collector.flush()

    # -- what frameworks ask and say ----------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing more may be taken."""
        return self.schedule.over

    def take(self, most: int = 1) -> Work | None:
        """Return what to run next, see `Schedule.take`."""
        self._due = self.schedule.wake(time.monotonic()) if self.schedule.n_postponed else None
        work = self.schedule.take(1 if self.surroundings.job_folders else most)
        if work is not None and work.bundle >= 0:
            self._bundles.add(work)
            self._emit(BundleStarted(work.bundle, work.quanta))
        return work

    def claim(self, works: Sequence[Work]) -> list[bool]:
        """Take what jobs of an earlier driver go on with; False for what is not to be run as it stands."""
        claimed = self.schedule.claim(works)
        for work in compress(works, claimed):
            if work.bundle >= 0:
                self._bundles.add(work)
                self._emit(BundleStarted(work.bundle, work.quanta))
        return claimed

    def rest(self) -> None:
        """Wait a moment where nothing can be taken before something that failed is due again."""
        if self._due is not None:
            time.sleep(min(_MOMENT, max(0.0, self._due - time.monotonic())))

    def numbers(self, quanta: Iterable[int]) -> dict[int, int]:
        """Return the numbers of the next attempts of some quanta, where these are not the first."""
        numbers = self._numbers
        return {q: numbers[q] + 1 for q in quanta if numbers[q]}

    def missing(self, work: Work) -> dict[int, frozenset[bytes]]:
        """Return what quanta that this work depends on left out: index → identities of outputs."""
        if not self._partial:
            return {}
        return {p: self._partial[p] for ps in work.absent.values() for p in ps if p in self._partial}

    def started(self, index: int, number: int, host: str, pid: int, time_ns: int) -> None:
        """Take note that an attempt began; it is in the journal."""
        self._numbers[index] = number
        if self.events:
            label = self.plan.task_of(index).label
            self._emit(QuantumStarted(index, label, number, host, pid, time_ns))

    def progressed(self, index: int, fraction: float, message: str) -> None:
        """Take note of how far a quantum is, as its task says."""
        self._emit(QuantumProgressed(index, self.plan.task_of(index).label, fraction, message))

    def ended(self, attempt: Attempt) -> None:
        """Take note of what came of an attempt; it is in the journal."""
        index, status = attempt.index, attempt.status
        self._numbers[index] = attempt.number
        delay = self._retry(attempt) if status is QuantumStatus.FAILED else None
        self.tally.add(attempt, final=delay is None)
        blocked: list[int] = []
        if delay is not None:
            self.schedule.postpone(index, time.monotonic() + delay if delay else 0.0)
        elif status in _UNENDED:
            self.schedule.give_back([index])
            if status is QuantumStatus.CANCELLED:
                self.stop()  # only who wants everything to end interrupts a task
        else:
            if attempt.missing:
                self._partial[index] = frozenset(attempt.missing)
            else:
                self._partial.pop(index, None)
            blocked = self.schedule.finish(index, status, partial=bool(attempt.missing), whole=attempt.whole)
            if status is _SUCCEEDED:
                self.collector.add(attempt)
            if self._deleter.keeper is not None:
                self._deleter.keeper.ended(index, status, attempt.elided)
        if self.events:
            self._emit(QuantumEnded(attempt, delay))
        if blocked:
            self._blocked(attempt, blocked)
        if self._bundles:
            runs = QuantumStatus.RUNNING
            ended = self._bundles.settle(index, lambda q: self.schedule.status(q) is runs)
            self._end_bundles(ended if status is QuantumStatus.FAILED else self._bundles.leave([index]))

    def ended_alike(self, attempt: Attempt, others: Sequence[Outline]) -> None:
        """Take note of quanta that began, and succeeded without outputs, just as one that was told before."""
        host, pid, at = attempt.host, attempt.pid, attempt.start
        if self.events or self._deleter.keeper is not None:
            for other in others:
                self.started(other.quantum, 1, host, pid, at)
                self.ended(attrs.evolve(attempt, index=other.quantum, identity=other.identity))
            return
        finish = self.schedule.finish
        for other in others:
            self._numbers[other.quantum] = 1
            self._partial.pop(other.quantum, None)
            finish(other.quantum, _SUCCEEDED)
        self.tally.add(attempt, times=len(others))
        self.collector.add_plain([(other.quantum, other.identity) for other in others])
        self._end_bundles(self._bundles.leave([other.quantum for other in others]))

    def _retry(self, attempt: Attempt) -> float | None:
        """Decide whether an attempt that failed is followed by another; return after how many seconds."""
        verdict = self.retrying.failed(attempt)
        retry = verdict.retry if not self.schedule.stopped else None
        if retry is not None or verdict.memory is not None:
            self.journal.write(encode_retry(attempt, retry.delay if retry else None, verdict.memory))
        return None if retry is None else retry.delay

    def died(self, attempt: Attempt) -> None:
        """Take note of an attempt whose process ended before it did: journal it, delete what it left."""
        outputs = [d for datasets in self.plan.quanta[attempt.index].outputs.values() for d in datasets]
        place = self.datastore.location_for
        sweep(self.datastore, (place(type(d), d.dataId, self.folder.run) for d in outputs))
        self.journal.write(encode_attempt(attempt, self.header))
        self.ended(attempt)

    def give_back(self, quanta: Iterable[int]) -> None:
        """Take back quanta that were taken and did not begin."""
        back = list(quanta)
        self.schedule.give_back(back)
        if self._bundles:
            self._end_bundles(self._bundles.leave(back))

    def pulse(self) -> None:
        """Do what is due now and then; to be called often.

        Raises
        ------
        ExecutionError
            The journal cannot be written, or another driver has taken over.
        """
        self._lock.beat()
        self.collector.pulse()

    def beating(self) -> AbstractContextManager[None]:
        """Keep the lease alive during a block that may not come to call `pulse` for long."""
        return self._lock.beating()

    def on_sync(self, sync: Callable[[], None]) -> None:
        """Add what sees to it that the journals of other processes outlive the machine."""
        self._syncs.append(sync)

    def sync(self) -> None:
        """See to it that all of the journal outlives the machine."""
        self.journal.sync()
        for sync in self._syncs:
            sync()

    def open_files(self) -> list[int]:
        """Return the files that are this process's alone: its lock and its journal."""
        held = self._use.tokens.filenos() if self._use is not None else []
        return [self._lock.fileno(), *self.journal.filenos(), *held]

    def stop(self) -> None:
        """Begin nothing more: somebody wants this to end."""
        self.interrupted = True
        self.schedule.stop()

    def heeding_signals(self) -> AbstractContextManager[None]:
        """Heed SIGINT and SIGTERM: the first stops, a second one raises KeyboardInterrupt."""
        return heeding(self.stop, lambda: self.interrupted)

    # -- the end ------------------------------------------------------------------------------

    def end(self, *, at_once: bool = False) -> Report:
        """Register what waits, say how the run stands, and tell listeners.

        Parameters
        ----------
        at_once : bool, optional
            Whether to leave registering to the next session.
        """
        if self.schedule.n_open:
            self.schedule.cancel()
        if not at_once:
            self.collector.flush(last=True)
            self.collector.problems += self._deleter.delete_at_end(self.schedule.statuses)
            self._problems += note_caveats(self._butler, self.folder.run, self.tally.caveats())
        tasks = self.tally.tasks(self.header.tasks, self.schedule.statuses)
        self.events.settle(0.5 if at_once else 10.0)
        wall, cpu = self._clock
        report = Report(
            run=self.folder.run,
            tasks=tasks,
            failures=self.tally.failures(),
            problems=(*self._problems, *self.collector.problems, *self.events.broken),
            interrupted=self.interrupted,
            wall=time.perf_counter() - wall,
            cpu=own_cpu() - cpu + self.worker_cpu,
            stopped=self.schedule.why_stopped,
            caveats=self.tally.caveats(),
            plan_file=self.header.plan_file,
            registered=self.collector.n_registered,
            unregistered=len(self.collector),
            finished_before=self.finished_before,
            tags=self.header.tags,
        )
        self._say_session("ended", interrupted=self.interrupted, registered=report.registered)
        self.sync()
        self._emit(RunFinished(report))
        self.events.settle(0.5 if at_once else 10.0)
        return report

    # -- telling ------------------------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        if self.events:
            self.events.emit(event)

    def _say_session(self, state: str, **more: Any) -> None:
        said = {"event": "session", "state": state, "time": time.time_ns(), **more}
        self.journal.write(json.dumps(said, separators=(",", ":")))

    def _blocked(self, attempt: Attempt, quanta: Sequence[int]) -> None:
        identities = self.plan.identities
        digests = [identities[q].tobytes().hex() for q in quanta]
        said = {"event": "blocked", "by": attempt.index, "quanta": digests, "indices": quanta}
        self.journal.write(json.dumps(said, separators=(",", ":")))
        if self.events:
            counts: dict[str, int] = {}
            for q in quanta:
                label = self.plan.task_of(q).label
                counts[label] = counts.get(label, 0) + 1
            self._emit(QuantaBlocked(attempt.index, tuple(quanta), counts))

    def _end_bundles(self, bundles: Iterable[int]) -> None:
        for bundle in bundles:
            self._emit(BundleEnded(bundle))
