from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from supertask.errors import DataIdError, UnitModelError
from supertask.unitmodels import load_unit_model
from supertask.units import FieldKind, KeyKind, Relation, Unit, UnitField, UnitModel

IMAGING = load_unit_model("imaging")
subsets = st.sets(st.sampled_from(IMAGING.names))


# -- what follows from what ------------------------------------------------------------------------


def test_parents_complete_a_data_id_and_implied_units_do_not():
    assert IMAGING.closure(["detector", "visit"]) == ("instrument", "visit", "detector")


def test_implied_units_are_determined():
    assert set(IMAGING.determined(["exposure"])) == {
        "instrument",
        "physical_filter",
        "visit",
        "exposure",
        "band",
    }


@given(subsets)
def test_leaves_are_the_least_that_closes_to_the_same(units):
    leaves = IMAGING.leaves(units)
    assert IMAGING.closure(leaves) == IMAGING.closure(units)
    for unit in leaves:
        assert IMAGING.closure(set(leaves) - {unit}) != IMAGING.closure(units)


@given(subsets)
def test_closures_are_closed_sorted_and_within_what_is_determined(units):
    closure = IMAGING.closure(units)
    assert IMAGING.closure(closure) == closure == IMAGING.sort(closure)
    assert set(closure) <= set(IMAGING.determined(units))


@given(st.sampled_from(IMAGING.names), st.sampled_from(IMAGING.names))
def test_there_is_a_route_exactly_to_what_is_determined(start, target):
    route = IMAGING.route([start], target)
    assert (route is not None) == (target in IMAGING.determined([start]))
    if route:
        assert (route[0], route[-1]) == (start, target)
        for here, following in itertools.pairwise(route):
            assert following in IMAGING.unit(here).parents + IMAGING.unit(here).implies


# -- data IDs --------------------------------------------------------------------------------------


def test_a_standard_data_id_is_complete_typed_and_in_order():
    data_id = IMAGING.standardize(
        ["detector", "visit"], {"detector": np.int64(3), "visit": 7, "instrument": "Cam", "band": "r"}
    )
    assert list(data_id.items()) == [("instrument", "Cam"), ("visit", 7), ("detector", 3)]
    assert type(data_id["detector"]) is int


def test_every_bad_key_of_a_data_id_is_named():
    with pytest.raises(DataIdError) as caught:
        IMAGING.standardize(["visit", "detector"], {"vist": 1, "detector": "x", "tract": 1}, what="raw")
    assert str(caught.value) == (
        "data ID {vist=1, detector=x, tract=1} for raw: 5 problems\n"
        "  - unknown key 'vist' (did you mean 'visit'?)\n"
        "  - 'tract' is not among its units (instrument, visit, detector)\n"
        "  - 'instrument' is missing\n"
        "  - 'visit' is missing\n"
        "  - 'detector' must be an int, got 'x' (str)"
    )


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1]])
def test_only_whole_numbers_are_int_keys(value):
    with pytest.raises(DataIdError, match="'visit' must be an int"):
        IMAGING.check_key("visit", value)


@pytest.mark.parametrize("value", ["", 1, None, "a\0b"])
def test_only_text_is_a_str_key(value):
    with pytest.raises(DataIdError, match="'band' must be a non-empty str"):
        IMAGING.check_key("band", value)


NIGHTS = UnitModel("nights", (Unit("night", KeyKind.DATE),))


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-05",
        dt.date(2026, 1, 5),
        dt.datetime(2026, 1, 5, 23, 59, tzinfo=dt.UTC),
        Time("2026-01-05T12:00:00"),
        "20260105",
    ],
)
def test_dates_may_be_given_in_many_ways_and_are_kept_in_one(value):
    assert NIGHTS.check_key("night", value) == "2026-01-05"


@pytest.mark.parametrize("value", ["2026-13-05", "yesterday", 20260105, None])
def test_what_is_no_date_is_refused(value):
    with pytest.raises(DataIdError, match="'night' must be a date"):
        NIGHTS.check_key("night", value)


# -- models are checked as a whole -----------------------------------------------------------------


def problems_of(*units, relations=()):
    with pytest.raises(UnitModelError) as caught:
        UnitModel("m", tuple(units), tuple(relations))
    return caught.value.problems


UNSPEAKABLE = (
    "cannot name a unit: use lower-case letters, digits and '_', and none of the words of expressions"
)


def test_every_mistake_in_a_model_is_named_at_once():
    found = problems_of(
        Unit("visit", parents=("instrment",)),
        Unit("instrument"),
        Unit("instrument"),
        Unit("In"),
        Unit("and"),
        Unit("a", parents=("instrument",), implies=("instrument",)),
        Unit(
            "b",
            fields=(
                UnitField("visit", FieldKind.INT),
                UnitField("x", FieldKind.INT),
                UnitField("x", FieldKind.STR),
                UnitField("X", FieldKind.INT),
            ),
        ),
    )
    assert found == (
        "unit 'instrument' is declared more than once",
        "unit 'visit': parent 'instrment' is not declared (did you mean 'instrument'?)",
        f"'In' {UNSPEAKABLE}",
        f"'and' {UNSPEAKABLE}",
        "unit 'a': 'instrument' cannot be both parent and implied",
        "unit 'b': field 'visit' has the name of another field or unit",
        "unit 'b': field 'x' has the name of another field or unit",
        "unit 'b': 'X' cannot name a field",
    )


def test_a_model_needs_units():
    assert problems_of() == ("it has no units",)


def test_units_that_form_a_loop_are_shown():
    assert problems_of(Unit("a", parents=("b",)), Unit("b", implies=("c",)), Unit("c", parents=("a",))) == (
        "units form a loop of parents and implied units: a -> b -> c -> a",
    )


def test_relations_are_checked_too():
    found = problems_of(
        Unit("a"),
        Unit("b"),
        relations=(
            Relation("r", ("a",), ("a", "x")),
            Relation("r", (), ("b",)),
            Relation("R r", ("a",), ("b",)),
        ),
    )
    assert found == (
        "relation 'r': unit 'x' is not declared",
        "relation 'r' has one unit on both sides",
        "relation 'r' needs a name of its own in lower-case letters",
        "relation 'r' needs units on both sides",
        "relation 'R r' needs a name of its own in lower-case letters",
    )


def test_what_is_not_in_a_model_is_named_with_what_is():
    with pytest.raises(DataIdError, match=r"no unit 'patsh' \(did you mean 'patch'\?\); it has instrument"):
        IMAGING.unit("patsh")
    with pytest.raises(UnitModelError, match=r"no relation 'overlaps' \(did you mean 'overlap'\?\)"):
        IMAGING.relation("overlaps")
    assert IMAGING.relation("overlap").right == ("patch",)
    assert IMAGING.unit("visit").field("airmass").kind is FieldKind.FLOAT
    assert IMAGING.unit("visit").field("mood") is None
    assert "visit" in IMAGING
    assert [u.name for u in IMAGING] == list(IMAGING.names)
