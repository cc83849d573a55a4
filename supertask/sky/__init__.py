"""The sky: maps of tracts and patches, footprints of detectors, and which of them overlap.

- `sphere` reckons with unit vectors; `footprint` makes an outline of a WCS; `footprints` holds many in
  columns and keeps them in a repository.
- `skymap` divides the sky into `tracts`, and these into patches; `overlaps` finds in bulk which
  footprints meet which patches; `relate` stores that as the unit model's spatial relation, and
  `ingested` does so at ingest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supertask.sky.footprint import FootprintError
    from supertask.sky.footprints import Footprints, FootprintStore
    from supertask.sky.ingested import keep_footprints, relate_all
    from supertask.sky.overlaps import Overlaps
    from supertask.sky.relate import compare
    from supertask.sky.skymap import SkyMap
    from supertask.sky.tracts import SkyMapError, Tract

_HOME = {
    "FootprintError": "footprint",
    "FootprintStore": "footprints",
    "Footprints": "footprints",
    "Overlaps": "overlaps",
    "SkyMap": "skymap",
    "SkyMapError": "tracts",
    "Tract": "tracts",
    "compare": "relate",
    "keep_footprints": "ingested",
    "relate_all": "ingested",
}

__all__ = [
    "FootprintError",
    "FootprintStore",
    "Footprints",
    "Overlaps",
    "SkyMap",
    "SkyMapError",
    "Tract",
    "compare",
    "keep_footprints",
    "relate_all",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
