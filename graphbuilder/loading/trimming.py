"""What an expression took from the inputs that quanta gather.

``visit IN (1..10)`` selects visits; that the coadds of their patches are made of ten visits and not of
thirty is what it means, or a trap. So it is counted: for each input that a quantum gathers, how many
there would be without the conditions that the quantum's own units do not decide. Of a large plan some
stretches of quanta are looked at, which bounds what this costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.values import Trimmed
from graphbuilder.loading.loading import dataset_table, relation_table
from graphbuilder.loading.widening import kept_conditions, narrow_through_relations
from supertask.butler.port import Reader
from supertask.conditions import And, Condition, names
from supertask.connections.fields import DatasetField, FieldRole
from supertask.datasets import Dataset
from supertask.repograph.columns import group, lookup, pack_both
from supertask.repograph.declared import leading
from supertask.repograph.grouped import rows_of
from supertask.repograph.holdings import Holdings
from supertask.repograph.relate import group_rows
from supertask.repograph.space import UnitSpace
from supertask.repograph.tables import DatasetTable, QuantumTable, RelationTable
from supertask.units import UnitModel

__all__ = ["Gatherer", "trimmed"]

LOOKED_AT = 200
_STRETCHES = 4

Open = Callable[[Condition | None], Reader]
Counts = tuple[int, int, int, int]


@attrs.frozen
class Gatherer:
    """One task of a plan, as far as it gathers."""

    units: tuple[str, ...]
    """Of its quanta."""
    fields: tuple[DatasetField, ...]
    table: QuantumTable


@attrs.frozen
class _Source:
    """Where the datasets of a type come from in the end: one that the repository has."""

    dataset_type: type[Dataset]
    select: Mapping[str, tuple[object, ...]]


def trimmed(
    model: UnitModel,
    where: Condition | None,
    tasks: Sequence[Gatherer],
    relations: Sequence[str],
    datasets: Mapping[type[Dataset], DatasetTable],
    open_reader: Open,
) -> tuple[Trimmed, ...]:
    """Count what the expression took from gathers.

    Parameters
    ----------
    model : UnitModel
        The unit model.
    where : Condition, optional
        The expression.
    tasks : sequence of Gatherer
        The tasks of the plan in their order.
    relations : sequence of str
        Relations that the plan uses.
    datasets : Mapping
        What the plan read: what the expression selects.
    open_reader : callable
        Gives a reader narrowed by another condition.

    Returns
    -------
    tuple of Trimmed
        One for each input of a task from which anything was taken.
    """
    if where is None:
        return ()
    makers = {t: task for task in tasks for t in task.table.outputs}
    wanted: list[_Gather] = []
    for task in tasks:
        kept, others = kept_conditions(model, where, task.units)
        if not others or not task.table.n or not task.units:
            continue
        decided = set(model.determined(model.closure(task.units)))
        for field in task.fields:
            dataset_type = field.dataset_type
            gathers = not set(dataset_type.units) <= decided and dataset_type in task.table.inputs
            if field.role is not FieldRole.INPUT or not gathers or field.untrimmed:
                continue
            source = _source(model, relations, field, makers)
            blamed = [c for c in others if _touches(model, relations, c, task, source, field)]
            if not blamed:
                continue
            known = source if source is not None and source.dataset_type in datasets else None
            wanted.append(_Gather(model, task, dataset_type, known, tuple(kept), tuple(map(str, blamed))))
    counted: dict[int, Counts | None] = {}
    for together in _together(wanted):
        look = _Look.at(model, together, relations, open_reader)
        keep = _among(look.space, look.datasets, datasets[look.datasets.dataset_type])
        counted |= {id(gather): gather.count(look, keep) for gather in together}
    found = []
    for gather in wanted:
        table = gather.task.table
        counts = counted.get(id(gather))
        looked, fewer, have, would = counts or (0, 0, 0, 0)
        if fewer or counts is None:
            stated = (table.label, gather.dataset_type.name, gather.blamed, table.n)
            found.append(Trimmed(*stated, looked, fewer, have, would))
    return tuple(found)


def _source(
    model: UnitModel,
    relations: Sequence[str],
    field: DatasetField,
    makers: Mapping[type[Dataset], Gatherer],
) -> _Source | None:
    """Follow the inputs that say which quanta there are back to what the repository has."""
    seen = set()
    while field.dataset_type in makers:
        if field.dataset_type in seen:
            return None
        seen.add(field.dataset_type)
        maker = makers[field.dataset_type]
        inputs = [f for f in maker.fields if f.is_input and f.dataset_type in maker.table.inputs]
        following = leading(model, relations, maker.units, inputs)
        if following is None:
            return None
        field = following
    return _Source(field.dataset_type, field.select)


def _touches(
    model: UnitModel,
    relations: Sequence[str],
    condition: Condition,
    task: Gatherer,
    source: _Source | None,
    field: DatasetField,
) -> bool:
    """Tell whether a condition can narrow what is gathered, by itself or through a relation."""
    of_source = () if source is None else source.dataset_type.units
    reached = set(model.determined({*task.units, *field.dataset_type.units, *of_source}))
    for name in relations:
        relation = model.relation(name)
        sides = {*relation.left, *relation.right}
        if set(relation.left) <= reached or set(relation.right) <= reached:
            reached |= set(model.determined(sides))
    return {n.unit for n in names(condition)} <= reached


@attrs.frozen(eq=False)
class _Gather:
    """One input of one task, which is counted."""

    model: UnitModel
    task: Gatherer
    dataset_type: type[Dataset]
    source: _Source | None
    kept: tuple[Condition, ...]
    """What the units of the quanta decide."""
    blamed: tuple[str, ...]

    @property
    def leaves(self) -> tuple[str, ...]:
        """Units that tell the quanta apart."""
        return self.model.leaves(self.model.closure(self.task.units))

    def rows(self) -> npt.NDArray[np.int64]:
        """Return which quanta are looked at."""
        return _stretches(self.task.table.n)

    def ids(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return the repository's row IDs of the quanta that are looked at."""
        table, rows = self.task.table, self.rows()
        columns = {u: c[:][rows] for u, c in table.columns.items()}
        return {u: _ids_of(table.space, columns, u) for u in self.leaves}

    def count(self, look: _Look, selected: npt.NDArray[np.bool_]) -> Counts | None:
        """Return how many quanta were looked at and have fewer, how many inputs they have and would have."""
        rows, wanted = self.rows(), self.ids()
        would = self._per_quantum(look, look.chosen, wanted)
        if would is None:
            return None
        have = self.task.table.inputs[self.dataset_type].counts()[rows]
        if (have < would).any():
            # Something else may be to blame: quanta left out, or a task that takes fewer. So what the
            # expression selects is counted alike.
            keep = np.zeros(look.datasets.n, bool)
            keep[slice(None) if look.chosen is None else look.chosen] = True
            left = self._per_quantum(look, np.flatnonzero(keep & selected), wanted)
            have = would if left is None else left
        fewer = have < would
        return len(rows), int(fewer.sum()), int(have[fewer].sum()), int(would[fewer].sum())

    def _per_quantum(
        self,
        look: _Look,
        chosen: npt.NDArray[np.int64] | None,
        wanted: Mapping[str, npt.NDArray[np.int64]],
    ) -> npt.NDArray[np.int64] | None:
        """Return how many inputs each quantum would have of some datasets of the source."""
        model, space = self.model, look.space
        by = model.sort({*model.closure(self.dataset_type.units), *model.closure(self.task.units)})
        members = group_rows(space, look.related, rows_of(look.datasets, chosen), by)
        if members is None:
            return None
        # By the repository's own row IDs, as the two spaces have different codes.
        ours, theirs = list(wanted.values()), [_ids_of(space, members.columns, u) for u in wanted]
        sizes = [int(max(a.max(initial=0), b.max(initial=0))) + 1 for a, b in zip(ours, theirs, strict=True)]
        quantum_keys, member_keys = pack_both(ours, theirs, sizes)
        groups = group(quantum_keys)
        place = lookup(groups.keys, member_keys)
        per_key = np.bincount(place[place >= 0], minlength=len(groups.keys))
        place = lookup(groups.keys, quantum_keys)
        return np.where(place < 0, 0, np.append(per_key, 0)[place])


