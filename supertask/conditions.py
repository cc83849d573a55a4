"""Conditions on data IDs as a tree of values.

The expression grammar (`graphbuilder.expressions.language`) makes these trees, a Butler turns them into
bound SQL, and the RepoGraph evaluates them on columns: three readers of one language, none of
which ever sees the user's text. What only the repository knows (`Overlaps`, `Exists`) is looked up first
(`graphbuilder.loading.lookups`) and has become `Members` before any of them reads it.

A row that lacks what a condition speaks of (a bias exposure has no band) is not constrained by it:
null is neither true nor false, and only what is false is left out.
"""

from __future__ import annotations

import enum
import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

__all__ = [
    "And",
    "Arithmetic",
    "Between",
    "Compare",
    "Comparison",
    "Condition",
    "Constant",
    "Exists",
    "In",
    "Like",
    "Members",
    "Name",
    "Negative",
    "Not",
    "Operand",
    "Or",
    "Overlaps",
    "Place",
    "Range",
    "Shape",
    "conjuncts",
    "evaluate",
    "has_members",
    "names",
]

Value = int | float | str | bool


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@attrs.frozen
class Name:
    """The key of a unit, or one of its fields."""

    unit: str
    field: str | None = None

    def __str__(self) -> str:
        return self.unit if self.field is None else f"{self.unit}.{self.field}"


@attrs.frozen
class Constant:
    """A literal value; of a time, nanoseconds TAI since 1970."""

    value: Value
    shown: str = attrs.field(default="", eq=False)
    """The expression for it where that says more than the value: ``'2026-01-01 UTC'`` for a time."""

    def __str__(self) -> str:
        if self.shown:
            return self.shown
        if isinstance(self.value, str):
            return _quote(self.value)
        return str(self.value).upper() if isinstance(self.value, bool) else str(self.value)


@attrs.frozen
class Negative:
    """Minus an operand."""

    operand: Operand

    def __str__(self) -> str:
        return f"-{self.operand}"


@attrs.frozen
class Arithmetic:
    """Two operands joined by ``+ - * / %``.

    As in Python and numpy: ``/`` of whole numbers gives a fraction, ``%`` has the divisor's sign.
    What has no value (division by zero) is null.
    """

    op: str
    left: Operand
    right: Operand

    def __str__(self) -> str:
        return f"({self.left} {self.op} {self.right})"


Operand = Name | Constant | Negative | Arithmetic


