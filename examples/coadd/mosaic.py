"""Patches of a tract put together, to look at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy.nddata import CCDData, VarianceUncertainty

from examples.coadd.measure import variance_of
from examples.coadd.patches import patch_grid
from supertask.sky.skymap import SkyMap

__all__ = ["mosaic"]


def mosaic(sky_map: SkyMap, tract: int, patches: Mapping[int, CCDData]) -> CCDData:
    """Return the image of a whole tract, of the inner parts of its patches.

    Parameters
    ----------
    sky_map : SkyMap
        The sky map.
    tract : int
        Number of the tract.
    patches : Mapping
        Number of a patch → its image; what is missing stays masked.
    """
    shape = sky_map.tract(tract).shape
    data, variance = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    mask = np.ones(shape, bool)
    unit = None
    for number, image in patches.items():
        grid = patch_grid(sky_map, {"tract": tract, "patch": number})
        x0, y0, x1, y1 = grid.inner_box
        there = slice(y0, y1), slice(x0, x1)
        data[there] = image.data[grid.inner]
        if image.uncertainty is not None:
            variance[there] = variance_of(image)[grid.inner]
        mask[there] = False if image.mask is None else image.mask[grid.inner]
        unit = image.unit
    return CCDData(
        data,
        unit=unit or "adu",
        uncertainty=VarianceUncertainty(variance),
        mask=mask,
        wcs=sky_map.tract_wcs(tract),
    )
