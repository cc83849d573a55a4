"""Why a quantum is not in a plan: the search for the one thing that kept it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.expressions.language import parse
from graphbuilder.loading.lookups import asks, condition_for
from graphbuilder.reasons.inputs import shortfalls
from graphbuilder.reasons.lookup import having, pipeline_of, values_of
from graphbuilder.reasons.skyward import how_far, nearest_on_sky
from graphbuilder.reasons.timely import equal_to
from graphbuilder.reasons.verdicts import Explanation, Verdict
from supertask.butler.port import AbstractButler
from supertask.conditions import And, Condition, Name, conjuncts, evaluate, names
from supertask.dataids import DataId
from supertask.errors import SuperTaskError
from supertask.units import UnitModel

__all__ = ["Missing"]

_DEEPEST = 20


class Missing:
    """Looks for why a quantum is not in a plan."""

    def __init__(self, dag: ScienceDag, butler: AbstractButler | None) -> None:
        self._dag, self._butler = dag, butler
        self._pipeline = pipeline_of(dag)
        self._seen: set[tuple[str, DataId]] = set()

    def explain(self, label: str, wanted: DataId) -> Explanation:
        """Say why a quantum of a task is not there; `wanted` may have only some of its units."""
        self._seen.add((label, wanted))
        dag, butler = self._dag, self._butler
        keys: dict[str, Any] = dict(wanted)
        values: dict[Name, Any] = {}
        if butler is not None:
            values, missing = values_of(butler, dag.model, wanted)
            keys = {n.unit: v for n, v in values.items() if n.field is None and v is not None}
            if missing:
                return Explanation(label, wanted, Verdict.UNKNOWN, tuple(missing))
        why = self._left_out(label, wanted)
        if why:
            return self._short(label, wanted, keys, why) or Explanation(label, wanted, Verdict.LEFT_OUT, why)
        false = self._false(wanted, values)
        if false is not None:
            return Explanation(label, wanted, *false)
        found = self._short(label, wanted, keys, ())
        return found or Explanation(label, wanted, Verdict.NOTHING_TO_DO, self._at_a_loss(label))

    def _left_out(self, label: str, wanted: DataId) -> tuple[str, ...]:
        found = []
        for part in self._dag.left_out:
            if part.label == label and set(wanted) >= set(self._dag.model.closure(part.columns)):
                columns = {u: c[:] for u, c in part.columns.items()}
                if _among(self._dag, columns, wanted):
                    found.append(f"it is not among the {part.why}")
        return tuple(found)

    def _false(self, wanted: DataId, values: Mapping[Name, Any]) -> tuple[Verdict, tuple[str, ...]] | None:
        """Return which conditions of the expression keep it out, by themselves or through a relation."""
        model = self._dag.model
        meta = self._dag.meta
        if self._butler is None:
            # What only the repository knows cannot be told without it.
            parts = [c for c in conjuncts(parse(meta.where, model, bind=meta.bind)) if not asks(c)]
        else:
            where = condition_for(
                meta.where,
                self._butler,
                bind=meta.bind,
                collections=meta.collections,
                planned=self._dag.datasets,
            )
            parts = list(conjuncts(where))
        false = tuple(line for c in parts for line in _why_false(self._butler, model, c, values))
        if false:
            return Verdict.NOT_SELECTED, false
        if self._butler is not None:
            apart = tuple(line for c in parts for line in _unreached(self._butler, model, c, wanted, values))
            if apart:
                return Verdict.NO_RELATION, apart
        return None

    def _short(
        self, label: str, wanted: DataId, keys: Mapping[str, Any], why: tuple[str, ...]
    ) -> Explanation | None:
        """Return which inputs it lacks, and why they are not made."""
        if self._pipeline is None or label not in self._pipeline:
            return None
        found = shortfalls(self._dag, self._pipeline, label, keys, self._butler)
        if not found:
            return None
        causes = [c for short in found for c in short.upstream if c not in self._seen]
        because = tuple(self.explain(*cause) for cause in causes[:_DEEPEST])
        verdict = Verdict.NO_INPUT
        if why:
            verdict = Verdict.LEFT_OUT
        elif any(s.relation for s in found):
            verdict = Verdict.NO_RELATION
        elif any(s.upstream for s in found):
            verdict = Verdict.UPSTREAM
        return Explanation(label, wanted, verdict, (*why, *map(str, found)), because)

    def _at_a_loss(self, label: str) -> tuple[str, ...]:
        steps = tuple(f"{n:>8,}  {what}" for task, what, n in self._dag.meta.steps if task == label)
        if self._butler is None:
            return ("planning never saw it; with the repository at hand more could be said", *steps)
        if self._pipeline is None:
            return (
                "the pipeline's tasks cannot be imported here, so their inputs cannot be looked up",
                *steps,
            )
        why = (
            f"all that it needs is there, but defineQuanta of {label!r} does not make it, or the repository "
            f"has changed since the plan was made ({self._dag.meta.created})"
        )
        return (why, *steps)


def _among(dag: ScienceDag, columns: Mapping[str, Any], wanted: DataId) -> bool:
    keep = np.ones(len(next(iter(columns.values()), ())), bool)
    try:
        for unit, codes in columns.items():
            keep &= codes == dag.space.code_of(unit, wanted)
    except SuperTaskError:
        return False
    return bool(keep.any())


def _why_false(
    butler: AbstractButler | None, model: UnitModel, condition: Condition, values: Mapping[Name, Any]
) -> list[str]:
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
    far = how_far(butler, condition, values) if butler is not None else ""
    return [f"{condition} is false: {having(model, spoken, values)}{f'; {far}' if far else ''}"]


def _unreached(
    butler: AbstractButler,
    model: UnitModel,
    condition: Condition,
    wanted: DataId,
    values: Mapping[Name, Any],
) -> list[str]:
    """Say through which relation a condition on other units keeps it out."""
    spoken = {n.unit for n in names(condition)}
    if not spoken or all(n in values for n in names(condition)):
        return []
    own = set(model.determined(tuple(wanted)))
    lines = []
    for relation in model.relations:
        for side, other in ((relation.left, relation.right), (relation.right, relation.left)):
            far = set(model.determined(other))
            if not spoken <= own | far or not spoken & (far - own) or not own & (set(side) - far):
                continue
            here = {u: values[Name(u)] for u in model.closure(side) if values.get(Name(u)) is not None}
            if not here:
                continue
            alone = equal_to(model, here)
            rows = [_rows(butler, relation.name, w) for w in (alone, And((alone, condition)))]
            if not rows[1]:
                near = ", ".join(nearest_on_sky(butler, condition))
                lines.append(
                    f"{condition} leads to none of it: relation {relation.name!r} has {rows[0]:,} rows for "
                    f"{DataId(here)}, and none with that"
                    f"{f'; the nearest to it: {near}' if near else ''}"
                )
    return lines


def _rows(butler: AbstractButler, relation: str, where: Condition) -> int:
    with butler.reader(where=where) as reader:
        return len(next(iter(reader.relation(relation).units.values())))
