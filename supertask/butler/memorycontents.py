"""What an `InMemoryButler` holds: units and relations by their keys, and datasets."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from supertask.butler.unitvalues import CheckedRows, merge
from supertask.dataids import Key
from supertask.errors import DataIdError
from supertask.rows import FileRecord, RelationRows
from supertask.units import Relation, UnitModel

__all__ = ["Contents", "Dated", "Instance", "Keys", "Stored"]

Keys = tuple[Key, ...]
"""Keys of a unit and its parents, in the model's order: what tells an instance from all others."""


@attrs.frozen
class Instance:
    """One instance of a unit."""

    id: int
    implied: dict[str, Keys | None]
    fields: dict[str, Any]


@attrs.frozen(eq=False)
class Stored:
    """One dataset."""

    id: int
    record: FileRecord
    value: Any = None
    has_value: bool = False


@attrs.frozen
class Dated:
    """One calibration and when it is valid."""

    stored: Stored
    begin: int
    end: int


@attrs.define
class Contents:
    """Units and relations of a repository in memory."""

    model: UnitModel
    units: dict[str, dict[Keys, Instance]] = attrs.field(init=False)
    relations: dict[str, set[tuple[int, ...]]] = attrs.field(init=False)
    last_id: int = 0

    def __attrs_post_init__(self) -> None:
        self.units = {unit.name: {} for unit in self.model}
        self.relations = {relation.name: set() for relation in self.model.relations}

    def copy(self) -> Contents:
        """Return the contents as they are now."""
        new = Contents(self.model)
        new.units = {name: dict(instances) for name, instances in self.units.items()}
        new.relations = {name: set(rows) for name, rows in self.relations.items()}
        return new

    def new_id(self) -> int:
        """Return the next dataset ID."""
        self.last_id += 1
        return self.last_id

    def keys_of(self, unit: str, values: Mapping[str, Key]) -> Keys:
        """Return the keys that tell an instance of a unit; a parent that is not given is left out."""
        return tuple(values[u] for u in self.model.closure([unit]) if u in values)

    def relation_leaves(self, relation: Relation) -> tuple[str, ...]:
        """Return the units that rows of a relation have, the left side first."""
        left = self.model.leaves(relation.left)
        return left + tuple(u for u in self.model.leaves(relation.right) if u not in left)

    def follow(self, way: Sequence[str], keys: Keys) -> Keys | None:
        """Return the keys of the last unit of a way that begins at an instance of the first."""
        at: Keys | None = keys
        for unit, following in itertools.pairwise(way):
            if at is None:
                return None
            if following in self.model.unit(unit).parents:
                at = self.keys_of(following, dict(zip(self.model.closure([unit]), at, strict=True)))
            else:
                instance = self.units[unit].get(at)
                at = instance.implied[following] if instance else None
        return at

    def insert_units(self, unit: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Make instances of a unit known; as `AbstractButler.insert_units`."""
        declared = self.model.unit(unit)
        own = self.model.closure([unit])
        spoken_of = tuple(
            dict.fromkeys((*own, *(x for u in declared.implies for x in self.model.closure([u]))))
        )
        checked = CheckedRows(self.model, own, rows, f"{unit} rows")
        checked.allow((*spoken_of, *(f.name for f in declared.fields)))
        keys = {u: checked.keys(u, required=u in own) for u in spoken_of}
        fields = [checked.field(f) for f in declared.fields]
        checked.problems.raise_if_any(DataIdError)
        names = (*declared.implies, *(f.name for f in declared.fields))
        known = self.units[unit]
        made: dict[Keys, list[Any]] = {}
        for i in range(len(rows)):
            row = {u: keys[u][i] for u in spoken_of if keys[u][i] is not None}
            for parent in declared.parents:
                if self.keys_of(parent, row) not in self.units[parent]:
                    checked.tell(i, f"{parent} {row.get(parent)!r} is not known; insert it first")
            values: list[Any] = []
            for u in declared.implies:
                of_u = self.keys_of(u, row) if u in row else None
                if of_u is not None and of_u not in self.units[u]:
                    checked.tell(i, f"{u} {row[u]!r} is not known; insert it first")
                values.append(of_u)
            values += [column[i] for column in fields]
            key = self.keys_of(unit, row)
            if key not in made:
                there = known.get(key)
                made[key] = [*there.implied.values(), *there.fields.values()] if there else list(values)
            merge(checked, i, names, made[key], values, "what is known")
        checked.problems.raise_if_any(DataIdError)
        new = [key for key in made if key not in known]
        n = len(declared.implies)
        for key, values in sorted(made.items(), key=lambda item: item[0]):
            number = known[key].id if key in known else len(known) + 1
            known[key] = Instance(
                number,
                dict(zip(declared.implies, values[:n], strict=True)),
                dict(zip(names[n:], values[n:], strict=True)),
            )
        return len(new)

    def insert_relation(self, relation: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Relate units by key; as `AbstractButler.insert_relation`."""
        declared = self.model.relation(relation)
        leaves = self.relation_leaves(declared)
        closure = self.model.closure(leaves)
        checked = CheckedRows(self.model, closure, rows, f"rows of relation {relation!r}")
        checked.allow(closure)
        keys = {u: checked.keys(u, required=True) for u in closure}
        checked.problems.raise_if_any(DataIdError)
        made = set()
        for i in range(len(rows)):
            row = {u: keys[u][i] for u in closure}
            instances = [self.units[u].get(self.keys_of(u, row)) for u in leaves]
            for u, instance in zip(leaves, instances, strict=True):
                if instance is None:
                    checked.tell(i, f"{u} {row[u]!r} is not known; insert it first")
            made.add(tuple(instance.id if instance else -1 for instance in instances))
        checked.problems.raise_if_any(DataIdError)
        there = self.relations[relation]
        new = len(made - there)
        there |= made
        return new

    def insert_relation_rows(self, rows: RelationRows) -> int:
        """Relate units by row ID; as `AbstractButler.insert_relation_rows`."""
        leaves = self._leaves_of(rows)
        for u in leaves:
            if any(not 1 <= i <= len(self.units[u]) for i in rows.units[u].tolist()):
                raise DataIdError(
                    f"rows of relation {rows.relation!r}: there is no {u} of some of these row IDs"
                )
        made = set(zip(*(rows.units[u].tolist() for u in leaves), strict=True))
        there = self.relations[rows.relation]
        new = len(made - there)
        there |= made
        return new

    def remove_relation_rows(self, rows: RelationRows) -> int:
        """Take rows out of a relation; as `AbstractButler.remove_relation_rows`."""
        named = set(zip(*(rows.units[u].tolist() for u in self._leaves_of(rows)), strict=True))
        there = self.relations[rows.relation]
        removed = len(named & there)
        there -= named
        return removed

    def _leaves_of(self, rows: RelationRows) -> tuple[str, ...]:
        leaves = self.relation_leaves(self.model.relation(rows.relation))
        if set(rows.units) != set(leaves):
            raise DataIdError(f"rows of relation {rows.relation!r} need columns for {', '.join(leaves)}")
        return leaves
