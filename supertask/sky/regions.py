"""Regions of the sky, and what lies in them: footprints, patches and tracts, in columns.

A region is a `Circle`, a `Polygon` (edges are great circles), a `Box` (edges are meridians and
parallels), or an `Area` of several polygons: what a visit's detectors cover, or a tract. The same
three questions are asked of each: `meets` says which of many footprints overlap it, `patches_in` and
`tracts_in` which patches and tracts of a sky map do. Touching counts.

A circle is reckoned with on the sphere, without a projection. Other regions are cut in pieces of
which none is wider than 30 degrees, and each is looked at on its own tangent plane; a parallel is
followed within 0.01 arcsec.
"""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.errors import Problems, SuperTaskError
from supertask.sky.footprints import Footprints
from supertask.sky.planes import polygons, segments
from supertask.sky.skymap import SkyMap
from supertask.sky.sphere import angles, caps, gnomonic, radec_of, vectors

__all__ = [
    "Area",
    "Box",
    "Circle",
    "Polygon",
    "Region",
    "RegionError",
    "meets",
    "nearest",
    "nearest_tracts",
    "patches_in",
    "region_of_footprints",
    "region_of_patch",
    "region_of_tract",
    "tracts_in",
]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_PIECE = 30.0
"""Degrees of right ascension and declination that a piece of a box has at most."""
_STEP = 0.05
"""Degrees between positions along a parallel: its sagitta is then below 0.01 arcsec."""
_WIDEST = 60.0
"""Degrees from its middle that a polygon may reach."""
_LOOKED_AT = 64
"""Outlines at least whose distance from a region is reckoned edge by edge."""


class RegionError(SuperTaskError):
    """A region of the sky is not valid."""


def _positions(problems: Problems, ra: Any, dec: Any, what: str) -> None:
    ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
    for a, d in zip(ra.tolist(), dec.tolist(), strict=True):
        if not (np.isfinite(a) and -360.0 <= a <= 720.0):
            problems.add(f"{what} has right ascension {a}, which is none in degrees")
        if not -90.0 <= d <= 90.0:
            problems.add(f"{what} has declination {d}, and declinations go from -90 to 90 degrees")


@attrs.frozen
class Circle:
    """All positions within a radius of a centre, degrees ICRS.

    Raises
    ------
    RegionError
        A number is not finite or out of range; names every one.
    """

    ra: float
    dec: float
    radius: float
    """Degrees, 0 (a position) to 180 (all the sky)."""

    def __attrs_post_init__(self) -> None:
        problems = Problems(str(self))
        _positions(problems, self.ra, self.dec, "its centre")
        if not 0.0 <= self.radius <= 180.0:
            problems.add(f"its radius must be 0 to 180 degrees, and is {self.radius}")
        problems.raise_if_any(RegionError)

    def __str__(self) -> str:
        return f"CIRCLE({self.ra:g}, {self.dec:g}, {self.radius:g})"


def _corners(given: Any) -> Float:
    return np.asarray(given, float).reshape(-1, 2)


@attrs.frozen(eq=False)
class Polygon:
    """What lies within an outline whose edges are great circles: the side that its middle is on.

    Raises
    ------
    RegionError
        It has fewer than three different corners, a position that is none, or reaches more than
        60 degrees from its middle.
    """

    outline: Float = attrs.field(converter=_corners)
    """Shape (k, 2): ra and dec of the corners in turn, degrees ICRS; not closed."""

    def __attrs_post_init__(self) -> None:
        problems = Problems("POLYGON")
        _positions(problems, self.outline[:, 0], self.outline[:, 1], "a corner")
        problems.raise_if_any(RegionError)
        points = vectors(self.outline[:, 0], self.outline[:, 1])
        if len(np.unique(points.round(14), axis=0)) < 3:
            problems.add(f"it needs three different corners, and has {self.outline.tolist()}")
        elif float(caps(points, np.array([0, len(points)]))[1][0]) > np.deg2rad(_WIDEST):
            problems.add(f"it reaches more than {_WIDEST:g} degrees from its middle: give it in parts")
        problems.raise_if_any(RegionError)

    def __str__(self) -> str:
        return f"POLYGON({', '.join(f'{v:g}' for v in self.outline.ravel())})"


