"""Values that come nearest to what a condition asks for, of those that are there."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

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
    Or,
)
from supertask.times import from_tai_ns

__all__ = ["is_plain", "nearest", "said", "shortened", "unmatched"]

_LONG = 400
_SHOWN = 6
_SEVERAL = 3
_SAMPLE = 2000
"""So many texts at most are compared letter by letter."""

_MIRROR = {
    Comparison.LT: Comparison.GT,
    Comparison.LE: Comparison.GE,
    Comparison.GT: Comparison.LT,
    Comparison.GE: Comparison.LE,
}


def shortened(text: str) -> str:
    """Return a text without its middle where it is too long to be read."""
    return text if len(text) <= _LONG else f"{text[: _LONG // 2]} … {text[-_LONG // 4 :]}"


def said(value: Any, *, is_time: bool = False) -> str:
    """Return a value as an expression would say it."""
    if is_time:
        return f"'{from_tai_ns(int(value)).utc.isot.removesuffix('.000')} UTC'"
    if isinstance(value, np.generic):
        value = value.item()
    return str(Constant(value))


def is_plain(condition: Condition) -> bool:
    """Tell whether it compares the values of names and nothing else."""
    if isinstance(condition, And | Or):
        return all(map(is_plain, condition.parts))
    if isinstance(condition, Not):
        return is_plain(condition.part)
    return isinstance(condition, Compare | In | Between | Like)


def nearest(condition: Condition, values: npt.NDArray[Any], *, is_time: bool = False) -> tuple[str, ...]:
    """Return the values that come nearest to what a condition asks for.

    Parameters
    ----------
    condition : Condition
        Speaks of one name.
    values : numpy.ndarray
        Shape (n,): what that name has, nulls left out, in any order and with repeats.
    is_time : bool, optional
        Whether they are nanoseconds TAI, to be shown as dates.

    Returns
    -------
    tuple of str
        As an expression would say them, at most six; none where there is nothing to compare.
    """
    if not len(values):
        return ()
    known = np.unique(values)
    wanted = _wanted(condition)
    if wanted is None:
        found: list[Any] = known[:_SHOWN].tolist()
    elif known.dtype.kind in "OU":
        found = _near_texts([str(w) for w in wanted[0]], known.tolist())
    else:
        found = _near_numbers(wanted, known)
    return tuple(said(v, is_time=is_time) for v in found[:_SHOWN])


def unmatched(condition: Condition, values: npt.NDArray[Any]) -> list[Any]:
    """Return the values that a condition names one by one (``=``, ``IN``) and that are not there."""
    known = set(np.unique(values).tolist())
    if isinstance(condition, In) and isinstance(condition.operand, Name):
        return [v for v in condition.values if v not in known]
    if isinstance(condition, Compare) and condition.op is Comparison.EQ:
        return [
            v for v in (_value(condition.left), _value(condition.right)) if v is not None and v not in known
        ]
    return []


_Wanted = tuple[Sequence[Any], Sequence[Any], Sequence[Any]]
"""Values to come near to, bounds to come near to from below, and from above."""


def _wanted(condition: Condition) -> _Wanted | None:
    if isinstance(condition, Compare):
        return _compared(condition)
    if isinstance(condition, In):
        spans = condition.ranges
        return (list(condition.values), [r.first for r in spans], [r.last for r in spans])
    if isinstance(condition, Between):
        low, high = _value(condition.low), _value(condition.high)
        if low is None or high is None:
            return None
        return ([], [low], [high])
    if isinstance(condition, Like):
        return ([condition.pattern], [], [])
    if isinstance(condition, Or):
        parts = [w for w in map(_wanted, condition.parts) if w is not None]
        merged = tuple([v for part in parts for v in part[i]] for i in range(3))
        return (merged[0], merged[1], merged[2]) if parts else None
    return None


def _compared(condition: Compare) -> _Wanted | None:
    op, value = condition.op, _value(condition.right)
    if isinstance(condition.right, Name):
        op, value = _MIRROR.get(op, op), _value(condition.left)
    if value is None or op is Comparison.NE:
        return None
    if op is Comparison.EQ:
        return ([value], [], [])
    # Nothing is below (or above) the bound: the least (or the greatest) there is comes nearest.
    return ([], [], [value]) if op in (Comparison.LT, Comparison.LE) else ([], [value], [])


def _value(operand: Any) -> Any:
    if isinstance(operand, Constant):
        return operand.value
    if isinstance(operand, Negative) and isinstance(operand.operand, Constant):
        return -operand.operand.value  # type: ignore[operator]
    return None


def _near_numbers(wanted: _Wanted, known: npt.NDArray[Any]) -> list[Any]:
    values, lows, highs = wanted
    found: dict[Any, None] = {}
    for value in values[:_SEVERAL]:
        found |= dict.fromkeys(_around(value, known, below=2, above=2))
    for value in lows[:_SEVERAL]:
        found |= dict.fromkeys(_around(value, known, below=2, above=0))
    for value in highs[:_SEVERAL]:
        found |= dict.fromkeys(_around(value, known, below=0, above=2))
    return sorted(found)


def _around(value: Any, known: npt.NDArray[Any], *, below: int, above: int) -> list[Any]:
    try:
        place = int(np.searchsorted(known, value))
    except (TypeError, np.exceptions.DTypePromotionError):
        return []
    found: list[Any] = known[max(place - below, 0) : place + above].tolist()
    return found


def _near_texts(wanted: Iterable[str], known: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for word in list(wanted)[:_SEVERAL]:
        folded = word.casefold()
        found |= dict.fromkeys(k for k in known if k.casefold() == folded)
        found |= dict.fromkeys(
            k for k in known if fnmatch.fnmatchcase(k.casefold(), f"*{folded.strip('*?')}*")
        )
        near = difflib.get_close_matches(folded, [k.casefold() for k in known[:_SAMPLE]], n=_SEVERAL)
        found |= dict.fromkeys(k for k in known[:_SAMPLE] if k.casefold() in near)
    return list(found) or list(known[:_SHOWN])
