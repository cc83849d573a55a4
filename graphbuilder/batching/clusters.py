"""Vertical clusters: quanta of several tasks together, so that what passes between them need not be stored.

A cluster may be wished for that cannot run as one: of two quanta, one waits for something outside that waits
for the other. The rules by which the graph of bundles has no cycle, whatever is wished for:

1. Clusters that lie on no cycle of the graph of clusters are left whole. (Those on one, or between two, are
   what is left when all that waits for nothing, and all that nothing waits for, is taken away again and
   again.)
2. In what is left, a quantum's phase is how often the longest way to it changes its cluster, and a cluster is
   parted by phase. Every edge between two of these parts leads to a later phase, so there is no cycle.
3. Clusters are merged with others only of the same level, the longest way to them in the graph of clusters:
   between two of one level there is no way at all.
4. A cluster that is too large is cut in the order of its quanta, which is that of the plan, so that nothing
   in an earlier piece waits for a later one; a way between pieces through the outside would have been a
   cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.batching.codes import Codes, ranked
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.topology import levels, successors
from supertask.errors import PreflightError, Problems, did_you_mean
from supertask.repograph.columns import expand, pack

__all__ = ["Cluster", "Clustering", "clustering"]

SHAPES = ("chains", "trees")


@attrs.frozen
class Cluster:
    """What is to run together of the quanta of several tasks.

    Raises
    ------
    PreflightError
        Nothing, or too much, says what belongs together.
    """

    labels: tuple[str, ...] = ()
    """Labels of the tasks; all that can be part of it unless given."""
    by: tuple[str, ...] = ()
    """Units: quanta with equal values of these."""
    shape: str = ""
    """``"chains"``: a quantum and the only one that waits for it, if that waits for no other. ``"trees"``: a
    quantum and the only one that waits for it."""
    function: Callable[[ScienceDag], npt.NDArray[Any]] | None = None
    """Gives the number of the cluster of each quantum of the plan, shape (quanta,); -1 for none."""

    def __attrs_post_init__(self) -> None:
        said = [
            w for w, there in (("by", self.by), ("shape", self.shape), ("function", self.function)) if there
        ]
        if len(said) != 1:
            raise PreflightError(
                "a cluster is said by units, by a shape or by a function, one of these: "
                f"{' and '.join(said) or 'none'} is given"
            )
        if self.shape and self.shape not in SHAPES:
            raise PreflightError(
                f"there is no shape {self.shape!r} of clusters{did_you_mean(self.shape, SHAPES)}; there are "
                f"{' and '.join(SHAPES)}"
            )


@attrs.frozen(eq=False)
class Clustering:
    """Which quanta are to run together, such that the graph of clusters has no cycle."""

    of: Codes
    """Shape (quanta,): number of each one's cluster; quanta that are in none have one of their own."""
    level: npt.NDArray[np.int32]
    """Shape (clusters,): length of the longest way to each."""
    parted: int
    """How many clusters were parted because they lay on a cycle, or between two."""


def clustering(
    dag: ScienceDag, wished: Sequence[Cluster], *, apart: npt.NDArray[np.bool_] | None = None
) -> Clustering:
    """Return clusters of a plan without cycles.

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    wished : sequence of Cluster
        What is to run together. Of a quantum that several name, the first counts.
    apart : numpy.ndarray, optional
        Shape (quanta,): which are in no cluster whatever is wished for.

    Raises
    ------
    PreflightError
        Names every label, unit and function that is not right.
    """
    of = np.full(dag.n_quanta, -1, np.int64)
    problems = Problems("clusters")
    first = 0
    for cluster in wished:
        try:
            numbers = _numbers(dag, cluster)
        except PreflightError as error:
            problems.take(error)
            continue
        free = (of < 0) & (numbers >= 0)
        of[free] = numbers[free] + first
        first += int(numbers.max(initial=-1)) + 1
    problems.raise_if_any(PreflightError)
    if apart is not None:
        of[apart] = -1
    alone = of < 0
    of[alone] = first + np.arange(int(alone.sum()))
    of = ranked(of)
    return _without_cycles(dag, of)


def _numbers(dag: ScienceDag, cluster: Cluster) -> npt.NDArray[np.int64]:
    """Return the number of each quantum's cluster, -1 where it is in none."""
    labels = cluster.labels or tuple(node.label for node in dag.tasks)
    chosen = {dag.task(label).label for label in labels}
    if cluster.function is not None:
        return _by_function(dag, cluster.function, chosen)
    return _by_units(dag, cluster, chosen) if cluster.by else _by_shape(dag, cluster.shape, chosen)


def _rows(dag: ScienceDag, chosen: Iterable[str]) -> npt.NDArray[np.bool_]:
    there = np.zeros(dag.n_quanta, bool)
    for node in map(dag.task, chosen):
        there[node.first : node.first + node.count] = True
    return there


