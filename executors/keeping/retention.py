"""What of a run's datasets may go, and when: decisions over the plan's columns, without I/O.

A dataset type is kept unless the pipeline or whoever runs its plan says otherwise. Only what the plan both
makes and reads can go: what comes from outside (raw frames, what was ingested or made by other runs) cannot
be remade by it, and what nothing reads is what the run is for.

What is gone is remade when it is needed again, that is when a quantum that reads it must run: its own output
was lost, it failed before, or a further plan added it. `remake` says which quanta these are; they run again
from a clean slate, all their outputs. What nobody needs again stays gone, and its quantum finished.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from executors.journal.replay import Replay
from executors.outcome import QuantumStatus
from graphbuilder.dag.dag import ScienceDag
from supertask.datasets import Dataset
from supertask.errors import ExecutionError, Problems, did_you_mean
from supertask.pipelines.retention import Retention, is_pattern, rule_for

__all__ = ["Doomed", "Keeper", "consumers_of", "elidable", "policies_for", "remake"]

_FINISHED = [s.code for s in QuantumStatus if s.finished]
_SUCCEEDED = QuantumStatus.SUCCEEDED.code


@attrs.frozen
class Doomed:
    """Outputs of one type that may go."""

    dataset_type: type[Dataset]
    quanta: tuple[int, ...]
    """Those that made them."""


def policies_for(
    plan: ScienceDag, given: Mapping[str, str], *otherwise: Mapping[str, str]
) -> dict[type[Dataset], Retention]:
    """Return how long types of a plan stay, those alone that do not stay for good.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    given : Mapping
        Name of a dataset type, or a pattern such as ``*_image`` → value of a `Retention`. Of several
        that fit a name itself comes first, then the last pattern. Patterns speak of intermediates alone.
    *otherwise : Mapping
        The same, each for types of which those before say nothing, such as what the plan's pipeline says.
        They may name types that are no intermediates of this plan, which then stay.

    Raises
    ------
    ExecutionError
        A name or value is not known, or it is a type that the plan does not both make and read; names all.
    """
    problems = Problems("retention")
    made = {t.name: t for t in plan.producers}
    read = {t.name for table in plan.quantum_tables for t in table.inputs}
    known = {t.name for t in plan.datasets}
    values = [r.value for r in Retention]
    layers = (given, *otherwise)
    for name, word in (item for layer in layers for item in layer.items()):
        if word not in values:
            problems.add(f"{name}: {word!r} is not one of {', '.join(values)}{did_you_mean(word, values)}")
    for name, word in given.items():
        if is_pattern(name) or word not in values:
            continue
        if name not in known:
            problems.add(f"the plan has no dataset type {name!r}{did_you_mean(name, known)}")
        elif word != Retention.KEEP.value and not (name in made and name in read):
            why = "nothing in the plan reads it" if name in made else "the plan does not make it"
            problems.add(f"{name} cannot be {word}: {why}, so it is never deleted")
    problems.raise_if_any(ExecutionError)
    chosen = {}
    for name in sorted(made.keys() & read):
        word = next(filter(None, (rule_for(name, layer) for layer in layers)), Retention.KEEP.value)
        if word != Retention.KEEP.value:
            chosen[made[name]] = Retention(word)
    return chosen


def elidable(policies: Mapping[type[Dataset], Retention]) -> tuple[str, ...]:
    """Return the names of the types that need not be written where all that reads them runs beside."""
    return tuple(sorted(t.name for t, policy in policies.items() if policy is Retention.UNTIL_USED))


def consumers_of(plan: ScienceDag, dataset_type: type[Dataset]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return who reads datasets of a type that the plan makes: (producer, consumer), one for each reading."""
    makers: list[npt.NDArray[Any]] = [np.empty(0, np.int64)]
    readers: list[npt.NDArray[Any]] = [np.empty(0, np.int64)]
    made_by = plan.producers[dataset_type].table(plan.datasets[dataset_type].n)
    for node, table in zip(plan.tasks, plan.quantum_tables, strict=True):
        edges = table.inputs.get(dataset_type)
        if edges is not None:
            makers.append(made_by[edges.all_rows()].astype(np.int64))
            readers.append(edges.owners().astype(np.int64) + node.first)
    maker, reader = np.concatenate(makers), np.concatenate(readers)
    ours = maker >= 0
    return maker[ours], reader[ours]


