"""Quanta and bundles recreated from a plan, to be looked into and run again aside of their run.

    work = recreate(butler, "u/me/run1", bundle=3)
    work.quanta[0].parameters
    work.task().runQuantum(work.quanta[0], work.butler())   # raises what the task raises
    work.run()                                              # all, as their run runs them
    work.times()                                            # where the time went

What they write goes into a folder of its own, where what they read of each other is found again, with a
journal of its own; the repository and the run's journal are only read. They run by the one way that there is
to run a piece of work (`Performer`): with `runBundle` and stages where a task has them, sharing overheads.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from executors.decisions.work import Work
from executors.journal.bundlerecords import plan_of_run
from executors.journal.journal import Header, Journal
from executors.journal.runfolder import RunFolder
from executors.journal.times import Times, times_of
from executors.outcome import Attempt
from executors.overheads.making import Overheads
from executors.overheads.store import OverheadStore
from executors.quanta.performer import Performer
from executors.quanta.runner import QuantumRunner
from executors.quanta.taskset import TaskSet, outside_init_inputs
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import QuantumRecord
from supertask.butler.datastore import Datastore
from supertask.butler.limited import LimitedButler
from supertask.butler.port import AbstractButler
from supertask.datasets import Dataset
from supertask.errors import ExecutionError
from supertask.quanta import Quantum
from supertask.tasks.supertask import SuperTask

__all__ = ["Recreated", "recreate"]


class _Aside(Datastore):
    """A repository's files, some of which are written elsewhere and read from there once they are."""

    def __init__(self, home: Datastore, folder: str) -> None:
        super().__init__(home.root, home.templates)
        self._home = home
        self._folder = folder
        self.ours: set[str] = set()
        """Locations of what is written elsewhere."""

    def path(self, location: str) -> str:
        """Return the absolute path of a location's file."""
        if location in self.ours:
            return os.path.join(self._folder, location)
        return super().path(location)

    def read(
        self,
        dataset_type: type[Dataset],
        location: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        what: object = "",
    ) -> Any:
        """Read a value; see `Datastore.read`."""
        if location in self.ours and not os.path.exists(self.path(location)):
            return self._home.read(dataset_type, location, parameters, what=what)
        return super().read(dataset_type, location, parameters, what=what)


class Recreated:
    """Quanta of a plan, with all that is needed to run them here.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    butler : AbstractButler
        The repository that it was made from; it is only read.
    indices : iterable of int
        The quanta, in order.
    folder : path, optional
        Where outputs are written; a new temporary folder unless given.
    bundle : int, optional
        Number of the bundle that they are; -1 where they are none.
    """

    def __init__(
        self,
        plan: ScienceDag,
        butler: AbstractButler,
        indices: Iterable[int],
        folder: str | Path | None = None,
        *,
        bundle: int = -1,
    ) -> None:
        self.plan = plan
        self.bundle = bundle
        self.indices = tuple(indices)
        self.records: tuple[QuantumRecord, ...] = tuple(plan.records(self.indices))
        self.folder = Path(tempfile.mkdtemp(prefix="supertask-aside-") if folder is None else folder)
        """Where outputs are."""
        self.attempts: list[Attempt] = []
        """What came of them when they were last run here."""
        self._datastore = _Aside(Datastore.open(_root_of(butler)), str(self.folder))
        self._tasks = TaskSet(plan.tasks, _outside(plan, butler, self._datastore))
        self._overheads = Overheads(OverheadStore())
        self._runner = QuantumRunner(plan, self._datastore, self._tasks, overheads=self._overheads)
        self._locations = [self._runner.locations(record) for record in self.records]
        for record, locations in zip(self.records, self._locations, strict=True):
            self._datastore.ours |= {locations[d] for ds in record.quantum.outputs.values() for d in ds}

    @property
    def quanta(self) -> list[Quantum]:
        """The quanta; attributes of their `parameters` are their parameters."""
        return [record.quantum for record in self.records]

    def task(self, i: int = 0) -> SuperTask:
        """Return the task of one of the quanta, constructed as the plan has it."""
        record = self.records[i]
        return self._tasks.variant(record.label, record.variant)

    def butler(self, i: int = 0) -> LimitedButler:
        """Return a new Butler that knows the datasets of one of the quanta."""
        record, locations = self.records[i], self._locations[i]
        inputs, outputs = (
            {d: locations[d] for ds in side.values() for d in ds}
            for side in (record.quantum.inputs, record.quantum.outputs)
        )
        return LimitedButler(
            self._datastore,
            self.plan.model,
            inputs,
            outputs,
            identities=record.identities,
            label=record.label,
        )

    def get(self, dataset: Dataset | str, i: int = 0) -> Any:
        """Read a dataset of one of the quanta: an input, or an output once written, here or in the run."""
        record, locations = self.records[i], self._locations[i]
        sides = (record.quantum.inputs, record.quantum.outputs)
        known = {d: locations[d] for side in sides for datasets in side.values() for d in datasets}
        return LimitedButler(self._datastore, self.plan.model, known, {}, label=record.label).get(dataset)

    def run(self, *, told: Callable[[Attempt], object] | None = None) -> list[Attempt]:
        """Run them as their run does, and return what came of each.

        A bundle runs as one: by its task's `runBundle` and stages, and what waits for a quantum of it that
        fails is left out. Quanta that are no bundle run one after another.

        Parameters
        ----------
        told : callable, optional
            Called with each attempt as it ends.

        Raises
        ------
        ExecutionError
            The folder cannot be written.
        """
        attempts = self.attempts = []
        plan = self.plan
        for location in self._datastore.ours:
            # Of an earlier run here; what the run itself wrote lies elsewhere.
            Path(self._datastore.path(location)).unlink(missing_ok=True)

        def ended(attempt: Attempt, _: bytes) -> None:
            attempts.append(attempt)
            if told is not None:
                told(attempt)

        home = RunFolder(str(self.folder), plan.meta.output_run)
        home.make()
        tasks = tuple((t.label, t.first, t.count) for t in plan.tasks)
        header = Header(run=home.run, plan="", quanta=plan.n_quanta, tasks=tasks, role="aside")
        journal = Journal(home, header)
        try:
            performer = Performer(self._runner, journal, lambda *_: None, ended)
            performer.perform(Work(self.indices, self.bundle))
        finally:
            journal.close()
        attempts.sort(key=lambda attempt: self.indices.index(attempt.index))  # they may end in another order
        return attempts

    def times(self) -> list[Times]:
        """Return where the time of all runs here went, with what was shared dealt out; see `journal.times`.

        Raises
        ------
        ExecutionError
            Nothing ran here yet.
        """
        return times_of(self.folder, self.plan.meta.output_run)

    def close(self) -> None:
        """Leave loggers as they were found. What was written stays in `folder`."""
        self._runner.close()

    def __repr__(self) -> str:
        labels = ", ".join(dict.fromkeys(record.label for record in self.records))
        return f"<{len(self.records)} quanta of {labels}, outputs in {self.folder}>"


