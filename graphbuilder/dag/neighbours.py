"""Single datasets of a plan that lies in its file: their row, who makes them, who reads them.

Only what the answer needs is read: of a million quanta a few chunks of a few columns.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from supertask.datasets import Dataset
from supertask.repograph.columns import Edges, Ints
from supertask.repograph.space import UnitSpace

__all__ = ["maker_of", "readers_of", "row_of"]


def row_of(dag: ScienceDag, dataset: Dataset) -> int | None:
    """Return the row of a dataset in the table of its type, or None where the plan has no such dataset.

    Parameters
    ----------
    dag : ScienceDag
        The plan, opened rather than loaded.
    dataset : Dataset
        With a complete data ID.
    """
    dataset_type = next((t for t in dag.datasets if t.name == dataset.name), None)
    if dataset_type is None:
        return None
    table = dag.datasets[dataset_type]
    if not table.columns:
        return 0 if table.n else None
    if any(u not in dataset.dataId for u in dag.model.closure(table.columns)):
        return None
    wanted = [_code(dag.space, unit, dataset.dataId) for unit in table.columns]
    if None in wanted:
        return None
    columns = list(table.columns.values())
    # Nearly all tables are sorted by data ID; whether this one is, is known by whether that finds it.
    row = bisect.bisect_left(range(table.n), wanted, key=lambda r: [int(c[r]) for c in columns])
    if row < table.n and all(int(c[row]) == code for c, code in zip(columns, wanted, strict=True)):
        return row
    keep = np.ones(table.n, bool)
    for column, code in zip(columns, wanted, strict=True):
        keep &= np.asarray(column[:]) == code
    found = np.flatnonzero(keep)
    return int(found[0]) if len(found) else None


def _code(space: UnitSpace, unit: str, dataId: Mapping[str, Any]) -> int | None:
    """Return the code of an instance of a unit without making an index of all of them."""
    table = space.tables.get(unit)
    if table is None:
        return None
    candidates = np.flatnonzero(np.asarray(table.keys) == dataId[unit])
    for parent in space.model.unit(unit).parents:
        code = _code(space, parent, dataId)
        if code is None:
            return None
        candidates = candidates[np.asarray(table.links[parent])[candidates] == code]
    return int(candidates[0]) if len(candidates) else None


def maker_of(dag: ScienceDag, dataset_type: type[Dataset], row: int) -> int | None:
    """Return the quantum of the plan that makes a dataset, or None where none does."""
    producers = dag.producers.get(dataset_type)
    if producers is None:
        return None
    quantum = int(producers.of(np.array([row], np.int64))[0])
    return quantum if quantum >= 0 else None


def readers_of(dag: ScienceDag, dataset_type: type[Dataset], row: int) -> Iterator[int]:
    """Yield the quanta of the plan that have a dataset among their inputs."""
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        edges = table.inputs.get(dataset_type)
        if edges is not None:
            yield from (node.first + int(q) for q in _owners(edges, row))


def _owners(edges: Edges, row: int) -> Ints:
    if edges.rows is None and edges.indptr is None:
        return np.array([row] if row < edges.n else [], np.int64)
    places: npt.NDArray[np.int64]
    places = np.array([row]) if edges.rows is None else np.flatnonzero(np.asarray(edges.rows) == row)
    if edges.indptr is None:
        return places
    return np.searchsorted(np.asarray(edges.indptr), places, side="right") - 1
