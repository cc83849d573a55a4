"""The stars of the simulated survey."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt
from astropy.table import Table

__all__ = ["BANDS", "Field", "reference_catalogue", "true_stars"]

BANDS = ("g", "r")


@attrs.frozen
class Field:
    """The part of the sky that the survey looks at."""

    ra: float = 150.1
    """Its middle, degrees ICRS."""
    dec: float = 2.2
    radius: float = 330.0
    """Stars are in a square that reaches so far from the middle, arcsec."""
    n_stars: int = 1400
    faintest: float = 23.0
    """Magnitude in r of the faintest stars, AB."""


def true_stars(field: Field, seed: int) -> Table:
    """Return the true stars: columns source, ra, dec (deg, ICRS), and mag_g, mag_r (AB).

    Their number grows threefold from one magnitude to the next but one, and no two are nearer than
    4 arcsec. The last is bright enough to saturate.
    """
    rng = np.random.default_rng([seed, 1])
    east, north = _apart(rng, field, 4.0)
    n = len(east)
    # Cumulative counts that grow as 10^(0.24 m).
    mag_r = field.faintest + np.log10(rng.uniform(10 ** (-0.24 * 6.8), 1.0, n)) / 0.24
    colour = np.clip(rng.normal(0.75, 0.35, n), -0.2, 1.6)
    mag_r[-1], colour[-1] = 12.8, 0.5
    dec = field.dec + north / 3600
    ra = field.ra + east / 3600 / np.cos(np.deg2rad(dec))
    table = Table(
        {"source": np.arange(1, n + 1), "ra": ra, "dec": dec, "mag_g": mag_r + colour, "mag_r": mag_r}
    )
    table["ra"].unit = table["dec"].unit = "deg"
    return table


def reference_catalogue(stars: Table, seed: int) -> Table:
    """Return what a survey before this one knew: stars of 15 to 20.5 mag, to 20 mas and 10 mmag."""
    rng = np.random.default_rng([seed, 2])
    bright = stars[(stars["mag_r"] > 15.0) & (stars["mag_r"] < 20.5)].copy()
    error = 0.02 / 3600
    bright["dec"] += rng.normal(0, error, len(bright))
    bright["ra"] += rng.normal(0, error, len(bright)) / np.cos(np.deg2rad(bright["dec"]))
    for band in BANDS:
        bright[f"mag_{band}"] += rng.normal(0, 0.01, len(bright))
    return bright


def _apart(
    rng: np.random.Generator, field: Field, least: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return positions of which no two are nearer than `least`, the last one 70 arcsec from the middle."""
    kept = np.array([[50.0, -50.0]])
    while len(kept) < field.n_stars:
        one = rng.uniform(-field.radius, field.radius, 2)
        if np.hypot(*(kept - one).T).min() >= least:
            kept = np.vstack([kept, one])
    east, north = np.roll(kept, -1, axis=0).T
    return east, north
