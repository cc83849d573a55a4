"""Queries answered in handles, made of a reader's columns; for every Butler that has a reader."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from supertask.butler.port import Reader
from supertask.conditions import And, Compare, Comparison, Condition, Constant, Name
from supertask.dataids import DataId, Key
from supertask.datasets import Dataset
from supertask.errors import DataIdError, Problems, did_you_mean
from supertask.rows import DatasetRows, UnitRows
from supertask.units import FieldKind, UnitModel

__all__ = ["handles", "narrow", "required_keys", "row_handles", "unit_dicts"]


def required_keys(model: UnitModel, dataset_type: type[Dataset], units: Mapping[str, Any]) -> dict[str, Key]:
    """Return typed keys that units must have in a query.

    Raises
    ------
    DataIdError
        Names every unit that the type's data IDs do not determine, and every ill-typed key.
    """
    problems = Problems(f"query for dataset type {dataset_type.name!r}")
    determined = model.determined(dataset_type.units)
    typed: dict[str, Key] = {}
    for unit, value in units.items():
        if unit not in determined:
            problems.add(
                f"unknown key {unit!r}{did_you_mean(unit, determined)}; it can be narrowed by "
                f"{', '.join(determined)}"
            )
            continue
        try:
            typed[unit] = model.check_key(unit, value)
        except DataIdError as error:
            problems.add(str(error))
    problems.raise_if_any(DataIdError)
    return typed


def narrow(where: Condition | None, keys: Mapping[str, Key]) -> Condition | None:
    """Return a condition that also asks for these keys."""
    parts: list[Condition] = [] if where is None else [where]
    parts += [Compare(Comparison.EQ, Name(unit), Constant(key)) for unit, key in keys.items()]
    return And(tuple(parts)) if len(parts) > 1 else parts[0] if parts else None


class _Keys:
    """Keys of units by row ID, read once each."""

    def __init__(self, model: UnitModel, reader: Reader) -> None:
        self._model = model
        self._reader = reader
        self._rows: dict[str, tuple[UnitRows, npt.NDArray[np.int64]]] = {}

    def _positions(self, unit: str, ids: npt.NDArray[np.int64]) -> tuple[UnitRows, npt.NDArray[np.int64]]:
        """Return the unit's rows, and which of them each ID is; -1 where there is none."""
        if unit not in self._rows:
            rows = self._reader.units(unit, ())
            place = np.full(int(rows.ids.max(initial=0)) + 2, -1)
            place[rows.ids] = np.arange(len(rows.ids))
            self._rows[unit] = rows, place
        rows, place = self._rows[unit]
        # -1 is null, and finds the last place, which is nobody's.
        return rows, place[np.clip(ids, -1, len(place) - 1)]

    def follow(self, leaves: tuple[str, ...], ids: Mapping[str, npt.NDArray[np.int64]], unit: str) -> Any:
        """Return the row IDs of a unit that leaf IDs determine, -1 where null."""
        way = self._model.route(leaves, unit) or ()
        found = ids[way[0]]
        for at, following in itertools.pairwise(way):
            rows, position = self._positions(at, found)
            found = np.where(position < 0, -1, _at(rows.links[following], position, -1))
        return found

    def values(self, unit: str, ids: npt.NDArray[np.int64]) -> list[Any]:
        """Return the keys of row IDs, None where null."""
        rows, position = self._positions(unit, ids)
        keys = [*rows.keys.tolist(), None]
        return [keys[i] for i in position.tolist()]


def _at(values: npt.NDArray[Any], position: npt.NDArray[np.int64], empty: int) -> npt.NDArray[Any]:
    return values[position] if len(values) else np.full(len(position), empty)


def handles(
    model: UnitModel, reader: Reader, dataset_type: type[Dataset], keys: Mapping[str, Key]
) -> list[Dataset]:
    """Return the datasets of a type that a reader admits and whose units have these keys, sorted."""
    rows = reader.datasets(dataset_type)
    if not len(rows.ids):
        return []
    found, columns = _row_handles(model, reader, rows, keys)
    # A reader lets pass what is null; here a unit must have the key that was asked for.
    required = [(columns[unit], key) for unit, key in keys.items()]
    return sorted(d for i, d in enumerate(found) if all(column[i] == key for column, key in required))


def row_handles(model: UnitModel, reader: Reader, rows: DatasetRows) -> list[Dataset]:
    """Return a handle for each row that a reader gave, in their order."""
    return _row_handles(model, reader, rows, {})[0] if len(rows.ids) else []


def _row_handles(
    model: UnitModel, reader: Reader, rows: DatasetRows, further: Iterable[str]
) -> tuple[list[Dataset], dict[str, list[Any]]]:
    """Return a handle for each row, and the keys of each unit, further ones too."""
    dataset_type = rows.dataset_type
    leaves = model.leaves(dataset_type.units)
    closure = model.closure(dataset_type.units)
    known = _Keys(model, reader)
    units = {*closure, *further}
    columns = {unit: known.values(unit, known.follow(leaves, rows.units, unit)) for unit in units}
    shape = DataId.shape(closure)
    sorted_columns = [columns[u] for u in shape.names]
    values = zip(*sorted_columns, strict=True) if closure else [()] * len(rows.ids)
    return [dataset_type(DataId.from_sorted(shape, v)) for v in values], columns


def unit_dicts(model: UnitModel, reader: Reader, unit: str) -> list[dict[str, Any]]:
    """Return the instances of a unit that a reader admits, as dicts of keys and fields, sorted by key."""
    declared = model.unit(unit)
    rows = reader.units(unit)
    known = _Keys(model, reader)
    speaks_of = [*model.closure([unit]), *(u for u in declared.implies)]
    extra = [u for i in declared.implies for u in model.closure([i]) if u not in speaks_of]
    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys((*speaks_of, *extra)):
        columns[name] = known.values(name, known.follow((unit,), {unit: rows.ids}, name))
    for f in declared.fields:
        values = rows.fields[f.name].tolist()
        null = rows.nulls.get(f.name)
        if null is not None:
            values = [None if n else v for v, n in zip(values, null.tolist(), strict=True)]
        columns[f.name] = [bool(v) if f.kind is FieldKind.BOOL and v is not None else v for v in values]
    closure = model.closure([unit])
    found = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return sorted(found, key=lambda row: [row[u] for u in closure])