class Comparison(enum.Enum):
    """The six comparisons."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


@attrs.frozen
class Compare:
    """Two operands compared."""

    op: Comparison
    left: Operand
    right: Operand

    def __str__(self) -> str:
        return f"{self.left} {self.op.value} {self.right}"


@attrs.frozen
class Range:
    """All of ``first, first + step, …`` up to and including `last`."""

    first: int
    last: int
    step: int = 1

    def __str__(self) -> str:
        return f"{self.first}..{self.last}" + (f":{self.step}" if self.step != 1 else "")


@attrs.frozen
class In:
    """Membership in a list of values and ranges."""

    operand: Operand
    values: tuple[Value, ...] = ()
    ranges: tuple[Range, ...] = ()

    def __str__(self) -> str:
        items = [str(Constant(v)) for v in self.values] + [str(r) for r in self.ranges]
        return f"{self.operand} IN ({', '.join(items)})"


@attrs.frozen
class Between:
    """``low <= operand <= high``."""

    operand: Operand
    low: Operand
    high: Operand

    def __str__(self) -> str:
        return f"{self.operand} BETWEEN {self.low} AND {self.high}"


@attrs.frozen
class Like:
    """A shell pattern (``* ? [a-z] [!a-z]``) that the whole string must match, case counting.

    The grammar writes SQL's ``LIKE`` (``% _``) as one of these, so that there is one kind to translate.
    """

    operand: Operand
    pattern: str

    def __str__(self) -> str:
        return f"{self.operand} GLOB {_quote(self.pattern)}"


@attrs.frozen(eq=False)
class Members:
    """Membership of several names together in rows: of a file, or of what the repository was asked for."""

    names: tuple[Name, ...]
    columns: tuple[npt.NDArray[Any], ...]
    """For each name its values, shape (n,), int64 or object for text."""
    shown: str
    """The part of the expression that became this."""
    asked: Overlaps | None = attrs.field(default=None, eq=False)
    """What was asked of the sky, if it was that: for whoever is to say what comes nearest."""

    def __str__(self) -> str:
        return self.shown


@attrs.frozen
class Shape:
    """A region of the sky in numbers, degrees ICRS."""

    kind: str
    """``CIRCLE`` (ra, dec, radius), ``BOX`` (ra, dec, width, height) or ``POLYGON`` (ra, dec in turn)."""
    numbers: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(map(str, self.numbers))})"


@attrs.frozen
class Place:
    """The region that instances of a unit cover."""

    unit: str
    keys: tuple[tuple[str, Value], ...]
    """Which instances: unit → key; several if these do not name one."""

    def __str__(self) -> str:
        return f"{self.unit}({', '.join(f'{u}={Constant(v)}' for u, v in self.keys)})"


@attrs.frozen
class Overlaps:
    """Whether units lie, in part or whole, in a region of the sky."""

    units: tuple[str, ...]
    region: Shape | Place
    at: int = attrs.field(default=0, eq=False)
    """Where in the expression it stands, for messages."""

    def __str__(self) -> str:
        units = self.units[0] if len(self.units) == 1 else f"({', '.join(self.units)})"
        return f"{units} OVERLAPS {self.region}"


@attrs.frozen
class Exists:
    """Whether there is a dataset of a type with this data ID."""

    dataset_type: str
    collections: tuple[str, ...] = ()
    """Where; in the collections searched unless given."""
    at: int = attrs.field(default=0, eq=False)

    def __str__(self) -> str:
        name = self.dataset_type if self.dataset_type.isidentifier() else _quote(self.dataset_type)
        where = ", ".join(map(_quote, self.collections))
        return f"EXISTS({name}{f' IN {where}' if where else ''})"


@attrs.frozen
class And:
    """All of several conditions."""

    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " AND ".join(f"({p})" if isinstance(p, And | Or) else str(p) for p in self.parts)


@attrs.frozen
class Or:
    """At least one of several conditions."""

    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " OR ".join(f"({p})" if isinstance(p, Or) else str(p) for p in self.parts)


@attrs.frozen
class Not:
    """The contrary of a condition."""

    part: Condition

    def __str__(self) -> str:
        return f"NOT ({self.part})"


Condition = Compare | In | Between | Like | Members | Overlaps | Exists | And | Or | Not


def conjuncts(condition: Condition | None) -> tuple[Condition, ...]:
    """Return the conditions that must all hold, nested ANDs laid flat."""
    if condition is None:
        return ()
    if isinstance(condition, And):
        return tuple(c for part in condition.parts for c in conjuncts(part))
    return (condition,)


def names(node: Condition | Operand) -> frozenset[Name]:
    """Return every unit key and field that a condition or operand speaks of."""
    return frozenset(_names(node))


def _names(node: Any) -> Iterator[Name]:
    if isinstance(node, Name):
        yield node
    elif isinstance(node, Members):
        yield from node.names
    elif isinstance(node, Overlaps):
        yield from map(Name, node.units)
    elif isinstance(node, And | Or):
        for part in node.parts:
            yield from _names(part)
    elif attrs.has(type(node)):
        for field in attrs.fields(type(node)):
            value = getattr(node, field.name)
            if attrs.has(type(value)):
                yield from _names(value)


def has_members(condition: Condition) -> bool:
    """Tell whether a condition, or a part of it, is about rows of a table, and so is no SQL."""
    if isinstance(condition, And | Or):
        return any(map(has_members, condition.parts))
    return has_members(condition.part) if isinstance(condition, Not) else isinstance(condition, Members)


Column = npt.NDArray[Any]
Resolve = Callable[[Name], tuple[Column, npt.NDArray[np.bool_] | None]]


def evaluate(condition: Condition, resolve: Resolve) -> npt.NDArray[np.bool_]:
    """Return where a condition is not false.

    Parameters
    ----------
    condition : Condition
        What to evaluate.
    resolve : callable
        Gives for a `Name` its column, shape (n,), and a boolean mask of its nulls, or None.

    Returns
    -------
    numpy.ndarray
        Shape (n,), bool: True where the condition holds or cannot be told for a null. Of a
        condition without names, shape ().
    """
    true, null = _truth(condition, resolve)
    passed: npt.NDArray[np.bool_] = true if null is None else true | null
    return passed


def _either(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a | b


def _operand(node: Operand, resolve: Resolve) -> tuple[Any, Any]:
    if isinstance(node, Name):
        return resolve(node)
    if isinstance(node, Constant):
        return node.value, None
    if isinstance(node, Negative):
        value, null = _operand(node.operand, resolve)
        return -value, null
    left, left_null = _operand(node.left, resolve)
    right, right_null = _operand(node.right, resolve)
    null = _either(left_null, right_null)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = _ARITHMETIC[node.op](left, right)
    if node.op in "/%" and np.any(by_zero := np.broadcast_to(np.equal(right, 0), np.shape(value))):
        null = _either(null, by_zero)
    return value, null


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": np.true_divide,
    "%": np.mod,
}


def _orderable(node: Operand, resolve: Resolve) -> tuple[Any, Any]:
    """Evaluate an operand; what stands where text is null (it may be None) is made to compare."""
    value, null = _operand(node, resolve)
    if null is not None and isinstance(value, np.ndarray) and value.dtype.hasobject:
        value = np.where(null, "", value)
    return value, null


def _for_each(values: Any, test: Callable[[Any], bool]) -> Any:
    """Apply a test to each value, once to each that is there often."""
    listed = values.ravel().tolist()
    known = {v: test(v) for v in set(listed)}
    return np.fromiter((known[v] for v in listed), bool, len(listed)).reshape(values.shape)


def _among(node: Members, resolve: Resolve) -> tuple[Any, Any]:
    """Both sides are ranked alike name by name, and the ranks joined in one number."""
    null = None
    shape: tuple[int, ...] = ()
    ours: Any = np.zeros(1, np.int64)
    theirs: Any = np.zeros(len(node.columns[0]), np.int64)
    for name, column in zip(node.names, node.columns, strict=True):
        value, name_null = _orderable(name, resolve)
        null = _either(null, name_null)
        value = np.asarray(value)
        shape = value.shape
        known, rank = np.unique(column, return_inverse=True)
        if not len(known):
            return np.zeros(shape, bool), null
        # What is in no row gets -1, which is the last place of the rank before, and that no row has.
        if value.dtype.hasobject:
            ranks = {v: i for i, v in enumerate(known.tolist())}
            place = np.fromiter((ranks.get(v, -1) for v in value.ravel().tolist()), np.int64, value.size)
        else:
            flat = value.ravel()
            place = np.minimum(np.searchsorted(known, flat), len(known) - 1)
            place = np.where(known[place] == flat, place, -1)
        both = np.concatenate([ours * (len(known) + 1) + place, theirs * (len(known) + 1) + rank])
        # Ranked again, so that the product of many names does not outgrow 64 bits.
        both = np.unique(both, return_inverse=True)[1]
        ours, theirs = both[: value.size], both[value.size :]
    return np.isin(ours, theirs).reshape(shape), null


_COMPARE: dict[Comparison, Callable[[Any, Any], Any]] = {
    Comparison.EQ: lambda a, b: a == b,
    Comparison.NE: lambda a, b: a != b,
    Comparison.LT: lambda a, b: a < b,
    Comparison.LE: lambda a, b: a <= b,
    Comparison.GT: lambda a, b: a > b,
    Comparison.GE: lambda a, b: a >= b,
}


def _within(value: Column, ranges: Sequence[Range]) -> Any:
    """Tell which values are in any of some ranges, of which there may be thousands."""
    true = np.zeros(value.shape, bool)
    plain = sorted((r.first, r.last) for r in ranges if r.step == 1)
    if plain:
        first, last = np.array(plain).T
        # Of all ranges that begin at or before a value, the one that ends last decides.
        before = np.searchsorted(first, value, "right") - 1
        true |= (before >= 0) & (value <= np.maximum.accumulate(last)[before])
    for r in ranges:
        if r.step != 1:
            true |= (value >= r.first) & (value <= r.last) & ((value - r.first) % r.step == 0)
    return true & (value % 1 == 0) if value.dtype.kind == "f" else true


def _truth(node: Condition, resolve: Resolve) -> tuple[Any, Any]:
    """Kleene's three values as two columns: true, and null (None where nothing is null)."""
    if isinstance(node, And | Or):
        pairs = [_truth(p, resolve) for p in node.parts]
        true, null = pairs[0]
        for other_true, other_null in pairs[1:]:
            if isinstance(node, And):
                possible = _either(true, null) & _either(other_true, other_null)
                true = true & other_true
            else:
                possible = _either(_either(true, null), _either(other_true, other_null))
                true = true | other_true
            null = _either(null, other_null)
            if null is not None:
                null = null & possible & ~true
        return true, null
    if isinstance(node, Not):
        true, null = _truth(node.part, resolve)
        return (~true if null is None else ~(true | null)), null
    if isinstance(node, Compare):
        left, left_null = _orderable(node.left, resolve)
        right, right_null = _orderable(node.right, resolve)
        true = np.asarray(_COMPARE[node.op](left, right), dtype=bool)
        null = _either(left_null, right_null)
    elif isinstance(node, Between):
        # As SQL has it: what is above `high` is out, whether or not `low` is null.
        above = Compare(Comparison.GE, node.operand, node.low)
        return _truth(And((above, Compare(Comparison.LE, node.operand, node.high))), resolve)
    elif isinstance(node, In):
        value, null = _operand(node.operand, resolve)
        value = np.asarray(value)
        if value.dtype.hasobject:
            true = _for_each(value, frozenset(node.values).__contains__)
        else:
            true = np.isin(value, np.asarray(node.values)) if node.values else np.zeros(value.shape, bool)
        true |= _within(value, node.ranges)
    elif isinstance(node, Members):
        true, null = _among(node, resolve)
    elif isinstance(node, Overlaps | Exists):
        raise TypeError(f"{node} was not looked up in the repository: see graphbuilder.loading.lookups")
    else:
        value, null = _operand(node.operand, resolve)
        match = re.compile(fnmatch.translate(node.pattern)).match
        true = _for_each(np.asarray(value), lambda v: match(str(v)) is not None)
    return (true if null is None else true & ~null), null
