"""PostgreSQL: the registry of a team, in a schema of its own of a database that many use at once.

Writers are held up only by those who write the very same rows (see `backend` for why none deadlocks); a
reader sees one moment from its first look to its last. Columns cross over in binary: towards the client
each as one aggregate of bytes that NumPy takes as it is, towards the server as arrays to be unnested.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from supertask.butler.registry.backend import Backend, BulkColumn, Column, ColumnKind, Portion
from supertask.butler.registry.postgresfaults import explain
from supertask.butler.registry.postgresurl import PostgresUrl
from supertask.errors import RepositoryError
from supertask.rows import TextColumn

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresBackend"]

_CHUNK = 20_000
"""Rows sent in one statement."""
_BUSY = ("40001", "40P01", "55P03")
_DEFAULTS = {
    "application_name": "supertask",
    "connect_timeout": "15",
    "keepalives_idle": "30",
    # A network that is gone is noticed after a minute of silence, not after a quarter of an hour.
    "tcp_user_timeout": "60000",
}
# What is wanted is always a look-up in an index: whether scanning is cheaper was decided before, from what is
# known of the selection, and statistics of the tables may be missing or old.
_SETTINGS = (
    "SET jit = off",
    "SET plan_cache_mode = force_custom_plan",
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET lock_timeout = '180s'",
    "SET client_min_messages = warning",
)


class PostgresBackend(Backend):
    """A registry in a schema of a PostgreSQL database.

    Parameters
    ----------
    url : PostgresUrl
        Which one.
    writeable : bool
        Whether to write, if this user may.

    Raises
    ------
    RepositoryError
        The library for it is not installed.
    """

    def __init__(self, url: PostgresUrl, *, writeable: bool) -> None:
        self.url = url
        self.where = f"registry {url}"
        self.writeable = writeable
        if not writeable:
            self.why_not = "it was opened with writeable=False"
        self._library = _load(url)
        self._made_schema = False

    # -- connections and transactions -----------------------------------------------------------

    def make_engine(self) -> sa.Engine:
        """Return an engine whose connections are set up for us."""
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            poolclass=sa.QueuePool,
            pool_size=4,
            max_overflow=60,
            use_native_hstore=False,
        )

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            self.begin(connection, writing=bool(connection.get_execution_options().get("writing")))

        return engine

    def _connect(self) -> psycopg.Connection[Any]:
        library = self._library

        class Binary(library.Cursor[Any]):  # type: ignore[name-defined, misc]
            """Asks for everything in binary: half the bytes, and numbers need not be read as text."""

            def __init__(self, connection: Any, *, row_factory: Any = None) -> None:
                super().__init__(connection, row_factory=row_factory or library.rows.tuple_row)
                self.format = library.pq.Format.BINARY

        # Transactions begin where we say, so that readers' and writers' can differ.
        connection = library.connect(**(_DEFAULTS | self.url.parameters()), autocommit=True)
        try:
            connection.cursor_factory = Binary
            connection.adapters.register_dumper(np.ndarray, _array_dumper(library))
            path = library.sql.SQL("SET search_path TO {}").format(library.sql.Identifier(self.url.schema))
            connection.execute(path)
            for setting in _SETTINGS:
                connection.execute(setting)
        except library.Error:
            connection.close()
            raise
        made: psycopg.Connection[Any] = connection
        return made

    def look(self, connection: sa.Connection) -> None:
        """Find out whether this user may write to the registry, on this server."""
        if not self.writeable:
            return
        question = (
            "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on', "
            "has_table_privilege('meta', 'UPDATE'), current_user::text"
        )
        standby, read_only, may_write, user = connection.exec_driver_sql(question).one()
        if standby:
            self.why_not = "the server is a standby, which only follows another"
        elif read_only:
            self.why_not = "transactions are read-only by default for this user or database"
        elif not may_write:
            self.why_not = f"user {user!r} has no right to write to it"
        self.writeable = not self.why_not

    def prepare(self, connection: sa.Connection) -> None:
        """Make the schema, if it is not there; one with a registry in it is refused."""
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise RepositoryError(
                f"{self.where}: the database keeps text as {encoding}, and must as UTF8: make one with "
                "createdb --encoding=UTF8 --template=template0"
            )
        quoted = connection.dialect.identifier_preparer.quote(self.url.schema)
        there = connection.execute(
            sa.text("SELECT 1 FROM information_schema.schemata WHERE schema_name = :name"),
            {"name": self.url.schema},
        ).scalar()
        if not there:
            connection.exec_driver_sql(f"CREATE SCHEMA {quoted}")
            self._made_schema = True
        if sa.inspect(connection).has_table("meta", schema=self.url.schema):
            raise RepositoryError(
                f"{self.where}: there is a registry in this schema already; choose another with "
                f"?schema=NAME, or, if it is of use to nobody, DROP SCHEMA {quoted} CASCADE"
            )

    def discard(self) -> None:
        """Remove the schema if `prepare` made it; if that is not possible it is left over."""
        if self._made_schema:
            drop = self._library.sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE")
            with contextlib.suppress(self._library.Error), self._connect() as connection:
                connection.execute(drop.format(self._library.sql.Identifier(self.url.schema)))

    def number_on(self, connection: sa.Connection, table: sa.Table) -> None:
        """Set the sequence that rows are numbered by."""
        quoted = connection.dialect.identifier_preparer.quote(table.name)
        if "id" in table.c:
            connection.exec_driver_sql(
                "SELECT setval(pg_get_serial_sequence(%s, 'id'), max(id)) FROM "  # noqa: S608 - our names
                f"{quoted} HAVING max(id) IS NOT NULL",
                (quoted,),
            )

    def begin(self, connection: sa.Connection, *, writing: bool) -> None:
        """Begin a transaction."""
        connection.exec_driver_sql(
            "BEGIN READ WRITE" if writing else "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
        )

    def lock_catalog(self, connection: sa.Connection, meta: sa.Table) -> None:
        """Lock the row that every change of the catalog writes to."""
        connection.execute(sa.select(meta.c.value).where(meta.c.name == "catalog").with_for_update())

    def is_busy(self, error: sa.exc.DBAPIError) -> bool:
        """Tell whether the transaction gave way to another."""
        return getattr(error.orig, "sqlstate", None) in _BUSY

    def explain(self, error: sa.exc.DBAPIError) -> str:
        """Return what an error means."""
        return explain(error, self.url)

    # -- in bulk --------------------------------------------------------------------------------

    def insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
    ) -> int:
        """Insert rows as one array for each column."""
        if not rows:
            return 0
        quote = connection.dialect.identifier_preparer.quote
        names = ", ".join(map(quote, columns))
        arrays = ", ".join(f"%s::{_TYPES[_kind(table.c[c])]}[]" for c in columns)
        # Rows that are there are passed over twice: once before they would draw a number, so that numbers
        # stay dense, and once more for what others insert meanwhile.
        same = " AND ".join(f"t.{quote(c)} = v.{quote(c)}" for c in _unique_key(table))
        # As a scalar it is looked up row by row, in an index; a join would be planned from statistics,
        # which a table that is being filled has not got.
        there = f"(SELECT 1 FROM {quote(table.name)} t WHERE {same} LIMIT 1)"  # noqa: S608 - our names
        missing = f"WHERE {there} IS NULL" if same else ""
        statement = (
            f"INSERT INTO {quote(table.name)} ({names}) SELECT {', '.join(f'v.{quote(c)}' for c in columns)} "  # noqa: S608 - our names
            f"FROM unnest({arrays}) WITH ORDINALITY AS v ({names}, row_number_) {missing} "
            "ORDER BY row_number_ ON CONFLICT DO NOTHING"
        )
        new = 0
        for first in range(0, len(rows), _CHUNK):
            values = zip(*rows[first : first + _CHUNK], strict=True)
            sent = tuple(_sent(_kind(table.c[c]), v) for c, v in zip(columns, values, strict=True))
            new += connection.exec_driver_sql(statement, sent).rowcount
        return new

    def read(
        self,
        connection: sa.Connection,
        columns: Mapping[str, BulkColumn],
        source: sa.FromClause,
        where: Sequence[sa.ColumnElement[bool]],
    ) -> dict[str, Column]:
        """Read each column as one string of bytes."""
        select = sa.select(*(_aggregate(column) for column in columns.values())).select_from(source)
        row = connection.execute(select.where(*where)).one()
        return {
            name: _parse(column.kind, data) for (name, column), data in zip(columns.items(), row, strict=True)
        }

    def pick(self, connection: sa.Connection, ids: npt.NDArray[np.int64]) -> Portion:
        """Send each portion with the query that wants it: readers may not even make a temporary table."""

        def portion(low: int, high: int) -> tuple[sa.FromClause, Sequence[sa.ColumnElement[bool]]]:
            sent = sa.bindparam("picked", ids[low:high], type_=_Ids(), unique=True)
            table = sa.func.unnest(sent).table_valued(sa.column("id", sa.BigInteger), name="picked")
            return table.render_derived(), []

        return portion

    def join_order(
        self, driver: sa.FromClause, other: sa.FromClause, on: sa.ColumnElement[bool]
    ) -> sa.FromClause:
        """Return a plain join: without hashes and merges nothing but looking up is left to the planner."""
        return sa.join(driver, other, on)

    def glob(self, operand: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        """Return a match of a regular expression."""
        return operand.op("~", is_comparison=True)(sa.literal(_regex(pattern), sa.Text))

    def modulo(self, a: sa.ColumnElement[Any], b: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Return the remainder as Python and NumPy take it; PostgreSQL's takes the sign of the dividend."""
        divisor = sa.func.nullif(b, 0, type_=b.type)
        if isinstance(a.type, sa.Integer) and isinstance(b.type, sa.Integer):
            return (a % divisor + divisor) % divisor
        return a - divisor * sa.func.floor(a / sa.cast(divisor, sa.Double))


