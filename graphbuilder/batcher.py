"""QuantumBatcher: merges quanta that share overheads into bundles that run together.

Quanta of one task share its imports, its construction and its configuration; neighbours in data-ID
order also share inputs (the same visit, the same patch). So a bundle is a run of one task's quanta
in that order, cut evenly. Bundles follow the tasks' topological order, hence depend only on earlier
ones. Quanta of different variants of a task share no configuration and so are never in one bundle.
"""

from __future__ import annotations

import attrs
import numpy as np

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Bundling
from supertask.errors import PreflightError

__all__ = ["QuantumBatcher"]


@attrs.frozen
class QuantumBatcher:
    """Cuts a plan into bundles.

    Parameters
    ----------
    max_quanta : int
        No bundle has more quanta than this; the quanta of a task are spread evenly, so that 101 of
        them by at most 100 make bundles of 51 and 50.
    name : str, optional
        Name of the bundling in the plan; a later one of equal name replaces it.

    Raises
    ------
    PreflightError
        `max_quanta` is not a positive whole number.
    """

    max_quanta: int
    name: str = "default"

    def __attrs_post_init__(self) -> None:
        size: object = self.max_quanta
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise PreflightError(f"max_quanta must be a positive whole number, got {self.max_quanta!r}")

    def bundles(self, dag: ScienceDag) -> Bundling:
        """Return the bundles of a plan."""
        ends = [np.zeros(1, np.int64)]
        order = np.arange(dag.n_quanta, dtype=np.int32)
        for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
            counts = [node.count]
            if table.variants is not None:
                variants = table.variants[:]
                counts = np.bincount(variants).tolist()
                order[node.first : node.first + node.count] = node.first + np.argsort(variants, kind="stable")
            first = node.first
            for count in filter(None, counts):
                pieces = -(-count // self.max_quanta)
                ends.append(first + count * np.arange(1, pieces + 1, dtype=np.int64) // pieces)
                first += count
        return Bundling(self.name, np.concatenate(ends), order)

    def batch(self, dag: ScienceDag) -> ScienceDag:
        """Return the same plan with these bundles, which become its default."""
        return dag.with_bundling(self.bundles(dag))
