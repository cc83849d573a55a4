"""Conditions that need more than the row itself: tables of data IDs, the sky, and what exists."""

from __future__ import annotations

from typing import Any

from lark import Token

from graphbuilder.expressions.parts import NUMBERS, Kind, Part, shorten
from graphbuilder.expressions.values import Values
from supertask.conditions import (
    And,
    Compare,
    Comparison,
    Condition,
    Constant,
    Exists,
    Members,
    Name,
    Not,
    Overlaps,
    Place,
    Shape,
)
from supertask.errors import DataIdError, did_you_mean
from supertask.idtables import read_id_table

__all__ = ["Lookups"]

_SHAPES = {
    "CIRCLE": "CIRCLE(ra, dec, radius)",
    "BOX": "BOX(ra, dec, width, height)",
    "POLYGON": "POLYGON(ra1, dec1, ra2, dec2, ra3, dec3, …)",
}


class Lookups(Values):
    """The rules of the grammar for these."""

    def together(self, tokens: list[Token]) -> Part:
        parts = [self.word([token]) for token in tokens]
        for i, part in enumerate(parts):
            if part.node in [p.node for p in parts[:i]]:
                raise self._wrong(f"{part.node} stands here twice", part.at)
        return Part([p.node for p in parts], Kind.LIST, parts[0].at)

    def _units(self, part: Part, word: str) -> tuple[Name, ...]:
        """Return the units that stand on the left, one or several in parentheses."""
        together = part.kind is Kind.LIST and part.node and isinstance(part.node[0], Name)
        found: list[Any] = part.node if together else [self._value(part).node]
        for name in found:
            if not isinstance(name, Name) or name.field is not None:
                raise self._wrong(
                    f"{word} has a unit on its left, or several as (visit, detector), "
                    f"not {shorten(str(name))}",
                    part.at,
                )
        return tuple(found)

    def _either_way(self, condition: Condition, at: int, parts: list[Any]) -> Part:
        made = self._made(condition, Kind.CONDITION, at, [])
        negated = any(isinstance(p, Token) and p.type == "NOT" for p in parts)
        return self._made(Not(condition), Kind.CONDITION, at, [made]) if negated else made

    def in_table(self, parts: list[Any]) -> Part:
        left, file = parts[0], parts[-1]
        units = self._units(left, "IN TABLE")
        if not isinstance(file, Part) or not file.constant or file.kind is not Kind.STR:
            raise self._wrong("TABLE has the name of a file in quotes after it: TABLE 'good.csv'", left.at)
        try:
            columns = read_id_table(file.node.value, self._model, [name.unit for name in units])
        except DataIdError as error:
            raise self._wrong(str(error), file.at) from None
        shown = str(units[0]) if len(units) == 1 else f"({', '.join(map(str, units))})"
        return self._either_way(Members(units, columns, f"{shown} IN TABLE {file.node}"), left.at, parts)

    # -- the sky ------------------------------------------------------------------------------

    def overlaps(self, parts: list[Any]) -> Part:
        left, region = parts[0], parts[-1]
        units = tuple(name.unit for name in self._units(left, "OVERLAPS"))
        return self._either_way(Overlaps(units, region.node, left.at), left.at, parts)

    def region(self, parts: list[Any]) -> Part:
        token, *arguments = parts
        at = token.start_pos or 0
        if token.upper() in _SHAPES:
            return Part(self._shape(token.upper(), arguments, at), Kind.REGION, at)
        name = str(token)
        if name not in self._model:
            hint = did_you_mean(name.upper(), _SHAPES) or did_you_mean(name.lower(), self._model.names)
            raise self._wrong(
                f"{shorten(name)!r} is no region{hint}; write CIRCLE, BOX or POLYGON, or the data ID of a "
                "unit that has a place on the sky, such as tract(skymap='sky', tract=3)",
                at,
            )
        keys: dict[str, Any] = {}
        for part in arguments:
            for one in part.node.parts if isinstance(part.node, And) else [part.node]:
                unit, value = self._key_of(one, part)
                if unit in keys:
                    raise self._wrong(f"{unit} is given twice", part.at)
                keys[unit] = value
        if name not in keys:
            raise self._wrong(f"which {name} is meant? write {name}({name}=…)", at)
        return Part(Place(name, tuple(keys.items())), Kind.REGION, at)

    def _key_of(self, node: Any, part: Part) -> tuple[str, Any]:
        if isinstance(node, Compare) and node.op is Comparison.EQ:
            name, value = node.left, node.right
            if isinstance(name, Name) and name.field is None and isinstance(value, Constant):
                return name.unit, value.value
        raise self._wrong("a data ID is written unit=value, unit=value", part.at)

    def _shape(self, kind: str, arguments: list[Part], at: int) -> Shape:
        numbers = []
        for part in arguments:
            if not part.constant or part.kind not in NUMBERS:
                what = part.node if part.constant else part.kind.value
                raise self._wrong(
                    f"{_SHAPES[kind]} takes numbers of degrees, not {shorten(str(what))}", part.at
                )
            numbers.append(float(part.node.value))
        right = {"CIRCLE": len(numbers) == 3, "BOX": len(numbers) == 4}.get(
            kind, len(numbers) >= 6 and len(numbers) % 2 == 0
        )
        if not right:
            raise self._wrong(f"write {_SHAPES[kind]}, in degrees: there are {len(numbers)} numbers here", at)
        # Reckoned with once now, so that a wrong one is told where it stands.
        from supertask.sky.regions import RegionError

        try:
            region_of_shape(Shape(kind, tuple(numbers)))
        except RegionError as error:
            raise self._wrong(str(error), at) from None
        return Shape(kind, tuple(numbers))

    # -- what exists --------------------------------------------------------------------------

    def exists(self, parts: list[Any]) -> Part:
        at = parts[0].start_pos or 0
        name = parts[1]
        text = self.text([name]).node.value if name.type == "TEXT" else str(name)
        collections: list[str] = []
        for part in parts[-1] if isinstance(parts[-1], list) else []:
            if not part.constant or part.kind is not Kind.STR:
                raise self._wrong("EXISTS(type IN 'collection') has collections in quotes", part.at)
            collections.append(part.node.value)
        node = Exists(text, tuple(collections), name.start_pos or 0)
        return self._made(node, Kind.CONDITION, at, [])

    def place(self, parts: list[Part]) -> list[Part]:
        return self.members(parts)


def region_of_shape(shape: Shape) -> Any:
    """Return the region that a shape's numbers describe, a `supertask.sky.regions.Region`.

    Raises
    ------
    RegionError
        The numbers describe none.
    """
    from supertask.sky.regions import Box, Circle, Polygon

    if shape.kind == "CIRCLE":
        ra, dec, radius = shape.numbers
        return Circle(ra, dec, radius)
    if shape.kind == "BOX":
        ra, dec, width, height = shape.numbers
        return Box.around(ra, dec, width, height)
    return Polygon(shape.numbers)
