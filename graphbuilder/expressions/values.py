"""Values in an expression: names, literals, bind values, arithmetic and the members of lists."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, NoReturn

import attrs
from lark import Token

from graphbuilder.expressions.bindvalues import from_plain, is_times, time_text
from graphbuilder.expressions.parts import NUMBERS, OF_FIELD, OF_KEY, Checks, Kind, Part, shorten
from supertask.conditions import Arithmetic, Constant, Name, Negative, Range
from supertask.errors import did_you_mean
from supertask.times import TimeError, tai_ns

__all__ = ["Values"]

_MAX_INT = 2**63 - 1

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "%": lambda a, b: a % b,
}


class Values(Checks):
    """The rules of the grammar that give values."""

    def word(self, tokens: list[Token]) -> Part:
        at = tokens[0].start_pos or 0
        name, _, field_name = str(tokens[0]).partition(".")
        if name not in self._model:
            self._unknown(name, field_name, at)
        unit = self._model.unit(name)
        if not field_name:
            return Part(Name(name), OF_KEY[unit.key], at)
        field = unit.field(field_name)
        if field is None:
            known = [f.name for f in unit.fields]
            hint = did_you_mean(field_name.lower(), known)
            raise self._wrong(
                f"{name!r} has no field {shorten(field_name)!r}{hint}; it has {', '.join(known) or 'none'}",
                at + len(name) + 1,
            )
        return Part(Name(name, field_name), OF_FIELD[field.kind], at)

    def _unknown(self, name: str, field_name: str, at: int) -> NoReturn:
        owners = [u.name for u in self._model if not field_name and u.field(name)]
        if owners:
            ways = " or ".join(f"{o}.{name}" for o in owners)
            raise self._wrong(f"{name!r} is a field, which is written with its unit: {ways}", at)
        hint = did_you_mean(name.lower()[:100], self._model.names)
        known = ", ".join(self._model.names)
        quotes = "" if field_name or hint else f"; text stands in quotes: '{shorten(name)}'"
        raise self._wrong(f"there is no unit {shorten(name)!r}{hint}; there are {known}{quotes}", at)

    def integer(self, tokens: list[Token]) -> Part:
        digits = tokens[0].lstrip("0") or "0"
        return self._number(int(digits) if len(digits) < 20 else 10**20, tokens[0].start_pos or 0)

    def decimal(self, tokens: list[Token]) -> Part:
        return self._number(float(tokens[0]), tokens[0].start_pos or 0)

    def text(self, tokens: list[Token]) -> Part:
        quote = tokens[0][0]
        value = str(tokens[0][1:-1]).replace(quote * 2, quote)
        return Part(Constant(value), Kind.STR, tokens[0].start_pos or 0)

    def truth(self, tokens: list[Token]) -> Part:
        return Part(Constant(tokens[0].upper() == "TRUE"), Kind.BOOL, tokens[0].start_pos or 0)

    def bind(self, tokens: list[Token]) -> Part:
        at = tokens[0].start_pos or 0
        name = str(tokens[0][1:])
        if name not in self._bind:
            known = f"given are {', '.join(map(str, self._bind))}" if self._bind else "none are given"
            hint = did_you_mean(name[:100], map(str, self._bind))
            raise self._wrong(f"the bind value :{shorten(name)} is not given{hint}; {known}", at)
        return self._bound(name, self._bind[name], at)

    def _bound(self, name: str, value: Any, at: int) -> Part:
        value = from_plain(value)
        if isinstance(value, PurePath):
            value = str(value)
        if isinstance(value, range):
            ranges = [Part(_ascending(value), Kind.INT, at)] if value else []
            return Part(ranges, Kind.LIST, at)
        if hasattr(value, "tolist") and hasattr(value, "dtype"):
            if hasattr(value, "to_value"):
                raise self._wrong(
                    f"the bind value :{name} is a quantity in {str(value.unit) or 'no unit'!r}: give the "
                    "number in the unit of what it is compared with, as its to_value(unit) gives it",
                    at,
                )
            if value.dtype.kind == "M":
                raise self._wrong(f"the bind value :{name} is a datetime64: give an astropy Time", at)
            value = value.tolist()
        if isinstance(value, list | tuple | set | frozenset) or is_times(value):
            members = [
                self._bound(name, v, at) for v in value if not isinstance(v, list | tuple | set | range)
            ]
            if len(members) != len(value):
                raise self._wrong(f"the bind value :{name} is a list of lists", at)
            return Part(members, Kind.LIST, at)
        if isinstance(value, bool):
            return Part(Constant(value), Kind.BOOL, at)
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
            return Part(Constant(value), Kind.STR, at)
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return Part(Constant(value.isoformat()), Kind.STR, at)
        try:
            ns = tai_ns(value)
        except TimeError:
            raise self._wrong(
                f"the bind value :{name} is {value!r:.60} ({type(value).__name__}): give a number, text, "
                "true or false, a date, a time, or a list of these",
                at,
            ) from None
        return Part(Constant(ns, f"'{time_text(ns)}'"), Kind.TIME, at)

    def _number(self, value: float, at: int) -> Part:
        if isinstance(value, int):
            if abs(value) > _MAX_INT:
                raise self._wrong(f"a whole number is at most {_MAX_INT} (64 bits)", at)
            return Part(Constant(int(value)), Kind.INT, at)
        if not math.isfinite(value):
            raise self._wrong("this number is too large, or not a number", at)
        return Part(Constant(float(value)), Kind.FLOAT, at)

    def signed(self, parts: list[Any]) -> Part:
        token, part = parts
        part = self._value(part)
        if part.kind not in NUMBERS:
            raise self._wrong(f"only numbers have a sign; this is {part.kind.value}", part.at)
        if token.type == "PLUS":
            return part
        if part.constant:
            return attrs.evolve(self._number(-part.node.value, token.start_pos), depth=part.depth)
        return self._made(Negative(part.node), part.kind, token.start_pos, [part])

    def arithmetic(self, parts: list[Any]) -> Part:
        left = self._value(parts[0])
        for token, right in zip(parts[1::2], parts[2::2], strict=True):
            left = self._arithmetic(str(token), left, self._value(right), token.start_pos)
        return left

    def _arithmetic(self, op: str, left: Part, right: Part, at: int) -> Part:
        for part in (left, right):
            if part.kind not in NUMBERS:
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
        whole = left.kind is right.kind is Kind.INT and op != "/"
        return self._made(
            Arithmetic(op, left.node, right.node),
            Kind.INT if whole else Kind.FLOAT,
            left.at,
            [left, right],
        )

    def members(self, parts: list[Part]) -> list[Part]:
        return [m for p in parts for m in (p.node if p.kind is Kind.LIST else [p])]

    def bound_members(self, tokens: list[Token]) -> list[Part]:
        part = self.bind(tokens)
        if part.kind is not Kind.LIST:
            raise self._wrong(
                f"IN needs a list, and {tokens[0]} is {part.kind.value}: use = or a list", part.at
            )
        return self.members([part])

    def span(self, parts: list[Part]) -> Part:
        for part in parts:
            if not part.constant or part.kind is not Kind.INT:
                raise self._wrong("a range is of whole numbers: 1..10, or 1..10:2", part.at)
        first, last, *step = (p.node.value for p in parts)
        if first > last:
            raise self._wrong(
                f"the range {first}..{last} is empty: the smaller number comes first", parts[0].at
            )
        if step and step[0] < 1:
            raise self._wrong("the step of a range is 1 or more", parts[2].at)
        return Part(Range(first, last, *step), Kind.INT, parts[0].at)


def _ascending(values: range) -> Range:
    low, high = sorted((values[0], values[-1]))
    return Range(low, high, abs(values.step) if len(values) > 1 else 1)
