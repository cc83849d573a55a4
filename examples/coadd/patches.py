"""The pixels of a patch of a sky map.

A repository keeps the sky map's configuration for itself; tasks get it as the dataset `sky_map`, its YAML
text, so that a change of it changes the identity of all that is made on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from supertask.sky.skymap import Box, SkyMap

__all__ = ["PatchGrid", "patch_grid"]


@attrs.frozen(eq=False)
class PatchGrid:
    """The pixels of one patch, border included."""

    wcs: WCS
    box: Box
    """Of the patch in pixels of the tract: x0, y0, x1, y1, ends exclusive."""
    inner_box: Box
    """Of the part that no other patch has."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0

    @property
    def inner(self) -> tuple[slice, slice]:
        """The pixels of the part that no other patch has."""
        left, bottom = self.box[:2]
        x0, y0, x1, y1 = self.inner_box
        return slice(y0 - bottom, y1 - bottom), slice(x0 - left, x1 - left)

    def owns(self, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Tell which positions, in pixels of the patch, are in its inner part: each is in one patch alone."""
        rows, columns = self.inner
        inside: npt.NDArray[np.bool_] = (x >= columns.start - 0.5) & (x < columns.stop - 0.5)
        inside &= (y >= rows.start - 0.5) & (y < rows.stop - 0.5)
        return inside


def patch_grid(sky_map: SkyMap | str, dataId: Mapping[str, Any]) -> PatchGrid:
    """Return the pixels of the patch that a data ID names.

    Parameters
    ----------
    sky_map : SkyMap or str
        The sky map, or its YAML text.
    dataId : Mapping
        With tract and patch.
    """
    known = sky_map if isinstance(sky_map, SkyMap) else SkyMap.from_yaml(sky_map)
    tract, patch = int(dataId["tract"]), int(dataId["patch"])
    return PatchGrid(
        known.patch_wcs(tract, patch),
        known.patch_bbox(tract, patch),
        known.patch_bbox(tract, patch, inner=True),
    )
