"""The Science DAG: quanta and datasets, and who reads and writes what, in columns."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbuilder.dag.identity import dataset_identities
from graphbuilder.dag.records import records_of
from graphbuilder.dag.subset import parts_of, quanta_with
from graphbuilder.dag.topology import Producers, levels, reachable, successors
from graphbuilder.dag.values import Bundling, DagMeta, LeftOut, Outline, QuantumRecord, TaskNode
from supertask.datasets import Dataset
from supertask.errors import DagFileError, DataIdError, PreflightError, did_you_mean
from supertask.quanta import Quantum
from supertask.repograph.columns import Edges, Ints
from supertask.repograph.space import UnitSpace
from supertask.repograph.tables import DatasetTable, QuantumTable
from supertask.units import UnitModel

if TYPE_CHECKING:
    import networkx as nx

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
    left_out : sequence of LeftOut, optional
        Quanta that planning left out, with the reason.
    """

    def __init__(
        self,
        *,
        meta: DagMeta,
        tasks: Sequence[TaskNode],
        quanta: Sequence[QuantumTable],
        space: UnitSpace,
        tables: Mapping[type[Dataset], DatasetTable],
        producers: Mapping[type[Dataset], Producers],
        identities: Any,
        bundlings: Mapping[str, Bundling] | None = None,
        left_out: Sequence[LeftOut] = (),
    ) -> None:
        for node, table in zip(tasks, quanta, strict=True):
            if len(node.variants) > 1 and table.variants is None:
                raise PreflightError(f"which variant each quantum of {node.label!r} has got lost; plan again")
        self.meta = meta
        self.tasks = tuple(tasks)
        self.quantum_tables = tuple(quanta)
        self.space = space
        self.datasets = dict(tables)
        self.producers = dict(producers)
        self.identities = identities
        self.bundlings = dict(bundlings or {})
        self.left_out = tuple(left_out)
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
        near = did_you_mean(label, labels)
        raise PreflightError(f"the plan has no task {label!r}{near}; it has {', '.join(labels) or 'none'}")

    def variant_counts(self, label: str) -> list[int]:
        """Return how many quanta of a task have each of its variants."""
        node = self.task(label)
        table = self.quantum_tables[self.tasks.index(node)]
        n = max(len(node.variants), 1)
        if table.variants is None:
            return [node.count] + [0] * (n - 1)
        counts: list[int] = np.bincount(table.variants[:], minlength=n).tolist()
        return counts

    def variant_of(self, i: int) -> int:
        """Return the number of the variant of its task that quantum `i` has."""
        t = self._task_index(i)
        column = self.quantum_tables[t].variants
        return 0 if column is None else int(column[i - self.tasks[t].first])

    def task_of(self, i: int) -> TaskNode:
        """Return the task of quantum `i`."""
        return self.tasks[self._task_index(i)]

    def _task_index(self, i: int) -> int:
        if not 0 <= i < self.n_quanta:
            raise PreflightError(f"there is no quantum {i}: the plan has 0 to {self.n_quanta - 1}")
        return bisect.bisect_right(self._firsts, i) - 1

    def task_modules(self) -> list[str]:
        """Return the modules that the classes of its tasks are in, sorted."""
        return sorted({node.class_path.partition(":")[0] for node in self.tasks})

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
            made = records_of(self, self.tasks[k], self.quantum_tables[k], np.array(members))
            found.update(zip(members, made, strict=True))
        return [found[i] for i in indices]

    def outlines(self, indices: Sequence[int]) -> list[Outline]:
        """Return what can be said of several quanta without making them."""
        found: dict[int, Outline] = {}
        by_task: dict[int, list[int]] = {}
        for i in indices:
            by_task.setdefault(self._task_index(i), []).append(i)
        for k, members in by_task.items():
            node, table = self.tasks[k], self.quantum_tables[k]
            rows = np.array(members)
            digests = self.identities[rows].tobytes()
            rows -= node.first
            outputs = np.zeros(len(rows), np.int64)
            for edges in table.outputs.values():
                outputs += 1 if edges.indptr is None else edges.indptr[rows + 1] - edges.indptr[rows]
            variants = [0] * len(rows) if table.variants is None else table.variants[rows].tolist()
            split = [digests[at : at + 16] for at in range(0, len(digests), 16)]
            made = map(Outline, members, repeat(node.label), variants, split, outputs.tolist())
            if len(by_task) == 1:
                return list(made)
            found.update(zip(members, made, strict=True))
        return [found[i] for i in indices]

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
        candidates = np.flatnonzero((known[:, : len(head)] == head).all(axis=1)).tolist()
        found = [i for i in candidates if bytes(known[i]).hex().startswith(text)]
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
        return self._with(self.meta, {**others, bundling.name: bundling})

    def with_meta(self, meta: DagMeta) -> ScienceDag:
        """Return the same plan with other words about where it came from."""
        return self._with(meta, self.bundlings)

    def _with(self, meta: DagMeta, bundlings: Mapping[str, Bundling]) -> ScienceDag:
        return ScienceDag(
            meta=meta,
            tasks=self.tasks,
            quanta=self.quantum_tables,
            space=self.space,
            tables=self.datasets,
            producers=self.producers,
            identities=self.identities,
            bundlings=bundlings,
            left_out=self.left_out,
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
            keep &= quanta_with(self, dataId)
        return ScienceDag(**parts_of(self, keep))

    def to_networkx(self) -> nx.DiGraph[Any]:
        """Return the bipartite graph with `Dataset` handles and quantum indices as nodes.

        Quantum nodes are ints with attributes ``bipartite=0``, ``label`` and ``dataId``; dataset
        nodes are handles with ``bipartite=1`` and ``dataset_type``.
        """
        import networkx as nx

        graph: nx.DiGraph[Any] = nx.DiGraph()
        for dataset_type, table in self.datasets.items():
            graph.add_nodes_from(table.handles(), bipartite=1, dataset_type=dataset_type.name)
        for node, quanta in zip(self.tasks, self.quantum_tables, strict=True):
            for i, dataId in enumerate(quanta.data_ids(), node.first):
                graph.add_node(i, bipartite=0, label=node.label, dataId=dataId)
            for dataset_type, edges in quanta.inputs.items():
                graph.add_edges_from((d, q) for q, d in self._pairs(node, dataset_type, edges))
            for dataset_type, edges in quanta.outputs.items():
                graph.add_edges_from(self._pairs(node, dataset_type, edges))
        return graph

    def _pairs(
        self, node: TaskNode, dataset_type: type[Dataset], edges: Edges
    ) -> Iterator[tuple[int, Dataset]]:
        handles = self.datasets[dataset_type].handles()
        owners, rows = edges.owners().tolist(), edges.all_rows().tolist()
        return ((node.first + q, handles[r]) for q, r in zip(owners, rows, strict=True))

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
