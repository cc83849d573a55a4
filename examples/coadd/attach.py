"""Raw frame and plate solution → image of the sky, for a camera without calibrations; and its time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.stats import sigma_clipped_stats
from astropy.time import Time
from astropy.wcs import WCS

__all__ = ["attach_solution", "mid_time", "solution_from_text"]

_OFFSET = re.compile(r"([+-]00:?00|Z)\Z")


def solution_from_text(text: str) -> WCS:
    """Return the WCS of a plate solution: a FITS header as text, a card in each line."""
    header = fits.Header.fromstring(text, sep="\n")
    # A solution is a header without an image; the number of its axes would contradict those of the sky.
    header.remove("NAXIS", ignore_missing=True)
    return WCS(header)


def attach_solution(raw: CCDData, wcs: WCS, *, saturation: float, gain: float | None = None) -> CCDData:
    """Return a raw frame in ADU with its WCS, its saturated pixels masked, and its variance.

    Parameters
    ----------
    raw : CCDData
        Raw frame.
    wcs : astropy.wcs.WCS
        Its plate solution.
    saturation : float
        Value from which on a pixel is saturated, ADU.
    gain : float, optional
        Electrons per ADU, for the photon noise of stars. Without it the variance is that of the sky
        alone, which is measured.
    """
    data = np.asarray(raw.data, dtype=float)
    mask = data >= saturation
    _, level, noise = sigma_clipped_stats(data, mask=mask, sigma=3.0)
    variance = np.full(data.shape, noise**2)
    if gain is not None:
        variance += np.maximum(data - level, 0.0) / gain
    return CCDData(
        data,
        unit=u.adu,
        mask=mask,
        uncertainty=VarianceUncertainty(variance),
        wcs=wcs,
        meta=raw.header.copy(),
    )


def mid_time(header: Mapping[str, Any], *, start: str = "DATE-OBS", exposure: str = "EXPTIME") -> Time:
    """Return the middle of an exposure.

    Parameters
    ----------
    header : Mapping
        Header of the frame.
    start : str, optional
        Card with the UTC of its beginning, ISO 8601. An offset of zero behind it, such as ``-0000``,
        is taken off, as `Time` knows none.
    exposure : str, optional
        Card with the exposure time, seconds.

    Raises
    ------
    ValueError
        A card is missing, or the time is not one in UTC.
    """
    for card in (start, exposure):
        if card not in header:
            raise ValueError(f"header card {card} is needed for the time of the exposure and is missing")
    text = _OFFSET.sub("", str(header[start]).strip())
    return Time(text, format="isot", scale="utc") + float(header[exposure]) / 2 * u.s
