"""Planning in shards: a part of the sky (or of any unit) in each of several processes, then one plan.

A shard is planned as the whole would be, but that of one unit, say tract, only a range of instances is
admitted. Tasks whose quanta belong to a tract are thus divided. Tasks before them, whose quanta belong to a
visit, are planned with every visit that a tract of the shard is related to, and such a visit whole: what is
admitted is narrowed only by units that the quanta of all those tasks have in common. So a visit at the border
is planned more than once, and identically; `graphbuilder.dag.merge` keeps one of each and refuses shards
that disagree. Where a task reaches from one shard into another, that is said, not planned around.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.loading.needs import Needs
from supertask.butler.port import Reader
from supertask.connections.fields import FieldRole
from supertask.errors import PreflightError, Problems, did_you_mean
from supertask.pipelines.pipeline import Pipeline
from supertask.repograph.columns import lookup
from supertask.units import UnitModel

Ids = npt.NDArray[np.int64]

__all__ = ["Shard", "check_divisible", "check_within", "narrow"]


@attrs.frozen
class Shard:
    """One of several ranges of the instances of a unit, in order of their keys."""

    unit: str
    index: int
    """0 for the first."""
    count: int
    """How many shards there are."""

    def __str__(self) -> str:
        return f"shard {self.index + 1} of {self.count} by {self.unit}"


def check_divisible(pipeline: Pipeline, model: UnitModel, unit: str) -> None:
    """Refuse a unit that a pipeline cannot be planned by in shards.

    Raises
    ------
    PreflightError
        No such unit, no task has it, or tasks without it gather what does: each of them is named.
    """
    if unit not in model:
        names = [u.name for u in model]
        raise PreflightError(f"no unit {unit!r} to plan by in shards{did_you_mean(unit, names)}")
    problems = Problems(f"the pipeline cannot be planned in shards by {unit!r}")
    divided = False
    for taskdef in pipeline.values():
        if unit in model.determined(taskdef.config.quantum_units):
            divided = True
            continue
        for attribute, field in taskdef.config.dataset_fields.items():
            if field.role in (FieldRole.INPUT, FieldRole.CALIBRATION) and unit in model.determined(
                field.dataset_type.units
            ):
                problems.add(
                    f"{taskdef.label}.{attribute} gathers {field.dataset_type.name!r} of every {unit}: "
                    "choose a unit that its quanta have, or plan that task on its own"
                )
    if not divided:
        problems.add(f"no task has quanta by {unit}: every shard would be the whole plan")
    problems.raise_if_any(PreflightError)


def narrow(reader: Reader, pipeline: Pipeline, model: UnitModel, needs: Needs, shard: Shard) -> None:
    """Admit what a shard needs, before anything else is read.

    Parameters
    ----------
    reader : Reader
        Narrowed by the data-ID expression already.
    pipeline : Pipeline
        What is planned.
    model : UnitModel
        The repository's units.
    needs : Needs
        What will be read.
    shard : Shard
        Which part.
    """
    ways = _ways(pipeline, model, needs, shard)
    # Whatever is related to no instance of the unit at all is planned too: with the first shard.
    alone = {u: _unrelated(reader, u, names) for u, names in ways.items()} if not shard.index else {}
    instances = reader.units(shard.unit, ())
    parents = [instances.links[p] for p in reversed(model.unit(shard.unit).parents)]
    keys = np.unique(instances.keys, return_inverse=True)[1]
    order = np.lexsort([keys, *parents])
    first, stop = (len(order) * i // shard.count for i in (shard.index, shard.index + 1))
    reader.restrict(shard.unit, np.sort(instances.ids[order[first:stop]]))
    # Of several relations any may be the one that a task follows: the union is admitted.
    related = {u: [reader.relation(name).units[u] for name in names] for u, names in ways.items()}
    for unit, parts in related.items():
        reader.restrict(unit, _distinct([*parts, *([alone[unit]] if unit in alone else [])]))


def _ways(pipeline: Pipeline, model: UnitModel, needs: Needs, shard: Shard) -> dict[str, list[str]]:
    """Return the units to narrow, and by which relations each of them leads to the unit of the shards."""
    shared = _shared_units(pipeline, model, shard.unit)
    ways: dict[str, list[str]] = {}
    for name in needs.relations(model):
        relation = model.relation(name)
        for side, other in ((relation.left, relation.right), (relation.right, relation.left)):
            if shard.unit in model.determined(other) and shard.unit not in model.determined(side):
                for unit in set(model.leaves(model.closure(side))) & shared:
                    ways.setdefault(unit, []).append(name)
    return ways


def _unrelated(reader: Reader, unit: str, relations: Iterable[str]) -> Ids:
    related = _distinct([reader.relation(name).units[unit] for name in relations])
    ids = reader.units(unit, ()).ids
    return ids[lookup(related, ids) < 0]


def _distinct(parts: Sequence[Ids]) -> Ids:
    # Not numpy.unique: on nearly distinct keys it is an order of magnitude slower than this.
    ids = np.sort(np.concatenate(parts))
    return ids[np.concatenate([[True], ids[1:] != ids[:-1]])] if len(ids) else ids


def _shared_units(pipeline: Pipeline, model: UnitModel, unit: str) -> set[str]:
    """Return units that the quanta of all tasks have whose quanta have not the unit of the shards."""
    shared: set[str] | None = None
    for taskdef in pipeline.values():
        units = set(model.determined(taskdef.config.quantum_units))
        if unit not in units:
            shared = units if shared is None else shared & units
    return shared or set()


def check_within(dag: ScienceDag, pipeline: Pipeline, shard: Shard) -> None:
    """Refuse a shard some of whose quanta read across what the shards are divided by.

    Raises
    ------
    PreflightError
        Names the task, the input and a quantum.
    """
    model = dag.model
    shared = _shared_units(pipeline, model, shard.unit)
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        own = set(model.determined(node.quantum_units))
        units: Iterable[str] = [shard.unit] if shard.unit in own else model.leaves(shared)
        for dataset_type, edges in table.inputs.items():
            datasets = dag.datasets[dataset_type]
            for unit in units:
                if not dag.space.determines(datasets.columns, unit):
                    continue
                theirs = dag.space.column(datasets.columns, unit)[edges.all_rows()]
                ours = dag.space.column(table.columns, unit)[edges.owners()]
                across = np.flatnonzero((theirs != ours) & (theirs >= 0) & (ours >= 0))
                if len(across):
                    quantum = table.quantum(int(edges.owners()[across[0]]))
                    raise PreflightError(
                        f"task {node.label!r} reads {dataset_type.name!r} of another {unit} than its own, so "
                        f"it cannot be planned in shards by {shard.unit}: {quantum.dataId}; plan in one piece"
                    )
