"""A model of stellar spectra learnt from stars with known labels: quadratic in labels, pixel by pixel.

After Ness et al. 2015 (ApJ 808, 16), "The Cannon". Flux of a pixel = theta · (1, x, x x), with x the labels
shifted and scaled, and a scatter of its own that the model does not explain.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

__all__ = ["QuadraticModel", "fit_labels", "train"]

Array = npt.NDArray[Any]


@attrs.frozen(eq=False)
class QuadraticModel:
    """Spectra as a function of labels."""

    theta: Array
    """Coefficients, shape (pixels, terms)."""
    scatter: Array
    """Standard deviation of stars around the model beyond their noise, shape (pixels,)."""
    pivots: Array
    """Labels that are x = 0."""
    scales: Array
    """How much of a label is x = 1."""

    def flux(self, labels: Array) -> Array:
        """Return fluxes, shape (stars, pixels), for labels of shape (stars, labels)."""
        flux: Array = _terms(self._scaled(labels)) @ self.theta.T
        return flux

    def slopes(self, labels: Array) -> Array:
        """Return how fluxes change with scaled labels, shape (stars, pixels, labels)."""
        x = self._scaled(labels)
        n = x.shape[1]
        rows, columns = np.triu_indices(n)
        change = np.zeros((len(x), self.theta.shape[1], n))
        change[:, 1 : n + 1] = np.eye(n)
        for term, (i, j) in enumerate(zip(rows, columns, strict=True), n + 1):
            change[:, term, i] += x[:, j]
            change[:, term, j] += x[:, i]
        slopes: Array = np.einsum("pt,stl->spl", self.theta, change)
        return slopes

    def _scaled(self, labels: Array) -> Array:
        return (np.atleast_2d(np.asarray(labels, dtype=float)) - self.pivots) / self.scales


def train(labels: Array, flux: Array, ivar: Array, *, iterations: int = 5) -> QuadraticModel:
    """Learn a model by weighted least squares; weights and scatter are found in turn.

    Parameters
    ----------
    labels : numpy.ndarray
        Known labels, shape (stars, labels).
    flux, ivar : numpy.ndarray
        Normalised fluxes and inverse variances, shape (stars, pixels).
    iterations : int, optional
        How often the scatter is found anew.
    """
    labels = np.asarray(labels, dtype=float)
    low, pivots, high = np.percentile(labels, [2.5, 50.0, 97.5], axis=0)
    scales = np.where(high > low, high - low, 1.0)
    design = _terms((labels - pivots) / scales)
    k = design.shape[1]
    products = (design[:, :, np.newaxis] * design[:, np.newaxis, :]).reshape(len(design), k * k)
    good = (ivar > 0) & np.isfinite(flux)
    noise = np.where(good, 1.0 / np.where(good, ivar, 1.0), np.inf)
    y = np.where(good, flux, 0.0)
    scatter = np.zeros(flux.shape[1])
    for _ in range(iterations):
        weight = np.where(good, 1.0 / (noise + scatter**2), 0.0).T
        normal = (weight @ products).reshape(-1, k, k)
        inverse = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
        theta = np.einsum("pij,pj->pi", inverse, (weight * y.T) @ design)
        square = np.where(good, (y - design @ theta.T) ** 2 - np.where(good, noise, 0.0), 0.0)
        # What residuals scatter more than their noise; the most precise stars tell it best.
        total = np.maximum(weight.sum(axis=1), np.finfo(float).tiny)
        scatter = np.sqrt(np.maximum((weight.T * square).sum(axis=0) / total, 0.0))
    return QuadraticModel(theta, scatter, pivots, scales)


def fit_labels(
    model: QuadraticModel, flux: Array, ivar: Array, *, iterations: int = 30
) -> tuple[Array, Array]:
    """Return labels of stars, all at once, by the method of Levenberg and Marquardt.

    Parameters
    ----------
    model : QuadraticModel
        The model.
    flux, ivar : numpy.ndarray
        Shape (stars, pixels).
    iterations : int, optional
        Steps at most.

    Returns
    -------
    labels : numpy.ndarray
        Shape (stars, labels).
    covariance : numpy.ndarray
        Shape (stars, labels, labels).
    """
    good = (ivar > 0) & np.isfinite(flux)
    noise = 1.0 / np.where(good, ivar, 1.0) + model.scatter**2
    weight = np.where(good, 1.0 / noise, 0.0)
    y = np.where(good, flux, 0.0)
    labels = np.tile(model.pivots, (len(y), 1))
    damping = np.full(len(y), 1e-3)
    best = (weight * (y - model.flux(labels)) ** 2).sum(axis=1)
    n = labels.shape[1]
    for _ in range(iterations):
        normal, gradient = _normal(model, labels, y, weight)
        damped = normal + damping[:, np.newaxis, np.newaxis] * (normal * np.eye(n) + 1e-12 * np.eye(n))
        step = np.linalg.solve(damped, gradient[..., np.newaxis])[..., 0]
        trial = labels + step * model.scales
        chi2 = (weight * (y - model.flux(trial)) ** 2).sum(axis=1)
        better = chi2 < best
        labels = np.where(better[:, np.newaxis], trial, labels)
        damping = np.where(better, damping / 10, damping * 10)
        if not (better & (best - chi2 > 1e-9 * best)).any() and (damping > 1e3).all():
            break
        best = np.where(better, chi2, best)
    normal, _ = _normal(model, labels, y, weight)
    return labels, np.linalg.pinv(normal, hermitian=True) * np.outer(model.scales, model.scales)


def _normal(model: QuadraticModel, labels: Array, y: Array, weight: Array) -> tuple[Array, Array]:
    slopes = model.slopes(labels)
    weighted = slopes * weight[..., np.newaxis]
    residual = y - model.flux(labels)
    return np.einsum("spi,spj->sij", weighted, slopes), np.einsum("spi,sp->si", weighted, residual)


def _terms(x: Array) -> Array:
    """Return 1, labels, and all products of two, shape (stars, terms)."""
    rows, columns = np.triu_indices(x.shape[1])
    return np.hstack([np.ones((len(x), 1)), x, x[:, rows] * x[:, columns]])
