"""Units of data and unit models: the kinds of things that label data, and how they relate.

A `UnitModel` is a repository's set of units. Each unit has a typed key, parents that its key is
unique within (a detector belongs to an instrument), implied units whose value follows from it (a
visit has a physical filter, which has a band), typed fields, and takes part in relations.

Two words are used throughout. The *closure* of some units adds all parents: it is what a complete
data ID names. The *leaves* are the smallest part of it that still implies the rest: it is what a
table has columns for.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import attrs

from supertask.dataids import DataId, Key
from supertask.errors import DataIdError, Problems, UnitModelError, did_you_mean

__all__ = [
    "FieldKind",
    "KeyKind",
    "Relation",
    "RelationKind",
    "Unit",
    "UnitField",
    "UnitModel",
]

_WORD = re.compile(r"[a-z][a-z0-9_]*\Z")
# Words of the expression grammar and of SQL that would make a unit unspeakable.
_RESERVED = frozenset(
    ["and", "or", "not", "in", "is", "null", "like", "glob", "between", "overlaps", "true", "false", "id"]
)


class KeyKind(enum.Enum):
    """Type of a unit's key."""

    INT = "int"
    STR = "str"
    DATE = "date"
    """An ISO date string, ``"2026-01-05"``, as astropy's Time reads it."""


class FieldKind(enum.Enum):
    """Type of a unit's field."""

    INT = "int"
    FLOAT = "float"
    STR = "str"
    BOOL = "bool"
    TIME = "time"
    """Nanoseconds TAI since 1970-01-01T00:00:00 TAI, an int64; given as an astropy Time."""


class RelationKind(enum.Enum):
    """How a relation comes to be, and what it means to have no rows in it."""

    GIVEN = "given"
    """A user's table. Whatever has no row is simply not related to anything."""
    SPATIAL = "spatial"
    """Footprints that overlap. A selection on one side leaves out what does not overlap it."""


@attrs.frozen
class UnitField:
    """A typed value that each instance of a unit has, or has not (null)."""

    name: str
    kind: FieldKind
    unit: str = ""
    """Unit of measurement in astropy's spelling, empty for none."""
    doc: str = ""


@attrs.frozen
class Unit:
    """A kind of thing that labels data."""

    name: str
    key: KeyKind = KeyKind.INT
    parents: tuple[str, ...] = ()
    """Units within which the key is unique."""
    implies: tuple[str, ...] = ()
    """Units whose value follows from this one; may be null (a bias exposure has no filter)."""
    fields: tuple[UnitField, ...] = ()
    doc: str = ""

    def field(self, name: str) -> UnitField | None:
        """Return the field of that name, or None."""
        return next((f for f in self.fields if f.name == name), None)


@attrs.frozen
class Relation:
    """A many-to-many relation between two groups of units."""

    name: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    kind: RelationKind = RelationKind.GIVEN
    doc: str = ""


