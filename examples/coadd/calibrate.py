"""Astrometric and photometric zero points of an image, against a reference catalogue."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.stats import mad_std, sigma_clip
from astropy.table import Table
from astropy.wcs import WCS

__all__ = ["Match", "ZeroPoint", "astrometric_offset", "match", "moved", "photometric_zero_point"]

Array = npt.NDArray[Any]


@attrs.frozen(eq=False)
class Match:
    """Which stars of two lists are the same."""

    first: npt.NDArray[np.intp]
    """Rows of the first list."""
    second: npt.NDArray[np.intp]
    """Rows of the second list, in the same order."""
    east: Array
    """Second minus first, arcsec along the great circle."""
    north: Array
    """As above."""

    def __len__(self) -> int:
        return len(self.first)

    def take(self, which: Array) -> Match:
        """Return some of the pairs: indices or a mask."""
        return Match(self.first[which], self.second[which], self.east[which], self.north[which])


@attrs.frozen
class ZeroPoint:
    """What turns a flux into a magnitude: mag = value - 2.5 log10(flux)."""

    value: float
    error: float
    """Standard error, mag."""
    scatter: float
    """Robust standard deviation of one star, mag."""
    n: int
    """Stars used."""


def match(first: SkyCoord, second: SkyCoord, radius: float) -> Match:
    """Return the pairs of stars that are each other's nearest, and nearer than a radius in arcsec."""
    if not len(first) or not len(second):
        nothing, none = np.zeros(0, np.intp), np.zeros(0)
        return Match(nothing, nothing, none, none)
    there, apart, _ = first.match_to_catalog_sky(second)
    back, _, _ = second.match_to_catalog_sky(first)
    rows = np.arange(len(first))
    mutual = (back[there] == rows) & (apart.arcsec <= radius)
    i, j = rows[mutual], there[mutual]
    east, north = first[i].spherical_offsets_to(second[j])
    return Match(i, j, east.to_value(u.arcsec), north.to_value(u.arcsec))


def astrometric_offset(pairs: Match, *, minimum: int = 3) -> tuple[float, float] | None:
    """Return by how much positions in the first list must be moved, arcsec east and north: the clipped mean.

    Returns
    -------
    tuple of float or None
        None if fewer than `minimum` pairs are left.
    """
    if len(pairs) < minimum:
        return None
    bad = (
        sigma_clip(pairs.east, sigma=3.0, masked=True).mask
        | sigma_clip(pairs.north, sigma=3.0, masked=True).mask
    )
    good = ~np.broadcast_to(bad, pairs.east.shape)
    if good.sum() < minimum:
        return None
    return float(pairs.east[good].mean()), float(pairs.north[good].mean())


def moved(wcs: WCS, east: float, north: float) -> WCS:
    """Return a WCS whose positions are moved on the sky, by arcsec."""
    result = wcs.deepcopy()
    ra, dec = result.wcs.crval
    result.wcs.crval = [ra + east / 3600.0 / np.cos(np.deg2rad(dec)), dec + north / 3600.0]
    return result


def photometric_zero_point(
    stars: Table, reference: Table, pairs: Match, *, minimum: int = 3, floor: float = 0.01
) -> ZeroPoint | None:
    """Return the zero point of fluxes against magnitudes.

    Parameters
    ----------
    stars : astropy.table.Table
        With columns flux, flux_err and bad; stars with anything bad in their apertures are left out.
    reference : astropy.table.Table
        With a column mag.
    pairs : Match
        Rows of the one and of the other.
    minimum : int, optional
        Least number of stars.
    floor : float, optional
        Error of a reference magnitude, which no star's own error counts below.

    Returns
    -------
    ZeroPoint or None
        The mean over stars weighted by inverse variance, without those three deviations or more from
        the median; None if there are too few.
    """
    flux = np.asarray(stars["flux"][pairs.first], dtype=float)
    error = np.asarray(stars["flux_err"][pairs.first], dtype=float)
    mag = np.asarray(reference["mag"][pairs.second], dtype=float)
    good = (flux > 3 * error) & np.isfinite(mag) & (np.asarray(stars["bad"][pairs.first]) == 0)
    if good.sum() < minimum:
        return None
    each = mag[good] + 2.5 * np.log10(flux[good])
    sigma = np.hypot(2.5 / np.log(10) * error[good] / flux[good], floor)
    off = each - np.median(each)
    scatter = float(mad_std(each))
    kept = np.abs(off) < 3 * np.maximum(sigma, scatter)
    weight = kept / sigma**2
    return ZeroPoint(
        float((weight * each).sum() / weight.sum()), float(weight.sum() ** -0.5), scatter, int(kept.sum())
    )
