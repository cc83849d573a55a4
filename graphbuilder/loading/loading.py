"""From a repository to a RepoGraph: what a pipeline needs of it, narrowed by a condition.

A condition narrows whatever it speaks of. Each of its conjuncts applies to every row whose data ID
determines all its units. Where a relation leads from those units to others (from a tract to the
detectors that overlap it) the relation's remaining rows say which of the others are meant; a null
(a bias exposure has no visit) is never narrowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from graphbuilder.loading.following import Followed
from graphbuilder.loading.needs import Needs
from graphbuilder.loading.widening import Wider, narrow_through_relations, sides_led_to
from supertask.butler.port import Reader
from supertask.conditions import Condition, conjuncts, names
from supertask.datasets import Dataset
from supertask.repograph.columns import group, lookup, pack, pack_both
from supertask.repograph.graph import RepoGraph
from supertask.repograph.holdings import Step, Validity
from supertask.repograph.space import Columns, UnitSpace
from supertask.repograph.tables import DatasetTable, RelationTable
from supertask.rows import DatasetRows, RelationRows, TextColumn
from supertask.units import UnitModel

__all__ = ["dataset_table", "load_repo_graph", "relation_table"]


def load_repo_graph(
    reader: Reader,
    model: UnitModel,
    needs: Needs,
    where: Condition | None = None,
    *,
    open_reader: Callable[[Condition | None], Reader] | None = None,
    narrowed: bool = False,
) -> tuple[RepoGraph, tuple[Step, ...]]:
    """Read what a pipeline needs in columns.

    Parameters
    ----------
    reader : Reader
        The repository, narrowed by `where`; fields of units are read from it later.
    model : UnitModel
        Its units.
    needs : Needs
        What to read.
    where : Condition, optional
        The condition, to follow it through relations.
    open_reader : callable, optional
        Gives a reader narrowed by another condition, which must stay open as long as `reader`: for
        inputs that `where` must not narrow.
    narrowed : bool, optional
        Whether `reader` was narrowed by something else, too, as that of a shard is.

    Returns
    -------
    repoGraph : RepoGraph
        What was read.
    steps : tuple of Step
        What was read, with how many rows it had: the first lines of every explanation.
    """
    relation_names = needs.relations(model)
    spoken_of = [{n.unit for n in names(c)} for c in conjuncts(where)]
    followed = None if narrowed else _follow(reader, model, needs, relation_names, spoken_of)
    relations, sides = narrow_through_relations(model, reader, relation_names, spoken_of)
    if followed is not None:
        followed.narrow_reached(relations)
    units = needs.all_units(model)
    wider = Wider(reader, model, relation_names)
    if open_reader is not None:
        for untrimmed in needs.untrimmed:
            if narrowed or where is not None:
                wider.add(untrimmed, where, open_reader, always=narrowed)
    space = UnitSpace.from_rows(
        model, [wider.units(u, ()) for u in units], lambda unit, field: wider.units(unit, (field,))
    )
    steps = [
        Step(f"values of unit {u!r} selected", space.size(u)) for u in units if u in _said(spoken_of, units)
    ]
    steps += [
        Step(f"rows of relation {n!r} selected", len(next(iter(r.units.values()))))
        for n, r in relations.items()
    ]
    tables: dict[type[Dataset], DatasetTable] = {}
    validity: dict[type[Dataset], Validity] = {}
    beyond: dict[type[Dataset], npt.NDArray[np.bool_]] = {}
    for dataset_type in needs.inputs:
        certified = reader.calibrations(dataset_type) if dataset_type in needs.calibrations else []
        if certified:
            parts = [c.datasets for c in certified]
            table, order = dataset_table(space, dataset_type, parts)
            rank = np.repeat(np.arange(len(parts)), [len(p.ids) for p in parts])
            begin = np.concatenate([c.begin for c in certified])
            end = np.concatenate([c.end for c in certified])
            validity[dataset_type] = Validity(begin[order], end[order], rank[order])
        else:
            there = None if followed is None else followed.rows.get(dataset_type)
            rows = wider.datasets(dataset_type) if there is None else there
            table, order = dataset_table(space, dataset_type, [rows])
            if dataset_type in wider.beyond:
                beyond[dataset_type] = wider.beyond[dataset_type][order]
        tables[dataset_type] = table
        more = beyond.get(dataset_type)
        steps.append(
            Step(f"datasets {dataset_type.name!r} found", table.n - (0 if more is None else int(more.sum())))
        )
        if more is not None:
            steps.append(Step(f"datasets {dataset_type.name!r} found beyond the expression", int(more.sum())))
    coded = {n: relation_table(space, r) for n, r in relations.items()}
    for name, side in sides:
        for dataset_type, table in tables.items():
            if dataset_type in beyond:
                continue
            left_out = _leave_out_unrelated(space, table, coded[name], side, validity)
            if left_out:
                what = f"datasets {dataset_type.name!r} that relation {name!r} leads to"
                steps.append(Step(what, table.n))
    beyond_units = {u: mask for u in units if (mask := wider.beyond_unit(u, space.tables[u].ids)) is not None}
    widened = {n: relation_table(space, rows) for n, rows in wider.relations(relations).items()}
    return RepoGraph(space, tables, coded, validity, beyond, beyond_units, widened), tuple(steps)


def _follow(
    reader: Reader,
    model: UnitModel,
    needs: Needs,
    relations: Sequence[str],
    spoken_of: Sequence[set[str]],
) -> Followed | None:
    """Narrow by what datasets lead to, unless the expression leads to them or inputs are read beyond it."""
    leads = needs.leads
    if leads is None or (needs.untrimmed and spoken_of):
        return None
    led_to = {
        u for n in relations for side in sides_led_to(model, n, spoken_of) for u in model.determined(side)
    }
    return None if led_to & leads.decided else Followed(reader, model, leads, relations)


def _said(spoken_of: Iterable[set[str]], units: Iterable[str]) -> set[str]:
    """Units that the expression names, which are worth a line of their own."""
    return {u for said in spoken_of for u in said} & set(units)


def _leave_out_unrelated(
    space: UnitSpace,
    table: DatasetTable,
    relation: RelationTable,
    side: tuple[str, ...],
    validity: dict[type[Dataset], Validity],
) -> bool:
    """Leave out rows whose units are not together in the relation, although each of them is."""
    if len(side) < 2 or not all(space.determines(table.columns, u) for u in side):
        return False
    rows, related = pack_both(
        [space.column(table.columns, u) for u in side], [relation.columns[u] for u in side], space.sizes(side)
    )
    keep = (rows < 0) | (lookup(group(related).keys, rows) >= 0)
    if keep.all():
        return False
    chosen = np.flatnonzero(keep)
    table.columns = {u: c[chosen] for u, c in table.columns.items()}
    table.identities, table.sizes = table.identities[chosen], table.sizes[chosen]
    table.locations = table.locations[chosen]
    table.n = len(chosen)
    if table.dataset_type in validity:
        v = validity[table.dataset_type]
        validity[table.dataset_type] = Validity(v.begin[chosen], v.end[chosen], v.rank[chosen])
    return True


def dataset_table(
    space: UnitSpace, dataset_type: type[Dataset], parts: Sequence[DatasetRows]
) -> tuple[DatasetTable, npt.NDArray[np.int64]]:
    """Encode datasets and sort them by data ID; also return which of the rows given each is."""
    model = space.model
    leaves = model.leaves(model.closure(dataset_type.units))
    n = sum(len(p.ids) for p in parts)
    columns: Columns = {u: space.codes(u, np.concatenate([p.units[u] for p in parts])) for u in leaves}
    key = pack(list(columns.values()), space.sizes(leaves), n=n)
    # Rows of instances that are not selected have a negative code, and grouping leaves them out.
    order = group(key).rows
    whole = order is None
    if order is None:
        order = np.arange(n)
    identities = np.concatenate([p.identities for p in parts])
    sizes = np.concatenate([p.sizes for p in parts])
    texts = [_as_text(p.locations) for p in parts]
    locations = texts[0] if len(texts) == 1 else TextColumn.concatenate(texts)
    if not whole:
        columns = {u: c[order] for u, c in columns.items()}
        identities, sizes, locations = identities[order], sizes[order], locations[order]
    return DatasetTable(dataset_type, space, columns, len(order), identities, locations, sizes), order


def _as_text(locations: Sequence[str]) -> TextColumn:
    return locations if isinstance(locations, TextColumn) else TextColumn.from_strings(locations)


def relation_table(space: UnitSpace, rows: RelationRows) -> RelationTable:
    """Encode the rows of a relation, but for those of instances that are not selected."""
    columns = {u: space.codes(u, ids) for u, ids in rows.units.items()}
    known = np.ones(len(next(iter(columns.values()))), bool)
    for codes in columns.values():
        known &= codes >= 0
    if not known.all():
        columns = {u: c[known] for u, c in columns.items()}
    return RelationTable(rows.relation, columns)
