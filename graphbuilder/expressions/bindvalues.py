"""Bind values as plans and jobs carry them: in JSON, with the meaning that they had.

An expression takes what people have at hand: arrays, sets, ranges, dates, astropy Times, paths. Files take
numbers, texts and lists, so times are written out in TAI to the nanosecond, and a range, which may be of
millions, as its ends and its step.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from supertask.times import TimeError, tai_ns

__all__ = ["from_plain", "is_times", "time_text", "to_plain"]

_RANGE = ("start", "stop", "step")


def to_plain(bind: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an expression that was understood; what it does not use may be left out.

    Parameters
    ----------
    bind : Mapping
        Values by name, of any kind that expressions take.

    Returns
    -------
    dict
        What JSON can carry, without values of other kinds: no expression has a use for them.
    """
    made = {name: _plain(value) for name, value in bind.items()}
    return {str(name): value for name, value in made.items() if value is not None}


def from_plain(value: Any) -> Any:
    """Return a range that `to_plain` spelt out, and whatever else as it is."""
    if isinstance(value, Mapping) and tuple(value) == _RANGE:
        return range(*value.values())
    return value


def is_times(value: Any) -> bool:
    """Tell an astropy Time of several times from one of a single time, and from all else."""
    return hasattr(value, "tai") and not getattr(value, "isscalar", True)


def time_text(ns: int) -> str:
    """Return TAI nanoseconds since 1970 as expressions take them in quotes."""
    seconds, rest = divmod(ns, 10**9)
    # The zone stands for TAI here: Python has no other without leap seconds and summer times.
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d} TAI"


def _plain(value: Any) -> Any:
    if isinstance(value, range):
        return {part: getattr(value, part) for part in _RANGE}
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        value = value.tolist()
    if isinstance(value, str | PurePath):
        return str(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, set | frozenset):
        value = sorted(value, key=lambda v: (type(v).__name__, v))
    if isinstance(value, list | tuple) or is_times(value):
        return [_plain(v) for v in value]
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    try:
        return time_text(tai_ns(value))
    except TimeError:
        return None
