"""Selections: which instances of which units are admitted.

A conjunct of a condition applies to every row that determines all the units it speaks of, along the
shortest route of parents and implied units; where that route is null the row passes. Here each
conjunct is resolved once for each unit that needs it, into an array of row IDs; a conjunct on a band
gives bands, those give filters (through the index on a filter's band), those visits, and so on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from supertask.butler.registry.backend import Backend, BulkColumn, ColumnKind
from supertask.butler.registry.columns import IdFilter, greatest, read_table
from supertask.butler.registry.schema import Schema, link
from supertask.butler.registry.sql import Translator, check_name, sayable
from supertask.conditions import (
    Between,
    Compare,
    Comparison,
    Condition,
    Constant,
    In,
    Members,
    Name,
    conjuncts,
    evaluate,
    has_members,
    names,
)
from supertask.units import FieldKind

__all__ = ["Constraint", "Selection"]

Ids = npt.NDArray[np.int64]

_FEW_ROWS = 5000
"""Rows of a table whose keys are worth naming in SQL, through the index on them."""


@attrs.frozen(eq=False)
class Constraint:
    """One conjunct, or the IDs admitted of one unit."""

    number: int
    units: frozenset[str]
    condition: Condition | None = None
    ids: Ids | None = None
    null_passes: bool = True
    """Whether it lets rows pass where all it speaks of is null: not so ``0 BETWEEN 1 AND visit``."""


@attrs.frozen(eq=False)
class _Parts:
    """Constraints on one unit by how they reach it."""

    own: list[Constraint]
    linked: dict[str, list[Constraint]]
    joined: list[Constraint]


class Selection:
    """What is admitted, as seen from one moment of a database."""

    def __init__(
        self, connection: sa.Connection, schema: Schema, backend: Backend, condition: Condition | None
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._backend = backend
        self._model = schema.model
        self._admitted: dict[tuple[str, frozenset[int]], Ids] = {}
        self._totals: dict[str, int] = {}
        self.constraints: list[Constraint] = []
        # Ill-typed comparisons are told now, not when the first table is read.
        anything = Translator(self._model, backend, lambda n: sa.column(str(n)))
        for i, part in enumerate(conjuncts(condition)):
            spoken_of = names(part)
            for name in spoken_of:
                check_name(self._model, name)
            if not has_members(part):
                anything.condition(part)
            units = frozenset(n.unit for n in spoken_of)
            leaves = self._model.leaves(units)
            if has_members(part) and units == set(self._model.closure(leaves)):
                # Complete data IDs: where these units are, their parents are.
                units = frozenset(leaves)
            self.constraints.append(Constraint(i, units, part, null_passes=self._passes_null(part)))

    def _passes_null(self, condition: Condition) -> bool:
        def null(name: Name) -> tuple[Any, Any]:
            text = check_name(self._model, name).value in ("str", "date")
            return np.array([""], object) if text else np.zeros(1), np.ones(1, bool)

        return bool(np.all(evaluate(condition, null)))

    def restrict(self, unit: str, ids: Ids) -> None:
        """Admit only these row IDs of a unit from now on."""
        self._model.unit(unit)
        wanted = np.sort(np.asarray(ids, np.int64))
        if len(wanted):
            # Not np.unique: since NumPy 2.3 it hashes, which is many times slower here.
            wanted = wanted[np.concatenate([[True], wanted[1:] != wanted[:-1]])]
        self.constraints.append(Constraint(len(self.constraints), frozenset((unit,)), ids=wanted))

    def total(self, unit: str) -> int:
        """Return about how many instances of a unit there are: its highest row ID."""
        if unit not in self._totals:
            table = self._schema.unit_rows[unit]
            self._totals[unit] = greatest(self._connection, self._backend, table)
        return self._totals[unit]

    def on(self, leaves: Sequence[str]) -> tuple[dict[str, list[Constraint]], list[Constraint]]:
        """Return what constrains rows of a table: by the leaf that decides it, and what needs several."""
        by_leaf: dict[str, list[Constraint]] = {}
        several = []
        determined = set(self._model.determined(leaves))
        for constraint in self.constraints:
            if not constraint.units <= determined:
                continue
            ways = [self._model.route(leaves, u) for u in constraint.units]
            starts = {way[0] for way in ways if way}
            if len(starts) == 1:
                by_leaf.setdefault(starts.pop(), []).append(constraint)
            else:
                several.append(constraint)
        return by_leaf, several

    def filters(self, table: sa.FromClause, leaves: Sequence[str]) -> tuple[list[IdFilter], list[Constraint]]:
        """Return filters for the leaf columns of a table, and the constraints that need several leaves."""
        by_leaf, several = self.on(leaves)
        return [
            IdFilter(leaf, table.c[link(leaf)], self.admitted(leaf, constraints), self.total(leaf))
            for leaf, constraints in by_leaf.items()
        ], several

    def admitted(self, unit: str, constraints: Iterable[Constraint]) -> Ids:
        """Return the row IDs of a unit that some constraints admit, sorted."""
        constraints = list(constraints)
        key = (unit, frozenset(c.number for c in constraints))
        ids = self._admitted.get(key)
        if ids is None:
            ids = self._admitted[key] = self._resolve(unit, constraints)
        return ids

    def _parts(self, unit: str, constraints: Sequence[Constraint]) -> _Parts:
        parts = _Parts([], {}, [])
        for constraint in constraints:
            if constraint.units <= {unit}:
                parts.own.append(constraint)
                continue
            ways = {u: self._model.route([unit], u) or () for u in constraint.units}
            following = {way[1] if len(way) > 1 else "" for way in ways.values()}
            if len(following) == 1:
                step = following.pop()
                if all(self._model.route([step], u) == way[1:] for u, way in ways.items()):
                    parts.linked.setdefault(step, []).append(constraint)
                    continue
            parts.joined.append(constraint)
        return parts

    def _resolve(self, unit: str, constraints: Sequence[Constraint]) -> Ids:
        parts = self._parts(unit, constraints)
        table = self._schema.unit_rows[unit]
        filters = [
            IdFilter("id", table.c.id, c.ids, self.total(unit)) for c in parts.own if c.ids is not None
        ]
        nullable = self._model.unit(unit).implies
        for step, linked in parts.linked.items():
            ids = self.admitted(step, linked)
            passes = step in nullable and all(c.null_passes for c in linked)
            filters.append(IdFilter(link(step), table.c[link(step)], ids, self.total(step), passes))
        own = [c.condition for c in parts.own if c.condition is not None]
        joined = [c.condition for c in parts.joined if c.condition is not None]
        # What SQL cannot say is told in columns, of what SQL leaves.
        said = sayable(own + joined)
        late = [c for c, can in zip(own + joined, said, strict=True) if not can]
        joined = [c for c, can in zip(joined, said[len(own) :], strict=True) if can]
        own = [c for c, can in zip(own, said, strict=False) if can] + [
            n for c in late for n in _near(c, unit)
        ]
        source, resolve = self._joins(unit, joined)
        translate = Translator(self._model, self._backend, resolve)
        if not own and not joined and not late and len(filters) == 1 and filters[0].name == "id":
            return filters[0].ids
        read = read_table(
            self._connection,
            self._backend,
            {"id": BulkColumn(table.c.id)},
            table=table,
            source=source,
            filters=filters,
            where=[translate.not_false(c) for c in own + joined],
            indexed=any(self._is_indexed(c) for c in own),
        )
        ids = np.sort(np.asarray(read["id"]))
        return ids[self.keep((unit,), {unit: ids}, late, len(ids))]

    def _is_indexed(self, condition: Condition) -> bool:
        """Tell whether an index on what a condition speaks of is the way to find what it admits."""
        if isinstance(condition, Compare):
            if condition.op is Comparison.NE or not isinstance(condition.right, Constant):
                return False
            operand = condition.left
        elif isinstance(condition, Between):
            if not isinstance(condition.low, Constant) or not isinstance(condition.high, Constant):
                return False
            operand = condition.operand
        elif isinstance(condition, In):
            operand = condition.operand
        else:
            return False
        if not isinstance(operand, Name):
            return False
        return check_name(self._model, operand) is not FieldKind.BOOL

    def _joins(self, unit: str, conditions: Sequence[Condition]) -> tuple[sa.FromClause, Any]:
        """Return the unit's table joined with those that conditions speak of, and what finds columns."""
        table = self._schema.unit_rows[unit]
        source: sa.FromClause = table
        at: dict[tuple[str, ...], sa.FromClause] = {(unit,): table}
        for name in sorted({n.unit for c in conditions for n in names(c)}):
            way = self._model.route([unit], name) or ()
            for i in range(2, len(way) + 1):
                if way[:i] not in at:
                    other = self._schema.unit_rows[way[i - 1]].alias(f"{unit}_{'_'.join(way[1:i])}")
                    on = at[way[: i - 1]].c[link(way[i - 1])] == other.c.id
                    source = source.outerjoin(other, on)
                    at[way[:i]] = other

        def resolve(name: Name) -> sa.ColumnElement[Any]:
            way = self._model.route([unit], name.unit) or ()
            column = at[way].c[name.field or name.unit]
            # Through an outer join anything may be null.
            return column if len(way) == 1 else sa.type_coerce(column, column.type)

        return source, resolve

    # -- values, for conditions that several leaves decide together -----------------------------

    def keep(
        self, leaves: Sequence[str], columns: dict[str, Ids], conditions: Iterable[Condition], n: int
    ) -> npt.NDArray[np.bool_]:
        """Return of which of `n` rows of leaf IDs none of some conditions is false."""
        known: dict[Name, tuple[Any, Any]] = {}

        def resolve(name: Name) -> tuple[Any, Any]:
            # Looked up once: a condition may name a unit a thousand times.
            if name not in known:
                known[name] = self._values(leaves, columns, name)
            return known[name]

        admitted = np.ones(n, bool)
        for condition in conditions:
            admitted &= evaluate(condition, resolve)
        return admitted

    def _values(self, leaves: Sequence[str], columns: dict[str, Ids], name: Name) -> tuple[Any, Any]:
        """Return what a name stands for in rows of leaf IDs, and where it is null."""
        way = self._model.route(leaves, name.unit) or ()
        ids = columns[way[0]]
        for unit, following in itertools.pairwise(way):
            ids, _ = self._look_up(unit, ids, link(following), ColumnKind.INT)
        kind = check_name(self._model, name)
        text = kind.value in ("str", "date")
        kinds = ColumnKind.TEXT if text else ColumnKind.FLOAT if kind is FieldKind.FLOAT else ColumnKind.INT
        return self._look_up(name.unit, ids, name.field or name.unit, kinds)

    def _look_up(self, unit: str, ids: Ids, column: str, kind: ColumnKind) -> tuple[Any, Any]:
        table = self._schema.unit_rows[unit]
        there, inverse = np.unique(ids, return_inverse=True)
        expression = table.c[column]
        read = read_table(
            self._connection,
            self._backend,
            {
                "id": BulkColumn(table.c.id),
                "value": BulkColumn(expression, kind),
                "null": BulkColumn(expression, ColumnKind.NULL),
            },
            table=table,
            filters=[IdFilter("id", table.c.id, there[there >= 0], self.total(unit))],
        )
        found = read["value"]
        values = np.array([*found, None], object)[:-1] if kind is ColumnKind.TEXT else np.asarray(found)
        order = np.argsort(np.asarray(read["id"]))
        # Null IDs sort first; they get the place after the last.
        empty = np.zeros(int((there < 0).sum()), values.dtype)
        if kind is ColumnKind.INT:
            empty -= 1
        elif kind is ColumnKind.TEXT:
            empty[:] = ""
        of_each = np.concatenate([empty, values[order]])[inverse]
        null = np.concatenate([np.ones(len(empty), bool), np.asarray(read["null"])[order]])[inverse]
        return of_each, (null if null.any() else None)


def _near(condition: Condition, unit: str) -> list[Condition]:
    """Return what SQL can say of a condition on few rows: which keys of the unit there are among them."""
    if not isinstance(condition, Members) or Name(unit) not in condition.names:
        return []
    column = condition.columns[condition.names.index(Name(unit))]
    if len(column) > _FEW_ROWS:
        return []
    return [In(Name(unit), tuple(dict.fromkeys(column.tolist())))]
