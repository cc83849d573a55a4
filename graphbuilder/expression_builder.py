"""From the parse tree of a data-ID expression to a condition, every part checked against the unit model."""

from __future__ import annotations

import datetime as dt
import enum
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import attrs
from lark import Token, Tree
from lark.exceptions import VisitError
from lark.visitors import Transformer_NonRecursive

from supertask.conditions import (
    And,
    Arithmetic,
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
    Range,
)
from supertask.errors import ExpressionError, did_you_mean
from supertask.times import TimeError, tai_ns
from supertask.units import FieldKind, KeyKind, UnitModel

__all__ = ["build", "shorten"]

_MAX_DEPTH = 50
_MAX_INT = 2**63 - 1


class _Kind(enum.Enum):
    """What a part of an expression is, in words for messages."""

    CONDITION = "a condition"
    INT = "a whole number"
    FLOAT = "a number"
    STR = "text"
    BOOL = "true or false"
    TIME = "a time"
    DATE = "a date"
    LIST = "a list"


_NUMBERS = (_Kind.INT, _Kind.FLOAT)
_OF_KEY = {KeyKind.INT: _Kind.INT, KeyKind.STR: _Kind.STR, KeyKind.DATE: _Kind.DATE}
_OF_FIELD = {
    FieldKind.INT: _Kind.INT,
    FieldKind.FLOAT: _Kind.FLOAT,
    FieldKind.STR: _Kind.STR,
    FieldKind.BOOL: _Kind.BOOL,
    FieldKind.TIME: _Kind.TIME,
}

_COMPARISONS = {**{c.value: c for c in Comparison}, "==": Comparison.EQ, "<>": Comparison.NE}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "%": lambda a, b: a % b,
}


@attrs.frozen
class _Part:
    """A part of the expression: what it became, its kind, where it began."""

    node: Any
    kind: _Kind
    at: int
    depth: int = 1

    @property
    def constant(self) -> bool:
        return isinstance(self.node, Constant)


def shorten(text: str, length: int = 40) -> str:
    """Return `text`, or as much of its beginning as a message can bear."""
    return text if len(text) <= length else text[: length - 1] + "…"


def build(tree: Tree[Token], text: str, model: UnitModel, bind: Mapping[str, Any]) -> Condition | None:
    """Return the condition that a parse tree means.

    Parameters
    ----------
    tree : lark.Tree
        Of the grammar beside this module.
    text : str
        The expression, for messages.
    model : UnitModel
        Units and fields that may be named.
    bind : Mapping
        Bind values.

    Raises
    ------
    ExpressionError
        A part means nothing, or is of the wrong kind for its place.
    """
    try:
        condition: Condition | None = _Builder(text, model, bind).transform(tree)
    except VisitError as error:
        if isinstance(error.orig_exc, ExpressionError):
            raise error.orig_exc from None
        raise
    return condition


