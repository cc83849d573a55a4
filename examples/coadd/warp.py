"""Warp: images of one visit → one image on the pixels of a patch.

Brightness per area is interpolated (reproject), so fluxes summed over pixels are kept by the ratio of the
pixels' areas, which is applied. The variance is interpolated in the same way. Interpolating averages
neighbours: a warp's pixels are smoother than the variance plane says, and correlated. The plane is right for
what is summed over many pixels, as in an aperture, and that is what it is for. With ``nearest-neighbor``
noise stays as it was, pixel by pixel, and stars are moved by up to half a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from reproject import reproject_interp
from scipy.ndimage import binary_dilation

from examples.coadd.measure import variance_of
from examples.coadd.patches import PatchGrid

__all__ = ["warp_images", "window_on"]

Array = npt.NDArray[Any]


def warp_images(images: Sequence[CCDData], patch: PatchGrid, *, order: str = "bilinear") -> CCDData | None:
    """Return the images of one visit as one on the pixels of a patch.

    Parameters
    ----------
    images : sequence of CCDData
        Images with WCS and variance, of one unit. Masked pixels, and the pixels beside them that an
        interpolated value would lean on, are left out.
    patch : PatchGrid
        The patch.
    order : str, optional
        ``nearest-neighbor``, ``bilinear`` or ``bicubic``.

    Returns
    -------
    CCDData or None
        Float32, in the images' unit; 0 and masked where there is no data. Where detectors overlap, the
        mean. None if no pixel has data.
    """
    total = np.zeros(patch.shape)
    variance = np.zeros(patch.shape)
    count = np.zeros(patch.shape, int)
    for image in images:
        found = _warp_one(image, patch, order)
        if found is None:
            continue
        window, data, var = found
        good = np.isfinite(data) & np.isfinite(var)
        total[window] += np.where(good, data, 0.0)
        variance[window] += np.where(good, var, 0.0)
        count[window] += good
    if not count.any():
        return None
    divisor = np.maximum(count, 1)
    return CCDData(
        (total / divisor).astype(np.float32),
        unit=images[0].unit,
        uncertainty=VarianceUncertainty((variance / divisor**2).astype(np.float32)),
        mask=count == 0,
        wcs=patch.wcs,
        meta=fits.Header(),
    )


def window_on(image: CCDData, patch: PatchGrid, *, margin: int = 2) -> tuple[slice, slice] | None:
    """Return the part of a patch in which an image may have pixels, or None if it has none there."""
    ny, nx = image.shape
    t = np.linspace(0.0, 1.0, 8)
    edge_x = np.concatenate([t, np.ones(8), t, np.zeros(8)]) * nx - 0.5
    edge_y = np.concatenate([np.zeros(8), t, np.ones(8), t]) * ny - 0.5
    x, y = patch.wcs.world_to_pixel(image.wcs.pixel_to_world(edge_x, edge_y))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None  # it lies on the other side of the sky
    rows = _clip(y, patch.shape[0], margin)
    columns = _clip(x, patch.shape[1], margin)
    return None if rows is None or columns is None else (rows, columns)


def _clip(values: Array, size: int, margin: int) -> slice | None:
    start = max(int(np.floor(values.min())) - margin, 0)
    stop = min(int(np.ceil(values.max())) + margin + 1, size)
    return slice(start, stop) if start < stop else None


def _warp_one(
    image: CCDData, patch: PatchGrid, order: str
) -> tuple[tuple[slice, slice], Array, Array] | None:
    window = window_on(image, patch)
    if window is None:
        return None
    rows, columns = window
    target = patch.wcs.deepcopy()
    target.wcs.crpix = [target.wcs.crpix[0] - columns.start, target.wcs.crpix[1] - rows.start]
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    data, variance = np.asarray(image.data, dtype=float), variance_of(image)
    bad = np.zeros(image.shape, bool) if image.mask is None else np.asarray(image.mask)
    if order == "bicubic":
        # A spline has all pixels in each: one that is not a number would leave none that is. And it swings to
        # below nothing beside a star, which a variance must not.
        data = np.where(bad, np.median(data[~bad]) if not bad.all() else 0.0, data)
        near = binary_dilation(bad, np.ones((3, 3)))
        warped = np.stack(
            [
                _interpolated(data, image.wcs, target, shape, "bicubic"),
                _interpolated(np.where(near, np.nan, variance), image.wcs, target, shape, "bilinear"),
            ]
        )
    else:
        # Both planes share the costly part, from pixels of one frame to those of the other.
        planes = np.where(bad, np.nan, np.stack([data, variance]))
        warped = _interpolated(planes, image.wcs, target, shape, order)
    # Of variance too: so many pixels fewer or more, each with so much more or less of the same photons.
    ratio = _pixel_area(target) / _pixel_area(image.wcs)
    return window, warped[0] * ratio, warped[1] * ratio


def _interpolated(planes: Array, wcs: WCS, target: WCS, shape: tuple[int, int], order: str) -> Array:
    made: Array = reproject_interp((planes, wcs), target, shape, order=order, return_footprint=False)
    return made


def _pixel_area(wcs: WCS) -> float:
    return float(proj_plane_pixel_area(wcs.celestial))
