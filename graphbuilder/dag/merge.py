"""One plan of several: the shards of a plan, put together without holding them all.

Shards of one preflight share quanta and datasets: a visit at the border of two tracts is planned with
both. Identities tell whether what they share is the same; where it is not, a gather was cut in two, and the
shards are refused. Columns are read from the shards' files one at a time, and what is made of each goes to a
file of its own from which the plan is then saved, so that memory grows with the longest column.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.columns import StringColumn
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.topology import Producers
from graphbuilder.dag.values import LeftOut, TaskNode, Trimmed, Variant
from supertask.datasets import Dataset
from supertask.errors import PreflightError
from supertask.repograph.columns import Edges, Ints, expand, group, pack
from supertask.repograph.space import Columns, UnitSpace, UnitTable
from supertask.repograph.tables import DatasetTable, QuantumTable

__all__ = ["merge"]

_ITS_OWN = ("steps", "trimmed", "created", "command")
"""What shards of one plan may say differently of themselves."""

_PIECE = 1 << 18


def merge(paths: Sequence[Path], folder: Path) -> ScienceDag:
    """Put the shards of a plan together.

    Parameters
    ----------
    paths : sequence of Path
        The shards' plan files.
    folder : Path
        Where to keep columns until the plan is saved.

    Returns
    -------
    ScienceDag
        The union, each quantum and dataset once; its columns lie in files in `folder`.

    Raises
    ------
    PreflightError
        They are not shards of one plan, or one quantum was planned differently in two of them.
    """
    dags = [ScienceDag.open(path) for path in paths]
    _check_alike(dags)
    spool = _Spool(folder)
    space, codes = _merge_units(dags)
    tables: dict[type[Dataset], DatasetTable] = {}
    rows: list[dict[type[Dataset], Any]] = [{} for _ in dags]
    for dataset_type in _in_order(dag.datasets for dag in dags):
        tables[dataset_type] = _merge_datasets(dags, dataset_type, space, codes, rows, spool)
    nodes: list[TaskNode] = []
    quanta: list[QuantumTable] = []
    identities: list[Any] = []
    index = [np.empty(dag.n_quanta, np.int32) for dag in dags]
    for t, node in enumerate(dags[0].tasks):
        first = sum(n.count for n in nodes)
        merged = _Quanta(dags, t, space, codes)
        variants, numbers = _merge_variants([dag.tasks[t] for dag in dags])
        nodes.append(attrs.evolve(node, first=first, count=merged.n, variants=variants))
        identities.append(spool.keep(merged.identities))
        quanta.append(merged.table(rows, tables, spool, numbers if len(variants) > 1 else None))
        for k, dag in enumerate(dags):
            begin, stop = dag.tasks[t].first, dag.tasks[t].first + dag.tasks[t].count
            index[k][begin:stop] = first + merged.moved(k)
    return ScienceDag(
        meta=attrs.evolve(dags[0].meta, steps=_merge_steps(dags, nodes), trimmed=_merge_trimmed(dags, nodes)),
        tasks=nodes,
        quanta=quanta,
        space=space,
        tables=tables,
        producers=_merge_producers(dags, nodes, quanta, tables, rows, index),
        identities=spool.keep_all(map(np.asarray, identities), (sum(map(len, identities)), 16)),
        left_out=_merge_left_out(dags, space, codes),
    )


class _Spool:
    """Columns that lie in files instead of memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = itertools.count()

    def keep(self, column: npt.NDArray[Any]) -> Any:
        """Return the same column, left in a file."""
        if not column.size:
            return column
        path = self._path()
        np.save(path, column, allow_pickle=False)
        return _Spooled(path, column.shape)

    def keep_all(self, columns: Iterable[npt.NDArray[np.uint8]], shape: tuple[int, ...]) -> Any:
        """Return columns of bytes end to end, left in a file; never two of them are in memory."""
        path = self._path()
        with path.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for column in columns:
                column.tofile(file)
        return _Spooled(path, shape) if shape[0] else np.empty(shape, np.uint8)

    def _path(self) -> Path:
        return self._folder / f"{next(self._names)}.npy"


