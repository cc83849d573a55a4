"""Overheads that a process keeps between bundles, by key: as many as fit, least recently used go first."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

import attrs

__all__ = ["Kept", "OverheadStore", "default_limit", "freeze", "resident", "size_of"]

_DEPTH = 4


@attrs.frozen(eq=False)
class Kept:
    """An object that was made once."""

    value: Any
    size: int
    """Bytes."""
    serial: int
    """Number of its making in this process."""
    needs: frozenset[int]
    """Serials of the overheads that it was made of."""


class OverheadStore:
    """Keeps objects under a bound of memory.

    Parameters
    ----------
    limit : int, optional
        Bytes that they may take together; half of the machine's memory unless given. What the quantum under
        way uses stays even if it alone takes more, until its bundle ends.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = default_limit() if limit is None else limit
        self.size = 0
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> Kept | None:
        """Return what is kept under a key, which is thereby used."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, kept: Kept, *, in_use: Collection[bytes] = ()) -> None:
        """Keep an object, and let others go for it, but for those in use."""
        self.size += kept.size
        self._kept[key] = kept
        self.trim(in_use={*in_use, key})

    def trim(self, *, in_use: Collection[bytes] = ()) -> None:
        """Let go of what was used longest ago until the rest fits."""
        for key in list(self._kept):
            if self.size <= self.limit:
                return
            if key not in in_use:
                self.size -= self._kept.pop(key).size

    def clear(self) -> None:
        """Let go of all."""
        self._kept.clear()
        self.size = 0


def default_limit(processes: int = 1) -> int:
    """Return half of the machine's memory, for each of so many processes, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (2 * processes)


def resident() -> int:
    """Return bytes of this process in memory, 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def size_of(value: Any) -> int:
    """Return the bytes of the arrays in a value, as far as they are found; mapped files take none."""
    arrays = _arrays(value, _DEPTH)
    if not arrays:
        return 0
    import numpy as np

    total = 0
    for array in arrays:
        base = array
        while isinstance(base, np.ndarray) and not isinstance(base, np.memmap) and base.base is not None:
            base = base.base
        total += 0 if isinstance(base, np.memmap) else array.nbytes
    return total


def freeze(value: Any) -> Any:
    """Make the arrays in a value read-only: what many share, nobody may change. Returns the value."""
    for array in _arrays(value, _DEPTH):
        array.setflags(write=False)
    return value


def _arrays(value: Any, depth: int) -> list[Any]:
    if "numpy" not in sys.modules:  # then nothing is an array, and numpy need not be loaded to say so
        return []
    import numpy as np

    if isinstance(value, np.ndarray):
        return [value]
    if depth == 0:
        return []
    inside: list[Any] = []
    if isinstance(value, Mapping):
        inside = list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        inside = list(value)
    elif attrs.has(type(value)):
        inside = [getattr(value, each.name) for each in attrs.fields(type(value))]
    return [array for each in inside for array in _arrays(each, depth - 1)]
