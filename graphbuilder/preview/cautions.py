"""What a person should look at before a plan is run."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import TaskNode
from graphbuilder.reasons.links import linking_relations
from supertask.datasets import Dataset
from supertask.repograph.columns import Edges
from supertask.repograph.tables import QuantumTable

__all__ = ["Caution", "Kind", "cautions_of"]

_SHOWN = 3
_FACTOR = 4
_LEAST = 4


class Kind(enum.Enum):
    """What kind of thing looks amiss."""

    EMPTY_TASK = "empty task"
    LEFT_OUT = "left out"
    SMALL_GATHER = "small gather"
    LARGE_GATHER = "large gather"
    UNRELATED = "unrelated"
    EMPTY_FILE = "empty file"
    EXPRESSION = "expression"
    TRIMMED = "trimmed"


@attrs.frozen
class Caution:
    """One thing that looks amiss."""

    kind: Kind
    label: str
    """Task; empty where it is not of one."""
    count: int
    """How many quanta or datasets it is about."""
    text: str

    def __str__(self) -> str:
        return self.text


def cautions_of(dag: ScienceDag) -> list[Caution]:
    """Return what looks amiss in a plan.

    Tasks without quanta; gathers that the expression trimmed; quanta left out (for want of a calibration,
    say); gathers of fewer than a quarter, or more than four times, of the median; datasets that a relation
    leads from to nothing, such as footprints without patches; inputs of no bytes.
    """
    found = [*_empty(dag)]
    found += [Caution(Kind.TRIMMED, t.label, t.fewer, str(t)) for t in dag.meta.trimmed]
    for part in dag.left_out:
        shown = _ids(dag, {u: c[:_SHOWN] for u, c in part.columns.items()}, len(part))
        text = f"{part.label}: {len(part):,} quanta left out, not among the {part.why}: {shown}"
        found.append(Caution(Kind.LEFT_OUT, part.label, len(part), text))
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        for dataset_type, edges in table.inputs.items():
            found += _gathers(dag, node, table, dataset_type, edges)
            found += _unrelated(dag, node, table, dataset_type, edges)
    return [*found, *_empty_files(dag)]


def _empty(dag: ScienceDag) -> Iterator[Caution]:
    for node in dag.tasks:
        if not node.count:
            first = next((w for label, w, n in dag.meta.steps if label == node.label and not n), "no quanta")
            text = f"{node.label}: no quanta; the first step that left nothing: {first}"
            yield Caution(Kind.EMPTY_TASK, node.label, 0, text)


def _gathers(
    dag: ScienceDag, node: TaskNode, table: QuantumTable, dataset_type: type[Dataset], edges: Edges
) -> Iterator[Caution]:
    if edges.indptr is None or not table.n:
        return
    counts = edges.counts()
    median = float(np.median(counts))
    if median < _LEAST:
        return
    few = ("fewer", "a quarter of", "few")
    many = ("more", "four times", "many")
    for kind, rows, (more, than, as_many) in (
        (Kind.SMALL_GATHER, np.flatnonzero(counts * _FACTOR < median), few),
        (Kind.LARGE_GATHER, np.flatnonzero(counts > _FACTOR * median), many),
    ):
        if len(rows):
            order = np.argsort(counts[rows], kind="stable")
            worst = rows[order[:_SHOWN] if kind is Kind.SMALL_GATHER else order[::-1][:_SHOWN]]
            extreme = int(counts[worst[0]])
            shown = _ids(dag, {u: c[:][worst] for u, c in table.columns.items()}, len(rows))
            text = (
                f"{node.label}: {len(rows):,} of {table.n:,} quanta read {more} {dataset_type.name!r} than "
                f"{than} the median of {median:.0f} (as {as_many} as {extreme:,}): {shown}"
            )
            yield Caution(kind, node.label, len(rows), text)


def _unrelated(
    dag: ScienceDag, node: TaskNode, table: QuantumTable, dataset_type: type[Dataset], edges: Edges
) -> Iterator[Caution]:
    """Find datasets that no quantum reads as a relation has nothing for them."""
    relations = linking_relations(dag.model, table.columns, dataset_type.units)
    if not relations:
        return
    datasets = dag.datasets[dataset_type]
    read = np.zeros(datasets.n, bool)
    read[edges.all_rows()] = True
    rows = np.flatnonzero(~read)
    if len(rows):
        shown = _ids(dag, {u: c[:][rows[:_SHOWN]] for u, c in datasets.columns.items()}, len(rows))
        text = (
            f"{node.label}: {len(rows):,} of {datasets.n:,} {dataset_type.name!r} are read by none, as "
            f"relation {', '.join(map(repr, relations))} leads from them to no quantum: {shown}"
        )
        yield Caution(Kind.UNRELATED, node.label, len(rows), text)


def _empty_files(dag: ScienceDag) -> Iterator[Caution]:
    for dataset_type, table in dag.datasets.items():
        if table.sizes is not None:
            rows = np.flatnonzero(table.sizes[:] == 0)
            if len(rows):
                shown = _ids(dag, {u: c[:][rows[:_SHOWN]] for u, c in table.columns.items()}, len(rows))
                text = f"{len(rows):,} of {table.n:,} {dataset_type.name!r} are files of no bytes: {shown}"
                yield Caution(Kind.EMPTY_FILE, "", len(rows), text)


def _ids(dag: ScienceDag, columns: dict[str, Any], n: int) -> str:
    shown = dag.space.data_ids(columns, n=min(n, _SHOWN))
    return ", ".join(map(str, shown)) + (", …" if n > _SHOWN else "")
