"""From the parse tree of a data-ID expression to a condition, every part checked against the unit model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from lark import Token, Tree
from lark.exceptions import VisitError

from graphbuilder.expressions.lookups import Lookups
from graphbuilder.expressions.parts import Kind, Part, shorten
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
    Not,
    Or,
    Range,
)
from supertask.errors import ExpressionError
from supertask.units import UnitModel

__all__ = ["build"]

_COMPARISONS = {**{c.value: c for c in Comparison}, "==": Comparison.EQ, "<>": Comparison.NE}


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


class _Builder(Lookups):
    """One method for each rule of the grammar, called bottom up without recursion."""

    def start(self, parts: list[Part]) -> Condition | None:
        return self._condition(parts[0]).node if parts else None

    def any_of(self, parts: list[Part]) -> Part:
        return self._junction(Or, parts)

    def all_of(self, parts: list[Part]) -> Part:
        return self._junction(And, parts)

    def contrary(self, parts: list[Any]) -> Part:
        token, part = parts
        part = self._condition(part)
        return self._made(Not(part.node), Kind.CONDITION, token.start_pos, [part])

    def compare(self, parts: list[Any]) -> Part:
        left, token, right = parts
        left, right = self._alike(left, right)
        op = _COMPARISONS[str(token)]
        if left.kind is Kind.BOOL and op not in (Comparison.EQ, Comparison.NE):
            raise self._wrong("true and false have no order: compare them with = or !=", token.start_pos)
        return self._made(Compare(op, left.node, right.node), Kind.CONDITION, left.at, [left, right])

    def between(self, parts: list[Any]) -> Part:
        value, negated, (low, high) = self._split(parts, "BETWEEN")
        _, low = self._alike(value, low)
        _, high = self._alike(value, high)
        if value.kind is Kind.BOOL:
            raise self._wrong("true and false have no order: compare them with = or !=", value.at)
        if low.constant and high.constant and low.node.value > high.node.value:
            raise self._wrong(
                f"nothing is between {low.node} and {high.node}: the smaller comes first", low.at
            )
        made = self._made(
            Between(value.node, low.node, high.node), Kind.CONDITION, value.at, [value, low, high]
        )
        return self._negated(made, negated)

    def among(self, parts: list[Any]) -> Part:
        value, negated, (members,) = self._split(parts, "IN")
        values: dict[Any, None] = {}
        ranges: list[Range] = []
        for part in members:
            if isinstance(part.node, Range):
                if value.kind is not Kind.INT:
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
        return self._negated(self._made(made, Kind.CONDITION, value.at, [value]), negated)

    def like(self, parts: list[Any]) -> Part:
        value, negated, (pattern,) = self._split(parts, "LIKE")
        text = self._pattern(value, pattern, "LIKE")
        as_glob = "".join({"%": "*", "_": "?"}.get(c, f"[{c}]" if c in "*?[" else c) for c in text)
        return self._negated(
            self._made(Like(value.node, as_glob), Kind.CONDITION, value.at, [value]), negated
        )

    def glob(self, parts: list[Any]) -> Part:
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
        return self._negated(self._made(Like(value.node, text), Kind.CONDITION, value.at, [value]), negated)

    def _split(self, parts: list[Any], word: str) -> tuple[Part, bool, list[Any]]:
        """Take ``value [NOT] WORD rest`` apart; the value must be one, and speak of a unit."""
        value = self._value(parts[0])
        rest = [p for p in parts[1:] if not isinstance(p, Token)]
        negated = any(isinstance(p, Token) and p.type == "NOT" for p in parts)
        if value.constant:
            raise self._wrong(
                f"{word} has a unit or a field on its left, not the constant {value.node}", value.at
            )
        return value, negated, rest

    def _negated(self, part: Part, negated: bool) -> Part:
        return self._made(Not(part.node), Kind.CONDITION, part.at, [part]) if negated else part

    def _pattern(self, value: Part, pattern: Part, word: str) -> str:
        if value.kind not in (Kind.STR, Kind.DATE):
            raise self._wrong(f"{word} is for text, and {value.node} is {value.kind.value}", value.at)
        if not pattern.constant or pattern.kind is not Kind.STR:
            raise self._wrong(f"{word} has a text in quotes on its right, such as 'M%'", pattern.at)
        return str(pattern.node.value)

    def _junction(self, kind: type[And | Or], parts: list[Part]) -> Part:
        flat: list[Condition] = []
        parts = [self._condition(p) for p in parts]
        for part in parts:
            flat.extend(part.node.parts if isinstance(part.node, kind) else [part.node])
        joined = [attrs.evolve(p, depth=p.depth - 1) if isinstance(p.node, kind) else p for p in parts]
        return self._made(kind(tuple(flat)), Kind.CONDITION, parts[0].at, joined)

    def _condition(self, part: Part) -> Part:
        if part.kind is Kind.CONDITION:
            return part
        if part.kind is Kind.BOOL and isinstance(part.node, Name):
            return self._made(
                Compare(Comparison.EQ, part.node, Constant(True)), Kind.CONDITION, part.at, [part]
            )
        if part.constant:
            raise self._wrong(
                f"{shorten(str(part.node))} alone is no condition: compare a unit with it", part.at
            )
        if part.kind is Kind.LIST:
            raise self._wrong("a list alone is no condition: write visit IN :name", part.at)
        what = f"{shorten(str(part.node))} alone is no condition but {part.kind.value}"
        raise self._wrong(f"{what}: compare it with something", part.at)
