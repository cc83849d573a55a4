from __future__ import annotations

import copy
import json
import pickle

import pytest

from supertask.kinds.frozen import FrozenDict, FrozenList


@pytest.mark.parametrize("value", [FrozenList([1, FrozenDict(a=2)]), FrozenDict(a=FrozenList([1]))])
def test_they_are_true_containers(value):
    plain = json.loads(json.dumps(value))
    assert value == plain
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert other == value
        assert type(other) is type(value)
    assert hash(value) == hash(copy.deepcopy(value))


def add_in_place(values):
    values += [1]


def repeat_in_place(values):
    values *= 2


def join_in_place(values):
    values |= {"b": 1}


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.append(1),
        lambda v: v.extend([1]),
        lambda v: v.insert(0, 1),
        lambda v: v.pop(),
        lambda v: v.remove(1),
        lambda v: v.clear(),
        lambda v: v.sort(),
        lambda v: v.reverse(),
        lambda v: v.__setitem__(0, 2),
        lambda v: v.__delitem__(0),
        add_in_place,
        repeat_in_place,
    ],
)
def test_a_list_refuses_every_change(change):
    values = FrozenList([1, 2])
    with pytest.raises(TypeError, match="this list belongs to a configuration"):
        change(values)
    assert values == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(b=1),
        lambda v: v.setdefault("b", 1),
        lambda v: v.pop("a"),
        lambda v: v.popitem(),
        lambda v: v.clear(),
        lambda v: v.__setitem__("a", 2),
        lambda v: v.__delitem__("a"),
        join_in_place,
    ],
)
def test_a_dict_refuses_every_change(change):
    values = FrozenDict(a=1)
    with pytest.raises(TypeError, match="this dict belongs to a configuration"):
        change(values)
    assert values == {"a": 1}
