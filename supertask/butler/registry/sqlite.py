"""SQLite: the registry of a repository that is one folder.

WAL, so that readers and one writer do not wait for each other; ``synchronous=NORMAL``, so that a
crash of the machine may lose the last transactions but never the database's sense; each writing
transaction takes the write lock when it begins, so that none has to give up half-way.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import sqlite3
import tempfile
import urllib.parse
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from supertask.butler.registry.backend import Backend, BulkColumn, Column, ColumnKind, Portion
from supertask.errors import RepositoryError
from supertask.rows import TextColumn

__all__ = ["SqliteBackend"]

_BUSY_SECONDS = 60.0
_BUSY = ("database is locked", "database table is locked", "database schema is locked", "locking protocol")
_EXPLANATIONS = {
    "readonly database": "it is read-only for this user or on this mount",
    "database or disk is full": "the disk is full: make room",
    "disk i/o error": "the disk is full, or it or the mount reports an error",
    "malformed": "the file is damaged: restore it from a copy, or `sqlite3 FILE .recover`",
    "file is not a database": "the file is not a registry",
    "unable to open database file": "the file or its folder cannot be opened by this user",
    "no such table": "it lacks a table: it is no registry, or making it was interrupted",
}


class SqliteBackend(Backend):
    """A registry in one SQLite file.

    Parameters
    ----------
    path : path
        The file.
    writeable : bool
        Whether to write, if the file and folder allow it.
    create : bool
        Whether to make the file.
    """

    in_key_order = True

    def __init__(self, path: str | Path, *, writeable: bool, create: bool = False) -> None:
        self.path = os.path.abspath(path)
        self.where = f"registry {self.path}"
        self._create = create
        self._immutable = False
        self._read_from = self.path
        self._filled: weakref.WeakKeyDictionary[sa.Connection, int] = weakref.WeakKeyDictionary()
        if not create and not os.path.exists(self.path):
            raise RepositoryError(f"the {self.where} is not there")
        folder_open = os.access(os.path.dirname(self.path), os.W_OK)
        may_write = folder_open and (create or os.access(self.path, os.W_OK))
        self.writeable = writeable and may_write
        if not writeable:
            self.why_not = "it was opened with writeable=False"
        elif not may_write:
            self.why_not = "its folder is read-only for this user or on this mount"
        if not folder_open:
            # Readers of a WAL database write beside it to tell others that they are there. Where
            # nobody can write there is nobody to tell, unless a log waits to be read.
            log = f"{self.path}-wal"
            waiting = os.path.exists(log) and os.path.getsize(log) > 0
            self._immutable = not waiting
            if waiting and not os.path.exists(f"{self.path}-shm"):
                self._read_from = self._copy(log)

    def _copy(self, log: str) -> str:
        """Return a copy of the database with the log that a killed writer left: it needs a file beside it."""
        folder = tempfile.mkdtemp(prefix="supertask-registry-")
        self._cleaner = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        copy = os.path.join(folder, os.path.basename(self.path))
        try:
            shutil.copyfile(self.path, copy)
            shutil.copyfile(log, f"{copy}-wal")
        except OSError as error:
            raise RepositoryError(f"{self.where} cannot be copied to {folder} to be read: {error}") from error
        return copy

    def make_engine(self) -> sa.Engine:
        """Return an engine whose connections are set up for us."""
        # (A text would have to be parsed, by a pattern that is compiled for it.)
        url = sa.URL.create("sqlite+pysqlite")
        engine = sa.create_engine(
            url, creator=self._connect, poolclass=sa.QueuePool, pool_size=4, max_overflow=60
        )

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            self.begin(connection, writing=bool(connection.get_execution_options().get("writing")))

        return engine

    def _connect(self) -> sqlite3.Connection:
        mode = "rwc" if self._create else "rw" if self.writeable else "ro"
        if self._read_from != self.path:
            mode = "rw"  # ours alone
        uri = f"file:{urllib.parse.quote(self._read_from)}?mode={mode}" + (
            "&immutable=1" if self._immutable else ""
        )
        connection = sqlite3.connect(
            uri,
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,  # transactions begin where we say
            check_same_thread=False,
            cached_statements=512,
        )
        connection.create_function("supertask_modulo", 2, _modulo, deterministic=True)
        pragmas = ["temp_store=MEMORY", "cache_size=-8192", "foreign_keys=ON"]
        if self.writeable:
            pragmas += ["journal_mode=WAL", "synchronous=NORMAL"]
        try:
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error:  # it is no database
            connection.close()
            raise
        return connection

    def files(self) -> list[str]:
        """Return the database with all that lies beside it under its name."""
        return glob.glob(f"{glob.escape(self.path)}*")

    def begin(self, connection: sa.Connection, *, writing: bool) -> None:
        """Begin a transaction."""
        _run(connection, "BEGIN IMMEDIATE" if writing else "BEGIN")

    def is_busy(self, error: sa.exc.DBAPIError) -> bool:
        """Tell whether another process holds the lock."""
        return any(words in str(error.orig) for words in _BUSY)

    def explain(self, error: sa.exc.DBAPIError) -> str:
        """Return what an error means."""
        said = str(error.orig)
        if self.is_busy(error):
            return (
                f"another process has held its lock for {_BUSY_SECONDS:.0f} s ({said}): try again, or end it"
            )
        for words, meaning in _EXPLANATIONS.items():
            if words in said.lower():
                return f"{meaning} ({said})"
        return said

    def insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
    ) -> int:
        """Insert rows with one statement that is run many times: ten times quicker than rows as dicts."""
        if not rows:
            return 0
        quote = connection.dialect.identifier_preparer.quote
        statement = (
            f"INSERT INTO {quote(table.name)} ({', '.join(quote(c) for c in columns)}) "  # noqa: S608 - our names
            f"VALUES ({', '.join('?' * len(columns))}) ON CONFLICT DO NOTHING"
        )
        return int(connection.exec_driver_sql(statement, list(rows)).rowcount)

    def read(
        self,
        connection: sa.Connection,
        columns: Mapping[str, BulkColumn],
        source: sa.FromClause,
        where: Sequence[sa.ColumnElement[bool]],
    ) -> dict[str, Column]:
        """Read each column as one long text that NumPy parses."""
        aggregates: list[sa.ColumnClause[Any]] = [
            sa.literal_column(text) for text in _aggregates(connection, columns)
        ]
        row = connection.execute(sa.select(*aggregates).select_from(source).where(*where)).one()
        return _parsed(columns, row)

    def page(
        self,
        connection: sa.Connection,
        columns: Mapping[str, BulkColumn],
        table: sa.TableClause,
        low: int,
        high: int,
    ) -> dict[str, Column]:
        """Read so with a statement that is spelt out, as a plan reads many tables once each.

        To compile it costs several times what it does on tables of thousands of rows.
        """
        quote = connection.dialect.identifier_preparer
        name = quote.format_column(table.c.id, use_table=True)
        aggregates = ", ".join(_aggregates(connection, columns))
        statement = f"SELECT {aggregates} FROM {quote.format_table(table)} WHERE {name} > ? AND {name} <= ?"  # noqa: S608 - our names
        return _parsed(columns, _run(connection, statement, (low, high)).fetchone())

    def ask(self, connection: sa.Connection, statement: str, *values: int) -> Sequence[Sequence[Any]]:
        """Return the rows of a statement that is spelt out, with a ``?`` for each of `values`."""
        return _run(connection, statement, values).fetchall()

    def pick(self, connection: sa.Connection, ids: npt.NDArray[np.int64]) -> Portion:
        """Put these IDs in a temporary table."""
        # Named alike in every transaction, so that statements on it are compiled once.
        number = self._filled[connection] = self._filled.get(connection, 0) + 1
        table = sa.table(f"picked_{number}", sa.column("n", sa.Integer), sa.column("id", sa.Integer))
        quoted = connection.dialect.identifier_preparer.quote(table.name)
        connection.exec_driver_sql(f"CREATE TEMP TABLE {quoted} (n INTEGER PRIMARY KEY, id INTEGER NOT NULL)")
        # One array in JSON is a third of the cost of a row each.
        connection.exec_driver_sql(
            f"INSERT INTO {quoted} (id) SELECT value FROM json_each(?)",  # noqa: S608 - our name
            (f"[{','.join(map(str, ids.tolist()))}]",),
        )
        return lambda low, high: (table, [table.c.n > low, table.c.n <= high])

    def join_order(
        self, driver: sa.FromClause, other: sa.FromClause, on: sa.ColumnElement[bool]
    ) -> sa.FromClause:
        """Return a cross join, the only one whose order SQLite's optimizer keeps."""
        if isinstance(other, sa.Join):
            # Joins are spelt from left to right, without parentheses.
            first = self.join_order(driver, other.left, on)
            return type(other)(first, other.right, other.onclause, isouter=other.isouter)
        return _CrossJoin(driver, other, on)

    def glob(self, operand: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        """Return SQLite's GLOB."""
        return operand.op("GLOB", is_comparison=True)(sa.literal(_glob(pattern), sa.Text))

    def modulo(self, a: sa.ColumnElement[Any], b: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Return the remainder as Python and NumPy take it; SQLite's ``%`` makes integers of floats."""
        return sa.func.supertask_modulo(a, b)


def _run(connection: sa.Connection, statement: str, values: tuple[int, ...] = ()) -> sqlite3.Cursor:
    """Run a statement on the driver itself; what SQLAlchemy does around it takes longer than most of them."""
    driver: Any = connection.connection.driver_connection
    try:
        found: sqlite3.Cursor = driver.execute(statement, values)
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance(statement, values, error, sqlite3.Error) from error
    return found


def _modulo(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else a % b


class _CrossJoin(sa.Join):
    inherit_cache = True


@compiles(_CrossJoin)
def _cross_join(join: sa.Join, compiler: Any, **kwargs: Any) -> str:
    kwargs["asfrom"] = True
    left = compiler.process(join.left, **kwargs)
    right = compiler.process(join.right, **kwargs)
    return f"{left} CROSS JOIN {right} ON {compiler.process(join.onclause, **kwargs)}"


def _aggregates(connection: sa.Connection, columns: Mapping[str, BulkColumn]) -> list[str]:
    """Return what makes one text of each column."""
    quote = connection.dialect.identifier_preparer
    return [_aggregate(c, quote.format_column(c.expression, use_table=True)) for c in columns.values()]


def _aggregate(column: BulkColumn, value: str) -> str:
    # group_concat passes over nulls, and columns would no longer be aligned.
    if column.kind is ColumnKind.INT:
        return f"group_concat(coalesce({value}, -1))" if column.nullable else f"group_concat({value})"
    if column.kind is ColumnKind.NULL:
        return f"group_concat({value} IS NULL)"
    if column.kind is ColumnKind.FLOAT:
        # 17 significant digits should give back every float64; SQLite needs a few more.
        return f"group_concat(CASE WHEN {value} IS NULL THEN 'nan' ELSE printf('%!.20g', {value}) END)"
    if column.kind is ColumnKind.DIGEST:
        return f"CAST(group_concat({value}, '') AS BLOB)"
    text = f"coalesce({value}, '')" if column.nullable else value
    return f"CAST(group_concat({text}, char(0)) AS BLOB)"


def _parsed(columns: Mapping[str, BulkColumn], row: Sequence[Any]) -> dict[str, Column]:
    read = {name: _parse(column, text) for (name, column), text in zip(columns.items(), row, strict=True)}
    if len({len(column) for column in read.values()}) > 1:
        raise RuntimeError(f"columns of different length were read: {', '.join(read)}")
    return read


def _parse(column: BulkColumn, text: Any) -> Column:
    if column.kind is ColumnKind.TEXT:
        return TextColumn() if text is None else TextColumn(text + b"\0")
    if column.kind is ColumnKind.DIGEST:
        return np.frombuffer(text or b"", np.uint8).reshape(-1, 16)
    if column.kind is ColumnKind.FLOAT:
        return np.fromstring(text or "", np.float64, sep=",")
    ints = np.fromstring(text or "", np.int64, sep=",")
    return ints.astype(bool) if column.kind is ColumnKind.NULL else ints


_SET = re.compile(r"\[(!?)(\]?[^\]]*)\]")


def _glob(pattern: str) -> str:
    """Return a pattern of Python's `fnmatch` as SQLite spells it."""
    out, i = [], 0
    while i < len(pattern):
        found = _SET.match(pattern, i)
        if found:
            negated, inside = found.groups()
            # '^' negates at the front of a set and nowhere else; '!' never does.
            if inside.startswith("^") and not negated:
                inside = inside[1:] + "^" if len(inside) > 1 else "^"
            out.append("^" if inside == "^" and not negated else f"[{'^' if negated else ''}{inside}]")
            i = found.end()
        else:
            out.append("[[]" if pattern[i] == "[" else pattern[i])
            i += 1
    return "".join(out)