def _load(url: PostgresUrl) -> Any:
    try:
        import psycopg
        import psycopg.sql
    except ImportError as error:
        raise RepositoryError(
            f"the registry {url} is a PostgreSQL database, for which psycopg is needed ({error}): "
            "pip install 'supertask[postgres]'"
        ) from None
    return psycopg


# -- from the client ------------------------------------------------------------------------------

_TYPES = {"int": "bigint", "bool": "smallint", "float": "float8", "text": "text", "bytes": "bytea"}
_INT8, _INT8_ARRAY = 20, 1016
_HEAD = np.dtype(
    [("dimensions", ">i4"), ("nulls", ">i4"), ("type", ">i4"), ("length", ">i4"), ("first", ">i4")]
)
_ITEM = np.dtype([("length", ">i4"), ("value", ">i8")])


class _Ids(UserDefinedType[Any]):
    """An array of row IDs as NumPy has it."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return what SQL calls it."""
        return "BIGINT[]"


def _array_dumper(library: Any) -> type:
    class Dumper(library.adapt.Dumper):  # type: ignore[misc]
        """Sends an array of integers as PostgreSQL has it in memory."""

        format = library.pq.Format.BINARY
        oid = _INT8_ARRAY

        def dump(self, obj: npt.NDArray[np.int64]) -> bytes:
            head = np.array((1, 0, _INT8, len(obj), 1), _HEAD)
            items = np.empty(len(obj), _ITEM)
            items["length"] = 8
            items["value"] = obj
            return head.tobytes() + items.tobytes()

    return Dumper


