"""Quanta in the making: what a vectorised `defineQuanta` builds and returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.datasets import Dataset
from supertask.errors import PreflightError
from supertask.quanta import Quantum
from supertask.repograph.columns import Edges, expand, group, pack
from supertask.repograph.holdings import Holdings, Select, Step, Validity
from supertask.repograph.relate import Rows, match
from supertask.repograph.space import Columns
from supertask.repograph.tables import DatasetTable, QuantumTable
from supertask.units import FieldKind

__all__ = ["GroupedQuanta", "rows_of"]


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

    graph: Holdings
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
        rows, _ = graph.selected(datasets, select)
        quanta = Rows(self.table.columns, self.table.n)
        edges = match(graph.space, graph.relations, quanta, rows_of(datasets, rows))
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


def rows_of(table: DatasetTable, rows: npt.NDArray[np.int64] | None) -> Rows:
    """Return some rows of a table, or all of them."""
    if rows is None:
        return Rows(table.columns, table.n)
    return Rows({u: c[rows] for u, c in table.columns.items()}, len(rows))


def _valid_at(graph: Holdings, quanta: QuantumTable, edges: Edges, validity: Validity) -> Edges:
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


def _quantum_times(graph: Holdings, quanta: QuantumTable) -> npt.NDArray[np.int64]:
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
