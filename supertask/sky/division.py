"""A division of the sky into tracts and patches, and what can be asked of it: where, and which."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from supertask.errors import Problems
from supertask.sky.footprints import Footprints
from supertask.sky.layouts import Healpix, Layout, Listed
from supertask.sky.sphere import gnomonic, vectors
from supertask.sky.tracts import Box, SkyMapError, Tract

__all__ = ["Division"]

Int = npt.NDArray[np.int64]
_AT_ONCE = 10_000_000
_MOST_PATCHES = 100_000_000


def _made(division: Division) -> tuple[Tract, ...]:
    return division.layout.make()


@attrs.frozen
class Division:
    """A division of some of the sky into tracts and patches.

    Raises
    ------
    SkyMapError
        It is not valid; names every mistake found.
    """

    name: str
    layout: Layout = attrs.field(eq=False)
    margin: float = 0.0
    """Arcsec: a footprint that comes this near to a patch counts as overlapping it."""
    doc: str = attrs.field(default="", eq=False)
    tracts: tuple[Tract, ...] = attrs.field(
        init=False, repr=False, default=attrs.Factory(_made, takes_self=True)
    )
    _by_number: dict[int, Tract] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        problems = Problems(f"sky map {self.name!r}")
        _check(self, problems)
        problems.raise_if_any(SkyMapError)
        object.__setattr__(self, "_by_number", {t.tract: t for t in self.tracts})

    # -- asking it ----------------------------------------------------------------------------

    def differences(self, other: Self) -> list[str]:
        """Return in words what differs from another, as ``mine, not theirs``; empty if they are equal."""
        found = []
        if self.margin != other.margin:
            found.append(f"margin {self.margin:g}, not {other.margin:g}")
        mine, theirs = self.layout, other.layout
        if self.tracts != other.tracts and type(mine) is type(theirs) and not isinstance(mine, Listed):
            return found + _changed(mine, theirs)
        if len(self.tracts) != len(other.tracts):
            found.append(f"{len(self.tracts)} tracts, not {len(other.tracts)}")
        for tract in self.tracts:
            other_tract = other._by_number.get(tract.tract)
            if other_tract is None:
                found.append(f"tract {tract.tract}, which is not there")
                continue
            changed = _changed(tract, other_tract)
            if changed:
                found.append(f"tract {tract.tract} with {', '.join(changed)}")
        return found

    def patch_numbers(self, tracts: Iterable[int] | None = None) -> tuple[Int, Int]:
        """Return tract and patch numbers of all patches of some tracts (or all), shape (k,), int64."""
        wanted = [t.tract for t in self.tracts] if tracts is None else list(tracts)
        counts = np.array([self.tract(t).n_patches for t in wanted], np.int64)
        patches = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(np.array(wanted, np.int64), counts), patches

    def patch_outlines(self, tracts: Int, patches: Int, *, inner: bool = False) -> Footprints:
        """Return the outlines of many patches.

        Parameters
        ----------
        tracts, patches : numpy.ndarray
            Their numbers, shape (n,), int64.
        inner : bool, optional
            Whether to leave out borders.
        """
        found = np.empty((len(tracts), 4, 2))
        order = np.argsort(tracts, kind="stable")
        numbers, starts = np.unique(tracts[order], return_index=True)
        ends = [*starts[1:].tolist(), len(order)]
        for number, begin, end in zip(numbers.tolist(), starts.tolist(), ends[: len(starts)], strict=True):
            tract, part = self.tract(number), order[begin:end]
            found[part] = tract.outlines(tract.boxes(patches[part], inner=inner))
        return _quadrangles(found, {"tract": tracts, "patch": patches})

    def tract_outlines(self, tracts: Iterable[int] | None = None) -> Footprints:
        """Return outlines that make up some tracts (or all): several of a tract that is large."""
        wanted = [t.tract for t in self.tracts] if tracts is None else list(tracts)
        parts = [(t, self.tract(t).outlines(self.tract(t).blocks())) for t in wanted]
        numbers = np.repeat(np.array(wanted, np.int64), [len(p) for _, p in parts])
        return _quadrangles(np.concatenate([np.empty((0, 4, 2)), *(p for _, p in parts)]), {"tract": numbers})

    def home_tract(self, ra: Any, dec: Any) -> Int:
        """Return for each position the one tract that it is at home in.

        That is the tract of its HEALPix cell, or else the tract with the nearest tangent point: by
        it, what is measured in two tracts that overlap can be counted once.

        Parameters
        ----------
        ra, dec : array_like
            Degrees, shape (n,).

        Returns
        -------
        numpy.ndarray
            Tract numbers, shape (n,), int64; -1 where the sky map has none there.
        """
        if isinstance(self.layout, Healpix):
            cells = self.layout.cell_of(ra, dec)
            return np.where(np.isin(cells, [t.tract for t in self.tracts]), cells, -1)
        points = np.atleast_2d(vectors(ra, dec))
        centres = self.centres()
        # In pieces, as every position is held against every tangent point.
        pieces = np.array_split(points, max(1, len(points) * len(centres) // _AT_ONCE))
        nearest = np.concatenate([np.argmax(piece @ centres.T, axis=1) for piece in pieces])
        home = np.full(len(points), -1, np.int64)
        for i in np.unique(nearest).tolist():
            mine = np.flatnonzero(nearest == i)
            covered = _patches_at(self.tracts[i], points[mine]) >= 0
            home[mine[covered]] = self.tracts[i].tract
        return home

    def tract(self, number: int) -> Tract:
        """Return a tract.

        Raises
        ------
        SkyMapError
            There is none of that number.
        """
        try:
            return self._by_number[number]
        except KeyError:
            raise SkyMapError(
                f"sky map {self.name!r} has no tract {number!r}; it has {len(self.tracts)}"
            ) from None

    def tract_wcs(self, tract: int) -> Any:
        """Return the WCS of a tract, an ``astropy.wcs.WCS``."""
        return self.tract(tract).wcs()

    def patch_bbox(self, tract: int, patch: int, *, inner: bool = False) -> Box:
        """Return the pixel box of a patch in its tract: x0, y0, x1, y1, ends exclusive.

        Parameters
        ----------
        tract, patch : int
            Their numbers.
        inner : bool, optional
            Whether to leave out the border.
        """
        found = self.tract(tract)
        found.patch_xy(patch)
        x0, y0, x1, y1 = found.boxes(np.array([patch]), inner=inner)[0].tolist()
        return x0, y0, x1, y1

    def patch_wcs(self, tract: int, patch: int) -> Any:
        """Return the WCS of a patch's own pixels, border included, with its shape."""
        x0, y0, x1, y1 = self.patch_bbox(tract, patch)
        wcs = self.tract_wcs(tract)
        wcs.wcs.crpix = wcs.wcs.crpix - [x0, y0]
        wcs.wcs.set()
        wcs.array_shape = (y1 - y0, x1 - x0)
        return wcs

    def patch_polygon(self, tract: int, patch: int) -> npt.NDArray[np.float64]:
        """Return the corners of a patch on the sky, shape (4, 2): ra and dec, degrees."""
        x0, y0, x1, y1 = self.patch_bbox(tract, patch)
        ra, dec = self.tract_wcs(tract).all_pix2world(
            np.array([x0, x1, x1, x0]) - 0.5, np.array([y0, y0, y1, y1]) - 0.5, 0
        )
        return np.stack([ra % 360.0, dec], axis=1)

    def centres(self) -> npt.NDArray[np.float64]:
        """Return unit vectors of the tangent points, shape (n, 3)."""
        return vectors([t.ra for t in self.tracts], [t.dec for t in self.tracts])

    def covers(self, ra: float, dec: float) -> list[tuple[int, int]]:
        """Return tract and patch of each inner region that holds a position, degrees."""
        point = vectors(ra, dec)
        radii = np.array([t.radius for t in self.tracts])
        near = np.flatnonzero(self.centres() @ point >= np.cos(radii) - 1e-12).tolist()
        found = [(self.tracts[i], int(_patches_at(self.tracts[i], point[None])[0])) for i in near]
        return [(tract.tract, patch) for tract, patch in found if patch >= 0]


