"""Times as integers: nanoseconds TAI since 1970-01-01T00:00:00 TAI, an int64.

Integers compare exactly and sort fast; the range is 1677 to 2262. Astropy converts, and is imported
only when there is something to convert.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BEGIN_OF_TIME", "END_OF_TIME", "from_tai_ns", "tai_ns", "tai_ns_array"]

BEGIN_OF_TIME = -(2**63)
"""Stands for "always was" in ranges of time."""
END_OF_TIME = 2**63 - 1
"""Stands for "for ever" in ranges of time."""

_EPOCH_JD = 2440587.5
_DAY_NS = 86_400_000_000_000
_SCALES = ("tai", "tcb", "tcg", "tdb", "tt", "ut1", "utc")
_SUFFIX = re.compile(rf"\s*(Z|{'|'.join(_SCALES)})\Z", re.IGNORECASE)


def tai_ns(value: Any) -> int:
    """Return a time as nanoseconds TAI since 1970.

    Parameters
    ----------
    value : astropy.time.Time or datetime or numpy.datetime64 or str or int
        A str is ISO 8601 in UTC unless it ends with the name of another scale
        (``"2026-01-05T12:00:00 TAI"``); an int is nanoseconds TAI already.

    Raises
    ------
    ValueError
        It is not a time, or out of range.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    return int(tai_ns_array([value])[0])


def tai_ns_array(values: Sequence[Any] | Any) -> npt.NDArray[np.int64]:
    """Return several times as nanoseconds TAI since 1970, shape (n,).

    Parameters
    ----------
    values : astropy.time.Time or sequence
        An array-valued Time, or a sequence of what `tai_ns` takes.

    Raises
    ------
    ValueError
        One of them is not a time, or out of range.
    """
    if hasattr(values, "jd1"):
        return _from_time(values)
    values = list(values)
    out = np.zeros(len(values), np.int64)
    texts: dict[str, tuple[list[int], list[str]]] = {}
    for i, value in enumerate(values):
        if isinstance(value, bool):
            raise ValueError(f"{value!r} is not a time")
        if isinstance(value, int | np.integer):
            out[i] = value
        elif isinstance(value, str):
            found = _SUFFIX.search(value)
            scale = found[1].lower() if found else "utc"
            where, what = texts.setdefault("utc" if scale == "z" else scale, ([], []))
            where.append(i)
            what.append(value[: found.start()] if found else value)
        else:
            out[i] = _from_time(_as_time(value))[0]
    for scale, (where, what) in texts.items():
        out[where] = _from_time(_parse(what, scale))
    return out


def from_tai_ns(value: int | npt.NDArray[np.int64]) -> Any:
    """Return nanoseconds TAI since 1970 as an `astropy.time.Time`, exact to the nanosecond."""
    from astropy.time import Time

    days, rest = np.divmod(np.asarray(value, np.int64), _DAY_NS)
    return Time(days + _EPOCH_JD, rest / _DAY_NS, format="jd", scale="tai")


def _parse(texts: list[str], scale: str) -> Any:
    from astropy.time import Time

    try:
        return Time(texts, scale=scale)
    except ValueError as error:
        for text in texts:
            try:
                Time(text, scale=scale)
            except ValueError:
                raise ValueError(f"{text!r} is not a time; write for example '2026-01-05T12:00:00'") from error
        # Good one by one, but not in one format.
        return Time([Time(text, scale=scale) for text in texts])


def _as_time(value: Any) -> Any:
    if hasattr(value, "jd1"):
        return value
    from astropy.time import Time

    try:
        return Time(value, scale="utc")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{value!r} is not a time: {error}") from None


def _from_time(time: Any) -> npt.NDArray[np.int64]:
    tai = time.tai
    jd1, jd2 = np.atleast_1d(tai.jd1), np.atleast_1d(tai.jd2)
    days = np.round(jd1 - _EPOCH_JD)
    part = (jd1 - _EPOCH_JD - days) + jd2
    if not np.all(np.isfinite(part)) or np.any(np.abs(days) > 106_000):
        raise ValueError(f"{time} is out of range: years 1680 to 2260 can be kept")
    ns: npt.NDArray[np.int64] = days.astype(np.int64) * _DAY_NS + np.round(part * _DAY_NS).astype(np.int64)
    return ns
