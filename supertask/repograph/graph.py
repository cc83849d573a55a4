"""RepoGraph: what the selected part of a repository holds and, step by step, will hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import PreflightError, did_you_mean
from supertask.quanta import Quantum
from supertask.repograph.columns import Edges, expand, group, pack
from supertask.repograph.relate import Rows, group_rows, match
from supertask.repograph.space import Columns, UnitSet, UnitSpace
from supertask.repograph.tables import DatasetTable, QuantumTable, RelationTable
from supertask.units import FieldKind

__all__ = ["DatasetTables", "GroupedQuanta", "RepoGraph", "Select", "Step", "Validity"]

Select = Mapping[str, Any]
"""Which datasets of an input are meant: ``{"exposure.obs_type": "bias"}``, values or lists of them."""


@attrs.frozen(eq=False)
class Step:
    """One step of planning and what it left: how an empty or thin plan is explained."""

    what: str
    count: int
    left_out: Columns | None = None
    """Of a step that left out quanta: what they were, in codes."""

    def __str__(self) -> str:
        return f"{self.count:>9,}  {self.what}"


@attrs.frozen(eq=False)
class Validity:
    """When the rows of a calibration's table are valid, and which collection goes first."""

    begin: npt.NDArray[np.int64]
    """Shape (n,), TAI ns, inclusive."""
    end: npt.NDArray[np.int64]
    """Shape (n,), TAI ns, exclusive."""
    rank: npt.NDArray[np.int64]
    """Shape (n,): position of the collection in the search path."""


class DatasetTables(Mapping[type[Dataset], DatasetTable]):
    """Dataset type → set of its datasets. A type that has none yet gives an empty set."""

    def __init__(self, space: UnitSpace, tables: Mapping[type[Dataset], DatasetTable]) -> None:
        self._space = space
        self._tables = dict(tables)

    def __getitem__(self, dataset_type: type[Dataset]) -> DatasetTable:
        table = self._tables.get(dataset_type)
        if table is None:
            leaves = self._space.model.leaves(self._space.model.closure(dataset_type.units))
            missing = [u for u in leaves if u not in self._space.tables]
            if missing:
                raise PreflightError(
                    f"dataset type {dataset_type.name!r} is by {', '.join(missing)}, but no dataset type "
                    "that the pipeline declares is: declare it in the task's config"
                )
            columns = {u: np.empty(0, np.int32) for u in leaves}
            table = self._tables[dataset_type] = DatasetTable(dataset_type, self._space, columns, 0)
        table.settle()
        return table

    def __iter__(self) -> Iterator[type[Dataset]]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def put(self, table: DatasetTable) -> None:
        """Set the table of a type."""
        self._tables[table.dataset_type] = table