def _changed(mine: Any, theirs: Any) -> list[str]:
    """Return which fields of two values of one class differ."""
    return [
        f"{a.name} {getattr(mine, a.name)!r}, not {getattr(theirs, a.name)!r}"
        for a in attrs.fields(type(mine))
        if getattr(mine, a.name) != getattr(theirs, a.name)
    ]


def _patches_at(tract: Tract, points: npt.NDArray[np.float64]) -> Int:
    """Return the patch whose inner region holds each of some positions, or -1; shape (n,)."""
    xi, eta = gnomonic(points, tract.ra, tract.dec)
    rows, columns = tract.shape
    x = np.floor((columns / 2 - xi * tract.scale) / tract.width)
    y = np.floor((rows / 2 + eta * tract.scale) / tract.height)
    inside = (x >= 0) & (x < tract.nx) & (y >= 0) & (y < tract.ny)
    # What lies on the far side of the sky is set beside the plane's middle, too.
    inside &= points @ vectors(tract.ra, tract.dec) >= np.cos(tract.radius) - 1e-12
    return np.where(inside, y * tract.nx + x, -1).astype(np.int64)


def _quadrangles(corners: npt.NDArray[np.float64], keys: dict[str, Any]) -> Footprints:
    return Footprints(keys, corners.reshape(-1, 2), np.arange(len(corners) + 1, dtype=np.int64) * 4)


def _check(division: Division, problems: Problems) -> None:
    if (
        not division.name
        or not all(c.isalnum() or c in "_-." for c in division.name)
        or division.name.startswith(".")
    ):
        problems.add("its name must be of letters, digits, '_', '-' and '.', and begin with none of '.'")
    if not division.tracts:
        problems.add("it has no tracts")
    if not 0 <= division.margin < 36_000:
        problems.add(f"its margin must be 0 to 36000 arcsec, and is {division.margin}")
    numbers = [t.tract for t in division.tracts]
    if len(set(numbers)) < len(numbers):
        problems.add("two tracts have one number")
    n = sum(t.n_patches for t in division.tracts)
    if n > _MOST_PATCHES:
        problems.add(f"it has {n:,} patches, more than {_MOST_PATCHES:,}: make them larger")
    for t in division.tracts:
        what = f"tract {t.tract}"
        if t.tract < 0:
            problems.add(f"{what}: numbers are not negative")
        if not (0 <= t.ra < 360 and -90 <= t.dec <= 90):
            problems.add(f"{what}: ra must be in [0, 360) and dec in [-90, 90], and is at {t.ra}, {t.dec}")
        if not (0 < t.pixel_scale < np.inf and min(t.nx, t.ny, t.width, t.height) > 0 and t.border >= 0):
            problems.add(
                f"{what}: pixel scale, grid and patch size must be positive, and border not negative"
            )
        elif t.radius > np.deg2rad(80):
            problems.add(
                f"{what}: it reaches {np.rad2deg(t.radius):.0f} degrees from its tangent point, more than 80"
            )
