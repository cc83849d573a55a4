"""Stack: warps of many visits → one coadd, its variance, and how many visits each pixel has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.nddata import CCDData, VarianceUncertainty
from scipy.ndimage import maximum_filter

from examples.coadd.measure import variance_of

__all__ = ["Coadd", "stack"]

Array = npt.NDArray[Any]


@attrs.frozen(eq=False)
class Coadd:
    """A coadd and its depth."""

    image: CCDData
    """Float32, with variance; 0 and masked where no visit has data."""
    depth: npt.NDArray[np.int16]
    """Visits that went into each pixel."""
    coverage: npt.NDArray[np.int16]
    """Visits that have data at each pixel, clipped or not."""


def stack(
    warps: Sequence[CCDData], *, sigma: float = 5.0, tolerance: float = 0.7, inverse_variance: bool = True
) -> Coadd:
    """Return the clipped, weighted mean of warps.

    Parameters
    ----------
    warps : sequence of CCDData
        On the same pixels, in one unit, with variance; masked pixels do not count.
    sigma : float, optional
        Values this many standard deviations from the median of the visits are left out, where three
        visits or more have data.
    tolerance : float, optional
        How much a visit may differ besides, as a part of the largest median within two pixels: in the
        core and the flanks of a star the seeing alone changes values by that much, and clipping them
        would take flux from bright stars.
    inverse_variance : bool, optional
        Whether a visit's weight is the inverse of the median of its variance, or 1. One weight for a
        whole warp, since weights that follow the photons of each pixel make bright stars fainter.

    Returns
    -------
    Coadd
        The coadd, with the variance that follows from the warps' variances and the weights.
    """
    if not warps:
        raise ValueError("there are no warps to stack")
    data = np.stack([np.asarray(w.data, dtype=np.float32) for w in warps])
    variance = np.stack([variance_of(w).astype(np.float32) for w in warps])
    good = np.stack([np.ones(w.shape, bool) if w.mask is None else ~w.mask for w in warps])
    good &= np.isfinite(data) & np.isfinite(variance)
    coverage = good.sum(axis=0)
    weights = np.array(
        [_weight(v, g) if inverse_variance else 1.0 for v, g in zip(variance, good, strict=True)]
    )
    good &= _near_median(data, variance, good, sigma, tolerance) | (coverage < 3)
    weighted = np.where(good, weights[:, np.newaxis, np.newaxis], 0.0)
    total = weighted.sum(axis=0)
    divisor = np.where(total > 0, total, 1.0)
    mean = (weighted * np.where(good, data, 0.0)).sum(axis=0) / divisor
    spread = (weighted**2 * np.where(good, variance, 0.0)).sum(axis=0) / divisor**2
    depth = good.sum(axis=0)
    image = CCDData(
        mean.astype(np.float32),
        unit=warps[0].unit,
        uncertainty=VarianceUncertainty(spread.astype(np.float32)),
        mask=depth == 0,
        wcs=warps[0].wcs,
        meta=fits.Header(),
    )
    return Coadd(image, depth.astype(np.int16), coverage.astype(np.int16))


def _weight(variance: Array, good: Array) -> float:
    typical = float(np.median(variance[good])) if good.any() else 0.0
    return 1.0 / typical if typical > 0 else 0.0


def _near_median(data: Array, variance: Array, good: Array, sigma: float, tolerance: float) -> Array:
    middle = _median(data, good)
    # The typical variance, not the pixel's own: what a cosmic ray hit has the variance of its electrons.
    around = maximum_filter(np.maximum(middle, 0.0), size=5)
    limit = sigma * np.sqrt(_median(variance, good)) + tolerance * around
    near: Array = np.abs(data - middle) <= limit
    return near


def _median(stack: Array, good: Array) -> Array:
    """Return the median over the good values of each pixel, 0 where there is none."""
    ordered = np.sort(np.where(good, stack, np.inf), axis=0)
    count = good.sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    high = np.minimum(high, len(stack) - 1)
    both = [np.take_along_axis(ordered, k[np.newaxis], axis=0)[0] for k in (low, high)]
    middle: Array = np.where(count > 0, (both[0] + both[1]) / 2, 0.0)
    return middle
