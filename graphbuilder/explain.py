"""Why a quantum is in a plan, or is not; and where a plan's quanta went, step by step.

What planning left out stands in the plan with its reason. Of what it never saw, the repository is asked
by the means that planning itself uses, for this one data ID: which of its units are not there, which
condition of the expression is false for it and with which value, which relation has no row for it, which
input is missing, and if a task of the plan should have made that, why it did not.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.subset import quanta_with
from graphbuilder.dag.values import QuantumRecord, TaskNode
from graphbuilder.expressions import parse
from graphbuilder.reasons.inputs import equal_to, shortfalls
from graphbuilder.reasons.links import link
from graphbuilder.reasons.nearest import nearest, said
from graphbuilder.reasons.selection import Selection, select_step_by_step
from supertask.butler.port import AbstractButler
from supertask.conditions import And, Condition, Name, conjuncts, evaluate, names
from supertask.dataids import DataId
from supertask.errors import DataIdError, PreflightError, SuperTaskError
from supertask.fields import FieldRole
from supertask.pipeline import Pipeline
from supertask.units import FieldKind, UnitModel

__all__ = ["Explanation", "PlanExplanation", "Verdict", "explain", "explain_plan"]

_SHOWN = 6
_DEEPEST = 20


class Verdict(enum.Enum):
    """Whether a quantum is in a plan, and at which hurdle it fell if not."""

    PLANNED = "planned"
    LEFT_OUT = "left out"
    """Planning saw it and left it out."""
    UNKNOWN = "unknown"
    """The repository does not have the units that it names."""
    NOT_SELECTED = "not selected"
    """The data-ID expression is false for it."""
    NO_RELATION = "not related"
    """A relation has no row for it."""
    NO_INPUT = "no input"
    """An input that must have been there is missing."""
    UPSTREAM = "nothing upstream"
    """An input that the plan should make is not made."""
    NOTHING_TO_DO = "nothing to do"
    """None of these: the task's own `defineQuanta` does not make it."""


@attrs.frozen
class Explanation:
    """Why a quantum is, or is not, in a plan."""

    label: str
    dataId: DataId
    verdict: Verdict
    lines: tuple[str, ...]
    """The reasons, one a line."""
    because: tuple[Explanation, ...] = ()
    """Why quanta are missing that should have made its inputs."""

    def __str__(self) -> str:
        return "\n".join(self._told(""))

    def _told(self, margin: str) -> Iterator[str]:
        yield f"{margin}{self.label} {self.dataId}: {self.verdict.value}"
        yield from (f"{margin}  {line}" for line in self.lines)
        for cause in self.because:
            yield from cause._told(margin + "  ")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return {
            "label": self.label,
            "dataId": dict(self.dataId),
            "verdict": self.verdict.value,
            "lines": list(self.lines),
            "because": [cause.to_dict() for cause in self.because],
        }


@attrs.frozen
class PlanExplanation:
    """Where the quanta of a plan came from and went, step by step."""

    steps: tuple[tuple[str, str, int], ...]
    """Task label or empty, step, how many it left."""
    left_out: tuple[tuple[str, str, int], ...]
    """Task label, what those that stayed have, how many have it not."""
    selection: Selection | None = None
    """What each condition of the expression leaves; None where the repository is not at hand."""

    @property
    def findings(self) -> tuple[str, ...]:
        """What is most likely amiss, first things first."""
        found = [] if self.selection is None else list(self.selection.findings())
        found += [
            f"{label} has no quanta: {next(w for t, w, n in self.steps if t == label and not n)}"
            for label in dict.fromkeys(
                t for t, what, n in self.steps if t and not n and what == "quanta planned"
            )
        ]
        found += [f"{n:,} of {label} left out: not among the {why}" for label, why, n in self.left_out]
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        chosen = self.selection
        return {
            "findings": list(self.findings),
            "conditions": [] if chosen is None else [attrs.asdict(c) for c in chosen.conditions],
            "inputs": [] if chosen is None else [attrs.asdict(i) for i in chosen.inputs],
            "steps": [{"task": t, "step": what, "left": n} for t, what, n in self.steps],
            "left_out": [{"task": t, "why": why, "quanta": n} for t, why, n in self.left_out],
        }


