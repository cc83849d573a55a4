"""Outlines as shapely polygons on a tangent plane, where great circles are straight lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["polygons", "segments"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


def segments(indptr: Int, which: Int) -> tuple[Int, Int]:
    """Return where the points of some of many groups are.

    Parameters
    ----------
    indptr : numpy.ndarray
        Shape (n + 1,): group i is ``indptr[i]:indptr[i + 1]``.
    which : numpy.ndarray
        Indices of k groups.

    Returns
    -------
    at : numpy.ndarray
        Indices of all points of these groups, one group after the other.
    starts : numpy.ndarray
        Shape (k + 1,): the ``indptr`` of what `at` picks.
    """
    lengths = np.diff(indptr)[which]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.repeat(indptr[which] - starts[:-1], lengths) + np.arange(starts[-1]), starts


def polygons(x: Float, y: Float, indptr: Int) -> Any:
    """Return polygons of groups of points in the plane; outlines that cross themselves are mended.

    Parameters
    ----------
    x, y : numpy.ndarray
        Shape (m,).
    indptr : numpy.ndarray
        Shape (n + 1,); each group has at least three points.

    Returns
    -------
    numpy.ndarray
        Shape (n,) of shapely geometries.
    """
    import shapely

    lengths = np.diff(indptr)
    rings = shapely.linearrings(np.stack([x, y], axis=1), indices=np.repeat(np.arange(len(lengths)), lengths))
    made: Any = shapely.polygons(rings)
    crossed = ~shapely.is_valid(made)
    if crossed.any():
        made[crossed] = shapely.make_valid(made[crossed])
    return made