def recreate(
    butler: AbstractButler,
    run: str | ScienceDag,
    *,
    bundle: int | None = None,
    quantum: int | None = None,
    bundling: str | None = None,
    folder: str | Path | None = None,
) -> Recreated:
    """Recreate a bundle, or a quantum, of a run.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    run : str or ScienceDag
        The run, or its plan.
    bundle : int, optional
        Number of the bundle.
    quantum : int, optional
        Index of the quantum, instead.
    bundling : str, optional
        Name of the bundling; the last one made unless given.
    folder : path, optional
        Where to write outputs; a new temporary folder unless given.

    Raises
    ------
    ExecutionError
        There is no such run, bundle or quantum.
    """
    if (bundle is None) == (quantum is None):
        raise ExecutionError("say which bundle, or which quantum, is to be recreated: one of them")
    plan = plan_of_run(_root_of(butler), run) if isinstance(run, str) else run
    if quantum is not None:
        plan.task_of(quantum)
        return Recreated(plan, butler, (quantum,), folder)
    chosen = plan.bundling(bundling)
    if chosen is None:
        raise ExecutionError("the plan has no bundles: make some with supertask batch, or say which quantum")
    assert bundle is not None  # noqa: S101 - one of the two is given
    if not 0 <= bundle < len(chosen):
        raise ExecutionError(
            f"there is no bundle {bundle}: {chosen.name!r} has {len(chosen):,}, numbered from 0"
        )
    return Recreated(plan, butler, np.asarray(chosen[bundle]).tolist(), folder, bundle=bundle)


def _root_of(butler: AbstractButler) -> str:
    root = getattr(butler, "root", None)
    if not root:
        raise ExecutionError(f"{butler!r} keeps nothing on disk: what ran in it cannot be recreated")
    return str(root)


def _outside(plan: ScienceDag, butler: AbstractButler, datastore: Datastore) -> LimitedButler:
    """Return where tasks find init inputs that the plan does not make."""
    known = {c.name for c in butler.collection_infos()}
    searched = [c for c in (plan.meta.output_run, *plan.meta.collections) if c in known]
    inputs = {t(): butler.locate(t(), collections=searched).location for t in outside_init_inputs(plan.tasks)}
    return LimitedButler(datastore, plan.model, inputs, {})