class Keeper:
    """Knows, while a run goes on, what may go.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    policies : Mapping
        As `policies_for` returns them.
    statuses : numpy.ndarray
        Shape (n,), uint8: codes of `QuantumStatus` when the session begins.
    deleted : Mapping
        Quantum → names of types of which its outputs are gone already.
    """

    def __init__(
        self,
        plan: ScienceDag,
        policies: Mapping[type[Dataset], Retention],
        statuses: npt.NDArray[np.uint8],
        deleted: Mapping[int, frozenset[str]],
    ) -> None:
        self._plan = plan
        self._policies = dict(policies)
        finished = np.isin(statuses, _FINISHED)
        n = plan.n_quanta
        self._done = memoryview(statuses == _SUCCEEDED)
        self._open: dict[type[Dataset], memoryview] = {}
        """How often a quantum's outputs of the type are yet to be read, -1 where nothing reads them."""
        self._readers: dict[type[Dataset], npt.NDArray[np.bool_]] = {}
        self._due: dict[type[Dataset], list[int]] = {t: [] for t in policies}
        for dataset_type, policy in policies.items():
            maker, reader = consumers_of(plan, dataset_type)
            there = np.bincount(maker, minlength=n) > 0
            gone = np.zeros(n, bool)
            gone[[q for q, names in deleted.items() if dataset_type.name in names]] = True
            self._readers[dataset_type] = there & ~gone
            if policy is Retention.UNTIL_USED:
                left = np.bincount(maker[~finished[reader]], minlength=n).astype(np.int32)
                left[~there] = -1
                due = (left == 0) & (statuses == _SUCCEEDED) & ~gone
                self._due[dataset_type].extend(np.flatnonzero(due).tolist())
                self._open[dataset_type] = memoryview(left)
        self._inputs = {
            node.label: [
                (t, edges, plan.producers[t])
                for t, edges in table.inputs.items()
                if policies.get(t) is Retention.UNTIL_USED
            ]
            for node, table in zip(plan.tasks, plan.quantum_tables, strict=True)
        }

    def ended(self, quantum: int, status: QuantumStatus, elided: Collection[str] = ()) -> None:
        """Take note of a quantum that succeeded or found no work.

        Parameters
        ----------
        quantum : int
            Its index.
        status : QuantumStatus
            What came of it; what did not finish is passed over.
        elided : collection of str, optional
            Names of types of which its outputs were never written.
        """
        if not status.finished:
            return
        if status is QuantumStatus.SUCCEEDED:
            self._done[quantum] = True
            for dataset_type, left in self._open.items():
                if left[quantum] == 0 and dataset_type.name not in elided:  # all that read it were before it
                    self._due[dataset_type].append(quantum)
        node = self._plan.task_of(quantum)
        for dataset_type, edges, makers in self._inputs[node.label]:
            left, due = self._open[dataset_type], self._due[dataset_type]
            for maker in makers.of(edges.of(quantum - node.first)).tolist():
                if maker >= 0:
                    left[maker] -= 1
                    if not left[maker] and self._done[maker]:
                        due.append(maker)

    def due(self) -> list[Doomed]:
        """Return what may go now, each once."""
        found = [Doomed(t, tuple(quanta)) for t, quanta in self._due.items() if quanta]
        for quanta in self._due.values():
            quanta.clear()
        return found

    def at_end(self, statuses: npt.NDArray[np.uint8]) -> list[Doomed]:
        """Return what may go when nothing more runs.

        Parameters
        ----------
        statuses : numpy.ndarray
            Shape (n,), uint8: codes of `QuantumStatus`.
        """
        if Retention.ON_FAILURE not in self._policies.values():
            return []
        bad = np.flatnonzero(~np.isin(statuses, _FINISHED))
        keep = np.zeros(self._plan.n_quanta, bool)
        if len(bad):
            keep[bad] = True
            keep[self._plan.ancestors(bad.tolist())] = True
        found = []
        for dataset_type, policy in self._policies.items():
            if policy is Retention.ON_FAILURE:
                quanta = np.flatnonzero((statuses == _SUCCEEDED) & self._readers[dataset_type] & ~keep)
                if len(quanta):
                    found.append(Doomed(dataset_type, tuple(quanta.tolist())))
        return found


def remake(plan: ScienceDag, found: Replay) -> list[int]:
    """Plan anew the quanta whose outputs are gone on purpose and are needed after all.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    found : Replay
        What the journal says; changed to say so.

    Returns
    -------
    list of int
        These quanta.
    """
    if not found.deleted:
        return []
    statuses = found.statuses.copy()
    needed = ~np.isin(statuses, _FINISHED)
    again: set[int] = set()
    names = set().union(*found.deleted.values())
    gone = {t: np.zeros(plan.n_quanta, bool) for t in plan.producers if t.name in names}
    for dataset_type, column in gone.items():
        column[[q for q, deleted in found.deleted.items() if dataset_type.name in deleted]] = True
    # Tasks stand in topological order: from the last to the first, what is needed is known in one pass.
    for node, table in reversed(list(zip(plan.tasks, plan.quantum_tables, strict=True))):
        for dataset_type, edges in table.inputs.items():
            if dataset_type in gone:
                makers = plan.producers[dataset_type].table(plan.datasets[dataset_type].n)[edges.all_rows()]
                wanted = needed[edges.owners() + np.int64(node.first)] & (makers >= 0)
                hit = np.unique(makers[wanted])
                hit = hit[gone[dataset_type][hit] & ~needed[hit]]
                needed[hit] = True
                again.update(hit.tolist())
    statuses[list(again)] = QuantumStatus.PLANNED.code
    found.statuses = statuses
    for q in again:
        del found.deleted[q]
        found.partial.pop(q, None)
    found.gone = sorted({*found.gone, *again})
    return sorted(again)


def names_by_quantum(doomed: Iterable[Doomed]) -> dict[int, set[str]]:
    """Return quantum → names of the types of its outputs that go."""
    names: dict[int, set[str]] = {}
    for each in doomed:
        for q in each.quanta:
            names.setdefault(q, set()).add(each.dataset_type.name)
    return names
