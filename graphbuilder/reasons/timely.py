"""Why an input that is looked up by time was not found, and how times are said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphbuilder.loading.loading import load_repo_graph
from graphbuilder.loading.needs import Needs
from supertask.butler.port import AbstractButler
from supertask.conditions import And, Compare, Comparison, Condition, Constant, Name
from supertask.connections.fields import DatasetField
from supertask.connections.inputlookups import When
from supertask.dataids import DataId
from supertask.repograph.grouped import rows_of
from supertask.repograph.timely import alike_units, time_unit, times_of
from supertask.temporal import NO_TIME
from supertask.times import from_tai_ns
from supertask.units import UnitModel

__all__ = ["date", "equal_to", "span", "why_not_in_time"]

_DAY_NS = 86_400 * 10**9
_FOREVER = 2**62


def date(ns: int) -> str:
    """Say when it was, in UTC."""
    if abs(ns) > _FOREVER:
        return "ever"
    text: str = from_tai_ns(ns).utc.isot
    return f"{text.removesuffix('.000')} UTC"


def span(ns: int, where: str = "") -> str:
    """Say how long it is, in days, and on which side."""
    return f"{ns / _DAY_NS:.3g} d {where}".rstrip() if ns else "just then"


def equal_to(model: UnitModel, dataId: Mapping[str, Any]) -> Condition:
    """Return the condition that units have these values."""
    equal = tuple(Compare(Comparison.EQ, Name(u), Constant(dataId[u])) for u in model.sort(dataId))
    return equal[0] if len(equal) == 1 else And(equal)


def why_not_in_time(
    butler: AbstractButler, collections: Sequence[str], field: DatasetField, keys: Mapping[str, Any]
) -> str:
    """Say why no dataset is near enough in time to a quantum; empty if one is.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    collections : sequence of str
        Collections searched.
    field : DatasetField
        The input, looked up by time.
    keys : Mapping
        Values of the quantum's units and of what they imply.
    """
    model, dataset_type = butler.model, field.dataset_type
    timed = time_unit(model, tuple(keys))
    if timed is None:
        return "no unit of the quantum has a time"
    unit, name = timed
    own = butler.units(unit, equal_to(model, {u: keys[u] for u in model.closure((unit,))}))
    at = own[0].get(name) if own else None
    if at is None:
        return f"{unit}.{name} is not known, and it is looked up by it"
    same = {u: keys[u] for u in alike_units(model, tuple(keys), dataset_type.units, field.alike) if u in keys}
    where = equal_to(model, same) if same else None
    needs = Needs((dataset_type,), frozenset(), (frozenset({*dataset_type.units, *same}),))
    with butler.reader(collections=tuple(collections) or None, where=where) as reader:
        graph, _ = load_repo_graph(reader, model, needs, where)
        rows, _ = graph.selected(graph.datasets[dataset_type], field.select)
        times = times_of(graph.space, rows_of(graph.datasets[dataset_type], rows))
    known = np.empty(0, np.int64) if times is None else times[times != NO_TIME]
    if not len(known):
        searched = ", ".join(collections) or "all runs"
        return f"none with {DataId(same)} in the collections searched ({searched})"
    return _too_far(field, known, int(at), f"{unit}.{name}")


def _too_far(field: DatasetField, known: Any, at: int, name: str) -> str:
    before, after = known[known <= at], known[known > at]
    candidates = before if field.when is When.LATEST_BEFORE else known
    if not len(candidates):
        first = int(after.min())
        return f"none is before {name} {date(at)}; the first is {span(first - at, 'after')}, {date(first)}"
    best = int(candidates[np.argmin(np.abs(candidates - at))])
    away = abs(best - at)
    if field.max_gap is None or away <= field.max_gap:
        return ""
    word = "latest before" if field.when is When.LATEST_BEFORE else "nearest to"
    return (
        f"the {word} {name} {date(at)} is {span(away, 'before' if best <= at else 'after')}, "
        f"{date(best)}, and may be {span(field.max_gap)} away at most"
    )
