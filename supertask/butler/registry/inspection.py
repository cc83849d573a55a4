"""What the tables of a registry hold, looked at as tables: every dataset, and rows that refer to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import sqlalchemy as sa

from supertask.butler.port import CollectionKind
from supertask.butler.registry.catalog import Catalog, TypeEntry
from supertask.butler.registry.database import Database
from supertask.butler.registry.schema import Schema

__all__ = ["Inspection", "OrphanRows", "Stored"]

_CHUNK = 500


@attrs.frozen
class Stored:
    """A dataset's row."""

    type_id: int
    id: int
    name: str
    """Of the dataset type."""
    run: str
    location: str
    size: int
    checksum: str


@attrs.frozen
class OrphanRows:
    """Rows that refer to what is not there, or that are not referred to as they must be."""

    table: str
    count: int
    why: str
    repair: sa.Executable = attrs.field(eq=False, repr=False)
    """What puts it right."""


class Inspection:
    """Looks into the tables of a registry."""

    def __init__(self, database: Database, schema: Schema, catalog: Catalog) -> None:
        self._database = database
        self._schema = schema
        self._catalog = catalog

    def stored(self) -> Iterator[Stored]:
        """Go through all datasets, of one moment."""
        runs = self._schema.collection
        with self._database.read() as connection:
            for entry in self._entries(connection):
                data = entry.tables.data
                columns = (data.c.id, runs.c.name, data.c.location, data.c.size, data.c.checksum)
                select = sa.select(*columns).join(runs, runs.c.id == data.c.run_id, isouter=True)
                for row in connection.execution_options(yield_per=20_000).execute(select):
                    yield Stored(
                        entry.id, row[0], entry.dataset_type.name, row[1] or "?", row[2], row[3], row[4]
                    )

    def _entries(self, connection: sa.Connection) -> Sequence[TypeEntry]:
        return list(self._catalog.current(connection).types.values())

    def orphans(self) -> list[OrphanRows]:
        """Return what is not in order between the tables themselves."""
        collection, child, holder = (
            self._schema.collection,
            self._schema.collection_child,
            self._schema.collection_type,
        )
        with self._database.read() as connection:
            found = [
                self._dangling(connection, child, child.c.parent_id, collection),
                self._dangling(connection, child, child.c.child_id, collection),
                self._dangling(connection, holder, holder.c.collection_id, collection),
                self._dangling(connection, holder, holder.c.type_id, self._schema.dataset_type),
            ]
            for entry in self._entries(connection):
                data, tag, validity = entry.tables.all()
                found.append(self._dangling(connection, data, data.c.run_id, collection))
                for table in (tag, validity):
                    found.append(self._dangling(connection, table, table.c.collection_id, collection))
                    found.append(self._dangling(connection, table, table.c.dataset_id, data))
                holding = (data.c.run_id, tag.c.collection_id, validity.c.collection_id)
                found += [self._unlisted(connection, entry, column) for column in holding]
            found.append(self._misplaced(connection))
        return [f for f in found if f is not None]

    @staticmethod
    def _dangling(
        connection: sa.Connection, table: sa.Table, column: sa.Column[int], target: sa.Table
    ) -> OrphanRows | None:
        gone = ~sa.exists().where(target.c.id == column)
        count = connection.execute(sa.select(sa.func.count()).select_from(table).where(gone)).scalar_one()
        if not count:
            return None
        why = f"their {column.name} names no row of {target.name}"
        return OrphanRows(table.name, count, why, sa.delete(table).where(gone))

    def _unlisted(
        self, connection: sa.Connection, entry: TypeEntry, column: sa.Column[int]
    ) -> OrphanRows | None:
        """Find collections that hold datasets of a type and are not searched for them."""
        holder, collection = self._schema.collection_type, self._schema.collection
        listed = sa.exists().where(holder.c.type_id == entry.id, holder.c.collection_id == collection.c.id)
        holds = sa.exists().where(column == collection.c.id)
        select = sa.select(sa.literal(entry.id), collection.c.id).where(holds, ~listed)
        count = len(connection.execute(select).all())
        if not count:
            return None
        why = (
            f"collections that hold {entry.dataset_type.name!r} ({column.table.name}) are not searched for it"
        )
        return OrphanRows(
            holder.name, count, why, sa.insert(holder).from_select(["type_id", "collection_id"], select)
        )

    def _misplaced(self, connection: sa.Connection) -> OrphanRows | None:
        """Find children of what is no chain."""
        child, collection = self._schema.collection_child, self._schema.collection
        wrong = sa.exists().where(
            collection.c.id == child.c.parent_id, collection.c.kind != CollectionKind.CHAINED.value
        )
        count = connection.execute(sa.select(sa.func.count()).select_from(child).where(wrong)).scalar_one()
        if not count:
            return None
        return OrphanRows(child.name, count, "their parent is no chain", sa.delete(child).where(wrong))

    def repair(self, orphans: Sequence[OrphanRows]) -> None:
        """Put right what `orphans` found, all of it or nothing."""
        with self._database.write("repairing a registry") as connection:
            self._catalog.changing(connection)
            for orphan in orphans:
                connection.execute(orphan.repair)
            self._catalog.touch(connection)

    def forget(self, rows: Sequence[Stored]) -> None:
        """Remove rows of datasets, with their tags and validity."""
        by_type: dict[int, list[int]] = {}
        for row in rows:
            by_type.setdefault(row.type_id, []).append(row.id)
        with self._database.write("removing datasets without files") as connection:
            for entry in self._entries(connection):
                ids, data = sorted(by_type.get(entry.id, ())), entry.tables.data
                for i in range(0, len(ids), _CHUNK):
                    connection.execute(sa.delete(data).where(data.c.id.in_(ids[i : i + _CHUNK])))