@attrs.frozen(slots=False)
class UnitModel:
    """A repository's units and relations, checked as a whole.

    Raises
    ------
    UnitModelError
        Names every mistake found, not only the first.
    """

    name: str
    units: tuple[Unit, ...]
    relations: tuple[Relation, ...] = ()
    version: int = 1
    doc: str = ""

    def __attrs_post_init__(self) -> None:
        problems = Problems(f"unit model {self.name!r}")
        self._check_units(problems)
        if not problems:
            self._check_loops(problems)
        if not problems:
            self._check_relations(problems)
        problems.raise_if_any(UnitModelError)

    def _check_units(self, problems: Problems) -> None:
        names = [u.name for u in self.units]
        if not names:
            problems.add("it has no units")
        for name in sorted({n for n in names if names.count(n) > 1}):
            problems.add(f"unit {name!r} is declared more than once")
        for unit in self.units:
            if not _WORD.match(unit.name) or unit.name in _RESERVED:
                problems.add(
                    f"{unit.name!r} cannot name a unit: use lower-case letters, digits and '_', "
                    "and none of the words of expressions"
                )
            for role, others in (("parent", unit.parents), ("implied unit", unit.implies)):
                for other in others:
                    if other not in names:
                        problems.add(
                            f"unit {unit.name!r}: {role} {other!r} is not declared"
                            + did_you_mean(other, names)
                        )
            for other in set(unit.parents) & set(unit.implies):
                problems.add(f"unit {unit.name!r}: {other!r} cannot be both parent and implied")
            seen: set[str] = set()
            for field in unit.fields:
                if not _WORD.match(field.name) or field.name in _RESERVED:
                    problems.add(f"unit {unit.name!r}: {field.name!r} cannot name a field")
                if field.name in seen or field.name in names:
                    problems.add(
                        f"unit {unit.name!r}: field {field.name!r} has the name of another field or unit"
                    )
                seen.add(field.name)

    def _check_loops(self, problems: Problems) -> None:
        done: set[str] = set()
        for start in self.units:
            stack = [(start.name, iter(start.parents + start.implies))]
            on_path = [start.name]
            while stack:
                name, following = stack[-1]
                child = next(following, None)
                if child is None:
                    done.add(name)
                    stack.pop()
                    on_path.pop()
                elif child in on_path:
                    loop = " -> ".join([*on_path[on_path.index(child) :], child])
                    problems.add(f"units form a loop of parents and implied units: {loop}")
                    return
                elif child not in done:
                    unit = self.unit(child)
                    stack.append((child, iter(unit.parents + unit.implies)))
                    on_path.append(child)

    def _check_relations(self, problems: Problems) -> None:
        seen: set[str] = set()
        for relation in self.relations:
            if not _WORD.match(relation.name) or relation.name in seen:
                problems.add(f"relation {relation.name!r} needs a name of its own in lower-case letters")
            seen.add(relation.name)
            for side in (relation.left, relation.right):
                for other in side:
                    if other not in self:
                        problems.add(
                            f"relation {relation.name!r}: unit {other!r} is not declared"
                            + did_you_mean(other, self.names)
                        )
            if not relation.left or not relation.right:
                problems.add(f"relation {relation.name!r} needs units on both sides")
            if set(relation.left) & set(relation.right):
                problems.add(f"relation {relation.name!r} has one unit on both sides")

    @cached_property
    def _by_name(self) -> dict[str, Unit]:
        return {u.name: u for u in self.units}

    @cached_property
    def _rank(self) -> dict[str, int]:
        return {u.name: i for i, u in enumerate(self.units)}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all units, in the model's order."""
        return tuple(self._by_name)

    def __contains__(self, unit: object) -> bool:
        return unit in self._by_name

    def __iter__(self) -> Iterator[Unit]:
        return iter(self.units)

    def unit(self, name: str) -> Unit:
        """Return the unit of that name.

        Raises
        ------
        DataIdError
            There is none.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise DataIdError(
                f"unit model {self.name!r} has no unit {name!r}{did_you_mean(name, self.names)}; "
                f"it has {', '.join(self.names)}"
            ) from None

    def relation(self, name: str) -> Relation:
        """Return the relation of that name.

        Raises
        ------
        UnitModelError
            There is none.
        """
        for relation in self.relations:
            if relation.name == name:
                return relation
        known = [r.name for r in self.relations]
        raise UnitModelError(
            f"unit model {self.name!r} has no relation {name!r}{did_you_mean(name, known)}; "
            f"it has {', '.join(known) or 'none'}"
        )

    def sort(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return `names` once each, in the model's order."""
        wanted = set(names)
        for name in wanted:
            self.unit(name)
        return tuple(sorted(wanted, key=self._rank.__getitem__))

    @cached_property
    def _known(self) -> dict[Any, Any]:
        """Answers given before: each of these questions is asked for every row of a plan."""
        return {}

    def _reach(self, names: Iterable[str], *, implied: bool) -> tuple[str, ...]:
        asked = (tuple(names), implied)
        answer: tuple[str, ...] | None = self._known.get(asked)
        if answer is None:
            answer = self._known[asked] = self._reach_anew(asked[0], implied=implied)
        return answer

    def _reach_anew(self, names: tuple[str, ...], *, implied: bool) -> tuple[str, ...]:
        todo, found = list(names), set()
        while todo:
            name = todo.pop()
            if name in found:
                continue
            unit = self.unit(name)
            found.add(name)
            todo += unit.parents + (unit.implies if implied else ())
        return tuple(sorted(found, key=self._rank.__getitem__))

    def closure(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return `names` and all their parents, in the model's order: what a data ID names."""
        return self._reach(names, implied=False)

    def determined(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return every unit whose value follows from `names`: parents and implied, transitively."""
        return self._reach(names, implied=True)

    def leaves(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the smallest part of `names` whose closure holds them all."""
        names = self.sort(names)
        above = {p for n in names for p in self.closure(self.unit(n).parents)}
        return tuple(n for n in names if n not in above)

    def route(self, start: Iterable[str], target: str) -> tuple[str, ...] | None:
        """Return the shortest way from one of `start` to `target` through parents and implied units.

        Returns
        -------
        tuple of str or None
            Units passed, `start` first and `target` last; None if there is no way. With several
            ways of one length that from the unit later in the model wins, as the nearest kin.
        """
        asked = (tuple(start), target, "route")
        if asked not in self._known:
            self._known[asked] = self._route_anew(asked[0], target)
        answer: tuple[str, ...] | None = self._known[asked]
        return answer

    def _route_anew(self, start: tuple[str, ...], target: str) -> tuple[str, ...] | None:
        todo: list[tuple[str, ...]] = [
            (n,) for n in sorted(set(start), key=self._rank.__getitem__, reverse=True)
        ]
        seen = {way[0] for way in todo}
        while todo:
            way = todo.pop(0)
            if way[-1] == target:
                return way
            unit = self.unit(way[-1])
            for following in unit.parents + unit.implies:
                if following not in seen:
                    seen.add(following)
                    todo.append((*way, following))
        return None

    def standardize(self, units: Iterable[str], values: Mapping[str, Any], *, what: str = "") -> DataId:
        """Return the complete, typed data ID for `units`.

        Parameters
        ----------
        units : iterable of str
            Units the data ID must name; their parents are added.
        values : Mapping
            Unit names and key values. Implied units may be given too and are left out.
        what : str, optional
            What the data ID is for, for messages.

        Raises
        ------
        DataIdError
            Names every key that is missing, unknown or of the wrong type.
        """
        needed = self.closure(units)
        problems = Problems(f"data ID {_show(values)}{f' for {what}' if what else ''}")
        allowed = set(self.determined(needed))
        for name in values:
            if name not in self:
                problems.add(f"unknown key {name!r}{did_you_mean(name, needed)}")
            elif name not in allowed:
                problems.add(f"{name!r} is not among its units ({', '.join(needed)})")
        typed: dict[str, Key] = {}
        for name in needed:
            if name not in values:
                problems.add(f"{name!r} is missing")
                continue
            try:
                typed[name] = self.check_key(name, values[name])
            except DataIdError as error:
                problems.add(str(error))
        problems.raise_if_any(DataIdError)
        return DataId(typed)

    def check_key(self, unit: str, value: Any) -> Key:
        """Return `value` as a key of `unit`, an int or a str.

        Raises
        ------
        DataIdError
            It is of another type.
        """
        kind = self.unit(unit).key
        if kind is KeyKind.INT:
            if hasattr(value, "__index__") and not isinstance(value, bool):
                return int(value.__index__())
        elif kind is KeyKind.STR:
            if isinstance(value, str) and value and "\0" not in value:
                return str(value)
        else:
            date = _iso_date(value)
            if date is not None:
                return date
        wanted = {KeyKind.INT: "an int", KeyKind.STR: "a non-empty str", KeyKind.DATE: "a date"}[kind]
        raise DataIdError(f"{unit!r} must be {wanted}, got {value!r} ({type(value).__name__})")


def _show(values: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{k}={v}" for k, v in values.items()) + "}"


def _iso_date(value: Any) -> str | None:
    if isinstance(value, dt.datetime):
        value = value.date()
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value).isoformat()
        except ValueError:
            return None
    # An astropy Time, known by its attribute so that astropy need not be imported here.
    isot = getattr(value, "isot", None)
    return _iso_date(str(isot)[:10]) if isot is not None else None
