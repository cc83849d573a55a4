"""The backend port: the few things in which one database differs from another.

All SQL is SQLAlchemy Core, but for three jobs at which each database has its own fast way: writing
many rows, reading many rows into columns, and handing over many IDs to be looked up; and for the few
statements that open a repository, which are spelt out.

Writers may be alone (SQLite) or many (PostgreSQL). So that many get into no deadlock, a transaction first
changes the catalog, if it must, with `lock_catalog` held; then inserts rows in the order of their unique
keys, table after table in the order of names; then updates rows in the order of their IDs.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from supertask.rows import TextColumn

__all__ = ["Backend", "BulkColumn", "Column", "ColumnKind", "Portion"]

Column = npt.NDArray[Any] | TextColumn
Portion = Callable[[int, int], tuple[sa.FromClause, Sequence[sa.ColumnElement[bool]]]]
"""Gives of IDs handed to the database those after `low` up to `high`: a table with the column ``id``, and
what else a query on it must ask for."""


class ColumnKind(enum.Enum):
    """What a column read in bulk holds, and what it becomes."""

    INT = "int"
    """int64; nulls become -1."""
    TEXT = "text"
    """`TextColumn`; nulls become empty."""
    DIGEST = "digest"
    """uint8, shape (n, 16); never null."""
    FLOAT = "float"
    """float64; nulls become NaN."""
    NULL = "null"
    """bool: whether the expression is null."""


@attrs.frozen(eq=False)
class BulkColumn:
    """A column to be read in bulk."""

    expression: sa.ColumnElement[Any]
    """Of a table or an alias of one."""
    kind: ColumnKind = ColumnKind.INT

    @property
    def nullable(self) -> bool:
        """Whether it may be null; what is not known never to be is taken to be."""
        return bool(getattr(self.expression, "nullable", True))


class Backend(abc.ABC):
    """A kind of database."""

    writeable: bool
    """Whether this connection may write."""
    why_not: str = ""
    """If not: why, for messages."""
    in_key_order = False
    """Whether rows of a range of keys come in the order of the key, so that it need not be read."""
    where: str
    """What to call the database in messages."""

    @abc.abstractmethod
    def make_engine(self) -> sa.Engine:
        """Return an engine whose connections are set up for us."""

    def look(self, connection: sa.Connection) -> None:  # noqa: B027 - not all databases need it
        """Find out, on the first connection to a registry that is there, whether it may be written to."""

    def prepare(self, connection: sa.Connection) -> None:  # noqa: B027 - not all databases need it
        """Make room for a new registry, in the transaction that will lay it out."""

    def files(self) -> list[str]:
        """Return the absolute paths of files that belong to the registry."""
        return []

    def discard(self) -> None:  # noqa: B027 - not all databases need it
        """Remove what `prepare` made, since it has come to nothing."""

    def lock_catalog(self, connection: sa.Connection, meta: sa.Table) -> None:  # noqa: B027 - not all databases need it
        """Wait until no other writer is changing the catalog, and keep others from it until the end."""

    def number_on(self, connection: sa.Connection, table: sa.Table) -> None:  # noqa: B027 - as above
        """Go on numbering a table's rows after those that were inserted with their numbers."""

    @abc.abstractmethod
    def begin(self, connection: sa.Connection, *, writing: bool) -> None:
        """Begin a transaction; what a reader sees in one does not change."""

    @abc.abstractmethod
    def is_busy(self, error: sa.exc.DBAPIError) -> bool:
        """Tell whether an error means that others are at it, so that trying again helps."""

    @abc.abstractmethod
    def explain(self, error: sa.exc.DBAPIError) -> str:
        """Return what an error means, for people, with the way out where there is one."""

    @abc.abstractmethod
    def insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
    ) -> int:
        """Insert rows, passing over those whose unique key is there already.

        Returns
        -------
        int
            How many were new.
        """

    @abc.abstractmethod
    def read(
        self,
        connection: sa.Connection,
        columns: Mapping[str, BulkColumn],
        source: sa.FromClause,
        where: Sequence[sa.ColumnElement[bool]],
    ) -> dict[str, Column]:
        """Read columns of one query, aligned, with no Python object per row. Order is not promised."""

    def ask(self, connection: sa.Connection, statement: str, *values: int) -> Sequence[Sequence[Any]]:
        """Return the rows of a statement that is spelt out, with a ``?`` for each of `values`."""
        return connection.exec_driver_sql(statement.replace("?", "%s"), values).all()

    def page(
        self,
        connection: sa.Connection,
        columns: Mapping[str, BulkColumn],
        table: sa.TableClause,
        low: int,
        high: int,
    ) -> dict[str, Column]:
        """Read columns of a table in the rows whose ID is above `low` and not above `high`."""
        return self.read(connection, columns, table, [table.c.id > low, table.c.id <= high])

    @abc.abstractmethod
    def pick(self, connection: sa.Connection, ids: npt.NDArray[np.int64]) -> Portion:
        """Hand over IDs to be looked up in portions, until the transaction ends."""

    @abc.abstractmethod
    def join_order(
        self, driver: sa.FromClause, other: sa.FromClause, on: sa.ColumnElement[bool]
    ) -> sa.FromClause:
        """Return a join for which each row of `driver` is looked up in `other`, not the reverse."""

    @abc.abstractmethod
    def glob(self, operand: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        """Return the condition that a string matches a shell pattern, case counting."""

    @abc.abstractmethod
    def modulo(self, a: sa.ColumnElement[Any], b: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Return the remainder of a division that takes the sign of the divisor, null for a zero divisor."""
