"""What the repository knows of the units that a data ID names, and how that is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.reasons.nearest import nearest, said
from graphbuilder.reasons.timely import equal_to
from supertask.butler.port import AbstractButler
from supertask.conditions import Name
from supertask.dataids import DataId
from supertask.errors import PreflightError, SuperTaskError
from supertask.pipelines.pipeline import Pipeline
from supertask.units import FieldKind, UnitModel

__all__ = ["check_same", "having", "pipeline_of", "values_of"]


def check_same(dag: ScienceDag, butler: AbstractButler) -> None:
    """Refuse a repository that the plan was not made from."""
    if dag.meta.repository and butler.repository_id != dag.meta.repository:
        raise PreflightError(
            f"the plan was made from the repository {dag.meta.butler_root or 'in memory'} "
            f"({dag.meta.repository}), and this one is {butler.root or 'in memory'} "
            f"({butler.repository_id}): give the one that it was made from"
        )


def pipeline_of(dag: ScienceDag) -> Pipeline | None:
    """Return the plan's pipeline, None where its tasks cannot be imported here."""
    try:
        return Pipeline.from_dict(dag.meta.pipeline)
    except (SuperTaskError, ImportError):
        return None


def values_of(
    butler: AbstractButler, model: UnitModel, wanted: Mapping[str, Any]
) -> tuple[dict[Name, Any], list[str]]:
    """Look up the units that a data ID names and all that follow from them."""
    keys: dict[str, Any] = dict(wanted)
    values: dict[Name, Any] = {}
    missing = []
    todo = list(reversed(model.closure(wanted)))
    seen = set(todo)
    for unit in todo:
        own = {u: keys[u] for u in model.closure((unit,)) if u in keys}
        rows = butler.units(unit, equal_to(model, own))
        if not rows:
            missing.append(_nearest(butler, unit, own))
            continue
        row = rows[0]
        values[Name(unit)] = row[unit]
        for field in model.unit(unit).fields:
            values[Name(unit, field.name)] = row.get(field.name)
        for implied in model.unit(unit).implies:
            if row.get(implied) is not None and implied not in seen:
                keys[implied] = row[implied]
                seen.add(implied)
                todo.append(implied)
    return values, missing


def _nearest(butler: AbstractButler, unit: str, own: Mapping[str, Any]) -> str:
    """Say that a unit has no such instance, and which it has that come nearest."""
    parents = {u: v for u, v in own.items() if u != unit}
    where = equal_to(butler.model, parents) if parents else None
    with butler.reader(where=where) as reader:
        known = reader.units(unit, ()).keys
    of = f" of {DataId(parents)}" if parents else ""
    if not len(known):
        return f"the repository has no {unit!r}{of} at all"
    near = nearest(equal_to(butler.model, {unit: own[unit]}), known)
    return f"the repository has no {unit}={own[unit]}{of}; the nearest of its {len(known)}: {', '.join(near)}"


def having(model: UnitModel, spoken: Sequence[Name], values: Mapping[Name, Any]) -> str:
    """Say which values names have, as an expression would write them."""
    words = []
    for name in spoken:
        value = values[name]
        field = model.unit(name.unit).field(name.field) if name.field else None
        is_time = field is not None and field.kind is FieldKind.TIME
        words.append(f"{name} is {'not known' if value is None else said(value, is_time=is_time)}")
    return ", ".join(words)
