"""Ways to lay tracts on the sky: around a target, in rings, on HEALPix cells, or one by one.

A layout is the few numbers that tracts follow from. It gives the same tracts wherever it is read,
which a repository makes sure of by their digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.errors import Problems
from supertask.sky.sphere import gnomonic, vectors
from supertask.sky.tracts import SkyMapError, Tract

__all__ = ["Around", "Healpix", "Layout", "Listed", "Rings", "digest"]

_ARCSEC_PER_RADIAN = float(np.rad2deg(1.0)) * 3600.0
_MOST_TRACTS = 1_000_000
_MOST_RINGS = 850
_MOST_NSIDE = 2**24
_CELLS_AT_ONCE = 10_000
_ALONG = 256
"""Positions along each edge of one of HEALPix's base cells, by which extents on a tangent plane are found."""


def _pair(size: Any) -> Any:
    return (size, size) if isinstance(size, int) else tuple(size)


def _optional_pair(size: Any) -> Any:
    return None if size is None else _pair(size)


def _optional_tuple(values: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)


@attrs.frozen
class Listed:
    """Tracts that are given one by one."""

    tracts: tuple[Tract, ...]

    def make(self) -> tuple[Tract, ...]:
        """Return the tracts."""
        return self.tracts


@attrs.frozen
class Around:
    """One tract, numbered 0, around a target."""

    ra: float
    """Of the target, degrees ICRS."""
    dec: float
    pixel_scale: float
    """Arcsec per pixel."""
    patch_size: tuple[int, int] = attrs.field(converter=_pair)
    """Inner width and height of a patch, pixels; one number for both."""
    grid: tuple[int, int] | None = attrs.field(default=None, converter=_optional_pair)
    """Number of patches along x and y."""
    radius: float | None = None
    """Degrees that the tract reaches from the target on each side at least; in place of `grid`."""
    border: int = 0
    """Pixels that patches have beyond their inner size on each side."""

    def make(self) -> tuple[Tract, ...]:
        """Return the tract.

        Raises
        ------
        SkyMapError
            Not just one of grid and radius is given, or a number is out of range.
        """
        width, height = self.patch_size
        grid = self.grid
        if (grid is None) == (self.radius is None):
            raise SkyMapError("give either grid, the number of patches along x and y, or radius")
        if grid is None:
            radius = self.radius or 0.0
            if not (0 < radius < 80 and width > 0 and height > 0 and 0 < self.pixel_scale < np.inf):
                raise SkyMapError("radius (below 80 degrees), patch_size and pixel_scale must be positive")
            half = np.tan(np.deg2rad(radius)) * _ARCSEC_PER_RADIAN / self.pixel_scale
            grid = int(np.ceil(2 * half / width)), int(np.ceil(2 * half / height))
        return (Tract(0, self.ra, self.dec, self.pixel_scale, *grid, width, height, self.border),)


@attrs.frozen
class Rings:
    """The whole sky in square tracts: rings of equal declination, and one tract at each pole.

    Tract 0 is at the south pole, the last at the north pole, and rings follow each other to the
    north, each from RA 0 eastward.
    """

    n_rings: int
    """Rings between the poles."""
    pixel_scale: float
    """Arcsec per pixel."""
    patch_size: int
    """Inner size of the square patches, pixels."""
    border: int = 0
    """Pixels that patches have beyond their inner size on each side."""
    overlap: float = 0.0
    """Degrees by which neighbouring tracts overlap at least."""

    def make(self) -> tuple[Tract, ...]:
        """Return the tracts.

        Raises
        ------
        SkyMapError
            A number is out of range.
        """
        if (
            self.n_rings < 1
            or not 0 < self.pixel_scale < np.inf
            or self.patch_size < 1
            or not self.overlap >= 0
        ):
            raise SkyMapError("n_rings, pixel_scale and patch_size must be positive")
        if self.n_rings > _MOST_RINGS:
            raise SkyMapError(f"n_rings must be at most {_MOST_RINGS}, and is {self.n_rings}")
        step = 180.0 / (self.n_rings + 1)
        centres = [(0.0, -90.0)]
        for ring in range(1, self.n_rings + 1):
            dec = -90.0 + ring * step
            # Tracts of a ring are as far apart as rings are, where the ring is longest.
            widest = max(np.cos(np.deg2rad(dec - step / 2)), np.cos(np.deg2rad(dec + step / 2)))
            count = max(3, int(np.ceil(360.0 * widest / step)))
            centres += [(360.0 * i / count, dec) for i in range(count)]
        centres.append((0.0, 90.0))
        # The corner of a square of half the step is on the circle that must be covered.
        reach = np.deg2rad(step / np.sqrt(2.0) + self.overlap / 2.0)
        if not reach < np.deg2rad(80.0):
            raise SkyMapError("its tracts would reach more than 80 degrees: give more rings, or less overlap")
        n = int(np.ceil(2 * np.tan(reach) * _ARCSEC_PER_RADIAN / self.pixel_scale / self.patch_size))
        size = self.patch_size
        return tuple(
            Tract(i, float(ra), float(dec), self.pixel_scale, n, n, size, size, self.border)
            for i, (ra, dec) in enumerate(centres)
        )


