"""The pixel grid of a tract and of its patches.

A tract is one tangent plane with square pixels, north up and east left. Its patches tile it in columns
and rows, patch 0 at the lower left; around each stands a border that it shares with its neighbours, so
that a star on a seam is whole in both. The description is plain data, the dataset `skymap` of a sky map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from supertask.config import Config, field

__all__ = ["PatchGrid", "SkyMap", "Tract"]


class Tract(Config):
    """One tangent plane, divided into patches."""

    ra: float = field(doc="Right ascension of the tangent point, ICRS.", unit="deg")
    dec: float = field(doc="Declination of the tangent point, ICRS.", unit="deg", min=-90.0, max=90.0)
    pixel_scale: float = field(doc="Width of a pixel at the tangent point.", unit="arcsec", min=1e-6)
    columns: int = field(doc="Patches from left to right.", min=1)
    rows: int = field(doc="Patches from bottom to top.", min=1)
    patch_width: int = field(doc="Columns of a patch.", unit="pix", min=1)
    patch_height: int = field(doc="Rows of a patch.", unit="pix", min=1)
    border: int = field(0, doc="Pixels around a patch that it shares with its neighbours.", unit="pix", min=0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the whole tract."""
        return self.rows * self.patch_height, self.columns * self.patch_width

    @property
    def wcs(self) -> WCS:
        """Of the whole tract; the tangent point is the middle of pixel (width/2, height/2), counted from 1."""
        made = WCS(naxis=2)
        made.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        made.wcs.cunit = ["deg", "deg"]
        made.wcs.radesys = "ICRS"
        made.wcs.crval = [self.ra, self.dec]
        made.wcs.cdelt = [-self.pixel_scale / 3600.0, self.pixel_scale / 3600.0]
        made.wcs.crpix = [self.shape[1] / 2, self.shape[0] / 2]
        made.array_shape = self.shape
        return made

    def patch(self, number: int) -> PatchGrid:
        """Return the pixels of a patch.

        Raises
        ------
        ValueError
            There is no such patch.
        """
        if not 0 <= number < self.columns * self.rows:
            raise ValueError(f"a tract of {self.columns} by {self.rows} patches has no patch {number}")
        row, column = divmod(number, self.columns)
        y0, x0 = row * self.patch_height - self.border, column * self.patch_width - self.border
        shape = (self.patch_height + 2 * self.border, self.patch_width + 2 * self.border)
        wcs = self.wcs
        wcs.wcs.crpix = [wcs.wcs.crpix[0] - x0, wcs.wcs.crpix[1] - y0]
        wcs.array_shape = shape
        return PatchGrid(wcs, shape, self.border, (y0, x0))


class SkyMap(Config):
    """A division of the sky: tracts by number."""

    tracts: dict[int, Tract] = field(doc="Tract number → tract.")

    def tract(self, number: int) -> Tract:
        """Return a tract.

        Raises
        ------
        ValueError
            There is no such tract.
        """
        if number not in self.tracts:
            raise ValueError(f"the sky map has no tract {number}; it has {', '.join(map(str, self.tracts))}")
        found: Tract = self.tracts[number]
        return found

    def patch(self, dataId: Mapping[str, Any]) -> PatchGrid:
        """Return the pixels of the patch that a data ID names."""
        return self.tract(int(dataId["tract"])).patch(int(dataId["patch"]))


@attrs.frozen(eq=False)
class PatchGrid:
    """The pixels of one patch, border included."""

    wcs: WCS
    shape: tuple[int, int]
    border: int
    origin: tuple[int, int]
    """Row and column of its first pixel in the tract."""

    @property
    def inner(self) -> tuple[slice, slice]:
        """The pixels that are its own and no neighbour's."""
        ny, nx = self.shape
        return slice(self.border, ny - self.border), slice(self.border, nx - self.border)

    def owns(self, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Tell which positions, in pixels of the patch, are in its inner part: each is in one patch alone."""
        ny, nx = self.shape
        low, right, top = self.border - 0.5, nx - self.border - 0.5, ny - self.border - 0.5
        inside: npt.NDArray[np.bool_] = (x >= low) & (x < right) & (y >= low) & (y < top)
        return inside
