"""Footprints that are given: a table with a row for each corner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from supertask.butler.port import AbstractButler
from supertask.errors import DataIdError, Problems, did_you_mean
from supertask.idtables import open_table
from supertask.relations.given import key_columns
from supertask.sky.ingested import Kept, keep_footprints
from supertask.sky.relate import footprint_units
from supertask.sky.tracts import SkyMapError

__all__ = ["load_footprints"]

_POSITION = ("ra", "dec")
_TOLD = 20


def load_footprints(
    butler: AbstractButler,
    path: str | Path,
    *,
    constant: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> Kept:
    """Keep the footprints of a table, and extend the relation with the patches that they overlap.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    path : path
        ``.csv`` with a line of names first, ``.ecsv``, or ``.parquet``, with a row for each corner:
        the units of a footprint's data ID, and ``ra`` and ``dec`` in degrees ICRS. Rows of one data
        ID that follow each other are one outline; edges are great circles.
    constant : Mapping, optional
        Unit → key, the same in all rows, instead of a column.
    replace : bool, optional
        Whether they take the place of earlier ones of their data IDs.

    Returns
    -------
    Kept
        With the data ID and reason of each outline that is none, which hinders no other.

    Raises
    ------
    SkyMapError
        The unit model has no footprints.
    DataIdError
        The table cannot be read, lacks columns or has unknown ones, or a key or position cannot be
        understood. All are named at once, with row numbers from 1, and nothing is kept.
    """
    model = butler.model
    units = footprint_units(model)
    if not units:
        raise SkyMapError(f"unit model {model.name!r} has no spatial relation with patches")
    names, values = open_table(path)
    problems = Problems(f"footprints {path}")
    given = dict(constant or {})
    wanted = [*(u for u in units if u not in given), *_POSITION]
    for name in dict.fromkeys((*names, *given)):
        if name not in (*units, *_POSITION):
            problems.add(f"column {name!r} is none of {', '.join(wanted)}{did_you_mean(name, wanted)}")
        if name in names and name in given:
            problems.add(f"{name!r} is given for all rows, and is a column too")
    for name in wanted:
        if names.count(name) != 1:
            problems.add(f"it must have one column {name!r}, and has {names.count(name) or 'none'}")
    n = len(next(iter(values.values()), ()))
    present = {u: values[u] for u in units if u in values and u not in given}
    keys, _ = key_columns(model, present, problems)
    for unit in (u for u in given if u in units):
        try:
            keys[unit] = np.full(n, model.check_key(unit, given[unit]))
        except DataIdError as error:
            problems.add(str(error))
    position = {name: _numbers(name, values[name], problems) for name in _POSITION if name in values}
    problems.raise_if_any(DataIdError)
    radec = np.stack([position[name] for name in _POSITION], axis=1)
    return keep_footprints(butler, _outlines(keys, units, radec), replace=replace)


def _outlines(
    keys: Mapping[str, npt.NDArray[Any]], units: Sequence[str], radec: npt.NDArray[np.float64]
) -> list[tuple[dict[str, Any], npt.NDArray[np.float64]]]:
    if not len(radec):
        return []
    new = np.zeros(len(radec), bool)
    new[0] = True
    for unit in units:
        new[1:] |= keys[unit][1:] != keys[unit][:-1]
    bounds = [*np.flatnonzero(new).tolist(), len(radec)]
    columns = {u: keys[u][bounds[:-1]].tolist() for u in units}
    return [
        ({u: columns[u][i] for u in units}, radec[begin:end])
        for i, (begin, end) in enumerate(pairwise(bounds))
    ]


def _numbers(name: str, values: Sequence[Any], problems: Problems) -> npt.NDArray[np.float64]:
    found = np.full(len(values), np.nan)
    wrong = 0
    for i, value in enumerate(values):
        try:
            found[i] = float(value)
        except (TypeError, ValueError):
            wrong += 1
            if wrong <= _TOLD:
                problems.add(f"row {i + 1}: {name!r} must be a number of degrees, got {value!r}")
    if wrong > _TOLD:
        problems.add(f"and so in {wrong - _TOLD:,} more rows")
    return found
