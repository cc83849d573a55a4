"""From an older schema of the registry to the present one, a version at a time, in one transaction.

A registry that only lacks what makes it quicker is used as it is; one that lacks what this software cannot do
without is refused until it was migrated.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex

from supertask.butler.registry.backend import Backend
from supertask.butler.registry.database import Database
from supertask.butler.registry.schema import SCHEMA_VERSION, Schema
from supertask.errors import RepositoryError, RepositoryVersionError
from supertask.units import FieldKind

__all__ = ["MIGRATIONS", "Migration", "check_version", "migrate", "pending"]


@attrs.frozen
class Migration:
    """A step from one schema version to the next."""

    to: int
    """The version that it leads to."""
    what: str
    """What it does, for people."""
    apply: Callable[[sa.Connection, Schema], None] = attrs.field(eq=False)
    """Does it, in the transaction of the connection."""
    needed: bool = True
    """Whether this software cannot use a registry without it."""


def _index_numbers(connection: sa.Connection, schema: Schema) -> None:
    for unit in schema.model:
        numbers = {f.name for f in unit.fields if f.kind in (FieldKind.INT, FieldKind.FLOAT)}
        for index in schema.units[unit.name].indexes:
            if numbers & {c.name for c in index.columns}:
                connection.execute(CreateIndex(index, if_not_exists=True))


MIGRATIONS = (Migration(2, "indices on fields of units that hold numbers", _index_numbers, needed=False),)


def pending(version: int) -> tuple[Migration, ...]:
    """Return what leads from a version to the present one, in order."""
    return tuple(m for m in MIGRATIONS if m.to > version)


def check_version(version: int, where: str) -> None:
    """Raise an error if a registry of this version cannot be used as it is.

    Raises
    ------
    RepositoryVersionError
        It is newer than this software, or has to be migrated first.
    RepositoryError
        It has no version.
    """
    if version > SCHEMA_VERSION:
        raise RepositoryVersionError(
            f"{where} is of schema version {version}, and this SuperTask knows versions up to "
            f"{SCHEMA_VERSION}; install a newer SuperTask to use it"
        )
    if version < 1:
        raise RepositoryError(f"{where} is no registry: it states no schema version")
    lacking = [m.what for m in pending(version) if m.needed]
    if lacking:
        raise RepositoryVersionError(
            f"{where} is of schema version {version}, and lacks {', '.join(lacking)}; bring it to version "
            f"{SCHEMA_VERSION} with: supertask registry migrate REPO"
        )


def migrate(backend: Backend, schema: Schema) -> tuple[int, tuple[Migration, ...]]:
    """Bring a registry to the present version, all the way or not at all.

    Returns
    -------
    version : int
        What it was before.
    done : tuple of Migration
        What was done.
    """
    meta = schema.meta
    database = Database(backend)
    try:
        with database.write("migrating a registry") as connection:
            backend.lock_catalog(connection, meta)
            mine = meta.c.name == "schema_version"
            # Asked again, now that nobody else can be at it.
            version = int(connection.execute(sa.select(meta.c.value).where(mine)).scalar_one())
            steps = pending(version)
            for step in steps:
                step.apply(connection, schema)
                connection.execute(sa.update(meta).where(mine).values(value=str(step.to)))
    finally:
        database.close()
    return version, steps
