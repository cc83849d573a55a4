from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supertask import temporal
from supertask.temporal import NO_TIME, latest_before, nearest_in_time

TIMES = st.one_of(
    st.integers(-5, 5), st.just(NO_TIME), st.sampled_from([2**63 - 1, -(2**63) + 1]), st.integers(-100, 100)
)
ROWS = st.lists(st.tuples(TIMES, st.integers(0, 2)), max_size=12)
GAP = st.none() | st.integers(0, 20) | st.just(2**62)


def by_hand(times, candidates, max_gap, *, nearest, strictly=False):
    found = []
    for time, group in times:
        best = (None, -1)
        for i, (candidate, its) in enumerate(candidates):
            if NO_TIME in (time, candidate) or its != group:
                continue
            if not nearest and (candidate > time or (strictly and candidate == time)):
                continue
            gap = abs(candidate - time)
            if max_gap is not None and gap > max_gap:
                continue
            key = (gap, candidate)
            if best[0] is None or key < best[0]:
                best = (key, i)
        found.append(best[1])
    return found


def split(rows):
    return np.array([t for t, _ in rows], np.int64), np.array([g for _, g in rows], np.int64)


@given(ROWS, ROWS, GAP)
def test_the_nearest_is_that_of_a_loop_over_all(times, candidates, max_gap):
    (t, tg), (c, cg) = split(times), split(candidates)
    found = nearest_in_time(t, c, max_gap, groups=tg, candidate_groups=cg)
    assert found.tolist() == by_hand(times, candidates, max_gap, nearest=True)


@given(ROWS, ROWS, GAP, st.booleans())
def test_the_latest_before_is_that_of_a_loop_over_all(times, candidates, max_gap, strictly):
    (t, tg), (c, cg) = split(times), split(candidates)
    found = latest_before(t, c, max_gap, groups=tg, candidate_groups=cg, strictly=strictly)
    assert found.tolist() == by_hand(times, candidates, max_gap, nearest=False, strictly=strictly)


def test_without_groups_all_candidates_are_looked_at():
    assert nearest_in_time([10, 14, 15, 16], [20, 10, 10]).tolist() == [1, 1, 1, 0]
    assert latest_before([9, 10, 25], [20, 10, 10]).tolist() == [-1, 1, 0]
    assert latest_before([10], [10], strictly=True).tolist() == [-1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"max_gap": -1}, "max_gap"),
        ({"groups": [1, 2]}, "of both"),
        ({"groups": [1], "candidate_groups": [1]}, "columns of one length"),
    ],
)
def test_columns_that_do_not_belong_together_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        nearest_in_time([1, 2], [1], **arguments)


def test_the_example_in_the_docstring_holds():
    assert doctest.testmod(temporal).failed == 0
