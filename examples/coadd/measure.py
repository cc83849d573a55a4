"""Sky, stars and fluxes, on images of any kind."""

from __future__ import annotations

import warnings
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.stats import SigmaClip, sigma_clipped_stats
from astropy.table import Table
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture, aperture_photometry
from photutils.background import Background2D, MedianBackground
from photutils.detection import DAOStarFinder
from photutils.psf import fit_fwhm
from photutils.utils.exceptions import NoDetectionsWarning
from scipy.ndimage import binary_dilation, gaussian_filter

__all__ = [
    "Sky",
    "aperture_fluxes",
    "box_noise",
    "centroids",
    "find_stars",
    "fit_sky",
    "star_width",
    "variance_of",
]

Array = npt.NDArray[Any]


@attrs.frozen(eq=False)
class Sky:
    """The smooth background of an image."""

    level: Array
    """At each pixel, in the image's unit."""
    noise: Array
    """Standard deviation of the sky at each pixel."""


def fit_sky(image: CCDData, *, box: int = 64, fwhm: float = 3.0) -> Sky:
    """Return the sky of an image: the median in boxes, smoothed over three boxes.

    It is done twice, the second time without the pixels that are above the first sky after smoothing:
    stars and their wings would make the sky too bright. What is left out must be well above the noise,
    or the noise would be cut on one side and the sky be too dark.

    Parameters
    ----------
    image : CCDData
        Masked pixels are not used.
    box : int, optional
        Width of the boxes in pixels; several times the size of a star's halo.
    fwhm : float, optional
        Width of a star, pixels.
    """
    data = np.asarray(image.data, dtype=np.float32)
    mask = np.zeros(image.shape, bool) if image.mask is None else image.mask
    first = _boxes(data, mask, box)
    above = np.where(mask, 0.0, (data - first.background) / max(float(first.background_rms_median), 1e-30))
    sigma = fwhm / np.sqrt(8 * np.log(2))
    # Smoothing by a Gaussian divides white noise by 2 sqrt(pi) times its width.
    stars = gaussian_filter(above, sigma) * (2 * np.sqrt(np.pi) * sigma) > 4.0
    found = _boxes(data, mask | binary_dilation(stars, iterations=max(round(fwhm), 1)), box)
    return Sky(found.background, found.background_rms)


def _boxes(data: Array, mask: Array, box: int) -> Background2D:
    return Background2D(
        data,
        box,
        mask=mask,
        exclude_percentile=90.0,
        filter_size=3,
        sigma_clip=SigmaClip(sigma=3.0),
        bkg_estimator=MedianBackground(),
    )


def variance_of(image: CCDData) -> Array:
    """Return the variance of each pixel.

    Raises
    ------
    ValueError
        The image has no uncertainty.
    """
    if image.uncertainty is None:
        raise ValueError("the image has no variance plane")
    return np.asarray(image.uncertainty.represent_as(VarianceUncertainty).array, dtype=float)


