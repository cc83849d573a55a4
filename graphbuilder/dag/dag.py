"""The Science DAG: quanta and datasets, and who reads and writes what, in columns."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.identity import dataset_identities
from graphbuilder.dag.topology import Producers, levels, reachable, successors
from graphbuilder.dag.values import Bundling, DagMeta, QuantumRecord, TaskNode
from supertask.datasets import Dataset
from supertask.errors import DagFileError, DataIdError, PreflightError, did_you_mean
from supertask.quanta import Quantum
from supertask.repograph.columns import Edges, Ints
from supertask.repograph.space import UnitSpace
from supertask.repograph.tables import DatasetTable, QuantumTable
from supertask.units import UnitModel

if TYPE_CHECKING:
    import networkx

__all__ = ["QuantumView", "ScienceDag"]


class QuantumView(Sequence[Quantum]):
    """All quanta of a plan as `Quantum` objects, made on demand."""

    def __init__(self, tables: Sequence[QuantumTable], tasks: Sequence[TaskNode]) -> None:
        self._tables = tables
        self._firsts = [t.first for t in tasks]
        self._n = sum(t.count for t in tasks)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._n))]
        i = int(index)
        if not -self._n <= i < self._n:
            raise IndexError(f"quantum {i} of a plan of {self._n}")
        i %= self._n
        k = bisect.bisect_right(self._firsts, i) - 1
        return self._tables[k].quantum(i - self._firsts[k])

    def __iter__(self) -> Iterator[Quantum]:
        for table in self._tables:
            yield from (table.quantum(i) for i in range(table.n))

    def __repr__(self) -> str:
        return f"<{self._n} quanta>"


class _Side(NamedTuple):
    """The datasets of one type that some quanta read or write, quantum after quantum."""

    dataset_type: type[Dataset]
    handles: list[Dataset]
    ends: list[int]
    digests: bytes
    locations: list[str] | None


class ScienceDag:
    """A complete plan: a bipartite directed acyclic graph of quanta and datasets.

    Quanta are numbered from 0, tasks in topological order and each task's quanta in order of their
    data IDs. Objects are made on demand; what is kept are integer columns.

    Parameters
    ----------
    meta : DagMeta
        Where the plan came from.
    tasks : sequence of TaskNode
        Its tasks, in topological order.
    quanta : sequence of QuantumTable
        The quanta of each task.
    space : UnitSpace
        Unit tables.
    tables : Mapping
        Dataset type → table.
    producers : Mapping
        Dataset type → which quantum makes each row, for types that the plan makes.
    identities : array-like
        Shape (n, 16), uint8: identity of each quantum.
    bundlings : Mapping, optional
        Name → how quanta are merged in bundles.
    """

    def __init__(
        self,
        meta: DagMeta,
        tasks: Sequence[TaskNode],
        quanta: Sequence[QuantumTable],
        space: UnitSpace,
        tables: Mapping[type[Dataset], DatasetTable],
        producers: Mapping[type[Dataset], Producers],
        identities: Any,
        bundlings: Mapping[str, Bundling] | None = None,
    ) -> None:
        self.meta = meta
        self.tasks = tuple(tasks)
        self.quantum_tables = tuple(quanta)
        self.space = space
        self.datasets = dict(tables)
        self.producers = dict(producers)
        self.identities = identities
        self.bundlings = dict(bundlings or {})
        self.n_quanta = sum(t.count for t in tasks)
        self._firsts = [t.first for t in self.tasks]
        self._types = {t.name: t for t in self.datasets}

    @property
    def model(self) -> UnitModel:
        """Unit model of the repository."""
        return self.space.model

    @property
    def n_datasets(self) -> int:
        """Number of datasets, inputs and outputs."""
        return sum(t.n for t in self.datasets.values())

    @property
    def quanta(self) -> QuantumView:
        """All quanta as objects, made on demand."""
        return QuantumView(self.quantum_tables, self.tasks)

    def __len__(self) -> int:
        return self.n_quanta

    def __repr__(self) -> str:
        return (
            f"<ScienceDag of {self.n_quanta} quanta of {len(self.tasks)} tasks, {self.n_datasets} datasets>"
        )

    # -- looking things up --------------------------------------------------------------------

    def task(self, label: str) -> TaskNode:
        """Return a task by its label.

        Raises
        ------
        PreflightError
            The plan has no such task.
        """
        for node in self.tasks:
            if node.label == label:
                return node
        labels = [t.label for t in self.tasks]
        raise PreflightError(
            f"the plan has no task {label!r}{did_you_mean(label, labels)}; it has {', '.join(labels)}"
        )

    def task_of(self, i: int) -> TaskNode:
        """Return the task of quantum `i`."""
        return self.tasks[self._task_index(i)]

    def _task_index(self, i: int) -> int:
        if not 0 <= i < self.n_quanta:
            raise PreflightError(f"there is no quantum {i}: the plan has 0 to {self.n_quanta - 1}")
        return bisect.bisect_right(self._firsts, i) - 1

    def dataset_type(self, name: str) -> type[Dataset]:
        """Return a dataset type of the plan by its name.

        Raises
        ------
        PreflightError
            The plan has no such type.
        """
        if name not in self._types:
            raise PreflightError(f"the plan has no dataset type {name!r}{did_you_mean(name, self._types)}")
        return self._types[name]

    def record(self, i: int) -> QuantumRecord:
        """Return all that a runner needs to run quantum `i`."""
        return self.records((i,))[0]

    def records(self, indices: Sequence[int]) -> list[QuantumRecord]:
        """Return `record` of several quanta, those of one task looked up together.

        A bundle's quanta are mostly of one task, so this costs a fraction of as many calls of `record`.
        """
        found: dict[int, QuantumRecord] = {}
        by_task: dict[int, list[int]] = {}
        for i in indices:
            by_task.setdefault(self._task_index(i), []).append(i)
        for k, members in by_task.items():
            found.update(zip(members, self._records_of(k, np.array(members)), strict=True))
        return [found[i] for i in indices]

    def _records_of(self, k: int, indices: npt.NDArray[np.int64]) -> Iterator[QuantumRecord]:
        node, table = self.tasks[k], self.quantum_tables[k]
        members = indices - node.first
        inputs = [self._side(t, e, members) for t, e in table.inputs.items()]
        outputs = [self._side(t, e, members) for t, e in table.outputs.items()]
        data_ids = self.space.data_ids(table.columns, members, n=len(members))
        digests = self.identities[indices].tobytes()
        minimums = {self._types[name]: n for name, n in node.minimums.items() if name in self._types}
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
                    for n, handle in enumerate(handles, begin):
                        identities[handle] = part.digests[16 * n : 16 * n + 16]
                    if part.locations is not None:
                        for handle, location in zip(handles, part.locations[begin:end], strict=True):
                            if location:
                                locations[handle] = location
            parameters = None if table.parameters is None else table.parameters[member]
            quantum = Quantum(sides[0], sides[1], node.label, parameters, data_ids[j])
            identity = digests[16 * j : 16 * j + 16]
            yield QuantumRecord(
                int(indices[j]), node.label, identity, quantum, locations, identities, minimums
            )

    def _side(self, dataset_type: type[Dataset], edges: Edges, members: npt.NDArray[np.int64]) -> _Side:
        """Gather the datasets of one type that some quanta of a task read or write."""
        datasets = self.datasets[dataset_type]
        parts = [edges.of(m) for m in members.tolist()] if edges.indptr is not None else None
        if parts is None:
            rows = members if edges.rows is None else edges.rows[members]
            ends = list(range(len(members) + 1))
        else:
            rows = np.concatenate(parts)
            ends = np.cumsum([0, *map(len, parts)]).tolist()
        digests = self.dataset_identities(dataset_type, rows).tobytes()
        locations = None
        if datasets.locations is not None:
            locations = [datasets.locations[r] for r in rows.tolist()]
        return _Side(dataset_type, datasets.at(rows), ends, digests, locations)

    def dataset_identities(self, dataset_type: type[Dataset], rows: Ints) -> npt.NDArray[np.uint8]:
        """Return the identities of some datasets of a type, shape (n, 16)."""
        table = self.datasets[dataset_type]
        if table.identities is not None:
            stored: npt.NDArray[np.uint8] = table.identities[rows]
            return stored
        made_by = self.producers[dataset_type]
        quanta = made_by.of(rows)
        single = made_by.edges.indptr is None
        return dataset_identities(dataset_type, self.identities[quanta], None if single else table, rows)

    def find_quantum(self, label: str, dataId: Mapping[str, Any] | None = None, /, **units: Any) -> int:
        """Return the index of a quantum by its task's label and data ID.

        Raises
        ------
        PreflightError
            There is none; says what the task has.
        DataIdError
            The data ID is not one of the task's.
        """
        node = self.task(label)
        table = self.quantum_tables[self.tasks.index(node)]
        wanted = self.model.standardize(
            table.columns, {**(dataId or {}), **units}, what=f"a quantum of {label!r}"
        )
        keep = np.ones(table.n, bool)
        try:
            for unit in table.columns:
                keep &= table.columns[unit][:] == self.space.code_of(unit, wanted)
        except DataIdError:
            keep[:] = False
        found = np.flatnonzero(keep)
        if not len(found):
            raise PreflightError(
                f"the plan has no quantum of {label!r} with {wanted}; it has {table.n} others"
            )
        return node.first + int(found[0])

    def find_identity(self, identity: bytes | str) -> int:
        """Return the index of the quantum of this identity (16 bytes, or the beginning in hexadecimal).

        Raises
        ------
        PreflightError
            None has it, or several begin so.
        """
        text = identity.lower() if isinstance(identity, str) else identity.hex()
        try:
            whole = bytes.fromhex(text + "0" * (len(text) % 2))
        except ValueError:
            raise PreflightError(f"{text!r} is not hexadecimal") from None
        known = np.asarray(self.identities)
        head = np.frombuffer(whole[: len(text) // 2], np.uint8)
        found = np.flatnonzero((known[:, : len(head)] == head).all(axis=1))
        found = [i for i in found.tolist() if bytes(known[i]).hex().startswith(text)]
        if len(found) != 1:
            raise PreflightError(f"{len(found)} quanta have an identity that begins with {text!r}")
        return int(found[0])

    # -- the graph ----------------------------------------------------------------------------

    @cached_property
    def _successors(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        return successors(self.n_quanta, self._dependency_pairs())

    def _dependency_pairs(self) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        for node, table in zip(self.tasks, self.quantum_tables, strict=True):
            for dataset_type, edges in table.inputs.items():
                if dataset_type in self.producers:
                    makers = self.producers[dataset_type].table(self.datasets[dataset_type].n)
                    yield makers[edges.all_rows()], edges.owners() + np.int64(node.first)

    def successors(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Return for each quantum those that wait for it: indptr (n + 1,) int64, indices int32."""
        return self._successors

    def predecessor_counts(self) -> npt.NDArray[np.int32]:
        """Return how many quanta each one waits for, shape (n,), int32."""
        return np.bincount(self._successors[1], minlength=self.n_quanta).astype(np.int32)

    def levels(self) -> npt.NDArray[np.int32]:
        """Return how many quanta one after another lie before each, shape (n,), int32."""
        return levels(*self._successors)

    def descendants(self, quanta: Iterable[int]) -> npt.NDArray[np.int64]:
        """Return the indices of quanta that depend on some of these, however far."""
        start = np.fromiter(quanta, np.int64)
        seen = reachable(*self._successors, start)
        seen[start] = False
        return np.flatnonzero(seen)

    def ancestors(self, quanta: Iterable[int]) -> npt.NDArray[np.int64]:
        """Return the indices of quanta that some of these depend on, however far."""
        indptr, indices = self._successors
        owners = np.repeat(np.arange(self.n_quanta), np.diff(indptr))
        backward = successors(self.n_quanta, [(indices, owners)])
        start = np.fromiter(quanta, np.int64)
        seen = reachable(*backward, start)
        seen[start] = False
        return np.flatnonzero(seen)

    def bundling(self, name: str | None = None) -> Bundling | None:
        """Return a bundling by name, or the last one made; None where there is none.

        Raises
        ------
        PreflightError
            There is none of that name.
        """
        if name is None:
            return next(reversed(self.bundlings.values()), None)
        if name not in self.bundlings:
            raise PreflightError(
                f"the plan has no bundling {name!r}{did_you_mean(name, self.bundlings)}; "
                f"it has {', '.join(self.bundlings) or 'none'}"
            )
        return self.bundlings[name]

    def with_bundling(self, bundling: Bundling) -> ScienceDag:
        """Return the same plan with one more bundling, which becomes the default."""
        others = {k: b for k, b in self.bundlings.items() if k != bundling.name}
        return ScienceDag(
            self.meta,
            self.tasks,
            self.quantum_tables,
            self.space,
            self.datasets,
            self.producers,
            self.identities,
            {**others, bundling.name: bundling},
        )

    def subset(
        self,
        labels: Iterable[str] | None = None,
        *,
        quanta: Iterable[int] | None = None,
        identities: Iterable[bytes | str] | None = None,
        dataId: Mapping[str, Any] | None = None,
    ) -> ScienceDag:
        """Return a plan of some of the quanta; every condition given must hold.

        Datasets that quanta left out would have made become inputs that must be there when it runs.
        Bundlings are left behind.

        Parameters
        ----------
        labels : iterable of str, optional
            Labels of tasks.
        quanta : iterable of int, optional
            Indices.
        identities : iterable of bytes or str, optional
            Identities.
        dataId : Mapping, optional
            Values of units; only quanta whose data IDs determine all of these and agree.
        """
        keep = np.ones(self.n_quanta, bool)
        if labels is not None:
            chosen = np.zeros(self.n_quanta, bool)
            for node in map(self.task, labels):
                chosen[node.first : node.first + node.count] = True
            keep &= chosen
        for indices in (quanta, None if identities is None else map(self.find_identity, identities)):
            if indices is not None:
                chosen = np.zeros(self.n_quanta, bool)
                chosen[np.fromiter(indices, np.int64)] = True
                keep &= chosen
        if dataId:
            keep &= self._having(dataId)
        return self._taking(keep)

    def _having(self, dataId: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
        keep = np.zeros(self.n_quanta, bool)
        for node, table in zip(self.tasks, self.quantum_tables, strict=True):
            if not all(self.space.determines(table.columns, self.model.unit(u).name) for u in dataId):
                continue
            good = np.ones(table.n, bool)
            for unit, value in dataId.items():
                keys = np.asarray(self.space.tables[unit].keys) == self.model.check_key(unit, value)
                codes = self.space.column(table.columns, unit)
                good &= (codes >= 0) & (keys[codes] if len(keys) else False)
            keep[node.first : node.first + node.count] = good
        return keep

    def _taking(self, keep: npt.NDArray[np.bool_]) -> ScienceDag:
        new_index = np.where(keep, np.cumsum(keep) - 1, -1)
        nodes, quanta = [], []
        first = 0
        for node, table in zip(self.tasks, self.quantum_tables, strict=True):
            chosen = np.flatnonzero(keep[node.first : node.first + node.count])
            if len(chosen):
                nodes.append(attrs.evolve(node, first=first, count=len(chosen)))
                quanta.append(table.take(chosen))
                first += len(chosen)
        tables, producers, moved = {}, {}, {}
        for dataset_type, datasets in self.datasets.items():
            used = np.zeros(datasets.n, bool)
            for part in quanta:
                for edges in (part.inputs.get(dataset_type), part.outputs.get(dataset_type)):
                    if edges is not None:
                        used[edges.all_rows()] = True
            rows = np.flatnonzero(used)
            if not len(rows):
                continue
            moved[dataset_type] = np.cumsum(used) - 1
            tables[dataset_type] = DatasetTable(
                dataset_type,
                self.space,
                {u: c[:][rows] for u, c in datasets.columns.items()},
                len(rows),
                self.dataset_identities(dataset_type, rows),
                None if datasets.locations is None else datasets.locations[rows],
                None if datasets.sizes is None else datasets.sizes[:][rows],
            )
            if dataset_type in self.producers:
                makers = self.producers[dataset_type].table(datasets.n)[rows]
                made = np.where(makers < 0, -1, new_index[makers]).astype(np.int32)
                producers[dataset_type] = Producers(0, Edges(0), made)
        quanta = [_renumbered(q, moved, tables) for q in quanta]
        return ScienceDag(
            self.meta, nodes, quanta, self.space, tables, producers, np.asarray(self.identities)[keep]
        )

    def to_networkx(self) -> networkx.DiGraph[Any]:
        """Return the bipartite graph with `Dataset` handles and quantum indices as nodes.

        Quantum nodes are ints with attributes ``bipartite=0``, ``label`` and ``dataId``; dataset
        nodes are handles with ``bipartite=1`` and ``dataset_type``.
        """
        import networkx

        graph: networkx.DiGraph[Any] = networkx.DiGraph()
        for dataset_type, table in self.datasets.items():
            graph.add_nodes_from(table.handles(), bipartite=1, dataset_type=dataset_type.name)
        for node, table in zip(self.tasks, self.quantum_tables, strict=True):
            for i, dataId in enumerate(table.data_ids()):
                graph.add_node(node.first + i, bipartite=0, label=node.label, dataId=dataId)
            for forward, side in ((True, table.inputs), (False, table.outputs)):
                for dataset_type, edges in side.items():
                    handles = self.datasets[dataset_type].handles()
                    owners = (edges.owners() + np.int64(node.first)).tolist()
                    pairs = zip(owners, edges.all_rows().tolist(), strict=True)
                    if forward:
                        graph.add_edges_from((handles[r], q) for q, r in pairs)
                    else:
                        graph.add_edges_from((q, handles[r]) for q, r in pairs)
        return graph

    # -- the file -----------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the plan to one HDF5 file, whole or not at all. See `graphbuilder.dag.file`."""
        from graphbuilder.dag.file import save

        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> ScienceDag:
        """Read a whole plan from its file and check its seal.

        Raises
        ------
        DagFileError
            The file is missing, truncated, altered, of another version, or not a plan.
        """
        from graphbuilder.dag.file import read

        return _made(read(Path(path), lazy=False))

    @classmethod
    def open(cls, path: str | Path) -> ScienceDag:
        """Open a plan to read single quanta of it: columns stay in the file until asked for.

        Raises
        ------
        DagFileError
            As for `load`; alterations are found in the parts that are read.
        """
        from graphbuilder.dag.file import read

        return _made(read(Path(path), lazy=True))


def _made(parts: dict[str, Any]) -> ScienceDag:
    try:
        return ScienceDag(**parts)
    except (KeyError, ValueError, TypeError) as error:
        raise DagFileError(f"the plan's parts do not fit together: {error}") from error


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
