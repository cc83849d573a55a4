"""From a raw frame to one image: overscan off, amplifiers side by side, saturated pixels masked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.nddata import CCDData
from ccdproc import subtract_overscan

from examples.isr.camera import Detector, number, section

__all__ = ["amplifier_map", "assemble", "subtract_row_overscan"]


def subtract_row_overscan(data: CCDData, overscan: npt.NDArray[Any], *, median: bool = True) -> CCDData:
    """Subtract from each row the level of the overscan pixels of that row.

    Parameters
    ----------
    data : CCDData
        Shape (ny, nx).
    overscan : numpy.ndarray
        Shape (ny, m).
    median : bool, optional
        Whether the level is the median of the m pixels, which no stray pixel moves, or their mean,
        which is less noisy.
    """
    level = CCDData(np.asarray(overscan, dtype=float), unit=data.unit)
    return subtract_overscan(data, overscan=level, overscan_axis=1, median=median)


def assemble(raw: CCDData, detector: Detector, *, overscan: bool = True, median: bool = True) -> CCDData:
    """Return the light-sensitive pixels of a raw frame as one image.

    Parameters
    ----------
    raw : CCDData
        Raw frame, of any integer or float type.
    detector : Detector
        Its geometry.
    overscan : bool, optional
        Whether to subtract the overscan of each row, where there is one.
    median : bool, optional
        As for `subtract_row_overscan`.

    Returns
    -------
    CCDData
        Float64, in ADU; saturated pixels are masked, their values kept. A WCS is moved along with
        the data section of the first amplifier.
    """
    header = raw.header
    values = np.asarray(raw.data, dtype=float)
    parts, masks = [], []
    for amplifier in detector.amplifiers:
        where = section(amplifier.data, header)
        part = CCDData(values[where], unit=u.adu)
        masks.append(values[where] >= number(amplifier.saturation, header))
        if overscan and amplifier.overscan:
            strip = values[section(amplifier.overscan, header)]
            part = subtract_row_overscan(part, strip, median=median)
        parts.append(part.data - detector.pedestal)
    mask = np.concatenate(masks, axis=1)
    if raw.mask is not None:
        mask |= np.concatenate([raw.mask[section(a.data, header)] for a in detector.amplifiers], axis=1)
    image = CCDData(np.concatenate(parts, axis=1), unit=u.adu, mask=mask, meta=header.copy())
    if raw.wcs is not None:
        image.wcs = raw.wcs[section(detector.amplifiers[0].data, header)]
    return image


def amplifier_map(image: CCDData, detector: Detector, name: str) -> npt.NDArray[np.float64]:
    """Return a property of the amplifiers, such as ``"gain"``, for each column of an image.

    Returns
    -------
    numpy.ndarray
        Shape (1, nx), to be broadcast over rows.
    """
    spans = [section(a.data, image.header)[1] for a in detector.amplifiers]
    widths = [span.stop - span.start for span in spans]
    values = [number(getattr(a, name), image.header) for a in detector.amplifiers]
    return np.repeat(values, widths)[np.newaxis, :].astype(float)