class _Spooled:
    """A column in a file of its own, mapped anew for each use: what is mapped counts as memory."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path = path
        self.shape = shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        return np.load(self._path, mmap_mode="r", allow_pickle=False)[index]

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        whole: npt.NDArray[Any] = self[:]
        return whole if dtype is None else whole.astype(dtype)


def _check_alike(dags: Sequence[ScienceDag]) -> None:
    first = attrs.asdict(dags[0].meta)
    tasks = [attrs.evolve(node, first=0, count=0, variants=()) for node in dags[0].tasks]
    for dag in dags[1:]:
        other = attrs.asdict(dag.meta)
        differ = [name for name in first if name not in _ITS_OWN and first[name] != other[name]]
        if [attrs.evolve(node, first=0, count=0, variants=()) for node in dag.tasks] != tasks:
            differ.append("tasks")
        if differ:
            raise PreflightError(
                f"the plans are not shards of one: they differ in {', '.join(differ)}; make all shards with "
                "one command, from one state of repository and software"
            )


def _merge_variants(nodes: Sequence[TaskNode]) -> tuple[tuple[Variant, ...], list[npt.NDArray[Any]]]:
    """Return all variants of a task that shards have, and of each shard the new numbers of its own."""
    own = [node.variants or (node.variant(0),) for node in nodes]
    union: list[Variant] = []
    for variant in itertools.chain.from_iterable(own):
        if variant not in union:
            union.append(variant)
    width = np.min_scalar_type(len(union) - 1)
    numbers = [np.array([union.index(v) for v in variants], width) for variants in own]
    return (tuple(union) if any(v.overrides for v in union) else ()), numbers


def _in_order(mappings: Iterable[Iterable[Any]]) -> list[Any]:
    """Return the keys of all mappings, in order of first appearance."""
    return list(dict.fromkeys(itertools.chain.from_iterable(mappings)))


# -- units ------------------------------------------------------------------------------------


def _merge_units(dags: Sequence[ScienceDag]) -> tuple[UnitSpace, list[dict[str, Ints]]]:
    """Return the union of unit tables, and for each shard its old code of a unit → the new one."""
    space = UnitSpace(dags[0].model, {})
    codes: list[dict[str, Ints]] = [{} for _ in dags]
    for unit in _in_order(dag.space.tables for dag in dags):  # as planned: parents and implied units first
        having = [(k, dag.space.tables[unit]) for k, dag in enumerate(dags) if unit in dag.space.tables]
        parents = space.model.unit(unit).parents
        keys = np.concatenate([np.asarray(table.keys) for _, table in having])
        rank = np.unique(keys, return_inverse=True)[1].astype(np.int64)
        links = {
            u: np.concatenate([_moved(codes[k][u], table.links[u]) for k, table in having])
            for u in _in_order(table.links for _, table in having)
        }
        by = [*(links[p] for p in parents), rank]
        groups = group(pack(by, [int(column.max(initial=0)) + 1 for column in by]))
        chosen, new = _representatives(groups.rows, groups.indptr, len(keys))
        # A link is null in a shard whose selection has no such instance: take it from one that has.
        whole = {u: np.full(len(chosen), -1, np.int32) for u in links}
        for u, column in links.items():
            known = column >= 0
            whole[u][new[known]] = column[known]
        space.tables[unit] = UnitTable(unit, keys[chosen], whole)
        begin = 0
        for k, table in having:
            codes[k][unit] = new[begin : begin + len(table)]
            begin += len(table)
    return space, codes


def _moved(codes: Ints, column: Any) -> npt.NDArray[np.int32]:
    """Return a column in new codes; null stays null."""
    old = np.asarray(column)
    if not len(codes):
        return np.full(len(old), -1, np.int32)
    return np.where(old < 0, np.int32(-1), codes[old]).astype(np.int32)


def _representatives(rows: Ints | None, indptr: Ints, n: int) -> tuple[Ints, npt.NDArray[np.int32]]:
    """Return the first row of each group, and the group of each row."""
    ordered = np.arange(n) if rows is None else rows
    new = np.empty(n, np.int32)
    new[ordered] = np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))
    return ordered[indptr[:-1]], new


def _columns_of(
    tables: Sequence[Any], codes: Sequence[dict[str, Ints]], units: Iterable[str]
) -> dict[str, npt.NDArray[np.int32]]:
    return {
        u: np.concatenate([_moved(c[u], t.columns[u]) for t, c in zip(tables, codes, strict=True)])
        for u in units
    }


# -- datasets ---------------------------------------------------------------------------------


def _merge_datasets(
    dags: Sequence[ScienceDag],
    dataset_type: type[Dataset],
    space: UnitSpace,
    codes: Sequence[dict[str, Ints]],
    rows: Sequence[dict[type[Dataset], Any]],
    spool: _Spool,
) -> DatasetTable:
    """Return the union of a type's tables; note in `rows` where each shard's rows went."""
    having = [k for k, dag in enumerate(dags) if dataset_type in dag.datasets]
    parts = [dags[k].datasets[dataset_type] for k in having]
    columns = _columns_of(parts, [codes[k] for k in having], parts[0].columns)
    n = sum(part.n for part in parts)
    groups = group(pack(list(columns.values()), space.sizes(columns), n=n))
    chosen, new = _representatives(groups.rows, groups.indptr, n)
    begin = 0
    for k, part in zip(having, parts, strict=True):
        rows[k][dataset_type] = spool.keep(new[begin : begin + part.n])
        begin += part.n
    merged: Columns = {u: spool.keep(column[chosen]) for u, column in columns.items()}
    table = DatasetTable(dataset_type, space, merged, len(chosen))
    if all(part.identities is not None for part in parts):
        found = np.concatenate([np.asarray(part.identities) for part in parts])
        if (found != found[chosen][new]).any():
            raise PreflightError(
                f"dataset type {dataset_type.name!r}: the shards were made from different states of the "
                "repository; make them again while nobody changes their inputs"
            )
        table.identities = spool.keep(found[chosen])
    if all(part.locations is not None for part in parts):
        table.locations = _merge_strings([part.locations for part in parts], chosen, spool)
    if all(part.sizes is not None for part in parts):
        table.sizes = spool.keep(np.concatenate([np.asarray(part.sizes) for part in parts])[chosen])
    return table


def _merge_strings(parts: Sequence[StringColumn], chosen: Ints, spool: _Spool) -> StringColumn:
    lengths = np.concatenate([np.diff(np.asarray(part.ends), prepend=0) for part in parts])
    starts = np.cumsum(lengths) - lengths
    heap = spool.keep_all((np.asarray(part.heap) for part in parts), (int(lengths.sum()),))[:]
    starts, lengths = starts[chosen], lengths[chosen]
    # In pieces, as the index of every byte takes eight bytes.
    pieces = (slice(begin, begin + _PIECE // 16) for begin in range(0, len(chosen), _PIECE // 16))
    taken = spool.keep_all((heap[expand(starts[p], lengths[p])] for p in pieces), (int(lengths.sum()),))
    return StringColumn(spool.keep(np.cumsum(lengths)), taken)


def _merge_producers(
    dags: Sequence[ScienceDag],
    nodes: Sequence[TaskNode],
    quanta: Sequence[QuantumTable],
    tables: dict[type[Dataset], DatasetTable],
    rows: Sequence[dict[type[Dataset], Any]],
    index: Sequence[Ints],
) -> dict[type[Dataset], Producers]:
    merged: dict[type[Dataset], Producers] = {}
    for node, table in zip(nodes, quanta, strict=True):
        for dataset_type, edges in table.outputs.items():
            having = [k for k, dag in enumerate(dags) if dataset_type in dag.producers]
            if all(dags[k].producers[dataset_type].quanta is None for k in having):
                merged[dataset_type] = Producers(node.first, edges)
                continue
            makers = np.full(tables[dataset_type].n, -1, np.int32)
            for k in having:
                old = dags[k].producers[dataset_type].table(dags[k].datasets[dataset_type].n)
                known = old >= 0
                makers[rows[k][dataset_type][:][known]] = index[k][old[known]]
            merged[dataset_type] = Producers(0, Edges(0), makers)
    return merged


# -- quanta -----------------------------------------------------------------------------------


class _Quanta:
    """The quanta of one task in all shards, and which of them stand for the others."""

    def __init__(
        self, dags: Sequence[ScienceDag], t: int, space: UnitSpace, codes: Sequence[dict[str, Ints]]
    ) -> None:
        self._parts = [dag.quantum_tables[t] for dag in dags]
        self._space = space
        self._label = dags[0].tasks[t].label
        self._begins = np.cumsum([0, *(part.n for part in self._parts)])
        n = int(self._begins[-1])
        columns = _columns_of(self._parts, codes, self._parts[0].columns)
        nodes = [dag.tasks[t] for dag in dags]
        found = np.concatenate(
            [np.asarray(d.identities)[m.first : m.first + m.count] for d, m in zip(dags, nodes, strict=True)]
        )
        key = pack(list(columns.values()), space.sizes(columns), n=n)
        self._with_parameters = any(part.parameters is not None for part in self._parts)
        if self._with_parameters:
            # Several quanta may have one data ID: what tells them apart is their identity.
            whole = np.ascontiguousarray(found).view("V16").ravel()
            rank = np.unique(whole, return_inverse=True)[1].astype(np.int64)
            key = pack([_ranks(key), rank], [n + 1, n + 1])
        groups = group(key)
        self._chosen, self._new = _representatives(groups.rows, groups.indptr, n)
        self.n = len(self._chosen)
        self.identities = found[self._chosen]
        self._columns = {u: column[self._chosen] for u, column in columns.items()}
        self._check_same(found)

    def _check_same(self, found: npt.NDArray[np.uint8]) -> None:
        differ = np.zeros(len(found), bool)
        for begin in range(0, len(found), _PIECE):
            piece = slice(begin, begin + _PIECE)
            differ[piece] = (found[piece] != self.identities[self._new[piece]]).any(axis=1)
        if not differ.any():
            return
        row = int(np.flatnonzero(differ)[0])
        dataId = self._space.data_ids(self._columns, np.array([self._new[row]]))[0]
        raise PreflightError(
            f"task {self._label!r}: {int(differ.sum())} quanta were planned differently in two shards, one "
            f"of them {dataId}; what they gather lies in several shards. Choose another unit for the shards, "
            "or plan in one piece"
        )

    def moved(self, k: int) -> npt.NDArray[np.int32]:
        """Return the new number, within the task, of each of a shard's quanta."""
        return self._new[self._begins[k] : self._begins[k + 1]]

    def table(
        self,
        rows: Sequence[dict[type[Dataset], Any]],
        tables: dict[type[Dataset], DatasetTable],
        spool: _Spool,
        numbers: Sequence[npt.NDArray[Any]] | None,
    ) -> QuantumTable:
        """Return the union, each quantum once; `numbers` gives the new number of each shard's variants."""
        inputs, outputs = (
            {t: self._edges([p.get(t) for p in parts], t, rows, spool) for t in _in_order(parts)}
            for parts in ([p.inputs for p in self._parts], [p.outputs for p in self._parts])
        )
        parameters = None
        if self._with_parameters:
            everything = list(itertools.chain.from_iterable(p.parameters or () for p in self._parts))
            parameters = [everything[i] for i in self._chosen.tolist()]
        return QuantumTable(
            self._label,
            self._space,
            {u: spool.keep(column) for u, column in self._columns.items()},
            self.n,
            inputs,
            outputs,
            {t: tables[t] for t in [*inputs, *outputs]},
            parameters,
            None if numbers is None else spool.keep(self._variants(numbers)),
        )

    def _variants(self, numbers: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        parts = [
            np.full(part.n, new[0]) if part.variants is None else new[part.variants[:]]
            for part, new in zip(self._parts, numbers, strict=True)
        ]
        whole: npt.NDArray[Any] = np.concatenate(parts)[self._chosen]
        return whole

    def _edges(
        self,
        parts: Sequence[Edges | None],
        dataset_type: type[Dataset],
        rows: Sequence[dict[type[Dataset], Any]],
        spool: _Spool,
    ) -> Edges:
        counts, starts, moved = [], [], []
        begin = 0
        for part, table, new in zip(parts, self._parts, rows, strict=True):
            own = np.zeros(table.n, np.int64) if part is None else part.counts()
            counts.append(own)
            starts.append(begin + np.cumsum(own) - own)
            begin += int(own.sum())
            if part is not None:
                moved.append(new[dataset_type][:][part.all_rows()])
        how_many = np.concatenate(counts)[self._chosen]
        places = expand(np.concatenate(starts)[self._chosen], how_many)
        edges = Edges.from_counts(how_many, np.concatenate(moved)[places])
        indptr = None if edges.indptr is None else spool.keep(edges.indptr)
        whole = len(edges.rows) and edges.rows[0] == 0 and bool((np.diff(edges.rows) == 1).all())
        return Edges(self.n, indptr, None if whole else spool.keep(edges.rows))


def _ranks(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for each key how many distinct ones are less."""
    groups = group(keys)
    return _representatives(groups.rows, groups.indptr, len(keys))[1].astype(np.int64)


# -- what is told of the plan -----------------------------------------------------------------


def _merge_left_out(
    dags: Sequence[ScienceDag], space: UnitSpace, codes: Sequence[dict[str, Ints]]
) -> list[LeftOut]:
    found: dict[tuple[str, str, tuple[str, ...]], list[tuple[int, LeftOut]]] = {}
    for k, dag in enumerate(dags):
        for part in dag.left_out:
            found.setdefault((part.label, part.why, tuple(part.columns)), []).append((k, part))
    merged = []
    for (label, why, units), parts in found.items():
        columns = _columns_of([p for _, p in parts], [codes[k] for k, _ in parts], units)
        n = len(next(iter(columns.values()), ()))
        groups = group(pack(list(columns.values()), space.sizes(units), n=n))
        chosen, _ = _representatives(groups.rows, groups.indptr, n)
        merged.append(LeftOut(label, why, {u: column[chosen] for u, column in columns.items()}))
    return merged


def _merge_trimmed(dags: Sequence[ScienceDag], nodes: Sequence[TaskNode]) -> tuple[Trimmed, ...]:
    """Add up what the expression took in each shard; a quantum that two of them have counts at most once."""
    planned = {node.label: node.count for node in nodes}
    found: dict[tuple[str, str, tuple[str, ...]], Trimmed] = {}
    for dag in dags:
        for part in dag.meta.trimmed:
            name = (part.label, part.dataset_type, part.conditions)
            before = found.get(name)
            if before is None:
                found[name] = attrs.evolve(part, quanta=planned[part.label])
                continue
            looked_at = min(before.looked_at + part.looked_at, before.quanta)
            found[name] = attrs.evolve(
                before,
                looked_at=looked_at,
                fewer=min(before.fewer + part.fewer, looked_at),
                have=before.have + part.have,
                would_have=before.would_have + part.would_have,
            )
    return tuple(found.values())


def _merge_steps(dags: Sequence[ScienceDag], nodes: Sequence[TaskNode]) -> tuple[tuple[str, str, int], ...]:
    """Return the steps of all shards; what two of them read was read twice, and is said to be a sum."""
    planned = {node.label: node.count for node in nodes}
    counts: dict[tuple[str, str], int] = {}
    for dag in dags:
        for label, what, count in dag.meta.steps:
            counts[label, what] = counts.get((label, what), 0) + count
    return tuple(
        (label, what, planned[label])
        if what == "quanta planned"
        else (label, f"{what} (in all {len(dags)} shards together)", count)
        for (label, what), count in counts.items()
    )