class _Builder(Transformer_NonRecursive[Token, Any]):
    """One method for each rule of the grammar, called bottom up without recursion."""

    def __init__(self, text: str, model: UnitModel, bind: Mapping[str, Any]) -> None:
        super().__init__()
        self._text = text
        self._model = model
        self._bind = bind

    def _wrong(self, message: str, at: int) -> ExpressionError:
        return ExpressionError(message, self._text, at)

    # -- conditions ---------------------------------------------------------------------------

    def start(self, parts: list[_Part]) -> Condition | None:
        return self._condition(parts[0]).node if parts else None

    def any_of(self, parts: list[_Part]) -> _Part:
        return self._junction(Or, parts)

    def all_of(self, parts: list[_Part]) -> _Part:
        return self._junction(And, parts)

    def contrary(self, parts: list[Any]) -> _Part:
        token, part = parts
        part = self._condition(part)
        return self._made(Not(part.node), _Kind.CONDITION, token.start_pos, [part])

    def compare(self, parts: list[Any]) -> _Part:
        left, token, right = parts
        left, right = self._alike(left, right)
        op = _COMPARISONS[str(token)]
        if left.kind is _Kind.BOOL and op not in (Comparison.EQ, Comparison.NE):
            raise self._wrong("true and false have no order: compare them with = or !=", token.start_pos)
        return self._made(Compare(op, left.node, right.node), _Kind.CONDITION, left.at, [left, right])

    def between(self, parts: list[Any]) -> _Part:
        value, negated, (low, high) = self._split(parts, "BETWEEN")
        _, low = self._alike(value, low)
        _, high = self._alike(value, high)
        if value.kind is _Kind.BOOL:
            raise self._wrong("true and false have no order: compare them with = or !=", value.at)
        if low.constant and high.constant and low.node.value > high.node.value:
            raise self._wrong(
                f"nothing is between {low.node} and {high.node}: the smaller comes first", low.at
            )
        made = self._made(
            Between(value.node, low.node, high.node), _Kind.CONDITION, value.at, [value, low, high]
        )
        return self._negated(made, negated)

    def among(self, parts: list[Any]) -> _Part:
        value, negated, (members,) = self._split(parts, "IN")
        values: dict[Any, None] = {}
        ranges: list[Range] = []
        for part in members:
            if isinstance(part.node, Range):
                if value.kind is not _Kind.INT:
                    raise self._wrong(
                        f"a range is of whole numbers, and {value.node} is {value.kind.value}: use BETWEEN",
                        part.at,
                    )
                ranges.append(part.node)
                continue
            _, member = self._alike(value, part)
            if not member.constant:
                raise self._wrong("a list holds values, not names: use = and OR", member.at)
            values[member.node.value] = None
        made = In(value.node, tuple(values), tuple(ranges))
        return self._negated(self._made(made, _Kind.CONDITION, value.at, [value]), negated)

    def like(self, parts: list[Any]) -> _Part:
        value, negated, (pattern,) = self._split(parts, "LIKE")
        text = self._pattern(value, pattern, "LIKE")
        as_glob = "".join({"%": "*", "_": "?"}.get(c, f"[{c}]" if c in "*?[" else c) for c in text)
        return self._negated(
            self._made(Like(value.node, as_glob), _Kind.CONDITION, value.at, [value]), negated
        )

    def glob(self, parts: list[Any]) -> _Part:
        value, negated, (pattern,) = self._split(parts, "GLOB")
        text = self._pattern(value, pattern, "GLOB")
        i = text.find("[")
        while i >= 0:
            first = i + 1 + (text[i + 1 : i + 2] == "!")
            end = text.find("]", first + 1)
            if end < 0:
                raise self._wrong(
                    "a '[' in the pattern is not closed; the character itself is [[]", pattern.at
                )
            i = text.find("[", end)
        return self._negated(self._made(Like(value.node, text), _Kind.CONDITION, value.at, [value]), negated)

    def _split(self, parts: list[Any], word: str) -> tuple[_Part, bool, list[Any]]:
        """Take ``value [NOT] WORD rest`` apart; the value must be one, and speak of a unit."""
        value = self._value(parts[0])
        rest = [p for p in parts[1:] if not isinstance(p, Token)]
        negated = any(isinstance(p, Token) and p.type == "NOT" for p in parts)
        if value.constant:
            raise self._wrong(
                f"{word} has a unit or a field on its left, not the constant {value.node}", value.at
            )
        return value, negated, rest

    def _negated(self, part: _Part, negated: bool) -> _Part:
        return self._made(Not(part.node), _Kind.CONDITION, part.at, [part]) if negated else part

    def _pattern(self, value: _Part, pattern: _Part, word: str) -> str:
        if value.kind not in (_Kind.STR, _Kind.DATE):
            raise self._wrong(f"{word} is for text, and {value.node} is {value.kind.value}", value.at)
        if not pattern.constant or pattern.kind is not _Kind.STR:
            raise self._wrong(f"{word} has a text in quotes on its right, such as 'M%'", pattern.at)
        return str(pattern.node.value)

    def _junction(self, kind: type[And | Or], parts: list[_Part]) -> _Part:
        flat: list[Condition] = []
        parts = [self._condition(p) for p in parts]
        for part in parts:
            flat.extend(part.node.parts if isinstance(part.node, kind) else [part.node])
        joined = [attrs.evolve(p, depth=p.depth - 1) if isinstance(p.node, kind) else p for p in parts]
        return self._made(kind(tuple(flat)), _Kind.CONDITION, parts[0].at, joined)

    def _condition(self, part: _Part) -> _Part:
        if part.kind is _Kind.CONDITION:
            return part
        if part.kind is _Kind.BOOL and isinstance(part.node, Name):
            return self._made(
                Compare(Comparison.EQ, part.node, Constant(True)), _Kind.CONDITION, part.at, [part]
            )
        if part.constant:
            raise self._wrong(
                f"{shorten(str(part.node))} alone is no condition: compare a unit with it", part.at
            )
        if part.kind is _Kind.LIST:
            raise self._wrong("a list alone is no condition: write visit IN :name", part.at)
        what = f"{shorten(str(part.node))} alone is no condition but {part.kind.value}"
        raise self._wrong(f"{what}: compare it with something", part.at)

    # -- values -------------------------------------------------------------------------------

    def word(self, tokens: list[Token]) -> _Part:
        at = tokens[0].start_pos or 0
        name, _, field_name = str(tokens[0]).partition(".")
        if name not in self._model:
            self._unknown(name, field_name, at)
        unit = self._model.unit(name)
        if not field_name:
            return _Part(Name(name), _OF_KEY[unit.key], at)
        field = unit.field(field_name)
        if field is None:
            known = [f.name for f in unit.fields]
            hint = did_you_mean(field_name.lower(), known)
            raise self._wrong(
                f"{name!r} has no field {shorten(field_name)!r}{hint}; it has {', '.join(known) or 'none'}",
                at + len(name) + 1,
            )
        return _Part(Name(name, field_name), _OF_FIELD[field.kind], at)

    def _unknown(self, name: str, field_name: str, at: int) -> NoReturn:
        owners = [u.name for u in self._model if not field_name and u.field(name)]
        if owners:
            ways = " or ".join(f"{o}.{name}" for o in owners)
            raise self._wrong(f"{name!r} is a field, which is written with its unit: {ways}", at)
        hint = did_you_mean(name.lower()[:100], self._model.names)
        known = ", ".join(self._model.names)
        quotes = "" if field_name or hint else f"; text stands in quotes: '{shorten(name)}'"
        raise self._wrong(f"there is no unit {shorten(name)!r}{hint}; there are {known}{quotes}", at)

    def integer(self, tokens: list[Token]) -> _Part:
        digits = tokens[0].lstrip("0") or "0"
        return self._number(int(digits) if len(digits) < 20 else 10**20, tokens[0].start_pos or 0)

    def decimal(self, tokens: list[Token]) -> _Part:
        return self._number(float(tokens[0]), tokens[0].start_pos or 0)

    def text(self, tokens: list[Token]) -> _Part:
        quote = tokens[0][0]
        value = str(tokens[0][1:-1]).replace(quote * 2, quote)
        return _Part(Constant(value), _Kind.STR, tokens[0].start_pos or 0)

    def truth(self, tokens: list[Token]) -> _Part:
        return _Part(Constant(tokens[0].upper() == "TRUE"), _Kind.BOOL, tokens[0].start_pos or 0)

    def bind(self, tokens: list[Token]) -> _Part:
        at = tokens[0].start_pos or 0
        name = str(tokens[0][1:])
        if name not in self._bind:
            known = f"given are {', '.join(map(str, self._bind))}" if self._bind else "none are given"
            hint = did_you_mean(name[:100], map(str, self._bind))
            raise self._wrong(f"the bind value :{shorten(name)} is not given{hint}; {known}", at)
        return self._bound(name, self._bind[name], at)

    def _bound(self, name: str, value: Any, at: int) -> _Part:
        if isinstance(value, range):
            ranges = [_Part(_ascending(value), _Kind.INT, at)] if len(value) else []
            return _Part(ranges, _Kind.LIST, at)
        if hasattr(value, "tolist") and hasattr(value, "dtype"):
            if value.dtype.kind == "M":
                raise self._wrong(f"the bind value :{name} is a datetime64: give an astropy Time", at)
            value = value.tolist()
        if isinstance(value, list | tuple | set | frozenset) or _is_times(value):
            members = [
                self._bound(name, v, at) for v in value if not isinstance(v, list | tuple | set | range)
            ]
            if len(members) != len(value):
                raise self._wrong(f"the bind value :{name} is a list of lists", at)
            return _Part(members, _Kind.LIST, at)
        if isinstance(value, bool):
            return _Part(Constant(value), _Kind.BOOL, at)
        if isinstance(value, int | float):
            return self._number(value, at)
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise self._wrong(
                    f"the bind value :{name} holds half a character (a lone surrogate)", at
                ) from None
            if "\0" in value:
                raise self._wrong(f"the bind value :{name} holds a NUL character", at)
            return _Part(Constant(value), _Kind.STR, at)
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return _Part(Constant(value.isoformat()), _Kind.STR, at)
        try:
            ns = tai_ns(value)
        except TimeError:
            raise self._wrong(
                f"the bind value :{name} is {value!r:.60} ({type(value).__name__}): give a number, text, "
                "true or false, a date, a time, or a list of these",
                at,
            ) from None
        return _Part(Constant(ns, _show_time(ns)), _Kind.TIME, at)

    def _number(self, value: float, at: int) -> _Part:
        if isinstance(value, int):
            if abs(value) > _MAX_INT:
                raise self._wrong(f"a whole number is at most {_MAX_INT} (64 bits)", at)
            return _Part(Constant(int(value)), _Kind.INT, at)
        if not math.isfinite(value):
            raise self._wrong("this number is too large, or not a number", at)
        return _Part(Constant(float(value)), _Kind.FLOAT, at)

    def signed(self, parts: list[Any]) -> _Part:
        token, part = parts
        part = self._value(part)
        if part.kind not in _NUMBERS:
            raise self._wrong(f"only numbers have a sign; this is {part.kind.value}", part.at)
        if token.type == "PLUS":
            return part
        if part.constant:
            return attrs.evolve(self._number(-part.node.value, token.start_pos), depth=part.depth)
        return self._made(Negative(part.node), part.kind, token.start_pos, [part])

    def arithmetic(self, parts: list[Any]) -> _Part:
        left = self._value(parts[0])
        for token, right in zip(parts[1::2], parts[2::2], strict=True):
            left = self._arithmetic(str(token), left, self._value(right), token.start_pos)
        return left

    def _arithmetic(self, op: str, left: _Part, right: _Part, at: int) -> _Part:
        for part in (left, right):
            if part.kind not in _NUMBERS:
                raise self._wrong(
                    f"{op!r} is for numbers, and {shorten(str(part.node))} is {part.kind.value}", part.at
                )
        if op in "/%" and right.constant and right.node.value == 0:
            raise self._wrong("this divides by zero", right.at)
        if left.constant and right.constant:
            try:
                return self._number(_ARITHMETIC[op](left.node.value, right.node.value), left.at)
            except OverflowError:
                raise self._wrong("this number is too large", at) from None
        whole = left.kind is right.kind is _Kind.INT and op != "/"
        return self._made(
            Arithmetic(op, left.node, right.node),
            _Kind.INT if whole else _Kind.FLOAT,
            left.at,
            [left, right],
        )

    def members(self, parts: list[_Part]) -> list[_Part]:
        return [m for p in parts for m in (p.node if p.kind is _Kind.LIST else [p])]

    def bound_members(self, tokens: list[Token]) -> list[_Part]:
        part = self.bind(tokens)
        if part.kind is not _Kind.LIST:
            raise self._wrong(
                f"IN needs a list, and {tokens[0]} is {part.kind.value}: use = or a list", part.at
            )
        return self.members([part])

    def span(self, parts: list[_Part]) -> _Part:
        for part in parts:
            if not part.constant or part.kind is not _Kind.INT:
                raise self._wrong("a range is of whole numbers: 1..10, or 1..10:2", part.at)
        first, last, *step = (p.node.value for p in parts)
        if first > last:
            raise self._wrong(
                f"the range {first}..{last} is empty: the smaller number comes first", parts[0].at
            )
        if step and step[0] < 1:
            raise self._wrong("the step of a range is 1 or more", parts[2].at)
        return _Part(Range(first, last, *step), _Kind.INT, parts[0].at)

    # -- checks -------------------------------------------------------------------------------

    def _value(self, part: _Part) -> _Part:
        if part.kind is _Kind.CONDITION:
            raise self._wrong("expected a unit, a field or a value, and this is a condition", part.at)
        if part.kind is _Kind.LIST:
            raise self._wrong("this bind value is a list: use it with IN", part.at)
        return part

    def _alike(self, left: _Part, right: _Part) -> tuple[_Part, _Part]:
        """Return both sides of a comparison in one kind, text made a time or a date where one is meant."""
        left, right = self._value(left), self._value(right)
        if left.constant and right.constant:
            raise self._wrong("this compares two constants: a condition speaks of a unit or a field", left.at)
        left, right = self._as(left, right.kind), self._as(right, left.kind)
        if left.kind is right.kind or (left.kind in _NUMBERS and right.kind in _NUMBERS):
            return left, right
        name, other = (right, left) if left.constant else (left, right)
        hint = ""
        if name.kind is _Kind.STR and other.kind in _NUMBERS:
            hint = f": write it in quotes, '{other.node}'" if other.constant else ""
        elif name.kind in _NUMBERS and other.kind is _Kind.STR and other.constant:
            hint = ": write a number, without quotes"
        elif name.kind is _Kind.TIME:
            hint = ": write a time in quotes, '2026-01-05T03:00:00 UTC'"
        raise self._wrong(
            f"{shorten(str(name.node))} is {name.kind.value} and cannot be compared with "
            f"{shorten(str(other.node))}, which is {other.kind.value}{hint}",
            other.at,
        )

    def _as(self, part: _Part, kind: _Kind) -> _Part:
        if not part.constant or part.kind is kind:
            return part
        value = part.node.value
        if kind is _Kind.TIME and part.kind is _Kind.STR:
            try:
                return attrs.evolve(part, node=Constant(tai_ns(value), str(part.node)), kind=kind)
            except TimeError as error:
                raise self._wrong(str(error), part.at) from None
        if kind is _Kind.TIME and part.kind is _Kind.INT:
            return attrs.evolve(part, kind=kind)
        if kind is _Kind.DATE and part.kind is _Kind.STR:
            try:
                return attrs.evolve(part, node=Constant(dt.date.fromisoformat(value).isoformat()), kind=kind)
            except ValueError:
                raise self._wrong(f"{value!r:.60} is not a date: write it as '2026-01-05'", part.at) from None
        return part

    def _made(self, node: Condition | Operand, kind: _Kind, at: int, parts: Iterable[_Part]) -> _Part:
        depth = 1 + max(p.depth for p in parts)
        if depth > _MAX_DEPTH:
            raise self._wrong(f"this nests more than {_MAX_DEPTH} deep: simplify the expression", at)
        return _Part(node, kind, at, depth)


def _ascending(values: range) -> Range:
    low, high = sorted((values[0], values[-1]))
    return Range(low, high, abs(values.step) if len(values) > 1 else 1)


def _is_times(value: Any) -> bool:
    return hasattr(value, "tai") and not getattr(value, "isscalar", True)


def _show_time(ns: int) -> str:
    seconds, rest = divmod(ns, 10**9)
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
    return f"'{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d} TAI'"