def _by_function(
    dag: ScienceDag, function: Callable[[ScienceDag], npt.NDArray[Any]], chosen: set[str]
) -> npt.NDArray[np.int64]:
    given = np.asarray(function(dag))
    name = getattr(function, "__qualname__", repr(function))
    if given.shape != (dag.n_quanta,) or given.dtype.kind not in "iu":
        raise PreflightError(
            f"{name} must give a whole number for each of {dag.n_quanta} quanta, "
            f"and gave an array of {given.dtype}, shape {given.shape}"
        )
    numbers = np.where(given >= 0, given, -1).astype(np.int64)
    numbers[~_rows(dag, chosen)] = -1
    return _dense(numbers)


def _by_units(dag: ScienceDag, cluster: Cluster, chosen: set[str]) -> npt.NDArray[np.int64]:
    for unit in cluster.by:
        dag.model.unit(unit)
    sizes = dag.space.sizes(cluster.by)
    numbers = np.full(dag.n_quanta, -1, np.int64)
    found = []
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        lacking = [u for u in cluster.by if not dag.space.determines(table.columns, u)]
        if node.label not in chosen or (lacking and not cluster.labels):
            continue
        if lacking:
            raise PreflightError(
                f"quanta of {node.label!r} are for each ({', '.join(table.columns)}), which does not tell "
                f"their {', '.join(lacking)}: leave the task or the unit out"
            )
        columns = [dag.space.column(table.columns, u) for u in cluster.by]
        numbers[node.first : node.first + node.count] = pack(columns, sizes, n=table.n)
        found.append(node.label)
    if not found:
        raise PreflightError(
            f"no task of the plan has quanta that tell their {' and '.join(cluster.by)}; "
            + "; ".join(f"{n.label}: {', '.join(n.quantum_units)}" for n in dag.tasks)
        )
    return _dense(numbers)


def _by_shape(dag: ScienceDag, shape: str, chosen: set[str]) -> npt.NDArray[np.int64]:
    indptr, indices = dag.successors()
    there = _rows(dag, chosen)
    root = np.arange(dag.n_quanta)
    single = np.flatnonzero((np.diff(indptr) == 1) & there)
    after = indices[indptr[single]]
    good = there[after]
    if shape == "chains":
        good &= dag.predecessor_counts()[after] == 1
    root[single[good]] = after[good]
    while True:  # twice as far with every round
        further = root[root]
        if (further == root).all():
            break
        root = further
    return _dense(np.where(there, root, -1))


def _dense(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    inside = numbers >= 0
    numbers[inside] = ranked(numbers[inside])
    return numbers


def _quotient(
    of: Codes, pairs: tuple[npt.NDArray[Any], npt.NDArray[Any]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return the graph of clusters."""
    producers, consumers = of[pairs[0]], of[pairs[1]]
    differ = producers != consumers
    return successors(int(of.max(initial=-1)) + 1, [(producers[differ], consumers[differ])])


def _without_cycles(dag: ScienceDag, of: Codes) -> Clustering:
    indptr, indices = dag.successors()
    pairs = (np.repeat(np.arange(dag.n_quanta, dtype=np.int32), np.diff(indptr)), indices)
    graph = _quotient(of, pairs)
    level = levels(*graph)
    parted = 0
    if (level < 0).any():
        core = level < 0
        owners = np.repeat(np.arange(len(core)), np.diff(graph[0]))
        inside = core[owners] & core[graph[1]]
        # What nothing of the rest waits for is behind a cycle, not on one.
        backward = successors(len(core), [(graph[1][inside], owners[inside])])
        core &= levels(*backward) < 0
        parted = int(core.sum())
        of = _by_phase(dag, of, core[of])
        graph = _quotient(of, pairs)
        level = levels(*graph)
    return Clustering(of, level, parted)


def _by_phase(dag: ScienceDag, of: Codes, inside: npt.NDArray[np.bool_]) -> Codes:
    """Part clusters by how often the longest way to a quantum, among these, changes its cluster."""
    indptr, indices = dag.successors()
    phase = np.zeros(dag.n_quanta, np.int64)
    depth = dag.levels()
    order = np.argsort(depth, kind="stable")
    bounds = np.searchsorted(depth[order], np.arange(int(depth.max(initial=-1)) + 2))
    for k in range(len(bounds) - 1):
        front = order[bounds[k] : bounds[k + 1]]
        front = front[inside[front]]
        counts = indptr[front + 1] - indptr[front]
        after = indices[expand(indptr[front], counts)]
        before = np.repeat(front, counts)
        within = inside[after]
        after, before = after[within], before[within]
        np.maximum.at(phase, after, phase[before] + (of[after] != of[before]))
    width = int(phase.max(initial=0)) + 1
    return ranked(of * width + phase)
