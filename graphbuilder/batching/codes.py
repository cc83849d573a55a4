"""Equal things get equal integers: rows of numbers, texts, sets. Exact, so nothing merges by accident."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbuilder.batching.texts import Texts
from graphbuilder.dag.columns import StringColumn
from supertask.repograph.columns import Edges, expand, group

__all__ = ["Codes", "combined", "edge_codes", "ranked", "text_codes"]

Codes = npt.NDArray[np.int64]
"""Shape (n,): 0, 1, 2, … equal where the things are equal."""


def ranked(values: npt.NDArray[Any]) -> Codes:
    """Return numbers of the distinct values of a column, shape (n,), in their order."""
    if not len(values):
        return np.empty(0, np.int64)
    if values.dtype.kind in "iub":
        low, high = int(values.min()), int(values.max())
        span = high - low + 1
        if span <= 4 * len(values) + 1024:
            there = np.zeros(span, bool)
            shifted = (values - low).astype(np.int64) if low else values.astype(np.int64)
            there[shifted] = True
            place: Codes = np.cumsum(there) - 1
            return place[shifted]
    return np.unique(values, return_inverse=True)[1].astype(np.int64).reshape(-1)


def combined(columns: Sequence[npt.NDArray[Any]], n: int) -> Codes:
    """Return numbers of the distinct rows of several columns of integers, each shape (n,)."""
    key = np.zeros(n, np.int64)
    size = 1
    for column in columns:
        if not n or bool((column == column[0]).all()):
            continue
        codes = ranked(column)
        count = int(codes.max()) + 1
        if size == 1:
            key, size = codes, count
            continue
        # Ranks are below 2**31, so that their product fits.
        key = ranked(key * count + codes)
        size = int(key.max()) + 1
    return key


def text_codes(strings: StringColumn) -> Codes:
    """Return numbers of the distinct texts of a column, in the order in which they first appear."""
    texts = Texts(strings)
    return texts.codes([(texts.starts, texts.stops)])


def edge_codes(edges: Edges) -> Codes:
    """Return numbers of the distinct sets of rows that things have."""
    rows = edges.all_rows()
    if edges.indptr is None:
        return ranked(rows)
    counts = edges.counts()
    starts = np.asarray(edges.indptr)[:-1]
    codes = np.zeros(edges.n, np.int64)
    first = 0
    groups = group(counts)
    for k, count in enumerate(groups.keys.tolist()):
        part = slice(groups.indptr[k], groups.indptr[k + 1])
        members = np.arange(edges.n)[part] if groups.rows is None else groups.rows[part]
        table = rows[expand(starts[members], counts[members])].reshape(len(members), count)
        own = combined([table[:, j] for j in range(count)], len(members))
        codes[members] = own + first
        first += int(own.max(initial=-1)) + 1
    return codes
