"""Frames for the tests of the examples, real and made up."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.wcs import WCS

from examples.demo.detector import stars_on_pixels
from examples.isr.camera import Camera

ISR = Path(__file__).resolve().parents[2] / "examples" / "isr"


def described(name):
    """Return a camera's description as plain data."""
    return yaml.safe_load((ISR / f"{name}.yaml").read_text(encoding="utf-8"))


def read(path):
    """Return a FITS file as CCDData in ADU."""
    with fits.open(path) as hdus:
        return CCDData(hdus[0].data, unit="adu", meta=hdus[0].header)


@pytest.fixture(scope="session")
def kast(shared_data):
    """Give frames of Kast blue by number."""
    folder = shared_data / "isr" / "shane_kast_blue"
    return lambda *numbers: [read(folder / f"b{n}.fits.gz") for n in numbers]


@pytest.fixture(scope="session")
def kast_camera():
    return Camera.from_dict(described("kast_blue"))


@pytest.fixture
def describe():
    return described


@pytest.fixture
def read_fits():
    return read


def tangent_wcs(shape, *, ra=150.0, dec=2.0, scale=0.5, turn=0.0):
    """Return a WCS whose tangent point is in the middle of an image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    angle = np.deg2rad(turn)
    wcs.wcs.cd = scale / 3600 * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.array_shape = shape
    return wcs


@pytest.fixture
def make_wcs():
    return tangent_wcs


@pytest.fixture
def make_image():
    """Give an image of stars on a sky of 0, with noise, variance and WCS."""

    def make(x, y, flux, *, shape=(200, 220), fwhm=3.0, noise=2.0, seed=1, sky=0.0, wcs=None, unit="adu"):
        rng = np.random.default_rng(seed)
        data = stars_on_pixels(shape, x, y, flux, fwhm) + sky
        variance = np.full(shape, noise**2)
        if noise:
            data = data + rng.normal(0, noise, shape)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return CCDData(
                data,
                unit=unit,
                uncertainty=VarianceUncertainty(variance),
                mask=np.zeros(shape, bool),
                wcs=wcs if wcs is not None else tangent_wcs(shape),
            )

    return make
