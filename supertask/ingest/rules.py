"""Rules by which a declared translator finds one value: where it stands, and what is made of it.

A rule takes a value from its source, then in this order: ``match`` (a regular expression; its group,
or all of it), ``map`` (shell patterns, any case, the first that fits), ``to`` (the type), ``times``,
``plus``. Where the source has nothing, ``default`` stands, or the next of a list of rules is asked.
"""

from __future__ import annotations

import datetime as dt
import enum
import fnmatch
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from supertask.errors import SuperTaskError
from supertask.ingest.fitsfile import FitsFile, Hdu
from supertask.times import TimeError, from_tai_ns, tai_ns

__all__ = ["MISSING", "BadValueError", "Kind", "MissingValueError", "Rule", "Scope", "Source", "fits_any"]


class _Missing(enum.Enum):
    """An enum, so that it is the same one in another process."""

    MISSING = "missing"


MISSING = _Missing.MISSING
"""No default is given: a value must be found."""


class BadValueError(SuperTaskError):
    """A value is there and cannot be understood."""


class MissingValueError(BadValueError):
    """A value is not there."""


class Source(enum.Enum):
    """Where a value stands."""

    VALUE = "value"
    """In the rule itself."""
    CARD = "card"
    """In the first of some cards that is there and not blank."""
    JOIN = "join"
    """In several cards, joined to one text."""
    FILE = "file"
    """In the file's name, by a regular expression."""
    PATH = "path"
    """In the file's whole path, by a regular expression."""
    HDU = "hdu"
    """The number or name of the HDU."""
    FROM = "from"
    """Another value."""


class Kind(enum.Enum):
    """What is made of a value."""

    INT = "int"
    FLOAT = "float"
    STR = "str"
    BOOL = "bool"
    TIME = "time"
    DATE = "date"
    DEGREES = "degrees"
    """Sexagesimal degrees or a number → degrees."""
    HOURS = "hours"
    """Sexagesimal hours or a number → degrees."""


@attrs.frozen
class Scope:
    """What a rule may look at."""

    file: FitsFile
    hdu: Hdu
    value: Callable[[str], Any]
    """Gives another value by its name."""

    def card(self, keyword: str) -> Any:
        """Return a card's value, of the HDU or else of the primary one; None if it says nothing."""
        for hdu in (self.hdu, self.file.hdus[0]):
            try:
                found = hdu.header.get(keyword)
            except (SuperTaskError, KeyError, ValueError, OSError):
                continue
            if isinstance(found, str):
                found = found.strip()
            if found is None or found == "" or type(found).__name__ == "Undefined":
                continue
            return found
        return None


