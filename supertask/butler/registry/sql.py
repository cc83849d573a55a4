"""Conditions as bound SQL expressions.

Three-valued logic is SQL's own; that only what is false is left out is added here (`not_false`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa

from supertask.butler.registry.backend import Backend
from supertask.conditions import (
    And,
    Between,
    Compare,
    Comparison,
    Condition,
    Constant,
    In,
    Like,
    Name,
    Negative,
    Not,
    Operand,
    Or,
    Value,
    has_members,
)
from supertask.errors import DataIdError, did_you_mean
from supertask.units import FieldKind, KeyKind, UnitModel

__all__ = ["Translator", "check_name", "sayable"]

Sql = sa.ColumnElement[Any]

_MOST_TERMS = 400
"""Comparisons in one query: SQLite nests those that AND and OR join, and takes 1,000 levels."""
_MOST_VALUES = 30_000
"""Values sent with one query: SQLite takes 32,766, PostgreSQL 65,535."""

_COMPARE: dict[Comparison, Callable[[Any, Any], Any]] = {
    Comparison.EQ: lambda a, b: a == b,
    Comparison.NE: lambda a, b: a != b,
    Comparison.LT: lambda a, b: a < b,
    Comparison.LE: lambda a, b: a <= b,
    Comparison.GT: lambda a, b: a > b,
    Comparison.GE: lambda a, b: a >= b,
}


def check_name(model: UnitModel, name: Name) -> KeyKind | FieldKind:
    """Return the kind of what a name stands for.

    Raises
    ------
    DataIdError
        The model has no such unit or field.
    """
    unit = model.unit(name.unit)
    if name.field is None:
        return unit.key
    field = unit.field(name.field)
    if field is None:
        known = [f.name for f in unit.fields]
        raise DataIdError(
            f"unit {name.unit!r} has no field {name.field!r}{did_you_mean(name.field, known)}; "
            f"it has {', '.join(known) or 'none'}"
        )
    return field.kind


def sayable(conditions: Iterable[Condition]) -> list[bool]:
    """Tell of each condition whether one query can have it beside those before it that it has.

    What is about rows of a table is no SQL, and of a long expression databases take so much and no more; the
    others are told in columns, of what the query leaves.
    """
    answers, terms, values = [], 0, 0
    for condition in conditions:
        more, sent = _size(condition)
        fits = terms + more <= _MOST_TERMS and values + sent <= _MOST_VALUES and not has_members(condition)
        terms, values = (terms + more, values + sent) if fits else (terms, values)
        answers.append(fits)
    return answers


def _size(condition: Condition) -> tuple[int, int]:
    """Return how many comparisons a condition has, and about how many values are sent for it."""
    if isinstance(condition, And | Or):
        sizes = [_size(p) for p in condition.parts]
        return sum(terms for terms, _ in sizes), sum(values for _, values in sizes)
    if isinstance(condition, Not):
        return _size(condition.part)
    if isinstance(condition, In):
        return 1 + len(condition.ranges), len(condition.values) + 4 * len(condition.ranges)
    return 1, 4


class Translator:
    """Turns conditions into SQL.

    Parameters
    ----------
    model : UnitModel
        Says of what kind names are.
    backend : Backend
        Knows what is spelt differently.
    resolve : callable
        Gives for a `Name` its column.
    """

    def __init__(self, model: UnitModel, backend: Backend, resolve: Callable[[Name], Sql]) -> None:
        self._model = model
        self._backend = backend
        self._resolve = resolve

    def not_false(self, condition: Condition) -> Sql:
        """Return the condition, or null: an expression that an index can serve where one can."""
        sql = self.condition(condition)
        operands: list[Operand] = []
        if isinstance(condition, Compare):
            operands = [condition.left, condition.right]
        elif isinstance(condition, In | Like):
            operands = [condition.operand]
        elif (
            isinstance(condition, Between)
            and isinstance(condition.low, Constant)
            and isinstance(condition.high, Constant)
        ):
            # (With a bound that is null it may be false all the same.)
            operands = [condition.operand]
        if operands and all(isinstance(o, Name | Constant) for o in operands):
            columns = [self._resolve(o) for o in operands if isinstance(o, Name)]
            nullable = [c for c in columns if getattr(c, "nullable", True)]
            return sa.or_(sql, *(c.is_(None) for c in nullable)) if nullable else sql
        return sa.func.coalesce(sql, sa.true())

    def condition(self, node: Condition) -> Sql:
        """Return a condition as SQL."""
        if isinstance(node, And):
            return sa.and_(*(self.condition(p) for p in node.parts))
        if isinstance(node, Or):
            return sa.or_(*(self.condition(p) for p in node.parts))
        if isinstance(node, Not):
            return sa.not_(self.condition(node.part))
        if isinstance(node, Compare):
            self._same_kind(node, node.left, node.right)
            compared: Sql = _COMPARE[node.op](self._operand(node.left), self._operand(node.right))
            return compared
        if isinstance(node, Between):
            self._same_kind(node, node.operand, node.low, node.high)
            return self._operand(node.operand).between(self._operand(node.low), self._operand(node.high))
        if isinstance(node, In):
            return self._in(node)
        if not isinstance(node, Like):
            raise TypeError(f"{node} is told in columns, not in SQL")
        if self._family(node.operand) is not str:
            raise DataIdError(f"{node}: only text can be compared with a pattern")
        return self._backend.glob(self._operand(node.operand), node.pattern)

    def _in(self, node: In) -> Sql:
        self._same_kind(node, node.operand, *map(Constant, node.values))
        if node.ranges and self._family(node.operand) is not int:
            raise DataIdError(f"{node}: only numbers can be in a range")
        operand = self._operand(node.operand)
        if not node.values and not node.ranges:
            # False for every value, but null for null, which SQL's own empty list is not.
            return sa.and_(operand.is_(None), sa.null())
        parts: list[Sql] = []
        # A list takes the type of what it is compared with, and PostgreSQL would round 2.5 to 2.
        floats = [v for v in node.values if isinstance(v, float)]
        exact = [_bound(v) for v in node.values if not isinstance(v, float)]
        if exact:
            parts.append(operand.in_(exact))
        if floats:
            parts.append(sa.cast(operand, sa.Double).in_(floats))
        for r in node.ranges:
            inside: Sql = operand.between(_literal(r.first), _literal(r.last))
            if r.step != 1:
                inside = sa.and_(inside, (operand - r.first) % r.step == 0)
            parts.append(inside)
        return sa.or_(*parts)

    def _operand(self, node: Operand) -> Sql:
        if isinstance(node, Name):
            return self._resolve(node)
        if isinstance(node, Constant):
            return _literal(node.value)
        if isinstance(node, Negative):
            self._number(node, node.operand)
            return -self._operand(node.operand)
        self._number(node, node.left, node.right)
        left, right = self._operand(node.left), self._operand(node.right)
        if node.op == "+":
            return left + right
        if node.op == "-":
            return left - right
        if node.op == "*":
            return left * right
        if node.op == "/":
            return left * 1.0 / sa.func.nullif(right, 0)
        return self._backend.modulo(left, right)

    def _family(self, node: Operand) -> type:
        if isinstance(node, Constant):
            return str if isinstance(node.value, str) else int
        if isinstance(node, Name):
            kind = check_name(self._model, node)
            return str if kind in (KeyKind.STR, KeyKind.DATE, FieldKind.STR) else int
        return int

    def _same_kind(self, condition: Condition, *operands: Operand) -> None:
        if len({self._family(o) for o in operands}) > 1:
            raise DataIdError(f"{condition}: text and numbers cannot be compared")

    def _number(self, node: Operand, *operands: Operand) -> None:
        if any(self._family(o) is str for o in operands):
            raise DataIdError(f"{node}: text cannot be reckoned with")


def _bound(value: Value) -> Value:
    return int(value) if isinstance(value, bool) else value


def _literal(value: Value) -> Sql:
    value = _bound(value)
    kind: Any = (
        sa.Text if isinstance(value, str) else sa.Double if isinstance(value, float) else sa.BigInteger
    )
    return sa.literal(value, kind)
