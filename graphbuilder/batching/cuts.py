"""Where runs of quanta are cut into bundles: by limits, evenly, or into so many.

A run is what shares overhead, in order. By limits it is cut greedily, but without a loop over quanta: for
every quantum at once it is found where a bundle that begins there must end, then these are followed from the
front. A second pass with limits drawn as tight as the number of bundles allows makes them even.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["by_limits", "even_parts", "largest_first", "shares"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_WIDE = 24
"""Parts from which on it pays to fill all of them at once."""
_TINY = 1e-9
"""Sums of columns are differences of cumulated sums, exact to about this part of the whole."""


def by_limits(
    runs: Ints,
    most: int | npt.NDArray[np.int64] | None,
    limits: Sequence[tuple[Floats, float | Floats]],
    together: Ints | None = None,
) -> Ints:
    """Cut runs so that no bundle exceeds a limit, unless a single quantum does.

    Parameters
    ----------
    runs : numpy.ndarray
        Shape (runs + 1,): where each run begins, the first at 0.
    most : int or numpy.ndarray, optional
        How many quanta a bundle has at most; shape (runs,) for each run its own.
    limits : sequence of tuple
        Weight of each quantum, shape (n,), none negative, and what the sum in a bundle may be; shape (runs,)
        for each run its own.
    together : numpy.ndarray, optional
        Shape (n,): neighbours of equal number are not parted where the limits allow it.

    Returns
    -------
    numpy.ndarray
        Shape (bundles + 1,): where each begins, the first at 0.
    """
    sizes = np.diff(runs)
    if most is None and not limits:
        return runs
    cap = sizes if most is None else np.minimum(sizes, most)
    if not limits and together is None:
        return _evenly(runs, -(-sizes // np.maximum(cap, 1)))
    pieces = -(-sizes // np.maximum(cap, 1))
    even_cap = -(-sizes // np.maximum(pieces, 1))
    bounds = [np.broadcast_to(np.asarray(bound, float), sizes.shape) for _, bound in limits]
    sums = [np.concatenate([[0.0], np.cumsum(weight)]) for weight, _ in limits]
    first = _greedy(
        runs, even_cap if together is None else cap, list(zip(sums, bounds, strict=True)), together
    )
    if together is not None:
        return first
    counts = np.diff(np.searchsorted(first, runs))
    tight = []
    for (weight, _), total, bound in zip(limits, sums, bounds, strict=True):
        largest = np.maximum.reduceat(weight, runs[:-1]) if len(sizes) else weight[:0]
        whole = total[runs[1:]] - total[runs[:-1]]
        tight.append((total, np.minimum(bound, whole / np.maximum(counts, 1) + largest)))
    second = _greedy(runs, even_cap, tight, None)
    return second if len(second) <= len(first) else first


def _evenly(runs: Ints, pieces: Ints) -> Ints:
    """Cut each run in so many pieces whose numbers of quanta differ by one at most."""
    count = int(pieces.sum())
    run = np.repeat(np.arange(len(pieces)), pieces)
    number = np.arange(1, count + 1) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    sizes = np.diff(runs)
    ends = runs[run] + sizes[run] * number // np.maximum(pieces[run], 1)
    return np.concatenate([[0], ends]).astype(np.int64)


def _greedy(runs: Ints, most: Ints, sums: Sequence[tuple[Floats, Floats]], together: Ints | None) -> Ints:
    n = int(runs[-1])
    run_ends = np.repeat(runs[1:], np.diff(runs))
    begin = np.arange(n)
    ends = np.minimum(run_ends, begin + np.repeat(most, np.diff(runs)))
    for total, bound in sums:
        room = total[:-1] + np.repeat(bound, np.diff(runs))
        room += _TINY * np.abs(room)
        np.minimum(ends, np.searchsorted(total, room, side="right") - 1, out=ends)
    if together is not None:
        starts = np.concatenate([[True], together[1:] != together[:-1]]) if n else np.empty(0, bool)
        atom = np.concatenate([np.maximum.accumulate(np.where(starts, begin, 0)), [n]])
        back = np.where(ends == run_ends, ends, atom[ends])
        ends = np.where(back > begin, back, ends)
    np.maximum(ends, begin + 1, out=ends)
    follow = memoryview(np.ascontiguousarray(ends))
    cut, at = [0], 0
    while at < n:
        at = follow[at]
        cut.append(at)
    return np.array(cut, np.int64)


def shares(weights: Floats, sizes: Ints, slots: int) -> Ints:
    """Share out slots among runs by their weight: each gets one at least, and no more than it has quanta.

    Parameters
    ----------
    weights : numpy.ndarray
        Shape (runs,): how much work each is.
    sizes : numpy.ndarray
        Shape (runs,): how many quanta each has.
    slots : int
        How many there are; where there are more runs, each gets one all the same.

    Returns
    -------
    numpy.ndarray
        Shape (runs,), int64.
    """
    given = np.minimum(np.ones(len(sizes), np.int64), sizes)
    left = slots - int(given.sum())
    if left <= 0:
        return given
    # The next slot goes where the share of each is largest: no more than `slots` rounds of a heap.
    heap = [(-w / g, i) for i, (w, g) in enumerate(zip(weights.tolist(), given.tolist(), strict=True)) if g]
    heapq.heapify(heap)
    while left and heap:
        _, i = heapq.heappop(heap)
        if given[i] < sizes[i]:
            given[i] += 1
            left -= 1
            heapq.heappush(heap, (-weights[i] / given[i], i))
    return given


def even_parts(runs: Ints, weight: Floats, parts: Ints) -> Ints:
    """Cut each run in so many parts of about equal weight; none is empty.

    Returns
    -------
    numpy.ndarray
        Shape (bundles + 1,): where each begins.
    """
    total = np.concatenate([[0.0], np.cumsum(weight)])
    cut = [np.zeros(1, np.int64)]
    for begin, end, k in zip(runs[:-1].tolist(), runs[1:].tolist(), parts.tolist(), strict=True):
        if end == begin:
            continue
        wanted = total[begin] + (total[end] - total[begin]) * np.arange(1, k) / k
        at = np.searchsorted(total[begin : end + 1], wanted, side="left") + begin
        # Whole numbers that rise by one at least and leave one quantum for each part that follows.
        steps = np.arange(1, k)
        at = np.maximum.accumulate(np.maximum(at, begin + steps) - steps) + steps
        at = np.minimum(at, end - (k - steps))
        cut.append(np.append(at, end).astype(np.int64))
    return np.concatenate(cut)


def largest_first(weight: Floats, parts: int) -> npt.NDArray[np.int64]:
    """Put things into parts, the largest first and each where there is least (LPT).

    Source: R. L. Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Appl. Math. 17 (1969).

    Returns
    -------
    numpy.ndarray
        Shape (n,): the part of each, 0 to parts - 1.
    """
    order = np.argsort(-weight, kind="stable")
    if parts <= 1:
        return np.zeros(len(weight), np.int64)
    sorted_weights = weight[order]
    parts = min(parts, len(weight))
    picked = np.empty(len(weight), np.int64)
    loads = np.zeros(parts)
    step = parts if parts >= _WIDE else len(weight)
    for at in range(0, len(weight), step):
        some = sorted_weights[at : at + step]
        emptiest = np.argsort(loads, kind="stable")
        if len(some) == parts and loads[emptiest[0]] + some[-1] > loads[emptiest[-1]]:
            # Whoever gets one of these has more than those that have none yet: each gets one.
            picked[at : at + step] = emptiest
            loads[emptiest] += some
        else:
            picked[at : at + step] = _one_by_one(some.tolist(), loads)
    chosen = np.empty(len(weight), np.int64)
    chosen[order] = picked
    return chosen


def _one_by_one(weights: Sequence[float], loads: Floats) -> list[int]:
    """Return where each goes, which is where there is least, and note how much there is then."""
    bins = [(load, k) for k, load in enumerate(loads.tolist())]
    heapq.heapify(bins)
    picked = []
    for weight in weights:
        load, k = bins[0]
        picked.append(k)
        heapq.heapreplace(bins, (load + weight, k))
    for load, k in bins:
        loads[k] = load
    return picked
