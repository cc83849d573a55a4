"""What a repository knows already of what is to be ingested."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs

from supertask.butler.port import AbstractButler, Reader
from supertask.conditions import Condition, In, Name
from supertask.dataids import DataId, Key
from supertask.datasets import Dataset

__all__ = ["Registered", "known_units", "registered_in"]

_MOST_NAMED = 5_000
"""Up to this many keys are asked for by name; more are found quicker by reading all."""


@attrs.frozen
class Registered:
    """A dataset that a run has."""

    identity: bytes
    location: str


def _among(unit: str, keys: Collection[Any]) -> Condition | None:
    return In(Name(unit), tuple(keys)) if len(keys) <= _MOST_NAMED else None


def registered_in(
    butler: AbstractButler, run: str, dataset_type: type[Dataset], dataIds: Collection[DataId]
) -> dict[DataId, Registered]:
    """Return those of some data IDs for which a run has a dataset of a type.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    run : str
        A RUN collection.
    dataset_type : dataset type
        The type.
    dataIds : collection of DataId
        Complete data IDs.
    """
    model = butler.model
    closure = model.closure(dataset_type.units)
    keys = {unit: {d[unit] for d in dataIds} for unit in closure}
    unit = max(closure, key=lambda u: len(keys[u]), default=None)
    where = _among(unit, keys[unit]) if unit else None
    with butler.reader(collections=[run], where=where) as reader:
        rows = reader.datasets(dataset_type)
        columns: dict[str, list[Key]] = {}
        for leaf in model.leaves(dataset_type.units):
            known = _keys(reader, model.closure([leaf]), leaf, butler)
            of_rows = [known[i] for i in rows.units[leaf].tolist()]
            for at, name in enumerate(model.closure([leaf])):
                columns[name] = [key[at] for key in of_rows]
    wanted = set(dataIds)
    found = {}
    for i, location in enumerate(rows.locations):
        dataId = DataId({u: columns[u][i] for u in closure})
        if dataId in wanted:
            found[dataId] = Registered(rows.identities[i].tobytes(), location)
    return found


def _keys(
    reader: Reader, closure: tuple[str, ...], unit: str, butler: AbstractButler
) -> dict[int, tuple[Key, ...]]:
    """Return for each row ID of a unit the keys of its closure, in the model's order."""
    rows = reader.units(unit, ())
    own = dict(zip(rows.ids.tolist(), rows.keys.tolist(), strict=True))
    parents = {
        parent: _keys(reader, butler.model.closure([parent]), parent, butler)
        for parent in butler.model.unit(unit).parents
    }
    links = {parent: rows.links[parent].tolist() for parent in parents}
    found = {}
    for i, row_id in enumerate(own):
        keys: dict[str, Key] = {unit: own[row_id]}
        for parent, known in parents.items():
            keys.update(zip(butler.model.closure([parent]), known[links[parent][i]], strict=True))
        found[row_id] = tuple(keys[u] for u in closure)
    return found


def known_units(
    butler: AbstractButler, unit: str, keys: Collection[tuple[Key, ...]]
) -> dict[tuple[Key, ...], Mapping[str, Any]]:
    """Return those of some instances of a unit that the repository knows.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    unit : str
        The unit.
    keys : collection of tuple
        Keys of its closure, in the model's order.

    Returns
    -------
    dict
        Key → row, as `AbstractButler.units` gives it.
    """
    closure = butler.model.closure([unit])
    own = closure.index(unit)
    rows = butler.units(unit, _among(unit, {key[own] for key in keys}))
    found = {tuple(row[u] for u in closure): row for row in rows}
    return {key: found[key] for key in keys if key in found}
