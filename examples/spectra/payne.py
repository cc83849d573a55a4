"""A small neural network for each pixel that gives normalised spectra from labels, and a fit with it.

After Ting et al. 2019 (ApJ 879, 69), "The Payne", in its early form for APOGEE: five hidden units for each
pixel. y = w1 · sigmoid(w0 · s + b0) + b1, s = (label - x_min) / (x_max - x_min) - 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

__all__ = ["Network", "NetworkFit", "fit_spectrum"]

Array = npt.NDArray[Any]

_C = 299792.458
"""Speed of light, km/s."""
_INSIDE = 0.45
"""Fits begin so far from the middle of a label's range at most, of the range."""


@attrs.frozen(eq=False)
class Network:
    """Normalised fluxes as a function of labels."""

    w0: Array
    """Shape (pixels, hidden, labels)."""
    b0: Array
    """Shape (pixels, hidden)."""
    w1: Array
    """Shape (pixels, hidden)."""
    b1: Array
    """Shape (pixels,)."""
    low: Array
    """Least label of the training."""
    high: Array
    """Greatest."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Network:
        """Make one of arrays by the names of the published file: w_array_0, b_array_0, x_min and so on."""
        names = ("w_array_0", "b_array_0", "w_array_1", "b_array_1", "x_min", "x_max")
        return cls(*(np.asarray(arrays[name], dtype=float) for name in names))

    def flux(self, labels: Array) -> Array:
        """Return fluxes, shape (pixels,), for labels of shape (labels,)."""
        return self._with_slopes(labels)[0]

    def slopes(self, labels: Array) -> Array:
        """Return how fluxes change with labels, shape (pixels, labels)."""
        return self._with_slopes(labels)[1]

    def _with_slopes(self, labels: Array) -> tuple[Array, Array]:
        width = self.high - self.low
        scaled = (np.asarray(labels, dtype=float) - self.low) / width - 0.5
        hidden = 1.0 / (1.0 + np.exp(-(self.w0 @ scaled + self.b0)))
        flux = (self.w1 * hidden).sum(axis=1) + self.b1
        slopes = np.einsum("ph,phl->pl", self.w1 * hidden * (1 - hidden), self.w0) / width
        return flux, slopes


@attrs.frozen(eq=False)
class NetworkFit:
    """What a fit found."""

    labels: Array
    velocity: float
    """Radial velocity of the spectrum, km/s."""
    errors: Array
    """Of labels and velocity, from noise alone."""
    chi2: float
    n_pixels: int
    flux: Array
    """The best fit."""


def fit_spectrum(
    network: Network,
    wavelength: Array,
    flux: Array,
    error: Array,
    *,
    mask: Array | None = None,
    initial: Sequence[float] = (),
) -> NetworkFit:
    """Fit labels and a radial velocity to one normalised spectrum.

    Parameters
    ----------
    network : Network
        The model, on the same pixels.
    wavelength : numpy.ndarray
        Of the pixels.
    flux, error : numpy.ndarray
        Normalised flux and its standard deviation.
    mask : numpy.ndarray, optional
        True for pixels to leave out.
    initial : sequence of float, optional
        The first labels from where the fit begins; the middle of their ranges unless given.

    Notes
    -----
    Labels are kept within those of the training, velocities within 30 km/s.
    """
    from scipy.optimize import least_squares

    use = np.isfinite(flux) & np.isfinite(error) & (error > 0)
    if mask is not None:
        use &= ~np.asarray(mask, bool)
    span = network.high - network.low

    def shifted(model: Array, velocity: float) -> Array:
        return np.interp(wavelength, wavelength * (1 + velocity / _C), model)

    def residuals(x: Array) -> Array:
        model = network.flux(network.low + (x[:-1] + 0.5) * span)
        off: Array = ((shifted(model, x[-1]) - flux) / np.where(use, error, 1.0))[use]
        return off

    def jacobian(x: Array) -> Array:
        model, slopes = network._with_slopes(network.low + (x[:-1] + 0.5) * span)
        columns = [shifted(s, x[-1]) for s in (slopes * span).T]
        step = 0.05
        columns.append((shifted(model, x[-1] + step) - shifted(model, x[-1] - step)) / (2 * step))
        return (np.transpose(columns) / np.where(use, error, 1.0)[:, np.newaxis])[use]

    n = len(network.low)
    start = np.zeros(n + 1)
    given = np.asarray(initial, dtype=float)
    k = len(given)
    start[:k] = np.clip((given - network.low[:k]) / span[:k] - 0.5, -_INSIDE, _INSIDE)
    limits = np.r_[np.full(n, 0.5), 30.0]
    found = least_squares(
        residuals,
        start,
        jac=jacobian,
        bounds=(-limits, limits),
        x_scale=np.r_[np.full(n, 0.1), 1.0],
    )
    covariance = np.linalg.pinv(found.jac.T @ found.jac, hermitian=True)
    labels = network.low + (found.x[:-1] + 0.5) * span
    return NetworkFit(
        labels,
        float(found.x[-1]),
        np.sqrt(np.diag(covariance)) * np.r_[span, 1.0],
        float(2 * found.cost),
        int(use.sum()),
        shifted(network.flux(labels), float(found.x[-1])),
    )
