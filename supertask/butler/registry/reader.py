"""The registry's reader: units, datasets and relations in columns, as preflight wants them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from supertask.butler.port import CollectionKind, Reader
from supertask.butler.registry.backend import Backend, BulkColumn, Column, ColumnKind
from supertask.butler.registry.catalog import Catalog, CollectionEntry, TypeEntry, check_same_type
from supertask.butler.registry.columns import IdFilter, concatenate, read_table, take
from supertask.butler.registry.schema import Schema, link
from supertask.butler.registry.selection import Constraint, Selection
from supertask.conditions import Condition
from supertask.datasets import Dataset
from supertask.errors import DataIdError, did_you_mean
from supertask.rows import DatasetRows, MadeRows, RelationRows, TextColumn, UnitRows, ValidityRows
from supertask.units import FieldKind, KeyKind

__all__ = ["RegistryReader"]

R = TypeVar("R")
P = ParamSpec("P")

_FEW_RUNS = 8
"""Runs that are worth naming in SQL; of more, the column is read and looked at here."""


def _said(
    method: Callable[Concatenate[RegistryReader, P], R],
) -> Callable[Concatenate[RegistryReader, P], R]:
    """Have errors of the database said in our words."""

    @wraps(method)
    def saying(self: RegistryReader, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._errors():
            return method(self, *args, **kwargs)

    return saying


class RegistryReader(Reader):
    """Reads from one moment of the database, through a connection of its own.

    Parameters
    ----------
    connection : Connection
        In a reading transaction; returned by `close`.
    errors : callable
        Gives a context in which errors of the database are said in our words.
    schema, backend, catalog
        The registry's.
    collections : sequence of str
        Search path; empty for the default.
    where : Condition, optional
        What to admit.
    """

    def __init__(
        self,
        connection: sa.Connection,
        errors: Callable[[], AbstractContextManager[None]],
        *,
        schema: Schema,
        backend: Backend,
        catalog: Catalog,
        collections: Sequence[str],
        where: Condition | None,
    ) -> None:
        self._connection = connection
        self._finalizer = weakref.finalize(self, connection.close)
        self._errors = errors
        self._schema = schema
        self._backend = backend
        self._catalog = catalog
        self._model = schema.model
        with errors():
            self._state = catalog.current(connection)
            self._search = self._state.search(collections)
            self._selection = Selection(connection, schema, backend, where)

    def close(self) -> None:
        """Let go of the connection."""
        self._finalizer()

    def restrict(self, unit: str, ids: npt.NDArray[np.int64]) -> None:
        """Admit from now on only these row IDs of a unit (and rows where it is null)."""
        self._selection.restrict(unit, ids)

    @_said
    def count(self, unit: str) -> int:
        """Return about how many instances of a unit are selected: the highest row ID, if all are."""
        by_leaf, _ = self._selection.on((unit,))
        known = [len(self._selection.admitted(unit, constraints)) for constraints in by_leaf.values()]
        return min(known, default=self._selection.total(unit))

    # -- units ----------------------------------------------------------------------------------

    @_said
    def units(self, unit: str, fields: Collection[str] | None = None) -> UnitRows:
        """Return the selected instances of a unit, with these of its fields (all unless given)."""
        declared = self._model.unit(unit)
        known = {f.name: f for f in declared.fields}
        for name in fields or ():
            if name not in known:
                raise DataIdError(
                    f"unit {unit!r} has no field {name!r}{did_you_mean(name, known)}; "
                    f"it has {', '.join(known) or 'none'}"
                )
        wanted = [f for f in declared.fields if fields is None or f.name in fields]
        table = self._schema.unit_rows[unit]
        kind = ColumnKind.INT if declared.key is KeyKind.INT else ColumnKind.TEXT
        columns = {"id": BulkColumn(table.c.id), "key": BulkColumn(table.c[unit], kind)}
        columns |= {f"link {p}": BulkColumn(table.c[link(p)]) for p in declared.parents}
        columns |= {f"link {u}": BulkColumn(table.c[link(u)]) for u in declared.implies}
        for f in wanted:
            column = table.c[f.name]
            columns[f"field {f.name}"] = BulkColumn(column, _FIELD_KINDS[f.kind])
            if f.kind is not FieldKind.FLOAT:
                columns[f"null {f.name}"] = BulkColumn(column, ColumnKind.NULL)
        by_leaf, several = self._selection.on((unit,))
        filters = [
            IdFilter(
                "id", table.c.id, self._selection.admitted(unit, constraints), self._selection.total(unit)
            )
            for constraints in by_leaf.values()
        ]
        read = self._read(table, columns, filters, [], several, ())
        nulls = {
            f.name: np.isnan(_array(read[f"field {f.name}"]))
            if f.kind is FieldKind.FLOAT
            else _array(read[f"null {f.name}"])
            for f in wanted
        }
        return UnitRows(
            unit=unit,
            ids=_array(read["id"]),
            keys=_array(read["key"]),
            links={u: _array(read[f"link {u}"]) for u in declared.parents + declared.implies},
            fields={
                f.name: _array(read[f"field {f.name}"]).astype(bool)
                if f.kind is FieldKind.BOOL
                else _array(read[f"field {f.name}"])
                for f in wanted
            },
            nulls={name: where for name, where in nulls.items() if where.any()},
        )

    # -- datasets -------------------------------------------------------------------------------

    @_said
    def datasets(self, dataset_type: type[Dataset]) -> DatasetRows:
        """Return the selected datasets of a type in the collections searched, first found first."""
        entry = self._entry(dataset_type)
        if entry is None:
            return _no_datasets(dataset_type, self._model.leaves(dataset_type.units))
        holders = self._catalog.holders(self._connection, self._state, entry)
        search = [c for c in self._search if c.id in holders]
        ranks = {c.id: rank for rank, c in enumerate(search)}
        runs = [c for c in search if c.info.kind is CollectionKind.RUN]
        parts: list[dict[str, Column]] = []
        if runs:
            parts.append(self._from_runs(entry, runs, len(runs) == len(self._runs(holders))))
        tagged = [c for c in search if c.info.kind is CollectionKind.TAGGED]
        parts += [self._from_tagged(entry, c) for c in tagged]
        found = concatenate(parts, self._dataset_columns(entry) | {"collection": _INT})
        if len(runs) + len(tagged) > 1:
            found = take(found, _first(found, entry.leaves, ranks))
        return _dataset_rows(dataset_type, entry.leaves, found)

    @_said
    def made(self, dataset_type: type[Dataset]) -> MadeRows:
        """Return the selected datasets of a type in every RUN collection searched."""
        entry = self._entry(dataset_type)
        if entry is None:
            none = _no_datasets(dataset_type, self._model.leaves(dataset_type.units))
            return MadeRows(none, (), none.ids)
        holders = self._catalog.holders(self._connection, self._state, entry)
        runs = [c for c in self._search if c.id in holders and c.info.kind is CollectionKind.RUN]
        if not runs:
            none = _no_datasets(dataset_type, entry.leaves)
            return MadeRows(none, (), none.ids)
        found = self._from_runs(entry, runs, len(runs) == len(self._runs(holders)))
        place = np.zeros(max(c.id for c in runs) + 1, np.int64)
        place[[c.id for c in runs]] = np.arange(len(runs))
        names = tuple(c.info.name for c in runs)
        return MadeRows(
            _dataset_rows(dataset_type, entry.leaves, found), names, place[_array(found["collection"])]
        )

    def _runs(self, ids: frozenset[int]) -> list[CollectionEntry]:
        return [
            c for c in self._state.collections.values() if c.id in ids and c.info.kind is CollectionKind.RUN
        ]

    def _entry(self, dataset_type: type[Dataset]) -> TypeEntry | None:
        entry = self._state.types.get(dataset_type.name)
        if entry is not None:
            check_same_type(dataset_type, entry.dataset_type)
        return entry

    @staticmethod
    def _dataset_columns(entry: TypeEntry) -> dict[str, BulkColumn]:
        data = entry.tables.rows["data"]
        return {
            "id": BulkColumn(data.c.id),
            **{u: BulkColumn(data.c[link(u)]) for u in entry.leaves},
            "identity": BulkColumn(data.c.identity, ColumnKind.DIGEST),
            "location": BulkColumn(data.c.location, ColumnKind.TEXT),
            "size": BulkColumn(data.c.size),
        }

    def _from_runs(self, entry: TypeEntry, runs: Sequence[CollectionEntry], whole: bool) -> dict[str, Column]:
        data = entry.tables.rows["data"]
        columns = self._dataset_columns(entry)
        filters, several = self._selection.filters(data, entry.leaves)
        where = []
        if len(runs) > 1 or not whole:
            columns["collection"] = BulkColumn(data.c.run_id)
        if not whole:
            wanted = np.sort([c.id for c in runs])
            if len(runs) <= _FEW_RUNS:
                where.append(data.c.run_id.in_(wanted.tolist()))
            else:
                # Not a filter that drives: its part of all is not known.
                filters.append(IdFilter("collection", data.c.run_id, wanted, len(wanted)))
        found = self._read(data, columns, filters, where, several, entry.leaves)
        found.setdefault("collection", np.full(len(found["id"]), runs[0].id))
        return found

    def _from_tagged(self, entry: TypeEntry, collection: CollectionEntry) -> dict[str, Column]:
        data, tag = entry.tables.rows["data"], entry.tables.rows["tag"]
        filters, several = self._selection.filters(tag, entry.leaves)
        source = self._backend.join_order(tag, data, data.c.id == tag.c.dataset_id)
        where = [tag.c.collection_id == collection.id]
        columns = self._dataset_columns(entry)
        found = self._read(tag, columns, filters, where, several, entry.leaves, source=source)
        found["collection"] = np.full(len(found["id"]), collection.id)
        return found

    @_said
    def calibrations(self, dataset_type: type[Dataset]) -> list[ValidityRows]:
        """Return, for each CALIBRATION collection searched and in its order, what is valid when."""
        entry = self._entry(dataset_type)
        if entry is None:
            return []
        holders = self._catalog.holders(self._connection, self._state, entry)
        certified = [c for c in self._search if c.info.kind is CollectionKind.CALIBRATION and c.id in holders]
        if not certified:
            return []
        data, validity = entry.tables.rows["data"], entry.tables.rows["validity"]
        columns = self._dataset_columns(entry)
        columns |= {"begin": BulkColumn(validity.c.begin), "end": BulkColumn(validity.c.end)}
        filters, several = self._selection.filters(validity, entry.leaves)
        source = self._backend.join_order(validity, data, data.c.id == validity.c.dataset_id)
        rows = []
        for collection in certified:
            where = [validity.c.collection_id == collection.id]
            found = self._read(validity, columns, filters, where, several, entry.leaves, source=source)
            datasets = _dataset_rows(dataset_type, entry.leaves, found)
            rows.append(ValidityRows(datasets, _array(found["begin"]), _array(found["end"])))
        return rows

    # -- relations ------------------------------------------------------------------------------

    @_said
    def relation(self, name: str) -> RelationRows:
        """Return the selected rows of a relation."""
        leaves = self._schema.relation_leaves(self._model.relation(name))
        table = self._schema.relation_rows[name]
        filters, several = self._selection.filters(table, leaves)
        columns = {u: BulkColumn(table.c[link(u)]) for u in leaves}
        found = self._read(table, columns, filters, [], several, leaves)
        return RelationRows(name, {u: _array(found[u]) for u in leaves})

    # -- reading --------------------------------------------------------------------------------

    def _read(
        self,
        table: sa.TableClause,
        columns: Mapping[str, BulkColumn],
        filters: Sequence[IdFilter],
        where: Sequence[Any],
        several: Sequence[Constraint],
        leaves: Sequence[str],
        *,
        source: sa.FromClause | None = None,
    ) -> dict[str, Column]:
        found = read_table(
            self._connection,
            self._backend,
            columns,
            table=table,
            source=source,
            filters=filters,
            where=where,
        )
        conditions = [c.condition for c in several if c.condition is not None]
        if conditions:
            ids = {u: _array(found[u]) for u in leaves}
            n = len(next(iter(found.values())))
            found = take(found, self._selection.keep(leaves, ids, conditions, n))
        return found


_INT = BulkColumn(sa.column("collection"))
_FIELD_KINDS = {
    FieldKind.INT: ColumnKind.INT,
    FieldKind.TIME: ColumnKind.INT,
    FieldKind.BOOL: ColumnKind.INT,
    FieldKind.FLOAT: ColumnKind.FLOAT,
    FieldKind.STR: ColumnKind.TEXT,
}


def _array(column: Column) -> npt.NDArray[Any]:
    if isinstance(column, TextColumn):
        array = np.empty(len(column), object)
        array[:] = list(column)
        return array
    return column


def _first(
    found: Mapping[str, Column], leaves: Sequence[str], ranks: Mapping[int, int]
) -> npt.NDArray[np.int64]:
    """Return the rows that come first in the order of search, one for each data ID."""
    rank_of = np.zeros(max(ranks) + 1, np.int64)
    rank_of[list(ranks)] = list(ranks.values())
    rank = rank_of[_array(found["collection"])]
    # By data ID, and where that is equal by rank.
    order = np.lexsort([rank, *(_array(found[u]) for u in reversed(leaves))])
    new = np.ones(len(order), bool)
    if len(order):
        same = np.ones(len(order) - 1, bool)
        for u in leaves:
            column = _array(found[u])[order]
            same &= column[1:] == column[:-1]
        new[1:] = ~same
    return np.sort(order[new])


def _dataset_rows(
    dataset_type: type[Dataset], leaves: Sequence[str], found: Mapping[str, Column]
) -> DatasetRows:
    locations: Any = found["location"]
    return DatasetRows(
        dataset_type,
        ids=_array(found["id"]),
        units={u: _array(found[u]) for u in leaves},
        identities=_array(found["identity"]),
        locations=locations,
        sizes=_array(found["size"]),
    )


def _no_datasets(dataset_type: type[Dataset], leaves: Sequence[str]) -> DatasetRows:
    none = np.empty(0, np.int64)
    return DatasetRows(
        dataset_type, none, dict.fromkeys(leaves, none), np.empty((0, 16), np.uint8), TextColumn(), none
    )
