"""Why a quantum is in a plan, or is not; and where a plan's quanta went, step by step.

What planning left out stands in the plan with its reason. Of what it never saw, the repository is asked
by the means that planning itself uses, for this one data ID: which of its units are not there, which
condition of the expression is false for it and with which value, which relation has no row for it, which
input is missing, and if a task of the plan should have made that, why it did not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.subset import quanta_with
from graphbuilder.dag.values import QuantumRecord, TaskNode
from graphbuilder.loading.lookups import condition_for
from graphbuilder.reasons.configured import configured
from graphbuilder.reasons.course import PlanExplanation, explain_plan
from graphbuilder.reasons.links import link
from graphbuilder.reasons.lookup import check_same, having, pipeline_of, values_of
from graphbuilder.reasons.missing import Missing
from graphbuilder.reasons.verdicts import Explanation, Verdict
from supertask.butler.port import AbstractButler
from supertask.conditions import conjuncts, names
from supertask.connections.fields import DatasetField, FieldRole
from supertask.connections.inputlookups import When
from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import DataIdError, PreflightError

__all__ = ["Explanation", "PlanExplanation", "Verdict", "explain", "explain_plan"]

_SHOWN = 6


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
        check_same(dag, butler)
    try:
        index = dag.find_quantum(label, wanted)
    except PreflightError:
        return Missing(dag, butler).explain(label, wanted)
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


# -- of a quantum that is planned -------------------------------------------------------------------


def _who(_: ScienceDag, record: QuantumRecord, __: AbstractButler | None) -> Iterator[str]:
    yield f"it is quantum {record.index}, identity {record.identity.hex()}"


def _selected(dag: ScienceDag, record: QuantumRecord, butler: AbstractButler | None) -> Iterator[str]:
    if butler is None or not dag.meta.where.strip() or record.quantum.dataId is None:
        return
    values, missing = values_of(butler, dag.model, record.quantum.dataId)
    if missing:
        yield "since the plan was made the repository lost what it names"
        return
    where = condition_for(
        dag.meta.where, butler, bind=dag.meta.bind, collections=dag.meta.collections, planned=dag.datasets
    )
    for condition in conjuncts(where):
        spoken = sorted(names(condition), key=str)
        if all(n in values for n in spoken):
            yield f"{condition} is true: {having(dag.model, spoken, values)}"
        else:
            yield f"{condition} speaks of nothing that it determines"


def _read(dag: ScienceDag, record: QuantumRecord, butler: AbstractButler | None) -> Iterator[str]:
    pipeline = pipeline_of(dag)
    known = {} if pipeline is None else pipeline[record.label].config.dataset_fields
    fields = {f.dataset_type.name: f for f in known.values() if f.is_input}
    for dataset_type, datasets in record.quantum.inputs.items():
        by = _by(dag, record, dataset_type, fields.get(dataset_type.name), butler)
        source = "made by this plan" if dataset_type in dag.producers else "in the repository"
        own: Mapping[str, Any] = record.quantum.dataId or {}
        beside = [{u: v for u, v in d.dataId.items() if own.get(u) != v} for d in sorted(datasets)[:_SHOWN]]
        shown = ", ".join(str(DataId(b)) for b in beside if b)
        more = f" and {len(datasets) - _SHOWN} more" if shown and len(datasets) > _SHOWN else ""
        which = f": {shown}{more}" if shown else ""
        yield f"reads {len(datasets)} {dataset_type.name!r} ({source}), {by}{which}"


def _by(
    dag: ScienceDag,
    record: QuantumRecord,
    dataset_type: type[Dataset],
    field: DatasetField | None,
    butler: AbstractButler | None,
) -> str:
    """Say by what an input belongs to a quantum."""
    if field is not None and field.find is not None:
        return f"as {getattr(field.find, '__qualname__', repr(field.find))} found"
    if field is not None and field.when is not When.VALID:
        return f"as the {field.when.value} in time"
    timed = False
    if butler is not None and field is not None and field.role is FieldRole.CALIBRATION:
        with butler.reader(collections=dag.meta.collections or None) as reader:
            timed = bool(reader.calibrations(dataset_type))
    return link(dag.model, tuple(record.quantum.dataId or ()), dataset_type.units, timed=timed)


def _made(_: ScienceDag, record: QuantumRecord, __: AbstractButler | None) -> Iterator[str]:
    for dataset_type, datasets in record.quantum.outputs.items():
        yield f"makes {len(datasets)} {dataset_type.name!r}"


_TELLERS: tuple[Callable[[ScienceDag, QuantumRecord, AbstractButler | None], Iterator[str]], ...] = (
    _who,
    configured,
    _selected,
    _read,
    _made,
)
"""What is said of a quantum in a plan, in this order."""