@attrs.frozen
class Healpix:
    """One tract for each HEALPix cell: its number is the cell's, its grid just covers the cell."""

    nside: int
    """Cells along each edge of HEALPix's twelve base cells, a power of two; the sky has 12 nside² of them."""
    pixel_scale: float
    """Arcsec per pixel."""
    patch_size: int
    """Inner size of the square patches, pixels."""
    border: int = 0
    """Pixels that patches have beyond their inner size on each side."""
    overlap: float = 0.0
    """Degrees by which a tract reaches at least beyond its cell's extent on each side."""
    order: str = "nested"
    """How cells are numbered: ``nested`` or ``ring``."""
    cells: tuple[int, ...] | None = attrs.field(default=None, converter=_optional_tuple)
    """Only these, instead of all."""

    def make(self) -> tuple[Tract, ...]:
        """Return the tracts.

        Raises
        ------
        SkyMapError
            A number is out of range; names every one. Or astropy-healpix is not installed.
        """
        self._check()
        cells = np.arange(12 * self.nside**2) if self.cells is None else np.array(self.cells, np.int64)
        pieces = np.array_split(cells, max(1, len(cells) // _CELLS_AT_ONCE))
        return tuple(tract for piece in pieces for tract in self._make(piece))

    def _make(self, cells: npt.NDArray[np.int64]) -> Iterator[Tract]:
        healpix = _library()
        lon, lat = healpix.healpix_to_lonlat(cells, self.nside, order=self.order)
        ra, dec = np.rad2deg(lon.value) % 360.0, np.rad2deg(lat.value)
        # Edges of small cells are nearly straight.
        along = max(4, _ALONG // self.nside)
        edge_lon, edge_lat = healpix.boundaries_lonlat(cells, along, self.nside, order=self.order)
        edges = vectors(np.rad2deg(edge_lon.value), np.rad2deg(edge_lat.value))
        xi, eta = gnomonic(edges, ra[:, None], dec[:, None])
        beyond = np.tan(np.deg2rad(self.overlap)) * _ARCSEC_PER_RADIAN / self.pixel_scale
        counts = []
        for extent in (xi, eta):
            # A part in a thousand more than the positions along the edges, for what is between them.
            half = np.abs(extent).max(axis=1) * 1.001 * _ARCSEC_PER_RADIAN / self.pixel_scale + beyond
            counts.append(np.ceil(2 * half / self.patch_size).astype(int).tolist())
        size = self.patch_size
        for cell, a, d, nx, ny in zip(cells.tolist(), ra.tolist(), dec.tolist(), *counts, strict=True):
            yield Tract(cell, a, d, self.pixel_scale, nx, ny, size, size, self.border)

    def _check(self) -> None:
        problems = Problems("a healpix layout")
        if self.order not in ("nested", "ring"):
            problems.add(f"'order' must be nested or ring, and is {self.order!r}")
        if not 1 <= self.nside <= _MOST_NSIDE:
            problems.add(f"'nside' must be 1 to {_MOST_NSIDE}, and is {self.nside}")
        elif self.nside & (self.nside - 1):
            problems.add(f"'nside' must be a power of two, and is {self.nside}")
        else:
            n = 12 * self.nside**2 if self.cells is None else len(self.cells)
            if n > _MOST_TRACTS:
                problems.add(f"it gives {n:,} tracts, more than {_MOST_TRACTS:,}: name the 'cells' you need")
            wrong = [c for c in self.cells or () if not 0 <= c < 12 * self.nside**2]
            if wrong:
                problems.add(f"nside {self.nside} has cells 0 to {12 * self.nside**2 - 1}, and no {wrong[0]}")
        if not (0 < self.pixel_scale < np.inf and self.patch_size > 0 and self.border >= 0):
            problems.add("'pixel_scale' and 'patch_size' must be positive, 'border' not negative")
        if not 0 <= self.overlap < 30:
            problems.add(f"'overlap' must be 0 to 30 degrees, and is {self.overlap}")
        problems.raise_if_any(SkyMapError)

    def cell_of(self, ra: Any, dec: Any) -> npt.NDArray[np.int64]:
        """Return the number of the cell that holds each position, degrees."""
        from astropy import units as u

        found = _library().lonlat_to_healpix(
            np.asarray(ra, float) * u.deg, np.asarray(dec, float) * u.deg, self.nside, order=self.order
        )
        return np.atleast_1d(found).astype(np.int64)


Layout = Listed | Around | Rings | Healpix


def _library() -> Any:
    try:
        from astropy_healpix import core
    except ImportError:
        raise SkyMapError(
            "a healpix sky map needs astropy-healpix: pip install 'supertask[healpix]'"
        ) from None
    return core


def digest(tracts: Iterable[Tract]) -> str:
    """Return 16 hexadecimal digits that are the same for tracts equal to a billionth of a degree."""
    h = hashlib.blake2b(digest_size=8)
    for t in tracts:
        place = f"{t.tract} {t.ra:.9f} {t.dec:.9f} {t.pixel_scale:.9g}"
        h.update(f"{place} {t.nx} {t.ny} {t.width} {t.height} {t.border}\n".encode())
    return h.hexdigest()
