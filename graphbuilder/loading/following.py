"""What the datasets of a collection lead to: units and relations narrowed by them, where that is worth it.

A collection of few frames in a repository of many says which visits, and through relations which patches, a
plan can be about: the others need not be read. That holds where every quantum comes from a dataset, as those
of declared tasks do; a `defineQuanta` or `adjustQuanta` of the author's own may ask for whatever there is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from supertask.butler.port import Reader
from supertask.connections.fields import DatasetField, FieldRole
from supertask.connections.inputlookups import When
from supertask.datasets import Dataset
from supertask.pipelines.pipeline import Pipeline
from supertask.repograph.declared import leading
from supertask.rows import DatasetRows, RelationRows
from supertask.tasks.supertask import SuperTask
from supertask.units import UnitModel

__all__ = ["Followed", "Leads", "leads_of"]

Ids = npt.NDArray[np.int64]

_WORTH = 0.5
"""Part of the instances admitted up to which it is worth while to admit no others."""


@attrs.frozen
class Leads:
    """The inputs of a pipeline that all its quanta come from."""

    roots: tuple[type[Dataset], ...]
    """Inputs that the repository has, and that say which quanta there are; and those that are searched whole,
    as the one nearest in time is."""
    decided: frozenset[str]
    """Units whose instances these datasets determine."""
    reached: frozenset[str]
    """Units that quanta have through relations alone."""


def leads_of(pipeline: Pipeline, model: UnitModel, relations: Iterable[str]) -> Leads | None:
    """Return the inputs that all quanta come from, or None where some may come from elsewhere."""
    relations = tuple(relations)
    makers = {
        f.dataset_type: d
        for d in pipeline.values()
        for f in d.config.dataset_fields.values()
        if f.role is FieldRole.OUTPUT
    }
    roots: dict[type[Dataset], None] = {}
    decided: set[str] = set()
    reached: set[str] = set()
    for taskdef in pipeline.values():
        if not _is_declared(taskdef.task_class):
            return None
        units = taskdef.config.quantum_units
        inputs = [f for f in taskdef.config.dataset_fields.values() if _is_read(f)]
        first = leading(model, relations, units, inputs)
        if first is None:
            return None
        own = set(model.determined(model.closure(first.dataset_type.units)))
        reached |= set(model.determined(model.closure(units))) - own
        if first.dataset_type not in makers:
            roots[first.dataset_type] = None
            decided |= own
        for field in inputs:
            if (field.find is not None or field.when is not When.VALID) and field.dataset_type not in makers:
                roots[field.dataset_type] = None
    certified = {
        f.dataset_type
        for d in pipeline.values()
        for f in d.config.dataset_fields.values()
        if f.role is FieldRole.CALIBRATION
    }
    if decided & reached or certified & set(roots):
        return None
    return Leads(tuple(roots), frozenset(decided), frozenset(reached))


def _is_declared(task_class: type[SuperTask]) -> bool:
    """Tell whether a task leaves it to its config which quanta there are, and what they read."""
    return (
        task_class.defineQuanta is SuperTask.defineQuanta
        and task_class.adjustQuanta is SuperTask.adjustQuanta
    )


def _is_read(field: DatasetField) -> bool:
    return field.role in (FieldRole.INPUT, FieldRole.CALIBRATION)


class Followed:
    """The datasets that quanta come from, and a reader that is narrowed by them.

    Parameters
    ----------
    reader : Reader
        The repository, narrowed by the expression.
    model : UnitModel
        Its units.
    leads : Leads
        What to follow.
    relations : sequence of str
        Relations that the plan uses.
    """

    def __init__(self, reader: Reader, model: UnitModel, leads: Leads, relations: Sequence[str]) -> None:
        self._reader = reader
        self._model = model
        self._leads = leads
        self._leaves = {n: _leaves(model, n) for n in relations}
        self._narrowed: set[str] = set()
        self.rows: dict[type[Dataset], DatasetRows] = {t: reader.datasets(t) for t in leads.roots}
        """What was read."""
        parts: dict[str, list[Ids]] = {}
        for rows in self.rows.values():
            for unit, ids in rows.units.items():
                parts.setdefault(unit, []).append(_distinct(ids))
        for unit in leads.decided & set(parts):
            self._narrow(unit, parts[unit])
        for unit in {u for leaves in self._leaves.values() for u in leaves} & leads.decided - set(parts):
            self._narrow_along(unit, parts)

    def _narrow(self, unit: str, parts: Sequence[Ids]) -> None:
        ids = parts[0] if len(parts) == 1 else _distinct(np.concatenate(parts))
        if len(ids) <= _WORTH * self._reader.count(unit):
            self._reader.restrict(unit, ids)
            self._narrowed.add(unit)

    def _narrow_along(self, unit: str, parts: Mapping[str, Sequence[Ids]]) -> None:
        """Narrow a unit that datasets are not by but determine, as an exposure does its visit."""
        found = []
        for rows in self.rows.values():
            way = self._model.route(tuple(rows.units), unit)
            if way is None:
                continue
            if way[0] not in self._narrowed:
                return
            ids = _distinct(np.concatenate(parts[way[0]]))
            for here, following in itertools.pairwise(way):
                there = self._reader.units(here, ())
                ids = _distinct(there.links[following][np.isin(there.ids, ids)])
            found.append(ids)
        if found:
            self._narrow(unit, found)

    def narrow_reached(self, relations: Mapping[str, RelationRows]) -> None:
        """Admit of units that only relations lead to what their rows have left."""
        for unit in {u for leaves in self._leaves.values() for u in leaves} & self._leads.reached:
            leading_there = [
                name for name, leaves in self._leaves.items() if unit in self._model.determined(leaves)
            ]
            sure = all(
                unit in self._leaves[name] and self._narrowed & set(self._leaves[name])
                for name in leading_there
            )
            if sure:
                self._narrow(unit, [_distinct(relations[name].units[unit]) for name in leading_there])


def _leaves(model: UnitModel, name: str) -> tuple[str, ...]:
    relation = model.relation(name)
    left = model.leaves(relation.left)
    return left + tuple(u for u in model.leaves(relation.right) if u not in left)


def _distinct(ids: Ids) -> Ids:
    """Return row IDs sorted and once each, without those of nulls."""
    # Not numpy.unique: on nearly distinct keys it is an order of magnitude slower than a table of flags.
    ids = ids[ids >= 0]
    if not len(ids):
        return ids
    flags = np.zeros(int(ids.max()) + 1, bool)
    flags[ids] = True
    return np.flatnonzero(flags)
