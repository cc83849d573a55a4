"""Who waits for whom: quantum-to-quantum edges, found by one gather."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.repograph.columns import Edges, Ints, expand, group

__all__ = ["Producers", "levels", "reachable", "successors"]


@attrs.frozen(eq=False)
class Producers:
    """Which quantum makes each row of a dataset table."""

    first: int
    """Index of the producing task's first quantum."""
    edges: Edges
    """The producing task's quanta → rows."""
    quanta: Any = None
    """Shape (rows,), int32: the quantum of each row, -1 for none. Takes the place of the two above."""

    def of(self, rows: Ints) -> npt.NDArray[np.int64]:
        """Return the quantum that makes each row, -1 where the plan has none that does."""
        if self.quanta is not None:
            found: npt.NDArray[np.int64] = self.quanta[rows].astype(np.int64)
            return found
        if self.edges.rows is None and self.edges.indptr is None:
            return rows.astype(np.int64) + self.first
        if self.edges.rows is None:
            return np.searchsorted(self.edges.indptr[:], rows, side="right") - 1 + self.first
        return self.table(int(self.edges.all_rows().max(initial=-1)) + 1)[rows].astype(np.int64)

    def table(self, n: int) -> npt.NDArray[np.int32]:
        """Return the quantum of every one of n rows."""
        if self.quanta is not None:
            return np.asarray(self.quanta)
        made = np.full(n, -1, np.int32)
        made[self.edges.all_rows()] = self.edges.owners() + np.int32(self.first)
        return made


def successors(
    n: int, pairs: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return for each of n quanta those that wait for it.

    Parameters
    ----------
    n : int
        Number of quanta.
    pairs : iterable
        (producer, consumer) columns, in any order and with repeats; producer -1 is nobody.

    Returns
    -------
    indptr : numpy.ndarray
        Shape (n + 1,), int64.
    indices : numpy.ndarray
        int32, ascending within each quantum.
    """
    bits = max(n - 1, 1).bit_length()
    packed = []
    for producer, consumer in pairs:
        key = (producer.astype(np.int64) << bits) | consumer
        packed.append(key[producer >= 0])
    keys = np.concatenate(packed) if packed else np.empty(0, np.int64)
    keys.sort()
    # Not numpy.unique: on nearly distinct keys it is an order of magnitude slower than this.
    if len(keys):
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    counts = np.bincount(keys >> bits, minlength=n)
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    return indptr, (keys & ((1 << bits) - 1)).astype(np.int32)


def levels(indptr: npt.NDArray[np.int64], indices: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the longest way to each quantum, in edges (Kahn's algorithm, one level at a time).

    Returns
    -------
    numpy.ndarray
        Shape (n,), int32; -1 for what is in or behind a cycle.
    """
    n = len(indptr) - 1
    waiting = np.bincount(indices, minlength=n)
    level = np.full(n, -1, np.int32)
    ready = np.flatnonzero(waiting == 0)
    depth = 0
    while len(ready):
        level[ready] = depth
        counts = np.diff(indptr)[ready] if len(ready) > n // 16 else indptr[ready + 1] - indptr[ready]
        after = indices[expand(indptr[ready], counts)]
        groups = group(after.astype(np.int64))
        waiting[groups.keys] -= np.diff(groups.indptr)
        ready = groups.keys[waiting[groups.keys] == 0]
        depth += 1
    return level


def reachable(
    indptr: npt.NDArray[np.int64], indices: npt.NDArray[np.int32], start: Ints
) -> npt.NDArray[np.bool_]:
    """Return which quanta can be reached from some of them, these included, shape (n,)."""
    seen = np.zeros(len(indptr) - 1, bool)
    seen[start] = True
    front = np.asarray(start)
    while len(front):
        after = indices[expand(indptr[front], indptr[front + 1] - indptr[front])]
        after = after[~seen[after]]
        seen[after] = True
        front = group(after.astype(np.int64)).keys
    return seen
