"""Where a registry is, as ``supertask.yaml`` and the command line write it, and the backend for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from supertask.butler.registry.backend import Backend
from supertask.butler.registry.postgresurl import PREFIXES, PostgresUrl
from supertask.butler.registry.sqlite import SqliteBackend
from supertask.errors import RepositoryError

if TYPE_CHECKING:
    from supertask.butler.registry.postgres import PostgresBackend

__all__ = ["TEMPORARY_PREFIX", "connect", "is_postgres", "new", "opened_by", "sqlite_path", "stated"]

TEMPORARY_PREFIX = ".tmp-"
"""What is half written begins so."""
_SQLITE = "sqlite:"


def is_postgres(url: str) -> bool:
    """Tell whether a URL names a PostgreSQL database."""
    return url.startswith(PREFIXES)


def stated(url: str, repository_id: str) -> str:
    """Return a registry's URL as it is kept: with its schema, without a password."""
    if is_postgres(url):
        return str(PostgresUrl.parse(url, schema=f"supertask_{repository_id[:12]}"))
    return url


def opened_by(given: str | None, kept: str) -> str:
    """Return the URL to connect to: that which is kept, with the password that was given with another."""
    if given is None or not is_postgres(given):
        return kept
    password = PostgresUrl.parse(given, schema="public").url.password
    return sa.make_url(kept).set(password=password).render_as_string(hide_password=False)


def sqlite_path(url: str, root: str) -> str:
    """Return the path in a ``sqlite:`` URL.

    Raises
    ------
    RepositoryError
        It is a URL of something else.
    """
    if not url.startswith(_SQLITE):
        # Its first word alone: there may be a password further on.
        raise RepositoryError(
            f"registry {url.partition(':')[0]!r}:…: only SQLite and PostgreSQL are known; write 'sqlite:' "
            f"and a path, absolute or relative to {root}, or 'postgresql://USER@HOST/DATABASE'"
        )
    return os.path.join(root, url.removeprefix(_SQLITE).removeprefix("///"))


def connect(url: str, root: str, *, writeable: bool = True) -> Backend:
    """Return the backend for a registry that is there."""
    if is_postgres(url):
        return _postgres(url, writeable=writeable)
    return SqliteBackend(sqlite_path(url, root), writeable=writeable)


@contextlib.contextmanager
def new(url: str, root: str) -> Iterator[Backend]:
    """Give a backend on which to lay out a registry, and put the registry in its place after.

    Raises
    ------
    RepositoryError
        There is a registry of another repository.
    """
    if is_postgres(url):
        yield _postgres(url, writeable=True)
        return
    final = sqlite_path(url, root)
    if os.path.exists(final) and os.path.dirname(final) != os.path.abspath(root):
        raise RepositoryError(f"there is a registry at {final} already; give another path, or delete it")
    os.makedirs(os.path.dirname(final), exist_ok=True)
    temporary = os.path.join(
        os.path.dirname(final), f"{TEMPORARY_PREFIX}{os.getpid()}-{os.path.basename(final)}"
    )
    try:
        yield SqliteBackend(temporary, writeable=True, create=True)
        os.replace(temporary, final)
    finally:
        for suffix in ("", "-wal", "-shm"):
            Path(temporary + suffix).unlink(missing_ok=True)


def _postgres(url: str, *, writeable: bool) -> PostgresBackend:
    from supertask.butler.registry.postgres import PostgresBackend

    return PostgresBackend(PostgresUrl.parse(url), writeable=writeable)
