"""The quanta and units of two plans in one code, so that they can be compared in columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from supertask.repograph.columns import group, lookup, pack, pack_both
from supertask.repograph.space import UnitSpace

__all__ = ["Translation", "paired"]

Keys = npt.NDArray[np.int64]


class Translation:
    """Codes of units of one plan in those of another.

    Parameters
    ----------
    target : UnitSpace
        Units of the plan whose codes are wanted.
    source : UnitSpace
        Units of the plan whose codes are given.
    """

    def __init__(self, target: UnitSpace, source: UnitSpace) -> None:
        self.target, self.source = target, source
        self._known: dict[str, npt.NDArray[np.int32]] = {}

    def unit(self, unit: str) -> npt.NDArray[np.int32]:
        """Return for every code of the source that of the target, -1 where it has no such instance."""
        if unit not in self._known:
            self._known[unit] = self._unit(unit)
        return self._known[unit]

    def _unit(self, unit: str) -> npt.NDArray[np.int32]:
        given = self.source.tables[unit]
        wanted = self.target.tables.get(unit)
        if wanted is None or self.target.model.unit(unit).parents != self.source.model.unit(unit).parents:
            return np.full(len(given), -1, np.int32)
        keys = [np.asarray(t.keys[:]) for t in (wanted, given)]
        if (keys[0].dtype == object) != (keys[1].dtype == object):
            return np.full(len(given), -1, np.int32)
        distinct, rank = np.unique(np.concatenate(keys), return_inverse=True)
        parents = self.target.model.unit(unit).parents
        left = [np.asarray(wanted.links[p][:]) for p in parents]
        right = [_at(self.unit(p), given.links[p][:]) for p in parents]
        left.append(rank[: len(keys[0])].astype(np.int32))
        right.append(rank[len(keys[0]) :].astype(np.int32))
        sizes = [*self.target.sizes(parents), len(distinct)]
        ours, theirs = pack_both(left, right, sizes)
        groups = group(ours)
        place = lookup(groups.keys, theirs)
        if groups.rows is not None and len(groups.rows):
            place = np.where(place < 0, -1, groups.rows[place])
        return np.where(theirs < 0, -1, place).astype(np.int32)

    def columns(self, columns: Mapping[str, Any]) -> dict[str, npt.NDArray[np.int32]]:
        """Return columns of the source in codes of the target."""
        return {u: _at(self.unit(u), c[:]) for u, c in columns.items()}

    def keys(self, columns: Mapping[str, Any], n: int) -> Keys:
        """Return columns of the source as packed keys of the target, -1 where it has no such instance."""
        moved = self.columns(columns)
        known = [u for u in moved if u in self.target.tables]
        if len(known) < len(moved):
            return np.full(n, -1, np.int64)
        return pack(list(moved.values()), self.target.sizes(moved), n=n)


def _at(codes: npt.NDArray[np.int32], rows: Any) -> npt.NDArray[np.int32]:
    if not len(codes):
        return np.full(len(rows), -1, np.int32)
    return np.where(rows < 0, np.int32(-1), codes[rows])


def paired(left: Keys, right: Keys) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows of each side whose keys both have, in order of the left one.

    Of equal keys on one side the first goes with the first of the other, the second with the second.
    """
    if bool((np.diff(group(left).indptr) > 1).any()) or bool((np.diff(group(right).indptr) > 1).any()):
        times = int(max(np.diff(group(k).indptr).max(initial=1) for k in (left, right)))
        left, right = (_spaced(k, times) for k in (left, right))
    groups = group(left)
    place = lookup(groups.keys, right)
    here = np.flatnonzero(place >= 0)
    rows = place[here] if groups.rows is None else groups.rows[place[here]]
    order = np.argsort(rows, kind="stable")
    return rows[order], here[order]


def _spaced(keys: Keys, times: int) -> Keys:
    groups = group(keys)
    counts = np.diff(groups.indptr)
    rows = np.arange(len(keys)) if groups.rows is None else groups.rows
    told = np.full(len(keys), -1, np.int64)
    within = np.arange(len(rows)) - np.repeat(groups.indptr[:-1], counts)
    told[rows] = np.repeat(groups.keys, counts) * times + within
    return told
