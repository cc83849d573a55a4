from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from supertask.times import TimeError, from_tai_ns, range_in_words, tai_ns, tai_ns_of_times


def test_the_epoch_is_zero_in_tai():
    assert tai_ns("1970-01-01 TAI") == 0


def test_utc_is_taken_unless_another_scale_is_named():
    assert tai_ns("2026-01-05") - tai_ns("2026-01-05 TAI") == 37 * 10**9
    assert tai_ns("2026-01-05T00:00:00 UTC") == tai_ns("2026-01-05") == tai_ns("2026-01-05T00:00Z")


@pytest.mark.parametrize("text", ["MJD 61045.25", "mjd 61045.25 UTC", "JD 2461045.75", "2026-01-05 06:00"])
def test_days_and_dates_say_the_same_time(text):
    assert tai_ns(text) == tai_ns(dt.datetime(2026, 1, 5, 6, tzinfo=dt.UTC))


def test_a_datetime_with_a_zone_is_moved_to_utc():
    zone = dt.timezone(dt.timedelta(hours=-7))
    local = dt.datetime(2017, 12, 19, 18, 33, 43, 317000, zone)
    assert tai_ns(local) == tai_ns("2017-12-20T01:33:43.317")


@given(st.integers(-(2**63) + 4 * 10**17, 2**63 - 4 * 10**17))
def test_nanoseconds_survive_astropy_and_back(ns):
    assert int(tai_ns_of_times(from_tai_ns(ns))) == ns


def test_arrays_of_times_give_arrays():
    times = Time(["2026-01-05", "2026-01-06"], scale="utc")
    assert np.array_equal(np.diff(tai_ns_of_times(times)), [86_400 * 10**9])


@pytest.mark.parametrize(
    "bad",
    ["", "yesterday", "2026-13-01", "2026-01-05 CET", "26-01-05", "2026-01-05Z UTC", "MJD x", 1.5, True,
     None, "JD 1", "9999-01-01", "2026-01-05T25:00"],
)  # fmt: skip
def test_what_is_no_time_is_refused_in_words(bad):
    with pytest.raises(TimeError, match=r"is not a time|no scale of time|cannot be stored"):
        tai_ns(bad)


def test_a_time_far_in_the_future_gives_no_warning():
    assert tai_ns("2200-01-01") > 0


@pytest.mark.parametrize("scale", ["UTC", "TAI"])
@given(st.datetimes(dt.datetime(1972, 1, 1), dt.datetime(2025, 1, 1)))
def test_seconds_counted_within_a_day_are_those_of_astropy(scale, moment):
    text = moment.isoformat()
    assert abs(tai_ns(f"{text} {scale}") - int(tai_ns_of_times(Time(text, scale=scale.lower())))) <= 1


def test_a_leap_second_is_a_second():
    before, leap, after = (tai_ns(t) for t in ("2016-12-31T23:59:59", "2016-12-31T23:59:60", "2017-01-01"))
    assert (leap - before, after - leap) == (10**9, 10**9)


def test_a_range_of_time_is_said_in_words():
    begin, end = tai_ns("2026-01-05T03:00:00.5"), 2**63 - 1
    assert range_in_words(begin, end) == "from 2026-01-05T03:00:00.500 UTC to the end of time"
    assert range_in_words(-(2**63), begin).startswith("from the beginning of time to 2026-01-05")
