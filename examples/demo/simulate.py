"""Simulate the survey: raw frames as FITS, the truth, and what must be known of camera and sky beforehand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.table import Table

from examples.demo.detector import OVERSCAN, SimulatedDetector, cosmic_rays, stars_on_pixels
from examples.demo.sky import BANDS, Field, reference_catalogue, true_stars
from examples.demo.survey import CAMERA, DETECTORS, PIXEL_SCALE, SIZE, Exposure, detector_wcs, exposures

__all__ = ["Survey", "camera_description", "raw_frame", "simulate"]

# A star of this magnitude gives one electron per second.
ZERO_POINTS = {"g": 25.7, "r": 25.5}
# Sky, magnitudes per square arcsec.
SKY = {"g": 21.2, "r": 20.6}


@attrs.frozen(eq=False)
class Survey:
    """A simulated survey: what is true, and where its frames are."""

    folder: Path
    field: Field
    stars: Table
    """The truth, see `true_stars`."""
    reference: Table
    """What is known beforehand, see `reference_catalogue`."""
    camera: dict[str, Any]
    """Description of the camera, see `examples.isr.camera`."""
    exposures: tuple[Exposure, ...]
    files: tuple[Path, ...]


def simulate(
    folder: Path, *, seed: int = 20260105, progress: Callable[[int, int], None] | None = None, **plan: int
) -> Survey:
    """Write the raw frames of a survey; the same seed gives the same bytes.

    Parameters
    ----------
    folder : Path
        Where to; made if need be.
    seed : int, optional
        For all that is random.
    progress : callable, optional
        Called with how many frames are written, and of how many.
    **plan
        Numbers of visits, biases, darks and flats, see `exposures`.
    """
    field = Field()
    stars = true_stars(field, seed)
    taken = exposures(field, seed, **plan)
    detectors = {n: SimulatedDetector.make(n, BANDS, seed) for n in DETECTORS}
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for exposure in taken:
        for number, detector in detectors.items():
            path = folder / f"{exposure.obs_type}_{exposure.number:04d}_{number}.fits"
            frame = raw_frame(exposure, number, detector, stars, seed)
            fits.PrimaryHDU(frame, raw_header(exposure, number)).writeto(path, overwrite=True)
            files.append(path)
            if progress is not None:
                progress(len(files), len(taken) * len(detectors))
    return Survey(
        folder,
        field,
        stars,
        reference_catalogue(stars, seed),
        camera_description(detectors, seed),
        tuple(taken),
        tuple(files),
    )


def raw_frame(
    exposure: Exposure, number: int, detector: SimulatedDetector, stars: Table, seed: int
) -> npt.NDArray[np.uint16]:
    """Return the raw frame of one detector; its noise depends on nothing but its arguments."""
    rng = np.random.default_rng([seed, 5, exposure.number, number])
    light = np.zeros((SIZE, SIZE))
    if exposure.obs_type == "flat":
        # The lamp drifts.
        light = detector.flats[exposure.band] * 28_000.0 * (1 + 0.01 * rng.normal())
    elif exposure.obs_type == "science":
        light = detector.flats[exposure.band] * _sky_and_stars(exposure, number, stars)
        light += cosmic_rays(light.shape, 8.0, rng)
    return detector.read(light, exposure.exposure_time, rng)


def _sky_and_stars(exposure: Exposure, number: int, stars: Table) -> npt.NDArray[np.float64]:
    zero = ZERO_POINTS[exposure.band]
    area = PIXEL_SCALE**2
    sky = exposure.exposure_time * area * 10 ** (-0.4 * (SKY[exposure.band] - zero)) * exposure.airmass
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    row, column = divmod(number, 2)
    # Brighter towards one corner of the camera, as by moonlight.
    light = sky * (1 + 0.03 * (x + column) + 0.05 * (y + row))
    wcs = detector_wcs(exposure, number)
    star_x, star_y = wcs.all_world2pix(stars["ra"], stars["dec"], 0)
    rate = 10 ** (-0.4 * (np.asarray(stars[f"mag_{exposure.band}"]) - zero))
    flux = rate * exposure.exposure_time * exposure.transparency
    near = (star_x > -40) & (star_x < SIZE + 40) & (star_y > -40) & (star_y < SIZE + 40)
    width = exposure.seeing / PIXEL_SCALE
    total: npt.NDArray[np.float64] = light + stars_on_pixels(
        light.shape, star_x[near], star_y[near], flux[near], width
    )
    return total


def raw_header(exposure: Exposure, number: int) -> fits.Header:
    """Return the header of a raw frame. As in many cameras it is wrong in places: GAIN, and the pointing."""
    header = fits.Header()
    header["INSTRUME"] = CAMERA
    header["DETECTOR"] = number
    header["EXPNUM"] = exposure.number
    header["IMAGETYP"] = {"science": "LIGHT"}.get(exposure.obs_type, exposure.obs_type.upper())
    header["OBJECT"] = "demo field" if exposure.obs_type == "science" else exposure.obs_type
    header["DATE-OBS"] = exposure.start.isot
    header["EXPTIME"] = exposure.exposure_time
    header["GAIN"] = (1, "setting")
    if exposure.band:
        header["FILTER"] = exposure.band
    if exposure.obs_type == "science":
        header["RA"], header["DEC"] = (exposure.ra, "[deg]"), (exposure.dec, "[deg]")
        header["AIRMASS"] = round(exposure.airmass, 3)
        header.update(detector_wcs(exposure, number, as_in_header=True).to_header())
    return header


def camera_description(detectors: dict[int, SimulatedDetector], seed: int) -> dict[str, Any]:
    """Return the description of the camera, with gains as a laboratory measures them, to half a percent."""
    rng = np.random.default_rng([seed, 6])
    half = SIZE // 2
    described: list[dict[str, Any]] = []
    for number, detector in detectors.items():
        one = {
            "number": number,
            "amplifiers": [
                {
                    "data": f"[{1 + a * half}:{(a + 1) * half},1:{SIZE}]",
                    "overscan": f"[{SIZE + 1 + a * OVERSCAN}:{SIZE + (a + 1) * OVERSCAN},1:{SIZE}]",
                    "gain": round(float(detector.gains[a] * rng.normal(1, 0.005)), 4),
                    "read_noise": round(float(detector.read_noises[a]), 2),
                    # A little below where the well is full and noise begins to hide it.
                    "saturation": 50_000.0,
                }
                for a in (0, 1)
            ],
        }
        described.append(one)
    return {"exposure_time": "EXPTIME", "detectors": described}
