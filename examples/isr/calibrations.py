"""Master calibrations: many frames → one, without the stray pixels of any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.stats import mad_std
from ccdproc import combine

from examples.isr.camera import Camera, Detector
from examples.isr.correct import (
    apply_gain,
    count_variance,
    exposure_time,
    subtract_master_bias,
    subtract_master_dark,
)
from examples.isr.readout import amplifier_map, assemble

__all__ = ["combine_frames", "master_bias", "master_dark", "master_flat", "saturated_fraction"]


def combine_frames(
    frames: Sequence[CCDData],
    *,
    deviation: npt.NDArray[Any] | None = None,
    scale: npt.NDArray[Any] | None = None,
    sigma: float = 5.0,
) -> CCDData:
    """Return the mean of frames, pixel by pixel, without values far from the median.

    Parameters
    ----------
    frames : sequence of CCDData
        Of one shape and unit.
    deviation : numpy.ndarray, optional
        Standard deviation to expect at each pixel, from gain and read noise. A handful of frames says
        too little of a pixel's own: two of five integers that happen to be equal would make the others
        outliers. It is never taken to be less than what is typical of the frames.
    scale : numpy.ndarray, optional
        Factor for the values of each frame.
    sigma : float, optional
        Values this many deviations from the median are left out.

    Returns
    -------
    CCDData
        With the variance of the mean. Masked, and 0, is what is masked in every frame.
    """
    if not frames:
        raise ValueError("there are no frames to combine")
    factors = np.ones(len(frames)) if scale is None else np.asarray(scale, dtype=float)
    spread = mad_std([f.data * k for f, k in zip(frames, factors, strict=True)], axis=0)
    expected = np.maximum(np.median(spread), 0.0 if deviation is None else deviation)
    # ccdproc masks what deviates by more than so many deviations, so none may be exactly 0.
    expected = np.maximum(np.broadcast_to(expected, frames[0].shape), np.finfo(float).tiny)
    result = combine(
        list(frames),
        method="average",
        scale=None if scale is None else factors,
        sigma_clip=True,
        sigma_clip_low_thresh=sigma,
        sigma_clip_high_thresh=sigma,
        sigma_clip_func=np.ma.median,
        sigma_clip_dev_func=lambda _data, axis=None: expected,  # noqa: ARG005 - the name that ccdproc calls it by
    )
    mask = np.zeros(result.shape, bool) if result.mask is None else np.array(result.mask)
    error = np.where(mask, 0.0, np.nan_to_num(np.asarray(result.uncertainty.array, dtype=float)))
    return CCDData(
        np.where(mask, 0.0, np.asarray(result.data, dtype=float)),
        unit=frames[0].unit,
        uncertainty=VarianceUncertainty(error**2),
        mask=mask,
        meta=_shared_header(frames),
    )


def master_bias(
    raws: Sequence[CCDData], detector: Detector, *, median: bool = True, sigma: float = 5.0
) -> CCDData:
    """Return the master bias of a detector in ADU: what is left of biases after overscan."""
    frames = [assemble(raw, detector, median=median) for raw in raws]
    noise = amplifier_map(frames[0], detector, "read_noise") / amplifier_map(frames[0], detector, "gain")
    return combine_frames(frames, deviation=noise, sigma=sigma)


def master_dark(
    raws: Sequence[CCDData], camera: Camera, detector: Detector, bias: CCDData | None, *, sigma: float = 5.0
) -> CCDData:
    """Return the master dark of a detector in ADU, with the exposure time of the first of its frames."""
    frames = [_debiased(raw, detector, bias) for raw in raws]
    times = np.array([exposure_time(f.header, camera.exposure_time) for f in frames])
    if not (times > 0).all():
        raise ValueError(f"darks must have exposure times above 0, got {times.tolist()} s")
    result = combine_frames(
        frames, deviation=_deviation(frames, detector), scale=times[0] / times, sigma=sigma
    )
    result.header[camera.exposure_time] = times[0]
    return result


def master_flat(
    raws: Sequence[CCDData],
    camera: Camera,
    detector: Detector,
    bias: CCDData | None,
    dark: CCDData | None,
    *,
    electrons: bool = True,
    sigma: float = 5.0,
) -> CCDData:
    """Return the master flat of a detector and filter, without unit, of median 1.

    Parameters
    ----------
    raws : sequence of CCDData
        Flats that are not saturated, see `saturated_fraction`. Lamps drift and exposure times differ, so
        all are brought to the mean of their levels.
    camera, detector : Camera, Detector
        Their camera and detector.
    bias, dark : CCDData or None
        Master calibrations; None for a camera that needs none.
    electrons : bool, optional
        Whether to divide out the amplifiers' gains, so that what is left is sensitivity alone. It must
        be used in the same way on what is flat-fielded.

    Returns
    -------
    CCDData
        Its header has FLATLEV, the median level before it was brought to 1.
    """
    frames = []
    for raw in raws:
        frame = _debiased(raw, detector, bias)
        if dark is not None:
            frame = subtract_master_dark(frame, dark, card=camera.exposure_time)
        frames.append(frame)
    deviation = _deviation(frames, detector)
    if electrons:
        deviation = deviation * amplifier_map(frames[0], detector, "gain")
        frames = [apply_gain(f, detector) for f in frames]
    levels = np.array([_level(f) for f in frames])
    if not (levels > 0).all():
        raise ValueError(f"flats must have levels above 0, got {levels.tolist()}")
    result = combine_frames(frames, deviation=deviation, scale=levels.mean() / levels, sigma=sigma)
    level = _level(result)
    flat = CCDData(
        result.data / level,
        unit=u.dimensionless_unscaled,
        uncertainty=VarianceUncertainty(result.uncertainty.array / level**2),
        mask=result.mask,
        meta=result.header,
    )
    flat.header["FLATLEV"] = (level, f"median level in {frames[0].unit} that is 1 here")
    flat.header["FLATUNIT"] = (str(frames[0].unit), "unit of what is to be divided by it")
    return flat


def saturated_fraction(raw: CCDData, detector: Detector) -> float:
    """Return the fraction of a raw frame's light-sensitive pixels that are saturated."""
    return float(np.mean(assemble(raw, detector, overscan=False).mask))


def _debiased(raw: CCDData, detector: Detector, bias: CCDData | None) -> CCDData:
    frame = assemble(raw, detector)
    if bias is None:
        return frame
    # The bias' own variance is left out: it is common to all frames, and the mean's is taken from them.
    plain = bias.copy()
    plain.uncertainty = None
    return subtract_master_bias(frame, plain)


def _deviation(frames: Sequence[CCDData], detector: Detector) -> npt.NDArray[np.float64]:
    level = np.median([f.data for f in frames], axis=0)
    gain, noise = (amplifier_map(frames[0], detector, name) for name in ("gain", "read_noise"))
    return np.sqrt(count_variance(level, gain, noise))


def _level(frame: CCDData) -> float:
    good = frame.data if frame.mask is None else frame.data[~frame.mask]
    return float(np.median(good)) if good.size else 0.0


def _shared_header(frames: Sequence[CCDData]) -> fits.Header:
    """Return the cards that all frames have alike, and the number of frames."""
    first, *others = (f.header for f in frames)
    shared = fits.Header()
    for card in fits.Header(first).cards:
        blank = card.keyword in ("", "COMMENT", "HISTORY")
        if (
            not blank
            and card.keyword not in shared
            and all(o.get(card.keyword) == card.value for o in others)
        ):
            shared.append(card)
    shared["NCOMBINE"] = (len(frames), "number of frames combined")
    return shared