def _together(gathers: Sequence[_Gather]) -> list[list[_Gather]]:
    """Put gathers of one source together whose quanta have a unit in common: they are read at once."""
    groups: list[list[_Gather]] = []
    for gather in gathers:
        if gather.source is None:
            continue
        for together in groups:
            common = set(gather.leaves).intersection(*(g.leaves for g in together))
            if together[0].source == gather.source and common:
                together.append(gather)
                break
        else:
            groups.append([gather])
    return groups


@attrs.frozen(eq=False)
class _Look:
    """What the repository has of a source for the quanta that are looked at, beyond the expression."""

    space: UnitSpace
    datasets: DatasetTable
    related: Mapping[str, RelationTable]
    chosen: npt.NDArray[np.int64] | None
    """Rows of `datasets` that the first task takes; None for all."""

    @classmethod
    def at(
        cls, model: UnitModel, gathers: Sequence[_Gather], relations: Sequence[str], open_reader: Open
    ) -> _Look:
        """Read what some gathers of one source have in common.

        Conditions that the quanta's own units decide need not be applied: quanta that they exclude are not
        there. Those that all have in common, and all units that all have, make it less to read.
        """
        source = gathers[0].source
        if source is None:
            raise ValueError("only gathers with a source are looked at")
        kept = [c for c in gathers[0].kept if all(c in g.kept for g in gathers)]
        ids = [g.ids() for g in gathers]
        common = [u for u in ids[0] if all(u in other for other in ids)]
        wanted = {u: np.concatenate([other[u] for other in ids]) for u in common}
        with open_reader(And(tuple(kept)) if kept else None) as reader:
            for unit, some in wanted.items():
                reader.restrict(unit, some[some >= 0])
            spoken_of = [{unit} for unit in wanted] + [{n.unit for n in names(c)} for c in kept]
            units = {u for g in gathers for u in (*g.dataset_type.units, *g.task.units)}
            known = set(model.determined({*units, *source.dataset_type.units}))
            needed = [n for n in relations if known >= {*model.relation(n).left, *model.relation(n).right}]
            related, _ = narrow_through_relations(model, reader, needed, spoken_of)
            found = reader.datasets(source.dataset_type)
            # Of the units only what these datasets are by is needed, not all that there is.
            for unit, column in found.units.items():
                reader.restrict(unit, group(np.sort(column[column >= 0])).keys)
            space = UnitSpace.from_rows(
                model,
                [reader.units(u, ()) for u in model.sort(known)],
                lambda u, field: reader.units(u, (field,)),
            )
            datasets, _ = dataset_table(space, source.dataset_type, [found])
            chosen, _ = Holdings(space).selected(datasets, source.select)
        return cls(space, datasets, {n: relation_table(space, r) for n, r in related.items()}, chosen)


