"""Bring images to one point-spread function, and take their median."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.convolution import convolve

__all__ = ["match_psf", "median_of"]

Array = npt.NDArray[Any]


def match_psf(image: Array, kernel: Array) -> Array:
    """Return an image convolved with a matching kernel, as it stands: its sum is the ratio of the fluxes.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (ny, nx). Its edge is continued outwards.
    kernel : numpy.ndarray
        Odd in both axes.
    """
    # On the transposed arrays, as the tools do that make such kernels: sums in another order differ in
    # the last digit.
    matched: Array = convolve(image.T, kernel.T, boundary="extend", normalize_kernel=False).T
    return matched


def median_of(images: Sequence[Array]) -> Array:
    """Return the median of images, pixel by pixel."""
    middle: Array = np.median(np.stack(list(images)), axis=0)
    return middle
