"""Finding a transit in a light curve."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table, vstack
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.hatp32.tasks import TransitTask
from examples.hatp32.transit import (
    barycentric_jd,
    choose_comparisons,
    fit_transit,
    relative_flux,
    site,
    trapezoid,
)
from supertask import NoWork

pytestmark = pytest.mark.slow

NIGHT = 2458107.57 + np.arange(40) * 0.3 / 40


@settings(max_examples=15, deadline=None)
@given(st.floats(-0.03, 0.03), st.floats(0.01, 0.04), st.floats(-0.2, 0.2), st.integers(0, 99))
def test_middle_and_depth_are_found(shift, depth, slope, seed):
    middle = 2458107.714 + shift
    noise = np.random.default_rng(seed).normal(0, 0.001, len(NIGHT))
    flux = (1 + slope * (NIGHT - middle)) * trapezoid(NIGHT, middle, depth) + noise
    found, fitted = fit_transit(NIGHT, flux, guess=2458107.71)
    assert found.mid_time == pytest.approx(middle, abs=max(6 * found.mid_time_error, 0.002))
    assert found.depth == pytest.approx(depth, abs=6 * found.depth_error + 0.0005)
    assert np.std(flux - fitted) < 0.0013


def test_a_trapezoid_is_flat_outside_and_at_its_bottom():
    light = trapezoid(np.array([-0.1, -0.065, 0.0, 0.04, 0.07]), 0.0, 0.02)
    assert light.tolist() == [1.0, 1.0, 0.98, 0.98, 1.0]


def test_a_brightening_is_no_transit():
    flux = 2 - trapezoid(NIGHT, 2458107.714, 0.02)
    with pytest.raises(ValueError, match="takes light"):
        fit_transit(NIGHT, flux, guess=2458107.714, reach=0.005)


def test_barycentric_times_differ_by_light_travel_and_clocks():
    # Towards the ecliptic pole light takes the same time all year; clocks differ by 69.184 s in 2017.
    where = site(-110.88, 31.68, 1268.0)
    pole = SkyCoord(270 * u.deg, 66.56 * u.deg)
    jd = barycentric_jd(np.array([58107.0]), pole, where)[0]
    assert (jd - 2458107.5) * 86400 == pytest.approx(69.184, abs=4)
    towards = SkyCoord(88.0 * u.deg, 23.4 * u.deg)  # away from the sun on that day
    assert (barycentric_jd(np.array([58107.0]), towards, where)[0] - jd) * 86400 == pytest.approx(492, abs=8)


def light_curves(n=10):
    rows = []
    for source, flux, peak in ((1, 1000.0, 500.0), (2, 3000.0, 900.0), (3, 9000.0, 4095.0), (4, 10.0, 20.0)):
        rows.append(
            Table(
                {
                    "source": np.full(n, source),
                    "mjd": 58000.0 + np.arange(n),
                    "flux": flux * (1 + 0.1 * np.arange(n)),
                    "peak": np.full(n, peak),
                    "bad": np.zeros(n),
                }
            )
        )
    return rows


def test_comparisons_are_bright_whole_and_not_saturated():
    tables = light_curves()
    assert choose_comparisons(vstack(tables), 1, saturation=4000) == (2,)
    tables[1]["bad"][3] = 0.1
    assert choose_comparisons(vstack(tables), 1, saturation=4000) == ()


def test_clouds_fall_out_of_relative_fluxes():
    time, flux = relative_flux(vstack(light_curves()), 1, (2,))
    assert flux == pytest.approx(np.ones(10))
    assert time[0] == 58000.0
    with pytest.raises(ValueError, match="no star is fit"):
        relative_flux(vstack(light_curves()), 1, ())


def test_too_few_frames_are_no_work():
    curves = vstack(light_curves(3))
    refcat = Table({"source": [1, 2], "ra": [31.0427, 31.5], "dec": [46.6878, 46.7]})
    with pytest.raises(NoWork, match="3 frames"):
        TransitTask().run(curves, [refcat])
