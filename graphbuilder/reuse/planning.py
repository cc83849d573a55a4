"""Planning against earlier runs: what need not be made again, and why the rest must be.

A dataset whose identity is that of a planned one *is* that dataset, whichever run made it. A quantum is left
out of the plan when nothing that it makes is wanted; what is wanted is found going from the last tasks back:

- what no quantum reads is wanted; a dataset of it that is not there makes its quantum run;
- so does a dataset that the registry has and whose file is gone, or (with `Check.CONTENT`) was altered;
- what a quantum that runs reads is wanted, and is made again if it is not there.

So an intermediate that was deleted on purpose is made again only where somebody needs it, and one whose file
was lost always is. A quantum with only part of its outputs runs, but for outputs that it may leave out.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.reused import Reused, TaskReuse
from graphbuilder.dag.subset import parts_of
from graphbuilder.dag.topology import Producers
from graphbuilder.dag.values import DagMeta, LeftOut, TaskNode
from graphbuilder.reuse.matching import Match, gone_files, matched
from graphbuilder.reuse.reasons import Because, Decided, told
from supertask.butler.port import AbstractButler, CollectionKind, Reader
from supertask.connections.fields import FieldRole
from supertask.datasets import Dataset
from supertask.errors import CollectionError, did_you_mean
from supertask.pipelines.pipeline import Pipeline
from supertask.repograph.columns import Ints
from supertask.repograph.space import UnitSpace
from supertask.repograph.tables import DatasetTable, QuantumTable
from supertask.rows import TextColumn
from supertask.units import UnitModel

__all__ = ["Check", "Ground", "Reuse", "reused"]

Bools = npt.NDArray[np.bool_]
Marks = Callable[[ScienceDag], Bools]
"""Tells some quanta of a plan from the others, shape (n,)."""


class Check(enum.Enum):
    """How closely it is looked at what is to be reused."""

    REGISTRY = "registry"
    """Believe the registry."""
    FILES = "files"
    """See whether the file is there."""
    CONTENT = "content"
    """Read each file, and compare its size and checksum with what was registered."""


class Ground(enum.Enum):
    """What makes two datasets the same."""

    IDENTITY = "identity"
    EXISTENCE = "existence"
    """Being of equal type and data ID, whatever they were made from."""


@attrs.frozen
class Reuse:
    """What is to be reused."""

    collections: tuple[str, ...] | None = None
    """Where to look: runs, or chains of them, in this order; every run, newest first, unless given."""
    check: Check = Check.FILES
    ground: Ground = Ground.IDENTITY
    only: Marks | None = None
    """Which quanta are to run at most, with those that wait for them and what these need; all otherwise."""
    settled: Marks | None = None
    """Which are known to have ended without outputs."""
    failed: Callable[[ScienceDag], Mapping[str, Bools]] | None = None
    """Run → which quanta failed in it. Asked for where some must run, and told as their reason."""


def reused(
    dag: ScienceDag, butler: AbstractButler, reuse: Reuse, pipeline: Pipeline | None = None
) -> ScienceDag:
    """Leave out of a plan what is there already.

    Parameters
    ----------
    dag : ScienceDag
        A whole plan, as it was just made from the repository.
    butler : AbstractButler
        The repository.
    reuse : Reuse
        What may be reused.
    pipeline : Pipeline, optional
        What was planned: says which outputs quanta may leave unwritten.

    Returns
    -------
    ScienceDag
        The plan of what is left to do; what is reused has become input. Its `meta.reused` says how much
        that is, from which run, and why the rest must run.

    Raises
    ------
    CollectionError
        A collection that is to be searched is not there.
    """
    optional = {} if pipeline is None else _optional(pipeline)
    runs = _runs(butler, reuse.collections)
    with butler.reader(collections=runs) as reader:
        _narrow(reader, dag)
        matches = {
            t: matched(dag, reader.made(t), by_identity=reuse.ground is Ground.IDENTITY)
            for t in dag.producers
            if runs
        }
    if reuse.check is not Check.REGISTRY:
        for dataset_type, match in matches.items():
            found = match.found >= 0
            gone = gone_files(butler, dag.datasets[dataset_type], match, content=reuse.check is Check.CONTENT)
            match.lost[found] = gone
            match.found[match.lost] = -1
    must, why = _decide(dag, matches, reuse, optional)
    aside = np.zeros(dag.n_quanta, bool)
    if reuse.only is not None:
        aside = must & ~_with_relatives(dag, reuse.only(dag))
        must &= ~aside
    failed = reuse.failed(dag) if reuse.failed is not None and must.any() else {}
    report = told(dag, butler, matches, Decided(must, why, aside, failed))
    return _left(dag, must, aside, matches, report)


def _optional(pipeline: Pipeline) -> dict[str, frozenset[str]]:
    """Label → names of types that quanta of the task may leave unwritten."""
    found = {}
    for taskdef in pipeline.values():
        outputs = taskdef.config.fields_of(FieldRole.OUTPUT).values()
        found[taskdef.label] = frozenset(f.dataset_type.name for f in outputs if not f.minimum)
    return found


def _runs(butler: AbstractButler, collections: Sequence[str] | None) -> list[str]:
    infos = {c.name: c for c in butler.collection_infos()}
    if collections is None:
        return [c.name for c in reversed(infos.values()) if c.kind is CollectionKind.RUN]
    for name in collections:
        if name not in infos:
            raise CollectionError(
                f"there is no collection {name!r} to reuse from{did_you_mean(name, infos)}; "
                f"the repository has {', '.join(infos) or 'none'}"
            )
    return list(collections)


def _narrow(reader: Reader, dag: ScienceDag) -> None:
    """Read only what is of instances that the plan has."""
    leaves = {u for t in dag.producers for u in dag.datasets[t].columns}
    for unit in sorted(leaves):
        ids = dag.space.tables[unit].ids
        if ids is not None:
            reader.restrict(unit, np.sort(ids))


def _decide(
    dag: ScienceDag,
    matches: Mapping[type[Dataset], Match],
    reuse: Reuse,
    optional: Mapping[str, frozenset[str]],
) -> tuple[Bools, npt.NDArray[np.uint8]]:
    """Return which quanta must run, shape (n,), and the code of the first reason of each."""
    must = np.zeros(dag.n_quanta, bool)
    why = np.zeros(dag.n_quanta, np.uint8)
    read = {t for table in dag.quantum_tables for t in table.inputs}
    consumed = {t: np.zeros(dag.datasets[t].n, bool) for t in dag.producers if t in read}
    for table in dag.quantum_tables:
        for t, edges in table.inputs.items():
            if t in consumed:
                consumed[t][edges.all_rows()] = True
    wanted = {t: np.zeros(dag.datasets[t].n, bool) for t in dag.producers}
    ended: Bools | None = None
    for node, table in zip(reversed(dag.tasks), reversed(dag.quantum_tables), strict=True):
        some, lost, final, needed = (np.zeros(table.n, bool) for _ in range(4))
        for t, edges in table.outputs.items():
            match = matches.get(t)
            n = dag.datasets[t].n
            missing = np.ones(n, bool) if match is None else match.found < 0
            owners, rows = edges.owners(), edges.all_rows()
            if match is not None:
                some[owners[~missing[rows]]] = True
                lost[owners[match.lost[rows]]] = True
            lacking = missing[rows]
            needed[owners[lacking & wanted[t][rows]]] = True
            if t.name not in optional.get(node.label, ()):
                unread = ~consumed[t][rows] if t in consumed else True
                final[owners[lacking & unread]] = True
        final |= _left_nothing(table, optional.get(node.label, frozenset()), some)
        if (final & ~lost).any() and reuse.settled is not None:
            if ended is None:
                ended = reuse.settled(dag)
            final &= ~(ended[node.first : node.first + node.count] & ~some)
        runs = lost | final | needed
        part = slice(node.first, node.first + node.count)
        must[part] = runs
        why[part] = np.select(
            [lost, runs & some, runs],
            [Because.LOST.code, Because.PART.code, Because.ABSENT.code],
            0,
        )
        for t, edges in table.inputs.items():
            if t in wanted and runs.any():
                wanted[t][edges.all_rows()[runs[edges.owners()]]] = True
    return must, why


def _with_relatives(dag: ScienceDag, chosen: Bools) -> Bools:
    """Return some quanta, those that depend on them, and all that these depend on."""
    allowed = chosen.copy()
    allowed[dag.descendants(np.flatnonzero(allowed).tolist())] = True
    allowed[dag.ancestors(np.flatnonzero(allowed).tolist())] = True
    return allowed


def _left_nothing(table: QuantumTable, optional: frozenset[str], some: Bools) -> Bools:
    """Return quanta of which nothing at all is there, although all that they make may be left out."""
    return ~some & all(t.name in optional for t in table.outputs)


@attrs.define(eq=False)
class _Located:
    """A plan in which datasets that were found have their places."""

    meta: DagMeta
    tasks: tuple[TaskNode, ...]
    quantum_tables: tuple[QuantumTable, ...]
    space: UnitSpace
    datasets: dict[type[Dataset], DatasetTable]
    producers: dict[type[Dataset], Producers]
    identities: Any
    n_quanta: int
    whole: ScienceDag

    @property
    def model(self) -> UnitModel:
        """Unit model."""
        return self.space.model

    def dataset_identities(self, dataset_type: type[Dataset], rows: Ints) -> npt.NDArray[np.uint8]:
        """Return identities of rows of a type's table."""
        return self.whole.dataset_identities(dataset_type, rows)


