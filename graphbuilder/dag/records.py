"""Records of quanta: what a runner needs of each, gathered for several at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from graphbuilder.dag.values import QuantumRecord, TaskNode
from supertask.datasets import Dataset
from supertask.quanta import Quantum
from supertask.repograph.columns import Edges, Ints
from supertask.repograph.space import UnitSpace
from supertask.repograph.tables import DatasetTable, QuantumTable

__all__ = ["Recorded", "records_of"]


class Recorded(Protocol):
    """What is read here of a ScienceDag."""

    space: UnitSpace
    datasets: dict[type[Dataset], DatasetTable]
    identities: Any

    def dataset_identities(self, dataset_type: type[Dataset], rows: Ints) -> npt.NDArray[np.uint8]:
        """Identities of rows of a type's table."""


class _Side(NamedTuple):
    """The datasets of one type that some quanta read or write, quantum after quantum."""

    dataset_type: type[Dataset]
    handles: list[Dataset]
    ends: list[int]
    digests: bytes
    locations: list[str] | None


def records_of(
    dag: Recorded, node: TaskNode, table: QuantumTable, indices: npt.NDArray[np.int64]
) -> Iterator[QuantumRecord]:
    """Yield the records of some quanta of one task.

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    node, table : TaskNode, QuantumTable
        The task and its quanta.
    indices : numpy.ndarray
        Shape (n,), int64: indices of quanta in the plan.
    """
    members = indices - node.first
    inputs = [_side(dag, t, e, members) for t, e in table.inputs.items()]
    outputs = [_side(dag, t, e, members) for t, e in table.outputs.items()]
    data_ids = dag.space.data_ids(table.columns, members, n=len(members))
    digests = dag.identities[indices].tobytes()
    by_name = {t.name: t for t in table.inputs}
    minimums = {by_name[name]: n for name, n in node.minimums.items() if name in by_name}
    variants = [0] * len(members) if table.variants is None else table.variants[members].tolist()
    for j, member in enumerate(members.tolist()):
        locations: dict[Dataset, str] = {}
        identities: dict[Dataset, bytes] = {}
        sides: list[dict[type[Dataset], set[Dataset]]] = []
        for side in (inputs, outputs):
            sides.append({})
            for part in side:
                begin, end = part.ends[j], part.ends[j + 1]
                handles = part.handles[begin:end]
                sides[-1][part.dataset_type] = set(handles)
                identities |= {h: part.digests[16 * n : 16 * n + 16] for n, h in enumerate(handles, begin)}
                if part.locations is not None:
                    places = zip(handles, part.locations[begin:end], strict=True)
                    locations |= {handle: location for handle, location in places if location}
        parameters = None if table.parameters is None else table.parameters[member]
        quantum = Quantum(sides[0], sides[1], node.label, parameters, data_ids[j])
        identity = digests[16 * j : 16 * j + 16]
        yield QuantumRecord(
            int(indices[j]), node.label, identity, quantum, locations, identities, minimums, variants[j]
        )


def _side(dag: Recorded, dataset_type: type[Dataset], edges: Edges, members: npt.NDArray[np.int64]) -> _Side:
    datasets = dag.datasets[dataset_type]
    if edges.indptr is None:
        rows = members if edges.rows is None else edges.rows[members]
        ends = list(range(len(members) + 1))
    else:
        parts = [edges.of(m) for m in members.tolist()]
        rows = np.concatenate(parts)
        ends = np.cumsum([0, *map(len, parts)]).tolist()
    digests = dag.dataset_identities(dataset_type, rows).tobytes()
    locations = None
    if datasets.locations is not None:
        locations = [datasets.locations[r] for r in rows.tolist()]
    return _Side(dataset_type, datasets.at(rows), ends, digests, locations)
