"""Running quanta of one task together: for tasks with `runBundle`, or with stages around it.

Each quantum begins when its task first works on it, and ends, in the journal, when it leaves it in the stage
`execute`; with a stage after that, when it leaves it there, or the stage ends. So of a process that is killed
in between, those that had ended stand. Time that is of no quantum is shared by all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import attrs

from executors.host.resources import own_cpu_ns
from executors.journal.lines import Lines
from executors.outcome import Attempt, Making, QuantumStatus, Stage
from executors.quanta.runner import QuantumRunner
from executors.quanta.trial import Trial
from graphbuilder.dag.values import Outline, QuantumRecord
from supertask.butler.port import DatasetSource
from supertask.datasets import Dataset
from supertask.errors import DatasetNotFoundError, ExecutionError, RepositoryError
from supertask.tasks.bundles import Bundle, BundleItem
from supertask.tasks.overheads import sharing
from supertask.tasks.supertask import SuperTask

__all__ = ["BundleRun"]


class BundleRun:
    """Runs quanta together; a `Keeper`.

    Parameters
    ----------
    runner : QuantumRunner
        Opens and concludes attempts.
    outlines : sequence of Outline
        The quanta, of one task.
    record_of : callable
        Returns the record of a quantum, given its number in the plan.
    trials : Mapping
        Position of a quantum → its attempt, opened and not over. The first quantum has one; that of any other
        is opened when its task turns to it.
    began, ended : callable
        Called with each trial that begins, and with each attempt that ended.
    alike : callable, optional
        Called with an attempt that ended, and others that came to the very same.
    lines : Lines
        Writes time that was spent after the last of them had ended, and what ends together.
    """

    def __init__(
        self,
        runner: QuantumRunner,
        outlines: Sequence[Outline],
        record_of: Callable[[int], QuantumRecord],
        trials: Mapping[int, Trial],
        began: Callable[[Trial], object],
        ended: Callable[[Attempt], object],
        alike: Callable[[Attempt, Sequence[Outline]], object] | None,
        lines: Lines,
    ) -> None:
        self._runner = runner
        self._outlines = outlines
        self._record_of = record_of
        self._trials = dict(trials)
        self._began, self._ended, self._alike, self._lines = began, ended, alike, lines
        self._stage = Stage.EXECUTE
        self._open: dict[int, AbstractContextManager[Any]] = {}
        self._begun: set[int] = set()
        self._closed: set[int] = set()
        self._failed: dict[int, BaseException] = {}
        self._common: list[Making] = []
        self._uses: dict[int, None] = {}
        self._mark = (0, 0)
        self._task = trials[0].task
        assert self._task is not None  # noqa: S101 - else it is over
        self._holds = type(self._task).postExecute is not SuperTask.postExecute
        self._serial = runner.overheads.serial()
        self.cancelled = False

    def run(self) -> None:
        """Run them; no error of the task's comes out of here."""
        task, first = self._task, self._trials[0]
        assert task is not None and first.quantum is not None  # noqa: PT018, S101 - else it is over
        n = len(self._outlines)
        butlers = _OnDemand(n, lambda i: self._opened(i).butler)
        quanta = _OnDemand(n, lambda i: self._opened(i).quantum)
        self._uses[self._serial] = None
        self._begin(0)
        self._turn()
        error: BaseException | None = None
        try:
            bundle = Bundle(task, quanta, butlers, self)
            with sharing(self._runner.overheads):
                task.runBundle(bundle, _BundleButler(butlers))
        except BaseException as raised:  # noqa: BLE001 - it fails quanta, as in QuantumRunner.working
            error = raised
        self._account()
        with self._lines.together():
            self._close_all(error)
        for making in self._common:
            self._lines.share(making)

    def _close_all(self, error: BaseException | None) -> None:
        """Close what is left. Of quanta that nobody turned to, and that write nothing, one speaks for all."""
        speaks: Attempt | None = None
        alike: list[Outline] = []
        known = self._trials.keys() | self._closed
        for position, outline in enumerate(self._outlines):
            untouched = error is None and not outline.outputs and position not in known
            if untouched and speaks is not None:
                alike.append(outline)
                continue
            if position in self._closed:
                continue
            attempt = self._close(position, error)
            if untouched and self._alike is not None and attempt.status is QuantumStatus.SUCCEEDED:
                speaks = attempt
        if speaks is not None and alike and self._alike is not None:
            self._closed.update(range(len(self._outlines)))
            self._alike(attrs.evolve(speaks, makings=()), alike)

    def _opened(self, position: int) -> Trial:
        """Return the attempt of a quantum that its task works on."""
        trial = self._trials.get(position)
        if trial is None or trial.quantum is None:
            trial = self._trials[position] = self._runner.open(self._record(position))
            if trial.failure is not None:
                raise ExecutionError(f"quantum {trial.record.quantum} cannot be run: {trial.failure}")
        return trial

    def _record(self, position: int) -> QuantumRecord:
        return self._record_of(self._outlines[position].quantum)

    # -- what the bundle says -----------------------------------------------------------------

    def enter(self, item: BundleItem) -> None:
        """Begin, or go on, to work on a quantum."""
        position = item.position
        if position in self._open:
            raise ExecutionError(f"quantum {item.quantum} is being worked on: its blocks cannot be nested")
        if self._open:
            raise ExecutionError("another quantum of the bundle is being worked on: leave its block before")
        if position in self._closed:
            raise ExecutionError(f"quantum {item.quantum} has ended: work on each in one block for a stage")
        self._account()
        self._begin(position)
        work = self._runner.working(self._trials[position], self._stage)
        work.__enter__()
        self._open[position] = work

    def leave(self, item: BundleItem, error: BaseException | None) -> bool:
        """End that for now; whatever was raised is the quantum's own."""
        work = self._open.pop(item.position)
        kind, trace = (None, None) if error is None else (type(error), error.__traceback__)
        work.__exit__(kind, error, trace)
        self._turn()
        trial = self._trials[item.position]
        last = self._stage is Stage.POST_EXECUTE if self._holds else self._stage is Stage.EXECUTE
        if last or trial.over:
            self._close(item.position)
        # Who interrupts means all of it.
        return trial.status is not QuantumStatus.CANCELLED

    def has_ended(self, item: BundleItem) -> bool:
        """Tell whether a quantum has ended."""
        return item.position in self._closed

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done in the block to a stage."""
        self._account()
        before, self._stage = self._stage, Stage(name)
        try:
            yield
        finally:
            self._account()
            self._stage = before

    # -- account ------------------------------------------------------------------------------

    def _begin(self, position: int) -> None:
        if position not in self._begun:
            self._begun.add(position)
            self._began(self._trials[position])

    def _turn(self) -> None:
        """Begin time that is of no quantum; what is made in it is made for the first, and used by all."""
        overheads, first = self._runner.overheads, self._trials[0]
        if first.task is not None and first.quantum is not None:
            assert first.butler is not None  # noqa: S101 - else it is over
            overheads.begin(first.task, first.record, first.quantum, first.butler)
        self._mark = (time.perf_counter_ns(), own_cpu_ns())

    def _account(self) -> None:
        """End it: it is shared by all."""
        if self._open:
            return
        wall, cpu = time.perf_counter_ns() - self._mark[0], own_cpu_ns() - self._mark[1]
        makings, uses = self._runner.overheads.end()
        self._uses |= dict.fromkeys(uses)
        for m in makings:
            self._common.append(Making(m.serial, m.name, m.wall, m.cpu, self._stage, inside=False))
            wall, cpu = wall - m.wall, cpu - m.cpu
        self._common.append(Making(self._serial, "", max(0, wall), max(0, cpu), self._stage, inside=False))
        self._turn()

    def _close(self, position: int, error: BaseException | None = None) -> Attempt:
        trial = self._trials.get(position)
        if trial is None:  # the task did without
            trial = self._trials[position] = self._runner.unopened(self._record(position), self._task)
        self._closed.add(position)
        self._begin(position)
        if error is not None and not trial.over:
            trial.take(error)
        trial.makings += self._common
        self._common = []
        trial.uses |= self._uses
        attempt = self._runner.conclude(trial)
        self.cancelled = self.cancelled or attempt.status is QuantumStatus.CANCELLED
        self._ended(attempt)
        return attempt


class _OnDemand(Sequence[Any]):
    """Makes each of its items when it is asked for."""

    def __init__(self, n: int, make: Callable[[int], Any]) -> None:
        self._n = n
        self._make = make

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self._make(j) for j in range(*i.indices(self._n))]
        if not -self._n <= i < self._n:
            raise IndexError(i)
        return self._make(i % self._n)


class _BundleButler(DatasetSource):
    """Knows the datasets of all quanta of a bundle."""

    def __init__(self, butlers: Sequence[Any]) -> None:
        self._butlers = butlers
        self.model = butlers[0].model

    def get(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        *,
        parameters: Mapping[str, Any] | None = None,
        **units: Any,
    ) -> Any:
        for butler in self._butlers:
            try:
                return butler.get(dataset, dataId, parameters=parameters, **units)
            except DatasetNotFoundError as error:
                last = error
        raise last

    def put(
        self,
        value: Any,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        **units: Any,
    ) -> Dataset:
        for butler in self._butlers:
            if butler.makes(dataset, dataId, **units):
                made: Dataset = butler.put(value, dataset, dataId, **units)
                return made
        raise RepositoryError(f"no quantum of this bundle makes {dataset!r} {dict(dataId or {}, **units)}")

    def exists(
        self, dataset: Dataset | type[Dataset] | str, dataId: Mapping[str, Any] | None = None, /, **units: Any
    ) -> bool:
        return any(butler.exists(dataset, dataId, **units) for butler in self._butlers)
