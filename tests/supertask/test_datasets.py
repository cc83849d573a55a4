from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import DatasetTypeError


class RawFrame(Dataset):
    units = ("exposure", "detector")
    storage = "fits_image"
    doc = "As it comes from the detector."


FULL = {"instrument": "Cam", "exposure": 1, "detector": 2}


def test_the_name_of_a_type_is_its_class_in_snake_case_unless_given():
    class Named(RawFrame):
        name = "raw-2.0"

    assert RawFrame.name == "raw_frame"
    assert Named.name == "raw-2.0"
    assert Named.units == RawFrame.units


def test_types_that_say_the_same_are_one():
    same = Dataset.subclass("raw_frame", ("detector", "exposure"), "fits_image", "other words")
    assert same == RawFrame
    assert hash(same) == hash(RawFrame)
    assert {RawFrame: 1}[same] == 1


@pytest.mark.parametrize(
    "other",
    [
        ("raw", ("exposure", "detector"), "fits_image"),
        ("raw_frame", ("exposure",), "fits_image"),
        ("raw_frame", ("exposure", "detector"), "hdf5"),
    ],
)
def test_types_that_differ_in_name_units_or_storage_are_two(other):
    assert Dataset.subclass(*other) != RawFrame


def test_one_unit_may_be_a_word():
    assert Dataset.subclass("focus", "exposure", "json").units == ("exposure",)


@pytest.mark.parametrize(
    ("name", "units", "storage", "message"),
    [
        ("a b", (), "json", "'a b' is no name for a dataset type"),
        ("", (), "json", "is no name"),
        ("../x", (), "json", "is no name"),
        ("x", (), "", "'x' has no storage format"),
        ("x", ("visit", "visit"), "json", "must be distinct unit names"),
        ("x", ("visit", 3), "json", "must be distinct unit names"),
        ("x", 3, "json", "must be distinct unit names"),
        (3, (), "json", "3 is no name"),
    ],
)
def test_what_describes_no_type_is_refused(name, units, storage, message):
    with pytest.raises(DatasetTypeError, match=message):
        Dataset.subclass(name, units, storage)


def test_datasets_are_equal_by_type_and_data_id():
    same = Dataset.subclass("raw_frame", ("exposure", "detector"), "fits_image")
    other = Dataset.subclass("other", ("exposure", "detector"), "fits_image")
    assert RawFrame(FULL) == same(detector=2, exposure=1, instrument="Cam")
    assert hash(RawFrame(FULL)) == hash(same(FULL))
    assert RawFrame(FULL) != other(FULL)
    assert RawFrame(FULL) != RawFrame(FULL, detector=3)
    assert RawFrame(FULL) != FULL


def test_a_dataset_without_one_of_its_units_is_refused():
    with pytest.raises(DatasetTypeError, match=r"a 'raw_frame' needs exposure, detector; detector missing"):
        RawFrame(instrument="Cam", exposure=1)


def test_dataset_itself_is_no_type():
    with pytest.raises(DatasetTypeError, match="use a subclass"):
        Dataset(visit=1)


def test_units_are_read_by_index():
    assert RawFrame(FULL)["detector"] == 2
    assert repr(RawFrame(FULL)) == "raw_frame{instrument=Cam, exposure=1, detector=2}"


def test_datasets_sort_by_type_then_data_id():
    other = Dataset.subclass("a", (), "json")
    assert sorted([RawFrame(FULL, exposure=2), RawFrame(FULL), other()]) == [
        other(),
        RawFrame(FULL),
        RawFrame(FULL, exposure=2),
    ]


@given(st.dictionaries(st.sampled_from(["visit", "band"]), st.integers() | st.text(min_size=1), min_size=2))
def test_datasets_and_types_travel_between_processes_by_value(values):
    made = Dataset.subclass("made", ("visit", "band"), "json", "doc")
    there, kind = pickle.loads(pickle.dumps((made(values), made)))
    assert there == made(values)
    assert kind == made
    assert kind.doc == "doc"


def test_a_handle_from_a_table_is_the_dataset():
    handle = RawFrame.from_row(DataId(FULL), 7)
    assert handle == RawFrame(FULL)