class RepoGraph:
    """What `SuperTask.defineQuanta` reads and adds to.

    Parameters
    ----------
    space : UnitSpace
        Unit tables.
    datasets : Mapping, optional
        Dataset type → table, of what is there.
    relations : Mapping, optional
        Relation → table.
    validity : Mapping, optional
        Calibration type → when each row of its table is valid.

    Attributes
    ----------
    units : Mapping
        Unit → set of the data IDs of its instances.
    datasets : Mapping
        Dataset type → set of its datasets.
    """

    def __init__(
        self,
        space: UnitSpace,
        datasets: Mapping[type[Dataset], DatasetTable] | None = None,
        relations: Mapping[str, RelationTable] | None = None,
        validity: Mapping[type[Dataset], Validity] | None = None,
    ) -> None:
        self.space = space
        self.model = space.model
        self.relations = dict(relations or {})
        self.validity = dict(validity or {})
        self.units: Mapping[str, UnitSet] = {u: UnitSet(space, u) for u in space.tables}
        self.datasets = DatasetTables(space, datasets or {})

    def addDataset(self, dataset: Dataset) -> Dataset:
        """Add a dataset that the task will produce.

        Returns
        -------
        Dataset
            An equal handle, which is quicker to look up here than the one given.

        Raises
        ------
        PreflightError
            No task of the pipeline declares its units.
        """
        table = self.datasets._tables.get(type(dataset))
        return (self.datasets[type(dataset)] if table is None else table).add(dataset)

    def column(self, dataset_type: type[Dataset], unit: str, field: str | None = None) -> list[Any]:
        """Return the value of any unit that a type's datasets determine, or of a field of it.

        Returns
        -------
        list
            One for each dataset, in the order of iteration; None where null.
        """
        table = self.datasets[dataset_type]
        values = self.space.tables[unit].keys if field is None else self.space.field(unit, field)
        codes = self.space.column(table.columns, unit)
        known = values.tolist()
        return [known[c] if c >= 0 else None for c in codes.tolist()]

    def related(self, relation: str) -> list[DataId]:
        """Return the rows of a relation, each as a data ID with the units of both sides.

        Raises
        ------
        PreflightError
            The relation was not read, as no task of the pipeline speaks of both its sides.
        """
        if relation not in self.relations:
            raise PreflightError(
                f"relation {relation!r} is not here{did_you_mean(relation, self.relations)}: no task of the "
                "pipeline declares units of both its sides"
            )
        return self.space.data_ids(self.relations[relation].columns)

    def group(
        self, dataset_type: type[Dataset], by: Iterable[str] | str, *, select: Select | None = None
    ) -> GroupedQuanta:
        """Make one quantum for each distinct value of some units among the datasets of a type.

        Parameters
        ----------
        dataset_type : dataset type
            Its datasets become the inputs of the quanta, each of those it belongs to.
        by : iterable of str
            Units of the quanta. Units that the type's do not determine are reached through a
            relation of the unit model.
        select : Mapping, optional
            Only datasets with these values of units or fields.

        Raises
        ------
        PreflightError
            Neither the type's units nor a relation determine `by`.
        """
        by = (by,) if isinstance(by, str) else tuple(by)
        table = self.datasets[dataset_type]
        rows, steps = self._selected(table, select)
        grouping = group_rows(self.space, self.relations, _rows_of(table, rows), by)
        if grouping is None:
            raise PreflightError(
                f"cannot group {dataset_type.name!r} ({', '.join(dataset_type.units)}) by "
                f"({', '.join(by)}): neither its units nor a relation of unit model "
                f"{self.model.name!r} determine them"
            )
        edges = grouping.edges
        if rows is not None:
            edges = Edges(edges.n, edges.indptr, rows[edges.all_rows()].astype(np.int32))
        quanta = QuantumTable(
            "", self.space, grouping.columns, grouping.n, {dataset_type: edges}, {}, {dataset_type: table}
        )
        steps.append(Step(f"quanta after grouping by ({', '.join(by)})", grouping.n))
        return GroupedQuanta(self, quanta, tuple(steps))

    def quanta(self, units: Iterable[str] | str) -> GroupedQuanta:
        """Make one quantum for each combination of instances of some units, with no inputs yet.

        Combinations that a relation of the unit model speaks of must stand in it.
        """
        units = (units,) if isinstance(units, str) else tuple(units)
        leaves = self.model.leaves(self.model.closure(units))
        columns: Columns = {}
        n = 1
        for unit in leaves:
            own: Columns = {unit: np.arange(self.space.size(unit), dtype=np.int32)}
            if not columns:
                columns, n = own, len(own[unit])
                continue
            try:
                edges = match(self.space, self.relations, Rows(columns, n), Rows(own, len(own[unit])))
            except PreflightError:  # unrelated units: every pair
                size = self.space.size(unit)
                edges = Edges.from_counts(np.full(n, size), np.tile(np.arange(size), n))
            owners = edges.owners()
            columns = {u: c[owners] for u, c in columns.items()} | {unit: edges.all_rows()}
            n = len(owners)
        for name, relation in self.relations.items():
            sides = self.model.relation(name)
            if all(self.space.determines(columns, u) for u in sides.left + sides.right):
                edges = match(self.space, {}, Rows(columns, n), Rows(relation.columns, len(relation)))
                keep = np.flatnonzero(edges.counts() > 0)
                columns, n = {u: c[keep] for u, c in columns.items()}, len(keep)
        table = QuantumTable("", self.space, columns, n)
        order = group(table.key()).rows
        if order is not None:
            table = table.take(order)
        return GroupedQuanta(self, table, (Step(f"combinations of ({', '.join(units)})", n),))

    def _selected(
        self, table: DatasetTable, select: Select | None
    ) -> tuple[npt.NDArray[np.int64] | None, list[Step]]:
        """Return the rows that `select` admits, None for all of them."""
        steps = [Step(f"datasets {table.dataset_type.name!r}", table.n)]
        if not select:
            return None, steps
        keep = np.ones(table.n, bool)
        for name, wanted in select.items():
            keep &= self._has_value(table, name, wanted)
            steps.append(
                Step(f"{table.dataset_type.name!r} with {name} in {_as_tuple(wanted)}", int(keep.sum()))
            )
        return np.flatnonzero(keep), steps

    def _has_value(self, table: DatasetTable, name: str, wanted: Any) -> npt.NDArray[np.bool_]:
        unit, _, field = name.partition(".")
        values = self.space.field(unit, field) if field else self.space.tables[unit].keys
        good = np.isin(values, np.array(_as_tuple(wanted), dtype=values.dtype))
        if field in self.space.tables[unit].nulls:
            good &= ~self.space.tables[unit].nulls[field]
        codes = self.space.column(table.columns, unit)
        keep: npt.NDArray[np.bool_] = codes >= 0
        if len(good):
            keep = keep & good[codes]
        return keep


