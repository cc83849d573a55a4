"""Instances of units and their relations: from keys to row IDs, and into the tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from supertask.butler.registry.backend import Backend
from supertask.butler.registry.schema import Schema, link
from supertask.butler.unitvalues import CheckedRows, fits_64_bits, merge, tell
from supertask.dataids import DataId
from supertask.errors import DataIdError, Problems
from supertask.rows import RelationRows
from supertask.units import Unit, UnitModel

__all__ = ["UnitIds", "insert_relation", "insert_relation_rows", "insert_units", "remove_relation_rows"]

_CHUNK = 500
_MANY = 5_000
"""From this number of unknown keys on, the whole table is read: one scan beats thousands of look-ups."""
_CACHE = 2_000_000
"""Keys kept of one unit before they are forgotten, some 200 MB."""
_MISSING = -1

Rows = Sequence[Mapping[str, Any]]


class UnitIds:
    """Looks up row IDs by key, many at once, and remembers them: they never change."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._model = schema.model
        self._known: dict[str, dict[Any, int]] = {unit.name: {} for unit in schema.model}
        self._order = {name: i for i, name in enumerate(_parents_first(schema.model))}

    def columns(
        self, connection: sa.Connection, units: Iterable[str], keys: Callable[[str], list[Any]]
    ) -> dict[str, list[int]]:
        """Return the row IDs of some units and their parents.

        Parameters
        ----------
        connection : Connection
            To look up on.
        units : iterable of str
            The units.
        keys : callable
            Gives for a unit its key in each row; None where it has none.

        Returns
        -------
        dict
            Unit → row ID in each row, -1 where it is not known.
        """
        found: dict[str, list[int]] = {}
        for name in sorted(self._model.closure(units), key=self._order.__getitem__):
            parents = self._model.unit(name).parents
            whole = (
                list(zip(*(found[p] for p in parents), keys(name), strict=True)) if parents else keys(name)
            )
            found[name] = self._look_up(connection, name, whole)
        return found

    def _look_up(self, connection: sa.Connection, unit: str, keys: list[Any]) -> list[int]:
        known = self._known[unit]
        unknown = {k for k in keys if k not in known}
        if unknown:
            if len(known) > _CACHE:
                known.clear()
                unknown = set(keys)
            known |= self._fetch(connection, self._model.unit(unit), unknown)
        return [known.get(k, _MISSING) for k in keys]

    def _fetch(self, connection: sa.Connection, unit: Unit, keys: set[Any]) -> dict[Any, int]:
        table = self._schema.units[unit.name]
        parents = [table.c[link(p)] for p in unit.parents]
        key = table.c[unit.name]
        select = sa.select(*parents, key, table.c.id)
        if len(keys) > _MANY:
            rows: Iterable[Any] = connection.execute(select).all()
        else:
            rows = []
            by_parents: dict[tuple[int, ...], list[Any]] = {}
            for k in keys:
                by_parents.setdefault(k[:-1] if parents else (), []).append(k[-1] if parents else k)
            for parent_ids, own in by_parents.items():
                if _MISSING in parent_ids:
                    continue
                given = select.where(*(c == i for c, i in zip(parents, parent_ids, strict=True)))
                some = [k for k in own if k is not None and fits_64_bits(k)]
                for i in range(0, len(some), _CHUNK):
                    rows += connection.execute(given.where(key.in_(some[i : i + _CHUNK]))).all()
        return {tuple(r[:-1]): r[-1] for r in rows} if parents else {r[0]: r[1] for r in rows}

    def of_data_ids(
        self, connection: sa.Connection, units: Iterable[str], dataIds: Sequence[DataId]
    ) -> dict[str, list[int]]:
        """Return the row IDs of units and their parents for complete data IDs.

        Raises
        ------
        DataIdError
            Names every unit instance that is not known.
        """
        found = self.columns(connection, units, lambda unit: [d[unit] for d in dataIds])
        if any(_MISSING in column for column in found.values()):
            problems = Problems("data IDs")
            told: set[tuple[Any, ...]] = set()
            for i, dataId in enumerate(dataIds):
                for unit in found:
                    if found[unit][i] == _MISSING:
                        key = tuple(dataId[u] for u in self._model.closure([unit]))
                        if (unit, *key) not in told:
                            told.add((unit, *key))
                            shown = ", ".join(f"{u}={dataId[u]}" for u in self._model.closure([unit]))
                            tell(
                                problems, len(told), f"{shown} is not known; insert {unit} {key[-1]!r} first"
                            )
                        break
            problems.raise_if_any(DataIdError)
        return found

    def find(self, connection: sa.Connection, dataId: DataId, units: Iterable[str]) -> dict[str, int] | None:
        """Return the row IDs for one data ID, or None if one of its units is not known."""
        found = self.columns(connection, units, lambda unit: [dataId[unit]])
        if any(column[0] == _MISSING for column in found.values()):
            return None
        return {unit: column[0] for unit, column in found.items()}


