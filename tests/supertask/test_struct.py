from __future__ import annotations

import pytest

from supertask.tasks.struct import Struct


def test_results_are_attributes_and_names():
    struct = Struct(mean=2.0, count=3)
    assert (struct.mean, struct.count) == (2.0, 3)
    assert "mean" in struct
    assert list(struct) == ["mean", "count"]
    assert struct.to_dict() == {"mean": 2.0, "count": 3}
    assert repr(struct) == "Struct(mean=2.0, count=3)"


def test_a_result_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(AttributeError, match=r"no result 'meen'; it has count, mean"):
        Struct(mean=2.0, count=3).meen  # noqa: B018


def test_structs_are_equal_by_their_results():
    assert Struct(a=1) == Struct(a=1)
    assert Struct(a=1) != Struct(a=2)
    assert Struct(a=1) != {"a": 1}
