"""What a simulated detector makes of light: from electrons per pixel to a raw frame, step by step."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.special import erf

from examples.demo.survey import SIZE

__all__ = ["OVERSCAN", "SimulatedDetector", "cosmic_rays", "stars_on_pixels"]

Array = npt.NDArray[np.float64]

OVERSCAN = 16
"""Columns for each of the two amplifiers, all at the right of a raw frame."""
FULL_WELL = 90_000.0
"""Electrons that a pixel holds."""


@attrs.frozen(eq=False)
class SimulatedDetector:
    """One detector: what it is, the same in every exposure."""

    gains: tuple[float, float]
    """Electrons per ADU of the two amplifiers."""
    read_noises: tuple[float, float]
    """Electrons."""
    levels: tuple[float, float]
    """Bias, ADU."""
    bias: Array
    """Structure of the bias, ADU."""
    dark: Array
    """Dark current, electrons per second."""
    flats: dict[str, Array]
    """Band → sensitivity, mean near 1."""

    @classmethod
    def make(cls, number: int, bands: tuple[str, ...], seed: int) -> SimulatedDetector:
        """Return the detector of a number."""
        rng = np.random.default_rng([seed, 4, number])
        y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
        column, row = number % 2, number // 2
        # Light falls off towards the rim of the camera.
        rim = ((x + column - 0.5) ** 2 + (y + row - 0.5) ** 2) * 0.12
        pixels = rng.normal(1.0, 0.01, (SIZE, SIZE))
        flats = {}
        for band in bands:
            dust = np.ones((SIZE, SIZE))
            for _ in range(4):
                cx, cy, radius = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0.02, 0.05)
                distance = np.hypot(x - cx, y - cy) / radius
                dust -= 0.05 * ((distance < 1) & (distance > 0.5))
            flats[band] = (1 - rim) * pixels * gaussian_filter(dust, 2)
        dark = 0.04 + 0.1 * np.exp(-((x + 0.5) ** 2 + (y - 0.5) ** 2) / 0.02)
        hot = rng.choice(SIZE * SIZE, 60, replace=False)
        dark.flat[hot] += rng.exponential(8.0, 60)
        bias = 2.0 * np.sin(np.arange(SIZE) / 9.0)[np.newaxis, :] + 1.5 * np.exp(-(y + 0.5) / 0.05)
        return cls(
            gains=(float(rng.normal(1.5, 0.04)), float(rng.normal(1.6, 0.04))),
            read_noises=(float(rng.normal(5.0, 0.3)), float(rng.normal(5.2, 0.3))),
            levels=(float(rng.uniform(950, 1050)), float(rng.uniform(950, 1050))),
            bias=bias,
            dark=dark,
            flats=flats,
        )

    def read(self, electrons: Array, seconds: float, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
        """Return the raw frame of an exposure.

        Parameters
        ----------
        electrons : numpy.ndarray
            Electrons to expect in each pixel from light, flat-field included, without dark current.
        seconds : float
            Exposure time.
        rng : numpy.random.Generator
            For the noise.
        """
        counted = rng.poisson(np.maximum(electrons + self.dark * seconds, 0.0)).astype(float)
        counted = np.minimum(counted, FULL_WELL)
        half = SIZE // 2
        # The level wanders from row to row, the same for pixels and overscan of an amplifier.
        wander = np.cumsum(rng.normal(0, 0.03, (2, SIZE)), axis=1)
        frame = np.empty((SIZE, SIZE + 2 * OVERSCAN))
        for amplifier in (0, 1):
            columns = slice(amplifier * half, (amplifier + 1) * half)
            strip = slice(SIZE + amplifier * OVERSCAN, SIZE + (amplifier + 1) * OVERSCAN)
            gain, noise = self.gains[amplifier], self.read_noises[amplifier]
            level = self.levels[amplifier] + wander[amplifier][:, np.newaxis]
            frame[:, columns] = level + self.bias[:, columns] + counted[:, columns] / gain
            frame[:, strip] = level
            for part in (columns, strip):
                frame[:, part] += rng.normal(0, noise / gain, frame[:, part].shape)
        return np.clip(np.rint(frame), 0, 65535).astype(np.uint16)


def stars_on_pixels(shape: tuple[int, int], x: Any, y: Any, flux: Any, fwhm: float) -> Array:
    """Return an image of stars, each integrated over pixels, so that none of its light is lost.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    x, y : array_like
        Centres, pixels from 0.
    flux : array_like
        Total of each.
    fwhm : float
        Full width at half maximum, pixels: of a Gaussian with nine tenths of the light; the rest is in
        a halo twice as wide.
    """
    image = np.zeros(shape)
    sigma = fwhm / np.sqrt(8 * np.log(2))
    reach = int(np.ceil(6 * 2 * sigma))
    for cx, cy, total in zip(x, y, flux, strict=True):
        left, bottom = max(round(cx) - reach, 0), max(round(cy) - reach, 0)
        right, top = min(round(cx) + reach + 1, shape[1]), min(round(cy) + reach + 1, shape[0])
        if left >= right or bottom >= top:
            continue
        for share, width in ((0.9, sigma), (0.1, 2 * sigma)):
            across = _integrated(np.arange(left, right + 1) - 0.5 - cx, width)
            along = _integrated(np.arange(bottom, top + 1) - 0.5 - cy, width)
            image[bottom:top, left:right] += share * total * np.outer(along, across)
    return image


def cosmic_rays(shape: tuple[int, int], number: float, rng: np.random.Generator) -> Array:
    """Return an image of cosmic rays in electrons: short straight tracks, on average so many."""
    image = np.zeros(shape)
    for _ in range(rng.poisson(number)):
        length, angle = rng.exponential(6.0) + 1, rng.uniform(0, np.pi)
        x0, y0 = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        steps = np.arange(0, length, 0.2)
        column = np.rint(x0 + steps * np.cos(angle)).astype(int)
        row = np.rint(y0 + steps * np.sin(angle)).astype(int)
        inside = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
        np.add.at(image, (row[inside], column[inside]), rng.uniform(100.0, 900.0))
    return image


def _integrated(edges: Any, sigma: float) -> Array:
    steps: Array = np.diff(erf(edges / (sigma * np.sqrt(2)))) / 2
    return steps