def _parents_first(model: UnitModel) -> list[str]:
    done: list[str] = []
    todo = list(model.names)
    while todo:
        for name in list(todo):
            if all(p in done for p in model.unit(name).parents):
                done.append(name)
                todo.remove(name)
    return done


# -- inserting ------------------------------------------------------------------------------------


def insert_units(
    connection: sa.Connection, schema: Schema, backend: Backend, ids: UnitIds, name: str, rows: Rows
) -> int:
    """Make instances of a unit known; as `AbstractButler.insert_units` promises."""
    model = schema.model
    unit = model.unit(name)
    own = model.closure([name])
    implied = {u: model.closure([u]) for u in unit.implies}
    speaks_of = tuple(dict.fromkeys((*own, *(x for closure in implied.values() for x in closure))))
    checked = CheckedRows(model, own, rows, f"{name} rows")
    checked.allow((*speaks_of, *(f.name for f in unit.fields)))
    keys = {u: checked.keys(u, required=u in own) for u in speaks_of}
    fields = [checked.field(f) for f in unit.fields]
    checked.problems.raise_if_any(DataIdError)

    found = ids.columns(connection, unit.parents, keys.__getitem__)
    links = [found[p] for p in unit.parents]
    for p in unit.parents:
        for i, parent_id in enumerate(found[p]):
            if parent_id == _MISSING:
                checked.tell(i, f"{p} {keys[p][i]!r} is not known; insert it first")
    optional = []
    for u in unit.implies:
        column: list[int | None] = list(ids.columns(connection, [u], keys.__getitem__)[u])
        for i, row_id in enumerate(column):
            if row_id == _MISSING:
                column[i] = None
                if keys[u][i] is not None:
                    checked.tell(i, f"{u} {keys[u][i]!r} is not known; insert it first")
        optional.append(column)
    checked.problems.raise_if_any(DataIdError)

    columns = (*(link(p) for p in unit.parents), name, *(link(u) for u in unit.implies))
    columns += tuple(f.name for f in unit.fields)
    n_key = len(unit.parents) + 1
    wanted: dict[tuple[Any, ...], list[Any]] = {}
    for i, row in enumerate(zip(*links, keys[name], *optional, *fields, strict=True)):
        earlier = wanted.setdefault(row[:n_key], list(row[n_key:]))
        merge(checked, i, columns[n_key:], earlier, row[n_key:], "an earlier row")
    checked.problems.raise_if_any(DataIdError)

    table = schema.units[name]
    # In the order of the unique index, so that the database appends rather than searches.
    new = backend.insert(connection, table, columns, [(*k, *wanted[k]) for k in sorted(wanted)])
    if new < len(wanted):
        _fill_in(connection, table, columns, n_key, wanted, checked)
    return new


