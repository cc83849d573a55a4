"""By what an input belongs to a quantum: units in common, a relation, or time."""

from __future__ import annotations

from collections.abc import Iterable

from supertask.repograph.relate import deciders, relations_between
from supertask.units import UnitModel

__all__ = ["link", "linking_relations"]


def linking_relations(model: UnitModel, left: Iterable[str], right: Iterable[str]) -> list[str]:
    """Return the relations that join things by units `left` to things by units `right`."""
    return [r.name for r in relations_between(model, [r.name for r in model.relations], left, right)]


def link(model: UnitModel, quantum: Iterable[str], dataset: Iterable[str], *, timed: bool = False) -> str:
    """Say by what datasets belong to a quantum.

    Parameters
    ----------
    model : UnitModel
        The units.
    quantum, dataset : iterable of str
        Units of the quantum and of the datasets.
    timed : bool, optional
        Whether the datasets are certified calibrations, looked up by time.

    Returns
    -------
    str
        Such as ``by equal visit, by relation 'overlap'``.
    """
    quantum, dataset = tuple(quantum), tuple(dataset)
    common = set(model.determined(quantum)) & set(model.determined(dataset))
    # That both are of one camera goes without saying where anything else is equal.
    equal = deciders(model, common)
    words = [f"by equal {', '.join(equal)}"] if equal else []
    words += [f"by relation {name!r}" for name in linking_relations(model, quantum, dataset)]
    if timed:
        words.append("by time")
    return ", ".join(words) or "as the only ones there are"
