"""Filling slots with the largest quanta first: at once where that is the same, else one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphbuilder.batching.cuts import largest_first

FEW = st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=120)
ALIKE = st.lists(st.integers(90, 100).map(float), min_size=40, max_size=200)


def one_by_one(weights: list[float], parts: int) -> list[int]:
    """Give each, the largest first, where there is least."""
    loads = [0.0] * min(parts, len(weights))
    chosen = [0] * len(weights)
    for i in sorted(range(len(weights)), key=lambda i: -weights[i]):
        chosen[i] = loads.index(min(loads))
        loads[chosen[i]] += weights[i]
    return chosen


@given(weights=FEW | ALIKE, parts=st.sampled_from([1, 2, 7, 23, 24, 31, 64]))
def test_each_goes_where_there_is_least(weights: list[float], parts: int) -> None:
    assert largest_first(np.array(weights), parts).tolist() == one_by_one(weights, parts)
