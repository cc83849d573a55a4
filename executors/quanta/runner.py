"""The runner: the one place that calls ``runQuantum``, whatever framework walks the plan.

A task gets a Butler that knows its quantum's datasets and nothing else. Inputs that were there at preflight
lie where the plan says; what this run makes lies where the repository's templates put it, so that no database
is asked. Outputs are written whole, one by one; what a quantum wrote before it failed is deleted again. What
is found of an earlier attempt that was broken off (its file may be whole) counts for nothing and is deleted
before the next.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

import attrs

from executors.host.limits import Guard
from executors.host.resources import Meter
from executors.keeping.leftovers import sweep
from executors.outcome import Attempt, QuantumStatus, Stage
from executors.overheads.making import Overheads
from executors.overheads.store import OverheadStore
from executors.quanta.logs import LogCapture
from executors.quanta.places import Places
from executors.quanta.planview import PlanView
from executors.quanta.surroundings import Surroundings
from executors.quanta.taskset import TaskSet
from executors.quanta.trial import Trial, failure_of
from graphbuilder.dag.values import Outline, QuantumRecord
from supertask.butler.datastore import Datastore
from supertask.butler.limited import LimitedButler
from supertask.connections.fields import FieldRole, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import ExecutionError, NoWork, SuperTaskError
from supertask.quanta import Quantum
from supertask.tasks.metadata import Metadata, collect_metadata
from supertask.tasks.overheads import declared_overhead, sharing
from supertask.tasks.supertask import SuperTask, takes_bundles

__all__ = ["QuantumRunner", "failure_of"]

_SHOWN = 5


class QuantumRunner:
    """Runs quanta of one plan in this process.

    Parameters
    ----------
    plan : PlanView
        The plan, or a bundle's part of it.
    datastore : Datastore
        The repository's files.
    tasks : TaskSet
        Constructs the plan's tasks.
    keep_log : callable, optional
        Takes what a task logged and returns where it is kept, as `Journal.write_log`.
    guard : Guard, optional
        Holds quanta to their limits.
    surroundings : Surroundings, optional
        Of each call; tasks called without any are called by nobody.
    overheads : Overheads, optional
        What this process keeps of overheads; a store of its own unless given.
    """

    def __init__(
        self,
        plan: PlanView,
        datastore: Datastore,
        tasks: TaskSet,
        keep_log: Callable[[str], tuple[int, int] | None] | None = None,
        guard: Guard | None = None,
        surroundings: Surroundings | None = None,
        overheads: Overheads | None = None,
    ) -> None:
        self.plan = plan
        self.run_name = plan.meta.output_run
        self._datastore = datastore
        self._tasks = tasks
        self._keep_log = keep_log
        self._guard = guard
        self._surroundings = surroundings
        self.overheads = overheads if overheads is not None else Overheads(OverheadStore())
        self._sharing: dict[int, bool] = {}
        self._kinds: dict[tuple[str, int], tuple[object, ...] | None] = {}
        """Label and variant → what `bundled` says of all such quanta, where that is known."""
        self._captures: dict[str, LogCapture] = {}
        self._minimums: dict[int, Mapping[type[Dataset], int] | None] = {}
        self._meter = Meter()
        self._host, self._pid = socket.gethostname(), os.getpid()
        run, place = self.run_name, datastore.location_for
        self._find: Callable[[Dataset], str] = lambda d: place(type(d), d.dataId, run)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave loggers as they were found."""
        for capture in self._captures.values():
            capture.close()
        self._captures.clear()

    def run(
        self,
        record: QuantumRecord,
        *,
        number: int = 1,
        absent: Sequence[int] = (),
        missing: Mapping[int, frozenset[bytes]] | None = None,
        lost: Sequence[int] = (),
        behind: Sequence[int] = (),
        memory: int | None = None,
    ) -> Attempt:
        """Run one quantum and return what came of it; no error of the task's comes out of here.

        Parameters
        ----------
        record : QuantumRecord
            The quantum, as the plan has it.
        number : int, optional
            Of the attempt; what an earlier one left behind is deleted first.
        absent : sequence of int, optional
            Quanta that it depends on that ended without all of their outputs.
        missing : Mapping, optional
            Of these, those that made some outputs → identities of the ones they left out.
        lost : sequence of int, optional
            Quanta that it depends on that failed or were blocked, and that it is to run without.
        behind : sequence of int, optional
            Quanta that it depends on that themselves ran without inputs that failed.
        memory : int, optional
            Bytes that it may hold, where that is not what its task says.
        """
        trial = self.open(
            record, number=number, absent=absent, missing=missing, lost=lost, behind=behind, memory=memory
        )
        if not trial.over:
            try:
                with self.working(trial) as (task, quantum, butler):
                    task.runQuantum(quantum, butler)
            except BaseException:
                if not trial.over:  # else it could not be begun, and says so
                    raise
        return self.conclude(trial)

    def open(
        self,
        record: QuantumRecord,
        *,
        number: int = 1,
        absent: Sequence[int] = (),
        missing: Mapping[int, frozenset[bytes]] | None = None,
        lost: Sequence[int] = (),
        behind: Sequence[int] = (),
        memory: int | None = None,
    ) -> Trial:
        """Make ready to run a quantum, see `run`; what cannot be run is over."""
        trial = Trial(record, self._find, number)
        trial.start = time.time_ns()
        try:
            task = trial.task = self._tasks.variant(record.label, record.variant)
            capture = self._captures.get(record.label)
            if capture is None:
                capture = self._captures[record.label] = LogCapture(task.log)
            if number > 1:
                sweep(self._datastore, trial.places.values())
            quantum = record.quantum
            if absent or lost:
                quantum = self._trimmed(trial, absent, missing or {}, lost)
            if behind:
                trial.note_behind([self.plan.quanta[p] for p in behind])
            trial.offer(quantum, self._datastore, self.plan)
            if self._guard is not None:
                trial.limits = self._guard.limits(record.label, record.variant, memory)
        except BaseException as error:  # noqa: BLE001 - as in `working`
            trial.take(error)
        return trial

    def unopened(self, record: QuantumRecord, task: SuperTask | None) -> Trial:
        """Return the attempt of a quantum of a bundle that its task never turned to."""
        trial = Trial(record, self._find)
        trial.task, trial.start = task, time.time_ns()
        return trial

    def working(self, trial: Trial, stage: Stage = Stage.EXECUTE) -> _Working:
        """Let a task work on a quantum in a ``with`` block; no error of the task's comes out of it.

        What hinders it from beginning comes out, and is the trial's failure, too.
        """
        return _Working(self, trial, stage)

    def conclude(self, trial: Trial) -> Attempt:
        """Return what came of a quantum, and delete what it wrote if it did not succeed."""
        if not trial.over:
            try:
                assert trial.task is not None  # noqa: S101 - else it is over
                trial.left_out = self._left_out(trial.task, trial.record, trial)
                trial.status = QuantumStatus.SUCCEEDED
            except SuperTaskError as error:
                trial.take(error)
        if trial.status is not QuantumStatus.SUCCEEDED:
            self._take_back(trial)
        return self._attempt(trial)

    def bundled(
        self, outline: Outline, record_of: Callable[[int], QuantumRecord]
    ) -> tuple[object, ...] | None:
        """Return what is equal for quanta that a task takes together; None where it takes one at a time."""
        kind = (outline.label, outline.variant)
        if kind in self._kinds:
            return self._kinds[kind]
        try:
            task = self._tasks.variant(*kind)
            if not takes_bundles(task):
                self._kinds[kind] = None
            elif self.overheads.are_all_alike(task):
                self._kinds[kind] = kind
            else:
                return (*kind, self.overheads.alike(task, record_of(outline.quantum)))
        except Exception:  # noqa: BLE001 - which running it says, with all that is known of it
            return None
        return self._kinds[kind]

    def runs_alone(self, record: QuantumRecord) -> bool:
        """Tell whether it is known that the quantum's task takes one at a time."""
        return self._kinds.get((record.label, record.variant), ()) is None

    def _shares(self, task: SuperTask) -> bool:
        """Tell whether a task declares overheads."""
        known = self._sharing.get(id(task))
        if known is None:
            # Tasks are made once and kept, so each (variant) is known by what it is.
            known = declared_overhead(type(task), task.config).declared
            self._sharing[id(task)] = known
        return known

    def locations(self, record: QuantumRecord) -> dict[Dataset, str]:
        """Return where each dataset of a quantum lies, or will."""
        sides = (record.quantum.inputs, record.quantum.outputs)
        return {d: place for side in sides for d, place in Places(side, record.locations, self._find).items()}

    def _trimmed(
        self,
        run: Trial,
        absent: Sequence[int],
        missing: Mapping[int, frozenset[bytes]],
        lost: Sequence[int],
    ) -> Quantum:
        """Return the quantum without the inputs that nobody made; raise NoWork if too few are left."""
        record = run.record
        gone: set[Dataset] = set()
        for producer in absent:
            made = self.plan.record(producer)
            left_out = missing.get(producer)
            for datasets in made.quantum.outputs.values():
                gone |= {d for d in datasets if left_out is None or made.identities[d] in left_out}
        whole = record.quantum
        failed = {d for p in lost for made in self.plan.quanta[p].outputs.values() for d in made}
        if failed:
            run.note_short(failed)
            gone |= failed
        inputs = {t: datasets - gone for t, datasets in whole.inputs.items()}
        for dataset_type, left in inputs.items():
            planned = len(whole.inputs[dataset_type])
            least = record.minimums.get(dataset_type, 1)
            if len(left) < planned and len(left) < least:
                if failed & whole.inputs[dataset_type]:
                    raise ExecutionError(
                        f"{len(left)} of {planned} {dataset_type.name!r} were made, and it needs {least}: "
                        "some before it failed, others found no work"
                    )
                raise NoWork(
                    f"{len(left)} of {planned} {dataset_type.name!r} were made, and it needs {least}: "
                    "those before it found no work"
                )
        return Quantum(inputs, whole.outputs, whole.label, whole.parameters, whole.dataId)

    def _left_out(self, task: SuperTask, record: QuantumRecord, run: Trial) -> tuple[bytes, ...]:
        """Return identities of outputs that were not written and need not be; raise if one must be."""
        written = run.written()
        if len(written) == sum(map(len, record.quantum.outputs.values())):
            return ()
        minimums = self._output_minimums(task)
        left_out, lacking = [], []
        for dataset_type, datasets in record.quantum.outputs.items():
            unwritten = sorted(datasets - written)
            # What the configuration does not speak of must be written.
            least = len(datasets) if minimums is None else minimums.get(dataset_type, len(datasets))
            if len(datasets) - len(unwritten) < least:
                lacking += unwritten
            left_out += unwritten
        if lacking:
            shown = ", ".join(map(repr, lacking[:_SHOWN])) + (" …" if len(lacking) > _SHOWN else "")
            raise ExecutionError(
                f"task {record.label!r} ended without writing {shown}: write every output, declare it with "
                "minimum=0 if it may be left out, or raise NoWork"
            )
        return tuple(record.identities[d] for d in left_out)

    def _output_minimums(self, task: SuperTask) -> Mapping[type[Dataset], int] | None:
        # Tasks are made once and kept, so each (variant) is known by what it is.
        if id(task) not in self._minimums:
            found = None
            if isinstance(task.config, SuperTaskConfig):
                fields = task.config.fields_of(FieldRole.OUTPUT).values()
                found = {field.dataset_type: field.minimum for field in fields}
            self._minimums[id(task)] = found
        return self._minimums[id(task)]

    def _take_back(self, run: Trial) -> None:
        """Delete what a quantum wrote that did not succeed."""
        try:
            for dataset in run.written():
                self._datastore.remove(run.places[dataset])
        except SuperTaskError as error:
            note = f"and what it wrote cannot be deleted: {error}"
            if run.failure is None:
                run.status, run.failure = QuantumStatus.FAILED, failure_of(error)
            else:
                failure = run.failure
                run.failure = attrs.evolve(failure, message=f"{failure.message}; {note}")

    def _attempt(self, trial: Trial) -> Attempt:
        record = trial.record
        succeeded = trial.status is QuantumStatus.SUCCEEDED
        span = self._keep_log(trial.log) if trial.log and self._keep_log is not None else None
        records = tuple(trial.butler.records) if succeeded and trial.butler is not None else ()
        trial.say_limits(trial.peak_memory)
        return Attempt(
            index=record.index,
            identity=record.identity,
            label=record.label,
            dataId=record.quantum.dataId,
            status=trial.status,
            number=trial.number,
            host=self._host,
            pid=self._pid,
            start=trial.start,
            end=trial.end or time.time_ns(),
            wall=trial.wall,
            cpu=trial.cpu,
            peak_memory=trial.peak_memory,
            bytes_read=trial.bytes_read(self._datastore),
            bytes_written=sum(r.size for r in records),
            failure=trial.failure,
            reason=trial.reason,
            log=trial.log,
            log_span=span,
            records=records,
            missing=trial.left_out,
            # Of what was made is said what was not read; where nothing was, there is nothing to say.
            unread=trial.unread() if records else (),
            short=trial.short,
            caveats=tuple(trial.caveats),
            whole=trial.whole,
            metadata=trial.metadata,
            makings=tuple(trial.makings),
            uses=tuple(trial.uses),
            stages=trial.stages,
        )