@attrs.frozen
class Box:
    """What lies between two meridians and two parallels, degrees ICRS.

    Raises
    ------
    RegionError
        A number is not finite or out of range, or the declinations are in the wrong order.
    """

    ra_min: float
    """Its western edge. Greater than `ra_max`, or below 0, if RA 0 lies within."""
    ra_max: float
    dec_min: float
    dec_max: float

    def __attrs_post_init__(self) -> None:
        problems = Problems(str(self))
        _positions(problems, [self.ra_min, self.ra_max], [self.dec_min, self.dec_max], "a corner")
        if self.dec_min > self.dec_max:
            problems.add(f"its declinations {self.dec_min:g} to {self.dec_max:g} are in the wrong order")
        problems.raise_if_any(RegionError)

    @classmethod
    def around(cls, ra: float, dec: float, width: float, height: float) -> Box:
        """Return the box about a centre.

        Parameters
        ----------
        ra, dec : float
            Of its centre, degrees ICRS.
        width : float
            Degrees of right ascension as such, not shrunk by the cosine of declination; 360 or
            more goes round the sky.
        height : float
            Degrees of declination; what would be beyond a pole is left out.

        Raises
        ------
        RegionError
            A number is not finite or out of range.
        """
        problems = Problems(f"BOX({ra:g}, {dec:g}, {width:g}, {height:g})")
        _positions(problems, ra, dec, "its centre")
        if not (0.0 <= width < np.inf and 0.0 <= height <= 180.0):
            problems.add("its width must not be negative, and its height 0 to 180 degrees")
        problems.raise_if_any(RegionError)
        half = min(width, 360.0) / 2.0
        low, high = max(dec - height / 2.0, -90.0), min(dec + height / 2.0, 90.0)
        if half == 180.0:
            return cls(0.0, 360.0, low, high)
        west = (ra - half) % 360.0
        return cls(west, west + 2 * half, low, high)

    @property
    def width(self) -> float:
        """Degrees of right ascension, 0 to 360."""
        across = self.ra_max - self.ra_min
        return 360.0 if across >= 360.0 else across % 360.0

    def __str__(self) -> str:
        return f"BOX({self.ra_min:g} to {self.ra_max:g}, {self.dec_min:g} to {self.dec_max:g})"


@attrs.frozen(eq=False)
class Area:
    """Several outlines together: where any of them is."""

    footprints: Footprints

    def __str__(self) -> str:
        return f"AREA of {len(self.footprints)} outlines"


Region = Circle | Polygon | Box | Area


def meets(region: Region, footprints: Footprints) -> Mask:
    """Tell which footprints overlap a region.

    Parameters
    ----------
    region : Circle or Polygon or Box or Area
        The region.
    footprints : Footprints
        n outlines. None should reach more than 30 degrees from its middle; of larger ones edges
        far from the region are followed roughly.

    Returns
    -------
    numpy.ndarray
        Shape (n,), bool.
    """
    if not len(footprints):
        return np.zeros(0, bool)
    points = footprints.vectors
    centres, radii = caps(points, footprints.indptr)
    if isinstance(region, Circle):
        return _meets_circle(region, points, footprints.indptr, centres, radii)
    found = np.zeros(len(footprints), bool)
    for piece in _pieces(region):
        _mark_piece(found, piece, points, footprints.indptr, centres, radii)
    return found


def patches_in(region: Region, skymap: SkyMap, *, inner: bool = False) -> tuple[Int, Int]:
    """Return the patches of a sky map that overlap a region.

    Parameters
    ----------
    region : Circle or Polygon or Box or Area
        The region.
    skymap : SkyMap
        The sky map; its margin has no part in this.
    inner : bool, optional
        Whether borders of patches are left out.

    Returns
    -------
    tract, patch : numpy.ndarray
        Their numbers, shape (k,), int64, sorted.
    """
    near = _near_tracts(region, skymap)
    tracts, patches = skymap.patch_numbers(near)
    touched = meets(region, skymap.patch_outlines(tracts, patches, inner=inner))
    return tracts[touched], patches[touched]


def tracts_in(region: Region, skymap: SkyMap) -> Int:
    """Return the numbers of the tracts that overlap a region: shape (k,), int64, sorted."""
    blocks = skymap.tract_outlines(_near_tracts(region, skymap))
    return np.unique(blocks.keys["tract"][meets(region, blocks)])


