"""Quanta in the making: what a vectorised `defineQuanta` builds and returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.connections.inputlookups import Find, When
from supertask.datasets import Dataset
from supertask.errors import PreflightError
from supertask.quanta import Quantum
from supertask.repograph.columns import Edges, expand, group, pack
from supertask.repograph.holdings import Holdings, Select, Step, Validity
from supertask.repograph.relate import Rows, match
from supertask.repograph.space import Columns
from supertask.repograph.tables import DatasetTable, QuantumTable
from supertask.repograph.timely import look_up_by_time, times_of

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
        whole: bool = False,
        when: When = When.VALID,
        max_gap: int | None = None,
        alike: Iterable[str] = (),
        find: Find | None = None,
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
        whole : bool, optional
            Whether all of them are meant, not only those that the expression selects.
        when, max_gap, alike, find : optional
            Look-ups by time, and of one's own, as for `InputField`; `max_gap` is in nanoseconds.

        Raises
        ------
        PreflightError
            Nothing relates the two, outputs were produced before (unless `minimum` is 0), or `find`
            did not return pairs of rows.
        """
        graph = self.graph
        if self.table.outputs and minimum:
            raise PreflightError("join inputs before producing outputs: quanta may be left out by a join")
        datasets = graph.datasets[dataset_type]
        whole = whole or when is not When.VALID or find is not None
        rows, _ = graph.selected(datasets, select, whole=whole)
        quanta = Rows(self.table.columns, self.table.n)
        if find is not None:
            edges = self._found(find, datasets)
        elif when is not When.VALID:
            edges = look_up_by_time(
                graph.space, quanta, rows_of(datasets, rows), dataset_type.units,
                before=when is When.LATEST_BEFORE, max_gap=max_gap, alike=alike,
            )  # fmt: skip
        else:
            relations = graph.wider if whole else graph.relations
            edges = match(graph.space, relations, quanta, rows_of(datasets, rows))
        if rows is not None:
            edges = Edges(edges.n, edges.indptr, rows[edges.all_rows()].astype(np.int32))
        if dataset_type in graph.validity and when is When.VALID and find is None:
            edges = _valid_at(graph, self.table, edges, graph.validity[dataset_type])
        table = attrs.evolve(
            self.table,
            inputs={**self.table.inputs, dataset_type: edges},
            tables={**self.table.tables, dataset_type: datasets},
        )
        new = attrs.evolve(self, table=table)
        return new.require(dataset_type, minimum) if minimum else new

    def _found(self, find: Find, datasets: DatasetTable) -> Edges:
        """Return the pairs that a look-up function gives."""
        name = datasets.dataset_type.name
        try:
            owners, rows = (np.asarray(column) for column in find(self, self.graph))
        except (TypeError, ValueError) as error:
            raise PreflightError(
                f"the look-up of {name!r} must return two columns, quanta and rows of datasets: {error}"
            ) from error
        if owners.shape != rows.shape or owners.ndim != 1:
            raise PreflightError(
                f"the look-up of {name!r} returned columns of shapes {owners.shape} and {rows.shape}: give "
                "one value of each for each pair"
            )
        return self._paired(name, owners, rows, datasets.n)

    def _paired(self, name: str, owners: npt.NDArray[Any], rows: npt.NDArray[Any], there: int) -> Edges:
        for column, n, what in ((owners, self.table.n, "quanta"), (rows, there, f"datasets {name!r}")):
            if len(column) and column.dtype.kind not in "iu":
                raise PreflightError(f"positions of {what} are whole numbers, got {column.dtype}")
            if len(column) and (int(column.min()) < 0 or int(column.max()) >= n):
                raise PreflightError(
                    f"there are {n} {what}, and positions from {column.min()} to {column.max()} were given"
                )
        return Edges.from_pairs(self.table.n, owners.astype(np.int64), rows.astype(np.int64))

    def extend(
        self, dataset_type: type[Dataset], owners: npt.ArrayLike, rows: npt.ArrayLike, why: str
    ) -> GroupedQuanta:
        """Give quanta further inputs of a type.

        Parameters
        ----------
        dataset_type : dataset type
            One that the task's config declares.
        owners, rows : array_like
            Shape (k,), int: the position of a quantum, and the row of a dataset in
            ``repoGraph.datasets[dataset_type]``; pairs that are there already count once.
        why : str
            What was added, for the explanation of the plan.

        Raises
        ------
        PreflightError
            A position is that of no quantum, or of no dataset.
        """
        datasets = self.graph.datasets[dataset_type]
        new_owners, new_rows = np.asarray(owners), np.asarray(rows)
        if new_owners.shape != new_rows.shape or new_owners.ndim != 1:
            raise PreflightError("give one quantum and one row for each input to add")
        added = self._paired(dataset_type.name, new_owners, new_rows, datasets.n)
        before = self.table.inputs.get(dataset_type)
        pairs = [e for e in (before, added) if e is not None]
        edges = Edges.from_pairs(
            self.table.n,
            np.concatenate([e.owners() for e in pairs]),
            np.concatenate([e.all_rows() for e in pairs]),
        )
        table = attrs.evolve(
            self.table,
            inputs={**self.table.inputs, dataset_type: edges},
            tables={**self.table.tables, dataset_type: datasets},
        )
        step = Step(f"inputs {dataset_type.name!r}: {why}", edges.count)
        return attrs.evolve(self, table=table, steps=(*self.steps, step))

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
        keep = _mask(keep, self.table.n, "quanta")
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
        keep = _mask(keep, edges.count, "inputs")
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
    times = times_of(graph.space, Rows(quanta.columns, quanta.n))
    if times is None:
        raise PreflightError(
            f"a certified calibration is looked up by time, but no unit of ({', '.join(quanta.columns)}) has "
            "a field of kind time"
        )
    return times


def _mask(keep: Any, n: int, what: str) -> npt.NDArray[np.bool_]:
    """Return which of `n` quanta or inputs to keep."""
    mask = np.asarray(keep)
    if mask.shape != (n,):
        raise PreflightError(f"{mask.shape} values do not say which of {n} {what} to keep")
    if n and mask.dtype != bool:
        raise PreflightError(
            f"which {what} to keep is said by true and false for each of them, got {mask.dtype}: compare the "
            "values with something"
        )
    return mask.astype(bool, copy=False)