class _Working:
    """The block in which a task works on a quantum."""

    # Not a generator: this is entered for every quantum, and most have no need of most of it.
    __slots__ = ("_entered", "_metadata", "_runner", "_shares", "_stage", "_trial")

    def __init__(self, runner: QuantumRunner, trial: Trial, stage: Stage) -> None:
        self._runner = runner
        self._trial = trial
        self._stage = stage
        self._shares = False
        self._entered: list[AbstractContextManager[object]] = []
        self._metadata: Metadata | None = None

    def __enter__(self) -> tuple[SuperTask, Quantum, LimitedButler]:
        runner, trial, entered = self._runner, self._trial, self._entered
        task, quantum, butler, record = trial.task, trial.quantum, trial.butler, trial.record
        assert task is not None and quantum is not None and butler is not None  # noqa: PT018, S101 - else it is over
        runner._captures[record.label].begin(record.quantum.dataId or "")
        runner._meter.start()
        self._shares = runner._shares(task)
        try:
            collecting = collect_metadata()
            self._metadata = collecting.__enter__()
            entered.append(collecting)
            if self._shares:
                runner.overheads.begin(task, record, quantum, butler)
                self._enter(sharing(runner.overheads))
            if trial.limits is not None and runner._guard is not None:
                self._enter(runner._guard.holding(trial.limits))
            if runner._surroundings is not None:
                self._enter(runner._surroundings.around(task, record, quantum, butler, trial.number))
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return task, quantum, butler

    def _enter(self, context: AbstractContextManager[object]) -> None:
        context.__enter__()
        self._entered.append(context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        runner, trial = self._runner, self._trial
        while self._entered:
            context = self._entered.pop()
            try:
                if context.__exit__(kind, error, trace):
                    kind = error = trace = None
            except BaseException as raised:  # noqa: BLE001 - an alarm of a limit, say: it is the quantum's
                kind, error, trace = type(raised), raised, raised.__traceback__
        if error is not None:  # sys.exit() and MemoryError, too, fail their quantum alone
            trial.take(error)
        if self._shares:
            trial.share(*runner.overheads.end(), self._stage)
        text = runner._captures[trial.record.label].text
        noted = self._metadata.to_dict() if self._metadata else {}
        trial.worked(runner._meter.stop(), self._stage, noted, text)
        return True
