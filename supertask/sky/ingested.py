"""Footprints of what is being ingested: kept, and related to every sky map that the repository has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from supertask.butler.port import AbstractButler
from supertask.sky.footprints import Footprints, FootprintStore
from supertask.sky.relate import Related, footprint_units, relate
from supertask.sky.skymap import SkyMap

__all__ = ["keep_footprints", "relate_all"]


def keep_footprints(
    butler: AbstractButler,
    outlines: Iterable[tuple[Mapping[str, Any], Any]],
    *,
    replace: bool = False,
) -> int:
    """Keep footprints, and extend the relation with the patches that they overlap.

    Parameters
    ----------
    butler : AbstractButler
        The repository; units of the footprints must be known.
    outlines : iterable of (Mapping, array_like)
        Unit values, and positions (ra and dec, degrees) of the outline.
    replace : bool, optional
        Whether they take the place of earlier ones of their data IDs. What was related by those
        stays related until it is removed.

    Returns
    -------
    int
        How many pairs are new in the relation.
    """
    units = footprint_units(butler.model)
    if not units or not butler.root:
        return 0
    footprints = Footprints.from_outlines(
        units,
        [(values, outline) for values, outline in outlines if all(values.get(u) is not None for u in units)],
    )
    FootprintStore(butler.root).add(footprints, replace=replace)
    return sum(relate(butler, skymap, footprints).new for skymap in SkyMap.load_all(butler.root))


def relate_all(butler: AbstractButler, skymap: SkyMap) -> Related:
    """Relate all footprints that a repository keeps to a sky map, as after registering a new one."""
    return relate(butler, skymap, FootprintStore(butler.root).read(footprint_units(butler.model)))