def explain_plan(dag: ScienceDag, butler: AbstractButler | None = None) -> PlanExplanation:
    """Say how a plan came about, and which conditions and inputs it owes its size to.

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    butler : AbstractButler, optional
        Its repository, for what each condition leaves and which values it has that come nearest.
    """
    left_out = tuple((p.label, p.why, len(p)) for p in dag.left_out)
    if butler is None:
        return PlanExplanation(dag.meta.steps, left_out)
    _check_same(dag, butler)
    pipeline = _pipeline(dag)
    given = {} if pipeline is None else {
        n: u.dataset_type for n, u in pipeline.dataset_types().items() if u.producer is None
    }  # fmt: skip
    certified = {
        f.dataset_type
        for task in (pipeline or {}).values()
        for f in task.config.dataset_fields.values()
        if f.role is FieldRole.CALIBRATION
    }
    where = parse(dag.meta.where, dag.model, bind=dag.meta.bind)
    chosen = select_step_by_step(
        butler, where, tuple(given.values()), collections=dag.meta.collections, certified=certified
    )
    return PlanExplanation(dag.meta.steps, left_out, chosen)


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
        The quantum's units and values. A unit of which the plan has one instance only may be left out.
    butler : AbstractButler, optional
        The repository that the plan was made from, to ask about what planning never saw.

    Raises
    ------
    PreflightError
        The plan's pipeline has no such task, or the plan was made from another repository.
    DataIdError
        The data ID is not one of the task's, or lacks a unit and so is that of several quanta.
    """
    node = dag.task(label)
    completed = _completed(dag, node.quantum_units, dataId)
    _check_ambiguous(dag, node, completed)
    wanted = dag.model.standardize(node.quantum_units, completed, what=f"a quantum of {label!r}")
    if butler is not None:
        _check_same(dag, butler)
    try:
        index = dag.find_quantum(label, wanted)
    except PreflightError:
        return _Missing(dag, butler).explain(label, wanted)
    record = dag.record(index)
    lines = tuple(line for tell in _TELLERS for line in tell(dag, record, butler))
    return Explanation(label, wanted, Verdict.PLANNED, lines)


def _completed(dag: ScienceDag, units: Sequence[str], dataId: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in units of which the plan has but one instance, such as the instrument."""
    whole = dict(dataId)
    for unit in dag.model.closure(units):
        if unit not in whole and unit in dag.space.tables and dag.space.size(unit) == 1:
            whole[unit] = dag.space.tables[unit].keys[:].tolist()[0]
    return whole


def _check_ambiguous(dag: ScienceDag, node: TaskNode, dataId: Mapping[str, Any]) -> None:
    """Refuse a data ID of which several quanta of a task have the values."""
    closure = dag.model.closure(node.quantum_units)
    missing = [u for u in closure if u not in dataId]
    if not missing or not set(dataId) <= set(closure):
        return
    chosen = quanta_with(dag, dataId)[node.first : node.first + node.count]
    n = int(chosen.sum())
    if n:
        table = dag.quantum_tables[dag.tasks.index(node)]
        shown = dag.space.data_ids(
            {u: c[:] for u, c in table.columns.items()}, np.flatnonzero(chosen)[:_SHOWN]
        )
        raise DataIdError(
            f"{DataId(dict(dataId))} is ambiguous: {n:,} quanta of {node.label!r} have these values; give "
            f"{', '.join(missing)} too: {', '.join(map(str, shown))}{', …' if n > _SHOWN else ''}"
        )


def _check_same(dag: ScienceDag, butler: AbstractButler) -> None:
    if dag.meta.repository and butler.repository_id != dag.meta.repository:
        raise PreflightError(
            f"the plan was made from the repository {dag.meta.butler_root or 'in memory'} "
            f"({dag.meta.repository}), and this one is {butler.root or 'in memory'} "
            f"({butler.repository_id}): give the one that it was made from"
        )


def _pipeline(dag: ScienceDag) -> Pipeline | None:
    """Return the plan's pipeline, None where its tasks cannot be imported here."""
    try:
        return Pipeline.from_dict(dag.meta.pipeline)
    except (SuperTaskError, ImportError):
        return None


# -- of a quantum that is planned -------------------------------------------------------------------


