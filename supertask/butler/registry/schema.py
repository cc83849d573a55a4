"""The tables of a registry, as SQLAlchemy Core has them.

===================  ==============================================================================
``meta``             schema version, unit model, a counter that goes up whenever the catalog changes
``dataset_type``     name, units, storage format
``collection``       name, kind, provenance; ``collection_child``: the search order of chains
``collection_type``  which collections hold datasets of which types, so that a search asks only those
``unit_U``           one per unit: instances of it; parents and implied units by row ID
``relation_R``       one per relation: row IDs of the leaf units of both sides
``dataset_N``        one per dataset type: run, row IDs of the leaf units, identity, location
``tag_N``            datasets picked into TAGGED collections
``validity_N``       datasets of CALIBRATION collections, with TAI nanoseconds [begin, end)
===================  ==============================================================================

Columns for row IDs are called after the unit: ``visit_id``. Tables with row IDs of leaf units have
an index that begins with each of them, so that a selection on any unit is looked up, not scanned for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from supertask.errors import UnitModelError
from supertask.units import FieldKind, KeyKind, Relation, Unit, UnitModel

__all__ = ["SCHEMA_VERSION", "DatasetTables", "Schema", "link"]

SCHEMA_VERSION = 2
"""Version 2 has indices on fields of numbers, too; `migrations` says how a registry gets there."""

# SQLite numbers rows by itself only where the type is spelt INTEGER.
_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Text is ordered by code points, as in Python and SQLite, whatever a server's locale is.
_Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


class _Bit(sa.types.TypeDecorator[bool]):
    """True and false as 1 and 0, where a database would not compare booleans with numbers."""

    impl = sa.SmallInteger
    cache_ok = True

    def process_bind_param(self, value: bool | None, dialect: sa.Dialect) -> int | None:
        """Return what is sent."""
        return None if value is None else int(value)


_Bool = sa.Boolean().with_variant(_Bit(), "postgresql")

_KEY_TYPES: dict[KeyKind, Any] = {KeyKind.INT: sa.BigInteger, KeyKind.STR: _Text, KeyKind.DATE: _Text}
_FIELD_TYPES: dict[FieldKind, Any] = {
    FieldKind.INT: sa.BigInteger,
    FieldKind.FLOAT: sa.Double,
    FieldKind.STR: _Text,
    FieldKind.BOOL: _Bool,
    FieldKind.TIME: sa.BigInteger,
}
_INDEXED_FIELDS = (FieldKind.STR, FieldKind.TIME, FieldKind.INT, FieldKind.FLOAT)
"""Kinds of field that people select by: a night, since when, an air mass. Of yes and no half is most."""


def link(unit: str) -> str:
    """Return the name of columns that hold row IDs of a unit."""
    return f"{unit}_id"


class DatasetTables:
    """The three tables of one dataset type, described when asked for: most reads need only the first.

    Parameters
    ----------
    describe : callable
        Gives the table for ``data``, ``tag`` or ``validity``.
    """

    def __init__(self, describe: Callable[[str], sa.Table]) -> None:
        self._describe = describe

    @cached_property
    def data(self) -> sa.Table:
        """Datasets."""
        return self._describe("data")

    @cached_property
    def tag(self) -> sa.Table:
        """Those picked into TAGGED collections."""
        return self._describe("tag")

    @cached_property
    def validity(self) -> sa.Table:
        """Those certified for ranges of time."""
        return self._describe("validity")

    def all(self) -> list[sa.Table]:
        """Return them, in the order in which they may be made."""
        return [self.data, self.tag, self.validity]


class _Tables(Mapping[str, sa.Table]):
    """Tables by name, described when asked for: a plan needs some, and describing all takes milliseconds."""

    def __init__(self, names: Sequence[str], describe: Callable[[str], sa.Table]) -> None:
        self._names = names
        self._describe = describe
        self._described: dict[str, sa.Table] = {}

    def __getitem__(self, name: str) -> sa.Table:
        table = self._described.get(name)
        if table is None:
            if name not in self._names:
                raise KeyError(name)
            table = self._described[name] = self._describe(name)
        return table

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Schema:
    """Tables for a unit model.

    Parameters
    ----------
    model : UnitModel
        The repository's units.

    Raises
    ------
    UnitModelError
        When the table of a unit is asked for: a field's name would be that of a column with row IDs.
    """

    def __init__(self, model: UnitModel) -> None:
        self.model = model
        self.metadata = sa.MetaData()
        self._describing = threading.Lock()
        self._datasets: dict[tuple[int, tuple[str, ...]], DatasetTables] = {}
        table = self._table
        self.meta = table("meta", sa.Column("name", _Text, primary_key=True), _text("value"))
        self.dataset_type = table(
            "dataset_type",
            sa.Column("id", _Id, primary_key=True),
            _text("name", unique=True),
            _text("units"),
            _text("storage"),
            _text("doc"),
            sqlite_autoincrement=True,
        )
        self.collection = table(
            "collection",
            sa.Column("id", _Id, primary_key=True),
            _text("name", unique=True),
            _text("kind"),
            _text("doc"),
            sa.Column("provenance", _Text),
            # Numbers of removed collections are never given again: others may still hold them.
            sqlite_autoincrement=True,
        )
        self.collection_child = table(
            "collection_child",
            _refers("parent_id", "collection.id", primary_key=True),
            sa.Column("position", sa.Integer, primary_key=True),
            sa.Column("child_id", _Id, sa.ForeignKey("collection.id"), nullable=False),
        )
        self.collection_type = table(
            "collection_type",
            _refers("type_id", "dataset_type.id", primary_key=True),
            _refers("collection_id", "collection.id", primary_key=True, index=True),
        )
        self.units = _Tables([u.name for u in model], lambda name: self._unit(model.unit(name)))
        """Tables of units by the unit's name."""
        self.relations = _Tables(
            [r.name for r in model.relations], lambda name: self._relation(model.relation(name))
        )
        """Tables of relations by the relation's name."""

    def described(self) -> sa.MetaData:
        """Return all tables, but for those of dataset types nobody asked for."""
        _ = [*self.units.values(), *self.relations.values()]
        return self.metadata

    def _table(self, name: str, *args: Any, **kwargs: Any) -> sa.Table:
        with self._describing:
            known = self.metadata.tables.get(name)
            return sa.Table(name, self.metadata, *args, **kwargs) if known is None else known

    def _unit(self, unit: Unit) -> sa.Table:
        name = f"unit_{unit.name}"
        taken = {"id", *(link(u) for u in unit.parents + unit.implies)}
        clash = [f.name for f in unit.fields if f.name in taken]
        if clash:
            raise UnitModelError(
                f"unit {unit.name!r}: field {clash[0]!r} has a name that the registry needs itself; rename it"
            )
        indices = [sa.Index(f"{name}_by_{unit.name}", unit.name)] if unit.parents else []
        indices += [sa.Index(f"{name}_by_{u}", link(u)) for u in unit.implies + unit.parents[1:]]
        indices += [sa.Index(f"{name}_by_{f.name}", f.name) for f in unit.fields if f.kind in _INDEXED_FIELDS]
        return self._table(
            name,
            sa.Column("id", _Id, primary_key=True),
            *(sa.Column(link(p), _Id, nullable=False) for p in unit.parents),
            sa.Column(unit.name, _KEY_TYPES[unit.key], nullable=False),
            *(sa.Column(link(u), _Id) for u in unit.implies),
            *(sa.Column(f.name, _FIELD_TYPES[f.kind]) for f in unit.fields),
            sa.UniqueConstraint(*(link(p) for p in unit.parents), unit.name),
            *indices,
        )

    def _relation(self, relation: Relation) -> sa.Table:
        name = f"relation_{relation.name}"
        leaves = self.relation_leaves(relation)
        columns = [link(u) for u in leaves]
        return self._table(
            name,
            sa.Column("id", _Id, primary_key=True),
            *(sa.Column(c, _Id, nullable=False) for c in columns),
            sa.UniqueConstraint(*columns),
            *(sa.Index(f"{name}_by_{u}", link(u)) for u in leaves[1:]),
        )

    def relation_leaves(self, relation: Relation) -> tuple[str, ...]:
        """Return the units that a relation's table has columns for: leaves of the left, then the right."""
        left = self.model.leaves(relation.left)
        return left + tuple(u for u in self.model.leaves(relation.right) if u not in left)

    def dataset_tables(self, type_id: int, leaves: tuple[str, ...]) -> DatasetTables:
        """Return the tables of a dataset type."""
        tables = self._datasets.get((type_id, leaves))
        if tables is None:
            tables = self._datasets[type_id, leaves] = self._make_dataset_tables(type_id, leaves)
        return tables

    def _make_dataset_tables(self, type_id: int, leaves: tuple[str, ...]) -> DatasetTables:
        def columns() -> list[sa.Column[Any]]:
            return [sa.Column(link(u), _Id, nullable=False) for u in leaves]

        def indices(name: str, group: str) -> list[sa.Index]:
            # The unique index begins with the first leaf; each of the others gets one of its own.
            return [sa.Index(f"{name}_by_{u}", link(u), group) for u in leaves[1:]]

        first, rest = [link(u) for u in leaves[:1]], [link(u) for u in leaves[1:]]
        dataset = f"dataset_{type_id}"

        def data() -> sa.Table:
            return self._table(
                dataset,
                sa.Column("id", _Id, primary_key=True),
                _refers("run_id", "collection.id", index=bool(leaves)),
                *columns(),
                sa.Column("identity", sa.LargeBinary(16), nullable=False),
                _text("location"),
                sa.Column("size", sa.BigInteger, nullable=False),
                _text("checksum"),
                sa.UniqueConstraint(*first, "run_id", *rest),
                *indices(dataset, "run_id"),
                sqlite_autoincrement=True,
            )

        def tag() -> sa.Table:
            name = f"tag_{type_id}"
            return self._table(
                name,
                sa.Column("id", _Id, primary_key=True),
                _refers("collection_id", "collection.id", index=bool(leaves)),
                *columns(),
                _refers("dataset_id", f"{dataset}.id", index=True),
                sa.UniqueConstraint(*first, "collection_id", *rest),
                *indices(name, "collection_id"),
            )

        def validity() -> sa.Table:
            name = f"validity_{type_id}"
            return self._table(
                name,
                sa.Column("id", _Id, primary_key=True),
                _refers("collection_id", "collection.id", index=True),
                *columns(),
                _refers("dataset_id", f"{dataset}.id", index=True),
                sa.Column("begin", sa.BigInteger, nullable=False),
                sa.Column("end", sa.BigInteger, nullable=False),
                *(sa.Index(f"{name}_by_{u}", link(u), "collection_id") for u in leaves),
            )

        describe = {"data": data, "tag": tag, "validity": validity}
        return DatasetTables(lambda which: describe[which]())


def _text(name: str, *, unique: bool = False) -> sa.Column[str]:
    return sa.Column(name, _Text, nullable=False, unique=unique)


def _refers(name: str, target: str, **kwargs: Any) -> sa.Column[int]:
    return sa.Column(name, _Id, sa.ForeignKey(target, ondelete="CASCADE"), nullable=False, **kwargs)
