"""Tracts: pieces of sky with one tangent plane each, and the grid of patches on it."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.errors import SuperTaskError
from supertask.sky.sphere import from_plane, radec_of

__all__ = ["Box", "SkyMapError", "Tract"]

Box = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)`` in pixels of a tract, the first pixel being 0 and the ends exclusive."""


class SkyMapError(SuperTaskError):
    """A sky map is not valid, or is not known, or another one has its name."""


@attrs.frozen
class Tract:
    """A piece of sky with one tangent plane (FITS ``TAN``), north up."""

    tract: int
    ra: float
    """Right ascension of the tangent point, degrees ICRS."""
    dec: float
    """Declination of the tangent point, degrees ICRS."""
    pixel_scale: float
    """Arcsec per pixel."""
    nx: int
    ny: int
    width: int
    """Of a patch's inner region, pixels along x."""
    height: int
    """Of a patch's inner region, pixels along y."""
    border: int = 0
    """Pixels that a patch has beyond its inner region on each side."""

    @property
    def n_patches(self) -> int:
        """Number of patches."""
        return self.nx * self.ny

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the whole tract."""
        return self.ny * self.height, self.nx * self.width

    @property
    def scale(self) -> float:
        """Pixels per radian on the tangent plane."""
        return float(np.rad2deg(1.0)) * 3600.0 / self.pixel_scale

    @property
    def radius(self) -> float:
        """Of a circle on the sky around the tract, radians."""
        return float(np.arctan(np.hypot(*self.shape) / 2.0 / self.scale))

    def patch_xy(self, patch: int) -> tuple[int, int]:
        """Return column and row of a patch.

        Raises
        ------
        SkyMapError
            There is no such patch.
        """
        if not 0 <= patch < self.n_patches:
            raise SkyMapError(
                f"tract {self.tract} has patches 0 to {self.n_patches - 1}, and no patch {patch}"
            )
        return patch % self.nx, patch // self.nx

    def boxes(self, patches: npt.NDArray[np.int64], *, inner: bool = False) -> npt.NDArray[np.int64]:
        """Return pixel boxes of patches, shape (n, 4)."""
        x0, y0 = patches % self.nx * self.width, patches // self.nx * self.height
        border = 0 if inner else self.border
        rows, columns = self.shape
        return np.stack(
            [
                np.maximum(x0 - border, 0),
                np.maximum(y0 - border, 0),
                np.minimum(x0 + self.width + border, columns),
                np.minimum(y0 + self.height + border, rows),
            ],
            axis=1,
        )

    def outlines(self, boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the corners of pixel boxes on the sky, shape (n, 4, 2): ra and dec, degrees."""
        rows, columns = self.shape
        x, y = boxes[:, [0, 2, 2, 0]], boxes[:, [1, 1, 3, 3]]
        found = from_plane((columns / 2.0 - x) / self.scale, (y - rows / 2.0) / self.scale, self.ra, self.dec)
        return np.stack(radec_of(found), axis=-1)

    def blocks(self) -> npt.NDArray[np.int64]:
        """Return pixel boxes, shape (n, 4), that make up the tract, each below 20 degrees across."""
        rows, columns = self.shape
        n = max(1, int(np.ceil(np.rad2deg(2 * self.radius) / 20.0)))
        x = np.linspace(0, columns, n + 1).astype(np.int64)
        y = np.linspace(0, rows, n + 1).astype(np.int64)
        x0, y0 = np.meshgrid(x[:-1], y[:-1])
        x1, y1 = np.meshgrid(x[1:], y[1:])
        return np.stack([x0.ravel(), y0.ravel(), x1.ravel(), y1.ravel()], axis=1)

    def wcs(self) -> Any:
        """Return the ``astropy.wcs.WCS`` of the whole tract, pixel (0, 0) first."""
        from astropy.wcs import WCS

        rows, columns = self.shape
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.crval = [self.ra, self.dec]
        wcs.wcs.crpix = [(columns + 1) / 2.0, (rows + 1) / 2.0]
        wcs.wcs.cdelt = [-self.pixel_scale / 3600.0, self.pixel_scale / 3600.0]
        wcs.wcs.radesys = "ICRS"
        # The default is 0 for a tangent point at the north pole alone, which turns the plane about.
        wcs.wcs.lonpole = 180.0
        wcs.wcs.set()
        wcs.array_shape = self.shape
        return wcs