def _who(_: ScienceDag, record: QuantumRecord, __: AbstractButler | None) -> Iterator[str]:
    yield f"it is quantum {record.index}, identity {record.identity.hex()}"


def _selected(dag: ScienceDag, record: QuantumRecord, butler: AbstractButler | None) -> Iterator[str]:
    if butler is None or not dag.meta.where.strip() or record.quantum.dataId is None:
        return
    values, missing = _values(butler, dag.model, record.quantum.dataId)
    if missing:
        yield "since the plan was made the repository lost what it names"
        return
    for condition in conjuncts(parse(dag.meta.where, dag.model, bind=dag.meta.bind)):
        spoken = sorted(names(condition), key=str)
        if all(n in values for n in spoken):
            yield f"{condition} is true: {_having(dag.model, spoken, values)}"
        else:
            yield f"{condition} speaks of nothing that it determines"


def _read(dag: ScienceDag, record: QuantumRecord, _: AbstractButler | None) -> Iterator[str]:
    units = tuple(record.quantum.dataId or ())
    for dataset_type, datasets in record.quantum.inputs.items():
        by = link(dag.model, units, dataset_type.units)
        source = "made by this plan" if dataset_type in dag.producers else "in the repository"
        shown = ", ".join(str(d.dataId) for d in sorted(datasets)[:_SHOWN])
        more = f" and {len(datasets) - _SHOWN} more" if len(datasets) > _SHOWN else ""
        which = f": {shown}{more}" if datasets else ""
        yield f"reads {len(datasets)} {dataset_type.name!r} ({source}), {by}{which}"


def _made(_: ScienceDag, record: QuantumRecord, __: AbstractButler | None) -> Iterator[str]:
    for dataset_type, datasets in record.quantum.outputs.items():
        yield f"makes {len(datasets)} {dataset_type.name!r}"


_TELLERS: tuple[Callable[[ScienceDag, QuantumRecord, AbstractButler | None], Iterator[str]], ...] = (
    _who,
    _selected,
    _read,
    _made,
)
"""What is said of a quantum in a plan, in this order."""


# -- of one that is not -----------------------------------------------------------------------------


class _Missing:
    """Looks for why a quantum is not in a plan."""

    def __init__(self, dag: ScienceDag, butler: AbstractButler | None) -> None:
        self._dag, self._butler = dag, butler
        self._pipeline = _pipeline(dag)
        self._seen: set[tuple[str, DataId]] = set()

    def explain(self, label: str, wanted: DataId) -> Explanation:
        """Say why a quantum of a task is not there; `wanted` may have only some of its units."""
        self._seen.add((label, wanted))
        dag, butler = self._dag, self._butler
        keys: dict[str, Any] = dict(wanted)
        values: dict[Name, Any] = {}
        if butler is not None:
            values, missing = _values(butler, dag.model, wanted)
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
        parts = conjuncts(parse(self._dag.meta.where, model, bind=self._dag.meta.bind))
        false = tuple(line for c in parts for line in _why_false(model, c, values))
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


def _values(
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


def _having(model: UnitModel, spoken: list[Name], values: Mapping[Name, Any]) -> str:
    words = []
    for name in spoken:
        value = values[name]
        field = model.unit(name.unit).field(name.field) if name.field else None
        is_time = field is not None and field.kind is FieldKind.TIME
        words.append(f"{name} is {'not known' if value is None else said(value, is_time=is_time)}")
    return ", ".join(words)


def _why_false(model: UnitModel, condition: Condition, values: Mapping[Name, Any]) -> list[str]:
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
    return [f"{condition} is false: {_having(model, spoken, values)}"]


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
            here = {u: v for u, v in wanted.items() if u in model.closure(side)}
            if not here:
                continue
            alone = equal_to(model, here)
            rows = [_rows(butler, relation.name, w) for w in (alone, And((alone, condition)))]
            if not rows[1]:
                lines.append(
                    f"{condition} leads to none of it: relation {relation.name!r} has {rows[0]:,} rows for "
                    f"{DataId(here)}, and none with that"
                )
    return lines


def _rows(butler: AbstractButler, relation: str, where: Condition) -> int:
    with butler.reader(where=where) as reader:
        return len(next(iter(reader.relation(relation).units.values())))