@attrs.frozen
class Rule:
    """How to find one value."""

    source: Source
    words: tuple[Any, ...] = ()
    """The constant, card names, regular expression, ``number`` or ``name``, or the other value's name."""
    separator: str = "T"
    match: re.Pattern[str] | None = None
    map: tuple[tuple[str, Any], ...] = ()
    to: Kind | None = None
    format: str = ""
    scale: str = "utc"
    times: float = 1.0
    plus: tuple[str | float, float] | None = None
    """A number or another value, and a factor for it; to a time it adds seconds."""
    default: Any = MISSING
    when: Mapping[str, tuple[Any, ...]] = attrs.field(factory=dict)
    """Values and shell patterns; unless all fit, there is no value."""

    def needs(self) -> tuple[str, ...]:
        """Return names of the other values that this one rests on."""
        found = list(self.when)
        if self.source is Source.FROM:
            found.append(self.words[0])
        if self.plus is not None and isinstance(self.plus[0], str):
            found.append(self.plus[0])
        return tuple(found)

    def find(self, scope: Scope, wanted: Kind) -> Any:
        """Return the value, of the wanted kind, or None.

        Raises
        ------
        MissingValueError
            It is not there, and no default is given.
        BadValueError
            It is there and cannot be understood.
        """
        if not all(fits_any(scope.value(name), patterns) for name, patterns in self.when.items()):
            return None
        found = self._take(scope)
        if found is None and self.source in (Source.FROM, Source.VALUE):
            return None if self.default is MISSING else self.default
        if found is None:
            if self.default is not MISSING:
                return self.default
            raise MissingValueError(self._say_missing())
        try:
            return self._convert(found, scope, wanted)
        except TimeError as error:
            raise BadValueError(f"{self.describe()}: {error}") from None

    def describe(self) -> str:
        """Return the source in words."""
        if self.source is Source.CARD:
            return "card " + " or ".join(self.words)
        if self.source is Source.JOIN:
            return "cards " + " and ".join(self.words)
        return {
            Source.VALUE: "the constant",
            Source.FILE: "the file's name",
            Source.PATH: "the file's path",
            Source.HDU: f"the HDU's {self.words[0] if self.words else ''}",
            Source.FROM: f"the value {self.words[0] if self.words else ''}",
        }[self.source]

    def _say_missing(self) -> str:
        if self.source in (Source.FILE, Source.PATH):
            return f"{self.describe()} does not match {self.words[0].pattern!r}"
        missing = "are missing or blank" if len(self.words) > 1 else "is missing or blank"
        return f"{self.describe()} {missing}"

    def _take(self, scope: Scope) -> Any:
        if self.source is Source.VALUE:
            return self.words[0]
        if self.source is Source.CARD:
            return next((v for v in map(scope.card, self.words) if v is not None), None)
        if self.source is Source.JOIN:
            parts = [scope.card(word) for word in self.words]
            return None if None in parts else self.separator.join(map(str, parts))
        if self.source is Source.FROM:
            return scope.value(self.words[0])
        if self.source is Source.HDU:
            return scope.hdu.index if self.words[0] == "number" else scope.hdu.name or None
        text = scope.file.path if self.source is Source.PATH else os.path.basename(scope.file.path)
        return _group(self.words[0], text)

    def _convert(self, value: Any, scope: Scope, wanted: Kind) -> Any:
        if self.match is not None:
            found = _group(self.match, str(value))
            if found is None:
                if self.default is not MISSING:
                    return self.default
                raise BadValueError(
                    f"{self.describe()} is {value!r}, which does not match {self.match.pattern!r}"
                )
            value = found
        if self.map:
            value = self._mapped(value)
            if value is None:
                return None
        kind = self.to or wanted
        if kind is Kind.TIME:
            value = self._time(value)
        elif kind is Kind.DATE:
            return self._date(value, scope)
        else:
            value = _CONVERT[kind](value, self.describe())
        if value is None:
            return None if self.default is MISSING else self.default
        if self.times != 1.0:
            value = value * self.times
        if self.plus is not None:
            value = (
                value + round(self._added(scope) * 10**9) if kind is Kind.TIME else value + self._added(scope)
            )
        if wanted is Kind.INT and isinstance(value, float):
            value = _whole(value, self.describe())
        return str(value) if wanted is Kind.STR else value

    def _mapped(self, value: Any) -> Any:
        for pattern, mapped in self.map:
            if fits_any(value, (pattern,)):
                return mapped
        if self.default is not MISSING:
            return self.default
        known = ", ".join(pattern for pattern, _ in self.map)
        raise BadValueError(f"{self.describe()} is {value!r}, which the map has not ({known})")

    def _added(self, scope: Scope) -> float:
        assert self.plus is not None  # noqa: S101 - the caller looked
        what, factor = self.plus
        value = scope.value(what) if isinstance(what, str) else what
        return float(value or 0.0) * factor

    def _time(self, value: Any) -> int:
        if self.source is Source.FROM and isinstance(value, int):
            return value
        if isinstance(value, str) and not self.format:
            return _time_of_text(value, self.scale)
        if self.format in ("mjd", "jd", "unix"):
            if self.format == "unix":
                seconds = math.floor(_real(value, self.describe()) or 0.0)
                moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
                return tai_ns(moment) + round((float(value) - seconds) * 10**9)
            # As text, so that no digit is lost on the way.
            return tai_ns(f"{self.format} {str(value).strip()} {self.scale}")
        raise BadValueError(
            f"{self.describe()} is the number {value!r}: say what kind of time it is, format: mjd, jd or unix"
        )

    def _date(self, value: Any, scope: Scope) -> str:
        if isinstance(value, str) and self.plus is None:
            try:
                return dt.date.fromisoformat(value[:10]).isoformat()
            except ValueError:
                raise BadValueError(f"{self.describe()} is {value!r}, which has no date") from None
        ns = self._time(value)
        if self.plus is not None:
            ns += round(self._added(scope) * 10**9)
        return str(from_tai_ns(ns).utc.isot)[:10]


