"""Where a registry on PostgreSQL is: a URL, of which the password is never shown nor kept in a file."""

from __future__ import annotations

import re
from typing import Any

import attrs
import sqlalchemy as sa

from supertask.errors import RepositoryError

__all__ = ["PREFIXES", "PostgresUrl"]

PREFIXES = ("postgresql:", "postgresql+", "postgres:")
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")


@attrs.frozen
class PostgresUrl:
    """A database and the schema in it."""

    url: sa.URL = attrs.field(repr=False)
    """Without the schema; its password, if any, is for this process alone."""
    schema: str

    @classmethod
    def parse(cls, text: str, *, schema: str = "") -> PostgresUrl:
        """Take a URL apart: ``postgresql://user@host:port/database?schema=name``.

        Parameters
        ----------
        text : str
            The URL. Further parameters after the ``?`` are libpq's: ``sslmode``, ``service``, ``host`` (a
            folder for a socket).
        schema : str, optional
            Schema where the URL names none.

        Raises
        ------
        RepositoryError
            It is no such URL.
        """
        try:
            url = sa.make_url(text)
            port = url.port
        except (sa.exc.ArgumentError, ValueError):
            # Not quoted: there may be a password in it.
            raise RepositoryError(
                "the registry's URL cannot be understood; write postgresql://USER@HOST:PORT/DATABASE, with "
                "special characters percent-encoded"
            ) from None
        if url.drivername not in {"postgresql", "postgres", "postgresql+psycopg"}:
            raise RepositoryError(
                f"registry {url.drivername}:…: of PostgreSQL's drivers only psycopg is used; write postgresql://…"
            )
        query = dict(url.query)
        named = query.pop("schema", schema)
        if "password" in query:
            raise RepositoryError(
                "the registry's URL: a password does not belong after the '?'; leave it out of the URL and "
                "put it into ~/.pgpass or $PGPASSWORD"
            )
        if not isinstance(named, str) or not _SCHEMA.match(named) or named.startswith("pg_"):
            raise RepositoryError(
                f"registry {url.render_as_string()}: {named!r} is no name for a schema: letters, digits and "
                "underscores, of which the first is no digit, and not pg_…"
            )
        return cls(url.set(drivername="postgresql", query=query, port=port), named)

    def parameters(self) -> dict[str, Any]:
        """Return what libpq needs to connect; what is missing it takes from its environment and files."""
        named = {
            "host": self.url.host,
            "port": self.url.port,
            "user": self.url.username,
            "password": self.url.password,
            "dbname": self.url.database,
        }
        return {**self.url.query, **{name: value for name, value in named.items() if value}}

    @property
    def has_password(self) -> bool:
        """Whether a password was given in the URL."""
        return self.url.password is not None

    def __str__(self) -> str:
        url = self.url
        shown = sa.URL.create(
            url.drivername,
            url.username,
            None,
            url.host,
            url.port,
            url.database,
            {**url.query, "schema": self.schema},
        )
        return shown.render_as_string()
