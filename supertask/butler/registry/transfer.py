"""A registry as a whole: a safe copy of its file, and all of it into another database."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import sqlalchemy as sa

from supertask.butler.registry.backend import Backend
from supertask.butler.registry.catalog import Catalog
from supertask.butler.registry.database import Database
from supertask.butler.registry.schema import SCHEMA_VERSION, Schema
from supertask.errors import RepositoryError

__all__ = ["back_up", "copy_all"]

_CHUNK = 20_000


def back_up(path: str, to: str) -> None:
    """Copy a SQLite registry, as it is at one moment, whatever others are doing to it.

    Raises
    ------
    RepositoryError
        The copy cannot be written; nothing is left of it.
    """
    try:
        with (
            contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        with contextlib.suppress(OSError):
            os.unlink(to)
        raise RepositoryError(f"{path} cannot be copied to {to}: {error}") from error


def copy_all(source: Backend, target: Backend, schema: Schema) -> dict[str, int]:
    """Lay out a registry in `target` and fill it with all that `source` has, in one transaction.

    While it goes on nobody can write to `source`, if it is writeable; row IDs stay what they are.

    Returns
    -------
    dict
        Table → rows copied.

    Raises
    ------
    RepositoryError
        One of them cannot be read or written, or not all arrived; nothing is left in `target`.
    """
    there, here = Database(source), Database(target)
    counts: dict[str, int] = {}
    try:
        reading = there.write("copying a registry") if source.writeable else there.read()
        with reading as old, here.write("copying a registry") as new:
            if source.writeable:
                source.lock_catalog(old, schema.meta)
            _check_version(old, schema, source)
            for entry in Catalog(schema, source).current(old).types.values():
                schema.dataset_tables(entry.id, entry.leaves).all()  # makes them known to the schema
            target.prepare(new)
            schema.described().create_all(new, checkfirst=False)
            for table in schema.metadata.sorted_tables:
                counts[table.name] = _copy(old, new, target, table)
                target.number_on(new, table)
    finally:
        there.close()
        here.close()
    return counts


def _check_version(connection: sa.Connection, schema: Schema, backend: Backend) -> None:
    meta = schema.meta
    version = connection.execute(sa.select(meta.c.value).where(meta.c.name == "schema_version")).scalar_one()
    if int(version) != SCHEMA_VERSION:
        raise RepositoryError(
            f"{backend.where} is of schema version {version}; first: supertask registry migrate REPO"
        )


def _copy(old: sa.Connection, new: sa.Connection, target: Backend, table: sa.Table) -> int:
    columns = [c.name for c in table.columns]
    select = sa.select(*table.columns).order_by(*table.primary_key.columns)
    count = 0
    for part in old.execution_options(yield_per=_CHUNK).execute(select).partitions():
        count += target.insert(new, table, columns, [tuple(row) for row in part])
    expected = old.execution_options(yield_per=None).execute(sa.select(sa.func.count()).select_from(table))
    if count != (wanted := expected.scalar_one()):
        raise RepositoryError(f"table {table.name}: of {wanted} rows {count} arrived; nothing was kept")
    return count
