from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import numpy as np

from supertask.rows import TextColumn

texts = st.lists(
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=5), max_size=8
)


@hypothesis.given(first=texts, second=texts, data=st.data())
def test_a_text_column_is_a_sequence_of_its_strings(first, second, data):
    column = TextColumn.concatenate([TextColumn.from_strings(first), TextColumn.from_strings(second)])
    both = first + second
    assert column == both
    assert list(column) == both
    assert len(column) == len(both)
    assert [column[i] for i in range(len(both))] == both
    assert column[1:-1] == both[1:-1]
    if both:
        rows = data.draw(st.lists(st.integers(0, len(both) - 1)))
        assert column[np.array(rows, int)] == [both[i] for i in rows]
        assert TextColumn.concatenate([column[np.array(rows, int)], column]) == [both[i] for i in rows] + both
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(both), max_size=len(both))))
        assert list(column[mask]) == [t for t, keep in zip(both, mask, strict=True) if keep]


@hypothesis.given(strings=texts, data=st.data())
def test_a_text_column_is_packed_without_gaps_whatever_was_selected_of_it(strings, data):
    column = TextColumn.from_strings(strings)
    rows = data.draw(st.lists(st.integers(0, len(strings) - 1))) if strings else []
    for chosen in (column, column[np.array(rows, int)], column[::-1], TextColumn.concatenate([column] * 2)):
        ends, heap = chosen.packed()
        starts = [0, *ends[:-1].tolist()]
        assert heap.dtype == np.uint8
        assert [heap[b:e].tobytes().decode() for b, e in zip(starts, ends.tolist(), strict=False)] == chosen


def test_a_text_column_shows_its_first_strings():
    assert repr(TextColumn.from_strings("abcd")) == "<TextColumn of 4: 'a', 'b', 'c', …>"
    assert TextColumn() == []
    assert TextColumn.from_strings(["a"]) != ["b"]
    assert TextColumn.from_strings(["a"]) != "a"
