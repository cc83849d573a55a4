"""HDF5: arrays, numbers and text by name, in groups as deep as one likes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from supertask.errors import StorageError, did_you_mean
from supertask.formats.port import StorageFormat

__all__ = ["Hdf5"]

_KIND = "supertask_kind"
"""Attribute of datasets whose Python type HDF5 does not tell."""


class Hdf5(StorageFormat):
    """A dict of arrays, numbers, text, None and further dicts.

    Parameter ``dataset="a/b"`` reads only that part; ``rows=(first, last)`` with it only those rows.
    """

    name = "hdf5"
    extension = ".h5"
    parameters = frozenset({"dataset", "rows"})

    def write(self, value: Any, path: str) -> None:
        """Write a dict."""
        import h5py

        if not isinstance(value, Mapping):
            raise StorageError(
                f"hdf5 keeps a dict of arrays, numbers and text, not {type(value).__qualname__}"
            )
        plain = _check(value, "value")
        with h5py.File(path, "w", track_order=True) as file:
            _write_group(file, plain)

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read the dict, or a part of it."""
        import h5py

        wanted = parameters.get("dataset")
        if "rows" in parameters and wanted is None:
            raise StorageError("parameter 'rows' needs 'dataset': which array to take them from")
        try:
            with h5py.File(path, "r", locking=False) as file:
                if wanted is None:
                    return _read(file)
                if wanted not in file:
                    there: list[str] = []
                    file.visit(there.append)
                    raise StorageError(
                        f"{path} has no dataset {wanted!r}{did_you_mean(str(wanted), there)}; "
                        f"it has {', '.join(there)}"
                    )
                return _read(file[wanted], parameters.get("rows"))
        except FileNotFoundError:
            raise
        except (OSError, RuntimeError, KeyError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise StorageError(f"{path} is not HDF5, or truncated: {error}") from error


def _check(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str) or not key or "/" in key or "\0" in key or key == ".":
            raise StorageError(f"hdf5 keeps names without '/'; {where} has {key!r}")
        inside = f"{where}[{key!r}]"
        if isinstance(item, Mapping):
            plain[key] = _check(item, inside)
        elif item is None or isinstance(item, str | bool | int | float | complex | bytes):
            if isinstance(item, str) and "\0" in item:
                raise StorageError(f"hdf5 keeps no text with a zero character; {inside} has one")
            plain[key] = item
        else:
            array = np.asarray(item)
            if array.dtype.kind not in "biufcUSV":
                raise StorageError(
                    f"hdf5 keeps arrays of numbers and text, numbers, text, None and dicts; {inside} is "
                    f"{type(item).__qualname__} of dtype {array.dtype}"
                )
            plain[key] = array
    return plain


def _write_group(group: Any, value: Mapping[str, Any]) -> None:
    import h5py

    for key, item in value.items():
        if isinstance(item, dict):
            _write_group(group.create_group(key, track_order=True), item)
        elif item is None:
            group.create_dataset(key, data=h5py.Empty("f8"))
        elif isinstance(item, np.ndarray):
            if item.dtype.kind == "U":
                # Text of any length in UTF-8; the width says what to make of it again.
                made = group.create_dataset(key, data=item.astype(object), dtype=h5py.string_dtype())
                made.attrs[_KIND] = item.dtype.str[1:]
            else:
                group.create_dataset(key, data=item)
        elif isinstance(item, bytes):
            group.create_dataset(key, data=np.frombuffer(item, np.uint8)).attrs[_KIND] = "bytes"
        else:
            group.create_dataset(key, data=item).attrs[_KIND] = type(item).__name__


_SCALARS = {"bool": bool, "int": int, "float": float, "complex": complex}


def _read(item: Any, rows: Any = None) -> Any:
    import h5py

    if isinstance(item, h5py.Group):
        if rows is not None:
            raise StorageError(f"{item.name!r} is a group, and has no rows")
        return {key: _read(child) for key, child in item.items()}
    kind = item.attrs.get(_KIND)
    if item.shape is None:
        return None
    if rows is not None:
        first, last = _rows(rows, item)
        value = item.asstr()[first:last] if kind and kind[0] == "U" else item[first:last]
    elif kind and kind[0] == "U":
        value = item.asstr()[()]
    elif kind == "str" or (kind is None and h5py.check_string_dtype(item.dtype) and item.shape == ()):
        return item.asstr()[()]
    else:
        value = item[()]
    if kind == "bytes":
        return value.tobytes()
    if kind in _SCALARS:
        return _SCALARS[kind](value)
    return np.asarray(value, dtype=np.dtype(kind)) if kind else np.asarray(value)


def _rows(rows: Any, item: Any) -> tuple[int, int]:
    try:
        first, last = (int(r) for r in rows)
    except (TypeError, ValueError):
        raise StorageError(f"rows must be (first, last); got {rows!r}") from None
    if not item.shape or not 0 <= first <= last <= item.shape[0]:
        raise StorageError(f"rows {(first, last)} are not within {item.name!r}, which has shape {item.shape}")
    return first, last
