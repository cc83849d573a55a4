from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supertask.dataids import DataId

keys = st.integers(-(2**62), 2**62) | st.text(min_size=1, max_size=8)
mappings = st.dictionaries(st.sampled_from(["instrument", "visit", "detector", "band", "tract"]), keys)


@given(mappings, st.randoms())
def test_the_order_of_units_means_nothing(values, random):
    shuffled = list(values.items())
    random.shuffle(shuffled)
    assert DataId(values) == DataId(dict(shuffled))
    assert hash(DataId(values)) == hash(DataId(dict(shuffled)))


@given(mappings, mappings)
def test_data_ids_are_equal_as_mappings_are(a, b):
    assert (DataId(a) == DataId(b)) == (a == b)
    assert DataId(a) == a


@given(mappings)
def test_a_data_id_is_a_mapping_in_the_order_given(values):
    data_id = DataId(values)
    assert list(data_id) == list(values)
    assert dict(data_id) == values
    assert len(data_id) == len(values)


@given(mappings)
def test_copies_are_equal(values):
    data_id = DataId(values)
    for other in (copy.deepcopy(data_id), pickle.loads(pickle.dumps(data_id))):
        assert other == data_id
        assert list(other) == list(data_id)


@given(mappings)
def test_one_made_of_sorted_values_is_the_same(values):
    data_id = DataId(values)
    shape = DataId.shape(tuple(values))
    assert DataId.from_sorted(shape, tuple(values[n] for n in sorted(values))) == data_id


@given(st.lists(keys, unique_by=lambda k: (type(k), k)))
def test_ints_come_before_words_and_any_can_be_sorted(values):
    found = [d["visit"] for d in sorted(DataId(visit=v) for v in values)]
    assert found == sorted(values, key=lambda v: (isinstance(v, str), v))


def test_sorting_goes_by_units_as_given():
    a, b = DataId(visit=1, detector=9), DataId(visit=2, detector=1)
    assert a < b


def test_keywords_add_to_a_mapping_and_win():
    assert DataId({"visit": 1}, visit=2, band="r") == {"visit": 2, "band": "r"}


def test_a_missing_unit_is_named_with_the_data_id():
    with pytest.raises(KeyError, match=r"'tract' is not in the data ID \{visit=1\}"):
        DataId(visit=1)["tract"]


def test_a_subset_has_the_units_asked_for():
    data_id = DataId(instrument="Cam", visit=1, detector=2)
    assert data_id.subset(("detector", "visit")) == {"detector": 2, "visit": 1}
    with pytest.raises(KeyError):
        data_id.subset(("tract",))


def test_a_data_id_is_shown_shortly_and_exactly():
    data_id = DataId(instrument="Cam", visit=1)
    assert str(data_id) == "{instrument=Cam, visit=1}"
    assert eval(repr(data_id)) == data_id


def test_a_data_id_is_unlike_what_is_no_mapping():
    assert DataId(visit=1) != 1
