"""The simulated survey's camera and its exposures."""

from __future__ import annotations

import attrs
import numpy as np
from astropy.time import Time, TimeDelta
from astropy.wcs import WCS

from examples.demo.sky import BANDS, Field

__all__ = ["CAMERA", "DETECTORS", "PIXEL_SCALE", "SIZE", "Exposure", "detector_wcs", "exposures"]

CAMERA = "SimCam"
SIZE = 512
"""Rows and columns of light-sensitive pixels of a detector."""
GAP = 24
"""Pixels between detectors."""
PIXEL_SCALE = 0.4
"""Arcsec."""
DETECTORS = (0, 1, 2, 3)
"""Lower left, lower right, upper left, upper right on the sky, east to the left."""


@attrs.frozen
class Exposure:
    """One readout of all detectors."""

    number: int
    obs_type: str
    start: Time
    exposure_time: float
    """Seconds."""
    band: str = ""
    ra: float = 0.0
    """Where the telescope points, degrees."""
    dec: float = 0.0
    angle: float = 0.0
    """Position angle of the camera, degrees."""
    pointing_error: tuple[float, float] = (0.0, 0.0)
    """By how much the header is wrong, arcsec east and north."""
    seeing: float = 1.0
    """Full width at half maximum, arcsec."""
    transparency: float = 1.0
    airmass: float = 1.0


def exposures(
    field: Field, seed: int, *, visits: int = 6, biases: int = 5, darks: int = 3, flats: int = 4
) -> list[Exposure]:
    """Return the exposures of a night: calibrations in the afternoon, then dithered visits, band by band."""
    rng = np.random.default_rng([seed, 3])
    clock = Time("2026-01-05T18:00:00", scale="utc")
    plan: list[Exposure] = []

    def take(number: int, obs_type: str, seconds: float, **more: object) -> None:
        nonlocal clock
        plan.append(Exposure(number, obs_type, clock, seconds, **more))  # type: ignore[arg-type]
        clock = clock + TimeDelta(seconds + 20, format="sec")

    for i in range(biases):
        take(1 + i, "bias", 0.0)
    for i in range(darks):
        take(101 + i, "dark", 240.0)
    for k, band in enumerate(BANDS):
        for i in range(flats):
            take(201 + 100 * k + i, "flat", 8.0, band=band)
    clock = Time("2026-01-06T01:00:00", scale="utc")
    for k, band in enumerate(BANDS):
        for i in range(visits):
            east, north = _dither(i, rng)
            dec = field.dec + north / 3600
            take(
                1001 + 100 * k + i,
                "science",
                60.0,
                band=band,
                ra=field.ra + east / 3600 / np.cos(np.deg2rad(dec)),
                dec=dec,
                angle=float(rng.normal(0.0, 0.3)),
                pointing_error=(float(rng.normal(0, 0.5)), float(rng.normal(0, 0.5))),
                seeing=float(rng.uniform(0.95, 1.35)),
                transparency=float(rng.uniform(0.8, 1.0)),
                airmass=float(1.15 + 0.02 * i + 0.05 * k),
            )
    return plan


def _dither(i: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return offsets in arcsec: around a hexagon wide enough to fill the gaps, and a little at random."""
    angle = np.deg2rad(60.0 * i + 10.0)
    east, north = 35.0 * np.cos(angle), 35.0 * np.sin(angle)
    return float(east + rng.normal(0, 4)), float(north + rng.normal(0, 4))


def detector_wcs(exposure: Exposure, detector: int, *, as_in_header: bool = False) -> WCS:
    """Return the WCS of a detector's light-sensitive pixels: the true one, or that in the header."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    east, north = exposure.pointing_error if as_in_header else (0.0, 0.0)
    wcs.wcs.crval = [
        exposure.ra + east / 3600 / np.cos(np.deg2rad(exposure.dec)),
        exposure.dec + north / 3600,
    ]
    row, column = divmod(detector, 2)
    half = (SIZE + GAP / 2, SIZE + GAP / 2)
    wcs.wcs.crpix = [half[0] + 0.5 - column * (SIZE + GAP), half[1] + 0.5 - row * (SIZE + GAP)]
    turn = np.deg2rad(exposure.angle)
    scale = PIXEL_SCALE / 3600
    wcs.wcs.cd = scale * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    wcs.array_shape = (SIZE, SIZE)
    return wcs
