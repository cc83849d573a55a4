"""Planning a part: some tasks of a pipeline, or the data IDs of an earlier plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from graphbuilder.comparing.plankeys import Translation
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.subset import parts_of
from graphbuilder.dag.values import LeftOut
from supertask.butler.port import Reader
from supertask.connections.fields import FieldRole
from supertask.errors import PreflightError, Problems, did_you_mean
from supertask.pipelines.pipeline import Pipeline
from supertask.repograph.columns import group, lookup
from supertask.repograph.space import UnitSpace
from supertask.units import UnitModel

__all__ = ["labels_of", "like_plan", "narrow_like"]

_MADE = (FieldRole.OUTPUT, FieldRole.INIT_OUTPUT)


def labels_of(pipeline: Pipeline, words: Iterable[str]) -> tuple[str, ...]:
    """Return the labels that some words name, in the pipeline's order.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    words : iterable of str
        Each a label or the name of a subset, or a range: ``..warp`` is warp and all that it rests on,
        ``coadd..`` coadd and all that rests on it, ``isr..warp`` what lies on the way from isr to warp.

    Raises
    ------
    PreflightError
        Names every word that names nothing.
    """
    after = _after(pipeline)
    before: dict[str, set[str]] = {label: set() for label in after}
    for label, others in after.items():
        for other in others:
            before[other].add(label)
    subsets = {name: set(s.labels) for name, s in pipeline.subsets.items()}
    known = [*after, *subsets]
    problems = Problems("tasks to plan")
    chosen: set[str] = set()
    for word in words:
        begin, dots, end = word.partition("..")
        ends = [e for e in (begin, end) if e]
        unknown = [e for e in ends if e not in known]
        for each in unknown:
            problems.add(
                f"{word!r}: the pipeline has no task or subset {each!r}{did_you_mean(each, known)}; "
                f"it has {', '.join(known) or 'none'}"
            )
        if not ends:
            problems.add(f"{word!r} names nothing: write LABEL, ..LABEL, LABEL.., or LABEL..LABEL")
        if unknown or not ends:
            continue
        first, last = (subsets.get(e, {e}) for e in (begin, end))
        if not dots:
            chosen |= first
            continue
        found = set(after)
        if begin:
            found &= _reached(after, first)
        if end:
            found &= _reached(before, last)
        if not found:
            problems.add(f"{word!r}: nothing lies on the way from {begin!r} to {end!r}; is it the other way?")
        chosen |= found
    problems.raise_if_any(PreflightError)
    return tuple(label for label in after if label in chosen)


def _after(pipeline: Pipeline) -> dict[str, set[str]]:
    """Label → labels of the tasks that read what it makes."""
    makers: dict[str, str] = {}
    for taskdef in pipeline.values():
        for field in taskdef.config.dataset_fields.values():
            if field.role in _MADE:
                makers[field.dataset_type.name] = taskdef.label
    after: dict[str, set[str]] = {label: set() for label in pipeline}
    for taskdef in pipeline.values():
        for field in taskdef.config.dataset_fields.values():
            if field.role not in _MADE and field.dataset_type.name in makers:
                after[makers[field.dataset_type.name]].add(taskdef.label)
    return after


def _reached(edges: Mapping[str, set[str]], start: set[str]) -> set[str]:
    found, front = set(start), set(start)
    while front:
        front = {other for label in front for other in edges[label]} - found
        found |= front
    return found


def narrow_like(reader: Reader, model: UnitModel, plan: ScienceDag) -> None:
    """Admit only instances of units that quanta of an earlier plan are of, or datasets that they read.

    A quantum may gather by units that no quantum is of: a bias of each detector is made of exposures that
    nothing else is made of.

    Raises
    ------
    PreflightError
        The plan has no quanta, or the repository has none of its data IDs.
    """
    used: dict[str, list[np.ndarray]] = {}
    for table in (*plan.quantum_tables, *(plan.datasets.values() if plan.n_quanta else ())):
        for unit, column in table.columns.items():
            if table.n:
                used.setdefault(unit, []).append(np.asarray(column[:]))
    if not used:
        raise PreflightError("the earlier plan has no quanta, and so no data IDs to plan")
    closure = model.closure(used)
    now = UnitSpace.from_rows(model, [reader.units(u, ()) for u in closure])
    translation = Translation(now, plan.space)
    for unit, columns in used.items():
        codes = translation.unit(unit)[np.unique(np.concatenate(columns))]
        ids = now.tables[unit].ids
        if ids is None or not (codes >= 0).any():
            raise PreflightError(
                f"the repository has none of the {len(codes):,} instances of {unit} of the earlier plan, "
                "or the expression leaves none of them"
            )
        reader.restrict(unit, np.sort(ids[codes[codes >= 0]]))


def like_plan(dag: ScienceDag, plan: ScienceDag) -> ScienceDag:
    """Return the quanta whose data IDs an earlier plan has too, and those that they need.

    Tasks that the earlier plan has not are left as they are.
    """
    keep = np.ones(dag.n_quanta, bool)
    translation = Translation(dag.space, plan.space)
    theirs = {t.label: table for t, table in zip(plan.tasks, plan.quantum_tables, strict=True)}
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        other = theirs.get(node.label)
        if other is None or set(other.columns) != set(table.columns):
            continue
        columns = {u: other.columns[u] for u in table.columns}
        there = group(translation.keys(columns, other.n)).keys
        keep[node.first : node.first + node.count] = lookup(there, table.key()) >= 0
    if keep.all():
        return dag
    keep[dag.ancestors(np.flatnonzero(keep).tolist())] = True
    left_out = list(dag.left_out)
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        rest = np.flatnonzero(~keep[node.first : node.first + node.count])
        if len(rest):
            columns = {u: c[rest] for u, c in table.columns.items()}
            left_out.append(LeftOut(node.label, "a data ID of the earlier plan", columns))
    if not keep.any():
        raise PreflightError("no quantum is of a data ID that the earlier plan has")
    return ScienceDag(**parts_of(dag, keep), left_out=left_out)
