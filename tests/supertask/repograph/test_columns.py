"""Grouping and joining, against dictionaries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supertask.repograph.columns import Edges, expand, group, join, lookup, pack, pack_both

codes = st.lists(st.integers(-1, 6), max_size=40)
keys = st.lists(st.integers(-1, 9) | st.integers(2**40, 2**40 + 3), max_size=40)


@given(keys)
def test_groups_hold_the_rows_of_each_key_in_order(values: list[int]) -> None:
    groups = group(np.array(values, np.int64))
    rows = np.arange(len(values)) if groups.rows is None else groups.rows
    found = {
        int(k): rows[a:b].tolist()
        for k, a, b in zip(groups.keys, groups.indptr, groups.indptr[1:], strict=False)
    }
    expected: dict[int, list[int]] = {}
    for row, key in enumerate(values):
        if key >= 0:
            expected.setdefault(key, []).append(row)
    assert found == expected
    assert list(found) == sorted(found)


@given(keys, keys)
def test_join_finds_for_each_left_row_the_right_rows_of_equal_key(left: list[int], right: list[int]) -> None:
    edges = join(np.array(left, np.int64), np.array(right, np.int64))
    for i, key in enumerate(left):
        assert edges.of(i).tolist() == [j for j, k in enumerate(right) if k == key and key >= 0]
    assert edges.counts().sum() == edges.count == len(edges.all_rows()) == len(edges.owners())


@given(keys, st.sets(st.integers(0, 9) | st.integers(2**40, 2**40 + 3)))
def test_lookup_gives_positions_and_minus_one(wanted: list[int], known: set[int]) -> None:
    ordered = sorted(known)
    found = lookup(np.array(ordered, np.int64), np.array(wanted, np.int64))
    assert found.tolist() == [ordered.index(w) if w in known else -1 for w in wanted]


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 4), st.integers(0, 2)), max_size=30))
def test_packed_keys_sort_as_the_columns_do_and_null_stays_null(rows: list[tuple[int, int, int]]) -> None:
    columns = list(np.array(rows, np.int32).reshape(-1, 3).T)
    packed = pack(columns, [4, 5, 3])
    for i, a in enumerate(rows):
        assert (packed[i] == -1) == (min(a) < 0)
        for j, b in enumerate(rows):
            if min(a) >= 0 and min(b) >= 0:
                assert (packed[i] < packed[j]) == (a < b)


def test_keys_too_wide_for_one_integer_are_ranked_and_still_match() -> None:
    size = 2**31 - 1
    left = [np.array([5, size - 1, 7], np.int32) for _ in range(3)]
    right = [np.array([7, 5, -1], np.int32) for _ in range(3)]
    edges = join(*pack_both(left, right, [size] * 3))
    assert [edges.of(i).tolist() for i in range(3)] == [[1], [], [0]]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=40))
def test_edges_from_pairs_keep_each_pair_once(pairs: list[tuple[int, int]]) -> None:
    owners = np.array([a for a, _ in pairs], np.int32)
    rows = np.array([b for _, b in pairs], np.int32)
    edges = Edges.from_pairs(6, owners, rows)
    for i in range(6):
        assert edges.of(i).tolist() == sorted({b for a, b in pairs if a == i})


@given(st.lists(st.lists(st.integers(0, 9), max_size=4, unique=True), min_size=1, max_size=12), st.data())
def test_taking_and_renumbering_edges(lists: list[list[int]], data: st.DataObject) -> None:
    lists = [sorted(rows) for rows in lists]
    flat = np.array([r for rows in lists for r in rows], np.int32)
    edges = Edges.from_counts(np.array([len(rows) for rows in lists]), flat)
    chosen = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=12))
    taken = edges.take(np.array(chosen, np.int64))
    assert [taken.of(i).tolist() for i in range(len(chosen))] == [lists[c] for c in chosen]
    moved = np.array(data.draw(st.permutations(range(10))))
    renumbered = edges.renumber(moved)
    assert [renumbered.of(i).tolist() for i in range(len(lists))] == [
        sorted(moved[rows].tolist()) for rows in lists
    ]


def test_one_to_one_edges_cost_no_columns() -> None:
    edges = join(np.arange(5, dtype=np.int64), np.arange(5, dtype=np.int64))
    assert edges.indptr is None
    assert Edges(3).of(2).tolist() == [2]
    assert Edges(3).take(np.array([2, 0])).of(0).tolist() == [2]


@pytest.mark.parametrize("counts", [[], [0], [2, 0, 3]])
def test_expand_counts_up_from_each_start(counts: list[int]) -> None:
    starts = np.arange(len(counts)) * 10
    found = expand(starts, np.array(counts, np.int64))
    assert found.tolist() == [s + k for s, c in zip(starts, counts, strict=True) for k in range(c)]
