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
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import attrs

from executors.leftovers import sweep
from executors.limits import Guard, Limits
from executors.logs import LogCapture
from executors.outcome import Attempt, Failure, QuantumStatus
from executors.planview import PlanView
from executors.policy import classify
from executors.resources import Meter
from executors.taskset import TaskSet
from graphbuilder.dag.values import QuantumRecord
from supertask.butler.datastore import Datastore
from supertask.butler.limited import LimitedButler
from supertask.datasets import Dataset
from supertask.errors import ExecutionError, NoWork, PartialOutputs, SuperTaskError
from supertask.fields import FieldRole, SuperTaskConfig
from supertask.identities import digest
from supertask.metadata import collect_metadata
from supertask.policy import FailureClass, say_size
from supertask.quanta import Quantum
from supertask.supertask import SuperTask

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
    """

    def __init__(
        self,
        plan: PlanView,
        datastore: Datastore,
        tasks: TaskSet,
        keep_log: Callable[[str], tuple[int, int] | None] | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.plan = plan
        self.run_name = plan.meta.output_run
        self._datastore = datastore
        self._tasks = tasks
        self._keep_log = keep_log
        self._guard = guard
        self._captures: dict[str, LogCapture] = {}
        self._minimums: dict[int, Mapping[type[Dataset], int] | None] = {}
        self._meter = Meter()
        self._host, self._pid = socket.gethostname(), os.getpid()

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
        self._meter.start()
        run = _Run(record, self.locations(record))
        try:
            task = self._tasks.variant(record.label, record.variant)
            capture = self._captures.get(record.label)
            if capture is None:
                capture = self._captures[record.label] = LogCapture(task.log)
            capture.begin(record.quantum.dataId or "")
            if number > 1:
                sweep(self._datastore, (run.locations[d] for d in run.outputs()))
            quantum = record.quantum
            if absent or lost:
                quantum = self._trimmed(run, absent, missing or {}, lost)
            if behind:
                run.note_behind([self.plan.quanta[p] for p in behind])
            butler = run.offer(quantum, self._datastore, self.plan)
            with collect_metadata() as metadata:
                run.metadata = metadata.to_dict
                if self._guard is not None:
                    run.limits = self._guard.limits(record.label, record.variant, memory)
                if self._guard is None or run.limits is None:
                    task.runQuantum(quantum, butler)
                else:
                    with self._guard.holding(run.limits):
                        task.runQuantum(quantum, butler)
            run.left_out = self._left_out(task, record, run)
            run.status = QuantumStatus.SUCCEEDED
        except PartialOutputs as part:
            run.end_in_part(str(part))
        except NoWork as nothing:
            run.status, run.reason = QuantumStatus.NO_WORK, str(nothing)
        except KeyboardInterrupt as stop:
            run.status, run.failure = QuantumStatus.CANCELLED, failure_of(stop)
        except BaseException as error:  # noqa: BLE001 - sys.exit() and MemoryError fail their quantum alone
            run.status, run.failure = QuantumStatus.FAILED, failure_of(error)
        if run.status is not QuantumStatus.SUCCEEDED:
            self._take_back(run)
        return self._attempt(run, number)

    def locations(self, record: QuantumRecord) -> dict[Dataset, str]:
        """Return where each dataset of a quantum lies, or will."""
        locations = dict(record.locations)
        place, run = self._datastore.location_for, self.run_name
        for side in (record.quantum.inputs, record.quantum.outputs):
            for dataset_type, datasets in side.items():
                for dataset in datasets:
                    if dataset not in locations:
                        locations[dataset] = place(dataset_type, dataset.dataId, run)
        return locations

    def _trimmed(
        self,
        run: _Run,
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

    def _left_out(self, task: SuperTask, record: QuantumRecord, run: _Run) -> tuple[bytes, ...]:
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

    def _take_back(self, run: _Run) -> None:
        """Delete what a quantum wrote that did not succeed."""
        try:
            for dataset in run.written():
                self._datastore.remove(run.locations[dataset])
        except SuperTaskError as error:
            note = f"and what it wrote cannot be deleted: {error}"
            if run.failure is None:
                run.status, run.failure = QuantumStatus.FAILED, failure_of(error)
            else:
                failure = run.failure
                run.failure = attrs.evolve(failure, message=f"{failure.message}; {note}")

    def _attempt(self, run: _Run, number: int) -> Attempt:
        record = run.record
        succeeded = run.status is QuantumStatus.SUCCEEDED
        capture = self._captures.get(record.label)
        log = capture.text if capture is not None else ""
        span = self._keep_log(log) if log and self._keep_log is not None else None
        records = tuple(run.butler.records) if succeeded and run.butler is not None else ()
        bytes_read, unread = run.reading(self._datastore)
        used = self._meter.stop()
        run.say_limits(used.peak_memory)
        return Attempt(
            index=record.index,
            identity=record.identity,
            label=record.label,
            dataId=record.quantum.dataId,
            status=run.status,
            number=number,
            host=self._host,
            pid=self._pid,
            start=used.start,
            end=used.end,
            wall=used.wall,
            cpu=used.cpu,
            peak_memory=used.peak_memory,
            bytes_read=bytes_read,
            bytes_written=sum(r.size for r in records),
            failure=run.failure,
            reason=run.reason,
            log=log,
            log_span=span,
            records=records,
            missing=run.left_out,
            unread=unread,
            short=run.short,
            caveats=tuple(run.caveats),
            whole=run.whole,
            metadata=run.metadata() if run.metadata is not None else {},
        )


class _Run:
    """What is known of the attempt under way."""

    def __init__(self, record: QuantumRecord, locations: dict[Dataset, str]) -> None:
        self.record = record
        self.locations = locations
        self.butler: LimitedButler | None = None
        self.status = QuantumStatus.FAILED
        self.failure: Failure | None = None
        self.reason = ""
        self.left_out: tuple[bytes, ...] = ()
        self.metadata: Callable[[], dict[str, Any]] | None = None
        self.short: tuple[bytes, ...] = ()
        self.caveats: list[str] = []
        self.whole = True
        self.limits: Limits | None = None
        self._inputs: dict[Dataset, str] = {}

    def outputs(self) -> list[Dataset]:
        return [d for datasets in self.record.quantum.outputs.values() for d in datasets]

    def offer(self, quantum: Quantum, datastore: Datastore, plan: PlanView) -> LimitedButler:
        """Make the Butler of the attempt."""
        self._inputs = {d: self.locations[d] for datasets in quantum.inputs.values() for d in datasets}
        self.butler = LimitedButler(
            datastore,
            plan.model,
            self._inputs,
            {d: self.locations[d] for d in self.outputs()},
            identities=self.record.identities if self.whole else self._identities(plan.meta.output_run),
            label=self.record.label,
        )
        return self.butler

    def _identities(self, run_name: str) -> Mapping[Dataset, bytes]:
        """Return identities under which what is made of fewer inputs is not taken for what the plan means.

        They are of this run alone, in which a dataset is written once.
        """
        planned, ours = self.record.identities, run_name.encode()
        return {**planned, **{d: digest(b"of fewer inputs", planned[d], ours) for d in self.outputs()}}

    def note_short(self, failed: set[Dataset]) -> None:
        """Note which inputs it runs without because they failed."""
        short: list[bytes] = []
        for dataset_type, planned in self.record.quantum.inputs.items():
            gone = sorted(planned & failed)
            if gone:
                shown = ", ".join(map(repr, gone[:_SHOWN])) + (" …" if len(gone) > _SHOWN else "")
                count = f"{len(planned) - len(gone)} of {len(planned)}"
                self.caveats.append(f"ran with {count} {dataset_type.name!r}: {shown} failed")
                short += [self.record.identities[d] for d in gone]
        self.short, self.whole = tuple(short), False

    def note_behind(self, producers: Sequence[Quantum]) -> None:
        """Note that it reads what was made of fewer inputs."""
        shown = ", ".join(f"{p.label} {p.dataId}" for p in producers[:_SHOWN])
        more = " …" if len(producers) > _SHOWN else ""
        self.caveats.append(f"reads what was made of fewer inputs, by {shown}{more}")
        self.whole = False

    def end_in_part(self, caveat: str) -> None:
        """Keep what was written, as the task wishes; without anything it found no work."""
        written = self.written()
        if not written:
            self.status, self.reason = QuantumStatus.NO_WORK, caveat
            return
        self.caveats.append(caveat)
        self.left_out = tuple(self.record.identities[d] for d in sorted(set(self.outputs()) - written))
        self.status = QuantumStatus.SUCCEEDED

    def say_limits(self, peak: int) -> None:
        """Say of a task that ran out of memory how much it might hold, and did."""
        failure = self.failure
        if failure is None or failure.kind is not FailureClass.OUT_OF_MEMORY:
            return
        message = f"{failure.message}; " if failure.message else ""
        message += f"its process held {say_size(peak)} at most"
        if self.limits is not None and self.limits.memory is not None:
            message += f", and it may hold {say_size(self.limits.memory)} more than when it began"
        self.failure = attrs.evolve(failure, message=message)

    def written(self) -> set[Dataset]:
        return {r.dataset for r in self.butler.records} if self.butler is not None else set()

    def reading(self, datastore: Datastore) -> tuple[int, tuple[bytes, ...]]:
        """Return how many bytes the inputs have that were read, and identities of those that were not."""
        if self.butler is None:
            return 0, ()
        size, unread = 0, []
        for dataset, location in self._inputs.items():
            if dataset in self.butler.reads:
                try:
                    size += os.stat(datastore.path(location)).st_size
                except OSError:
                    continue
            else:
                unread.append(self.record.identities[dataset])
        return size, tuple(unread)


def failure_of(error: BaseException) -> Failure:
    """Return what an exception says, without the frames of the runner itself."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - a broken __str__ is the task's own doing
        message = f"its message cannot be shown: {type(broken).__name__}"
    if isinstance(error, SystemExit):
        message = f"the task called sys.exit({error.code!r})"
    frames = error.__traceback__
    if frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(kind, error, frames))
    except Exception:  # noqa: BLE001 - as above, or no memory is left to say it at length
        text = ""
    return Failure(name, message, text, classify(error))
