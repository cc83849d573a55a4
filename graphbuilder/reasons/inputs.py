"""Which inputs a quantum would have needed and does not have, and why.

What a plan makes is looked up in the plan; what must have been there before is asked of the repository,
by the loader that planning reads by, narrowed to the one data ID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs
import numpy as np

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.loading.loading import load_repo_graph
from graphbuilder.loading.needs import Needs
from graphbuilder.reasons.links import linking_relations
from graphbuilder.reasons.timely import date, equal_to, span, why_not_in_time
from supertask.butler.port import AbstractButler, CollectionKind
from supertask.connections.fields import DatasetField, FieldRole
from supertask.connections.inputlookups import When
from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import DataIdError, PreflightError
from supertask.pipelines.pipeline import Pipeline
from supertask.repograph.graph import RepoGraph
from supertask.repograph.relate import Rows, deciders, match
from supertask.repograph.tables import RelationTable
from supertask.units import FieldKind, UnitModel

__all__ = ["Shortfall", "shortfalls"]

_SHOWN = 3


@attrs.frozen
class Shortfall:
    """An input of which a quantum has fewer than it needs."""

    field: str
    dataset_type: str
    minimum: int
    found: int
    lines: tuple[str, ...]
    """Why."""
    relation: str = ""
    """The relation that has no row, where that is why."""
    upstream: tuple[tuple[str, DataId], ...] = ()
    """Label and data ID (perhaps of only some units) of quanta that would have made them."""

    def __str__(self) -> str:
        return (
            f"{self.field} needs {self.minimum} {self.dataset_type!r} and has {self.found}: "
            f"{'; '.join(self.lines)}"
        )


def shortfalls(
    dag: ScienceDag, pipeline: Pipeline, label: str, keys: Mapping[str, Any], butler: AbstractButler | None
) -> list[Shortfall]:
    """Return the inputs of which a quantum that is not in a plan has too few.

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    pipeline : Pipeline
        Its pipeline.
    label : str
        Label of the task.
    keys : Mapping
        Values of the quantum's units and of what they imply; perhaps of only some of its units.
    butler : AbstractButler, optional
        The repository; without it only what the plan makes is looked up.
    """
    found = []
    for attribute, field in pipeline[label].config.dataset_fields.items():
        if field.role in (FieldRole.INPUT, FieldRole.CALIBRATION) and field.minimum:
            short = _Asked(dag, pipeline, keys, butler).short(attribute, field)
            if short is not None:
                found.append(short)
    return found


class _Asked:
    """One quantum that is asked about."""

    def __init__(
        self, dag: ScienceDag, pipeline: Pipeline, keys: Mapping[str, Any], butler: AbstractButler | None
    ) -> None:
        self.dag, self.pipeline, self.butler = dag, pipeline, butler
        self.model = dag.model
        self.dataId = DataId(dict(keys))
        """All that is known of it; `own` is what needs to be said of it."""
        self.own = DataId({u: keys[u] for u in deciders(self.model, keys)})

    def short(self, attribute: str, field: DatasetField) -> Shortfall | None:
        """Return what is missing of one input, None where nothing is."""
        use = self.pipeline.dataset_types()[field.dataset_type.name]
        if field.find is not None:
            return None  # a function of its own: what it looks for cannot be told from outside
        if field.when is not When.VALID:
            return None if self.butler is None else self._short_in_time(attribute, field, self.butler)
        if use.producer is None:
            return None if self.butler is None else self._short_of_given(attribute, field, self.butler)
        return self._short_of_made(attribute, field, use.producer)

    def _short_in_time(self, attribute: str, field: DatasetField, butler: AbstractButler) -> Shortfall | None:
        why = why_not_in_time(butler, self.dag.meta.collections, field, self.dataId)
        return Shortfall(attribute, field.dataset_type.name, field.minimum, 0, (why,)) if why else None

    # -- what was there before ----------------------------------------------------------------

    def _narrowed(self, field: DatasetField, collections: Sequence[str], *, made: bool) -> RepoGraph:
        assert self.butler is not None  # noqa: S101 - asked by the callers
        inputs = () if made else (field.dataset_type,)
        certified = frozenset(inputs if field.role is FieldRole.CALIBRATION else ())
        needs = Needs(inputs, certified, (frozenset(self.dataId) | set(field.dataset_type.units),))
        where = equal_to(self.model, self.dataId)
        with self.butler.reader(collections=tuple(collections) or None, where=where) as reader:
            graph, _ = load_repo_graph(reader, self.model, needs, where)
            if field.select:  # fields are read when they are first asked for, and the reader is there now
                graph.selected(graph.datasets[field.dataset_type], field.select)
            if graph.validity:
                _moments(self.model, graph, self.dataId)
        return graph

    def _short_of_given(
        self, attribute: str, field: DatasetField, butler: AbstractButler
    ) -> Shortfall | None:
        dataset_type = field.dataset_type
        graph = self._narrowed(field, self.dag.meta.collections, made=False)
        relation = self._without_rows(graph, dataset_type)
        if relation:
            return self._unrelated(attribute, field, relation)
        table = graph.datasets[dataset_type]
        rows = self._belonging(graph, dataset_type)
        chosen = rows
        lines = []
        if not len(rows):
            searched = ", ".join(self.dag.meta.collections) or "all runs"
            lines.append(f"no {dataset_type.name!r} of it in the collections searched ({searched})")
            lines += self._elsewhere(field, butler)
        admitted, _ = graph.selected(table, field.select)
        if admitted is not None:
            chosen = rows[np.isin(rows, admitted)]
            if len(rows) and not len(chosen):
                has = self._has(graph, field, rows)
                lines.append(f"{len(rows)} belong to it, but none with {_said_select(field)}: {has}")
        if dataset_type in graph.validity and len(chosen):
            chosen, gap = _valid(self.model, graph, field, self.dataId, chosen)
            lines += gap
        if len(chosen) < field.minimum:
            lines = lines or [f"there are no more of it (of {self.own})"]
            return Shortfall(attribute, dataset_type.name, field.minimum, len(chosen), tuple(lines))
        return self._not_read(attribute, field, len(chosen))

    def _not_read(self, attribute: str, field: DatasetField, now: int) -> Shortfall | None:
        """Hold what is there now against what planning read."""
        planned = self._in_plan(field.dataset_type, {})
        if planned is None or planned >= field.minimum or linking_relations(
            self.model, self.dataId, field.dataset_type.units
        ):  # fmt: skip
            return None
        why = (
            f"the repository has {now} now, and planning read {planned}: they came after the plan "
            f"({self.dag.meta.created}), or its expression left them out"
        )
        return Shortfall(attribute, field.dataset_type.name, field.minimum, planned, (why,))

    def _without_rows(self, graph: RepoGraph, dataset_type: type[Dataset]) -> str:
        for name in linking_relations(self.model, self.dataId, dataset_type.units):
            if name in graph.relations and not len(graph.relations[name]):
                return name
        return ""

    def _unrelated(self, attribute: str, field: DatasetField, relation: str) -> Shortfall:
        why = f"relation {relation!r} has no row for {self.own}"
        return Shortfall(attribute, field.dataset_type.name, field.minimum, 0, (why,), relation)

    def _belonging(self, graph: RepoGraph, dataset_type: type[Dataset]) -> Any:
        table = graph.datasets[dataset_type]
        units = [u for u in self.model.leaves(self.dataId) if u in graph.space.tables]
        with suppress(DataIdError):
            columns = {u: np.array([graph.space.code_of(u, self.dataId)], np.int32) for u in units}
            edges = match(graph.space, graph.relations, Rows(columns, 1), Rows(table.columns, table.n))
            return edges.all_rows()
        return np.empty(0, np.int32)

    def _elsewhere(self, field: DatasetField, butler: AbstractButler) -> list[str]:
        """Say which collections that are not searched have it."""
        found = []
        for info in butler.collection_infos():
            if info.kind is CollectionKind.RUN and info.name not in self.dag.meta.collections:
                graph = self._narrowed(field, (info.name,), made=False)
                if len(self._belonging(graph, field.dataset_type)):
                    found.append(info.name)
                if len(found) == _SHOWN:
                    break
        return [f"collection {', '.join(found)} has it and is not searched"] if found else []

    def _has(self, graph: RepoGraph, field: DatasetField, rows: Any) -> str:
        """Say which values what belongs to a quantum has of what `select` asks for."""
        said = []
        for name in field.select or {}:
            unit, _, of = name.partition(".")
            values = graph.space.field(unit, of) if of else graph.space.tables[unit].keys
            codes = graph.space.column(graph.datasets[field.dataset_type].columns, unit, rows)
            known = sorted({str(v) for v in values[codes[codes >= 0]].tolist()})
            said.append(f"{name} is {', '.join(known[:_SHOWN]) or 'null'}")
        return ", ".join(said)

    # -- what the plan makes ------------------------------------------------------------------

    def _short_of_made(self, attribute: str, field: DatasetField, producer: str) -> Shortfall | None:
        dataset_type = field.dataset_type
        relations: dict[str, RelationTable] = {}
        linking = linking_relations(self.model, self.dataId, dataset_type.units)
        if linking:
            if self.butler is None:
                return None
            graph = self._narrowed(field, self.dag.meta.collections, made=True)
            relation = self._without_rows(graph, dataset_type)
            if relation:
                return self._unrelated(attribute, field, relation)
            relations = {n: _translated(graph, n, self.dag) for n in linking if n in graph.relations}
        found = self._in_plan(dataset_type, relations)
        if found is None or found >= field.minimum:
            return None
        lines, upstream = self._not_made(producer, relations, found)
        return Shortfall(
            attribute, dataset_type.name, field.minimum, found, tuple(lines), upstream=tuple(upstream)
        )

    def _codes(self) -> dict[str, Any] | None:
        """Return its units in the plan's codes, None where planning did not select them."""
        space = self.dag.space
        units = [u for u in self.model.leaves(self.dataId) if u in space.tables]
        try:
            return {u: np.array([space.code_of(u, self.dataId)], np.int32) for u in units}
        except DataIdError:
            return None

    def _in_plan(self, dataset_type: type[Dataset], relations: Mapping[str, RelationTable]) -> int | None:
        """Return how many datasets of a type in the plan belong to it, None where it cannot be told."""
        columns = self._codes()
        table = self.dag.datasets.get(dataset_type)
        if columns is None or table is None:
            return 0
        return self._matching(columns, relations, {u: c[:] for u, c in table.columns.items()}, table.n)

    def _matching(self, own: Any, relations: Any, columns: Any, n: int) -> int | None:
        with suppress(PreflightError):
            return match(self.dag.space, relations, Rows(own, 1), Rows(columns, n)).count
        return None

    def _not_made(
        self, producer: str, relations: Mapping[str, RelationTable], found: int
    ) -> tuple[list[str], list[tuple[str, DataId]]]:
        """Say which quanta would have made what is missing, and return some of them."""
        lines, upstream = [], []
        own = self._codes()
        for part in self.dag.left_out:
            if part.label != producer or own is None:
                continue
            columns = {u: c[:] for u, c in part.columns.items()}
            with suppress(PreflightError):
                edges = match(self.dag.space, relations, Rows(own, 1), Rows(columns, len(part)))
                if edges.count:
                    lines.append(
                        f"{edges.count:,} of {producer!r} that would make them were left out: they are not "
                        f"among the {part.why}"
                    )
                    shown = self.dag.space.data_ids(columns, edges.all_rows()[:1])
                    upstream += [(producer, d) for d in shown]
        if not lines and found:
            lines.append("the plan makes no more of them that belong to it")
        elif not lines:
            known = set(self.model.determined(self.model.closure(self.dag.task(producer).quantum_units)))
            part_of = {u: self.dataId[u] for u in self.model.sort(set(self.dataId) & known)}
            lines.append(f"no quantum of {producer!r} makes them")
            upstream.append((producer, DataId(part_of)))
        return lines, upstream


