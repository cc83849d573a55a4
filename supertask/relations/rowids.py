"""From columns of keys to a repository's row IDs, and back, for very many at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from supertask.butler.port import Reader
from supertask.rows import UnitRows
from supertask.units import KeyKind, UnitModel

__all__ = ["UNKNOWN", "RowIds"]

Int = npt.NDArray[np.int64]

UNKNOWN = -1
"""Stands in a column of row IDs where there is no such instance."""


class RowIds:
    """Instances of units as a reader gives them, by key and by row ID.

    Parameters
    ----------
    reader : Reader
        Each unit asked about is read from it once, as it is narrowed then.
    model : UnitModel
        Of its repository.
    """

    def __init__(self, reader: Reader, model: UnitModel) -> None:
        self._reader = reader
        self._model = model
        self._rows: dict[str, UnitRows] = {}

    def rows(self, unit: str) -> UnitRows:
        """Return the instances of a unit, keys of text as fixed-width str."""
        if unit not in self._rows:
            self._rows[unit] = self._reader.units(unit, ())
        return self._rows[unit]

    def ids(self, unit: str, keys: Mapping[str, npt.NDArray[Any]]) -> Int:
        """Return row IDs of instances.

        Parameters
        ----------
        unit : str
            The unit.
        keys : Mapping
            Unit → keys, shape (n,); at least of the unit and all its parents.

        Returns
        -------
        numpy.ndarray
            Shape (n,), int64; `UNKNOWN` where there is none.
        """
        rows = self.rows(unit)
        known, asked = _codes(self._typed(unit, rows.keys), self._typed(unit, keys[unit]))
        for parent in self._model.unit(unit).parents:
            both = _codes(rows.links[parent], self.ids(parent, keys))
            known, asked = _joined((known, asked), both)
        found = np.full(len(asked), UNKNOWN, np.int64)
        if len(known):
            order = np.argsort(known, kind="stable")
            place = np.minimum(np.searchsorted(known[order], asked), len(known) - 1)
            there = (known[order][place] == asked) & (asked >= 0)
            found[there] = rows.ids[order][place[there]]
        return found

    def keys(self, unit: str, ids: Int) -> dict[str, npt.NDArray[Any]]:
        """Return the keys, of the unit and all its parents, of instances whose row IDs are known.

        Returns
        -------
        dict
            Unit → keys, shape (n,), parents first.
        """
        rows = self.rows(unit)
        order = np.argsort(rows.ids)
        place = order[np.searchsorted(rows.ids[order], ids)]
        found: dict[str, npt.NDArray[Any]] = {}
        for parent in self._model.unit(unit).parents:
            found |= self.keys(parent, rows.links[parent][place])
        found[unit] = rows.keys[place]
        return found

    def _typed(self, unit: str, keys: npt.NDArray[Any]) -> npt.NDArray[Any]:
        whole = self._model.unit(unit).key is KeyKind.INT
        return np.asarray(keys).astype(np.int64 if whole else np.str_)


def _codes(known: npt.NDArray[Any], asked: npt.NDArray[Any]) -> tuple[Int, Int]:
    """Return both as numbers from 0 in which what is equal is equal; what is not known is -1."""
    names, codes = np.unique(known, return_inverse=True)
    if not len(names):
        return np.empty(0, np.int64), np.full(len(asked), -1, np.int64)
    place = np.minimum(np.searchsorted(names, asked), len(names) - 1)
    return codes.astype(np.int64), np.where(names[place] == asked, place, -1)


def _joined(first: tuple[Int, Int], second: tuple[Int, Int]) -> tuple[Int, Int]:
    """Return codes of pairs, made small again so that no number of parents overflows."""
    width = int(second[0].max(initial=0)) + 1
    known = first[0] * width + second[0]
    asked = np.where((first[1] < 0) | (second[1] < 0), -1, first[1] * width + second[1])
    return _codes(known, asked)
