"""Columns in which a Butler and the RepoGraph exchange units, datasets and relations in bulk.

A Butler numbers every instance of a unit with an integer ID of its own (``visit`` 42 of ``Cam``
may be row 7). Everything in bulk speaks of these IDs; keys are looked up once, at the edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import attrs
import numpy as np
import numpy.typing as npt

from supertask.datasets import Dataset
from supertask.filerecords import FileRecord

__all__ = ["DatasetRows", "FileRecord", "RelationRows", "TextColumn", "UnitRows", "ValidityRows"]

IdColumn = npt.NDArray[np.int64]


class TextColumn(Sequence[str]):
    """A column of strings in one block of memory: a million of them cost their bytes, not objects.

    Parameters
    ----------
    data : bytes
        All strings in UTF-8, each followed by a zero byte.

    Notes
    -----
    Strings are made when asked for. An array of indices or a slice gives another column, which
    shares the block.
    """

    __slots__ = ("_data", "_ends", "_starts")

    def __init__(self, data: bytes = b"") -> None:
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
        starts = np.zeros(len(ends), np.int64)
        starts[1:] = ends[:-1] + 1
        self._data = data
        self._starts: npt.NDArray[np.int64] = starts
        self._ends: npt.NDArray[np.int64] = ends

    @classmethod
    def from_strings(cls, strings: Iterable[str]) -> TextColumn:
        """Make one of strings, none of which may hold a zero character."""
        return cls("".join(f"{s}\0" for s in strings).encode())

    @classmethod
    def concatenate(cls, columns: Sequence[TextColumn]) -> TextColumn:
        """Join columns end to end."""
        new = cls.__new__(cls)
        shifts = np.cumsum([0, *(len(c._data) for c in columns)])[:-1]
        new._data = b"".join(c._data for c in columns)
        empty = np.empty(0, np.int64)
        new._starts = np.concatenate([empty, *(c._starts + s for c, s in zip(columns, shifts, strict=True))])
        new._ends = np.concatenate([empty, *(c._ends + s for c, s in zip(columns, shifts, strict=True))])
        return new

    def packed(self) -> tuple[IdColumn, npt.NDArray[np.uint8]]:
        """Return where each string ends in one heap of bytes, shape (n,), and that heap, without gaps."""
        lengths = self._ends - self._starts
        ends = np.cumsum(lengths)
        if len(ends) == self._data.count(b"\0") and (np.diff(self._starts) > 0).all():
            # All strings of the block, in its order: what is between them goes.
            return ends, np.frombuffer(self._data.replace(b"\0", b""), np.uint8)
        heap = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
        data = np.frombuffer(self._data, np.uint8)
        # In pieces, as the index of every byte takes eight bytes.
        for first in range(0, len(ends), 4096):
            part = slice(first, first + 4096)
            begin = int(ends[first] - lengths[first])
            shift = np.repeat(self._starts[part] - (ends[part] - lengths[part]), lengths[part])
            stop = begin + len(shift)
            heap[begin:stop] = data[np.arange(begin, stop) + shift]
        return ends, heap

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice | npt.NDArray[Any]) -> TextColumn: ...
    def __getitem__(self, index: Any) -> str | TextColumn:
        if isinstance(index, slice | np.ndarray):
            new = type(self).__new__(type(self))
            new._data, new._starts, new._ends = self._data, self._starts[index], self._ends[index]
            return new
        return self._data[self._starts[index] : self._ends[index]].decode()

    def __iter__(self) -> Iterator[str]:
        data = self._data
        for start, end in zip(self._starts.tolist(), self._ends.tolist(), strict=True):
            yield data[start:end].decode()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3])) + (", …" if len(self) > 3 else "")
        return f"<TextColumn of {len(self)}: {shown}>"


@attrs.frozen(eq=False)
class UnitRows:
    """Instances of one unit."""

    unit: str
    ids: IdColumn
    """Shape (n,), int64: the Butler's row IDs."""
    keys: npt.NDArray[Any]
    """Shape (n,): int64, or str as dtype object."""
    links: dict[str, IdColumn]
    """Parent and implied units → their row IDs, -1 where null."""
    fields: dict[str, npt.NDArray[Any]]
    """Field → values, shape (n,): int64, float64, bool, or object for str. Those asked for."""
    nulls: dict[str, npt.NDArray[np.bool_]]
    """Fields with nulls → where, shape (n,)."""


@attrs.frozen(eq=False)
class DatasetRows:
    """Datasets of one type, at most one for each data ID (the first found wins)."""

    dataset_type: type[Dataset]
    ids: IdColumn
    """Shape (n,), int64: the Butler's dataset IDs."""
    units: dict[str, IdColumn]
    """Leaf units of the type → row IDs of the unit, shape (n,)."""
    identities: npt.NDArray[np.uint8]
    """Shape (n, 16): content identity of each dataset."""
    locations: Sequence[str]
    """Where each is stored: relative to the repository's root, or absolute; a `TextColumn` if many."""
    sizes: npt.NDArray[np.int64]
    """Shape (n,), bytes, -1 where unknown."""


@attrs.frozen(eq=False)
class MadeRows:
    """Datasets of one type in RUN collections: all that there are, of equal data ID too."""

    datasets: DatasetRows
    runs: tuple[str, ...]
    """The collections, in the order of the search."""
    run: npt.NDArray[np.int64]
    """Shape (n,): in which of `runs` each is."""


@attrs.frozen(eq=False)
class ValidityRows:
    """Calibrations of one type with the times for which they are valid."""

    datasets: DatasetRows
    begin: npt.NDArray[np.int64]
    """Shape (n,), TAI ns since 1970, inclusive; -2**63 where unbounded."""
    end: npt.NDArray[np.int64]
    """Shape (n,), TAI ns since 1970, exclusive; 2**63 - 1 where unbounded."""


@attrs.frozen(eq=False)
class RelationRows:
    """Rows of one relation."""

    relation: str
    units: dict[str, IdColumn]
    """Leaf units of both sides → row IDs, shape (n,)."""
