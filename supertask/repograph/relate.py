"""How rows of two tables belong together: units in common, parents, implied values, relations.

Two rows belong together when every unit that both determine has one value in both, and when each
relation that needs both of them to be stated has a row for the pair. Null belongs to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from supertask.errors import PreflightError
from supertask.repograph.columns import Edges, Groups, Ints, group, join, pack, pack_both
from supertask.repograph.space import Columns, UnitSpace
from supertask.repograph.tables import RelationTable
from supertask.units import Relation, UnitModel

__all__ = ["Grouping", "Rows", "common_units", "group_rows", "match", "relations_between"]

Relations = Mapping[str, RelationTable]


class Rows(NamedTuple):
    """Rows of any table: what their leaf units are, and how many there are."""

    columns: Columns
    n: int


def deciders(model: UnitModel, units: Iterable[str]) -> tuple[str, ...]:
    """Return the fewest of `units` from which all of them follow, implied values counted."""
    units = model.sort(units)
    rest = {u: set(model.determined((u,))) - {u} for u in units}
    return tuple(u for u in units if not any(u in rest[v] for v in units))


def common_units(space: UnitSpace, left: Iterable[str], right: Iterable[str]) -> tuple[str, ...]:
    """Return the fewest units that must be equal for a row of each side to belong together."""
    model = space.model
    both = set(model.determined(left)) & set(model.determined(right)) & set(space.tables)
    return deciders(model, both)


def relations_between(
    model: UnitModel, relations: Iterable[str], left: Iterable[str], right: Iterable[str]
) -> list[Relation]:
    """Return the relations that can only be stated of a row of each side together."""
    one, two = set(model.determined(left)), set(model.determined(right))
    found = []
    for name in relations:
        relation = model.relation(name)
        needed = set(relation.left) | set(relation.right)
        if needed <= one | two and not needed <= one and not needed <= two:
            found.append(relation)
    return found


def match(space: UnitSpace, relations: Relations, left: Rows, right: Rows) -> Edges:
    """Return for each left row the right rows that belong to it.

    Raises
    ------
    PreflightError
        Neither units nor relations link the two.
    """
    linking = relations_between(space.model, relations, left.columns, right.columns)
    if not linking:
        return _match_units(space, left, right)
    owner: npt.NDArray[np.integer[Any]] = np.arange(left.n, dtype=np.int32)
    joined = left
    for relation in linking:
        pairs, joined = _joined(space, joined, relations[relation.name])
        owner = owner[pairs]
    edges = _match_units(space, joined, right)
    return Edges.from_pairs(left.n, owner[edges.owners()], edges.all_rows())


def _joined(space: UnitSpace, rows: Rows, table: RelationTable) -> tuple[npt.NDArray[np.int32], Rows]:
    """Extend rows by those of a relation; return which row each comes from, and the longer rows."""
    edges = _match_units(space, rows, Rows(table.columns, len(table)))
    source, found = edges.owners(), edges.all_rows()
    columns: Columns = {u: c[source] for u, c in rows.columns.items()}
    columns |= {u: c[found] for u, c in table.columns.items() if u not in columns}
    return source, Rows(columns, len(source))


def _match_units(space: UnitSpace, left: Rows, right: Rows) -> Edges:
    units = common_units(space, left.columns, right.columns)
    if not units and left.columns and right.columns:
        raise PreflightError(
            f"nothing relates ({', '.join(left.columns)}) to ({', '.join(right.columns)}): they have no unit "
            "in common, and no relation of the unit model joins them; declare a relation, or write "
            "defineQuanta by hand"
        )
    keys = [
        [space.column(rows.columns, u) for u in units] or [np.zeros(rows.n, np.int32)]
        for rows in (left, right)
    ]
    return join(*pack_both(keys[0], keys[1], space.sizes(units) or [1]))


@attrs.frozen(eq=False)
class Grouping:
    """Rows of a table, grouped by other units."""

    columns: Columns
    """Leaf units of the groups → codes, one for each group, groups in order of their data IDs."""
    n: int
    edges: Edges
    """The rows of each group."""


def group_rows(space: UnitSpace, relations: Relations, rows: Rows, by: Iterable[str]) -> Grouping | None:
    """Group the rows of a table by units, reaching through a relation where that is needed.

    Returns
    -------
    Grouping or None
        None where neither the rows nor one relation determine the units. Rows whose value for a
        unit is null are in no group.
    """
    model = space.model
    leaves = model.leaves(model.closure(by))
    source: npt.NDArray[np.int32] | None = None
    if not all(space.determines(rows.columns, u) for u in leaves):
        relation = _reaching(model, relations, rows.columns, leaves)
        if relation is None:
            return None
        source, rows = _joined(space, rows, relations[relation])
    codes = [space.column(rows.columns, u) for u in leaves]
    groups = group(pack(codes, space.sizes(leaves), n=rows.n))
    first = groups.indptr[:-1] if groups.rows is None else groups.rows[groups.indptr[:-1]]
    own: Columns = {u: c[first] for u, c in zip(leaves, codes, strict=True)}
    return Grouping(own, len(first), _edges_of(groups, source))


def _reaching(
    model: UnitModel, relations: Relations, columns: Iterable[str], leaves: Iterable[str]
) -> str | None:
    """Find the relation of which one side is determined and which gives the leaves wanted."""
    have = set(model.determined(columns))
    for name in relations:
        relation = model.relation(name)
        for side, other in ((relation.left, relation.right), (relation.right, relation.left)):
            if set(side) <= have and set(leaves) <= have | set(model.determined(other)):
                return name
    return None


def _edges_of(groups: Groups, source: Ints | None) -> Edges:
    rows: Ints = np.arange(groups.indptr[-1]) if groups.rows is None else groups.rows
    counts = np.diff(groups.indptr)
    if source is None:
        return Edges.from_counts(counts, rows)
    rows = source[rows]
    # A row may reach one group by several ways (a detector overlaps two patches of one tract).
    # Within a group the rows ascend, so equal ones stand side by side.
    again = np.zeros(len(rows), bool)
    again[1:] = rows[1:] == rows[:-1]
    again[groups.indptr[:-1][counts > 0]] = False
    if again.any():
        owner = np.repeat(np.arange(len(counts)), counts)
        counts = counts - np.bincount(owner[again], minlength=len(counts))
        rows = rows[~again]
    return Edges.from_counts(counts, rows)
