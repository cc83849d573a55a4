"""Trial: what is known of an attempt while it is under way, and what an exception says of it."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from executors.decisions.policy import classify
from executors.host.limits import Limits
from executors.host.resources import Usage
from executors.outcome import Failure, Making, QuantumStatus, Stage
from executors.quanta.places import Places
from executors.quanta.planview import PlanView
from graphbuilder.dag.values import QuantumRecord
from supertask.butler.datastore import Datastore
from supertask.butler.limited import LimitedButler
from supertask.configs.identities import digest
from supertask.configs.policy import FailureClass, say_size
from supertask.datasets import Dataset
from supertask.errors import NoWork, PartialOutputs
from supertask.quanta import Quantum
from supertask.tasks.supertask import SuperTask

__all__ = ["Trial", "failure_of"]

_SHOWN = 5
_OURS = frozenset(
    {"executors.quanta.runner", "executors.quanta.bundlerun", "supertask.tasks.bundles", "contextlib"}
)
"""Modules whose frames say nothing of a task's error."""


class Trial:
    """What is known of the attempt under way."""

    def __init__(self, record: QuantumRecord, find: Callable[[Dataset], str], number: int = 1) -> None:
        self.record = record
        self._find = find
        self.number = number
        self.task: SuperTask | None = None
        self.quantum: Quantum | None = None
        self.butler: LimitedButler | None = None
        self.status = QuantumStatus.FAILED
        self.over = False
        """Whether its status is that of its end, by an exception."""
        self.failure: Failure | None = None
        self.reason = ""
        self.left_out: tuple[bytes, ...] = ()
        self.metadata: dict[str, Any] = {}
        self.short: tuple[bytes, ...] = ()
        self.caveats: list[str] = []
        self.whole = True
        self.limits: Limits | None = None
        self.log = ""
        self.start = self.end = 0
        self.wall = self.cpu = 0.0
        self.peak_memory = 0
        self.makings: list[Making] = []
        self.uses: dict[int, None] = {}
        self.stages: dict[Stage, tuple[float, float]] = {}
        self._inputs: Mapping[Dataset, str] = {}

    def take(self, error: BaseException) -> None:
        """End with what was raised."""
        self.over = True
        if isinstance(error, PartialOutputs):
            self.end_in_part(str(error))
        elif isinstance(error, NoWork):
            self.status, self.reason = QuantumStatus.NO_WORK, str(error)
        else:
            cancelled = isinstance(error, KeyboardInterrupt)
            self.status = QuantumStatus.CANCELLED if cancelled else QuantumStatus.FAILED
            self.failure = failure_of(error)

    def worked(self, used: Usage, stage: Stage, metadata: Mapping[str, Any], log: str) -> None:
        """Take note of one stretch of work."""
        self.start, self.end = self.start or used.start, used.end
        self.wall += used.wall
        self.cpu += used.cpu
        self.peak_memory = max(self.peak_memory, used.peak_memory)
        if stage is not Stage.EXECUTE:
            wall, cpu = self.stages.get(stage, (0.0, 0.0))
            self.stages[stage] = (wall + used.wall, cpu + used.cpu)
        if metadata:
            self.metadata = {**self.metadata, **metadata}
        self.log += log

    def share(self, makings: Iterable[Making], uses: Iterable[int], stage: Stage = Stage.EXECUTE) -> None:
        """Take note of overheads that were made for it, or that it used."""
        self.makings += [m if m.stage is stage else attrs.evolve(m, stage=stage) for m in makings]
        self.uses |= dict.fromkeys(uses)

    @property
    def places(self) -> Places:
        """Where its outputs lie, or will."""
        return Places(self.record.quantum.outputs, self.record.locations, self._find)

    def outputs(self) -> list[Dataset]:
        """Return what it is to write."""
        return [d for datasets in self.record.quantum.outputs.values() for d in datasets]

    def offer(self, quantum: Quantum, datastore: Datastore, plan: PlanView) -> LimitedButler:
        """Make the Butler of the attempt."""
        self.quantum = quantum
        self._inputs = Places(quantum.inputs, self.record.locations, self._find)
        self.butler = LimitedButler(
            datastore,
            plan.model,
            self._inputs,
            self.places,
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
        """Return what it has written."""
        return {r.dataset for r in self.butler.records} if self.butler is not None else set()

    def bytes_read(self, datastore: Datastore) -> int:
        """Return how many bytes the inputs have that were read."""
        size = 0
        for dataset in self.butler.reads if self.butler is not None else ():
            try:
                size += os.stat(datastore.path(self._inputs[dataset])).st_size
            except OSError:
                continue
        return size

    def unread(self) -> tuple[bytes, ...]:
        """Return identities of inputs that were not read."""
        identities = self.record.identities
        reads = self.butler.reads if self.butler is not None else ()
        return tuple([identities[d] for d in self._inputs if d not in reads])


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
    while (
        frames is not None
        and frames.tb_next is not None
        and frames.tb_frame.f_globals.get("__name__") in _OURS
    ):
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(kind, error, frames))
    except Exception:  # noqa: BLE001 - as above, or no memory is left to say it at length
        text = ""
    return Failure(name, message, text, classify(error))
