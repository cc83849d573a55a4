"""A plan of some of the quanta of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.topology import Producers
from graphbuilder.dag.values import DagMeta, TaskNode
from supertask.datasets import Dataset
from supertask.repograph.columns import Edges, Ints
from supertask.repograph.space import UnitSpace
from supertask.repograph.tables import DatasetTable, QuantumTable
from supertask.units import UnitModel

__all__ = ["Whole", "parts_of", "quanta_with"]


class Whole(Protocol):
    """What is read here of a ScienceDag."""

    meta: DagMeta
    tasks: tuple[TaskNode, ...]
    quantum_tables: tuple[QuantumTable, ...]
    space: UnitSpace
    datasets: dict[type[Dataset], DatasetTable]
    producers: dict[type[Dataset], Producers]
    identities: Any
    n_quanta: int

    @property
    def model(self) -> UnitModel:
        """Unit model."""

    def dataset_identities(self, dataset_type: type[Dataset], rows: Ints) -> npt.NDArray[np.uint8]:
        """Identities of rows of a type's table."""


def quanta_with(dag: Whole, dataId: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Return which quanta have these values of units, shape (n,); those without such units have not."""
    keep = np.zeros(dag.n_quanta, bool)
    for unit in dataId:
        dag.model.unit(unit)
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        if not all(dag.space.determines(table.columns, u) for u in dataId):
            continue
        good = np.ones(table.n, bool)
        for unit, value in dataId.items():
            keys = np.asarray(dag.space.tables[unit].keys) == dag.model.check_key(unit, value)
            codes = dag.space.column(table.columns, unit)
            good &= (codes >= 0) & (keys[codes] if len(keys) else False)
        keep[node.first : node.first + node.count] = good
    return keep


def parts_of(dag: Whole, keep: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return the parts of a plan of the quanta to keep, as `ScienceDag` takes them."""
    new_index = np.where(keep, np.cumsum(keep) - 1, -1)
    nodes, quanta = [], []
    first = 0
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        chosen = np.flatnonzero(keep[node.first : node.first + node.count])
        if len(chosen):
            nodes.append(attrs.evolve(node, first=first, count=len(chosen)))
            quanta.append(table.take(chosen))
            first += len(chosen)
    tables: dict[type[Dataset], DatasetTable] = {}
    producers: dict[type[Dataset], Producers] = {}
    moved: dict[type[Dataset], npt.NDArray[np.int64]] = {}
    for dataset_type, datasets in dag.datasets.items():
        used = _used(dataset_type, datasets.n, quanta)
        rows = np.flatnonzero(used)
        if not len(rows):
            continue
        moved[dataset_type] = np.cumsum(used) - 1
        tables[dataset_type] = DatasetTable(
            dataset_type,
            dag.space,
            {u: c[:][rows] for u, c in datasets.columns.items()},
            len(rows),
            dag.dataset_identities(dataset_type, rows),
            None if datasets.locations is None else datasets.locations[rows],
            None if datasets.sizes is None else datasets.sizes[:][rows],
        )
        if dataset_type in dag.producers:
            makers = dag.producers[dataset_type].table(datasets.n)[rows]
            made = np.where(makers < 0, -1, new_index[makers]).astype(np.int32)
            producers[dataset_type] = Producers(0, Edges(0), made)
    return {
        "meta": dag.meta,
        "tasks": nodes,
        "quanta": [_renumbered(q, moved, tables) for q in quanta],
        "space": dag.space,
        "tables": tables,
        "producers": producers,
        "identities": np.asarray(dag.identities)[keep],
    }


def _used(dataset_type: type[Dataset], n: int, quanta: list[QuantumTable]) -> npt.NDArray[np.bool_]:
    used = np.zeros(n, bool)
    for table in quanta:
        for edges in (table.inputs.get(dataset_type), table.outputs.get(dataset_type)):
            if edges is not None:
                used[edges.all_rows()] = True
    return used


def _renumbered(
    table: QuantumTable,
    moved: Mapping[type[Dataset], npt.NDArray[np.int64]],
    tables: Mapping[type[Dataset], DatasetTable],
) -> QuantumTable:
    def renumber(side: Mapping[type[Dataset], Edges]) -> dict[type[Dataset], Edges]:
        return {
            t: Edges(e.n, e.indptr, moved[t][e.all_rows()].astype(np.int32))
            for t, e in side.items()
            if t in moved
        }

    inputs, outputs = renumber(table.inputs), renumber(table.outputs)
    return attrs.evolve(
        table, inputs=inputs, outputs=outputs, tables={t: tables[t] for t in [*inputs, *outputs]}
    )
