"""Locality: quanta that share data, as the same detector or patch, lie next to each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from supertask.errors import PreflightError
from supertask.repograph.columns import pack

__all__ = ["places"]


def places(dag: ScienceDag, locality: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return numbers of the places of quanta: equal where the values of these units are.

    Units that a task's data IDs do not tell do not matter for its quanta.

    Returns
    -------
    numpy.ndarray
        Shape (quanta,): comparable within a task alone.

    Raises
    ------
    PreflightError
        A unit tells nothing of any quantum.
    """
    found = np.zeros(dag.n_quanta, np.int64)
    used: set[str] = set()
    for unit in locality:
        dag.model.unit(unit)
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        told = [u for u in locality if dag.space.determines(table.columns, u)]
        if told:
            columns = [dag.space.column(table.columns, u) for u in told]
            key = pack(columns, dag.space.sizes(told), n=table.n)
            found[node.first : node.first + node.count] = key + 1
        used.update(told)
    if strange := [u for u in locality if u not in used]:
        raise PreflightError(
            f"no quantum of the plan tells its {' or '.join(strange)}: locality by it means nothing"
        )
    return found
