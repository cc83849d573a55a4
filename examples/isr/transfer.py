"""Gain and read noise of an amplifier, measured from pairs of flats and of biases.

The photon-transfer method: light arrives by Poisson's law, so the variance of a flat in ADU² grows with
its level in ADU by 1/gain (Janesick 2007, Photon Transfer, SPIE PM170). Differences of two flats are free
of the flat's own structure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from astropy.stats import sigma_clip

__all__ = ["PhotonTransfer", "photon_transfer", "read_noise"]

Image = npt.NDArray[Any]


@attrs.frozen
class PhotonTransfer:
    """What a set of flats and biases says of an amplifier."""

    gain: float
    """Electrons per ADU."""
    read_noise: float
    """ADU, one sigma."""
    levels: npt.NDArray[np.float64]
    """Mean level of each block of each pair, ADU."""
    variances: npt.NDArray[np.float64]
    """Variance of one frame in that block, ADU²."""


def read_noise(biases: Sequence[Image], *, sigma: float = 5.0) -> float:
    """Return the read noise in the unit of the biases.

    It is the clipped standard deviation of the difference of two raw biases over √2, averaged over all
    pairs. Raw, because subtracting the overscan of a row adds the noise of that overscan.
    """
    pairs = itertools.combinations([np.asarray(b, dtype=float) for b in biases], 2)
    return float(np.mean([_spread(a - b, sigma) / np.sqrt(2) for a, b in pairs]))


def photon_transfer(
    flats: Sequence[Image],
    biases: Sequence[Image],
    *,
    noise: float | None = None,
    block: tuple[int, int] = (25, 32),
    minimum: float = 300.0,
    maximum: float = 50000.0,
    sigma: float = 4.0,
) -> PhotonTransfer:
    """Measure gain and read noise from flats of equal exposure and from biases.

    Parameters
    ----------
    flats, biases : sequence of numpy.ndarray
        Frames of one amplifier, all of one shape, overscan subtracted. At least two of each.
    noise : float, optional
        Read noise in ADU, see `read_noise`; measured from `biases` unless given.
    block : tuple of int, optional
        Rows and columns of the blocks in which levels and variances are taken.
    minimum, maximum : float, optional
        Levels in ADU between which blocks are used.
    sigma : float, optional
        Where differences are clipped.

    Returns
    -------
    PhotonTransfer
        The gain is the median over blocks of level / (variance - read noise²).
    """
    noise = read_noise(biases) if noise is None else noise
    bias = np.mean([np.asarray(b, dtype=float) for b in biases], axis=0)
    frames = [np.asarray(f, dtype=float) - bias for f in flats]
    levels, variances = [], []
    for first, second in itertools.combinations(frames, 2):
        for a, b in zip(_blocks(first, block), _blocks(second, block), strict=True):
            mean_a, mean_b = a.mean(), b.mean()
            level = np.sqrt(max(mean_a, 0.0) * max(mean_b, 0.0))
            if minimum <= level <= maximum:
                # Lamps drift: both are brought to one level first, or the drift would count as variance.
                levels.append(level)
                variances.append(_spread(a * (level / mean_a) - b * (level / mean_b), sigma) ** 2 / 2)
    if not levels:
        raise ValueError(f"no block of the flats has a level between {minimum} and {maximum} ADU")
    level_array, variance_array = np.array(levels), np.array(variances)
    gain = float(np.median(level_array / (variance_array - noise**2)))
    return PhotonTransfer(gain, noise, level_array, variance_array)


def _spread(values: Image, sigma: float) -> float:
    return float(np.std(sigma_clip(values, sigma=sigma, maxiters=10, masked=False)))


def _blocks(image: Image, block: tuple[int, int]) -> list[Image]:
    height, width = block
    ny, nx = image.shape
    return [
        image[y : y + height, x : x + width]
        for y in range(0, ny - height + 1, height)
        for x in range(0, nx - width + 1, width)
    ]
