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
    scatter: float
    """Robust standard deviation of one star, mag."""
    n: int
    """Stars used."""

    @property
    def error(self) -> float:
        """Standard error, mag."""
        return self.scatter / max(self.n, 1) ** 0.5


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
    bad = sigma_clip(pairs.east, sigma=3.0, masked=True).mask | sigma_clip(pairs.north, sigma=3.0, masked=True).mask
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


def photometric_zero_point(stars: Table, reference: Table, pairs: Match, *, minimum: int = 3) -> ZeroPoint | None:
    """Return the zero point of fluxes against magnitudes.

    Parameters
    ----------
    stars : astropy.table.Table
        With columns flux and, to leave out what is masked, bad.
    reference : astropy.table.Table
        With a column mag.
    pairs : Match
        Rows of the one and of the other.
    minimum : int, optional
        Least number of stars.

    Returns
    -------
    ZeroPoint or None
        The median over stars, clipped at three sigma; None if there are too few.
    """
    flux = np.asarray(stars["flux"][pairs.first], dtype=float)
    mag = np.asarray(reference["mag"][pairs.second], dtype=float)
    good = (flux > 0) & np.isfinite(mag)
    if "bad" in stars.colnames:
        good &= np.asarray(stars["bad"][pairs.first]) == 0
    if good.sum() < minimum:
        return None
    each = mag[good] + 2.5 * np.log10(flux[good])
    kept = sigma_clip(each, sigma=3.0, masked=False)
    return ZeroPoint(float(np.median(kept)), float(mad_std(kept)), len(kept))
