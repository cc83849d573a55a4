"""Texts by the million, compared and taken apart in columns: eight bytes at a time, and exactly.

Where a number of equal texts is asked for, they are sorted by a hash and then compared with the first of
their hash, byte by byte; if two ever differ there, they are compared the long way. So no texts are taken for
each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbuilder.dag.columns import StringColumn

__all__ = ["Span", "Texts"]

_WORD = 8
_CHUNK = 1 << 18
"""Bytes that are looked at together, and"""
_BLOCK = 1 << 14
"""texts: what comes of them stays in the processor's caches."""
_TOLD = 4
"""Bytes of a pattern that tell most other places apart; none is shorter."""
_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
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
        for block in _blocks(len(self)):
            starts = self.starts[block]
            first = np.full(1, self.starts[0])
            pairs = zip(self._read(starts, starts + length), self._read(first, first + length), strict=True)
            if any(bool((a != b).any()) for (_, a), (_, b) in pairs):
                return False
        return True

    # -- fields of JSON -----------------------------------------------------------------------

    def fields(self, name: str) -> Span | None:
        """Return where the values of a field stand in texts that are JSON as `json.dumps` writes it.

        Returns
        -------
        tuple of numpy.ndarray
            Where they begin and end; None where that cannot be told so: the name stands in a text several
            times or not at all, or values are mappings, lists of lists, or texts with escapes.
        """
        begin = self._after(json.dumps(name).encode() + b": ")
        if len(begin) != len(self) or bool(((begin <= self.starts) | (begin >= self.stops)).any()):
            return None
        stops = np.empty_like(begin)
        for block in _blocks(len(begin)):
            found = self._ended(begin[block])
            if found is None:
                return None
            stops[block] = found
        return begin, stops

    def _ended(self, begin: Rows) -> Rows | None:
        """Return where values end that begin at some places; None where that cannot be told."""
        kinds = _KIND_OF[self.heap[begin]]
        if bool((kinds == len(_KINDS)).any()):
            return None
        stops = np.empty_like(begin)
        for kind, (_, closing, refused, inside) in enumerate(_KINDS):
            rows = np.flatnonzero(kinds == kind)
            if len(rows):
                found = self._next(begin[rows] + inside, closing, refused)
                if found is None:
                    return None
                stops[rows] = found + inside
        return stops

    def has(self, byte: bytes, most: int) -> bool:
        """Tell whether a byte stands in the texts more than so many times."""
        parts = (self.heap[at : at + _CHUNK] for at in range(0, len(self.heap), _CHUNK))
        return sum(int(np.count_nonzero(part == byte[0])) for part in parts) > most

    def _after(self, pattern: bytes) -> Rows:
        """Return where a pattern ends, wherever it stands in the heap without a backslash before it."""
        head = pattern[:_WORD]
        mask = np.uint64((1 << 8 * len(head)) - 1)
        wanted = np.uint64(int.from_bytes(head, "little"))
        found = []
        for at in range(0, len(self._words), _CHUNK):
            stop = min(at + _CHUNK, len(self._words))
            # Bytes are compared many times faster than words at any byte, so these come after.
            likely = self.heap[at:stop] == pattern[0]
            for k in range(1, _TOLD):
                likely &= self.heap[at + k : stop + k] == pattern[k]
            likely_places = np.flatnonzero(likely) + at
            found.append(likely_places[(self._words[likely_places] & mask) == wanted])
        places = np.concatenate(found) if found else np.empty(0, np.int64)
        for offset in range(_WORD, len(pattern), _WORD):
            part = pattern[offset : offset + _WORD]
            places = places[places + len(pattern) <= len(self.heap)]
            mask = np.uint64((1 << 8 * len(part)) - 1)
            wanted = np.uint64(int.from_bytes(part, "little"))
            at_word = np.minimum(places + offset, len(self._words) - 1)
            places = places[(self._words[at_word] & mask) == wanted]
        places = places[(places == 0) | (self.heap[places - 1] != ord("\\"))]
        behind: Rows = places + len(pattern)
        return behind

    def _next(self, begin: Rows, closing: bytes, refused: bytes) -> Rows | None:
        """Return where the next of some bytes stands after each place; None if another stands before it."""
        found = np.empty(len(begin), np.int64)
        rows = np.arange(len(begin))
        at = begin.copy()
        last = len(self._words) - 1
        while len(rows):
            if bool((at > last).any()):
                return None
            words = self._words[at]
            ends = _first_of(words, closing)
            if refused and bool((_first_of(words, refused) < ends).any()):
                return None
            done = ends < _WORD
            found[rows[done]] = at[done] + ends[done]
            rows, at = rows[~done], at[~done] + _WORD
        return found


_KINDS: tuple[tuple[bytes, bytes, bytes, int], ...] = (
    (b'"', b'"', b"\\", 1),
    (b"[", b"]", b'"[{', 1),
    (b"0123456789-tfnNI", b",}", b"", 0),
)
"""First byte of a value → bytes that end it, that may not stand in it; whether its ends belong to it."""

_KIND_OF = np.full(256, len(_KINDS), np.uint8)
for _kind, (_opening, *_) in enumerate(_KINDS):
    _KIND_OF[list(_opening)] = _kind


def _blocks(n: int) -> Iterator[slice]:
    return (slice(at, at + _BLOCK) for at in range(0, n, _BLOCK))


def _first_of(words: npt.NDArray[np.uint64], wanted: bytes) -> Rows:
    """Return which byte of each word is the first of some: 8 where none is."""
    marks = np.zeros_like(words)
    for byte in wanted:
        other = words ^ (np.uint64(byte) * _ONES)
        # The lowest bit that is set is that of the first byte that is zero; those above may err.
        marks |= (other - _ONES) & ~other & _HIGH
    lowest = marks & (~marks + np.uint64(1))
    exponents = np.frexp(lowest.astype(np.float64))[1]  # exact: it is a power of two, or zero
    return np.where(marks == 0, _WORD, (exponents - 1) >> 3).astype(np.int64)