def _left(
    dag: ScienceDag, must: Bools, aside: Bools, matches: Mapping[type[Dataset], Match], report: Reused
) -> ScienceDag:
    """Return the plan of the quanta that must run."""
    steps = tuple((t.label, what, n) for t in report.tasks for what, n in _steps(t))
    meta = attrs.evolve(dag.meta, steps=(*dag.meta.steps, *steps), reused=report)
    tables = dict(dag.datasets)
    makers: dict[type[Dataset], npt.NDArray[np.int32]] = {}
    for t, match in matches.items():
        table = dag.datasets[t]
        quanta = makers[t] = dag.producers[t].table(table.n)
        # What is made again is read from where this plan puts it.
        place = np.where((quanta >= 0) & must[quanta], -1, match.found)
        there = TextColumn.concatenate([match.locations, TextColumn.from_strings([""])])
        sizes = np.append(match.sizes, -1)
        tables[t] = attrs.evolve(table, locations=there[place % len(there)], sizes=sizes[place])
    located = _Located(
        meta, dag.tasks, dag.quantum_tables, dag.space, tables, dag.producers,
        np.asarray(dag.identities), dag.n_quanta, dag,
    )  # fmt: skip
    if must.all():
        parts = {
            "meta": meta, "tasks": dag.tasks, "quanta": dag.quantum_tables, "space": dag.space,
            "tables": dag.datasets, "producers": dag.producers, "identities": dag.identities,
        }  # fmt: skip
    else:
        parts = parts_of(located, must)
    made = {t: p for t, p in parts["producers"].items() if p.quanta is None or (p.quanta >= 0).any()}
    left_out = [*dag.left_out, *_left_out(dag, must, aside, report)]
    return ScienceDag(**{**parts, "producers": made, "left_out": left_out})


def _steps(task: TaskReuse) -> list[tuple[str, int]]:
    found = [(f"reused from run {run!r}", n) for run, n in task.runs.items()]
    if task.without:
        found.append(("not needed, or known to have no work", task.without))
    return [*found, *((f"to run: {why}", n) for why, n in task.because.items())]


def _left_out(dag: ScienceDag, must: Bools, aside: Bools, report: Reused) -> list[LeftOut]:
    found = []
    for node, table, task in zip(dag.tasks, dag.quantum_tables, report.tasks, strict=True):
        part = slice(node.first, node.first + node.count)
        where = ", ".join(task.runs) or "earlier runs"
        for these, why in (
            (~must[part] & ~aside[part], f"outputs that are yet to be made (reused from {where})"),
            (aside[part], "quanta asked for again, or that wait for such"),
        ):
            rest = np.flatnonzero(these)
            if len(rest):
                found.append(LeftOut(node.label, why, {u: c[rest] for u, c in table.columns.items()}))
    return found
