"""RepoGraph: what the selected part of a repository holds and, step by step, will hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import PreflightError, did_you_mean
from supertask.repograph.columns import Edges, group
from supertask.repograph.grouped import GroupedQuanta, rows_of
from supertask.repograph.holdings import Holdings, Select, Step
from supertask.repograph.relate import Rows, group_rows, match
from supertask.repograph.space import Columns
from supertask.repograph.tables import QuantumTable

__all__ = ["RepoGraph"]


class RepoGraph(Holdings):
    """What `SuperTask.defineQuanta` reads and adds to; parameters and attributes are those of `Holdings`.

    Examples
    --------
    >>> def defineQuanta(self, repoGraph):
    ...     for raw in repoGraph.datasets[self.config.raw]:
    ...         print(raw.dataId["visit"])
    """

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

    def is_selected(self, dataset_type: type[Dataset]) -> list[bool]:
        """Return of each dataset of a type, in the order of iteration, whether the expression selects it.

        All are, but for inputs that some task wants whole: of these there are more, to gather and not
        to make quanta of.
        """
        table = self.datasets[dataset_type]
        beyond = self.beyond.get(dataset_type)
        return [True] * len(table) if beyond is None else (~beyond).tolist()

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
        self,
        dataset_type: type[Dataset],
        by: Iterable[str] | str,
        *,
        select: Select | None = None,
        whole: bool = False,
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
        whole : bool, optional
            Whether a quantum gets all its datasets, not only those that the expression selects.

        Raises
        ------
        PreflightError
            Neither the type's units nor a relation determine `by`.
        """
        by = (by,) if isinstance(by, str) else tuple(by)
        table = self.datasets[dataset_type]
        rows, steps = self.selected(table, select)
        grouping = group_rows(self.space, self.relations, rows_of(table, rows), by)
        if grouping is None:
            raise PreflightError(
                f"cannot group {dataset_type.name!r} ({', '.join(dataset_type.units)}) by "
                f"({', '.join(by)}): neither its units nor a relation of unit model "
                f"{self.model.name!r} determine them"
            )
        edges = grouping.edges
        if whole and dataset_type in self.beyond:
            rows, _ = self.selected(table, select, whole=True)
            quanta_rows = Rows(grouping.columns, grouping.n)
            edges = match(self.space, self.wider, quanta_rows, rows_of(table, rows))
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
            own: Columns = {unit: self.units[unit].codes}
            if not columns:
                columns, n = own, len(own[unit])
                continue
            try:
                edges = match(self.space, self.relations, Rows(columns, n), Rows(own, len(own[unit])))
            except PreflightError:  # unrelated units: every pair
                size = len(own[unit])
                edges = Edges.from_counts(np.full(n, size), np.tile(np.arange(size), n))
            owners = edges.owners()
            columns = {u: c[owners] for u, c in columns.items()} | {unit: own[unit][edges.all_rows()]}
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
