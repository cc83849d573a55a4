"""QuantumBatcher: merges quanta that share overheads into bundles that run together.

What can be in one bundle is decided by keys (see `graphbuilder.batching.keys`), how much by limits, what lies
together by locality, and what of several tasks runs as one by clusters. Bundles come in an order that
respects their dependencies, and the graph of bundles has no cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.batching.clusters import Cluster, clustering
from graphbuilder.batching.codes import Codes, combined, edge_codes
from graphbuilder.batching.cuts import by_limits, even_parts, largest_first, shares
from graphbuilder.batching.keys import overhead_keys
from graphbuilder.batching.order import places
from graphbuilder.batching.weights import CostModel, costs, input_bytes
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Bundling
from supertask.errors import PreflightError, Problems, did_you_mean
from supertask.repograph.columns import Edges, group, pack

__all__ = ["Cluster", "QuantumBatcher"]

_PACKING = ("even", "largest-first")
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def _units(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


@attrs.frozen(eq=False)
class QuantumBatcher:
    """Cuts a plan into bundles.

    With no limit at all, quanta that share overhead are one bundle.

    Raises
    ------
    PreflightError
        Names every limit that is not right.
    """

    max_quanta: int | Mapping[str, int] | None = None
    """No bundle has more quanta than this; they are spread evenly, so that 101 by at most 100 make bundles of
    51 and 50. Or task label → how many, for each task its own."""
    name: str = "default"
    """Name of the bundling in the plan; a later one of equal name replaces it."""
    max_cost: float | None = None
    """What a bundle costs at most, by `cost`."""
    max_seconds: float | None = None
    """What a bundle takes at most, by `seconds`, its overhead included."""
    max_memory: float | None = None
    """Bytes that the quanta of a bundle hold at most, all together, by `memory`: for algorithms that work on
    a bundle as a whole."""
    max_input_bytes: float | None = None
    """Bytes that the quanta of a bundle read at most, as far as the repository knows them."""
    slots: int | None = None
    """So many bundles of each task, to run side by side: shared out among overheads by what they cost. More
    where limits, or more different overheads, need them."""
    packing: str = "even"
    """How slots are filled: ``"even"`` cuts neighbours into parts of equal cost; ``"largest-first"`` gives
    the largest quanta first, each to the slot with least, and so parts neighbours."""
    locality: Sequence[str] = attrs.field(default=(), converter=_units)
    """Units by which quanta lie together before they are cut; order of data IDs unless given."""
    keep_together: bool = False
    """Not to part quanta of one place (see `locality`) where limits allow it."""
    clusters: Sequence[Cluster] = ()
    """Quanta of several tasks that are to run together."""
    cost: Mapping[str, CostModel] = attrs.field(factory=dict)
    """Task label → what its quanta cost, in units of your own; 1 each unless given."""
    seconds: Mapping[str, CostModel] = attrs.field(factory=dict)
    """Task label → how long its quanta take."""
    memory: Mapping[str, CostModel] = attrs.field(factory=dict)
    """Task label → how many bytes its quanta hold."""
    overhead: Mapping[str, float] = attrs.field(factory=dict)
    """Task label → seconds of overhead of a bundle."""

    def __attrs_post_init__(self) -> None:
        problems = Problems("limits of bundles")
        counts: dict[str, object] = {"slots": self.slots}
        if isinstance(self.max_quanta, Mapping):
            counts |= {f"max_quanta of {label!r}": most for label, most in self.max_quanta.items()}
        else:
            counts["max_quanta"] = self.max_quanta
        for name, count in counts.items():
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
                problems.add(f"{name} must be a positive whole number, got {count!r}")
        for name in ("max_cost", "max_seconds", "max_memory", "max_input_bytes"):
            limit: object = getattr(self, name)
            if limit is None:
                continue
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0:
                problems.add(f"{name} must be a positive number, got {limit!r}")
        if self.max_seconds is not None and not self.seconds:
            problems.add("max_seconds needs `seconds`: how long the quanta of each task take")
        if self.max_memory is not None and not self.memory:
            problems.add("max_memory needs `memory`: how many bytes the quanta of each task hold")
        if self.packing not in _PACKING:
            problems.add(f"there is no packing {self.packing!r}{did_you_mean(self.packing, _PACKING)}")
        if self.keep_together and not self.locality:
            problems.add("keep_together needs `locality`: the units by which quanta belong together")
        if self.clusters and self.slots is not None:
            problems.add("slots are shared out task by task: leave slots or clusters out")
        if self.clusters and isinstance(self.max_quanta, Mapping):
            problems.add(
                "clusters hold quanta of several tasks: give one max_quanta for all, or leave clusters out"
            )
        problems.raise_if_any(PreflightError)

    def bundles(self, dag: ScienceDag, *, finished: npt.NDArray[np.bool_] | None = None) -> Bundling:
        """Return the bundles of a plan.

        Parameters
        ----------
        dag : ScienceDag
            The plan.
        finished : numpy.ndarray, optional
            Shape (quanta,): which need not run again. They are kept apart from the others, so that every
            bundle with something left to run holds just what is missing.

        Raises
        ------
        PreflightError
            Limits, units or labels that do not fit the plan.
        """
        if isinstance(self.max_quanta, Mapping):
            for label in self.max_quanta:
                dag.task(label)
        if finished is not None and finished.shape != (dag.n_quanta,):
            raise PreflightError(
                f"`finished` must say of each of {dag.n_quanta} quanta whether it is, not of {finished.shape}"
            )
        keys = overhead_keys(dag)
        if finished is not None:
            keys = combined([keys, finished], dag.n_quanta)
        task = np.repeat(np.arange(len(dag.tasks)), [node.count for node in dag.tasks])
        kinds = combined([task, keys], dag.n_quanta) if keys.any() else task
        together: Ints | None
        if self.clusters:
            runs, order, together = self._clustered(dag, kinds, finished)
        else:
            place = places(dag, self.locality) if self.locality else None
            runs, order = _ordered(kinds, place)
            together = place[order] if place is not None and self.keep_together else None
        if self.slots is not None:
            runs, order = self._slotted(dag, runs, order, task)
            together = None
        ends = by_limits(
            runs, self._most(dag, runs, order, task), self._limits(dag, runs, order, task), together
        )
        return Bundling(self.name, ends, order.astype(np.int32))

    def batch(self, dag: ScienceDag, *, finished: npt.NDArray[np.bool_] | None = None) -> ScienceDag:
        """Return the same plan with these bundles, which become its default."""
        return dag.with_bundling(self.bundles(dag, finished=finished))

    # -- what may be in one bundle, in order ------------------------------------------------------

    @property
    def _limited(self) -> bool:
        limits = (self.max_quanta, self.max_cost, self.max_seconds, self.max_memory, self.max_input_bytes)
        return any(limit is not None for limit in limits)

    def _clustered(
        self, dag: ScienceDag, kinds: Codes, finished: npt.NDArray[np.bool_] | None
    ) -> tuple[Ints, Ints, Ints]:
        """Return runs of clusters that may be merged, quanta in order, and the cluster of each of these."""
        found = clustering(dag, self.clusters, apart=finished)
        n, of = len(found.level), found.of
        # Those of one level and of equal overheads may be merged, if they are to be at all.
        alike = edge_codes(Edges.from_pairs(n, of, kinds))
        if not self._limited:
            alone = np.bincount(of, minlength=n) == 1
            alike = np.where(alone, alike, alike.max(initial=0) + 1 + np.arange(n))
        lead = np.full(n, dag.n_quanta, np.int64)
        np.minimum.at(lead, of, np.arange(dag.n_quanta))
        place = places(dag, self.locality)[lead] if self.locality else np.zeros(n, np.int64)
        runs_of = combined([found.level, alike], n)
        # Each cluster lies where its first quantum does.
        rank = np.empty(n, np.int64)
        rank[np.lexsort((lead, place, runs_of))] = np.arange(n)
        runs, order = _ordered(runs_of[of], rank[of])
        return runs, order, of[order]

    def _slotted(self, dag: ScienceDag, runs: Ints, order: Ints, task: Ints) -> tuple[Ints, Ints]:
        """Return runs parted for slots; the largest quanta first if that is asked for."""
        assert self.slots is not None  # noqa: S101 - asked by the caller
        weight = self._weights(dag)[order]
        sums = np.add.reduceat(weight, runs[:-1]) if len(order) else weight
        sizes = np.diff(runs)
        of = task[order[runs[:-1]]] if len(order) else task
        parts = np.empty(len(sizes), np.int64)
        for t in range(len(dag.tasks)):
            mine = of == t
            parts[mine] = shares(sums[mine], sizes[mine], self.slots)
        if self.packing == "even":
            return even_parts(runs, weight, parts), order
        slot = np.empty(len(order), np.int64)
        first = 0
        for begin, end, k in zip(runs[:-1].tolist(), runs[1:].tolist(), parts.tolist(), strict=True):
            slot[begin:end] = first + largest_first(weight[begin:end], k)
            first += k
        ends, moved = _ordered(slot, None)
        return ends, order[moved]

    # -- limits -----------------------------------------------------------------------------------

    def _weights(self, dag: ScienceDag) -> Floats:
        return costs(dag, self.seconds or self.cost)

    def _most(self, dag: ScienceDag, runs: Ints, order: Ints, task: Ints) -> int | Ints | None:
        if not isinstance(self.max_quanta, Mapping):
            return self.max_quanta
        by_task = np.array(
            [self.max_quanta.get(node.label, max(node.count, 1)) for node in dag.tasks], np.int64
        )
        found: Ints = by_task[task[order[runs[:-1]]]]
        return found

    def _limits(
        self, dag: ScienceDag, runs: Ints, order: Ints, task: Ints
    ) -> list[tuple[Floats, float | Floats]]:
        """Return what is summed up in bundles, and the bounds."""
        found: list[tuple[Floats, float | Floats]] = []
        if self.max_cost is not None:
            found.append((costs(dag, self.cost)[order], self.max_cost))
        if self.max_seconds is not None:
            room = np.maximum(self.max_seconds - self._overheads(dag, runs, order, task), 0.0)
            found.append((costs(dag, self.seconds)[order], room))
        if self.max_memory is not None:
            found.append((costs(dag, self.memory)[order], self.max_memory))
        if self.max_input_bytes is not None:
            read = [input_bytes(dag, node) for node in dag.tasks]
            found.append((np.concatenate(read)[order], self.max_input_bytes))
        return found

    def _overheads(self, dag: ScienceDag, runs: Ints, order: Ints, task: Ints) -> Floats:
        """Return the seconds of overhead of a bundle of each run: of all of its tasks."""
        each = np.array([self.overhead.get(node.label, 0.0) for node in dag.tasks])
        run = np.repeat(np.arange(len(runs) - 1), np.diff(runs))
        pairs = Edges.from_pairs(len(runs) - 1, run, task[order])
        return np.asarray(np.bincount(pairs.owners(), each[pairs.all_rows()], len(runs) - 1), np.float64)


def _ordered(first: Ints, place: Ints | None) -> tuple[Ints, Ints]:
    """Return where each run of equal `first` begins when quanta are sorted by both, and their order."""
    n = len(first)
    key = (
        first if place is None else pack([first, place], [int(c.max(initial=0)) + 1 for c in (first, place)])
    )
    groups = group(key)
    order = np.arange(n) if groups.rows is None else groups.rows
    along = first[order]
    changes = np.flatnonzero(along[1:] != along[:-1]) + 1
    return np.concatenate([[0], changes, [n]] if n else [[0]]).astype(np.int64), order