def _translated(graph: RepoGraph, name: str, dag: ScienceDag) -> RelationTable:
    """Return rows of a relation in the plan's codes; those that planning did not select are left out."""
    columns = graph.relations[name].columns
    kept: dict[str, list[int]] = {u: [] for u in columns}
    for dataId in graph.space.data_ids(columns):
        with suppress(DataIdError):
            codes = {u: dag.space.code_of(u, dataId) for u in columns}
            for unit, code in codes.items():
                kept[unit].append(code)
    return RelationTable(name, {u: np.array(c, np.int32) for u, c in kept.items()})


def _said_select(field: DatasetField) -> str:
    return ", ".join(
        f"{name} = {' or '.join(map(str, value))}" for name, value in (field.select or {}).items()
    )


def _moments(model: UnitModel, graph: RepoGraph, dataId: DataId) -> tuple[str, Any] | None:
    """Return the field that says when a quantum was taken, and its value, TAI ns."""
    for unit in reversed(model.determined(tuple(dataId))):
        for field in model.unit(unit).fields:
            if field.kind is FieldKind.TIME and unit in graph.space.tables and graph.space.size(unit) == 1:
                value = graph.space.field(unit, field.name)
                nulls = graph.space.tables[unit].nulls.get(field.name)
                return f"{unit}.{field.name}", None if nulls is not None and nulls[0] else int(value[0])
    return None


def _valid(
    model: UnitModel, graph: RepoGraph, field: DatasetField, dataId: DataId, rows: Any
) -> tuple[Any, list[str]]:
    """Return the rows that are valid at the quantum's time, and what is said of none being so."""
    moment = _moments(model, graph, dataId)
    if moment is None:
        return rows, []
    name, at = moment
    if at is None:
        return rows[:0], [f"{name} is not known, and certified calibrations are looked up by it"]
    validity = graph.validity[field.dataset_type]
    begin, end = validity.begin[rows], validity.end[rows]
    good = (begin <= at) & (at < end)
    if good.any():
        return rows[good][:1], []
    words = []
    before, after = np.flatnonzero(end <= at), np.flatnonzero(begin > at)
    if len(before):
        last = int(end[before].max())
        words.append(f"one ends {span(at - last, 'before')}, {date(last)}")
    if len(after):
        first = int(begin[after].min())
        words.append(f"one begins {span(first - at, 'after')}, {date(first)}")
    return rows[:0], [
        f"none of {len(rows)} certified is valid at {name} {date(at)}: a gap; " + ", ".join(words)
    ]
