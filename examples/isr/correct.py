"""Correct an assembled image with master calibrations, and work out its variance.

The steps and their order: bias, variance from what was counted, dark scaled by exposure time, gain, flat.
Variances of the masters are propagated by CCDData's arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.nddata import CCDData, VarianceUncertainty
from astroscrappy import detect_cosmics
from ccdproc import flat_correct, gain_correct, subtract_bias, subtract_dark

from examples.isr.camera import Detector, number
from examples.isr.readout import amplifier_map

__all__ = [
    "apply_gain",
    "count_variance",
    "divide_by_flat",
    "exposure_time",
    "mask_cosmic_rays",
    "single_precision",
    "subtract_master_bias",
    "subtract_master_dark",
    "with_variance",
]


def exposure_time(header: Any, card: str = "EXPTIME") -> float:
    """Return the exposure time in seconds that a header states."""
    return number(card, header)


def count_variance(data: npt.NDArray[Any], gain: Any, noise: Any) -> npt.NDArray[np.float64]:
    """Return the variance in ADU² of counts in ADU.

    Parameters
    ----------
    data : numpy.ndarray
        Counts without bias, but with dark and sky, which were counted too.
    gain : float or numpy.ndarray
        Electrons per ADU.
    noise : float or numpy.ndarray
        Read noise in electrons.
    """
    variance: npt.NDArray[np.float64] = np.maximum(data, 0.0) / gain + (noise / gain) ** 2
    return variance


def with_variance(image: CCDData, detector: Detector) -> CCDData:
    """Return an image in ADU, bias subtracted, with the variance of Poisson's law and of the read noise.

    The variance of a bias that is there already is kept and added.
    """
    own = count_variance(
        image.data, amplifier_map(image, detector, "gain"), amplifier_map(image, detector, "read_noise")
    )
    if image.uncertainty is not None:
        own = own + image.uncertainty.represent_as(VarianceUncertainty).array
    result = image.copy()
    result.uncertainty = VarianceUncertainty(own)
    return result


def subtract_master_bias(image: CCDData, bias: CCDData) -> CCDData:
    """Return an image without the structure of the master bias."""
    plain = image.copy()
    if plain.uncertainty is None and bias.uncertainty is not None:
        plain.uncertainty = VarianceUncertainty(np.zeros(plain.shape))
    return _keep_header(subtract_bias(plain, bias), image)


def subtract_master_dark(image: CCDData, dark: CCDData, *, card: str = "EXPTIME") -> CCDData:
    """Return an image without dark current: the master dark, scaled by the ratio of exposure times."""
    times = (exposure_time(dark.header, card), exposure_time(image.header, card))
    if times[0] <= 0:
        raise ValueError(f"the dark has an exposure time of {times[0]} s, so it cannot be scaled")
    result = subtract_dark(
        image, dark, dark_exposure=times[0] * u.s, data_exposure=times[1] * u.s, scale=True
    )
    return _keep_header(result, image)


def apply_gain(image: CCDData, detector: Detector) -> CCDData:
    """Return an image in electrons: each amplifier's ADU times its gain."""
    gain = np.broadcast_to(amplifier_map(image, detector, "gain"), image.shape)
    result = gain_correct(image, CCDData(gain, unit=u.electron / u.adu))
    plain = CCDData(result.data, unit=u.electron, uncertainty=result.uncertainty, mask=result.mask)
    return _keep_header(plain, image)


def divide_by_flat(image: CCDData, flat: CCDData, *, minimum: float = 0.1) -> CCDData:
    """Return an image divided by a flat of level 1; pixels where the flat is below `minimum` are masked."""
    bad = ~(flat.data >= minimum)
    if flat.mask is not None:
        bad = bad | flat.mask
    usable = flat.copy()
    usable.data = np.where(bad, 1.0, flat.data)
    usable.mask = bad
    result = flat_correct(image, usable, norm_value=1.0)
    return _keep_header(result, image)


def mask_cosmic_rays(
    image: CCDData, *, sigma: float = 5.0, contrast: float = 5.0, noise: float = 5.0
) -> CCDData:
    """Return an image in electrons with pixels masked that cosmic rays hit; values are not changed.

    Parameters
    ----------
    image : CCDData
        Image with its sky.
    sigma, contrast : float, optional
        Thresholds of L.A.Cosmic (van Dokkum 2001, PASP 113, 1420). For stars sharper than two pixels
        `contrast` must be higher, or their cores are taken for cosmic rays.
    noise : float, optional
        Read noise in electrons.
    """
    found, _ = detect_cosmics(
        image.data.astype(np.float32),
        inmask=image.mask,
        sigclip=sigma,
        objlim=contrast,
        readnoise=noise,
        satlevel=np.inf,  # saturated pixels are masked already
    )
    result = image.copy()
    result.mask = found if image.mask is None else image.mask | found
    return result


def single_precision(image: CCDData) -> CCDData:
    """Return an image in float32: seven digits, more than a detector gives, in half the room."""
    variance = None
    if image.uncertainty is not None:
        array = image.uncertainty.represent_as(VarianceUncertainty).array
        variance = VarianceUncertainty(array.astype(np.float32))
    return CCDData(
        image.data.astype(np.float32),
        unit=image.unit,
        uncertainty=variance,
        mask=image.mask,
        wcs=image.wcs,
        meta=image.header,
    )


def _keep_header(result: CCDData, image: CCDData) -> CCDData:
    """Return a result with the image's header: what was done is the pipeline's to record, not the file's."""
    result.meta = image.header.copy()
    if result.wcs is None and image.wcs is not None:
        result.wcs = image.wcs
    return result
