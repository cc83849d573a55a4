"""The sky: maps of tracts and patches, footprints of detectors, and which of them overlap.

- `sphere` reckons with unit vectors; `footprint` makes an outline of a WCS; `footprints` holds many in
  columns and keeps them in a repository.
- `skymap` divides the sky into `tracts`, and these into patches, as `layouts` lay them; `division` is
  what can be asked of that, and `skymapfile` reads and writes the configuration.
- `regions` says which footprints, patches and tracts overlap a circle, polygon, box, visit or tract.
- `given` takes footprints from a table.
- `overlaps` finds in bulk which footprints meet which patches; `relate` stores that as the unit
  model's spatial relation, and `ingested` does so at ingest. `planes` is what both have of shapely.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supertask.sky.footprint import FootprintError
    from supertask.sky.footprints import Footprints, FootprintStore
    from supertask.sky.given import load_footprints
    from supertask.sky.ingested import Kept, check_relation, keep_footprints, recompute, relate_all
    from supertask.sky.overlaps import Overlaps
    from supertask.sky.regions import (
        Area,
        Box,
        Circle,
        Polygon,
        Region,
        RegionError,
        meets,
        patches_in,
        region_of_footprints,
        region_of_patch,
        region_of_tract,
        tracts_in,
    )
    from supertask.sky.relate import compare
    from supertask.sky.skymap import SkyMap
    from supertask.sky.tracts import SkyMapError, Tract

_HOME = {
    "Area": "regions",
    "Box": "regions",
    "Circle": "regions",
    "FootprintError": "footprint",
    "FootprintStore": "footprints",
    "Footprints": "footprints",
    "Kept": "ingested",
    "Overlaps": "overlaps",
    "Polygon": "regions",
    "Region": "regions",
    "RegionError": "regions",
    "SkyMap": "skymap",
    "SkyMapError": "tracts",
    "Tract": "tracts",
    "check_relation": "ingested",
    "compare": "relate",
    "keep_footprints": "ingested",
    "load_footprints": "given",
    "meets": "regions",
    "patches_in": "regions",
    "recompute": "ingested",
    "region_of_footprints": "regions",
    "region_of_patch": "regions",
    "region_of_tract": "regions",
    "relate_all": "ingested",
    "tracts_in": "regions",
}

__all__ = [
    "Area",
    "Box",
    "Circle",
    "FootprintError",
    "FootprintStore",
    "Footprints",
    "Kept",
    "Overlaps",
    "Polygon",
    "Region",
    "RegionError",
    "SkyMap",
    "SkyMapError",
    "Tract",
    "check_relation",
    "compare",
    "keep_footprints",
    "load_footprints",
    "meets",
    "patches_in",
    "recompute",
    "region_of_footprints",
    "region_of_patch",
    "region_of_tract",
    "relate_all",
    "tracts_in",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
