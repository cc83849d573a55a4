"""Why a quantum is in a plan, or is not.

What planning left out stands in the plan with its reason. Of what it never saw, the repository is
asked again for this one data ID: which of its units are not there, which condition of the expression
is false for it and with which value, and, where the expression is not to blame, at which step of
planning nothing was left.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.expressions import parse
from supertask.butler.port import AbstractButler
from supertask.conditions import (
    And,
    Compare,
    Comparison,
    Condition,
    Constant,
    Name,
    conjuncts,
    evaluate,
    names,
)
from supertask.dataids import DataId
from supertask.errors import EmptyPlanError, PreflightError
from supertask.pipeline import Pipeline
from supertask.units import UnitModel

__all__ = ["Explanation", "Verdict", "explain"]

_SHOWN = 6


class Verdict(enum.Enum):
    """Whether a quantum is in a plan, and at which hurdle it fell if not."""

    PLANNED = "planned"
    LEFT_OUT = "left out"
    """Planning saw it and left it out."""
    UNKNOWN = "unknown"
    """The repository does not have the units that it names."""
    NOT_SELECTED = "not selected"
    """The data-ID expression is false for it."""
    NOTHING_TO_DO = "nothing to do"
    """Inputs or relations are missing."""


@attrs.frozen
class Explanation:
    """Why a quantum is, or is not, in a plan."""

    label: str
    dataId: DataId
    verdict: Verdict
    lines: tuple[str, ...]
    """The reasons, one a line."""

    def __str__(self) -> str:
        head = f"{self.label} {self.dataId}: {self.verdict.value}"
        return "\n".join([head, *(f"  {line}" for line in self.lines)])


def explain(
    dag: ScienceDag, label: str, dataId: Mapping[str, Any], butler: AbstractButler | None = None
) -> Explanation:
    """Say why a quantum is, or is not, in a plan.

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    label : str
        Label of the task.
    dataId : Mapping
        The quantum's units and values.
    butler : AbstractButler, optional
        The repository that the plan was made from, to ask about what planning never saw.

    Raises
    ------
    PreflightError
        The plan's pipeline has no such task.
    DataIdError
        The data ID is not one of the task's.
    """
    node = dag.task(label)
    wanted = dag.model.standardize(node.quantum_units, dataId, what=f"a quantum of {label!r}")
    try:
        index = dag.find_quantum(label, wanted)
    except PreflightError:
        pass
    else:
        return Explanation(label, wanted, Verdict.PLANNED, _planned(dag, index))
    for part in dag.left_out:
        if part.label == label and _among(dag, part.columns, wanted):
            why = f"it is not among the {part.why}"
            return Explanation(label, wanted, Verdict.LEFT_OUT, (why,))
    if butler is None:
        lines = ("planning never saw it; with the repository at hand more could be said",)
        return Explanation(label, wanted, Verdict.NOTHING_TO_DO, lines)
    return _asked_again(dag, label, wanted, butler)


def _planned(dag: ScienceDag, index: int) -> tuple[str, ...]:
    record = dag.record(index)
    lines = [f"it is quantum {index}, identity {record.identity.hex()}"]
    for dataset_type, datasets in record.quantum.inputs.items():
        made = dataset_type in dag.producers
        source = "made by this plan" if made else "in the repository"
        shown = ", ".join(str(d.dataId) for d in sorted(datasets)[:_SHOWN])
        more = f" and {len(datasets) - _SHOWN} more" if len(datasets) > _SHOWN else ""
        lines.append(f"reads {len(datasets)} {dataset_type.name!r} ({source}): {shown}{more}")
    for dataset_type, datasets in record.quantum.outputs.items():
        lines.append(f"makes {len(datasets)} {dataset_type.name!r}")
    return tuple(lines)


def _among(dag: ScienceDag, columns: Mapping[str, Any], wanted: DataId) -> bool:
    return any(found == wanted for found in dag.space.data_ids(columns))


def _asked_again(dag: ScienceDag, label: str, wanted: DataId, butler: AbstractButler) -> Explanation:
    model = dag.model
    values, missing = _values(butler, model, wanted)
    if missing:
        return Explanation(label, wanted, Verdict.UNKNOWN, tuple(missing))
    false = [
        line
        for c in conjuncts(parse(dag.meta.where, model, bind=dag.meta.bind))
        for line in _false(c, values)
    ]
    if false:
        return Explanation(label, wanted, Verdict.NOT_SELECTED, tuple(false))
    pipeline = Pipeline.from_dict(dag.meta.pipeline)
    builder = GraphBuilder(pipeline, butler, dag.meta.output_run, collections=dag.meta.collections)
    try:
        alone = builder.makeGraph(str(_is(model, wanted)))
    except EmptyPlanError as error:
        steps = error.steps
    else:
        steps = alone.meta.steps
        if any(n.label == label and n.count for n in alone.tasks):
            why = (
                "with this data ID alone it would be planned: the repository has changed since the plan "
                "was made, or the expression narrowed something that it needs"
            )
            expression = f"expression: {dag.meta.where or '(none)'}"
            return Explanation(label, wanted, Verdict.NOTHING_TO_DO, (why, expression))
    own = [s for s in steps if s[0] in ("", label)]
    first = next((s for s in own if not s[2]), None)
    blame = () if first is None else (f"for this data ID alone the first step that left nothing: {first[1]}",)
    table = tuple(f"{count:>8,}  {what}" for _, what, count in own)
    return Explanation(label, wanted, Verdict.NOTHING_TO_DO, (*blame, *table))


def _values(butler: AbstractButler, model: UnitModel, wanted: DataId) -> tuple[dict[Name, Any], list[str]]:
    """Look up the units that a data ID names and all that follow from them."""
    keys: dict[str, Any] = dict(wanted)
    values: dict[Name, Any] = {}
    missing = []
    todo = list(reversed(model.closure(wanted)))
    seen = set(todo)
    for unit in todo:
        own = {u: keys[u] for u in model.closure((unit,)) if u in keys}
        rows = butler.units(unit, _is(model, own))
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


def _is(model: UnitModel, dataId: Mapping[str, Any]) -> Condition:
    equal = tuple(Compare(Comparison.EQ, Name(u), Constant(dataId[u])) for u in model.sort(dataId))
    return equal[0] if len(equal) == 1 else And(equal)


def _nearest(butler: AbstractButler, unit: str, own: Mapping[str, Any]) -> str:
    """Say that a unit has no such instance, and which it has that come nearest."""
    parents = {u: v for u, v in own.items() if u != unit}
    where = _is(butler.model, parents) if parents else None
    known = [r[unit] for r in butler.units(unit, where)]
    of = f" of {DataId(parents)}" if parents else ""
    if not known:
        return f"the repository has no {unit!r}{of} at all"
    key = own[unit]
    if isinstance(key, int):
        known.sort(key=lambda k: abs(k - key))
    near = ", ".join(str(k) for k in sorted(known[:_SHOWN]))
    return f"the repository has no {unit}={key}{of}; the nearest of its {len(known)}: {near}"


def _false(condition: Condition, values: Mapping[Name, Any]) -> list[str]:
    """Return why a condition is false, in words; nothing if it is not."""
    spoken = sorted(names(condition), key=str)
    if any(n not in values for n in spoken):
        return []  # it speaks of something else, which a relation may lead to

    def resolve(name: Name) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        value = values[name]
        if value is None:
            return np.zeros(1, np.int64), np.ones(1, bool)
        return np.array([value], object if isinstance(value, str) else None), None

    if bool(np.all(evaluate(condition, resolve))):
        return []
    having = ", ".join(f"{n} is {values[n]}" for n in spoken)
    return [f"{condition} is false: {having}"]