@attrs.frozen(eq=False)
class GroupedQuanta(Sequence[Quantum]):
    """Quanta in the making: what a vectorised `defineQuanta` builds and returns.

    Each method returns a new one. It is itself a sequence of `Quantum` objects, made on demand.

    Examples
    --------
    >>> def defineQuanta(self, repoGraph):
    ...     return (
    ...         repoGraph.group(self.config.warp, by=("patch", "band"))
    ...         .join(self.config.template, minimum=0)
    ...         .produce(self.config.coadd)
    ...     )
    """

    graph: RepoGraph
    table: QuantumTable
    steps: tuple[Step, ...] = ()
    """What was done, with how many quanta it left."""

    def __len__(self) -> int:
        return self.table.n

    def __getitem__(self, index: Any) -> Any:
        return self.table[index]

    def join(
        self,
        dataset_type: type[Dataset],
        *,
        minimum: int = 1,
        select: Select | None = None,
    ) -> GroupedQuanta:
        """Give each quantum the datasets of a type that belong to it.

        They belong together by units in common, parents and implied values, by relations of the unit
        model, and for certified calibrations by time.

        Parameters
        ----------
        dataset_type : dataset type
            What to add to the inputs.
        minimum : int, optional
            Quanta with fewer are left out, with their reason kept.
        select : Mapping, optional
            Only datasets with these values of units or fields.
        """
        graph = self.graph
        if self.table.outputs:
            raise PreflightError("join inputs before producing outputs: quanta may be left out by a join")
        datasets = graph.datasets[dataset_type]
        rows, _ = graph._selected(datasets, select)
        quanta = Rows(self.table.columns, self.table.n)
        edges = match(graph.space, graph.relations, quanta, _rows_of(datasets, rows))
        if rows is not None:
            edges = Edges(edges.n, edges.indptr, rows[edges.all_rows()].astype(np.int32))
        if dataset_type in graph.validity:
            edges = _valid_at(graph, self.table, edges, graph.validity[dataset_type])
        table = attrs.evolve(
            self.table,
            inputs={**self.table.inputs, dataset_type: edges},
            tables={**self.table.tables, dataset_type: datasets},
        )
        new = attrs.evolve(self, table=table)
        return new.require(dataset_type, minimum) if minimum else new

    def require(self, dataset_type: type[Dataset], minimum: int) -> GroupedQuanta:
        """Leave out quanta with fewer than `minimum` inputs of a type."""
        there = self.table.tables[dataset_type].n
        words = f"quanta with at least {minimum} {dataset_type.name!r} (there are {there})"
        return self.where(self.counts(dataset_type) >= minimum, words)

    def where(self, keep: npt.NDArray[np.bool_], why: str) -> GroupedQuanta:
        """Keep only some quanta.

        Parameters
        ----------
        keep : numpy.ndarray
            Shape (n,), bool.
        why : str
            What those that stay have in common, for the explanation of the plan.

        Raises
        ------
        PreflightError
            `keep` does not have one value for each quantum.
        """
        keep = np.asarray(keep, bool)
        if keep.shape != (self.table.n,):
            raise PreflightError(f"{keep.shape} values do not say which of {self.table.n} quanta to keep")
        if keep.all():
            return attrs.evolve(self, steps=(*self.steps, Step(why, self.table.n)))
        dropped = np.flatnonzero(~keep)
        step = Step(why, int(keep.sum()), {u: c[dropped] for u, c in self.table.columns.items()})
        return attrs.evolve(self, table=self.table.take(np.flatnonzero(keep)), steps=(*self.steps, step))

    def trim(self, dataset_type: type[Dataset], keep: npt.NDArray[np.bool_], why: str) -> GroupedQuanta:
        """Keep only some of the inputs of a type.

        Parameters
        ----------
        dataset_type : dataset type
            The inputs.
        keep : numpy.ndarray
            Shape (edges,), bool: for each quantum after quantum, each of its inputs in order, as
            `input_column` gives their values.
        why : str
            What those that stay have in common, for the explanation of the plan.

        Raises
        ------
        PreflightError
            `keep` does not have one value for each input.
        """
        edges = self.table.inputs[dataset_type]
        keep = np.asarray(keep, bool)
        if keep.shape != (edges.count,):
            raise PreflightError(f"{keep.shape} values do not say which of {edges.count} inputs to keep")
        counts = np.bincount(edges.owners()[keep], minlength=edges.n)
        trimmed = Edges.from_counts(counts, edges.all_rows()[keep])
        inputs = {**self.table.inputs, dataset_type: trimmed}
        step = Step(f"inputs {dataset_type.name!r}: {why}", int(keep.sum()))
        return attrs.evolve(self, table=attrs.evolve(self.table, inputs=inputs), steps=(*self.steps, step))

    def input_column(
        self, dataset_type: type[Dataset], unit: str, field: str | None = None
    ) -> npt.NDArray[Any]:
        """Return the value of a unit, or of a field of it, for every input of a type, shape (edges,)."""
        space, table = self.graph.space, self.table.tables[dataset_type]
        values = space.tables[unit].keys if field is None else space.field(unit, field)
        return values[space.column(table.columns, unit)[self.table.inputs[dataset_type].all_rows()]]

    def owners(self, dataset_type: type[Dataset]) -> npt.NDArray[np.int32]:
        """Return the position of the quantum that each input of a type belongs to, shape (edges,)."""
        return self.table.inputs[dataset_type].owners()

    def column(self, unit: str, field: str | None = None) -> npt.NDArray[Any]:
        """Return the value of a unit, or of a field of it, for every quantum, shape (n,)."""
        space = self.graph.space
        values = space.tables[unit].keys if field is None else space.field(unit, field)
        return values[space.column(self.table.columns, unit)]

    def counts(self, dataset_type: type[Dataset]) -> npt.NDArray[np.int64]:
        """Return how many inputs of a type every quantum has, shape (n,)."""
        return self.table.inputs[dataset_type].counts()

    def produce(self, dataset_type: type[Dataset]) -> GroupedQuanta:
        """Let each quantum produce the datasets of a type that its units, or its inputs, label.

        Raises
        ------
        PreflightError
            The type's units do not follow from those of the quantum or of one of its inputs, or two
            quanta would produce one dataset.
        """
        space = self.graph.space
        model = space.model
        leaves = model.leaves(model.closure(dataset_type.units))
        if self.graph.datasets[dataset_type].n:
            raise PreflightError(f"datasets {dataset_type.name!r} are there already: produced twice?")
        own = self.table
        if all(space.determines(own.columns, u) for u in leaves):
            columns = {u: space.column(own.columns, u) for u in leaves}
            edges = Edges(own.n)
            n = own.n
        else:
            columns, edges, n = self._spread(dataset_type, leaves)
        datasets = DatasetTable(dataset_type, space, columns, n)
        self._check_single(dataset_type, columns, n)
        self.graph.datasets.put(datasets)
        table = attrs.evolve(
            own,
            outputs={**own.outputs, dataset_type: edges},
            tables={**own.tables, dataset_type: datasets},
        )
        return attrs.evolve(self, table=table)

    def _spread(self, dataset_type: type[Dataset], leaves: tuple[str, ...]) -> tuple[Columns, Edges, int]:
        """Rows for outputs with more units than the quantum: one for each value among an input's."""
        space, own = self.graph.space, self.table
        for input_type, edges in own.inputs.items():
            given = own.tables[input_type].columns
            if not all(space.determines({**given, **own.columns}, u) for u in leaves):
                continue
            owners, rows = edges.owners(), edges.all_rows()
            joined = {u: c[rows] for u, c in given.items()} | {u: c[owners] for u, c in own.columns.items()}
            codes = [space.column(joined, u) for u in leaves]
            groups = group(pack([owners, *codes], [own.n, *space.sizes(leaves)]))
            first = groups.indptr[:-1] if groups.rows is None else groups.rows[groups.indptr[:-1]]
            counts = np.bincount(owners[first], minlength=own.n)
            columns = {u: c[first] for u, c in zip(leaves, codes, strict=True)}
            starts = np.cumsum(counts) - counts
            return columns, Edges.from_counts(counts, expand(starts, counts)), len(first)
        raise PreflightError(
            f"cannot tell which {dataset_type.name!r} ({', '.join(dataset_type.units)}) a quantum by "
            f"({', '.join(own.columns)}) produces: no input has these units; use addDataset in a "
            "defineQuanta of your own"
        )

    def _check_single(self, dataset_type: type[Dataset], columns: Columns, n: int) -> None:
        if tuple(columns) == tuple(self.table.columns):
            return
        key = pack(list(columns.values()), self.graph.space.sizes(columns), n=n)
        groups = group(key)
        if bool((np.diff(groups.indptr) > 1).any()):
            raise PreflightError(
                f"several quanta by ({', '.join(self.table.columns)}) would each produce the same "
                f"{dataset_type.name!r} ({', '.join(dataset_type.units)}); give the output all units of the "
                "quantum, or the quantum fewer"
            )