def fits_any(value: Any, patterns: tuple[Any, ...]) -> bool:
    """Tell whether a value fits one of some shell patterns, in any case; None fits None."""
    if value is None:
        return None in patterns
    text = str(value).strip().lower()
    return any(p is not None and fnmatch.fnmatchcase(text, str(p).lower()) for p in patterns)


def _group(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    if found is None:
        return None
    return found[1] if pattern.groups else found[0]


_OFFSET = re.compile(r"(?P<time>.*[0-9])\s*(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})\Z")


def _time_of_text(text: str, scale: str) -> int:
    """Read ISO 8601, also with an offset from UTC behind it, which astropy does not take."""
    found = _OFFSET.match(text) if "T" in text or " " in text.strip() else None
    if found is None:
        return tai_ns(text if text.endswith("Z") else f"{text} {scale}")
    seconds = int(found["hours"]) * 3600 + int(found["minutes"]) * 60
    local = tai_ns(f"{found['time'].replace(' ', 'T')} UTC")
    if not seconds:
        return local
    # Days are shifted, not nanoseconds, so that a leap second in between does no harm.
    moment = dt.datetime.fromisoformat(found["time"][:19].replace(" ", "T"))
    shift = dt.timedelta(seconds=-seconds if found["sign"] == "+" else seconds)
    fraction = found["time"][19:]
    return tai_ns(f"{(moment + shift).isoformat()}{fraction} UTC")


def _whole(value: Any, what: str) -> int:
    if isinstance(value, bool):
        raise BadValueError(f"{what} is {value!r}, which is no whole number")
    try:
        number = int(value) if isinstance(value, int | str) and "." not in str(value) else float(value)
    except ValueError:
        raise BadValueError(f"{what} is {value!r}, which is no whole number") from None
    if number != math.floor(number):
        raise BadValueError(f"{what} is {value!r}, which is no whole number")
    return int(number)


def _real(value: Any, what: str) -> float | None:
    try:
        number = (
            math.nan
            if isinstance(value, bool)
            else float(value.replace("D", "E") if isinstance(value, str) else value)
        )
    except (TypeError, ValueError):
        raise BadValueError(f"{what} is {value!r}, which is no number") from None
    if isinstance(value, bool):
        raise BadValueError(f"{what} is {value!r}, which is no number")
    return number if math.isfinite(number) else None


_SEXAGESIMAL = re.compile(
    r"\s*(?P<sign>[+-]?)(?P<a>[0-9]+)[:\s hd°]\s*(?P<b>[0-9]+)[:\s m'](?:\s*(?P<c>[0-9.]+)[s\"]?)?\s*\Z"
)


def _degrees(value: Any, what: str) -> float | None:
    found = _SEXAGESIMAL.match(value) if isinstance(value, str) else None
    if found is None:
        return _real(value, what)
    minutes, seconds = int(found["b"]), float(found["c"] or 0)
    if minutes >= 60 or seconds >= 60.0001:
        raise BadValueError(f"{what} is {value!r}: minutes and seconds go to 60")
    degrees = int(found["a"]) + minutes / 60 + seconds / 3600
    return -degrees if found["sign"] == "-" else degrees


def _hours(value: Any, what: str) -> float | None:
    hours = _degrees(value, what)
    return None if hours is None else hours * 15


_TRUE, _FALSE = ("true", "t", "yes", "1"), ("false", "f", "no", "0")


def _truth(value: Any, what: str) -> bool:
    text = str(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise BadValueError(f"{what} is {value!r}, which is neither true nor false")


def _text(value: Any, what: str) -> str:
    text = str(value).strip()
    if "\0" in text:
        raise BadValueError(f"{what} holds a NUL character")
    return text


_CONVERT: dict[Kind, Callable[[Any, str], Any]] = {
    Kind.INT: _whole,
    Kind.FLOAT: _real,
    Kind.STR: _text,
    Kind.BOOL: _truth,
    Kind.DEGREES: _degrees,
    Kind.HOURS: _hours,
}
