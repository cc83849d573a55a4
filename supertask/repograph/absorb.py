"""Turning hand-written lists of `Quantum` objects into columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.datasets import Dataset
from supertask.errors import DataIdError, PreflightError, Problems
from supertask.quanta import Quantum
from supertask.repograph.columns import Edges, group
from supertask.repograph.graph import RepoGraph
from supertask.repograph.grouped import GroupedQuanta
from supertask.repograph.space import Columns
from supertask.repograph.tables import DatasetTable, QuantumTable

__all__ = ["absorb", "without_unmade"]

_SHOWN = 5


def absorb(repoGraph: RepoGraph, label: str, quanta: Iterable[Quantum], units: Sequence[str]) -> QuantumTable:
    """Return what a `defineQuanta` returned as a table in canonical order.

    Quanta are in order of their data IDs and datasets likewise, so that the three ways of writing
    `defineQuanta` give identical plans.

    Parameters
    ----------
    repoGraph : RepoGraph
        What the quanta were made from.
    label : str
        The task's label.
    quanta : iterable of Quantum, or GroupedQuanta
        What `defineQuanta` returned.
    units : sequence of str
        The task's quantum units; where there are none, those that all outputs share.

    Raises
    ------
    PreflightError
        A quantum has an input that is not there, or an output that was not added; names both.
    """
    if isinstance(quanta, GroupedQuanta):
        table = quanta.table
    else:
        table = _from_objects(repoGraph, label, list(quanta), units)
    order = group(table.key()).rows
    if order is not None:
        table = table.take(order)
    outputs = {}
    for dataset_type, edges in table.outputs.items():
        moved = table.tables[dataset_type].sort()
        outputs[dataset_type] = edges if moved is None else edges.renumber(moved)
    return QuantumTable(
        label, table.space, table.columns, table.n, table.inputs, outputs, table.tables, table.parameters
    )


def without_unmade(repoGraph: RepoGraph, table: QuantumTable) -> QuantumTable:
    """Drop from the RepoGraph what quanta would have made that were left out after all.

    Parameters
    ----------
    repoGraph : RepoGraph
        What holds the datasets.
    table : QuantumTable
        The quanta that are left.

    Returns
    -------
    QuantumTable
        The same with rows renumbered.
    """
    outputs, tables = {}, dict(table.tables)
    for dataset_type, edges in table.outputs.items():
        datasets = repoGraph.datasets[dataset_type]
        made = np.zeros(datasets.n, bool)
        made[edges.all_rows()] = True
        if made.all():
            outputs[dataset_type] = edges
            continue
        rows = np.flatnonzero(made)
        columns = {u: c[rows] for u, c in datasets.columns.items()}
        left = DatasetTable(dataset_type, datasets.space, columns, len(rows))
        repoGraph.datasets.put(left)
        tables[dataset_type] = left
        moved = (np.cumsum(made) - 1).astype(np.int32)
        outputs[dataset_type] = Edges(edges.n, edges.indptr, moved[edges.all_rows()])
    return attrs.evolve(table, outputs=outputs, tables=tables)


def _from_objects(
    repoGraph: RepoGraph, label: str, quanta: list[Quantum], units: Sequence[str]
) -> QuantumTable:
    for i, quantum in enumerate(quanta):
        if not isinstance(quantum, Quantum):
            raise PreflightError(
                f"defineQuanta of {label!r} returned {type(quantum).__name__} as item {i}, not a Quantum"
            )
    problems = Problems(f"defineQuanta of {label!r}")
    inputs = _edges(repoGraph, [q.inputs for q in quanta], problems, "input", "neither in the repository")
    outputs = _edges(repoGraph, [q.outputs for q in quanta], problems, "output", "not added")
    problems.raise_if_any(PreflightError)
    tables = {t: repoGraph.datasets[t] for t in [*inputs, *outputs]}
    leaves = repoGraph.model.leaves(repoGraph.model.closure(units or _shared_units(outputs)))
    columns: Columns = {
        unit: _quantum_column(repoGraph, quanta, unit, {**outputs, **inputs}, tables) for unit in leaves
    }
    parameters = [q.parameters for q in quanta] if any(q.parameters is not None for q in quanta) else None
    return QuantumTable(
        label, repoGraph.space, columns, len(quanta), inputs, outputs, tables, parameters=parameters
    )


class _Gathered:
    """The datasets of one type that quanta name, quantum after quantum."""

    def __init__(self, table: DatasetTable) -> None:
        self.table = table
        self.handles = table.handles()
        self.rows: list[int] = []
        self.owners: list[int] = []
        self.missing: list[Dataset] = []

    def add(self, owner: int, datasets: Iterable[Dataset]) -> None:
        handles, n = self.handles, len(self.handles)
        for dataset in datasets:
            row = dataset._row
            # The row that a handle remembers is of the table it came from, maybe not this one.
            if not 0 <= row < n or (handles[row] is not dataset and handles[row] != dataset):
                known = self.table.find(dataset.dataId)
                if known is None:
                    self.missing.append(dataset)
                    continue
                row = known
            self.rows.append(row)
            self.owners.append(owner)


def _edges(
    repoGraph: RepoGraph,
    sides: list[dict[type[Dataset], set[Dataset]]],
    problems: Problems,
    what: str,
    why: str,
) -> dict[type[Dataset], Edges]:
    by_type: dict[type[Dataset], _Gathered] = {}
    # Hashing a dataset type takes a call; of one type there are few objects, so those are looked up.
    by_object: dict[int, _Gathered] = {}
    for i, side in enumerate(sides):
        for dataset_type, datasets in side.items():
            gathered = by_object.get(id(dataset_type))
            if gathered is None:
                if dataset_type not in by_type:
                    by_type[dataset_type] = _Gathered(repoGraph.datasets[dataset_type])
                gathered = by_object[id(dataset_type)] = by_type[dataset_type]
            gathered.add(i, datasets)
    found = {}
    for dataset_type, gathered in by_type.items():
        if gathered.missing:
            shown = ", ".join(map(repr, gathered.missing[:_SHOWN]))
            more = ", …" if len(gathered.missing) > _SHOWN else ""
            out = " nor made by an earlier task" if what == "input" else "; call repoGraph.addDataset"
            problems.add(f"{len(gathered.missing)} {what} datasets {why}{out}: {shown}{more}")
            continue
        owners, rows = np.array(gathered.owners, np.int64), np.array(gathered.rows, np.int64)
        found[dataset_type] = Edges.from_pairs(len(sides), owners, rows)
    return found


def _shared_units(outputs: Iterable[type[Dataset]]) -> tuple[str, ...]:
    shared: set[str] | None = None
    for dataset_type in outputs:
        shared = set(dataset_type.units) if shared is None else shared & set(dataset_type.units)
    return tuple(shared or ())


def _quantum_column(
    repoGraph: RepoGraph,
    quanta: list[Quantum],
    unit: str,
    edges: dict[type[Dataset], Edges],
    tables: dict[type[Dataset], DatasetTable],
) -> npt.NDArray[np.int32]:
    """Codes of one unit of the quanta: from the first type of which every quantum has a dataset."""
    space = repoGraph.space
    if not quanta:
        return np.empty(0, np.int32)
    if all(q.dataId is not None and unit in q.dataId for q in quanta):
        return np.array([space.code_of(unit, q.dataId) for q in quanta], np.int32)  # type: ignore[arg-type]
    for dataset_type, edge in edges.items():
        if space.determines(tables[dataset_type].columns, unit) and bool((edge.counts() > 0).all()):
            first: Any = edge.all_rows() if edge.indptr is None else edge.all_rows()[edge.indptr[:-1]]
            return space.column(tables[dataset_type].columns, unit, first)
    raise DataIdError(f"cannot tell {unit!r} of the quanta from their datasets; give each Quantum its dataId")