def region_of_footprints(footprints: Footprints) -> Area:
    """Return the region that some footprints cover, such as a visit's.

    Raises
    ------
    RegionError
        There are none.
    """
    if not len(footprints):
        raise RegionError("there are no footprints that would make a region")
    return Area(footprints)


def region_of_tract(skymap: SkyMap, tract: int) -> Area:
    """Return the region of a tract.

    Raises
    ------
    SkyMapError
        The sky map has none of that number.
    """
    return Area(skymap.tract_outlines([tract]))


def region_of_patch(skymap: SkyMap, tract: int, patch: int, *, inner: bool = False) -> Area:
    """Return the region of a patch, its border included unless `inner`.

    Raises
    ------
    SkyMapError
        The sky map has no such patch.
    """
    skymap.tract(tract).patch_xy(patch)
    return Area(skymap.patch_outlines(np.array([tract]), np.array([patch]), inner=inner))


def nearest(region: Region, footprints: Footprints, n: int) -> tuple[Int, Float]:
    """Return the footprints that come nearest to a region.

    Parameters
    ----------
    region : Circle or Polygon or Box or Area
        The region.
    footprints : Footprints
        Outlines.
    n : int
        How many at most. Of many, those whose circles come nearest are looked at.

    Returns
    -------
    rows : numpy.ndarray
        Shape (k,), int64: the nearest first.
    apart : numpy.ndarray
        Shape (k,), degrees between the nearest edges; 0 where they overlap.
    """
    if not len(footprints):
        return np.zeros(0, np.int64), np.zeros(0)
    least = _least_apart(region, *caps(footprints.vectors, footprints.indptr))
    rows = np.argsort(least, kind="stable")[: max(2 * n, _LOOKED_AT)]
    some = footprints.take(rows)
    apart = np.full(len(rows), np.inf)
    begin, end = _arcs(some.vectors, some.indptr)
    if isinstance(region, Circle):
        from_centre = _from_arcs(vectors(region.ra, region.dec), begin, end)
        apart = np.minimum.reduceat(from_centre, some.indptr[:-1]) - np.deg2rad(region.radius)
    else:
        for piece in _pieces(region):
            first, last = _arcs(piece, np.array([0, len(piece)]))
            each = np.array([_from_arcs(corner, first, last).min() for corner in begin])
            for corner in piece:
                each = np.minimum(each, _from_arcs(corner, begin, end))
            apart = np.minimum(apart, np.minimum.reduceat(each, some.indptr[:-1]))
    apart[meets(region, some)] = 0.0
    order = np.argsort(apart, kind="stable")[:n]
    return rows[order], np.rad2deg(np.maximum(apart[order], 0.0))


def nearest_tracts(region: Region, skymap: SkyMap, n: int) -> list[int]:
    """Return the numbers of the tracts whose circles come nearest to a region, `n` at most."""
    least = _least_apart(region, skymap.centres(), np.array([t.radius for t in skymap.tracts]))
    return [skymap.tracts[i].tract for i in np.argsort(least, kind="stable")[:n].tolist()]


def _near_tracts(region: Region, skymap: SkyMap) -> list[int]:
    """Return numbers of tracts whose circle touches one around the region."""
    least = _least_apart(region, skymap.centres(), np.array([t.radius for t in skymap.tracts]))
    near = (least <= 1e-12).tolist()
    return sorted(t.tract for t, is_near in zip(skymap.tracts, near, strict=True) if is_near)


def _least_apart(region: Region, centres: Float, radii: Float) -> Float:
    """Return how far circles are at least from a region, radians; negative where they may overlap."""
    if isinstance(region, Circle):
        points, reach = vectors(region.ra, region.dec)[None], np.array([np.deg2rad(region.radius)])
    else:
        parts = [caps(piece, np.array([0, len(piece)])) for piece in _pieces(region)]
        points, reach = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    least = np.full(len(radii), np.inf)
    for point, far in zip(points, reach, strict=True):
        least = np.minimum(least, angles(centres, point) - radii - far)
    return least


def _arcs(points: Float, indptr: Int) -> tuple[Float, Float]:
    """Return where the edges of outlines begin and end, the last one back at the first corner."""
    following = np.arange(1, len(points) + 1)
    following[indptr[1:] - 1] = indptr[:-1]
    return points, points[following]


