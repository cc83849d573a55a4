from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from supertask.sky.footprint import FootprintError, footprint, footprint_of_file, footprint_of_header


def wcs_at(ra, dec, *, scale=0.01, ctype=("RA---TAN", "DEC--TAN"), **attributes):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = list(ctype)
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [50.5, 25.5]
    wcs.wcs.cdelt = [-scale, scale]
    for name, value in attributes.items():
        setattr(wcs.wcs, name, value)
    wcs.wcs.set()
    return wcs


def test_the_outline_goes_round_the_outer_edges_of_the_pixels():
    outline = footprint(wcs_at(30.0, 0.0), (50, 100))
    assert outline.shape == (8, 2)
    assert outline[:, 0].max() - outline[:, 0].min() == pytest.approx(1.0, rel=1e-3)
    assert outline[:, 1].max() - outline[:, 1].min() == pytest.approx(0.5, rel=1e-3)


def test_across_ra_0_positions_stay_between_0_and_360():
    outline = footprint(wcs_at(0.0, 0.0), (50, 100))
    assert ((outline[:, 0] >= 0) & (outline[:, 0] < 360)).all()
    assert {bool(ra > 180) for ra in outline[:, 0]} == {True, False}


def test_galactic_coordinates_become_icrs():
    outline = footprint(wcs_at(0.0, 0.0, ctype=("GLON-TAN", "GLAT-TAN")), (50, 100))
    assert outline.mean(axis=0) == pytest.approx([266.4, -28.94], abs=0.1)


def test_old_equinoxes_become_icrs():
    outline = footprint(wcs_at(0.0, 0.0, radesys="FK4", equinox=1950.0), (50, 100))
    assert outline[:, 1].mean() == pytest.approx(0.28, abs=0.02)


@pytest.mark.parametrize("cards", [{}, {"CTYPE1": "WAVE", "CTYPE2": "LINEAR"}, {"CTYPE1": ""}])
def test_a_header_without_sky_has_no_footprint(cards):
    assert footprint_of_header(fits.Header(cards), (50, 100)) is None


@pytest.mark.parametrize(
    "cards",
    [
        {"CDELT1": 0.0},
        {"CTYPE2": "DEC--SIN"},
        {"CTYPE1": "RA---ZZZ", "CTYPE2": "DEC--ZZZ"},
        {"CDELT1": 1e-300, "CDELT2": 1e-300},
        {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CDELT1": 9.0, "CDELT2": 9.0},
    ],
)
def test_a_wcs_that_gives_no_outline_is_refused(cards):
    header = wcs_at(10.0, 10.0).to_header()
    header.update(cards)
    with pytest.raises(FootprintError):
        footprint_of_header(header, (50, 100))


def test_real_plate_solutions_beside_a_frame(shared_data):
    path = shared_data / "coadd" / "hatp32_microobs" / "wcs" / "HATP-32171220013343.wcs"
    outline = np.reshape(footprint_of_file(str(path), (500, 650)), (-1, 2))
    assert outline.mean(axis=0) == pytest.approx([31.2492, 46.7414], abs=0.02)


def test_a_missing_or_empty_file_is_refused(tmp_path):
    with pytest.raises(FootprintError, match="cannot be read"):
        footprint_of_file(str(tmp_path / "no.wcs"), (5, 5))
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    with pytest.raises(FootprintError, match="no WCS of the sky"):
        footprint_of_file(str(tmp_path / "a.fits"), (5, 5))
