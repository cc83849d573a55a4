"""Tables of data IDs in files: CSV, ECSV and Parquet, every row checked against a unit model."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from supertask.dataids import Key
from supertask.errors import DataIdError, Problems, did_you_mean
from supertask.units import KeyKind, UnitModel

__all__ = ["open_table", "read_id_table", "typed_keys"]

_TOLD = 20
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")


def read_id_table(path: str | Path, model: UnitModel, units: Sequence[str]) -> tuple[npt.NDArray[Any], ...]:
    """Read some units' keys from a table.

    Parameters
    ----------
    path : path
        ``.csv`` with a line of names first, ``.ecsv``, or ``.parquet``.
    model : UnitModel
        Says of what type the keys are.
    units : sequence of str
        The columns wanted; others are left alone.

    Returns
    -------
    tuple of numpy.ndarray
        For each unit its keys, shape (rows,), int64 or object for text.

    Raises
    ------
    DataIdError
        The file cannot be read, has no such column, or a key is missing or of the wrong type; names
        every row (of CSV and ECSV by line of the file's table, the first being 1), at most 20.
    """
    path = Path(path)
    there, rows = open_table(path)
    problems = Problems(f"the table of data IDs {path}")
    for unit in units:
        if unit not in there:
            problems.add(f"it has no column {unit!r}{did_you_mean(unit, there)}; it has {', '.join(there)}")
        elif there.count(unit) > 1:
            problems.add(f"it has {there.count(unit)} columns {unit!r}")
    problems.raise_if_any(DataIdError)
    columns = {unit: rows[unit] for unit in units}
    keys = tuple(_keys(model, unit, column, problems) for unit, column in columns.items())
    problems.raise_if_any(DataIdError)
    return keys


def open_table(path: str | Path) -> tuple[list[str], Mapping[str, Sequence[Any]]]:
    """Return the names of a table's columns, and their values as they stand: all text in CSV.

    Parameters
    ----------
    path : path
        ``.csv`` with a line of names first, ``.ecsv``, or ``.parquet``.

    Raises
    ------
    DataIdError
        It is none of these, or cannot be read.
    """
    path = Path(path)
    kinds = {".csv": _csv, ".ecsv": _ecsv, ".parquet": _parquet, ".parq": _parquet}
    read = kinds.get(path.suffix.lower())
    if read is None:
        raise DataIdError(f"{path} is no table that can be read: give a .csv, .ecsv or .parquet file")
    if not path.is_file():
        raise DataIdError(f"there is no file {path} (looked for from {Path.cwd()})")
    try:
        return read(path)
    except DataIdError:
        raise
    except Exception as error:  # readers of files raise whatever comes to them
        raise DataIdError(f"{path} cannot be read as a table: {error}") from error


def _csv(path: Path) -> tuple[list[str], Mapping[str, Sequence[Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, strict=True)
        names = [name.strip() for name in next(lines, [])]
        if not any(names):
            raise DataIdError(f"{path} has no line of column names")
        rows = []
        for i, line in enumerate(lines, 1):
            if not line:
                continue
            if len(line) != len(names):
                raise DataIdError(
                    f"{path}: row {i} has {len(line)} values, its line of names has {len(names)}"
                )
            rows.append(line)
    return names, {name: [line[i].strip() for line in rows] for i, name in enumerate(names)}


def _ecsv(path: Path) -> tuple[list[str], Mapping[str, Sequence[Any]]]:
    from astropy.table import Table

    table = Table.read(path, format="ascii.ecsv")
    return list(table.colnames), {name: table[name].tolist() for name in table.colnames}


def _parquet(path: Path) -> tuple[list[str], Mapping[str, Sequence[Any]]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataIdError(f"reading {path} needs pyarrow: pip install pyarrow, or give it as .csv") from None
    table = parquet.read_table(path)
    return list(table.column_names), {n: table.column(n).to_pylist() for n in table.column_names}


def _keys(model: UnitModel, unit: str, values: Sequence[Any], problems: Problems) -> npt.NDArray[Any]:
    whole = model.unit(unit).key is KeyKind.INT
    typed: list[Any] = []
    told = 0
    for row, key in enumerate(typed_keys(model, unit, values), 1):
        if isinstance(key, DataIdError):
            told += 1
            if told <= _TOLD:
                problems.add(f"row {row}: {key}")
            continue
        typed.append(key)
    if told > _TOLD:
        problems.add(f"… and {told - _TOLD:,} more rows with a wrong {unit!r}")
    if whole:
        return np.array(typed, np.int64)
    column = np.empty(len(typed), object)
    column[:] = typed
    return column


def typed_keys(model: UnitModel, unit: str, values: Sequence[Any]) -> Iterator[Key | DataIdError]:
    """Yield for each value of a table's column the unit's key, or what is wrong with it."""
    whole = model.unit(unit).key is KeyKind.INT
    for value in values:
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            yield DataIdError(f"{unit!r} is missing")
            continue
        of_text = whole and isinstance(value, str) and _WHOLE.fullmatch(value)
        try:
            key = model.check_key(unit, int(value) if of_text else value)
        except DataIdError as error:
            yield error
            continue
        fits = not isinstance(key, int) or -(2**63) <= key < 2**63
        yield key if fits else DataIdError(f"{unit!r} must fit in 64 bits, got {key}")
