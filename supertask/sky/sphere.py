"""Positions on the sky as unit vectors: nothing is special at the poles or at RA 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["angles", "caps", "from_plane", "gnomonic", "near_pairs", "radec_of", "vectors"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

_HORIZON = np.cos(np.deg2rad(85.0))


def vectors(ra: Any, dec: Any) -> Float:
    """Return unit vectors, shape (…, 3), of right ascensions and declinations in degrees."""
    ra, dec = np.deg2rad(np.asarray(ra, float)), np.deg2rad(np.asarray(dec, float))
    found: Float = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    return found


def radec_of(vector: Float) -> tuple[Float, Float]:
    """Return right ascension (0 to 360) and declination, degrees, of vectors, shape (…, 3)."""
    ra = np.rad2deg(np.arctan2(vector[..., 1], vector[..., 0])) % 360.0
    dec = np.rad2deg(np.arctan2(vector[..., 2], np.hypot(vector[..., 0], vector[..., 1])))
    return ra, dec


def caps(points: Float, indptr: Int) -> tuple[Float, Float]:
    """Return a circle around each group of points.

    Parameters
    ----------
    points : numpy.ndarray
        Unit vectors, shape (m, 3).
    indptr : numpy.ndarray
        Shape (n + 1,): group i is ``points[indptr[i]:indptr[i + 1]]``; no group is empty.

    Returns
    -------
    centres : numpy.ndarray
        Unit vectors, shape (n, 3).
    radii : numpy.ndarray
        Shape (n,), radians.
    """
    total = np.add.reduceat(points, indptr[:-1], axis=0)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    centres = np.where(length > 1e-9, total / np.maximum(length, 1e-300), points[indptr[:-1]])
    apart = angles(points, np.repeat(centres, np.diff(indptr), axis=0))
    return centres, np.maximum.reduceat(apart, indptr[:-1])


def angles(a: Float, b: Float) -> Float:
    """Return angles between unit vectors, radians, exact for small ones too."""
    chord = np.linalg.norm(a - b, axis=-1)
    angle: Float = 2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0))
    return angle


def near_pairs(centres: Float, radii: Float, other_centres: Float, other_radii: Float) -> tuple[Int, Int]:
    """Return all pairs of circles, of one set and of another, that touch.

    Parameters
    ----------
    centres, other_centres : numpy.ndarray
        Unit vectors, shapes (n, 3) and (m, 3).
    radii, other_radii : numpy.ndarray
        Shapes (n,) and (m,), radians.

    Returns
    -------
    first, second : numpy.ndarray
        Indices into the one and the other set, int64.
    """
    import shapely

    boxes, owners = _boxes(other_centres, other_radii)
    tree = shapely.STRtree(boxes)
    mine, my_owners = _boxes(centres, radii)
    left, right = tree.query(mine)
    pairs = np.unique(np.stack([my_owners[left], owners[right]], axis=1), axis=0)
    first, second = pairs[:, 0], pairs[:, 1]
    # A hair more than the sum, so that rounding loses nothing that touches.
    touch = angles(centres[first], other_centres[second]) <= radii[first] + other_radii[second] + 1e-12
    return first[touch], second[touch]


def _boxes(centres: Float, radii: Float) -> tuple[Any, Int]:
    """Return boxes in ra and dec around circles, and whose each is: two where it crosses RA 0."""
    import shapely

    ra, dec = radec_of(centres)
    radius = np.rad2deg(radii) + 1e-9
    low, high = dec - radius, dec + radius
    polar = (low <= -90.0) | (high >= 90.0)
    with np.errstate(invalid="ignore"):
        half = np.rad2deg(
            np.arcsin(np.minimum(np.sin(np.minimum(radii, np.pi / 2)) / np.cos(np.deg2rad(dec)), 1.0))
        )
    half = np.where(polar, 180.0, half + 1e-9)
    left = np.where(polar, 0.0, ra - half)
    right = np.where(polar, 360.0, ra + half)
    owners = np.arange(len(ra))
    under, over = left < 0.0, right > 360.0
    x0 = np.concatenate([left, left[under] + 360.0, left[over] - 360.0])
    x1 = np.concatenate([right, right[under] + 360.0, right[over] - 360.0])
    owners = np.concatenate([owners, owners[under], owners[over]])
    return shapely.box(x0, low[owners], x1, high[owners]), owners


def gnomonic(points: Float, ra: Any, dec: Any) -> tuple[Float, Float]:
    """Project unit vectors on tangent planes.

    Parameters
    ----------
    points : numpy.ndarray
        Unit vectors, shape (n, 3).
    ra, dec : array_like
        Tangent points, degrees; one, or one for each vector.

    Returns
    -------
    xi, eta : numpy.ndarray
        East and north, radians in the plane, shape (n,). What is more than 85 degrees off is set
        at 85 degrees in its direction, so that an outline that goes round the sky stays finite.
    """
    ra, dec = np.deg2rad(np.asarray(ra, float)), np.deg2rad(np.asarray(dec, float))
    sin_ra, cos_ra, sin_dec, cos_dec = np.sin(ra), np.cos(ra), np.sin(dec), np.cos(dec)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    along = cos_ra * x + sin_ra * y
    east = cos_ra * y - sin_ra * x
    north = cos_dec * z - sin_dec * along
    ahead = cos_dec * along + sin_dec * z
    off = ahead < _HORIZON
    if np.any(off):
        # Keep the direction, and bring the angle from the tangent point to 85 degrees.
        aside = np.hypot(east, north)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(aside > 0, np.sqrt(1 - _HORIZON**2) / aside, 0.0)
        east, north = np.where(off, east * factor, east), np.where(off, north * factor, north)
        ahead = np.where(off, _HORIZON, ahead)
    return east / ahead, north / ahead


def from_plane(xi: Any, eta: Any, ra: float, dec: float) -> Float:
    """Return the unit vectors, shape (…, 3), of positions on a tangent plane: the inverse of `gnomonic`.

    Parameters
    ----------
    xi, eta : array_like
        East and north, radians in the plane.
    ra, dec : float
        The tangent point, degrees.
    """
    centre = vectors(ra, dec)
    east = np.array([-np.sin(np.deg2rad(ra)), np.cos(np.deg2rad(ra)), 0.0])
    north = np.cross(centre, east)
    found: Float = centre + np.asarray(xi)[..., None] * east + np.asarray(eta)[..., None] * north
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    return found
