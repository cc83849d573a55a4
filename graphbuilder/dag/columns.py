"""Columns that lie in an HDF5 file or in one heap of bytes, and are read where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FileColumn", "StringColumn", "texts"]

_SHORT = 1 << 12
_SPAN = 1 << 16


def texts(rows: Any) -> Any:
    """Return rows of UTF-8 as an object array of str; one row as a str."""
    if not isinstance(rows, np.ndarray):
        return rows.decode()
    decoded = np.empty(rows.shape, object)
    decoded[:] = [row.decode() for row in rows.tolist()]
    return decoded


class FileColumn:
    """A column of a file that is opened and read when it is first asked for.

    It answers slices and arrays of indices as a numpy array does. h5py's own fancy indexing wants
    ascending distinct indices and takes each by itself; rows that belong together lie together
    here, so one slice around them is read instead. A short column is read once and kept.

    Parameters
    ----------
    open_column : callable
        Gives the HDF5 dataset, or an array where it is read at once.
    text : bool, optional
        Whether it holds UTF-8 strings; they are given as an object array of str.
    """

    def __init__(self, open_column: Callable[[], Any], *, text: bool = False) -> None:
        self._open = open_column
        self._text = text
        self._opened: Any = None

    @property
    def _data(self) -> Any:
        if self._opened is None:
            data = self._open()
            short = isinstance(data, np.ndarray) or data.shape[0] <= _SHORT
            self._opened = self._decoded(data[:]) if short else data
        return self._opened

    def _decoded(self, rows: Any) -> Any:
        return texts(rows) if self._text else rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole column."""
        return tuple(self._data.shape)

    def __len__(self) -> int:
        return int(self._data.shape[0])

    def __getitem__(self, index: Any) -> Any:
        data = self._data
        if isinstance(data, np.ndarray):
            return data[index]
        if not isinstance(index, np.ndarray):
            return self._decoded(data[index])
        if not len(index):
            return self._decoded(np.empty((0, *data.shape[1:]), data.dtype))
        low, high = int(index.min()), int(index.max()) + 1
        if low < 0:
            raise IndexError("negative rows are nobody's")
        if high - low <= max(_SPAN, 16 * len(index)):
            return self._decoded(data[low:high][index - low])
        distinct, inverse = np.unique(index, return_inverse=True)
        return self._decoded(data[distinct][inverse])

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        # What is read whole is not kept open: an open column has a cache of its own in HDF5.
        whole: npt.NDArray[Any] = self._decoded(self._open()[:]) if self._opened is None else self[:]
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
