"""What was recovered of the simulated survey, against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.stats import mad_std
from astropy.table import Table

from examples.coadd.calibrate import match
from examples.coadd.catalogue import AB_ZERO_POINT

__all__ = ["against_truth", "summary"]


def against_truth(
    catalogue: Table, truth: Table, covered: npt.NDArray[Any], bands: Sequence[str], *, radius: float = 1.0
) -> Table:
    """Return the true stars, each with what was measured of it.

    Parameters
    ----------
    catalogue : astropy.table.Table
        As `measure_patch` makes it.
    truth : astropy.table.Table
        Columns source, ra, dec and mag_B for each band B.
    covered : numpy.ndarray
        For each true star whether the survey has enough data where it is, shape (n,), bool.
    bands : sequence of str
        The bands.
    radius : float, optional
        How far a measured position may be from the true one, arcsec.

    Returns
    -------
    astropy.table.Table
        One row for each true star: source, ra, dec, covered, found, east and north (measured minus true,
        mas), and for each band B true and measured flux (nJy), its error, and B_bad; NaN where it was
        not found.
    """
    pairs = match(_positions(truth), _positions(catalogue), radius)
    n = len(truth)

    def spread(values: Any, fill: float = np.nan) -> npt.NDArray[np.float64]:
        column = np.full(n, fill)
        column[pairs.first] = values
        return column

    table = Table({name: truth[name] for name in ("source", "ra", "dec")})
    table["covered"] = covered
    table["found"] = np.isin(np.arange(n), pairs.first)
    table["east"], table["north"] = spread(pairs.east * 1e3) * u.mas, spread(pairs.north * 1e3) * u.mas
    for band in bands:
        flux = 10 ** (-0.4 * (np.asarray(truth[f"mag_{band}"]) - AB_ZERO_POINT))
        table[f"{band}_mag_true"] = truth[f"mag_{band}"] * u.mag
        table[f"{band}_flux_true"] = flux * u.nJy
        for name in ("flux", "flux_err"):
            table[f"{band}_{name}"] = spread(np.asarray(catalogue[f"{band}_{name}"])[pairs.second]) * u.nJy
        table[f"{band}_bad"] = spread(np.asarray(catalogue[f"{band}_bad"])[pairs.second])
    table.meta["unmatched"] = len(catalogue) - len(pairs)
    return table


def summary(table: Table, bands: Sequence[str], *, limit: float = 20.5, least: float = 20.0) -> Table:
    """Return how well a survey recovered the truth, one row for each band.

    Parameters
    ----------
    table : astropy.table.Table
        As `against_truth` gives it.
    bands : sequence of str
        The bands.
    limit : float, optional
        True stars brighter than this magnitude, where there is data, should all be found.
    least : float, optional
        Signal-to-noise ratio of the stars that positions and fluxes are judged by.

    Returns
    -------
    astropy.table.Table
        Columns band; true, found (stars brighter than `limit`) and completeness; stars (judged by);
        east, north (median, mas) and rms (of one coordinate, robust, mas); flux_ratio (median of
        measured over true) and flux_scatter (robust); pull (robust width of (measured - true) / error of
        all stars found, 1 if errors are right).
    """
    rows = []
    for band in bands:
        whole = table["covered"] & (table[f"{band}_mag_true"].value < limit)
        found = table["found"] & (np.nan_to_num(table[f"{band}_bad"], nan=1.0) == 0)
        flux, true = (np.asarray(table[f"{band}_{name}"], dtype=float) for name in ("flux", "flux_true"))
        error = np.asarray(table[f"{band}_flux_err"], dtype=float)
        with np.errstate(invalid="ignore"):
            judged = found & (flux > least * error)
            faint = found & (flux <= least * error)
        ratio = flux[judged] / true[judged]
        east, north = (np.asarray(table[name], dtype=float)[judged] for name in ("east", "north"))
        pull = (flux - true)[faint] / error[faint]
        rows.append(
            {
                "band": band,
                "true": int(whole.sum()),
                "found": int((whole & table["found"]).sum()),
                "completeness": _part(int((whole & table["found"]).sum()), int(whole.sum())),
                "stars": int(judged.sum()),
                "east": _median(east),
                "north": _median(north),
                "rms": _spread(np.concatenate([east - _median(east), north - _median(north)])),
                "flux_ratio": _median(ratio),
                "flux_scatter": _spread(ratio),
                "pull": _spread(pull),
            }
        )
    made = Table(rows=rows)
    for name, unit, digits in (
        ("completeness", None, 4),
        ("east", u.mas, 2),
        ("north", u.mas, 2),
        ("rms", u.mas, 2),
        ("flux_ratio", None, 4),
        ("flux_scatter", None, 4),
        ("pull", None, 2),
    ):
        made[name] = np.round(made[name], digits)
        made[name].unit = unit
    return made


def _positions(table: Table) -> SkyCoord:
    return SkyCoord(u.Quantity(table["ra"], u.deg), u.Quantity(table["dec"], u.deg))


def _part(some: int, whole: int) -> float:
    return some / whole if whole else float("nan")


def _median(values: npt.NDArray[Any]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _spread(values: npt.NDArray[Any]) -> float:
    return float(mad_std(values)) if len(values) else float("nan")
