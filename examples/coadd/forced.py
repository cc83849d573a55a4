"""Forced photometry: fluxes at given positions on the sky, in the images of visits."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from astropy.table import Table

from examples.coadd.measure import aperture_fluxes, centroids

__all__ = ["forced_fluxes"]


def forced_fluxes(
    image: CCDData,
    targets: Table,
    *,
    radius: float,
    annulus: tuple[float, float] | None = None,
    recentre: float = 0.0,
) -> Table:
    """Return fluxes in apertures at the positions of targets.

    Parameters
    ----------
    image : CCDData
        Image with WCS and variance.
    targets : astropy.table.Table
        With columns ra and dec (deg, ICRS), and source (a number) or else numbered from 0.
    radius, annulus
        For `aperture_fluxes`, pixels.
    recentre : float, optional
        Width of a star in pixels, to find the centre again; 0 to trust the WCS.

    Returns
    -------
    astropy.table.Table
        Of the targets on the image: source, x, y, flux, flux_err, peak, bad.
    """
    ra, dec = (u.Quantity(targets[name], u.deg) for name in ("ra", "dec"))
    names = targets["source"] if "source" in targets.colnames else np.arange(len(targets))
    x, y = np.zeros(0), np.zeros(0)
    if len(targets):
        x, y = (np.atleast_1d(v) for v in image.wcs.world_to_pixel(SkyCoord(ra, dec)))
    ny, nx = image.shape
    here = np.isfinite(x) & np.isfinite(y) & (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    x, y = x[here], y[here]
    if recentre:
        x, y = centroids(_above_sky(image, annulus), x, y, fwhm=recentre)
    table = Table({"source": np.asarray(names)[here], "x": x, "y": y})
    fluxes = aperture_fluxes(image, x, y, radius=radius, annulus=annulus)
    for name in fluxes.colnames:
        table[name] = fluxes[name]
    return table


def _above_sky(image: CCDData, annulus: Any) -> CCDData:
    if annulus is None:
        return image
    lowered = image.copy()
    lowered.data = image.data - np.nanmedian(image.data)
    return lowered
