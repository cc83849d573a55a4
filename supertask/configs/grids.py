"""Grids: every combination of some values, each combination with a tag that says what it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from supertask.errors import ConfigError

__all__ = ["combinations"]


def combinations(axes: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each combination of values with its tag, such as ``level=2,order=3``.

    Parameters
    ----------
    axes : Mapping
        Path of a field → the values that it takes. The last axis runs quickest.

    Raises
    ------
    ConfigError
        An axis is no sequence, is empty, or has a value twice.
    """
    for path, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise ConfigError(f"grid: {path}: give a list of values, got {values!r}")
        if not values:
            raise ConfigError(f"grid: {path} has no values")
        if len({repr(v) for v in values}) < len(values):
            raise ConfigError(f"grid: {path} has a value twice: {list(values)!r}")
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        yield ",".join(f"{_short(path, axes)}={value}" for path, value in chosen.items()), chosen


def _short(path: str, axes: Mapping[str, Any]) -> str:
    """Return the last step of a path, if no other axis ends in it."""
    last = path.rpartition(":")[2].rpartition(".")[2]
    alike = [p for p in axes if p.rpartition(":")[2].rpartition(".")[2] == last]
    return last if len(alike) == 1 else path