def _fill_in(
    connection: sa.Connection,
    table: sa.Table,
    columns: Sequence[str],
    n_key: int,
    wanted: dict[tuple[Any, ...], list[Any]],
    checked: CheckedRows,
) -> None:
    """Compare with what is there; fill nulls; raise where it differs."""
    key_columns = [table.c[c] for c in columns[:n_key]]
    select = sa.select(*(table.c[c] for c in columns), table.c.id)
    own = [k[-1] for k in wanted]
    # The unit's own key is nearly enough, and an index has it.
    selects = (
        [select]
        if len(own) > _MANY
        else [select.where(key_columns[-1].in_(own[i : i + _CHUNK])) for i in range(0, len(own), _CHUNK)]
    )
    names = columns[n_key:]
    position = {k: i for i, k in enumerate(wanted)}
    updates: list[dict[str, Any]] = []
    done: set[int] = set()
    for row in itertools.chain.from_iterable(connection.execute(s) for s in selects):
        key = tuple(row[:n_key])
        values = wanted.get(key)
        if values is None or row[-1] in done:
            continue
        done.add(row[-1])
        there = list(row[n_key:-1])
        if merge(checked, position[key], names, there, values, "the repository"):
            updates.append({"_id": row[-1], **{f"_{n}": v for n, v in zip(names, there, strict=True)}})
    checked.problems.raise_if_any(DataIdError)
    if updates:
        changes: dict[str, Any] = {n: sa.bindparam(f"_{n}") for n in names}
        connection.execute(
            sa.update(table).where(table.c.id == sa.bindparam("_id")).values(**changes), updates
        )


def insert_relation(
    connection: sa.Connection, schema: Schema, backend: Backend, ids: UnitIds, name: str, rows: Rows
) -> int:
    """Relate units by their keys; as `AbstractButler.insert_relation` promises."""
    model = schema.model
    relation = model.relation(name)
    leaves = schema.relation_leaves(relation)
    closure = model.closure(leaves)
    checked = CheckedRows(model, closure, rows, f"rows of relation {name!r}")
    checked.allow(closure)
    keys = {u: checked.keys(u, required=True) for u in closure}
    checked.problems.raise_if_any(DataIdError)
    found = ids.columns(connection, leaves, keys.__getitem__)
    for u in leaves:
        for i, row_id in enumerate(found[u]):
            if row_id == _MISSING:
                checked.tell(i, f"{u} {keys[u][i]!r} is not known; insert it first")
    checked.problems.raise_if_any(DataIdError)
    values = sorted(zip(*(found[u] for u in leaves), strict=True))
    return backend.insert(connection, schema.relations[name], [link(u) for u in leaves], values)


def insert_relation_rows(
    connection: sa.Connection, schema: Schema, backend: Backend, rows: RelationRows
) -> int:
    """Relate units by their row IDs."""
    leaves, columns = _relation_columns(schema, rows)
    for unit, column in zip(leaves, columns, strict=True):
        table = schema.units[unit]
        last = connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0
        if len(column) and (column.min() < 1 or column.max() > last):
            raise DataIdError(
                f"rows of relation {rows.relation!r}: there is no {unit} of some of these row IDs"
            )
    order = np.lexsort(columns[::-1])
    values = list(zip(*(c[order].tolist() for c in columns), strict=True))
    return backend.insert(connection, schema.relations[rows.relation], [link(u) for u in leaves], values)


def remove_relation_rows(connection: sa.Connection, schema: Schema, rows: RelationRows) -> int:
    """Take rows out of a relation by their row IDs."""
    leaves, columns = _relation_columns(schema, rows)
    table = schema.relations[rows.relation]
    whole = np.unique(np.stack(columns, axis=1), axis=0)
    if not len(whole):
        return 0
    # In the order of their keys, as writers insert them, so that two of them get into no deadlock.
    done = connection.execute(
        sa.delete(table).where(*(table.c[link(u)] == sa.bindparam(f"_{u}") for u in leaves)),
        [dict(zip((f"_{u}" for u in leaves), row, strict=True)) for row in whole.tolist()],
    )
    return int(done.rowcount)


def _relation_columns(schema: Schema, rows: RelationRows) -> tuple[tuple[str, ...], list[Any]]:
    """Return the units that a relation's table has, and the rows' IDs of each."""
    leaves = schema.relation_leaves(schema.model.relation(rows.relation))
    if set(rows.units) != set(leaves):
        raise DataIdError(
            f"rows of relation {rows.relation!r} need columns for {', '.join(leaves)}; "
            f"they have {', '.join(rows.units)}"
        )
    return leaves, [np.asarray(rows.units[u], np.int64) for u in leaves]
