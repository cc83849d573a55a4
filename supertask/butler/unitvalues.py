"""What a caller gives for instances of units, checked and typed, whole columns at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from supertask.errors import DataIdError, Problems, did_you_mean
from supertask.times import tai_ns, tai_ns_of_times
from supertask.units import FieldKind, KeyKind, UnitField, UnitModel

__all__ = ["CheckedRows", "fits_64_bits", "merge", "tell"]

_TOLD = 20
"""Problems told of one kind; a file with a million bad rows needs no longer message."""

Rows = Sequence[Mapping[str, Any]]


def tell(problems: Problems, count: int, message: str) -> None:
    """Note the `count`-th problem of a kind, unless enough were told."""
    if count <= _TOLD:
        problems.add(message)
    elif count == _TOLD + 1:
        problems.add("… and more of this kind")


def fits_64_bits(value: Any) -> bool:
    """Tell whether a value is anything but an int too large for a database."""
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _show_row(row: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return the part of a row that tells which one it is."""
    return "{" + ", ".join(f"{n}={row[n]}" for n in names if n in row) + "}"


class CheckedRows:
    """Rows of a caller as checked columns, with the problems found."""

    def __init__(self, model: UnitModel, units: tuple[str, ...], rows: Rows, what: str) -> None:
        self.model = model
        self.rows = rows
        self.names = units
        self.problems = Problems(what)
        self._told = 0

    def tell(self, i: int, message: str) -> None:
        """Note a problem of row `i`."""
        self._told += 1
        tell(self.problems, self._told, f"row {i} {_show_row(self.rows[i], self.names)}: {message}")

    def allow(self, allowed: Sequence[str]) -> None:
        """Note keys that are not among those allowed."""
        permitted = frozenset(allowed)
        for i, row in enumerate(self.rows):
            if not permitted.issuperset(row):
                for name in row:
                    if name not in permitted:
                        self.tell(i, f"unknown key {name!r}{did_you_mean(str(name), allowed)}")

    def keys(self, unit: str, *, required: bool) -> list[Any]:
        """Return the typed keys of a unit in each row; None where it is not given and need not be."""
        values: list[Any] = [row.get(unit) for row in self.rows]
        kind = self.model.unit(unit).key
        quick = int if kind is KeyKind.INT else str
        if kind is not KeyKind.DATE and set(map(type, values)) <= {quick}:
            if quick is int:
                if not values or (max(values) < 2**63 and min(values) >= -(2**63)):
                    return values
            elif "" not in values and not any("\0" in v for v in set(values)):
                return values
        for i, value in enumerate(values):
            if value is None:
                if required:
                    self.tell(i, f"{unit!r} is missing")
                continue
            try:
                values[i] = self.model.check_key(unit, value)
            except DataIdError as error:
                self.tell(i, str(error))
            else:
                if not fits_64_bits(values[i]):
                    self.tell(i, f"{unit!r} must fit in 64 bits, got {value!r}")
        return values

    def field(self, field: UnitField) -> list[Any]:
        """Return the typed values of a field in each row, None where it is null."""
        values = [row.get(field.name) for row in self.rows]
        if field.kind is FieldKind.TIME:
            return self._times(field, values)
        convert = _CONVERT[field.kind]
        for i, value in enumerate(values):
            if value is None:
                continue
            try:
                values[i] = convert(value, field)
            except (ValueError, TypeError, OverflowError) as error:
                self.tell(i, f"field {field.name!r}: {error}")
        return values

    def _times(self, field: UnitField, values: list[Any]) -> list[Any]:
        words = [i for i, v in enumerate(values) if isinstance(v, str)]
        if len(words) > 1:
            # Many at once are read a hundred times quicker, if they are all plain ISO in UTC.
            from astropy.time import Time

            try:
                ns = tai_ns_of_times(Time([values[i] for i in words], scale="utc"))
            except Exception:  # noqa: BLE001, S110 - told one by one below
                pass
            else:
                for i, n in zip(words, ns.tolist(), strict=True):
                    values[i] = n
        for i, value in enumerate(values):
            if value is None or type(value) is int:
                continue
            try:
                values[i] = tai_ns(value)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is this row's
                self.tell(i, f"field {field.name!r}: {error}")
        return values


def _float(value: Any, field: UnitField) -> float | None:
    if isinstance(value, bool | str):
        raise TypeError(f"must be a number, got {value!r}")
    if hasattr(value, "unit") and hasattr(value, "to_value"):
        if not field.unit:
            raise TypeError(f"has no unit of measurement, got {value!r}")
        value = value.to_value(field.unit)
    number = float(value)
    return None if math.isnan(number) else number


def _int(value: Any, _: UnitField) -> int:
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"must be an int, got {value!r}")
    number = int(value.__index__())
    if not fits_64_bits(number):
        raise ValueError(f"must fit in 64 bits, got {value!r}")
    return number


def _str(value: Any, _: UnitField) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(f"must be a str, got {value!r}")
    return str(value)


def _bool(value: Any, _: UnitField) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"must be True or False, got {value!r}")
    return bool(value)


_CONVERT: dict[FieldKind, Callable[[Any, UnitField], Any]] = {
    FieldKind.FLOAT: _float,
    FieldKind.INT: _int,
    FieldKind.STR: _str,
    FieldKind.BOOL: _bool,
}


def merge(
    checked: CheckedRows, i: int, names: Sequence[str], into: list[Any], values: Sequence[Any], where: str
) -> bool:
    """Fill what is null in `into`; note where both have a value and they differ."""
    changed = False
    for j, value in enumerate(values):
        if value is None or into[j] == value:
            continue
        if into[j] is None:
            into[j] = value
            changed = True
        else:
            checked.tell(i, f"{names[j]} is {value!r}, but {where} says {into[j]!r}")
    return changed
