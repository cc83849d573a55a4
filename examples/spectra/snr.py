"""Signal to noise of spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from specutils import Spectrum

__all__ = ["inverse_variance", "signal_to_noise"]

Array = npt.NDArray[Any]

_POWERS = {"ivar": 1, "var": -1, "std": -2}
"""Type of uncertainty → its power that is inverse variance."""


def inverse_variance(spectrum: Spectrum) -> Array:
    """Return the inverse variances of a spectrum in units of its flux, 0 where there are no data.

    Raises
    ------
    ValueError
        It has no uncertainty.
    """
    kind = spectrum.uncertainty
    if kind is None:
        raise ValueError("the spectrum has no uncertainty, so its noise is not known")
    power = _POWERS.get(kind.uncertainty_type)
    if power is None:
        raise ValueError(f"uncertainties of type {kind.uncertainty_type!r} are not understood")
    values = np.asarray(kind.array, dtype=float)
    if kind.unit is not None:
        # A standard deviation is in the flux's unit, its square in the square of that, and so on.
        values = values * kind.unit.to(spectrum.flux.unit ** (-2 / power))
    good = np.isfinite(values) & (values > 0) & np.isfinite(spectrum.flux.value)
    # (By `represent_as` pixels without data would be divided by 0.)
    return np.where(good, np.where(good, values, 1.0) ** power, 0.0)


def signal_to_noise(
    spectrum: Spectrum, *, statistic: str = "median", masked: bool = False, where: Array | None = None
) -> Array:
    """Return the signal to noise of a pixel, for each row of a spectrum.

    Parameters
    ----------
    spectrum : specutils.Spectrum
        One spectrum, or several as rows.
    statistic : str, optional
        ``median`` or ``mean`` over pixels that have data.
    masked : bool, optional
        Whether to leave out masked pixels too. SDSS's own figures count them.
    where : numpy.ndarray, optional
        Pixels to take, bool.

    Returns
    -------
    numpy.ndarray
        Of the shape of the flux without its last axis; NaN where no pixel is left.
    """
    if statistic not in ("median", "mean"):
        raise ValueError(f"statistic must be 'median' or 'mean', got {statistic!r}")
    ivar = inverse_variance(spectrum)
    use = ivar > 0
    if masked and spectrum.mask is not None:
        use &= ~np.asarray(spectrum.mask, bool)
    if where is not None:
        use &= where
    ratio = np.where(use, np.where(use, spectrum.flux.value, 0.0) * np.sqrt(ivar), np.nan)
    of_rows = np.atleast_2d(ratio)
    chosen = np.median if statistic == "median" else np.mean
    # (NumPy's nanmedian warns of rows without pixels.)
    found = [float(chosen(row[np.isfinite(row)])) if np.isfinite(row).any() else np.nan for row in of_rows]
    return np.array(found).reshape(ratio.shape[:-1])
