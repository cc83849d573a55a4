"""Shifts between frames without WCS, from their stars, in spite of hot pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.nddata import CCDData
from astropy.stats import mad_std
from astropy.table import Table
from scipy.ndimage import median_filter
from scipy.spatial import cKDTree

__all__ = ["hot_pixels", "measure_shift"]

Array = npt.NDArray[Any]


def hot_pixels(frames: Sequence[CCDData], *, sigma: float = 6.0, part: float = 0.7) -> npt.NDArray[np.bool_]:
    """Return the pixels that stand out from those around them, alone, in most frames of a moving sky.

    Parameters
    ----------
    frames : sequence of CCDData
        Frames of one detector, between which stars move by a pixel or more.
    sigma : float, optional
        How far, in standard deviations of what a frame's pixels differ from the median around them.
    part : float, optional
        In which part of the frames.
    """
    count = np.zeros(frames[0].shape, int)
    for frame in frames:
        data = np.asarray(frame.data, dtype=float)
        excess = data - median_filter(data, size=3)
        count += excess > sigma * max(float(mad_std(excess)), 1e-30)
    found: npt.NDArray[np.bool_] = count >= part * len(frames)
    return found


def measure_shift(
    first: Table, second: Table, *, reach: float = 20.0, tolerance: float = 0.5
) -> tuple[float, float]:
    """Return by how much the stars of a first frame must be moved to lie on those of a second.

    All pairs of stars vote for a shift; the pairs that agree with the winner give it precisely.

    Parameters
    ----------
    first, second : astropy.table.Table
        Stars, columns x and y, pixels.
    reach : float, optional
        Greatest shift in either direction, pixels.
    tolerance : float, optional
        How far pairs may be from the winner, pixels.

    Raises
    ------
    ValueError
        No two pairs agree.
    """
    one, two = (np.transpose([t["x"], t["y"]]).astype(float) for t in (first, second))
    offsets = (two[np.newaxis] - one[:, np.newaxis]).reshape(-1, 2)
    offsets = offsets[(np.abs(offsets) <= reach).all(axis=1)]
    if len(offsets) < 2:
        raise ValueError(f"no stars of the two frames are within {reach} pixels of each other")
    tree = cKDTree(offsets)
    votes = tree.query_ball_point(offsets, tolerance, return_length=True)
    if votes.max() < 2:
        raise ValueError("no two pairs of stars agree on a shift")
    agreed = offsets[tree.query_ball_point(offsets[int(np.argmax(votes))], tolerance)]
    x, y = np.median(agreed, axis=0)
    return float(x), float(y)