def _rows_of(table: DatasetTable, rows: npt.NDArray[np.int64] | None) -> Rows:
    if rows is None:
        return Rows(table.columns, table.n)
    return Rows({u: c[rows] for u, c in table.columns.items()}, len(rows))


def _as_tuple(wanted: Any) -> tuple[Any, ...]:
    return tuple(wanted) if isinstance(wanted, tuple | list | set | frozenset) else (wanted,)


def _valid_at(graph: RepoGraph, quanta: QuantumTable, edges: Edges, validity: Validity) -> Edges:
    """Of the calibrations that belong by units, keep the first that is valid at the quantum's time."""
    times = _quantum_times(graph, quanta)
    owners, rows = edges.owners(), edges.all_rows()
    at = times[owners]
    good = np.flatnonzero((validity.begin[rows] <= at) & (at < validity.end[rows]))
    owners, rows = owners[good], rows[good]
    order = np.lexsort((rows, validity.rank[rows], owners))
    owners, rows = owners[order], rows[order]
    first = np.ones(len(owners), bool)
    first[1:] = owners[1:] != owners[:-1]
    return Edges.from_counts(np.bincount(owners[first], minlength=quanta.n), rows[first])


def _quantum_times(graph: RepoGraph, quanta: QuantumTable) -> npt.NDArray[np.int64]:
    model = graph.model
    for unit in reversed(model.determined(quanta.columns)):
        for field in model.unit(unit).fields:
            if field.kind is FieldKind.TIME and unit in graph.space.tables:
                codes = graph.space.column(quanta.columns, unit)
                values: npt.NDArray[np.int64] = graph.space.field(unit, field.name)[codes]
                return values
    raise PreflightError(
        f"a certified calibration is looked up by time, but no unit of ({', '.join(quanta.columns)}) has a "
        "field of kind time"
    )
