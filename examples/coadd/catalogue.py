"""Catalogues: what is on a patch, measured in all bands at the same positions, and patches put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.table import Table, vstack

from examples.coadd.measure import aperture_fluxes, centroids, find_stars, variance_of
from examples.coadd.patches import PatchGrid

__all__ = ["AB_ZERO_POINT", "detection_image", "measure_patch", "merge_patches"]

AB_ZERO_POINT = 31.4
"""Magnitude of a flux of 1 nJy."""


def detection_image(coadds: Sequence[CCDData]) -> CCDData:
    """Return white light to find sources on: the mean of all bands' coadds, weighted by inverse variance."""
    data = np.stack([np.asarray(c.data, dtype=float) for c in coadds])
    variance = np.stack([variance_of(c) for c in coadds])
    good = np.stack([np.ones(c.shape, bool) if c.mask is None else ~c.mask for c in coadds]) & (variance > 0)
    # One weight for each coadd and not for each pixel, as in `stack`.
    weights = np.array([1 / np.median(v[g]) if g.any() else 0.0 for v, g in zip(variance, good, strict=True)])
    weighted = np.where(good, weights[:, np.newaxis, np.newaxis], 0.0)
    total = weighted.sum(axis=0)
    divisor = np.where(total > 0, total, 1.0)
    return CCDData(
        (weighted * data).sum(axis=0) / divisor,
        unit=coadds[0].unit,
        uncertainty=VarianceUncertainty(
            (weighted**2 * np.where(good, variance, 0.0)).sum(axis=0) / divisor**2
        ),
        mask=total == 0,
        wcs=coadds[0].wcs,
    )


def measure_patch(
    coadds: Mapping[str, CCDData],
    patch: PatchGrid,
    *,
    fwhm: float,
    threshold: float,
    radius: float,
    annulus: tuple[float, float] | None = None,
    number: int = 0,
) -> Table:
    """Return the catalogue of a patch.

    Parameters
    ----------
    coadds : Mapping
        Band → coadd with variance, all on the pixels of the patch.
    patch : PatchGrid
        The patch. Sources in its border are its neighbours' and left out.
    fwhm : float
        Width of a star, pixels.
    threshold : float
        For `find_stars`, in units of the noise.
    radius, annulus
        For `aperture_fluxes`, pixels.
    number : int, optional
        Number of the patch, a column of the table.

    Returns
    -------
    astropy.table.Table
        Columns ra, dec (deg, ICRS), patch, x, y (pixels of the tract), and for each band B: B_flux,
        B_flux_err (the coadds' unit), B_peak and B_bad (fraction of the aperture without data).
    """
    white = detection_image(list(coadds.values()))
    found = find_stars(white, fwhm=fwhm, threshold=threshold)
    x, y = centroids(white, found["x"], found["y"], fwhm=fwhm)
    keep = patch.owns(x, y) & ~_twins(x, y, fwhm / 2)
    x, y = x[keep], y[keep]
    order = np.lexsort((x, y))
    x, y = x[order], y[order]
    ra, dec = patch.wcs.all_pix2world(x, y, 0) if len(x) else (x, y)
    table = Table({"ra": ra * u.deg, "dec": dec * u.deg, "patch": np.full(len(x), number, np.int32)})
    table["x"], table["y"] = x + patch.box[0], y + patch.box[1]
    for band, coadd in coadds.items():
        fluxes = aperture_fluxes(coadd, x, y, radius=radius, annulus=annulus)
        for name in fluxes.colnames:
            table[f"{band}_{name}"] = fluxes[name]
        for name in ("flux", "flux_err", "peak"):
            table[f"{band}_{name}"].unit = coadd.unit
    return table


def merge_patches(patches: Sequence[Table]) -> Table:
    """Return the catalogue of a tract: sources of all patches, numbered from 1 in order of declination."""
    filled = [p for p in patches if len(p)] or list(patches[:1])
    table = vstack(filled, join_type="outer", metadata_conflicts="silent")
    table.sort(["dec", "ra"])
    table.add_column(np.arange(1, len(table) + 1), name="source", index=0)
    return table


def _twins(x: npt.NDArray[Any], y: npt.NDArray[Any], radius: float) -> npt.NDArray[np.bool_]:
    """Tell which positions are within a radius of an earlier one: two peaks whose centres are one star."""
    from scipy.spatial import cKDTree

    twin = np.zeros(len(x), bool)
    if len(x) > 1:
        for _first, second in sorted(cKDTree(np.transpose([x, y])).query_pairs(radius)):
            twin[second] = True
    return twin
