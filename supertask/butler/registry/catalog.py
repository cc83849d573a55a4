"""The catalog: dataset types and collections, kept at hand and read again only when they changed.

Whoever changes one of them gives the catalog a new mark in the database; a look at the mark tells
every process whether what it has is still true.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from supertask.butler.port import CollectionInfo, CollectionKind
from supertask.butler.registry.backend import Backend
from supertask.butler.registry.schema import DatasetTables, Schema
from supertask.butler.templates import check_run_name
from supertask.datasets import Dataset
from supertask.errors import CollectionError, DatasetTypeError, did_you_mean

__all__ = ["Catalog", "CollectionEntry", "State", "TypeEntry", "check_same_type", "expand_chain_check"]


@attrs.frozen(eq=False)
class TypeEntry:
    """A dataset type that the repository knows."""

    id: int
    dataset_type: type[Dataset]
    leaves: tuple[str, ...]
    _schema: Schema = attrs.field(repr=False)

    @property
    def tables(self) -> DatasetTables:
        """Its tables, described when they are first asked for: a look-up of one type needs no others."""
        return self._schema.dataset_tables(self.id, self.leaves)


@attrs.frozen(eq=False)
class CollectionEntry:
    """A collection."""

    id: int
    info: CollectionInfo


@attrs.define(eq=False)
class State:
    """The catalog as it was at one moment."""

    mark: str
    types: dict[str, TypeEntry]
    collections: dict[str, CollectionEntry]
    """By name, oldest first."""
    holders: dict[int, frozenset[int]] = attrs.field(factory=dict)
    """Dataset type → collections that hold some of it, or did; filled as asked for."""

    def collection(self, name: str, *kinds: CollectionKind) -> CollectionEntry:
        """Return a collection, or raise a `CollectionError` if it is missing or of none of `kinds`."""
        entry = self.collections.get(name)
        if entry is None:
            raise CollectionError(
                f"there is no collection {name!r}{did_you_mean(name, self.collections)}; "
                f"there are {', '.join(self.collections) or 'none'}"
            )
        if kinds and entry.info.kind not in kinds:
            wanted = " or ".join(k.name for k in kinds)
            raise CollectionError(
                f"collection {name!r} is {entry.info.kind.name}, and must be {wanted} for this"
            )
        return entry

    def search(self, names: Sequence[str]) -> list[CollectionEntry]:
        """Return the collections to look in, in order, chains laid flat.

        Without names: every RUN, newest first, then every TAGGED.
        """
        if not names:
            entries = list(reversed(self.collections.values()))
            return [
                e
                for kind in (CollectionKind.RUN, CollectionKind.TAGGED)
                for e in entries
                if e.info.kind is kind
            ]
        found: dict[str, CollectionEntry] = {}
        seen: set[str] = set()
        todo = list(reversed(names))
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            entry = self.collection(name)
            if entry.info.kind is CollectionKind.CHAINED:
                todo += reversed(entry.info.children)
            else:
                found[name] = entry
        return list(found.values())


def check_same_type(new: type[Dataset], known: type[Dataset]) -> None:
    """Raise a `DatasetTypeError` if two types of one name disagree."""
    if new != known:
        raise DatasetTypeError(
            f"dataset type {new.name!r} is ({', '.join(new.units)}) as {new.storage!r} here, but the "
            f"repository knows it as ({', '.join(known.units)}) as {known.storage!r}; rename one of them"
        )


def expand_chain_check(name: str, children: Sequence[str], chains: dict[str, Sequence[str]]) -> None:
    """Raise a `CollectionError` if a chain with these children would hold itself."""
    todo: list[tuple[str, ...]] = [(name, c) for c in children]
    while todo:
        way = todo.pop()
        if way[-1] == name:
            raise CollectionError(f"chain {name!r} would hold itself: {' -> '.join(way)}")
        todo += [(*way, c) for c in chains.get(way[-1], ())]


# Spelt out, and handed to the driver as they are: whoever opens a repository reads them once, and to build
# and compile them costs more than that.
_READ_MARK = "SELECT value FROM meta WHERE name = 'catalog'"
_READ_TYPES = "SELECT id, name, units, storage, doc FROM dataset_type ORDER BY id"
_READ_COLLECTIONS = "SELECT id, name, kind, doc FROM collection ORDER BY id"
_READ_CHILDREN = "SELECT parent_id, child_id FROM collection_child ORDER BY parent_id, position"
_READ_HOLDERS = "SELECT collection_id FROM collection_type WHERE type_id = ?"


class Catalog:
    """Reads and changes the catalog of a registry."""

    def __init__(self, schema: Schema, backend: Backend) -> None:
        self._schema = schema
        self._backend = backend
        self._state: State | None = None

    # -- reading ------------------------------------------------------------------------------

    def current(self, connection: sa.Connection) -> State:
        """Return the catalog as the connection sees it."""
        [[mark]] = self._backend.ask(connection, _READ_MARK)
        state = self._state
        if state is None or state.mark != mark:
            state = self._state = State(
                mark, self._read_types(connection), self._read_collections(connection)
            )
        return state

    def _read_types(self, connection: sa.Connection) -> dict[str, TypeEntry]:
        known = self._state.types if self._state else {}
        types = {}
        for number, name, units, storage, doc in self._backend.ask(connection, _READ_TYPES):
            old = known.get(name)
            types[name] = (
                old
                if old is not None and old.id == number
                else self._entry(number, Dataset.subclass(name, json.loads(units), storage, doc))
            )
        return types

    def _entry(self, type_id: int, dataset_type: type[Dataset]) -> TypeEntry:
        leaves = self._schema.model.leaves(dataset_type.units)
        return TypeEntry(type_id, dataset_type, leaves, self._schema)

    def _read_collections(self, connection: sa.Connection) -> dict[str, CollectionEntry]:
        rows = self._backend.ask(connection, _READ_COLLECTIONS)
        names = {number: name for number, name, _, _ in rows}
        children: dict[int, list[str]] = {}
        for parent, child in self._backend.ask(connection, _READ_CHILDREN):
            children.setdefault(parent, []).append(names[child])
        return {
            name: CollectionEntry(
                number, CollectionInfo(name, CollectionKind(kind), doc, tuple(children.get(number, ())))
            )
            for number, name, kind, doc in rows
        }

    def holders(self, connection: sa.Connection, state: State, entry: TypeEntry) -> frozenset[int]:
        """Return the IDs of collections that may hold datasets of a type; all others do not."""
        found = state.holders.get(entry.id)
        if found is None:
            holding = self._backend.ask(connection, _READ_HOLDERS, entry.id)
            found = state.holders[entry.id] = frozenset(collection for (collection,) in holding)
        return found

    def known_types(self) -> dict[str, TypeEntry]:
        """Return the dataset types that were there when last looked: more may have come, none has gone."""
        return self._state.types if self._state else {}

    # -- changing -----------------------------------------------------------------------------

    def changing(self, connection: sa.Connection) -> State:
        """Keep all others from changing the catalog until this transaction ends; return it as it is now."""
        self._backend.lock_catalog(connection, self._schema.meta)
        return self.current(connection)

    def touch(self, connection: sa.Connection) -> None:
        """Say that the catalog has changed. Marks are random: one that is rolled back never returns."""
        meta = self._schema.meta
        connection.execute(sa.update(meta).where(meta.c.name == "catalog").values(value=secrets.token_hex(8)))

    def lock_rows(self, connection: sa.Connection, entry: CollectionEntry) -> None:
        """Be alone until this transaction ends among those who look what a collection holds and add to it."""
        table = self._schema.collection
        connection.execute(sa.select(table.c.id).where(table.c.id == entry.id).with_for_update())

    def add_type(self, connection: sa.Connection, dataset_type: type[Dataset]) -> tuple[TypeEntry, bool]:
        """Make a dataset type known; return its entry and whether it was new."""
        known = self.current(connection).types.get(dataset_type.name)
        known = known or self.changing(connection).types.get(dataset_type.name)
        if known is not None:
            check_same_type(dataset_type, known.dataset_type)
            return known, False
        leaves = self._schema.model.leaves(dataset_type.units)
        table = self._schema.dataset_type
        type_id: int = connection.execute(
            sa.insert(table)
            .values(
                name=dataset_type.name,
                units=json.dumps(dataset_type.units),
                storage=dataset_type.storage,
                doc=dataset_type.doc,
            )
            .returning(table.c.id)
        ).scalar_one()
        tables = self._schema.dataset_tables(type_id, leaves)
        self._schema.metadata.create_all(connection, tables=tables.all(), checkfirst=False)
        self.touch(connection)
        return TypeEntry(type_id, dataset_type, leaves, self._schema), True

    def add_collection(
        self, connection: sa.Connection, name: str, kind: CollectionKind, children: Sequence[str], doc: str
    ) -> CollectionEntry:
        """Make a collection that is known not to be there, the catalog being kept from changing."""
        wrong = check_run_name(name)
        if wrong:
            raise CollectionError(f"{name!r} is no name for a collection: {wrong}")
        table = self._schema.collection
        insert = sa.insert(table).values(name=name, kind=kind.value, doc=doc)
        number: int = connection.execute(insert.returning(table.c.id)).scalar_one()
        entry = CollectionEntry(number, CollectionInfo(name, kind, doc, tuple(children)))
        if children:
            self.set_children(connection, entry, children)
        self.touch(connection)
        return entry

    def set_children(
        self, connection: sa.Connection, entry: CollectionEntry, children: Sequence[str]
    ) -> None:
        """Replace the children of a chain."""
        state = self.current(connection)
        ids = [state.collection(c).id for c in children]
        chains: dict[str, Sequence[str]] = {n: e.info.children for n, e in state.collections.items()}
        expand_chain_check(entry.info.name, children, chains)
        if len(set(ids)) != len(ids):
            raise CollectionError(
                f"chain {entry.info.name!r} names a collection twice: {', '.join(children)}"
            )
        table = self._schema.collection_child
        connection.execute(sa.delete(table).where(table.c.parent_id == entry.id))
        rows: list[dict[str, Any]] = [
            {"parent_id": entry.id, "position": i, "child_id": child} for i, child in enumerate(ids)
        ]
        if rows:
            connection.execute(sa.insert(table), rows)
        self.touch(connection)

    def add_holder(self, connection: sa.Connection, entry: TypeEntry, collection_id: int) -> None:
        """Note that a collection holds datasets of a type."""
        if collection_id in self.holders(connection, self.current(connection), entry):
            return
        self.changing(connection)
        row = [(entry.id, collection_id)]
        if self._backend.insert(connection, self._schema.collection_type, ("type_id", "collection_id"), row):
            self.touch(connection)
