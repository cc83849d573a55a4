"""Times: nanoseconds TAI since 1970-01-01T00:00:00 TAI, an int64, and the ways to say one.

A time in words is read as it is written: ``2026-01-05``, ``2026-01-05T03:00:00.5``,
``2026-01-05 03:00 TAI``, ``MJD 61045.25``, ``MJD 61045.25 TAI``, ``JD 2461045.75``; UTC unless it
names another scale of astropy's.
"""

from __future__ import annotations

import datetime as dt
import re
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from supertask.errors import SuperTaskError

__all__ = ["TimeError", "from_tai_ns", "range_in_words", "tai_ns", "tai_ns_of_times"]

_DAY_NS = 86_400 * 10**9
_SCALES = ("utc", "tai", "tt", "tdb", "tcb", "tcg", "ut1")
_ISO = re.compile(
    r"(?P<value>[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]*)?)?)?)"
    r"(?P<zulu>Z)?(\s+(?P<scale>[A-Za-z0-9]+))?\Z"
)
_DAYS = re.compile(
    r"(?P<format>M?JD)\s*(?P<value>[0-9]+(\.[0-9]*)?)(\s+(?P<scale>[A-Za-z0-9]+))?\Z", re.IGNORECASE
)


_CLOCK = re.compile(r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]*))?)?)?\Z")
# Leap seconds fall at the end of a day, so that within one seconds can be counted.


class TimeError(SuperTaskError):
    """A time cannot be understood, or cannot be stored."""


def tai_ns(value: Any) -> int:
    """Return a time as nanoseconds TAI since 1970.

    Parameters
    ----------
    value : astropy.time.Time or str or int or datetime.datetime or datetime.date
        One time; an int is returned as it is. A datetime without zone is UTC.

    Raises
    ------
    TimeError
        It is not one of these, or is before 1678 or after 2261.
    """
    if isinstance(value, bool):
        raise TimeError(f"{value!r} is not a time")
    if hasattr(value, "__index__"):
        return int(value.__index__())
    if isinstance(value, str):
        return _from_words(value)
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        return _from_words(value.isoformat())
    if isinstance(value, dt.date):
        return _from_words(value.isoformat())
    if getattr(value, "isscalar", False) and hasattr(value, "tai"):
        return int(tai_ns_of_times(value))
    raise TimeError(
        f"{value!r} is not a time: give an astropy Time, or text such as '2026-01-05T03:00:00 UTC'"
    )


def _from_words(text: str) -> int:
    text = text.strip()
    found = _ISO.match(text) or _DAYS.match(text)
    if found is None:
        raise TimeError(
            f"{text!r} is not a time: write 2026-01-05, 2026-01-05T03:00:00 or MJD 61045.25, "
            "with UTC (taken if none is given) or TAI after it"
        )
    parts = found.groupdict()
    scale = (parts["scale"] or "utc").lower()
    if scale not in _SCALES or (parts.get("zulu") and parts["scale"]):
        raise TimeError(f"{text!r}: {parts['scale']!r} is no scale of time; use UTC or TAI")
    form = (parts.get("format") or "isot").lower()
    stated = parts["value"].replace(" ", "T").removesuffix(".")
    if form == "isot" and scale in ("utc", "tai") and stated[:4] >= "1972":
        clock = _CLOCK.match(stated, 10)
        if clock is not None:
            hours, minutes, seconds = (int(clock[i] or 0) for i in (1, 2, 3))
            if hours < 24 and minutes < 60 and seconds < 60:
                fraction = int((clock[4] or "0")[:9].ljust(9, "0"))
                since = (hours * 3600 + minutes * 60 + seconds) * 10**9
                return _from_astropy("", (stated[:10],), form, scale) + since + fraction

    whole, _, fraction_text = stated.partition(".")
    given = (stated,) if form == "isot" else (float(whole), float(f"0.{fraction_text or 0}"))
    return _from_astropy(text, given, form, scale)


@lru_cache(maxsize=4096)
def _from_astropy(text: str, given: tuple[str | float, ...], form: str, scale: str) -> int:
    """Ask astropy. Of most times only the day is asked for, and many are of one day."""
    from astropy.time import Time

    try:
        with warnings.catch_warnings():
            # "dubious year": leap seconds of the far future are not known, which is nobody's mistake.
            warnings.simplefilter("ignore")
            return int(tai_ns_of_times(Time(*given, format=form, scale=scale)))
    except (ValueError, ArithmeticError) as error:
        # ERFA says which part is wrong, in quotes, after much else.
        reason = re.search(r' of "([^"]+)"', str(error))
        shown = text or given[0]
        raise TimeError(f"{shown!r} is not a time: {reason[1] if reason else error}") from None


def tai_ns_of_times(times: Any) -> npt.NDArray[np.int64]:
    """Return astropy Times as nanoseconds TAI since 1970, exact to the precision of `Time`.

    Parameters
    ----------
    times : astropy.time.Time
        Any shape; those without a scale of their own were given one by astropy (UTC for most formats).

    Returns
    -------
    numpy.ndarray
        Of that shape, int64.

    Raises
    ------
    TimeError
        One is masked, not finite, before 1678 or after 2261.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tai = times.tai
        except Exception as error:  # noqa: BLE001 - scales refuse with many kinds of error
            raise TimeError(f"the time {times} has no TAI: {error}") from None
    if np.any(tai.mask):
        raise TimeError("a time is masked, so it has no value")
    jd1, jd2 = np.asarray(tai.jd1, dtype=float), np.asarray(tai.jd2, dtype=float)
    if not np.all(np.isfinite(jd1) & np.isfinite(jd2) & (np.abs(jd1 + jd2 - 2440587.5) < 106_000)):
        raise TimeError(f"the time {times} cannot be stored: only the years 1680 to 2259 can")
    # jd1 is a whole or half number of days, so this product is exact; only the fraction is rounded.
    half_days = np.rint((jd1 - 2440587.5) * 2).astype(np.int64)
    ns: npt.NDArray[np.int64] = half_days * (_DAY_NS // 2) + np.rint(jd2 * _DAY_NS).astype(np.int64)
    return ns


def from_tai_ns(ns: Any) -> Any:
    """Return nanoseconds TAI since 1970, one or an array, as an astropy Time in TAI."""
    from astropy.time import Time

    ns = np.asarray(ns, dtype=np.int64)
    days, rest = np.divmod(ns, _DAY_NS)
    return Time(days + 2440587.5, rest / _DAY_NS, format="jd", scale="tai")


def range_in_words(begin: int, end: int) -> str:
    """Return a range of time as a person reads it, ``from 2026-01-05T00:00:00 UTC to the end of time``.

    Parameters
    ----------
    begin, end : int
        TAI nanoseconds since 1970; the ends of what int64 can say are no bounds.
    """
    limits = np.iinfo(np.int64)
    first = "the beginning of time" if begin == limits.min else _in_utc(begin)
    last = "the end of time" if end == limits.max else _in_utc(end)
    return f"from {first} to {last}"


def _in_utc(ns: int) -> str:
    with warnings.catch_warnings():
        # Of years whose leap seconds are not yet known; to the second nobody will mind.
        warnings.simplefilter("ignore")
        return f"{str(from_tai_ns(ns).utc.isot).removesuffix('.000')} UTC"
