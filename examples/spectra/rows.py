"""The combined spectrum and the visits of an apStar, and how they belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.nddata import InverseVariance
from specutils import Spectrum

__all__ = ["BAD_VISIT", "combined", "is_combined", "mean_spectrum", "take_rows", "visits"]

Array = npt.NDArray[Any]

BAD_VISIT = 8 | 16
"""STARFLAG bits of visits that SDSS does not combine: very bright neighbour (3), low signal to noise (4)."""


def take_rows(spectrum: Spectrum, rows: Any) -> Spectrum:
    """Return some rows of a spectrum with several: an index for one, a slice or indices for several.

    What `meta` says of rows or pixels goes along.
    """
    flux = spectrum.flux
    taken = flux[rows]
    meta = {}
    for key, value in spectrum.meta.items():
        if key in ("original_wcs", "original_data"):
            continue
        whole = isinstance(value, np.ndarray) and value.shape == flux.shape
        meta[key] = value[rows] if whole else value
    if isinstance(meta.get("rows"), list):
        meta["rows"] = np.array(meta["rows"])[rows].tolist()
    kind = spectrum.uncertainty
    return Spectrum(
        flux=taken,
        spectral_axis=spectrum.spectral_axis,
        spectral_axis_index=taken.ndim - 1,
        uncertainty=None if kind is None else type(kind)(kind.array[rows], unit=kind.unit),
        mask=None if spectrum.mask is None else spectrum.mask[rows],
        meta=meta,
    )


def combined(ap_star: Spectrum) -> Spectrum:
    """Return the combined spectrum of an apStar; with one visit, that one."""
    return take_rows(ap_star, 0)


def visits(ap_star: Spectrum) -> Spectrum:
    """Return the visits of an apStar, one in a row, also if there is but one."""
    n = len(ap_star.flux)
    return take_rows(ap_star, slice(2, None) if n > 1 else slice(0, 1))


def is_combined(header: Mapping[str, Any]) -> bool:
    """Tell by the header of an apVisit whether SDSS combined the visit with others in the star's apStar."""
    return (int(header["STARFLAG"]) & BAD_VISIT) == 0


def mean_spectrum(spectra: Spectrum) -> Spectrum:
    """Return the mean of rows, weighted pixel by pixel with inverse variance; masked pixels are left out."""
    ivar = np.asarray(spectra.uncertainty.array, dtype=float)
    mask = np.zeros(ivar.shape, bool) if spectra.mask is None else np.asarray(spectra.mask, bool)
    weight = np.where(mask, 0.0, ivar)
    total = weight.sum(axis=0)
    flux = np.where(weight > 0, spectra.flux.value, 0.0)
    mean = (weight * flux).sum(axis=0) / np.where(total > 0, total, 1.0)
    meta = {k: v for k, v in spectra.meta.items() if k in ("header", "product")}
    return Spectrum(
        flux=mean * spectra.flux.unit,
        spectral_axis=spectra.spectral_axis,
        uncertainty=InverseVariance(total),
        mask=total == 0,
        meta=meta,
    )
