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

Each is described twice: whole, for those who lay it out or write to it; and as its columns alone, for those
who read rows, since keys, constraints and indices are what takes SQLAlchemy its time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

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
T = TypeVar("T", bound=sa.TableClause)

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
    columns : callable
        Gives its columns alone.
    """

    def __init__(self, describe: Callable[[str], sa.Table], columns: Callable[[str], sa.TableClause]) -> None:
        self._describe = describe
        self.rows: Mapping[str, sa.TableClause] = _Tables(("data", "tag", "validity"), columns)
        """The same to read from, by these names."""

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


class _Tables(Mapping[str, T]):
    """Tables by name, described when asked for: a plan needs some, and describing all takes milliseconds."""

    def __init__(self, names: Sequence[str], describe: Callable[[str], T]) -> None:
        self._names = names
        self._describe = describe
        self._described: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
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
        units = [u.name for u in model]
        relations = [r.name for r in model.relations]
        self.units = _Tables(units, lambda name: self._unit(model.unit(name)))
        """Tables of units by the unit's name."""
        self.relations = _Tables(relations, lambda name: self._relation(model.relation(name)))
        """Tables of relations by the relation's name."""
        self.unit_rows = _Tables(
            units, lambda name: sa.table(f"unit_{name}", *_unit_columns(model.unit(name)))
        )
        """The same to read from."""
        self.relation_rows = _Tables(
            relations,
            lambda name: sa.table(f"relation_{name}", *self._relation_columns(model.relation(name))),
        )

    @cached_property
    def meta(self) -> sa.Table:
        """What the registry says of itself."""
        return self._table("meta", sa.Column("name", _Text, primary_key=True), _text("value"))

    @cached_property
    def dataset_type(self) -> sa.Table:
        """Dataset types."""
        return self._table(
            "dataset_type",
            _id(),
            _text("name", unique=True),
            _text("units"),
            _text("storage"),
            _text("doc"),
            sqlite_autoincrement=True,
        )

    @cached_property
    def collection(self) -> sa.Table:
        """Collections."""
        return self._table(
            "collection",
            _id(),
            _text("name", unique=True),
            _text("kind"),
            _text("doc"),
            sa.Column("provenance", _Text),
            # Numbers of removed collections are never given again: others may still hold them.
            sqlite_autoincrement=True,
        )

    @cached_property
    def collection_child(self) -> sa.Table:
        """The search order of chains."""
        collection = self.collection.c.id
        return self._table(
            "collection_child",
            _refers("parent_id", collection, primary_key=True),
            sa.Column("position", sa.Integer, primary_key=True),
            sa.Column("child_id", _Id, sa.ForeignKey(collection), nullable=False),
        )

    @cached_property
    def collection_type(self) -> sa.Table:
        """Which collections hold datasets of which types."""
        return self._table(
            "collection_type",
            _refers("type_id", self.dataset_type.c.id, primary_key=True),
            _refers("collection_id", self.collection.c.id, primary_key=True, index=True),
        )

    def described(self) -> sa.MetaData:
        """Return all tables, but for those of dataset types nobody asked for."""
        _ = [self.meta, self.collection_child, self.collection_type]  # and those that they refer to
        _ = [*self.units.values(), *self.relations.values()]
        return self.metadata

    def _table(self, name: str, *args: Any, **kwargs: Any) -> sa.Table:
        with self._describing:
            known = self.metadata.tables.get(name)
            return sa.Table(name, self.metadata, *args, **kwargs) if known is None else known

    def _unit(self, unit: Unit) -> sa.Table:
        name = f"unit_{unit.name}"
        indices = [sa.Index(f"{name}_by_{unit.name}", unit.name)] if unit.parents else []
        indices += [sa.Index(f"{name}_by_{u}", link(u)) for u in unit.implies + unit.parents[1:]]
        indices += [sa.Index(f"{name}_by_{f.name}", f.name) for f in unit.fields if f.kind in _INDEXED_FIELDS]
        return self._table(
            name,
            *_unit_columns(unit),
            sa.UniqueConstraint(*(link(p) for p in unit.parents), unit.name),
            *indices,
        )

    def _relation(self, relation: Relation) -> sa.Table:
        name = f"relation_{relation.name}"
        leaves = self.relation_leaves(relation)
        return self._table(
            name,
            *self._relation_columns(relation),
            sa.UniqueConstraint(*(link(u) for u in leaves)),
            *(sa.Index(f"{name}_by_{u}", link(u)) for u in leaves[1:]),
        )

    def _relation_columns(self, relation: Relation) -> list[sa.Column[Any]]:
        return [_id(), *(_link(link(u)) for u in self.relation_leaves(relation))]

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
        def indices(name: str, group: str) -> list[sa.Index]:
            # The unique index begins with the first leaf; each of the others gets one of its own.
            return [sa.Index(f"{name}_by_{u}", link(u), group) for u in leaves[1:]]

        first, rest = [link(u) for u in leaves[:1]], [link(u) for u in leaves[1:]]
        names = {which: f"{prefix}_{type_id}" for which, prefix in _DATASET_TABLES.items()}

        def data() -> sa.Table:
            run = _refers("run_id", self.collection.c.id, index=bool(leaves))
            return self._table(
                names["data"],
                *_data_columns(run, leaves),
                sa.UniqueConstraint(*first, "run_id", *rest),
                *indices(names["data"], "run_id"),
                sqlite_autoincrement=True,
            )

        def tag() -> sa.Table:
            collection = _refers("collection_id", self.collection.c.id, index=bool(leaves))
            dataset = _refers("dataset_id", f"{names['data']}.id", index=True)
            return self._table(
                names["tag"],
                *_tag_columns(collection, leaves, dataset),
                sa.UniqueConstraint(*first, "collection_id", *rest),
                *indices(names["tag"], "collection_id"),
            )

        def validity() -> sa.Table:
            collection = _refers("collection_id", self.collection.c.id, index=True)
            dataset = _refers("dataset_id", f"{names['data']}.id", index=True)
            return self._table(
                names["validity"],
                *_validity_columns(collection, leaves, dataset),
                *(sa.Index(f"{names['validity']}_by_{u}", link(u), "collection_id") for u in leaves),
            )

        describe = {"data": data, "tag": tag, "validity": validity}

        def columns(which: str) -> list[sa.Column[Any]]:
            if which == "data":
                return _data_columns(_link("run_id"), leaves)
            of = _tag_columns if which == "tag" else _validity_columns
            return of(_link("collection_id"), leaves, _link("dataset_id"))

        return DatasetTables(
            lambda which: describe[which](), lambda which: sa.table(names[which], *columns(which))
        )


