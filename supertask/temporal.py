"""Look-ups in time, on whole columns: which of some candidates is nearest, or the latest before.

Times are int64 nanoseconds TAI since 1970, as everywhere in columns; `NO_TIME` stands where a time is
not known, and finds and is found by nothing. Candidates may be in groups (darks of a detector), and
are then looked for within a time's own group alone.

>>> import numpy as np
>>> from supertask.temporal import latest_before, nearest_in_time
>>> day = 86_400 * 10**9
>>> darks = np.array([1, 4, 9]) * day
>>> visits = np.array([3, 5, 30]) * day
>>> nearest_in_time(visits, darks).tolist(), latest_before(visits, darks, max_gap=10 * day).tolist()
([1, 1, 2], [0, 1, -1])
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NO_TIME", "latest_before", "nearest_in_time"]

Int = npt.NDArray[np.int64]

NO_TIME = int(np.iinfo(np.int64).min)
"""Stands in a column where a time is not known."""


def nearest_in_time(
    times: npt.ArrayLike,
    candidates: npt.ArrayLike,
    max_gap: int | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    candidate_groups: npt.ArrayLike | None = None,
) -> Int:
    """Find for each time the nearest of the candidates, before or after.

    Parameters
    ----------
    times : array_like
        Shape (n,), int64, TAI nanoseconds since 1970.
    candidates : array_like
        Shape (m,), in any order.
    max_gap : int, optional
        Nanoseconds that it may be away, itself included; any number unless given.
    groups, candidate_groups : array_like, optional
        Shapes (n,) and (m,), int64: only candidates of a time's own group are looked at.

    Returns
    -------
    numpy.ndarray
        Shape (n,), int64: index of the candidate, -1 for none. Of two that are as near, the earlier
        one; of several at one time, the first.

    Raises
    ------
    ValueError
        Columns that belong together differ in length, only one of the groups is given, or
        `max_gap` is negative.
    """
    search = _Search(times, candidates, max_gap, groups, candidate_groups)
    after = search.after()
    before = search.leader(search.within(after - 1))
    after = search.within(after)
    gap_before, gap_after = search.gap(before), search.gap(after)
    # One at the very time counts as before.
    return search.answer(np.where((before >= 0) & ((after < 0) | (gap_before <= gap_after)), before, after))


def latest_before(
    times: npt.ArrayLike,
    candidates: npt.ArrayLike,
    max_gap: int | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    candidate_groups: npt.ArrayLike | None = None,
    strictly: bool = False,
) -> Int:
    """Find for each time the latest of the candidates that is not after it.

    Parameters
    ----------
    times, candidates, max_gap, groups, candidate_groups
        As for `nearest_in_time`.
    strictly : bool, optional
        Whether one at the very time is left out.

    Returns
    -------
    numpy.ndarray
        Shape (n,), int64: index of the candidate, -1 for none; of several at one time, the first.

    Raises
    ------
    ValueError
        As `nearest_in_time`.
    """
    search = _Search(times, candidates, max_gap, groups, candidate_groups)
    return search.answer(search.leader(search.within(search.after(strictly=strictly) - 1)))


class _Search:
    """Candidates sorted by group and time, and where each time belongs among them."""

    def __init__(
        self, times: Any, candidates: Any, max_gap: int | None, groups: Any, candidate_groups: Any
    ) -> None:
        if (groups is None) != (candidate_groups is None):
            raise ValueError("give groups of both times and candidates, or of neither")
        if max_gap is not None and max_gap < 0:
            raise ValueError(f"max_gap must not be negative, and is {max_gap}")
        self.max_gap = max_gap
        self.times, self.groups = _columns(times, groups, "times")
        candidates, candidate_groups = _columns(candidates, candidate_groups, "candidates")
        known = np.flatnonzero(candidates != NO_TIME)
        # Stable: of several at one time the first stays first.
        self.order = known[np.lexsort((candidates[known], candidate_groups[known]))]
        self.sorted_times, self.sorted_groups = candidates[self.order], candidate_groups[self.order]

    def after(self, *, strictly: bool = False) -> Int:
        """Return how many candidates sort before each time: those at the very time too, unless strictly."""
        names, codes = np.unique(self.sorted_groups, return_inverse=True)
        ours = np.searchsorted(names, self.groups)
        self.known = (self.times != NO_TIME) & (ours < len(names))
        self.known[self.known] &= names[ours[self.known]] == self.groups[self.known]
        moments, ranks = np.unique(self.sorted_times, return_inverse=True)
        rank = np.searchsorted(moments, self.times, side="left" if strictly else "right")
        # Group and rank of the time as one number, in which the candidates are in order.
        width = len(moments) + 1
        found: Int = np.searchsorted(codes * width + ranks, ours * width + rank, "left")
        return found

    def within(self, at: Int) -> Int:
        """Return the same where a candidate of the time's own group stands there, else -1."""
        inside = self.known & (at >= 0) & (at < len(self.order))
        inside[inside] &= self.sorted_groups[at[inside]] == self.groups[inside]
        return np.where(inside, at, -1)

    def leader(self, at: Int) -> Int:
        """Return the first of those that are of the same group and time."""
        if not len(self.order):
            return at
        new = np.ones(len(self.order), bool)
        new[1:] = (np.diff(self.sorted_groups) != 0) | (np.diff(self.sorted_times) != 0)
        first = np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))
        return np.where(at >= 0, first[at], -1)

    def gap(self, at: Int) -> npt.NDArray[np.uint64]:
        """Return how far the candidates are away, where there are any."""
        gap = np.zeros(len(at), np.uint64)
        some = at >= 0
        there, mine = self.sorted_times[at[some]], self.times[some]
        # Unsigned, as the ends of what int64 can say are further apart than it can say.
        gap[some] = np.maximum(there, mine).astype(np.uint64) - np.minimum(there, mine).astype(np.uint64)
        return gap

    def answer(self, at: Int) -> Int:
        """Return indices as the caller counts, without those that are too far away."""
        if self.max_gap is not None:
            at = np.where(self.gap(at) <= np.uint64(self.max_gap), at, -1)
        found = np.full(len(at), -1, np.int64)
        found[at >= 0] = self.order[at[at >= 0]]
        return found


def _columns(times: Any, groups: Any, what: str) -> tuple[Int, Int]:
    values = np.asarray(times, np.int64)
    grouped = np.zeros(len(values), np.int64) if groups is None else np.asarray(groups, np.int64)
    if values.ndim != 1 or grouped.shape != values.shape:
        raise ValueError(f"{what} and their groups must be columns of one length")
    return values, grouped
