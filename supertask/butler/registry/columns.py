"""Rows of a table in columns, narrowed by IDs: by looking up where few are wanted, else by scanning.

What is admitted comes as arrays of row IDs. The most selective one that an index serves drives the
query from a table of its own, so that its cost is that of what is found, however large the table;
the others, and all of them where none is selective, are applied to the columns with NumPy, which
costs nanoseconds a row. Rows are read in pages, so that text and columns are never in memory twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from supertask.butler.registry.backend import Backend, BulkColumn, Column, ColumnKind
from supertask.rows import TextColumn

__all__ = ["IdFilter", "concatenate", "greatest", "ids_in", "read_table", "take"]

_PAGE = 1 << 16
"""Rows aimed at for one page."""
_SELECTIVE = 0.5
"""Part of all IDs from which on scanning is cheaper than looking up."""
_SMALL = 1 << 14
"""Rows of a table that is scanned in any case."""
_DENSE = 1 << 27


@attrs.frozen(eq=False)
class IdFilter:
    """Admits the rows whose value in a column of row IDs is among some."""

    name: str
    """The column, as the caller names it."""
    column: sa.ColumnElement[Any]
    ids: npt.NDArray[np.int64]
    """Sorted."""
    total: int
    """Of how many."""
    null_passes: bool = False
    """Whether rows pass where the column is null."""

    @property
    def part(self) -> float:
        """What part of all there are is admitted."""
        return len(self.ids) / max(self.total, 1)

    def admits(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which values are admitted."""
        admitted = ids_in(values, self.ids)
        return admitted | (values < 0) if self.null_passes else admitted