# -- circles: on the sphere -------------------------------------------------------------------------


def _meets_circle(region: Circle, points: Float, indptr: Int, centres: Float, radii: Float) -> Mask:
    centre, radius = vectors(region.ra, region.dec), np.deg2rad(region.radius)
    found = np.zeros(len(radii), bool)
    near = np.flatnonzero(angles(centres, centre) <= radii + radius + 1e-12)
    if not len(near):
        return found
    at, starts = segments(indptr, near)
    begin, end = _arcs(points[at], starts)
    apart = np.minimum.reduceat(_from_arcs(centre, begin, end), starts[:-1])
    turned = np.add.reduceat(_turn(centre, begin, end), starts[:-1])
    # The middle of the circle may be within an outline none of whose edges comes near.
    within = (np.abs(turned) > np.pi) & (angles(centres[near], centre) <= radii[near] + 1e-12)
    found[near] = (apart <= radius + 1e-13) | within
    return found


def _from_arcs(centre: Float, begin: Float, end: Float) -> Float:
    """Return distances of one position from arcs of great circles, radians."""
    normal = np.cross(begin, end)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    real = length[:, 0] > 1e-15
    normal /= np.where(real[:, None], length, 1.0)
    beside = np.einsum("ij,j->i", np.cross(normal, begin), centre) >= 0
    beside &= np.einsum("ij,j->i", np.cross(end, normal), centre) >= 0
    across = np.abs(np.arcsin(np.clip(normal @ centre, -1.0, 1.0)))
    at_ends = np.minimum(angles(begin, centre), angles(end, centre))
    return np.where(beside & real, across, at_ends)


def _turn(centre: Float, begin: Float, end: Float) -> Float:
    """Return by which angle one turns at a position while looking along each edge, radians."""
    pole = np.eye(3)[int(np.argmin(np.abs(centre)))]
    east = np.cross(pole, centre)
    east /= np.linalg.norm(east)
    north = np.cross(centre, east)
    first = np.arctan2(begin @ east, begin @ north)
    second = np.arctan2(end @ east, end @ north)
    turned: Float = (second - first + np.pi) % (2 * np.pi) - np.pi
    return turned


# -- others: in pieces, on tangent planes -------------------------------------------------------------


def _pieces(region: Polygon | Box | Area) -> list[Float]:
    """Return outlines as unit vectors, each shape (k, 3)."""
    if isinstance(region, Polygon):
        return [vectors(region.outline[:, 0], region.outline[:, 1])]
    if isinstance(region, Area):
        points, indptr = region.footprints.vectors, region.footprints.indptr.tolist()
        return [points[a:b] for a, b in itertools.pairwise(indptr)]
    across, up = region.width, region.dec_max - region.dec_min
    n_across, n_up = max(1, int(np.ceil(across / _PIECE))), max(1, int(np.ceil(up / _PIECE)))
    ras = region.ra_min + np.linspace(0.0, across, n_across + 1)
    decs = region.dec_min + np.linspace(0.0, up, n_up + 1)
    pieces = []
    for south, north in itertools.pairwise(decs):
        for west, east in itertools.pairwise(ras):
            along = np.linspace(west, east, max(2, int(np.ceil((east - west) / _STEP)) + 1))
            ra = np.concatenate([along, along[::-1]])
            dec = np.concatenate([np.full(len(along), south), np.full(len(along), north)])
            pieces.append(vectors(ra, dec))
    return pieces


def _mark_piece(found: Mask, piece: Float, points: Float, indptr: Int, centres: Float, radii: Float) -> None:
    """Mark what overlaps one piece."""
    import shapely

    middle, reach = caps(piece, np.array([0, len(piece)]))
    near = np.flatnonzero(~found & (angles(centres, middle[0]) <= radii + reach[0] + 1e-12))
    if not len(near):
        return
    ra, dec = (float(v) for v in radec_of(middle[0]))
    x, y = gnomonic(piece, ra, dec)
    area = polygons(x, y, np.array([0, len(piece)]))[0]
    shapely.prepare(area)
    at, starts = segments(indptr, near)
    x, y = gnomonic(points[at], ra, dec)
    found[near] = shapely.intersects(area, polygons(x, y, starts))
