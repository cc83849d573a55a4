"""Upkeep of a repository's registry: to the present schema version, and from one database to another."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import attrs

from supertask.butler.layout import SQLITE_FILE, Layout
from supertask.butler.registry.backend import Backend
from supertask.butler.registry.database import Database
from supertask.butler.registry.location import connect, is_postgres, new, opened_by, sqlite_path, stated
from supertask.butler.registry.migrations import migrate
from supertask.butler.registry.registry import Registry, read_meta
from supertask.butler.registry.schema import SCHEMA_VERSION, Schema
from supertask.butler.registry.transfer import back_up, copy_all
from supertask.errors import RepositoryError, RepositoryVersionError

__all__ = ["Copied", "Migrated", "copy_registry", "migrate_registry"]


@attrs.frozen
class Migrated:
    """What a migration did."""

    before: int
    """Schema version that it found."""
    after: int
    steps: tuple[str, ...]
    backup: str = ""
    """Path of the copy that was made first; empty where there was nothing to do, or of a server."""


@attrs.frozen
class Copied:
    """What a copy did."""

    source: str
    target: str
    """URLs, without passwords."""
    rows: Mapping[str, int]
    """Table → rows."""


def _open(root: str, registry: str | None) -> tuple[Layout, Backend, int, Schema]:
    layout = Layout.read(root)
    backend = connect(registry or layout.registry, root)
    database = Database(backend)
    try:
        version, model = read_meta(database)
    finally:
        database.close()
    if version > SCHEMA_VERSION:
        raise RepositoryVersionError(
            f"{backend.where} is of schema version {version}, and this SuperTask knows versions up to "
            f"{SCHEMA_VERSION}; install a newer SuperTask"
        )
    return layout, backend, version, Schema(model)


def migrate_registry(path: str | Path, *, registry: str | None = None) -> Migrated:
    """Bring a repository's registry to the present schema version.

    Of a SQLite registry a copy is made first, beside it. Done once more it does nothing.

    Parameters
    ----------
    path : path
        Root of the repository.
    registry : str, optional
        URL of its registry, if it is not to be reached as ``supertask.yaml`` says.

    Raises
    ------
    RepositoryError
        It is read-only, or the migration failed: then it is what it was.
    """
    root = os.path.abspath(path)
    layout, backend, version, schema = _open(root, registry)
    if version == SCHEMA_VERSION:
        return Migrated(version, version, ())
    if not backend.writeable:
        raise RepositoryError(f"{backend.where} cannot be migrated: it is read-only ({backend.why_not})")
    backup = ""
    if not is_postgres(layout.registry):
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        file = sqlite_path(layout.registry, root)
        backup = f"{file}.version{version}-{at}"
        back_up(file, backup)
    before, steps = migrate(backend, schema)
    return Migrated(before, SCHEMA_VERSION, tuple(s.what for s in steps), backup)


def copy_registry(path: str | Path, to: str, *, registry: str | None = None) -> Copied:
    """Copy a repository's registry into another database, and have the repository use it from then on.

    Files stay where they are, and the old registry stays as it was. Nobody else may be at work: who has the
    repository open goes on with the old one.

    Parameters
    ----------
    path : path
        Root of the repository.
    to : str
        URL as for `Butler.create`; ``sqlite:`` alone is the usual file in the root.
    registry : str, optional
        URL of the present registry, if it is not to be reached as ``supertask.yaml`` says.

    Raises
    ------
    RepositoryError
        One of them cannot be used: then all is as it was.
    """
    root = os.path.abspath(path)
    layout, source, _, schema = _open(root, registry)
    wanted = f"sqlite:{SQLITE_FILE}" if to == "sqlite:" else to
    target = attrs.evolve(layout, registry=stated(wanted, layout.id))
    if target.registry == layout.registry:
        raise RepositoryError(f"the registry is at {layout.registry} already")
    if not is_postgres(wanted) and os.path.exists(sqlite_path(wanted, root)):
        raise RepositoryError(
            f"there is a registry at {sqlite_path(wanted, root)} already; move it out of the way first"
        )
    url = opened_by(wanted, target.registry)
    with new(url, root) as backend:
        rows = copy_all(source, backend, schema)
    try:
        Registry(connect(url, root)).close()
        target.rewrite(root)
    except BaseException:
        backend.discard()
        raise
    return Copied(layout.registry, target.registry, rows)
