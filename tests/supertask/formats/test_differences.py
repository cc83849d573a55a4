"""How far two values differ, said part by part."""

from __future__ import annotations

import math

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import QTable, Table
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from supertask.formats.differences import Difference, Part, Tolerance, compare_values
from supertask.formats.find import find_format
from supertask.formats.port import StorageFormat

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def parts(a, b, **tolerance):
    found = compare_values(a, b, Tolerance(**tolerance))
    return {p.what: p for p in found.parts if p.unequal}


def image():
    ones = np.ones((3, 4))
    return CCDData(
        np.arange(12.0).reshape(3, 4), unit="adu", mask=np.zeros((3, 4), bool),
        uncertainty=StdDevUncertainty(ones), meta={"EXPTIME": 30.0},
    )  # fmt: skip


@given(JSON)
def test_what_is_the_same_is_equal(value):
    assert compare_values(value, value).is_equal


@given(hnp.arrays(np.float64, 5), hnp.arrays(np.float64, 5))
def test_difference_of_arrays_is_symmetric_and_within_its_most(a, b):
    [one], [other] = compare_values(a, b).parts, compare_values(b, a).parts
    assert (one.unequal, one.differing, one.most) == (other.unequal, other.differing, other.most)
    assert one.unequal == sum(
        not (x == y or (math.isnan(x) and math.isnan(y))) for x, y in zip(a, b, strict=True)
    )
    if np.isfinite(a).all() and np.isfinite(b).all() and math.isfinite(one.most):
        assert compare_values(a, b, Tolerance(absolute=one.most)).is_close


def test_planes_of_an_image_are_told_apart():
    a, b = image(), image()
    b.data[1, 1] += 0.5
    b.mask[2, 2] = True
    b.uncertainty.array[0, 0] = 3.0
    b.meta["EXPTIME"] = 31.0
    b.meta["FILTER"] = "r"
    found = parts(a, b)
    assert (found["data"].unequal, found["data"].most, found["data"].n) == (1, 0.5, 12)
    assert found["mask"].differing == 1
    assert found["uncertainty"].most == 2.0
    assert found["header.EXPTIME"].most == 1.0
    assert found["header.FILTER"].note == "added"
    assert set(found) == {"data", "mask", "uncertainty", "header.EXPTIME", "header.FILTER"}


def test_nan_equals_nan_and_nothing_else():
    a, b = np.array([np.nan, np.nan, 1.0]), np.array([np.nan, 2.0, 1.0])
    [part] = compare_values(a, b, Tolerance(absolute=1e9)).parts
    assert (part.unequal, part.differing, part.most) == (1, 1, 0.0)
    assert "finite in one only" in part.note


def test_infinities_equal_themselves_alone():
    assert compare_values(np.array([np.inf]), np.array([np.inf])).is_equal
    assert not compare_values(np.array([np.inf]), np.array([-np.inf]), Tolerance(relative=0.5)).is_close


def test_tolerance_tells_close_from_differing():
    a, b = np.array([1.0, 100.0]), np.array([1.05, 101.0])
    assert not compare_values(a, b).is_close
    assert compare_values(a, b, Tolerance(absolute=0.06, relative=0.02)).is_close
    assert not compare_values(a, b, Tolerance(absolute=0.06, relative=0.02)).is_equal
    with pytest.raises(ValueError, match="absolute"):
        Tolerance(absolute=-1.0)


def test_shapes_and_types_are_told():
    assert "shape (2,) → (3,)" in parts(np.zeros(2), np.ones(3))["values"].note
    assert parts(np.array(["a"]), np.array(["b"]))["values"].differing == 1
    assert parts(np.zeros(2, "U1"), np.ones(2))["values"].differing == 2


def test_no_tolerance_makes_true_and_false_the_same():
    a, b = np.array([True, False, True]), np.array([True, True, True])
    (part,) = compare_values(a, b, Tolerance(absolute=5.0)).parts
    assert (part.differing, part.unequal, part.n) == (1, 1, 3)


def test_masked_values_are_not_compared_and_masks_are():
    a = np.ma.masked_array([1, 2, 3], [0, 1, 0])
    b = np.ma.masked_array([1, 9, 3], [0, 1, 0])
    assert compare_values(a, b).is_equal
    assert set(parts(a, np.ma.masked_array([1, 9, 3], [0, 0, 0]))) == {"values mask"}


def test_rows_of_tables_are_paired_by_a_key_that_both_have():
    a = QTable({"id": [1, 2, 3], "flux": [1.0, 2.0, np.nan] * u.Jy, "old": ["a", "b", "c"]})
    b = QTable({"id": [3, 2, 4], "flux": [np.nan, 2500.0, 7.0] * u.mJy, "new": [1, 2, 3]})
    found = parts(a, b)
    assert found["column flux"].unequal == 1
    assert found["column flux"].most == pytest.approx(0.5)
    assert found["column old"].note == "removed"
    assert found["column new"].note == "added"
    assert found["rows"].note == "paired by id; 1 removed, 1 added"


def test_rows_without_a_key_are_paired_in_order():
    a, b = Table({"x": [1.0, 2.0, 3.0]}), Table({"x": [1.0, 2.5]})
    found = parts(a, b)
    assert found["rows"].note == "paired in order; 1 removed, 0 added"
    assert found["column x"].most == 0.5


def test_units_that_do_not_convert_are_told():
    assert parts([1.0] * u.m, [1.0] * u.s)["values unit"].note == "m → s"
    assert compare_values([1.0] * u.km, [1000.0] * u.m).is_equal


def test_places_in_plain_data_are_named():
    found = parts({"a": [1, {"b": "x"}], "c": None}, {"a": [2, {"b": "y"}], "d": True})
    assert set(found) == {"a[0]", "a[1].b", "c", "d"}
    assert found["a[1].b"].note == "'x' → 'y'"
    assert parts(1, True)["value"].note == "1 → True"


def test_text_is_compared_line_by_line():
    assert parts("a\nb\nc", "a\nx\nc\nd")["lines"].unequal == 2
    assert parts("a\r\nb", "a\nb")["lines"].unequal == 1


def test_hdus_are_compared_one_by_one():
    def hdus(value):
        return fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.full((2, 2), value), name="SCI")])

    assert set(parts(hdus(1.0), hdus(2.0))) == {"SCI[1]"}


def test_what_has_too_many_parts_is_cut():
    found = compare_values({str(i): i for i in range(5000)}, {str(i): -i for i in range(5000)})
    assert len(found.parts) == 1001
    assert not found.is_close


def test_a_format_of_its_own_kind_says_itself_how_values_differ():
    class Ticks(StorageFormat):
        name = "ticks"
        extension = ".t"

        def write(self, value, path): ...

        def read(self, path, parameters): ...

        def compare(self, a, b, tolerance=None):
            return Difference((Part(what="ticks", unequal=a != b, differing=a != b),))

    assert Ticks().compare(1, 2).parts[0].what == "ticks"
    assert find_format("json").compare({"a": 1}, {"a": 1}).is_equal
