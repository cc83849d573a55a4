"""Storage formats by name: those shipped, and those of other packages."""

from __future__ import annotations

import importlib
from functools import lru_cache

from supertask.errors import StorageError, did_you_mean
from supertask.formats.port import StorageFormat

__all__ = ["ENTRY_POINT_GROUP", "find_format", "known_formats"]

ENTRY_POINT_GROUP = "supertask.formats"
"""Each entry point is a subclass of `StorageFormat`; its name is the format's."""

# Not entry points, so that they need no look-up in the metadata of everything installed.
_SHIPPED = {
    "ecsv": "tables:Ecsv",
    "fits_hdus": "fits_hdus:FitsHdus",
    "fits_image": "fits_image:FitsImage",
    "fits_table": "tables:FitsTable",
    "hdf5": "hdf5:Hdf5",
    "json": "text:Json",
    "numpy": "arrays:Numpy",
    "parquet": "tables:Parquet",
    "spectrum": "spectrum:SpectrumFits",
    "text": "text:Text",
    "yaml": "text:Yaml",
}


def known_formats() -> tuple[str, ...]:
    """Return the names of all storage formats that are installed."""
    from importlib.metadata import entry_points

    return tuple(sorted({*_SHIPPED, *(e.name for e in entry_points(group=ENTRY_POINT_GROUP))}))


@lru_cache(maxsize=256)
def find_format(name: str) -> StorageFormat:
    """Return the storage format of that name.

    Raises
    ------
    StorageError
        There is none, or the package that has it cannot be imported.
    """
    if name in _SHIPPED:
        module, _, cls = _SHIPPED[name].partition(":")
        shipped: StorageFormat = getattr(importlib.import_module(f"supertask.formats.{module}"), cls)()
        return shipped
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINT_GROUP, name=name):
        try:
            found = entry.load()
        except ImportError as error:
            raise StorageError(
                f"storage format {name!r} ({entry.value}) cannot be imported: {error}"
            ) from error
        if not isinstance(found, type) or not issubclass(found, StorageFormat):
            raise StorageError(f"storage format {name!r} ({entry.value}) is no subclass of StorageFormat")
        return found()
    known = known_formats()
    raise StorageError(
        f"there is no storage format {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}"
    )