def _among(space: UnitSpace, datasets: DatasetTable, selected: DatasetTable) -> npt.NDArray[np.bool_]:
    """Tell which datasets are among those selected, which are encoded in another space."""
    units = list(datasets.columns)
    ours = [_ids_of(space, datasets.columns, u) for u in units]
    theirs = [_ids_of(selected.space, selected.columns, u) for u in units]
    if not units:
        return np.full(datasets.n, selected.n > 0)
    sizes = [int(max(a.max(initial=0), b.max(initial=0))) + 1 for a, b in zip(ours, theirs, strict=True)]
    keys, known = pack_both(ours, theirs, sizes)
    found: npt.NDArray[np.bool_] = lookup(group(known).keys, keys) >= 0
    return found


def _ids_of(
    space: UnitSpace, columns: Mapping[str, npt.NDArray[np.int32]], unit: str
) -> npt.NDArray[np.int64]:
    ids = space.tables[unit].ids
    codes = space.column(columns, unit)
    if ids is None or not len(ids):
        return np.full(len(codes), -1, np.int64)
    return np.where(codes < 0, -1, ids[codes])


def _stretches(n: int) -> npt.NDArray[np.int64]:
    """Return all of few quanta; of many, some stretches of neighbours, which have inputs in common."""
    if n <= LOOKED_AT:
        return np.arange(n)
    length = LOOKED_AT // _STRETCHES
    # Of more than are looked at, these do not overlap.
    starts = np.linspace(0, n - length, _STRETCHES).astype(np.int64)
    rows: npt.NDArray[np.int64] = (starts[:, None] + np.arange(length)).ravel()
    return rows
