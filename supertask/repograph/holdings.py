"""Holdings: the tables of a RepoGraph, which quanta are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.datasets import Dataset
from supertask.errors import PreflightError
from supertask.repograph.space import Columns, UnitSet, UnitSpace
from supertask.repograph.tables import DatasetTable, RelationTable

__all__ = ["DatasetTables", "Holdings", "Select", "Step", "Validity"]

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


class Holdings:
    """Tables of units, datasets and relations.

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
    beyond, beyond_units : Mapping, optional
        Type, and unit → mask of what the expression does not select, and that was read for the sake of
        inputs that it must not trim.
    wider : Mapping, optional
        Relation → table with the rows that such inputs need, where it has more than the selected ones.

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
        beyond: Mapping[type[Dataset], npt.NDArray[np.bool_]] | None = None,
        beyond_units: Mapping[str, npt.NDArray[np.bool_]] | None = None,
        wider: Mapping[str, RelationTable] | None = None,
    ) -> None:
        self.space = space
        self.model = space.model
        self.relations = dict(relations or {})
        self.validity = dict(validity or {})
        self.beyond_units = dict(beyond_units or {})
        self.units: Mapping[str, UnitSet] = {
            u: UnitSet(space, u, None if u not in self.beyond_units else ~self.beyond_units[u])
            for u in space.tables
        }
        self.datasets = DatasetTables(space, datasets or {})
        self.beyond = dict(beyond or {})
        self.wider = {**self.relations, **(wider or {})}

    def selected(
        self, table: DatasetTable, select: Select | None, *, whole: bool = False
    ) -> tuple[npt.NDArray[np.int64] | None, list[Step]]:
        """Return the rows of a table that `select` admits, None for all of them, and what was done.

        What was read for the sake of whole inputs alone is left out, unless it is asked for.
        """
        beyond = None if whole else self.beyond.get(table.dataset_type)
        keep = np.ones(table.n, bool) if beyond is None else ~beyond
        steps = [Step(f"datasets {table.dataset_type.name!r}", int(keep.sum()))]
        if not select:
            return (None if beyond is None else np.flatnonzero(keep)), steps
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


def _as_tuple(wanted: Any) -> tuple[Any, ...]:
    return tuple(wanted) if isinstance(wanted, tuple | list | set | frozenset) else (wanted,)
