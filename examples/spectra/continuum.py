r"""Continua of spectra: smooth curves fitted by weighted least squares, for many spectra at once.

A continuum is linear in its parameters: flux ≈ Σ\ :sub:`k` c\ :sub:`k` f\ :sub:`k`\ (wavelength), with
f Chebyshev polynomials, or sines and cosines of multiples of one frequency, or a constant. Each region of
wavelengths (each detector) is fitted by itself, with its own parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.nddata import InverseVariance
from specutils import Spectrum

from examples.spectra.snr import inverse_variance

__all__ = [
    "APOGEE_CHIPS",
    "Basis",
    "chebyshev",
    "fit_continuum",
    "normalise",
    "scalar_continuum",
    "sines_cosines",
]

Array = npt.NDArray[Any]
Regions = Sequence[tuple[float, float]]
Basis = Callable[[Array], Array]
"""Wavelengths of a region, shape (n,) → functions at them, shape (n, k)."""

APOGEE_CHIPS: Regions = ((15140.0, 15812.0), (15857.0, 16437.0), (16472.0, 16960.0))
"""Wavelengths of APOGEE's three detectors, Å in vacuum."""


def chebyshev(order: int) -> Basis:
    """Return the Chebyshev polynomials up to an order, on the region scaled to [-1, 1]."""

    def functions(wavelength: Array) -> Array:
        low, high = wavelength.min(), wavelength.max()
        x = (2 * wavelength - low - high) / max(high - low, np.finfo(float).tiny)
        return np.polynomial.chebyshev.chebvander(x, order)

    return functions


def sines_cosines(order: int, length: float) -> Basis:
    """Return a constant, and sines and cosines of ``2π k wavelength / length`` for k up to an order.

    Parameters
    ----------
    order : int
        Number of frequencies.
    length : float
        Period of the lowest, in the unit of wavelength. Best about twice a region or more: a shorter
        one follows lines, a much longer one is hard to tell from the constant.
    """

    def functions(wavelength: Array) -> Array:
        phase = 2 * np.pi * (wavelength - wavelength.mean()) / length
        waves = [f(k * phase) for k in range(1, order + 1) for f in (np.sin, np.cos)]
        return np.transpose([np.ones_like(wavelength), *waves])

    return functions


def fit_continuum(
    wavelength: Array,
    flux: Array,
    ivar: Array,
    basis: Basis,
    *,
    regions: Regions = (),
    mask: Array | None = None,
) -> Array:
    """Return continua by least squares, weighted with inverse variance.

    Parameters
    ----------
    wavelength : numpy.ndarray
        Shape (n,).
    flux, ivar : numpy.ndarray
        Shape (n,), or (m, n) for m spectra. Where `ivar` is not above 0, flux is not looked at.
    basis : Basis
        What continua are made of.
    regions : sequence of (float, float), optional
        Wavelengths from and to, each fitted by itself; everything is one region unless given.
    mask : numpy.ndarray, optional
        True for pixels to leave out of the fit: lines, bad pixels. Shape of `flux` or (n,).

    Returns
    -------
    numpy.ndarray
        Shape of `flux`; NaN outside of all regions, and in a region where fewer pixels can be used
        than there are parameters.
    """
    wavelength = np.asarray(wavelength, dtype=float)
    rows = np.atleast_2d(np.asarray(flux, dtype=float))
    weight = np.atleast_2d(_weights(np.asarray(flux), np.asarray(ivar, dtype=float), mask))
    found = np.full(rows.shape, np.nan)
    for inside in _inside(wavelength, regions):
        design = basis(wavelength[inside])
        w = weight[:, inside]
        y = np.where(w > 0, rows[:, inside], 0.0)
        k = design.shape[1]
        # All spectra share the functions, so their products are made once.
        products = (design[:, :, np.newaxis] * design[:, np.newaxis, :]).reshape(len(design), k * k)
        # Weights of one spectrum are scaled to 1, so that units do not matter to the pseudoinverse.
        w = w / np.maximum(w.max(axis=1, keepdims=True), np.finfo(float).tiny)
        normal = (w @ products).reshape(-1, k, k)
        inverse = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
        parameters = np.einsum("sij,sj->si", inverse, (w * y) @ design)
        found[:, inside] = np.where((w > 0).sum(axis=1, keepdims=True) >= k, parameters @ design.T, np.nan)
    return found.reshape(np.shape(flux))


def scalar_continuum(
    wavelength: Array,
    flux: Array,
    ivar: Array,
    *,
    statistic: str = "median",
    regions: Regions = (),
    mask: Array | None = None,
) -> Array:
    """Return one number for each spectrum and region: the median or mean of its usable pixels.

    Parameters and result are as those of `fit_continuum`.
    """
    if statistic not in ("median", "mean"):
        raise ValueError(f"statistic must be 'median' or 'mean', got {statistic!r}")
    chosen = np.median if statistic == "median" else np.mean
    rows = np.atleast_2d(np.asarray(flux, dtype=float))
    use = np.atleast_2d(_weights(np.asarray(flux), np.asarray(ivar, dtype=float), mask)) > 0
    found = np.full(rows.shape, np.nan)
    for inside in _inside(np.asarray(wavelength, dtype=float), regions):
        for i in range(len(rows)):
            good = rows[i, inside & use[i]]
            if good.size:
                found[i, inside] = chosen(good)
    return found.reshape(np.shape(flux))


def normalise(spectrum: Spectrum, continuum: Array) -> Spectrum:
    """Return a spectrum over its continuum, which is in units of its flux.

    Pixels where the continuum is not above 0 are masked and have no weight; their flux is 0.
    """
    good = np.isfinite(continuum) & (continuum > 0)
    divisor = np.where(good, continuum, 1.0)
    ivar = np.where(good, inverse_variance(spectrum) * divisor**2, 0.0)
    mask = ~good if spectrum.mask is None else np.asarray(spectrum.mask, bool) | ~good
    flux = np.where(good & np.isfinite(spectrum.flux.value), spectrum.flux.value, 0.0) / divisor
    return Spectrum(
        flux=u.Quantity(flux, u.dimensionless_unscaled),
        spectral_axis=spectrum.spectral_axis,
        spectral_axis_index=flux.ndim - 1,
        uncertainty=InverseVariance(ivar),
        mask=mask,
        meta={k: v for k, v in spectrum.meta.items() if k not in ("original_wcs", "original_data")},
    )


def _weights(flux: Array, ivar: Array, mask: Array | None) -> Array:
    good = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
    if mask is not None:
        good &= ~np.asarray(mask, bool)
    return np.where(good, ivar, 0.0)


def _inside(wavelength: Array, regions: Regions) -> list[Array]:
    if not regions:
        return [np.ones(wavelength.shape, bool)]
    found = [(wavelength >= low) & (wavelength <= high) for low, high in regions]
    return [inside for inside in found if inside.any()]
