"""Tables: `astropy.table.Table` and `QTable` as FITS, ECSV and Parquet."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from supertask.errors import StorageError, did_you_mean
from supertask.formats.fitsfiles import open_fits
from supertask.formats.port import StorageFormat

__all__ = ["Ecsv", "FitsTable", "Parquet"]


class _TableFormat(StorageFormat):
    """A table; parameter ``columns=[…]`` reads only those, in that order."""

    parameters = frozenset({"columns"})

    def _table(self, value: Any) -> Any:
        from astropy.table import Table

        if not isinstance(value, Table):
            raise StorageError(f"{self.name} keeps a Table or QTable, not {type(value).__qualname__}")
        return value

    def _columns(self, parameters: Mapping[str, Any], there: Sequence[str], path: str) -> list[str] | None:
        wanted = parameters.get("columns")
        if wanted is None:
            return None
        if isinstance(wanted, str):
            wanted = [wanted]
        for name in wanted:
            if name not in there:
                raise StorageError(
                    f"{path} has no column {name!r}{did_you_mean(str(name), there)}; it has {', '.join(there)}"
                )
        return list(wanted)


def _pick(table: Any, columns: list[str] | None) -> Any:
    return table if columns is None else table[columns]


class FitsTable(_TableFormat):
    """A table in the first extension of a FITS file, with units, masks, times and descriptions."""

    name = "fits_table"
    extension = ".fits"

    def write(self, value: Any, path: str) -> None:
        """Write a table."""
        from astropy.table import QTable

        table = self._table(value)
        if isinstance(table, QTable):
            table = table.copy(copy_data=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units that FITS does not know are kept as they are spelt
            table.write(path, format="fits")

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read the first table of the file."""
        from astropy.table import Table

        with open_fits(path) as hdus:
            at = next((i for i, hdu in enumerate(hdus) if hasattr(hdu, "columns")), None)
            if at is None:
                raise StorageError(f"{path} has no HDU with a table")
            columns = self._columns(parameters, hdus[at].columns.names, path)
            table = Table.read(hdus, hdu=at, format="fits")
            return _pick(table, columns)


class Ecsv(_TableFormat):
    """A table as text, with units, types and metadata in its head."""

    name = "ecsv"
    extension = ".ecsv"

    def write(self, value: Any, path: str) -> None:
        """Write a table."""
        self._table(value).write(path, format="ascii.ecsv")

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read the table, or some of its columns."""
        from astropy.table import Table

        try:
            table = Table.read(path, format="ascii.ecsv")
        except FileNotFoundError:
            raise
        except Exception as error:
            raise StorageError(f"{path} is not ECSV, or truncated: {error}") from error
        return _pick(table, self._columns(parameters, table.colnames, path))


class Parquet(_TableFormat):
    """A table in columns, for large ones; needs pyarrow."""

    name = "parquet"
    extension = ".parquet"

    def _need(self) -> None:
        try:
            import pyarrow  # noqa: F401 - astropy's message does not say which extra has it
        except ImportError:
            raise StorageError("storage format 'parquet' needs pyarrow: pip install 'supertask[parquet]'") from None

    def write(self, value: Any, path: str) -> None:
        """Write a table."""
        table = self._table(value)
        self._need()
        table.write(path, format="parquet")

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read the table, or some of its columns and no more."""
        self._need()
        import pyarrow
        from astropy.table import Table
        from pyarrow import parquet

        try:
            there = parquet.read_schema(path).names
            columns = self._columns(parameters, there, path)
            table = Table.read(path, format="parquet", include_names=columns)
        except (FileNotFoundError, StorageError):
            raise
        except (pyarrow.ArrowException, ValueError, OSError) as error:
            raise StorageError(f"{path} is not Parquet, or truncated: {error}") from error
        return _pick(table, columns)