def find_stars(
    image: CCDData, *, fwhm: float, threshold: float, noise: Any = None, roundness: float = 1.0
) -> Table:
    """Return stars on an image whose sky is 0.

    Parameters
    ----------
    image : CCDData
        Masked pixels count as 0.
    fwhm : float
        Width of a star, pixels.
    threshold : float
        How many times the noise a star's peak must be above the sky, after smoothing by its shape
        (Stetson 1987, PASP 99, 191).
    noise : float or numpy.ndarray, optional
        Standard deviation; from the variance plane unless given.
    roundness : float, optional
        How much stars may differ from round, 0 for not at all; trailed stars need 2 or 3.

    Returns
    -------
    astropy.table.Table
        Columns x, y (pixels from 0) and peak, brightest first. Nothing may be found.
    """
    mask = np.zeros(image.shape, bool) if image.mask is None else image.mask
    noise = np.sqrt(variance_of(image)) if noise is None else np.broadcast_to(noise, image.shape)
    usable = ~mask & np.isfinite(image.data) & (noise > 0)
    significance = np.where(usable, image.data, 0.0) / np.where(usable, noise, 1.0)
    finder = DAOStarFinder(
        threshold=threshold, fwhm=fwhm, sharpness_range=(0.2, 1.0), roundness_range=(-roundness, roundness)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        found = finder(significance)
    stars = Table(names=("x", "y", "peak"), dtype=(float, float, float))
    if found is None or not usable.any():
        return stars
    stars = Table({"x": found["x_centroid"], "y": found["y_centroid"], "peak": found["peak"]})
    column, row = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    stars = stars[usable[row, column]]
    stars.sort("peak", reverse=True)
    return stars


def centroids(image: CCDData, x: Array, y: Array, *, fwhm: float) -> tuple[Array, Array]:
    """Return centres of stars, from positions near them, by weighting with a Gaussian that follows the star.

    This is SExtractor's windowed position, nearly as precise as a fit of the star's shape. A position
    that moves by more than `fwhm`, or has no light around it, stays what it was.

    Parameters
    ----------
    image : CCDData
        Image whose sky is 0. Masked pixels count as 0.
    x, y : numpy.ndarray
        Positions near the stars, pixels; shape (n,).
    fwhm : float
        Width of a star, pixels.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    half = int(np.ceil(2 * fwhm))
    light = np.asarray(image.data, dtype=float)
    dead = ~np.isfinite(light) if image.mask is None else image.mask | ~np.isfinite(light)
    light = np.pad(np.where(dead, 0.0, light), half)
    column = np.clip(np.rint(x), 0, image.shape[1] - 1).astype(int)
    row = np.clip(np.rint(y), 0, image.shape[0] - 1).astype(int)
    step = np.arange(-half, half + 1)
    rows, columns = (
        (row[:, np.newaxis] + step)[:, :, np.newaxis],
        (column[:, np.newaxis] + step)[:, np.newaxis],
    )
    stamps = light[rows + half, columns + half]
    new_x, new_y = x.copy(), y.copy()
    sigma = fwhm / np.sqrt(8 * np.log(2))
    for _ in range(12):
        dx, dy = columns - new_x[:, np.newaxis, np.newaxis], rows - new_y[:, np.newaxis, np.newaxis]
        square = dx**2 + dy**2
        weighted = stamps * np.exp(-square / (2 * sigma**2)) * (square <= half**2)
        total = weighted.sum(axis=(1, 2))
        safe = np.where(total > 0, total, np.inf)
        # Twice: a star as wide as the weight gives half of how far it is off.
        new_x += 2 * (weighted * dx).sum(axis=(1, 2)) / safe
        new_y += 2 * (weighted * dy).sum(axis=(1, 2)) / safe
    stray = ~(np.hypot(new_x - x, new_y - y) <= fwhm)
    return np.where(stray, x, new_x), np.where(stray, y, new_y)


def aperture_fluxes(
    image: CCDData, x: Array, y: Array, *, radius: float, annulus: tuple[float, float] | None = None
) -> Table:
    """Return fluxes in circular apertures.

    Parameters
    ----------
    image : CCDData
        Image with variance.
    x, y : numpy.ndarray
        Centres, pixels. Apertures may leave the image.
    radius : float
        Radius of the apertures, pixels.
    annulus : tuple of float, optional
        Inner and outer radius of a ring whose clipped median is the sky; the sky is 0 unless given.

    Returns
    -------
    astropy.table.Table
        Columns flux, flux_err (in the image's unit, summed over pixels), peak, and bad: the fraction
        of the aperture that is masked or outside. Masked pixels count with their values.
    """
    columns = {"flux": float, "flux_err": float, "peak": float, "bad": float}
    if not len(x):
        return Table(names=list(columns), dtype=list(columns.values()))
    positions = np.transpose([x, y])
    apertures = CircularAperture(positions, radius)
    data = np.asarray(image.data, dtype=float)
    mask = np.zeros(image.shape, bool) if image.mask is None else image.mask
    variance = variance_of(image)
    dead = ~(np.isfinite(data) & np.isfinite(variance))
    data, variance = np.where(dead, 0.0, data), np.where(dead, 0.0, variance)
    summed = aperture_photometry(data, apertures, error=np.sqrt(variance))
    good = aperture_photometry((~(mask | dead)).astype(float), apertures)["aperture_sum"]
    flux, variance_sum = np.asarray(summed["aperture_sum"]), np.asarray(summed["aperture_sum_err"]) ** 2
    area = np.pi * radius**2
    if annulus is not None:
        ring = CircularAnnulus(positions, *annulus)
        around = ApertureStats(data, ring, mask=mask | dead, sigma_clip=SigmaClip(sigma=3.0))
        level, spread = np.nan_to_num(around.median), np.nan_to_num(around.std)
        pixels = np.maximum(np.nan_to_num(around.sum_aper_area.value), 1.0)
        flux = flux - level * area
        # A median is less certain than a mean by √(π/2).
        variance_sum = variance_sum + (area * spread) ** 2 * (np.pi / 2) / pixels
    peaks = np.array(ApertureStats(data, apertures).max, ndmin=1)
    return Table(
        {
            "flux": flux,
            "flux_err": np.sqrt(variance_sum),
            "peak": np.nan_to_num(peaks),
            "bad": np.clip(1.0 - np.asarray(good) / area, 0.0, 1.0).round(6),
        }
    )


def star_width(image: CCDData, x: Array, y: Array, *, guess: float, most: int = 12) -> float:
    """Return the median width at half maximum, pixels, of the first stars by a Gaussian; NaN without any.

    Parameters
    ----------
    image : CCDData
        Image whose sky is 0.
    x, y : numpy.ndarray
        Stars, the best first.
    guess : float
        Width to begin with, pixels.
    most : int, optional
        How many stars to use.
    """
    ny, nx = image.shape
    half = 2 * round(guess) + 1
    inner = (x > half) & (x < nx - 1 - half) & (y > half) & (y < ny - 1 - half)
    positions = np.transpose([x[inner][:most], y[inner][:most]])
    if not len(positions):
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that fails is one of many
        widths = fit_fwhm(
            np.asarray(image.data, dtype=float),
            xypos=positions,
            fwhm=guess,
            fit_shape=2 * half + 1,
            mask=image.mask,
        )
    return float(np.nanmedian(widths))


def box_noise(data: Array, *, box: int = 40, usable: Array | None = None) -> float:
    """Return the noise of the emptiest part of an image: the least clipped deviation in boxes of pixels.

    Stars too faint to be seen make the whole sky of a deep image rougher than its noise; a box without
    them shows the noise alone.

    Parameters
    ----------
    data : numpy.ndarray
        The image.
    box : int, optional
        Width of the boxes.
    usable : numpy.ndarray, optional
        Where it counts, bool; boxes that are not usable as a whole are left out.
    """
    ny, nx = (n // box for n in data.shape)
    blocks = _blocks(np.asarray(data, dtype=float), box, ny, nx)
    keep = np.isfinite(blocks).all(axis=1)
    if usable is not None:
        keep &= _blocks(usable, box, ny, nx).all(axis=1)
    if not keep.any():
        raise ValueError(f"no box of {box} pixels is usable as a whole")
    return float(min(sigma_clipped_stats(block)[2] for block in blocks[keep]))


def _blocks(array: Array, box: int, ny: int, nx: int) -> Array:
    cut = array[: ny * box, : nx * box].reshape(ny, box, nx, box)
    return cut.transpose(0, 2, 1, 3).reshape(ny * nx, box * box)