def _kind(column: sa.Column[Any]) -> str:
    kinds = ((sa.Boolean, "bool"), (sa.Float, "float"), (sa.LargeBinary, "bytes"), (sa.Text, "text"))
    return next((name for kind, name in kinds if isinstance(column.type, kind)), "int")


def _sent(kind: str, values: tuple[Any, ...]) -> Any:
    if kind == "int" and None not in values:
        return np.array(values, np.int64)
    if kind == "bool":
        return [None if v is None else int(v) for v in values]
    if kind == "float":
        return [None if v is None else float(v) for v in values]
    return list(values)


def _unique_key(table: sa.Table) -> list[str]:
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            return [c.name for c in constraint.columns]
    return [] if "id" in table.c else [c.name for c in table.primary_key.columns]


# -- to the client --------------------------------------------------------------------------------

_NOTHING: sa.ColumnElement[Any] = sa.literal_column("''::bytea")
_ZERO: sa.ColumnElement[Any] = sa.literal_column("'\\x00'::bytea")


def _aggregate(column: BulkColumn) -> sa.ColumnElement[Any]:
    # string_agg passes over nulls, and columns would no longer be aligned.
    value = column.expression

    def known(instead: Any) -> sa.ColumnElement[Any]:
        return sa.func.coalesce(value, instead) if column.nullable else value

    parts: dict[ColumnKind, Callable[[], sa.ColumnElement[Any]]] = {
        ColumnKind.INT: lambda: sa.func.int8send(sa.cast(known(-1), sa.BigInteger)),
        ColumnKind.NULL: lambda: sa.func.boolsend(value.is_(None)),
        ColumnKind.FLOAT: lambda: sa.func.float8send(
            sa.cast(known(sa.literal_column("'NaN'::float8")), sa.Double)
        ),
        ColumnKind.DIGEST: lambda: value,
        ColumnKind.TEXT: lambda: sa.func.convert_to(known(""), "UTF8"),
    }
    between = _ZERO if column.kind is ColumnKind.TEXT else _NOTHING
    return sa.func.string_agg(parts[column.kind](), between, type_=sa.LargeBinary)


def _parse(kind: ColumnKind, data: bytes | None) -> Column:
    if kind is ColumnKind.TEXT:
        return TextColumn() if data is None else TextColumn(data + b"\0")
    if kind is ColumnKind.DIGEST:
        return np.frombuffer(data or b"", np.uint8).reshape(-1, 16)
    if kind is ColumnKind.NULL:
        return np.frombuffer(data or b"", np.uint8).astype(bool)
    if kind is ColumnKind.FLOAT:
        return np.frombuffer(data or b"", ">f8").astype(np.float64)
    return np.frombuffer(data or b"", ">i8").astype(np.int64)


_SET = re.compile(r"\[(!?)(\]?[^\]]*)\]")


def _regex(pattern: str) -> str:
    """Return a pattern of Python's `fnmatch` as a regular expression of PostgreSQL."""
    out, i = [], 0
    while i < len(pattern):
        found = _SET.match(pattern, i)
        if found:
            negated, inside = found.groups()
            out.append(f"[{'^' if negated else ''}{_members(inside)}]")
            i = found.end()
        else:
            out.append({"*": ".*", "?": "."}.get(pattern[i]) or _character(pattern[i]))
            i += 1
    return f"^{''.join(out)}$"


def _members(inside: str) -> str:
    """Return what stands in brackets, each character by its number, so that none means anything."""
    out, i = [], 0
    while i < len(inside):
        if i + 2 < len(inside) and inside[i + 1] == "-":
            out.append(f"{_character(inside[i])}-{_character(inside[i + 2])}")
            i += 3
        else:
            out.append(_character(inside[i]))
            i += 1
    return "".join(out)


def _character(c: str) -> str:
    return f"\\U{ord(c):08x}"
