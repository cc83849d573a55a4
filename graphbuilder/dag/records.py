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
    ends: list[int] | None
    """Where each quantum's end; None where each has one."""
    digests: bytes
    locations: list[str] | None

    def of(self, j: int, identities: dict[Dataset, bytes], locations: dict[Dataset, str]) -> set[Dataset]:
        """Return those of quantum `j`, and note of each its identity and where it is, if that is known."""
        places = self.locations
        if self.ends is None:
            handle = self.handles[j]
            identities[handle] = self.digests[16 * j : 16 * j + 16]
            if places is not None and places[j]:
                locations[handle] = places[j]
            return {handle}
        begin, end = self.ends[j], self.ends[j + 1]
        handles = self.handles[begin:end]
        for n, handle in enumerate(handles, begin):
            identities[handle] = self.digests[16 * n : 16 * n + 16]
            if places is not None and places[n]:
                locations[handle] = places[n]
        return set(handles)


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
        quantum = Quantum(
            {side.dataset_type: side.of(j, identities, locations) for side in inputs},
            {side.dataset_type: side.of(j, identities, locations) for side in outputs},
            node.label,
            None if table.parameters is None else table.parameters[member],
            data_ids[j],
        )
        identity = digests[16 * j : 16 * j + 16]
        yield QuantumRecord(
            int(indices[j]), node.label, identity, quantum, locations, identities, minimums, variants[j]
        )


def _side(dag: Recorded, dataset_type: type[Dataset], edges: Edges, members: npt.NDArray[np.int64]) -> _Side:
    datasets = dag.datasets[dataset_type]
    if edges.indptr is None:
        rows = members if edges.rows is None else edges.rows[members]
        ends = None
    else:
        parts = [edges.of(m) for m in members.tolist()]
        rows = np.concatenate(parts)
        ends = np.cumsum([0, *map(len, parts)]).tolist()
    digests = dag.dataset_identities(dataset_type, rows).tobytes()
    locations = None
    if datasets.locations is not None:
        locations = [datasets.locations[r] for r in rows.tolist()]
    return _Side(dataset_type, datasets.at(rows), ends, digests, locations)
