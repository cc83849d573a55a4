"""What the quanta of a plan need, in columns, and how long the longest chain of them takes."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from executors.decisions.schedule import Successors
from graphbuilder.dag.topology import levels
from supertask.errors import ExecutionError

__all__ = ["Workload", "critical_path"]

Floats = npt.NDArray[np.float64]


def _column(values: Any) -> Floats:
    return np.ascontiguousarray(values, np.float64)


def _column_if_any(values: Any) -> Floats | None:
    return None if values is None else _column(values)


def _numbers_if_any(values: Any) -> npt.NDArray[np.int64] | None:
    return None if values is None else np.ascontiguousarray(values, np.int64)


@attrs.frozen(eq=False, kw_only=True)
class Workload:
    """What quanta need, and how often they fail.

    Raises
    ------
    ExecutionError
        Columns have different lengths, times are negative, or rates are no shares.
    """

    seconds: Floats = attrs.field(converter=_column)
    """Shape (quanta,): time of each, without what it shares with others."""
    overhead: Floats | None = attrs.field(default=None, converter=_column_if_any)
    """Shape (quanta,): time to make what it shares with others, for whoever needs it first; nothing unless
    given."""
    keys: npt.NDArray[np.int64] | None = attrs.field(default=None, converter=_numbers_if_any)
    """Shape (quanta,): equal for quanta that share it; all unless given."""
    failing: Floats | None = attrs.field(default=None, converter=_column_if_any)
    """Shape (quanta,): share of its attempts that fail; none unless given."""
    dying: float = 0.0
    """Share of jobs that are killed on their way."""

    def __attrs_post_init__(self) -> None:
        n = len(self.seconds)
        for name in ("seconds", "overhead", "keys", "failing"):
            column = getattr(self, name)
            if column is None:
                continue
            if column.shape != (n,):
                raise ExecutionError(f"{name} has the shape {column.shape}, and there are {n} quanta")
            if name != "keys" and not bool((np.isfinite(column) & (column >= 0)).all()):
                bad = column[~(np.isfinite(column) & (column >= 0))][0]
                raise ExecutionError(f"{name} must be numbers of 0 or more, and {bad} is none")
        if self.failing is not None and bool((self.failing > 1).any()):
            raise ExecutionError(f"failing is a share of attempts, not {self.failing.max():g}")
        if not 0 <= self.dying <= 1:
            raise ExecutionError(f"dying is a share of jobs, not {self.dying:g}")

    def __len__(self) -> int:
        return len(self.seconds)


def critical_path(successors: Successors, seconds: Floats) -> float:
    """Return how long the longest chain of quanta takes, each of which waits for the one before."""
    indptr, indices = successors
    n = len(indptr) - 1
    if not n:
        return 0.0
    begin = np.zeros(n)
    if len(indices):
        level = np.asarray(levels(indptr, indices))
        owners = np.repeat(np.arange(n, dtype=np.int64), np.diff(indptr))
        order = np.argsort(level[owners], kind="stable")
        cuts = np.searchsorted(level[owners][order], np.arange(1, int(level.max()) + 1))
        for edges in np.split(order, cuts):
            np.maximum.at(begin, indices[edges], begin[owners[edges]] + seconds[owners[edges]])
    return float((begin + seconds).max())
