"""A transit in a light curve: relative fluxes, barycentric times, and a fit of a trapezoid.

The trapezoid has a fixed duration and steepness, which two dozen frames cannot tell: those that follow
from masses, radii and period of HAT-P-32 (Tregloan-Reed et al., arXiv:1712.00415) within a percent or two.
With durations 3 % and ingresses 30 % away the middle comes out between .7085 and .7201, and the depth
between 2.4 and 2.8 %; the errors stated do not include that.

Free are the middle, the depth, and a straight line for the light without transit, which stands for what
changes slowly: air mass, and where on the detector the stars are.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.table import Table
from astropy.time import Time

__all__ = ["Transit", "barycentric_jd", "choose_comparisons", "fit_transit", "relative_flux", "trapezoid"]

Array = npt.NDArray[Any]

DURATION = 0.1295
"""From first to last contact, days."""
INGRESS = 0.0172
"""From first to second contact, days."""


@attrs.frozen
class Transit:
    """When the planet was in front of its star, and how much light it took."""

    mid_time: float
    """BJD in TDB, days."""
    mid_time_error: float
    depth: float
    """Part of the star's light."""
    depth_error: float
    scatter: float
    """Standard deviation of one frame's relative flux around the fit."""
    n_frames: int
    comparisons: tuple[int, ...]
    """Stars that the target was compared with."""


def barycentric_jd(mjd_utc: Array, target: SkyCoord, site: EarthLocation) -> Array:
    """Return BJD in TDB for times in MJD UTC: when light passes the solar system's centre of mass."""
    times = Time(mjd_utc, format="mjd", scale="utc", location=site)
    delay = times.light_travel_time(target, "barycentric", ephemeris="builtin")
    jd: Array = (times.tdb + delay).jd
    return jd


def choose_comparisons(
    table: Table, target: int, *, saturation: float, faintest: float = 0.25
) -> tuple[int, ...]:
    """Return stars fit to compare a target with.

    Parameters
    ----------
    table : astropy.table.Table
        Light curves: columns source, mjd, flux, peak, bad.
    target : int
        Source that is to be compared.
    saturation : float
        Peaks at or above it rule a star out, in the unit of the column peak.
    faintest : float, optional
        Median flux that a star must have, in units of the target's.

    Returns
    -------
    tuple of int
        Sources that are in every frame of the target, whole and never saturated.
    """
    frames = len(table[table["source"] == target])
    bright = float(np.median(table["flux"][table["source"] == target]))
    chosen = []
    for source in np.unique(table["source"]):
        rows = table[table["source"] == source]
        whole = len(rows) == frames and (rows["bad"] == 0).all() and (rows["peak"] < saturation).all()
        if source != target and whole and np.median(rows["flux"]) >= faintest * bright:
            chosen.append(int(source))
    return tuple(chosen)


def relative_flux(table: Table, target: int, comparisons: tuple[int, ...]) -> tuple[Array, Array]:
    """Return times (MJD) and fluxes of a target over the sum of the comparisons' fluxes, median 1.

    Raises
    ------
    ValueError
        There is nothing to compare with.
    """
    if not comparisons:
        raise ValueError(f"no star is fit to compare source {target} with")
    mine = table[table["source"] == target]
    mine.sort("mjd")
    total = np.zeros(len(mine))
    for source in comparisons:
        rows = table[table["source"] == source]
        rows.sort("mjd")
        total += np.asarray(rows["flux"])
    ratio = np.asarray(mine["flux"]) / total
    return np.asarray(mine["mjd"], dtype=float), ratio / np.median(ratio)


def trapezoid(time: Array, mid_time: float, depth: float) -> Array:
    """Return the light of a star in a transit: 1 outside, 1 - depth between second and third contact."""
    inside = np.clip((DURATION / 2 - np.abs(time - mid_time)) / INGRESS, 0.0, 1.0)
    light: Array = 1.0 - depth * inside
    return light


def fit_transit(
    time: Array, flux: Array, *, guess: float, reach: float = 0.1, comparisons: tuple[int, ...] = ()
) -> tuple[Transit, Array]:
    """Fit a transit to a light curve.

    For each possible middle all else is a linear problem, so all of them are tried: between one frame and
    the next the sum of squares has many minima, and a search that follows slopes ends in any of them.

    Parameters
    ----------
    time : numpy.ndarray
        BJD, days; seven or more.
    flux : numpy.ndarray
        Relative flux.
    guess : float
        About the middle of the transit, BJD.
    reach : float, optional
        How far from `guess` to look, days.
    comparisons : tuple of int, optional
        Noted in the result.

    Returns
    -------
    transit : Transit
        The error of the middle is half the width of the range in which the sum of squares is not larger
        than one scatter squared above its least; that of the depth is for this middle. Both are made
        larger by as much as means of neighbouring residuals scatter more than they would if they were
        independent (Pont, Zucker & Queloz 2006, MNRAS 373, 231).
    model : numpy.ndarray
        The fit at the times given.
    """
    days = time - guess  # in BJD itself, too few digits of a float are left for differences
    middles = np.arange(-reach, reach, 1e-4)
    trials = [_solve(days, flux, m) for m in middles]
    # A planet takes light away; where it would have to add some, the middle is not.
    squares = np.array([least if found[2] > 0 else np.inf for found, least, *_ in trials])
    if not np.isfinite(squares).any():
        raise ValueError(f"within {reach} d of {guess} nothing takes light from the star")
    best = int(np.argmin(squares))
    found, least, covariance, fitted = trials[best]
    variance = least / (len(time) - 4)
    inside = middles[squares <= least + variance]
    redness = _redness(flux - fitted)
    level, _slope, loss = found
    transit = Transit(
        mid_time=float(guess + middles[best]),
        mid_time_error=float((inside.max() - inside.min()) / 2 * redness),
        depth=float(loss / level),
        depth_error=float(np.sqrt(covariance[2, 2] * variance) / level * redness),
        scatter=float(np.sqrt(variance)),
        n_frames=len(time),
        comparisons=comparisons,
    )
    return transit, fitted


def _solve(time: Array, flux: Array, middle: float) -> tuple[Array, float, Array, Array]:
    """Return level, slope and loss of light for a middle, the sum of squares, covariance and fit."""
    design = np.transpose([np.ones_like(time), time, trapezoid(time, middle, 1.0) - 1.0])
    found, *_ = np.linalg.lstsq(design, flux, rcond=None)
    fitted = design @ found
    return found, float(((flux - fitted) ** 2).sum()), np.linalg.pinv(design.T @ design), fitted


def _redness(residuals: Array) -> float:
    """Return how much more means of residuals scatter than those of white noise, at least 1."""
    worst = 1.0
    for size in range(2, max(len(residuals) // 5, 2) + 1):
        n = len(residuals) // size
        means = residuals[: n * size].reshape(n, size).mean(axis=1)
        white = residuals.std() / np.sqrt(size)
        if white > 0 and n > 1:
            worst = max(worst, float(np.sqrt(np.mean(means**2)) / white))
    return worst


def site(longitude: float, latitude: float, height: float) -> EarthLocation:
    """Return a place on Earth: degrees east and north, and metres above the sea."""
    return EarthLocation.from_geodetic(longitude * u.deg, latitude * u.deg, height * u.m)
