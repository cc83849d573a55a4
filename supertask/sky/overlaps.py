"""Which footprints overlap which patches, for very many at once.

On the tangent plane of a tract great circles are straight lines, so that a footprint is a polygon
and a patch a rectangle there, at the poles and across RA 0 as anywhere. Footprints and tracts that
can meet at all are found by the circles around them; within a tract the grid itself says which
patches a footprint's box touches; the rest is shapely's, on whole columns.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.sky.footprints import Footprints
from supertask.sky.planes import polygons, segments
from supertask.sky.skymap import SkyMap
from supertask.sky.sphere import caps, gnomonic, near_pairs
from supertask.sky.tracts import Tract

__all__ = ["Overlaps", "overlaps"]

Int = npt.NDArray[np.int64]
_ARCSEC = np.deg2rad(1.0) / 3600.0
_BATCH = 500_000
"""Pairs looked at in one go, which bounds memory."""


@attrs.frozen(eq=False)
class Overlaps:
    """Pairs of footprints and patches that overlap, sorted by footprint, tract and patch."""

    footprint: Int
    """Shape (n,): index of the footprint."""
    tract: Int
    """Shape (n,): number of the tract."""
    patch: Int
    """Shape (n,): number of the patch."""

    def __len__(self) -> int:
        return len(self.footprint)


def overlaps(footprints: Footprints, skymap: SkyMap, *, margin: float | None = None) -> Overlaps:
    """Find which footprints overlap which patches (borders included).

    Parameters
    ----------
    footprints : Footprints
        Outlines; edges are great circles.
    skymap : SkyMap
        Tracts and patches.
    margin : float, optional
        Arcsec: what comes this near counts, too. The sky map's own unless given. Outlines that
        only touch count in any case.

    Returns
    -------
    Overlaps
        The pairs.

    Notes
    -----
    Whatever is within the margin is found. Since a tangent plane stretches, what is a little further
    away may be found as well, up to the margin divided by cos²(a), a being the angle from the tangent
    point to the tract's corner and the margin: 0.1 % more for a tract of 2.5 degrees across.
    """
    margin = skymap.margin if margin is None else margin
    if not len(footprints):
        empty = np.empty(0, np.int64)
        return Overlaps(empty, empty, empty)
    points = footprints.vectors
    centres, radii = caps(points, footprints.indptr)
    tract_radii = np.array([t.radius for t in skymap.tracts])
    which, tract_index = near_pairs(centres, radii + margin * _ARCSEC, skymap.centres(), tract_radii)
    order = np.argsort(tract_index, kind="stable")
    which, tract_index = which[order], tract_index[order]
    bounds = np.searchsorted(tract_index, np.arange(len(skymap.tracts) + 1))
    parts: list[tuple[Int, Int, Int]] = []
    for i in np.flatnonzero(np.diff(bounds)).tolist():
        tract = skymap.tracts[i]
        mine = np.sort(which[bounds[i] : bounds[i + 1]])
        found, patches = _in_tract(footprints, points, mine, tract, margin)
        parts.append((found, np.full(len(found), tract.tract, np.int64), patches))
    if not parts:
        empty = np.empty(0, np.int64)
        return Overlaps(empty, empty, empty)
    columns = [np.concatenate([p[k] for p in parts]) for k in range(3)]
    order = np.lexsort((columns[2], columns[1], columns[0]))
    return Overlaps(*(c[order] for c in columns))


def _in_tract(
    footprints: Footprints, points: Any, which: Int, tract: Tract, margin: float
) -> tuple[Int, Int]:
    """Return pairs of footprint index and patch number in one tract."""
    import shapely

    at, indptr = segments(footprints.indptr, which)
    starts = indptr[:-1]
    xi, eta = gnomonic(points[at], tract.ra, tract.dec)
    rows, columns = tract.shape
    # Pixel edges: the tract spans 0 to its number of columns and rows; x is towards the west.
    x, y = columns / 2.0 - xi * tract.scale, rows / 2.0 + eta * tract.scale
    # A plane stretches away from its tangent point, by up to 1 / cos² of the angle.
    furthest = min(tract.radius + margin * _ARCSEC, np.deg2rad(84.0))
    stretch = 1.0 / np.cos(furthest) ** 2
    reach = margin * _ARCSEC * tract.scale * stretch
    extra = tract.border + reach
    x0 = np.floor((np.minimum.reduceat(x, starts) - extra) / tract.width).clip(0, tract.nx).astype(np.int64)
    x1 = (
        np.floor((np.maximum.reduceat(x, starts) + extra) / tract.width)
        .clip(-1, tract.nx - 1)
        .astype(np.int64)
    )
    y0 = np.floor((np.minimum.reduceat(y, starts) - extra) / tract.height).clip(0, tract.ny).astype(np.int64)
    y1 = (
        np.floor((np.maximum.reduceat(y, starts) + extra) / tract.height)
        .clip(-1, tract.ny - 1)
        .astype(np.int64)
    )
    across, up = np.maximum(x1 - x0 + 1, 0), np.maximum(y1 - y0 + 1, 0)
    counts = across * up
    hit = np.flatnonzero(counts)
    if not len(hit):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    of_hit, indptr = segments(indptr, hit)
    outlines = polygons(x[of_hit], y[of_hit], indptr)
    shapely.prepare(outlines)
    found: list[Int] = []
    patches: list[Int] = []
    pairs_before = np.concatenate([[0], np.cumsum(counts[hit])])
    begin = 0
    while begin < len(hit):
        end = max(begin + 1, int(np.searchsorted(pairs_before, pairs_before[begin] + _BATCH, "right")) - 1)
        part = hit[begin:end]
        local = np.repeat(np.arange(begin, end), counts[part])
        owner = hit[local]
        k = np.arange(len(owner)) - np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        patch = (y0[owner] + k // across[owner]) * tract.nx + x0[owner] + k % across[owner]
        boxes = tract.boxes(patch).astype(float)
        squares = shapely.box(boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3])
        if reach > 0:
            touches = shapely.dwithin(outlines[local], squares, reach)
        else:
            touches = shapely.intersects(outlines[local], squares)
        found.append(which[owner[touches]])
        patches.append(patch[touches])
        begin = end
    return np.concatenate(found), np.concatenate(patches)
