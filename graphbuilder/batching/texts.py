"""Texts by the million, compared and taken apart in columns: eight bytes at a time, and exactly.

Where a number of equal texts is asked for, they are sorted by a hash and then compared with the first of
their hash, byte by byte; if two ever differ there, they are compared the long way. So no texts are taken for
each other.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.columns import StringColumn

__all__ = ["Span", "Texts"]

_WORD = 8
_CHUNK = 1 << 18
"""Bytes that are looked at together, and"""
_BLOCK = 1 << 14
"""texts: what comes of them stays in the processor's caches."""
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_BETWEEN = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)

Rows = npt.NDArray[np.int64]
Span = tuple[Rows, Rows]
"""Where something begins and ends in each text: positions in the heap, each shape (n,)."""


class Texts:
    """A column of texts, as words that begin at any byte.

    Parameters
    ----------
    strings : StringColumn
        The texts.
    """

    def __init__(self, strings: StringColumn) -> None:
        ends = np.asarray(strings.ends, np.int64)
        self.stops: Rows = ends
        self.starts: Rows = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
        # The last text needs room behind it, for a word that begins at its last byte.
        self.heap = np.concatenate([np.asarray(strings.heap, np.uint8), np.zeros(_WORD, np.uint8)])
        self._words = np.ndarray((len(self.heap) - _WORD + 1,), "<u8", self.heap.data, strides=(1,))

    def __len__(self) -> int:
        return len(self.stops)

    # -- equality -----------------------------------------------------------------------------

    def codes(self, spans: Sequence[Span]) -> Rows:
        """Return numbers of the distinct contents of some spans together, in order of appearance."""
        n = len(self)
        if not n:
            return np.empty(0, np.int64)
        spans = [span for span in spans if not self._all_alike(*span)]
        if not spans:
            return np.zeros(n, np.int64)
        hashes = np.empty(n, np.uint64)
        for block in _blocks(n):
            hashes[block] = self._hashed([(starts[block], stops[block]) for starts, stops in spans])
        _, first, codes = np.unique(hashes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        codes, first = place[codes.reshape(-1)], first[order]
        if self._differ(spans, first[codes]):
            return self._compared(spans)
        return codes.astype(np.int64, copy=False)

    def _hashed(self, spans: Sequence[Span]) -> npt.NDArray[np.uint64]:
        hashes = np.zeros(len(spans[0][0]), np.uint64)
        for starts, stops in spans:
            hashes = (hashes ^ (stops - starts).astype(np.uint64)) * _BETWEEN
            for rows, words in self._read(starts, stops):
                mixed = (hashes[rows] ^ words) * _PRIME
                hashes[rows] = mixed ^ (mixed >> _SHIFT)
        return hashes

    def _read(self, starts: Rows, stops: Rows) -> Any:
        """Give the words of spans, one from each: the rows that have one, and what it is; zeros behind."""
        lengths = stops - starts
        rows: Any = slice(None)
        offset, longest = 0, int(lengths.max(initial=0))
        least = int(lengths.min()) if len(lengths) else 0
        while offset < longest:
            if offset >= least:
                rows = np.flatnonzero(lengths > offset)
            words = self._words[starts[rows] + offset]
            if offset + _WORD > least:
                left = np.minimum(lengths[rows] - offset, _WORD).astype(np.uint64)
                words = words & (np.uint64(0xFFFFFFFFFFFFFFFF) >> (np.uint64(64) - left * np.uint64(8)))
            yield rows, words
            offset += _WORD

    def _differ(self, spans: Sequence[Span], other: Rows) -> bool:
        """Tell whether any row's spans differ from those of the row that stands for it."""
        others = np.flatnonzero(other != np.arange(len(other)))
        for block in _blocks(len(others)):
            mine, theirs = others[block], other[others[block]]
            for starts, stops in spans:
                lengths = stops[mine] - starts[mine]
                if bool((lengths != stops[theirs] - starts[theirs]).any()):
                    return True
                pairs = zip(
                    self._read(starts[mine], stops[mine]),
                    self._read(starts[theirs], stops[theirs]),
                    strict=True,
                )
                if any(bool((a != b).any()) for (_, a), (_, b) in pairs):
                    return True
        return False

    def _compared(self, spans: Sequence[Span]) -> Rows:
        known: dict[tuple[bytes, ...], int] = {}
        data = self.heap.data
        pairs = [list(zip(*map(np.ndarray.tolist, span), strict=True)) for span in spans]
        said = (tuple(bytes(data[a:b]) for a, b in each) for each in zip(*pairs, strict=True))
        return np.fromiter((known.setdefault(each, len(known)) for each in said), np.int64, len(self))

    def begin_alike(self, length: int) -> bool:
        """Tell whether all texts have so many bytes, and the same ones, at their beginning."""
        if bool((self.stops - self.starts < length).any()):
            return False
        return self._all_alike(self.starts, self.starts + length)

    def _all_alike(self, starts: Rows, stops: Rows) -> bool:
        """Tell whether a span holds the same bytes in all texts."""
        length = stops[0] - starts[0]
        first = list(self._read(starts[:1], stops[:1]))
        for block in _blocks(len(starts)):
            if bool((stops[block] - starts[block] != length).any()):
                return False
            pairs = zip(self._read(starts[block], stops[block]), first, strict=True)
            if any(bool((a != b).any()) for (_, a), (_, b) in pairs):
                return False
        return True

    # -- fields of JSON -----------------------------------------------------------------------

    def fields(self, name: str) -> Span | None:
        """Return where the values of a field stand in texts that are parameters as plans write them.

        Returns
        -------
        tuple of numpy.ndarray
            Where they begin and end; None where that cannot be told from keys that stand alike in all texts:
            the name is not there, or there twice, or texts have other keys before or behind it.
        """
        keys = self._keys
        if keys is None or keys.names.count(name) != 1:
            return None
        column = keys.names.index(name)
        begin = self._behind(column)
        if begin is None:
            return None
        if column + 1 == len(keys.names):
            return begin, self.stops - len("}}")
        following = self._behind(column + 1)
        if following is None:
            return None
        # These are keys and no parts of texts, where a quote has a backslash before it.
        return begin, following - len(b", " + _key(keys.names[column + 1]))

    @functools.cached_property
    def _keys(self) -> _Keys | None:
        """What stands before colons; None where texts have not as many keys as the first of them."""
        n = len(self)
        try:
            said = json.loads(self.heap[self.starts[0] : self.stops[0]].tobytes()) if n else None
        except ValueError:
            return None
        if said is None:
            return None
        names = [*said, *said["values"]]
        small = np.int32 if len(self.heap) < 1 << 31 else np.int64
        found = []
        for at in range(1, len(self.heap) - 1, _CHUNK):
            stop = min(at + _CHUNK, len(self.heap) - 1)
            ends = self.heap[at + 1 : stop + 1] == ord(":")
            ends &= self.heap[at:stop] == ord('"')
            ends &= self.heap[at - 1 : stop - 1] != ord("\\")
            found.append((np.flatnonzero(ends) + at).astype(small))
        places = np.concatenate(found)
        if len(places) != n * len(names):
            return None
        ends = places.reshape(n, len(names))
        if bool((ends[:, 0] < self.starts).any() or (ends[:, -1] >= self.stops).any()):
            return None
        return _Keys(names, ends)

    def _behind(self, column: int) -> Rows | None:
        """Return where the values of the key of that number begin; None if it is another one somewhere."""
        keys = self._keys
        if keys is None:
            return None
        key = _key(keys.names[column])
        behind = keys.ends[:, column].astype(np.int64) + len('": ')
        begin = behind - len(key)
        if bool((begin < self.starts).any()) or self.heap[begin[0] : behind[0]].tobytes() != key:
            return None
        return behind if self._all_alike(begin, behind) else None

    def has(self, byte: bytes, most: int) -> bool:
        """Tell whether a byte stands in the texts more than so many times."""
        parts = (self.heap[at : at + _CHUNK] for at in range(0, len(self.heap), _CHUNK))
        return sum(int(np.count_nonzero(part == byte[0])) for part in parts) > most


@attrs.frozen(eq=False)
class _Keys:
    """Keys of texts that all have as many."""

    names: list[str]
    """Of the first text, in order."""
    ends: npt.NDArray[Any]
    """Shape (n, keys): where the quote behind each stands."""


def _key(name: str) -> bytes:
    return json.dumps(name).encode() + b": "


def _blocks(n: int) -> Iterator[slice]:
    return (slice(at, at + _BLOCK) for at in range(0, n, _BLOCK))
