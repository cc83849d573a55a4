"""Tables: `astropy.table.Table` and `QTable` as FITS, ECSV and Parquet."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from supertask.errors import StorageError, did_you_mean
from supertask.formats.fitsfiles import open_fits
from supertask.formats.port import StorageFormat

__all__ = ["Ecsv", "FitsTable", "Parquet"]


_EMPTY = "__supertask_empty_text__"
"""In the metadata of an ECSV file: what is empty is text of no length, not missing."""


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
                    f"{path} has no column {name!r}{did_you_mean(str(name), there)}; "
                    f"it has {', '.join(there)}"
                )
        return list(wanted)


def _pick(table: Any, columns: list[str] | None) -> Any:
    return table if columns is None else table[columns]


def _with_masks(table: Any, kind: str) -> Any:
    """Return a table that is written with its masks as columns: NaN and empty text are values, too."""
    from astropy.table import MaskedColumn

    table = table.copy(copy_data=False)
    for column in table.columns.values():
        if isinstance(column, MaskedColumn) and column.mask.any():
            column.info.serialize_method[kind] = "data_mask"
    return table


class FitsTable(_TableFormat):
    """A table in the first extension of a FITS file, with units, masks, times and descriptions."""

    name = "fits_table"
    extension = ".fits"

    def write(self, value: Any, path: str) -> None:
        """Write a table."""
        table = _with_masks(self._table(value), "fits")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units that FITS does not know are kept as they are spelt
            table.write(path, format="fits")

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read the first table of the file."""
        from astropy.table import Column, Table

        with open_fits(path) as hdus:
            at = next((i for i, hdu in enumerate(hdus) if hasattr(hdu, "columns")), None)
            if at is None:
                raise StorageError(f"{path} has no HDU with a table")
            table = Table.read(hdus, hdu=at, format="fits", mask_invalid=False)
        table = _pick(table, self._columns(parameters, table.colnames, path))
        for name, column in table.columns.items():
            if isinstance(column, Column) and not column.dtype.isnative:
                table.replace_column(name, column.astype(column.dtype.newbyteorder("=")))
        return table


class Ecsv(_TableFormat):
    """A table as text, with units, types and metadata in its head."""

    name = "ecsv"
    extension = ".ecsv"

    def write(self, value: Any, path: str) -> None:
        """Write a table."""
        table = _with_masks(self._table(value), "ecsv")
        texts = [
            c for c in table.columns.values() if getattr(c, "dtype", None) is not None and c.dtype.kind == "U"
        ]
        if any((c == "").any() for c in texts):
            # Elsewhere what is empty is missing.
            table.meta[_EMPTY] = True
        table.write(path, format="ascii.ecsv")

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read the table, or some of its columns."""
        from astropy.table import Table

        try:
            with open(path, "rb") as file:
                ours = _EMPTY.encode() in file.read(1 << 16)
            table = Table.read(path, format="ascii.ecsv", **({"fill_values": []} if ours else {}))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise StorageError(f"{path} is not ECSV, or truncated: {error}") from error
        table.meta.pop(_EMPTY, None)
        return _pick(table, self._columns(parameters, table.colnames, path))


class Parquet(_TableFormat):
    """A table in columns, for large ones; needs pyarrow."""

    name = "parquet"
    extension = ".parquet"

    def _need(self) -> None:
        try:
            import pyarrow as pa  # noqa: F401 - astropy's message does not say which extra has it
        except ImportError:
            raise StorageError(
                "storage format 'parquet' needs pyarrow: pip install 'supertask[parquet]'"
            ) from None

    def write(self, value: Any, path: str) -> None:
        """Write a table, as astropy does."""
        table = self._table(value)
        self._need()
        table.write(path, format="parquet")

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read the table, or some of its columns and no more."""
        self._need()
        import pyarrow as pa

        try:
            return self._read(path, parameters)
        except (FileNotFoundError, StorageError):
            raise
        except (pa.ArrowException, ValueError, KeyError, OSError) as error:
            raise StorageError(f"{path} is not Parquet, or truncated: {error}") from error

    def _read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        # Astropy's own reader needs pandas besides.
        from astropy.table import Table, meta, serialize
        from pyarrow import parquet

        schema = parquet.read_schema(path)
        notes = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
        head = (
            meta.get_header_from_yaml(notes["table_meta_yaml"].split("\n"))
            if "table_meta_yaml" in notes
            else {}
        )
        table_meta = head.get("meta", {})
        compound = table_meta.get("__serialized_columns__", {})
        # A time, a quantity or a column with a mask is several columns in the file.
        whole = {part: name for name, made in compound.items() for part in _parts(made)}
        there = list(dict.fromkeys(whole.get(name, name) for name in schema.names))
        columns = self._columns(parameters, there, path)
        wanted = there if columns is None else columns
        table_meta["__serialized_columns__"] = {n: made for n, made in compound.items() if n in wanted}
        names = [n for n in schema.names if whole.get(n, n) in wanted]
        found = parquet.read_table(path, columns=names)
        table = Table(meta=table_meta)
        said = {column["name"]: column for column in head.get("datatype", ())}
        for name in names:
            column = _from_arrow(found[name], notes.get(f"table::len::{name}"))
            for attribute in ("description", "format", "unit", "meta"):
                if attribute in said.get(name, ()):
                    setattr(column, attribute, said[name][attribute])
            table[name] = column
        return _pick(serialize._construct_mixins_from_columns(table), columns)


def _parts(made: Any) -> list[str]:
    """Return the names of the columns in a file that one column of a table is made of."""
    parts = [made["name"]] if "name" in made else []
    for value in made.values():
        if isinstance(value, dict):
            parts += _parts(value)
    return parts


def _from_arrow(array: Any, length: str | None) -> Any:
    """Return a column of a file as one of a table."""
    import numpy as np
    import pyarrow as pa
    from astropy.table import Column, MaskedColumn

    kind = array.type
    null = array.is_null().to_numpy() if array.null_count else None
    if pa.types.is_fixed_size_list(kind):
        values = array.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, kind.list_size)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = array.to_pylist()
        values = np.array([t or "" for t in texts], f"U{length}" if length else None)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = np.array([b or b"" for b in array.to_pylist()], f"S{length}" if length else None)
    elif null is not None and (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        values = array.fill_null(0).to_numpy()
    else:
        values = array.to_numpy()
    return Column(values) if null is None else MaskedColumn(values, mask=null)
