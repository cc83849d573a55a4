"""Relations that are given: a user's table of related data IDs, checked row by row and loaded whole.

Only a relation that the unit model declares can be loaded: what relates units takes part in how a plan
is made, and so stands with them. To pick data IDs once, an expression's ``IN TABLE`` needs no relation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.butler.port import AbstractButler
from supertask.errors import DataIdError, Problems, did_you_mean
from supertask.idtables import open_table, typed_keys
from supertask.relations.rowids import UNKNOWN, RowIds
from supertask.rows import RelationRows
from supertask.units import KeyKind, Relation, UnitModel

__all__ = ["Loaded", "key_columns", "load_relation"]

Int = npt.NDArray[np.int64]
Keys = npt.NDArray[Any]

_TOLD = 20
"""Rows that are named of each kind of problem."""


@attrs.frozen
class Loaded:
    """What `load_relation` did."""

    rows: int
    """Rows of the table."""
    new: int
    """Those that were not stored yet."""
    repeated: int
    """Those that say again what an earlier row of the table says."""


def load_relation(
    butler: AbstractButler,
    relation: str,
    path: str | Path,
    *,
    constant: Mapping[str, Any] | None = None,
    repeats: bool = False,
) -> Loaded:
    """Load a table of related data IDs, all of it or nothing.

    Parameters
    ----------
    butler : AbstractButler
        The repository; all that the table names must be known.
    relation : str
        A relation of the unit model.
    path : path
        ``.csv`` with a line of names first, ``.ecsv``, or ``.parquet``; a column for each unit of
        both sides of the relation and their parents, and no other column.
    constant : Mapping, optional
        Unit → key, the same in all rows, instead of a column.
    repeats : bool, optional
        Whether a row may say again what an earlier one says.

    Raises
    ------
    UnitModelError
        The unit model has no such relation.
    DataIdError
        The table cannot be read, or anything in it is wrong: unknown and missing columns; keys that
        are missing or of the wrong type; data IDs that are not known; rows said twice. All are named
        at once, with row numbers from 1, and nothing is loaded.
    """
    model = butler.model
    declared = model.relation(relation)
    names, values = open_table(path)
    problems = Problems(f"table {path} for relation {relation!r}")
    constant = dict(constant or {})
    needed = model.closure((*declared.left, *declared.right))
    _check_columns(declared, model, names, constant, needed, problems)
    n = len(next(iter(values.values()), ()))
    given = {u: values[u] for u in needed if u in values and names.count(u) == 1 and u not in constant}
    keys, sound = key_columns(model, given, problems)
    for unit in set(constant) & set(needed):
        try:
            keys[unit] = np.full(n, model.check_key(unit, constant[unit]))
        except DataIdError as error:
            problems.add(str(error))
    rows, repeated = _rows(butler, declared, keys, sound, problems, repeats=repeats)
    problems.raise_if_any(DataIdError)
    new = butler.insert_relation_rows(RelationRows(relation, rows)) if n else 0
    return Loaded(n, new, repeated)


def _check_columns(
    relation: Relation,
    model: UnitModel,
    names: Sequence[str],
    constant: Mapping[str, Any],
    needed: Sequence[str],
    problems: Problems,
) -> None:
    sides = f"{', '.join(relation.left)} to {', '.join(relation.right)}"
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            problems.add(f"it has {names.count(name)} columns {name!r}")
        if name in constant:
            problems.add(f"{name!r} is given for all rows, and is a column too")
    for name in dict.fromkeys((*names, *constant)):
        if name not in model:
            problems.add(f"column {name!r} is no unit{did_you_mean(name, needed)}")
        elif name not in needed:
            problems.add(
                f"column {name!r} is no unit of this relation ({sides}); its columns are " + ", ".join(needed)
            )
    for unit in needed:
        if unit not in names and unit not in constant:
            problems.add(f"it has no column {unit!r}")


def key_columns(
    model: UnitModel, values: Mapping[str, Sequence[Any]], problems: Problems
) -> tuple[dict[str, Keys], npt.NDArray[np.bool_]]:
    """Return keys of columns of a table, and which rows are sound in all of them.

    Parameters
    ----------
    model : UnitModel
        Says of what type keys are.
    values : Mapping
        Unit → values as they stand in the table.
    problems : Problems
        Takes what is wrong, by row, of each unit at most 20.

    Returns
    -------
    keys : dict
        Unit → keys, shape (n,), int64 or str; what stands in rows that are not sound means nothing.
    sound : numpy.ndarray
        Shape (n,), bool.
    """
    n = len(next(iter(values.values()), ()))
    sound = np.ones(n, bool)
    keys: dict[str, Keys] = {}
    for unit, column in values.items():
        whole = model.unit(unit).key is KeyKind.INT
        typed = _typed(model, unit, column)
        wrong = [i for i, key in enumerate(typed) if isinstance(key, DataIdError)]
        _tell(problems, [f"row {i + 1}: {typed[i]}" for i in wrong[:_TOLD]], len(wrong))
        sound[wrong] = False
        for i in wrong:
            typed[i] = 0 if whole else ""
        keys[unit] = np.array(typed, np.int64 if whole else np.str_)
    return keys, sound


def _typed(model: UnitModel, unit: str, column: Sequence[Any]) -> list[Any]:
    """Return each key, or what is wrong with it. What stands in many rows is looked at once."""
    if len(set(map(type, column))) > 1:
        return list(typed_keys(model, unit, column))  # True and 1 and 1.0 are one key of a dict
    distinct = list(dict.fromkeys(column))
    known = dict(zip(distinct, typed_keys(model, unit, distinct), strict=True))
    return [known[value] for value in column]


def _rows(
    butler: AbstractButler,
    relation: Relation,
    keys: Mapping[str, Keys],
    sound: npt.NDArray[np.bool_],
    problems: Problems,
    *,
    repeats: bool,
) -> tuple[dict[str, Int], int]:
    """Return row IDs of both sides, and how many rows are said twice."""
    model = butler.model
    leaves = [*model.leaves(relation.left), *model.leaves(relation.right)]
    rows: dict[str, Int] = {}
    sound = sound.copy()

    def shown(units: Sequence[str], i: int) -> str:
        return ", ".join(f"{u}={keys[u][i]}" for u in units)

    with butler.reader() as reader:
        index = RowIds(reader, model)
        for unit in dict.fromkeys(leaves):
            closure = model.closure([unit])
            if any(u not in keys for u in closure):
                continue
            rows[unit] = index.ids(unit, keys)
            unknown = np.flatnonzero(sound & (rows[unit] == UNKNOWN))
            said = [
                f"row {i + 1}: {shown(closure, i)} is not known; insert it first"
                for i in unknown[:_TOLD].tolist()
            ]
            _tell(problems, said, len(unknown))
            sound[unknown] = False
    repeated = 0
    if len(rows) == len(set(leaves)):
        where = np.flatnonzero(sound)
        whole = np.stack([ids[where] for ids in rows.values()], axis=1)
        _, first, inverse = np.unique(whole, axis=0, return_index=True, return_inverse=True)
        first = where[first][inverse.reshape(-1)]
        again = np.flatnonzero(first != where)
        repeated = len(again)
        if not repeats:
            said = [f"row {where[i] + 1} says the same as row {first[i] + 1}" for i in again[:_TOLD].tolist()]
            _tell(problems, said, repeated)
    return rows, repeated


def _tell(problems: Problems, said: Sequence[str], n: int) -> None:
    for message in said:
        problems.add(message)
    if n > len(said):
        problems.add(f"and so in {n - len(said):,} more rows")
