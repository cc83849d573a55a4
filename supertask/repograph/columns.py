"""Grouping and joining of integer columns: the two primitives that everything in bulk is made of.

Keys of several columns are packed in one int64 by mixed radix. Grouping sorts ``key << bits | row``
(one `numpy.sort` of int64, several times faster than any argsort); joining looks keys up in a dense
table where the key space is small, and by binary search where it is not. Every cost is linear in the
rows, but for the sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

__all__ = ["Edges", "Groups", "dense_lookup", "expand", "group", "join", "lookup", "pack", "pack_both"]

Ints = npt.NDArray[np.integer[Any]]

_MAX_KEY = 2**62


def pack(columns: Sequence[Ints], sizes: Sequence[int], *, n: int = 0) -> npt.NDArray[np.int64]:
    """Pack code columns in one int64 key whose order is the lexicographic order of the columns.

    Parameters
    ----------
    columns : sequence of numpy.ndarray
        Codes, each shape (n,), in ``0 … size - 1``.
    sizes : sequence of int
        Number of different codes of each column.
    n : int
        Number of rows, where there are no columns.

    Returns
    -------
    numpy.ndarray
        Shape (n,), int64. Rows with a negative code in any column get -1.
    """
    return pack_both(columns, None, sizes, n=n)[0]


def pack_both(
    left: Sequence[Ints], right: Sequence[Ints] | None, sizes: Sequence[int], *, n: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pack two sets of columns alike, so that keys of one can be looked up in the other."""
    if not left:
        size = len(right[0]) if right else n
        return np.zeros(n, np.int64), np.zeros(size, np.int64)
    space = 1
    for size in sizes:
        space *= max(int(size), 1)
    if space >= _MAX_KEY:
        return _pack_ranked(left, right)
    return _radix(left, sizes), _radix(right, sizes) if right else np.empty(0, np.int64)


