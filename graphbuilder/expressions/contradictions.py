"""Conditions that can never hold together, whatever the repository has.

Only what can be proved is told: of each unit or field the conditions that speak of it alone, if some name
the values that they admit, or bound them. What contradicts itself less openly comes out as an empty plan,
and is told with counts step by step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from supertask.conditions import (
    Between,
    Compare,
    Comparison,
    Condition,
    Constant,
    In,
    Name,
    conjuncts,
    evaluate,
    names,
)

__all__ = ["contradiction"]

_MOST = 100_000
"""Values that are tried one by one."""

_MIRROR = {
    Comparison.LT: Comparison.GT,
    Comparison.LE: Comparison.GE,
    Comparison.GT: Comparison.LT,
    Comparison.GE: Comparison.LE,
}


def contradiction(condition: Condition | None) -> tuple[Condition, ...] | None:
    """Return conditions of a conjunction that cannot hold together, two if two will do, or None."""
    by_name: dict[Name, list[Condition]] = {}
    for part in conjuncts(condition):
        spoken_of = names(part)
        if len(spoken_of) == 1:
            by_name.setdefault(next(iter(spoken_of)), []).append(part)
    for parts in by_name.values():
        if len(parts) < 2:
            continue
        for pair in itertools.islice(itertools.combinations(parts, 2), 1000):
            if _never(pair):
                return pair
        if _never(parts):
            return tuple(parts)
    return None


def _never(parts: Sequence[Condition]) -> bool:
    """Tell whether conditions on one name exclude each other, though each admits something by itself."""
    named = next((values for values in map(_values, parts) if values is not None), None)
    if named is None:
        return _bounds_cross(parts)
    if not named:
        return False
    column = np.array(named, object if isinstance(named[0], str) else None)
    holds = [evaluate(part, lambda _: (column, None)) for part in parts]
    return not np.logical_and.reduce(holds).any() and not any(_values(p) == [] for p in parts)


def _values(condition: Condition) -> list[Any] | None:
    """Return the values that a condition admits, if it names them and they are few enough."""
    if isinstance(condition, Compare) and condition.op is Comparison.EQ:
        for one, other in ((condition.left, condition.right), (condition.right, condition.left)):
            if isinstance(one, Name) and isinstance(other, Constant):
                return [other.value]
    if isinstance(condition, In) and isinstance(condition.operand, Name):
        n = len(condition.values) + sum((r.last - r.first) // r.step + 1 for r in condition.ranges)
        if n <= _MOST:
            spans = (range(r.first, r.last + 1, r.step) for r in condition.ranges)
            return [*condition.values, *itertools.chain.from_iterable(spans)]
    return None


def _bounds_cross(parts: Sequence[Condition]) -> bool:
    lows = [b for p in parts for b in _bounds(p, lower=True)]
    highs = [b for p in parts for b in _bounds(p, lower=False)]
    for low, low_open in lows:
        for high, high_open in highs:
            if isinstance(low, str) == isinstance(high, str) and (
                low > high or (low == high and (low_open or high_open))
            ):
                return True
    return False


def _bounds(condition: Condition, *, lower: bool) -> Iterator[tuple[Any, bool]]:
    """Yield what a name must be above (or below), and whether the bound itself is excluded."""
    if isinstance(condition, Between):
        bound = condition.low if lower else condition.high
        if isinstance(condition.operand, Name) and isinstance(bound, Constant):
            yield bound.value, False
    elif isinstance(condition, Compare):
        op, one, other = condition.op, condition.left, condition.right
        if isinstance(other, Name):
            op, one, other = _MIRROR.get(op, op), other, one
        if not isinstance(one, Name) or not isinstance(other, Constant):
            return
        if op in ((Comparison.GT, Comparison.GE) if lower else (Comparison.LT, Comparison.LE)):
            yield other.value, op in (Comparison.GT, Comparison.LT)
    elif isinstance(condition, In) and isinstance(condition.operand, Name) and not condition.values:
        spans = condition.ranges
        if spans:
            yield (min(r.first for r in spans) if lower else max(r.last for r in spans)), False
