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

from executors.outcome import Attempt, Making, QuantumStatus, Stage
from executors.runner import QuantumRunner
from executors.trial import Trial
from supertask.bundles import Bundle, BundleItem
from supertask.butler.port import DatasetSource
from supertask.datasets import Dataset
from supertask.errors import DatasetNotFoundError, ExecutionError, RepositoryError
from supertask.overheads import sharing
from supertask.supertask import SuperTask

__all__ = ["BundleRun"]


class BundleRun:
    """Runs quanta together; a `Keeper`.

    Parameters
    ----------
    runner : QuantumRunner
        Opens and concludes attempts.
    trials : sequence of Trial
        Those of the quanta, of one task and none of them over.
    began, ended : callable
        Called with each trial that begins, and with each attempt that ended.
    spent : callable
        Called with time that was spent after the last of them had ended.
    """

    def __init__(
        self,
        runner: QuantumRunner,
        trials: Sequence[Trial],
        began: Callable[[Trial], object],
        ended: Callable[[Attempt], object],
        spent: Callable[[Making], object],
    ) -> None:
        self._runner = runner
        self._trials = trials
        self._began, self._ended, self._spent = began, ended, spent
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
        butlers = [t.butler for t in self._trials if t.butler is not None]
        quanta = [t.quantum for t in self._trials if t.quantum is not None]
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
        for position in range(len(self._trials)):
            if position not in self._closed:
                self._close(position, error)
        for making in self._common:
            self._spent(making)

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
        self._mark = (time.perf_counter_ns(), time.process_time_ns())

    def _account(self) -> None:
        """End it: it is shared by all."""
        if self._open:
            return
        wall, cpu = time.perf_counter_ns() - self._mark[0], time.process_time_ns() - self._mark[1]
        makings, uses = self._runner.overheads.end()
        self._uses |= dict.fromkeys(uses)
        for m in makings:
            self._common.append(Making(m.serial, m.name, m.wall, m.cpu, self._stage, inside=False))
            wall, cpu = wall - m.wall, cpu - m.cpu
        self._common.append(Making(self._serial, "", max(0, wall), max(0, cpu), self._stage, inside=False))
        self._turn()

    def _close(self, position: int, error: BaseException | None = None) -> None:
        trial = self._trials[position]
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
