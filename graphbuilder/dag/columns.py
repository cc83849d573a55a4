"""Columns that lie in an HDF5 file or in one heap of bytes, and are read where they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FileColumn", "StringColumn"]

_SPAN = 1 << 16


class FileColumn:
    """An HDF5 dataset that answers slices and arrays of indices as a numpy array does.

    h5py's own fancy indexing wants ascending distinct indices and takes each by itself; rows that
    belong together lie together here, so one slice around them is read instead.
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        self.shape = data.shape
        self.dtype = data.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, np.ndarray):
            return self._data[index]
        if not len(index):
            return np.empty((0, *self.shape[1:]), self.dtype)
        low, high = int(index.min()), int(index.max()) + 1
        if low < 0:
            raise IndexError("negative rows are nobody's")
        if high - low <= max(_SPAN, 16 * len(index)):
            return self._data[low:high][index - low]
        distinct, inverse = np.unique(index, return_inverse=True)
        return self._data[distinct][inverse]

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        whole: npt.NDArray[Any] = self._data[:]
        return whole if dtype is None else whole.astype(dtype)


class StringColumn(Sequence[str]):
    """Strings in one heap of UTF-8 bytes: cheap to keep by the million, decoded one by one.

    Parameters
    ----------
    ends : array-like
        Shape (n,), int64: where each string ends in the heap.
    heap : array-like
        uint8.
    """

    def __init__(self, ends: Any, heap: Any) -> None:
        self.ends = ends
        self.heap = heap

    @classmethod
    def from_strings(cls, strings: Iterable[str]) -> StringColumn:
        """Pack strings."""
        encoded = [s.encode() for s in strings]
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        return cls(ends, np.frombuffer(b"".join(encoded), np.uint8))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if isinstance(index, np.ndarray):
            return StringColumn.from_strings(self[i] for i in index.tolist())
        i = int(index)
        begin = int(self.ends[i - 1]) if i else 0
        return bytes(self.heap[begin : int(self.ends[i])]).decode()
