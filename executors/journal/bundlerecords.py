"""Bundles as records: which quanta they hold, and how these stand; and which bundles hold a quantum.

A quantum is in one bundle of each of a plan's bundlings. How it stands is told by the run's journal,
whichever bundling it ran by.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from executors.journal.plankeeping import kept_plans
from executors.journal.replay import Replay, replay
from executors.journal.runfolder import RunFolder
from executors.outcome import QuantumStatus
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Bundling
from supertask.errors import DagFileError, ExecutionError

__all__ = ["BundleRecord", "bundle_records", "bundles_of", "plan_of_run"]

_NANO = 1e-9


@attrs.frozen
class BundleRecord:
    """One bundle and how it stands."""

    bundling: str
    """Name of the way to bundle."""
    bundle: int
    """Its number there."""
    labels: tuple[str, ...]
    """Tasks of its quanta, in their order."""
    quanta: tuple[int, ...]
    """Their indices, in the order in which they run."""
    counts: dict[QuantumStatus, int]
    """How many of them stand where."""
    wall: float = 0.0
    """Seconds that the last attempts at them took."""
    cpu: float = 0.0
    """Seconds."""
    overhead: float = 0.0
    """Seconds of `wall` that made what they share."""

    @property
    def status(self) -> QuantumStatus:
        """How it stands as a whole: as the worst of its quanta does, planned while any is missing."""
        for each in (QuantumStatus.RUNNING, QuantumStatus.FAILED, QuantumStatus.BLOCKED):
            if self.counts.get(each):
                return each
        unfinished = any(n for s, n in self.counts.items() if not s.finished)
        return QuantumStatus.PLANNED if unfinished else QuantumStatus.SUCCEEDED


def plan_of_run(root: str | Path, run: str) -> ScienceDag:
    """Return the plan that a run was made by, from its file or as the run keeps it.

    Raises
    ------
    ExecutionError
        Nothing was executed into it.
    """
    folder = RunFolder(str(root), run)
    said = replay(folder) if folder.journal.is_dir() else Replay()
    files = [Path(h.plan_file) for h in reversed(said.headers) if h.plan_file]
    for path in [*dict.fromkeys(files), *kept_plans(folder)]:
        try:
            plan = ScienceDag.open(path)
        except DagFileError:
            continue
        if plan.meta.output_run == run:
            return plan
    raise ExecutionError(f"run {run!r} has no plan in {folder.path}: nothing was executed into it")


def bundles_of(plan: ScienceDag, quantum: int) -> dict[str, int]:
    """Return the bundles that hold a quantum: name of the bundling → number of the bundle."""
    plan.task_of(quantum)
    found = {}
    for name, bundling in plan.bundlings.items():
        at = int(np.flatnonzero(np.asarray(bundling.indices) == quantum)[0])
        found[name] = int(np.searchsorted(np.asarray(bundling.indptr), at, side="right")) - 1
    return found


def bundle_records(
    plan: ScienceDag, root: str | Path, bundling: str | None = None, bundles: Iterable[int] | None = None
) -> list[BundleRecord]:
    """Return bundles of a plan and how they stand.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    root : path
        Folder of its repository.
    bundling : str, optional
        Name of the bundling; the last one made unless given.
    bundles : iterable of int, optional
        Which ones; all unless given.

    Raises
    ------
    PreflightError
        The plan has no such bundling.
    ExecutionError
        It has none, or no such bundle.
    """
    chosen = plan.bundling(bundling)
    if chosen is None:
        raise ExecutionError("the plan has no bundles: make some with supertask batch, or a QuantumBatcher")
    wanted = range(len(chosen)) if bundles is None else list(bundles)
    for b in wanted:
        if not 0 <= b < len(chosen):
            raise ExecutionError(
                f"there is no bundle {b}: {chosen.name!r} has {len(chosen):,}, numbered from 0"
            )
    folder = RunFolder(str(root), plan.meta.output_run)
    said = replay(folder) if folder.journal.is_dir() else Replay()
    statuses = _statuses(plan, said)
    times = _times(plan, said, chosen, wanted)
    firsts = np.array([node.first for node in plan.tasks])
    made = []
    for b in wanted:
        quanta = np.asarray(chosen[b])
        tasks = dict.fromkeys((np.searchsorted(firsts, quanta, side="right") - 1).tolist())
        codes = np.bincount(statuses[quanta], minlength=len(QuantumStatus))
        counts = {s: int(codes[s.code]) for s in QuantumStatus if codes[s.code]}
        labels = tuple(plan.tasks[t].label for t in tasks)
        made.append(
            BundleRecord(
                chosen.name, b, labels, tuple(quanta.tolist()), counts, *times.get(b, (0.0, 0.0, 0.0))
            )
        )
    return made


def _statuses(plan: ScienceDag, said: Replay) -> npt.NDArray[np.uint8]:
    if len(said.statuses) != plan.n_quanta:
        return np.full(plan.n_quanta, QuantumStatus.PLANNED.code, np.uint8)
    statuses = said.statuses.copy()
    for status in (QuantumStatus.LOST, QuantumStatus.CANCELLED):
        statuses[statuses == status.code] = QuantumStatus.PLANNED.code
    for begun in said.begun:
        statuses[begun.index] = (QuantumStatus.RUNNING if begun.alive else QuantumStatus.PLANNED).code
    for q in said.blocked:
        if not QuantumStatus.from_code(int(statuses[q])).finished:
            statuses[q] = QuantumStatus.BLOCKED.code
    return statuses


def _times(
    plan: ScienceDag, said: Replay, bundling: Bundling, wanted: Iterable[int]
) -> dict[int, tuple[float, float, float]]:
    """Return wall, CPU and overhead seconds of bundles in which something ran."""
    if len(said.statuses) != plan.n_quanta:
        return {}
    of = {q: b for b in wanted for q in np.asarray(bundling[b]).tolist()}
    found: dict[int, tuple[float, float, float]] = {}
    for attempt in said.attempts(of):
        wall, cpu, overhead = found.get(of[attempt.index], (0.0, 0.0, 0.0))
        made = sum(m.wall for m in attempt.makings) * _NANO
        found[of[attempt.index]] = (wall + attempt.wall, cpu + attempt.cpu, overhead + made)
    return found