def ids_in(values: npt.NDArray[np.int64], ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which of `values` (-1 is null) are among `ids`, sorted; by a table of flags if that is short."""
    if not len(ids):
        return np.zeros(len(values), bool)
    last = int(ids[-1])
    if last > _DENSE:
        at = np.minimum(np.searchsorted(ids, values), len(ids) - 1)
        found: npt.NDArray[np.bool_] = ids[at] == values
        return found
    flags = np.zeros(last + 2, bool)
    flags[ids] = True
    # What lies beyond is put on the last place, which no ID has; so is -1 by its sign.
    return flags[np.minimum(values, last + 1)] & (values >= 0)


def take(columns: Mapping[str, Column], rows: npt.NDArray[Any]) -> dict[str, Column]:
    """Return some rows (a mask or positions) of every column."""
    return {name: column[rows] for name, column in columns.items()}


def concatenate(
    parts: Sequence[Mapping[str, Column]], columns: Mapping[str, BulkColumn]
) -> dict[str, Column]:
    """Return pages end to end."""
    out: dict[str, Column] = {}
    for name, column in columns.items():
        pages = [part[name] for part in parts]
        if column.kind is ColumnKind.TEXT:
            out[name] = TextColumn.concatenate([p for p in pages if isinstance(p, TextColumn)])
        elif pages:
            out[name] = pages[0] if len(pages) == 1 else np.concatenate(pages)
        else:
            out[name] = _EMPTY[column.kind]
    return out


_EMPTY: dict[ColumnKind, npt.NDArray[Any]] = {
    ColumnKind.INT: np.empty(0, np.int64),
    ColumnKind.FLOAT: np.empty(0, np.float64),
    ColumnKind.NULL: np.empty(0, bool),
    ColumnKind.DIGEST: np.empty((0, 16), np.uint8),
}


def read_table(
    connection: sa.Connection,
    backend: Backend,
    columns: Mapping[str, BulkColumn],
    *,
    table: sa.TableClause,
    source: sa.FromClause | None = None,
    filters: Sequence[IdFilter] = (),
    where: Sequence[sa.ColumnElement[bool]] = (),
    indexed: bool = False,
) -> dict[str, Column]:
    """Read columns of a table, or of a join.

    Parameters
    ----------
    connection, backend
        Where to read.
    columns : Mapping
        What to read.
    table : TableClause
        The table; pages are made by its row IDs.
    source : FromClause, optional
        A join that begins with it.
    filters : sequence of IdFilter
        What is admitted.
    where : sequence of SQL expressions
        Further conditions.
    indexed : bool
        Whether `where` is best served by an index on what it speaks of.
    """
    wanted = dict(columns)
    for f in filters:
        wanted.setdefault(f.name, BulkColumn(f.column))
    source = table if source is None else source
    last = greatest(connection, backend, table)
    driver = _driver(filters, last) if not indexed else None
    if driver is not None:
        pages = _by_driver(connection, backend, wanted, source, table, driver, where, last)
    elif where and indexed:
        pages = iter([backend.read(connection, wanted, source, where)])
    else:
        pages = _scan(connection, backend, wanted, source, table, where, last)
    rest = [f for f in filters if f is not driver]
    kept = []
    for page in pages:
        if rest:
            keep = np.logical_and.reduce([f.admits(np.asarray(page[f.name])) for f in rest])
            kept.append(take({name: page[name] for name in columns}, keep))
        else:
            kept.append({name: page[name] for name in columns})
    return concatenate(kept, columns)


def greatest(connection: sa.Connection, backend: Backend, table: sa.TableClause) -> int:
    """Return the greatest row ID of a table, 0 if it is empty."""
    # Spelt out: to compile a statement costs several times what this one does, and each read begins with it.
    quoted = connection.dialect.identifier_preparer
    statement = f"SELECT max({quoted.format_column(table.c.id)}) FROM {quoted.format_table(table)}"  # noqa: S608 - our names
    return backend.ask(connection, statement)[0][0] or 0


def _driver(filters: Sequence[IdFilter], rows: int) -> IdFilter | None:
    best = min(filters, key=lambda f: f.part, default=None)
    if best is None or (len(best.ids) and (rows < _SMALL or best.part > _SELECTIVE)):
        return None
    return best


def _steps(last: int, step: int) -> Iterator[tuple[list[int], int, int]]:
    """Walk through 1…last; whoever takes a step says, in the list, how many rows it found."""
    low = 0
    while low < last:
        high = min(low + step, last)
        found: list[int] = []
        yield found, low, high
        low = high
        rows = found[0] if found else 0
        if rows < _PAGE // 4:
            step *= 4
        elif rows > 2 * _PAGE:
            step = max(step // 2, 1)


def _length(page: Mapping[str, Column]) -> int:
    return len(next(iter(page.values())))


def _scan(
    connection: sa.Connection,
    backend: Backend,
    columns: Mapping[str, BulkColumn],
    source: sa.FromClause,
    table: sa.TableClause,
    where: Sequence[sa.ColumnElement[bool]],
    last: int,
) -> Iterator[dict[str, Column]]:
    key = table.c.id
    # Where no row is missing the key need not be read: pages come in its order.
    guess = {n: c for n, c in columns.items() if c.expression is not key}
    plain = source is table and not where
    guessable = backend.in_key_order and plain and 0 < len(guess) < len(columns)
    for found, low, high in _steps(last, _PAGE):
        page = None
        if guessable:
            page = backend.page(connection, guess, table, low, high)
            if _length(page) == high - low:
                page |= {n: np.arange(low + 1, high + 1) for n in columns if n not in guess}
            else:
                page, guessable = None, False
        if page is None and plain:
            page = backend.page(connection, columns, table, low, high)
        elif page is None:
            page = backend.read(connection, columns, source, [*where, key > low, key <= high])
        found.append(_length(page))
        yield page


def _by_driver(
    connection: sa.Connection,
    backend: Backend,
    columns: Mapping[str, BulkColumn],
    source: sa.FromClause,
    table: sa.TableClause,
    driver: IdFilter,
    where: Sequence[sa.ColumnElement[bool]],
    last: int,
) -> Iterator[dict[str, Column]]:
    if len(driver.ids):
        portion = backend.pick(connection, driver.ids)
        for found, low, high in _steps(len(driver.ids), 256):
            picked, within = portion(low, high)
            joined = backend.join_order(picked, source, driver.column == picked.c.id)
            page = backend.read(connection, columns, joined, [*where, *within])
            found.append(_length(page))
            yield page
    if driver.null_passes:
        for found, low, high in _steps(last, _PAGE):
            within = [*where, driver.column.is_(None), table.c.id > low, table.c.id <= high]
            page = backend.read(connection, columns, source, within)
            found.append(_length(page))
            yield page
