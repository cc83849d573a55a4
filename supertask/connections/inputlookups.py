"""How an input is looked up where units alone do not say which datasets are meant."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from typing import Any

from supertask.errors import ConfigError

__all__ = ["Find", "When", "gap_ns", "which"]


class When(enum.Enum):
    """Which of several datasets is looked up by the time of the observation."""

    VALID = "valid"
    """All that belong to a quantum by units; of certified calibrations the one that is valid at its time."""
    NEAREST = "nearest"
    """The one nearest in time, before or after."""
    LATEST_BEFORE = "latest before"
    """The latest that is not after."""


Find = Callable[[Any, Any], tuple[Any, Any]]
"""A look-up function: given quanta and the RepoGraph it returns pairs of rows, one of each in columns."""


def gap_ns(value: Any) -> int | None:
    """Return a span of time, a timedelta or a Quantity, in nanoseconds.

    Raises
    ------
    ConfigError
        It is none, or negative.
    """
    if value is None:
        return None
    if isinstance(value, dt.timedelta):
        ns = (value.days * 86_400 + value.seconds) * 10**9 + value.microseconds * 1000
    elif hasattr(value, "to_value"):
        try:
            ns = round(value.to_value("s") * 1e9)
        except Exception:  # noqa: BLE001 - units have many ways to refuse
            raise ConfigError(f"max_gap must be a span of time, got {value!r}") from None
    else:
        raise ConfigError(f"max_gap must be a timedelta or a Quantity of time, got {value!r}")
    if ns < 0:
        raise ConfigError(f"max_gap must not be negative, got {value!r}")
    return ns


def which(value: When | str) -> When:
    """Return a `When`, which may be given by its value.

    Raises
    ------
    ConfigError
        There is none of that value.
    """
    try:
        return When(value)
    except ValueError:
        raise ConfigError(
            f"when must be one of {', '.join(repr(w.value) for w in When)}, got {value!r}"
        ) from None
