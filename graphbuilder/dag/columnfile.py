"""Columns in an HDF5 file: a long one as a dataset of its own, all short ones packed in one.

A dataset costs HDF5 a tenth of a millisecond to make and as much to open, and a plan of a few quanta has as
many columns as one of millions. So short columns, each compressed by itself, lie end to end in the dataset
``packed``, and ``index``, which is JSON, says of each its type, its shape and where it ends. Long columns are
chunked and compressed by HDF5. Every chunk carries a checksum (Fletcher-32), and a seal over all contents
stands in the root.
"""

from __future__ import annotations

import json
import zlib
from functools import partial
from hashlib import blake2b
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5d, h5p, h5s, h5t

from graphbuilder.dag.columns import FileColumn, texts
from supertask.errors import DagFileError

__all__ = ["ColumnReader", "ColumnWriter"]

_SHORT = 1 << 17
"""Bytes; longer columns are datasets of their own."""
_CHUNK = 1 << 14
_COMPACT = 1 << 12
"""Bytes; shorter datasets lie in the object header."""
_TINY = 1 << 6
"""Bytes; of fewer, nothing is gained that is worth setting up a compressor."""


class ColumnWriter:
    """Writes columns, and the seal over all datasets.

    Parameters
    ----------
    file : h5py.File
        An empty file, open for writing.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._seal = blake2b(digest_size=32)
        self._links = h5p.create(h5p.LINK_CREATE)
        self._links.set_create_intermediate_group(True)
        self._packed: list[bytes] = []
        self._index: dict[str, tuple[str, tuple[int, ...], int]] = {}
        self._end = 0

    def column(self, name: str, values: Any) -> None:
        """Write a column: an array of one dimension, or one of digests."""
        array = np.ascontiguousarray(values)
        if array.nbytes > _SHORT:
            self._store(name, array, _filtered(array))
            return
        squeezed = _squeezed(array)
        self._packed.append(squeezed)
        self._end += len(squeezed)
        self._index[name] = (array.dtype.str, array.shape, self._end)

    def text(self, name: str, value: Any) -> None:
        """Write a value as JSON."""
        self.column(name, _json(value))

    def finish(self) -> None:
        """Write what was packed, and the seal."""
        packed, index = np.frombuffer(b"".join(self._packed), np.uint8), _json(self._index)
        self._store("packed", packed, _checked(packed))
        self._store("index", index, _filtered(index))
        self._file.attrs["seal"] = self._seal.hexdigest()

    def _store(self, name: str, array: npt.NDArray[Any], layout: h5p.PropDCID) -> None:
        _stamp(self._seal, name, array)
        # The low-level calls: create_dataset costs several times as much.
        dtype, space = h5t.py_create(array.dtype), h5s.create_simple(array.shape)
        place = h5d.create(self._file.id, name.encode(), dtype, space, layout, self._links)
        if array.size:
            place.write(h5s.ALL, h5s.ALL, array)


class ColumnReader:
    """Reads columns, whole and for the seal, or to be read where they are asked for.

    Parameters
    ----------
    file : h5py.File
        The file, kept open by columns that are not read yet.
    lazy : bool
        Whether to leave columns in the file until they are asked for.
    """

    def __init__(self, file: h5py.File, *, lazy: bool) -> None:
        self._file = file
        self._lazy = lazy
        self._seal = None if lazy else blake2b(digest_size=32)
        self._packed = b""
        self._index: dict[str, tuple[str, list[int], int, int]] = {}
        if "index" not in file:
            return  # before format 3 nothing was packed
        self._packed = self._dataset("packed")[:].tobytes()
        begin = 0
        for name, (dtype, shape, end) in json.loads(self._dataset("index")[:].tobytes()).items():
            self._index[name] = (dtype, shape, begin, end)
            begin = end

    def column(self, name: str, *, text: bool = False) -> Any:
        """Return a column; of UTF-8 strings, if they are text, as an object array of str."""
        if self._seal is None:
            return FileColumn(partial(self._open, name), text=text)
        array = self._open(name)[:]
        if name not in self._index:
            _stamp(self._seal, name, array)
        return texts(array) if text else array

    def text(self, name: str) -> Any:
        """Return a value that was written as JSON."""
        return json.loads(self._open(name)[:].tobytes())

    def check_seal(self, *names: str) -> None:
        """Refuse contents that are not those sealed; `names` were read as texts.

        Raises
        ------
        DagFileError
            They are not.
        """
        if self._seal is None:
            return
        for name in (*names, "packed", "index"):
            if name in self._file:
                _stamp(self._seal, name, self._dataset(name)[:])
        if self._seal.hexdigest() != self._file.attrs.get("seal"):
            raise DagFileError("its contents do not match its seal: it was altered")

    def _open(self, name: str) -> Any:
        """Return a column as an array, if it is packed, or else as the dataset that it is."""
        if name not in self._index:
            return self._dataset(name)
        dtype, shape, begin, end = self._index[name]
        return _unsqueezed(self._packed[begin:end], np.dtype(dtype), shape)

    def _dataset(self, name: str) -> h5py.Dataset:
        # The low-level call: the mapping interface of h5py costs several times as much.
        return h5py.Dataset(h5d.open(self._file.id, name.encode()))


def _json(value: Any) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _checked(array: npt.NDArray[Any]) -> h5p.PropDCID:
    """Return the layout of a dataset that has checksums."""
    layout = h5p.create(h5p.DATASET_CREATE)
    layout.set_fill_time(h5d.FILL_TIME_NEVER)
    if array.nbytes <= _COMPACT:
        layout.set_layout(h5d.COMPACT)  # the header has a checksum of its own
        return layout
    layout.set_chunk((min(len(array), _CHUNK if array.ndim == 1 else _CHUNK // 4), *array.shape[1:]))
    layout.set_fletcher32()
    return layout


def _filtered(array: npt.NDArray[Any]) -> h5p.PropDCID:
    """Return the layout of a dataset that is compressed, too."""
    layout = _checked(array)
    if array.ndim == 1 and array.nbytes > _COMPACT:
        # Digests do not compress; trying costs more time than all else together.
        layout.set_shuffle()
        layout.set_deflate(1)
    return layout


def _squeezed(array: npt.NDArray[Any]) -> bytes:
    """Return the first bytes of all values, then the second ones …, compressed where that is shorter."""
    planes = array.view(np.uint8).reshape(-1, array.itemsize).T.tobytes() if array.size else b""
    if array.ndim > 1 or len(planes) < _TINY:
        return planes
    squeezed = zlib.compress(planes, 1)
    return squeezed if len(squeezed) < len(planes) else planes


def _unsqueezed(stored: bytes, dtype: np.dtype[Any], shape: list[int]) -> npt.NDArray[Any]:
    array = np.empty(shape, dtype)
    planes = stored if len(stored) == array.nbytes else zlib.decompress(stored)
    if array.size:
        array.view(np.uint8).reshape(-1, dtype.itemsize)[:] = (
            np.frombuffer(planes, np.uint8).reshape(dtype.itemsize, -1).T
        )
    return array


def _stamp(seal: Any, name: str, array: npt.NDArray[Any]) -> None:
    seal.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
    seal.update(array.view(np.uint8).data if array.size else b"")
