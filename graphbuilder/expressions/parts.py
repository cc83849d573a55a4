"""Parts of an expression while it is put together, and the checks that all of them undergo."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from lark import Token
from lark.visitors import Transformer_NonRecursive

from supertask.conditions import Condition, Constant, Operand
from supertask.errors import ExpressionError
from supertask.times import TimeError, tai_ns
from supertask.units import FieldKind, KeyKind, UnitModel

__all__ = ["NUMBERS", "OF_FIELD", "OF_KEY", "Checks", "Kind", "Part", "shorten"]

_DAY = 86_400_000_000_000
"""In nanoseconds: what is less as a time was meant as an MJD, a JD or seconds."""
_MAX_DEPTH = 50


class Kind(enum.Enum):
    """What a part of an expression is, in words for messages."""

    CONDITION = "a condition"
    INT = "a whole number"
    FLOAT = "a number"
    STR = "text"
    BOOL = "true or false"
    TIME = "a time"
    DATE = "a date"
    LIST = "a list"
    REGION = "a region of the sky"


NUMBERS = (Kind.INT, Kind.FLOAT)
OF_KEY = {KeyKind.INT: Kind.INT, KeyKind.STR: Kind.STR, KeyKind.DATE: Kind.DATE}
OF_FIELD = {
    FieldKind.INT: Kind.INT,
    FieldKind.FLOAT: Kind.FLOAT,
    FieldKind.STR: Kind.STR,
    FieldKind.BOOL: Kind.BOOL,
    FieldKind.TIME: Kind.TIME,
}


@attrs.frozen
class Part:
    """A part of the expression: what it became, its kind, where it began."""

    node: Any
    kind: Kind
    at: int
    depth: int = 1

    @property
    def constant(self) -> bool:
        return isinstance(self.node, Constant)


def shorten(text: str, length: int = 40) -> str:
    """Return `text`, or as much of its beginning as a message can bear."""
    return text if len(text) <= length else text[: length - 1] + "…"


class Checks(Transformer_NonRecursive[Token, Any]):
    """What every rule of the grammar needs: the text to point into, and comparisons of kinds."""

    def __init__(self, text: str, model: UnitModel, bind: Mapping[str, Any]) -> None:
        super().__init__()
        self._text = text
        self._model = model
        self._bind = bind

    def _wrong(self, message: str, at: int) -> ExpressionError:
        return ExpressionError(message, self._text, at)

    def _value(self, part: Part) -> Part:
        if part.kind is Kind.CONDITION:
            raise self._wrong("expected a unit, a field or a value, and this is a condition", part.at)
        if part.kind is Kind.LIST:
            raise self._wrong("this bind value is a list: use it with IN", part.at)
        return part

    def _alike(self, left: Part, right: Part) -> tuple[Part, Part]:
        """Return both sides of a comparison in one kind, text made a time or a date where one is meant."""
        left, right = self._value(left), self._value(right)
        if left.constant and right.constant:
            raise self._wrong("this compares two constants: a condition speaks of a unit or a field", left.at)
        left, right = self._as(left, right.kind), self._as(right, left.kind)
        if left.kind is right.kind or (left.kind in NUMBERS and right.kind in NUMBERS):
            return left, right
        name, other = (right, left) if left.constant else (left, right)
        hint = ""
        if name.kind is Kind.STR and other.kind in NUMBERS:
            hint = f": write it in quotes, '{other.node}'" if other.constant else ""
        elif name.kind in NUMBERS and other.kind is Kind.STR and other.constant:
            hint = ": write a number, without quotes"
        elif name.kind is Kind.TIME:
            hint = ": write a time in quotes, '2026-01-05T03:00:00 UTC'"
        raise self._wrong(
            f"{shorten(str(name.node))} is {name.kind.value} and cannot be compared with "
            f"{shorten(str(other.node))}, which is {other.kind.value}{hint}",
            other.at,
        )

    def _as(self, part: Part, kind: Kind) -> Part:
        if not part.constant or part.kind is kind:
            return part
        value = part.node.value
        if kind is Kind.TIME and part.kind is Kind.STR:
            try:
                return attrs.evolve(part, node=Constant(tai_ns(value), str(part.node)), kind=kind)
            except TimeError as error:
                raise self._wrong(str(error), part.at) from None
        if kind is Kind.TIME and part.kind is Kind.INT:
            if 0 < abs(value) < _DAY:
                raise self._wrong(
                    f"{value} is no time: a number would be TAI nanoseconds since 1970; write it in quotes, "
                    f"'MJD {value}' or '2026-01-05T03:00:00 UTC'",
                    part.at,
                )
            return attrs.evolve(part, kind=kind)
        if kind is Kind.DATE and part.kind is Kind.STR:
            try:
                return attrs.evolve(part, node=Constant(dt.date.fromisoformat(value).isoformat()), kind=kind)
            except ValueError:
                raise self._wrong(f"{value!r:.60} is not a date: write it as '2026-01-05'", part.at) from None
        return part

    def _made(self, node: Condition | Operand, kind: Kind, at: int, parts: Iterable[Part]) -> Part:
        depth = 1 + max((p.depth for p in parts), default=0)
        if depth > _MAX_DEPTH:
            raise self._wrong(f"this nests more than {_MAX_DEPTH} deep: simplify the expression", at)
        return Part(node, kind, at, depth)