def _radix(columns: Sequence[Ints], sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    key = columns[0].astype(np.int64)
    null = columns[0] < 0
    for column, size in zip(columns[1:], sizes[1:], strict=True):
        key *= max(int(size), 1)
        key += column
        null |= column < 0
    if null.any():
        key[null] = -1
    return key


def _pack_ranked(
    left: Sequence[Ints], right: Sequence[Ints] | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pack where the radix would overflow: rank the distinct prefixes one column at a time."""
    n = len(left[0])
    columns = [np.concatenate([a, b]) for a, b in zip(left, right, strict=True)] if right else list(left)
    null = np.zeros(len(columns[0]), bool)
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        null |= column < 0
        # Ranks are below 2**31 and so are codes: their product fits.
        combined = key * (int(column.max(initial=0)) + 1) + np.maximum(column, 0)
        _, key = np.unique(combined, return_inverse=True)
        key = key.astype(np.int64)
    key[null] = -1
    return key[:n], key[n:]


@attrs.frozen(eq=False)
class Groups:
    """Rows in groups of equal keys, groups in order of the key, rows in order within each."""

    keys: npt.NDArray[np.int64]
    """Shape (g,): the distinct keys, ascending."""
    rows: npt.NDArray[np.int64] | None
    """Shape (n,): row numbers, group after group; None where rows were in order already."""
    indptr: npt.NDArray[np.int64]
    """Shape (g + 1,): where each group begins in `rows`."""


def group(keys: npt.NDArray[np.int64]) -> Groups:
    """Group rows by key; rows with a negative key are left out."""
    n = len(keys)
    rows: npt.NDArray[np.int64] | None
    if n == 0:
        return Groups(keys, None, np.zeros(1, np.int64))
    if keys[0] >= 0 and bool((keys[1:] >= keys[:-1]).all()):
        ordered, rows = keys, None
    else:
        bits = max(int(n - 1).bit_length(), 1)
        top = int(keys.max(initial=0))
        if top.bit_length() + bits <= 62:
            packed = (keys << bits) | np.arange(n, dtype=np.int64)
            packed.sort()
            ordered = packed >> bits
            rows = packed & ((1 << bits) - 1)
        else:
            rows = np.argsort(keys, kind="stable")
            ordered = keys[rows]
        first = int(np.searchsorted(ordered, 0))
        ordered, rows = ordered[first:], rows[first:]
        if not len(ordered):
            return Groups(ordered, rows, np.zeros(1, np.int64))
    starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    indptr = np.concatenate([[0], starts, [len(ordered)]]).astype(np.int64)
    return Groups(ordered[indptr[:-1]], rows, indptr)


def dense_lookup(keys: Ints, size: int) -> npt.NDArray[np.int32]:
    """Return a table, shape (size,), with the position of each key in `keys`, and -1 elsewhere."""
    table = np.full(size, -1, np.int32)
    table[keys] = np.arange(len(keys), dtype=np.int32)
    return table


def lookup(keys: npt.NDArray[np.int64], wanted: Ints) -> npt.NDArray[np.int64]:
    """Return the position of each wanted key in `keys` (ascending, distinct), or -1."""
    if not len(keys) or not len(wanted):
        return np.full(len(wanted), -1, np.int64)
    span = int(keys[-1]) + 1
    if span <= 8 * (len(keys) + len(wanted)) + 1024:
        table = np.full(span + 1, -1, np.int64)
        table[keys] = np.arange(len(keys))
        # Whatever is out of range is sent to the last entry, which is -1.
        index = np.where((wanted < 0) | (wanted >= span), span, wanted)
        return table[index]
    position = np.searchsorted(keys, wanted)
    position[position == len(keys)] = 0
    found: npt.NDArray[np.int64] = np.where(keys[position] == wanted, position, -1)
    return found


@attrs.frozen(eq=False)
class Edges:
    """For each of n things, the rows of a table that belong to it.

    `indptr` is None where each has exactly one row; `rows` is None where thing i has row i. Most
    edges of a pipeline are of these two kinds and then cost little or nothing.
    """

    n: int
    indptr: Any = None
    """Shape (n + 1,), int64, or None."""
    rows: Any = None
    """Row numbers, int32, ascending within each thing; or None."""

    @property
    def count(self) -> int:
        """Number of edges."""
        return self.n if self.indptr is None else int(self.indptr[self.n])

    def counts(self) -> npt.NDArray[np.int64]:
        """Return how many rows each thing has, shape (n,)."""
        return np.ones(self.n, np.int64) if self.indptr is None else np.diff(np.asarray(self.indptr))

    def all_rows(self) -> npt.NDArray[np.int32]:
        """Return the rows of all edges, thing after thing."""
        return np.arange(self.count, dtype=np.int32) if self.rows is None else np.asarray(self.rows)

    def owners(self) -> npt.NDArray[np.int32]:
        """Return the thing of each edge."""
        things = np.arange(self.n, dtype=np.int32)
        return things if self.indptr is None else np.repeat(things, np.diff(np.asarray(self.indptr)))

    def of(self, i: int) -> npt.NDArray[np.int32]:
        """Return the rows of thing `i`."""
        if self.indptr is None:
            return np.array([i], np.int32) if self.rows is None else self.rows[i : i + 1]
        first, last = (int(v) for v in self.indptr[i : i + 2])
        if self.rows is None:
            return np.arange(first, last, dtype=np.int32)
        part: npt.NDArray[np.int32] = self.rows[first:last]
        return part

    def take(self, things: Ints) -> Edges:
        """Return the edges of some things, renumbered in the order given."""
        if self.indptr is None:
            rows = things.astype(np.int32) if self.rows is None else self.rows[things]
            return Edges(len(things), None, rows)
        counts = np.diff(self.indptr)[things]
        return Edges.from_counts(counts, self.all_rows()[expand(self.indptr[:-1][things], counts)])

    def renumber(self, new_rows: Ints) -> Edges:
        """Return the same edges after row r of the table became ``new_rows[r]``, sorted again."""
        return Edges.from_pairs(self.n, self.owners(), new_rows[self.all_rows()])

    @classmethod
    def from_counts(cls, counts: Ints, rows: Ints) -> Edges:
        """Make edges from how many rows each thing has, and the rows."""
        if bool((counts == 1).all()):
            return cls(len(counts), None, rows.astype(np.int32, copy=False))
        indptr = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=indptr[1:])
        return cls(len(counts), indptr, rows.astype(np.int32, copy=False))

    @classmethod
    def from_pairs(cls, n: int, things: Ints, rows: Ints) -> Edges:
        """Make edges from pairs in any order; equal pairs count once."""
        span = int(rows.max(initial=0)) + 1
        groups = group(things.astype(np.int64) * span + rows)
        owner = groups.keys // span
        counts = np.bincount(owner, minlength=n)
        return cls.from_counts(counts, groups.keys - owner * span)


def expand(starts: Ints, counts: Ints) -> npt.NDArray[np.int64]:
    """Return ``start, start + 1, …`` for each start and count, one after another."""
    total = int(counts.sum())
    ends = np.cumsum(counts)
    shift = np.repeat(starts - (ends - counts), counts)
    return shift + np.arange(total, dtype=np.int64)


def join(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> Edges:
    """Return for each left key the right rows of equal key; negative keys match nothing."""
    groups = group(right)
    found = lookup(groups.keys, left)
    found = np.where(left < 0, -1, found)
    hit = found >= 0
    if len(groups.keys) == len(right) and bool(hit.all()):
        rows = found if groups.rows is None else groups.rows[found]
        return Edges(len(left), None, rows.astype(np.int32))
    counts = np.where(hit, np.diff(groups.indptr)[found] if len(groups.keys) else 0, 0)
    starts = groups.indptr[:-1][found] if len(groups.keys) else np.zeros(len(left), np.int64)
    rows = expand(starts, counts)
    if groups.rows is not None:
        rows = groups.rows[rows]
    return Edges.from_counts(counts, rows)
