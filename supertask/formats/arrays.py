"""NumPy's own files: one array, or several by name."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from supertask.errors import StorageError
from supertask.formats.port import StorageFormat

__all__ = ["Numpy"]


class Numpy(StorageFormat):
    """An array (as NPY) or a dict of arrays (as NPZ); which of them the file says itself.

    Parameter ``mmap=True`` maps a single array instead of reading it; ``arrays=[…]`` picks some by name.
    """

    name = "numpy"
    extension = ".npy"
    parameters = frozenset({"arrays", "mmap"})

    def write(self, value: Any, path: str) -> None:
        """Write an array, or several by name."""
        if isinstance(value, Mapping):
            arrays = {}
            for key, item in value.items():
                if not isinstance(key, str) or not key or "/" in key or "\\" in key:
                    raise StorageError(f"numpy keeps arrays by name; {key!r} is no name for one")
                arrays[key] = self._array(item, f"value[{key!r}]")
            # An entry's date is 1980 unless one is given, so the bytes depend on the arrays alone.
            with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                for key, array in arrays.items():
                    with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, array, allow_pickle=False)
            return
        array = self._array(value, "value")
        with open(path, "wb") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)

    @staticmethod
    def _array(value: Any, where: str) -> np.ndarray[Any, Any]:
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise StorageError(
                f"numpy keeps arrays of numbers, text and times, or a dict of such; {where} is "
                f"{type(value).__qualname__} with objects in it"
            )
        if np.ma.isMaskedArray(value) and np.ma.is_masked(value):
            raise StorageError(
                f"numpy keeps arrays without masks; {where} is a masked array: use hdf5 or a table"
            )
        return array

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read what there is, map it, or read some of it."""
        wanted = parameters.get("arrays")
        try:
            found = np.load(path, allow_pickle=False, mmap_mode="r" if parameters.get("mmap") else None)
            if isinstance(found, np.ndarray):
                if wanted is not None:
                    raise StorageError(f"{path} holds one array, so 'arrays' has nothing to pick from")
                return found
            with found:
                missing = sorted(set(wanted or ()) - set(found.files))
                if missing:
                    raise StorageError(
                        f"{path} has no array {', '.join(missing)}; it has {', '.join(found.files)}"
                    )
                return {key: found[key] for key in (found.files if wanted is None else wanted)}
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise StorageError(f"{path} is not NumPy's, or truncated: {error}") from None