_DATASET_TABLES = {"data": "dataset", "tag": "tag", "validity": "validity"}


def _unit_columns(unit: Unit) -> list[sa.Column[Any]]:
    taken = {"id", *(link(u) for u in unit.parents + unit.implies)}
    clash = [f.name for f in unit.fields if f.name in taken]
    if clash:
        raise UnitModelError(
            f"unit {unit.name!r}: field {clash[0]!r} has a name that the registry needs itself; rename it"
        )
    return [
        _id(),
        *(_link(link(p)) for p in unit.parents),
        sa.Column(unit.name, _KEY_TYPES[unit.key], nullable=False),
        *(sa.Column(link(u), _Id) for u in unit.implies),
        *(sa.Column(f.name, _FIELD_TYPES[f.kind]) for f in unit.fields),
    ]


def _data_columns(run: sa.Column[int], leaves: Sequence[str]) -> list[sa.Column[Any]]:
    return [
        _id(),
        run,
        *(_link(link(u)) for u in leaves),
        sa.Column("identity", sa.LargeBinary(16), nullable=False),
        _text("location"),
        sa.Column("size", sa.BigInteger, nullable=False),
        _text("checksum"),
    ]


def _tag_columns(
    collection: sa.Column[int], leaves: Sequence[str], dataset: sa.Column[int]
) -> list[sa.Column[Any]]:
    return [_id(), collection, *(_link(link(u)) for u in leaves), dataset]


def _validity_columns(
    collection: sa.Column[int], leaves: Sequence[str], dataset: sa.Column[int]
) -> list[sa.Column[Any]]:
    times = [sa.Column(name, sa.BigInteger, nullable=False) for name in ("begin", "end")]
    return [*_tag_columns(collection, leaves, dataset), *times]


def _id() -> sa.Column[int]:
    return sa.Column("id", _Id, primary_key=True)


def _link(name: str) -> sa.Column[int]:
    return sa.Column(name, _Id, nullable=False)


def _text(name: str, *, unique: bool = False) -> sa.Column[str]:
    return sa.Column(name, _Text, nullable=False, unique=unique)


def _refers(name: str, target: str | sa.Column[Any], **kwargs: Any) -> sa.Column[int]:
    return sa.Column(name, _Id, sa.ForeignKey(target, ondelete="CASCADE"), nullable=False, **kwargs)
