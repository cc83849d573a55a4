from __future__ import annotations

import enum
import json
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supertask.tasks.metadata import Metadata, MetadataError, collect_metadata, current_metadata

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
nested = st.recursive(
    scalars | st.lists(scalars, max_size=3),
    lambda inner: st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), nested, max_size=4))
def test_everything_in_it_is_plain_data(values):
    metadata = Metadata(values)
    assert metadata.to_dict() == values
    assert json.loads(json.dumps(metadata.to_dict())) == values
    assert Metadata(metadata).to_dict() == values


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(2.5), 2.5),
        ((1, 2), [1, 2]),
        (Colour.RED, "red"),
        (np.float64(1.5), 1.5),
    ],
)
def test_values_of_other_types_are_kept_plain(given, kept):
    metadata = Metadata({"x": given})
    assert metadata["x"] == kept
    assert type(metadata["x"]) is type(kept)


@pytest.mark.parametrize("value", [object(), np.array([1, 2]), [[1]], {1}, 1j, b"x"])
def test_what_is_no_metadata_is_refused_by_name(value):
    with pytest.raises(MetadataError, match="'x' in metadata must be"):
        Metadata()["x"] = value


def test_a_name_is_not_empty():
    with pytest.raises(MetadataError, match="must not be empty"):
        Metadata()[""] = 1


def test_it_nests_and_lists_grow():
    metadata = Metadata()
    metadata.child("fit")["chi2"] = 2.0
    metadata.child("fit").add("steps", 1)
    metadata["steps"] = 0
    metadata.add("steps", 1)
    assert metadata.to_dict() == {"fit": {"chi2": 2.0, "steps": [1]}, "steps": [0, 1]}
    del metadata["fit"]
    assert (list(metadata), len(metadata)) == (["steps"], 1)
    assert repr(metadata) == "Metadata({'steps': [0, 1]})"


def test_what_is_noted_goes_to_the_innermost_collection():
    with collect_metadata() as outer:
        current_metadata()["a"] = 1
        with collect_metadata() as inner:
            current_metadata()["b"] = 2
        current_metadata()["c"] = 3
    assert outer.to_dict() == {"a": 1, "c": 3}
    assert inner.to_dict() == {"b": 2}


def test_a_collection_is_closed_after_an_error():
    with pytest.raises(RuntimeError), collect_metadata() as collected:
        raise RuntimeError
    current_metadata()["after"] = 1
    assert not collected


def test_threads_do_not_mix():
    found = {}

    def work(n):
        with collect_metadata() as collected:
            for i in range(100):
                current_metadata().add("n", n * i)
            found[n] = collected.to_dict()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: {"n": [n * i for i in range(100)]} for n in range(4)}
