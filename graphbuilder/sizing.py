"""How large bundles should be, from what overhead and quanta were measured to take; and why.

With o seconds of overhead for a bundle and t for a quantum, overhead is a fraction o / (o + n t) of a bundle
of n. So at least n = o (1 - f) / (f t) are to be together for it to be below f. Within that there are to be
as many bundles as fill all slots a few times over, since what is left at the end is then small; a multiple of
the slots, so that none is idle while others do their last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.batcher import Cluster, QuantumBatcher
from graphbuilder.batching.cuts import shares
from graphbuilder.batching.keys import overhead_keys
from graphbuilder.batching.weights import Constant
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.requests import Need
from graphbuilder.dag.values import Bundling, TaskNode
from supertask.errors import PreflightError

__all__ = ["Choice", "Measured", "Sizing"]

Floats = npt.NDArray[np.float64]

_WAVES = 3
"""So often all slots are filled, where overhead allows it."""


def _finite(values: npt.ArrayLike) -> Floats:
    found: Floats = np.asarray(values, np.float64).reshape(-1)
    return found


@attrs.frozen(eq=False)
class Measured:
    """What quanta of a task needed in earlier runs."""

    label: str
    seconds: Floats = attrs.field(converter=_finite)
    """Of each quantum that was measured, its share of overhead not included."""
    memory: Floats = attrs.field(factory=lambda: np.zeros(0), converter=_finite)
    """Bytes at most of each quantum that was measured."""
    overhead: float = 0.0
    """Seconds that it takes to make what a bundle shares, once."""
    source: str = ""
    """The runs that were measured."""

    def need(self, quantile: float) -> Need:
        """Return what quanta need, so many of them."""
        return Need(
            float(self.overhead),
            float(self.seconds.mean()),
            float(self.seconds.std()),
            float(np.quantile(self.seconds, quantile)),
            int(np.quantile(self.memory, quantile)) if len(self.memory) else 0,
            quantile,
        )


@attrs.frozen
class Choice:
    """What was chosen for one task, and why."""

    label: str
    quanta: int
    overheads: int
    """How many different ones."""
    size: int
    """How many quanta a bundle has at most."""
    bundles: int
    """How many there are about."""
    fraction: float
    """Of the time of all bundles that is overhead."""
    seconds: float
    """What to ask for a bundle of that size; 0 where nothing was measured."""
    memory: int
    """Bytes to ask for; 0 where nothing was measured."""
    why: str


@attrs.frozen(kw_only=True)
class Sizing:
    """How sizes are chosen.

    Raises
    ------
    PreflightError
        A number makes no sense.
    """

    slots: int = 1
    """So many bundles run side by side."""
    overhead_fraction: float = 0.05
    """Of the time of a bundle that may be overhead."""
    quantile: float = 0.95
    """So many bundles are to get by with the time and the memory that they ask for."""
    probe: int = 10
    """How many quanta a bundle has of which nothing was measured, so that something soon is."""

    def __attrs_post_init__(self) -> None:
        for name in ("slots", "probe"):
            if getattr(self, name) < 1:
                raise PreflightError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("overhead_fraction", "quantile"):
            if not 0 < getattr(self, name) < 1:
                raise PreflightError(f"{name} must be between 0 and 1, got {getattr(self, name)}")

    def choose(self, dag: ScienceDag, measured: Mapping[str, Measured]) -> tuple[Choice, ...]:
        """Return what is best for each task of a plan, as far as it was measured."""
        keys = overhead_keys(dag)
        found = []
        for node in dag.tasks:
            runs = np.bincount(keys[node.first : node.first + node.count]).astype(np.int64)
            known = measured.get(node.label)
            if known is None or not len(known.seconds):
                found.append(self._unmeasured(node, runs))
            else:
                found.append(self._chosen(node, runs, known))
        return tuple(found)

    def bundles(
        self,
        dag: ScienceDag,
        measured: Mapping[str, Measured],
        *,
        name: str = "default",
        max_quanta: int | None = None,
        max_seconds: float | None = None,
        locality: Sequence[str] = (),
        clusters: Sequence[Cluster] = (),
        finished: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[Bundling, tuple[Choice, ...]]:
        """Return bundles of the sizes that `choose` gives, and these.

        Parameters
        ----------
        dag : ScienceDag
            The plan.
        measured : Mapping
            Task label → what was measured.
        name : str, optional
            Of the bundling.
        max_quanta, max_seconds, locality, clusters, finished
            As for `QuantumBatcher`; limits hold besides.
        """
        choices = self.choose(dag, measured)
        sizes = {c.label: min(c.size, max_quanta or c.size) for c in choices}
        known = {label: m for label, m in measured.items() if label in sizes and len(m.seconds)}
        batcher = QuantumBatcher(
            max(sizes.values(), default=1) if clusters else sizes,
            name,
            max_seconds=max_seconds if known else None,
            seconds={label: Constant(float(m.seconds.mean())) for label, m in known.items()},
            overhead={label: m.overhead for label, m in known.items()},
            locality=locality,
            clusters=clusters,
        )
        bundling = batcher.bundles(dag, finished=finished)
        about = {
            "needs": {label: m.need(self.quantile).plain() for label, m in known.items()},
            "why": {c.label: c.why for c in choices},
        }
        return attrs.evolve(bundling, about=about), choices

    def _unmeasured(self, node: TaskNode, runs: npt.NDArray[np.int64]) -> Choice:
        size = min(self.probe, max(node.count, 1))
        why = (
            f"nothing was measured of it: bundles of at most {size} to begin with; once some ran, batch again"
        )
        return Choice(
            node.label, node.count, len(runs), size, int((-(-runs // size)).sum()), 0.0, 0.0, 0, why
        )

    def _chosen(self, node: TaskNode, runs: npt.NDArray[np.int64], known: Measured) -> Choice:
        o, f = known.overhead, self.overhead_fraction
        t = float(known.seconds.mean())
        least = 1 if o <= 0 else math.ceil(o * (1 - f) / (f * t) - 1e-9) if t > 0 else node.count
        least = min(max(least, 1), max(node.count, 1))
        borne = np.maximum(runs // least, 1)
        wanted = min(int(borne.sum()), self.slots * _WAVES)
        if wanted > self.slots:
            wanted -= wanted % self.slots
        parts = np.minimum(shares(np.asarray(runs * t, np.float64), runs, wanted), borne)
        size = int((-(-runs // np.maximum(parts, 1))).max(initial=1))
        count = int((-(-runs // size)).sum())
        total = count * o + node.count * t
        fraction = count * o / total if total else 0.0
        need = known.need(self.quantile)
        why = f"{_time(t)} for each of {node.count:,} quanta, measured on {len(known.seconds):,}"
        why += f" ({known.source})" if known.source else ""
        if o > 0:
            why += f", and {_time(o)} of overhead for a bundle: {least:,} together keep it at {f:.0%} or less"
        why += f"; {count:,} bundles of at most {size:,} for {self.slots:,} slots, {fraction:.1%} overhead"
        if len(runs) > 1:
            why += f"; {len(runs):,} different overheads"
        if count < self.slots and node.count > count:
            why += (
                f"; {self.slots - count:,} slots stay idle, as smaller bundles would spend more on overhead"
            )
        if fraction > f:
            why += "; it is more than that where too few quanta share it"
        return Choice(
            node.label, node.count, len(runs), size, count, fraction, need.seconds(size), need.memory, why
        )


def _time(seconds: float) -> str:
    for unit, scale in (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
