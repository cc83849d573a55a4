"""Unit tables: the instances of each unit, dictionary-encoded.

The *code* of an instance is its rank among all of its unit in the natural order of (parents, key), so
sorting by code sorts by data ID. Parents and implied units are columns of codes; -1 is null.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.conditions import Condition, Name, evaluate, names
from supertask.dataids import DataId, Key
from supertask.errors import DataIdError, did_you_mean
from supertask.repograph.columns import Ints, lookup
from supertask.rows import UnitRows
from supertask.units import UnitModel

__all__ = ["UnitSet", "UnitSpace", "UnitTable"]

Columns = dict[str, Any]
"""Leaf unit → codes, shape (n,), int32 (or an array-like that reads them from a file)."""

Fetch = Callable[[str, str], UnitRows]


@attrs.frozen(eq=False)
class UnitTable:
    """All instances of one unit, in order of their code."""

    unit: str
    keys: Any
    """Shape (n,): int64, or object for str."""
    links: dict[str, npt.NDArray[np.int32]]
    """Parent and implied units → their codes, shape (n,), -1 where null."""
    fields: dict[str, npt.NDArray[Any]] = attrs.field(factory=dict)
    nulls: dict[str, npt.NDArray[np.bool_]] = attrs.field(factory=dict)
    ids: npt.NDArray[np.int64] | None = None
    """The Butler's row IDs, shape (n,)."""

    def __len__(self) -> int:
        return len(self.keys)


class UnitSpace:
    """The unit tables of one plan, and how to get from the columns of a table to any unit.

    Parameters
    ----------
    model : UnitModel
        The unit model.
    tables : Mapping
        Unit → table, for every unit that is used.
    fetch : callable, optional
        Gives the rows of a unit with one field of it; fields are read when they are first asked for.
    """

    def __init__(self, model: UnitModel, tables: Mapping[str, UnitTable], fetch: Fetch | None = None) -> None:
        self.model = model
        self.tables = dict(tables)
        self._fetch = fetch
        self._by_key: dict[str, dict[tuple[Key, ...], int]] = {}
        self._by_id: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]] = {}

    @classmethod
    def from_rows(cls, model: UnitModel, rows: Iterable[UnitRows], fetch: Fetch | None = None) -> UnitSpace:
        """Encode what a Butler's reader gave. Instances whose parents are not there are left out."""
        by_unit = {r.unit: r for r in rows}
        space = cls(model, {}, fetch)
        for unit in _parents_first(model, by_unit):
            space.tables[unit] = space._encode(by_unit[unit])
        return space

    def _encode(self, rows: UnitRows) -> UnitTable:
        unit = self.model.unit(rows.unit)
        links = {u: self.codes(u, ids) for u, ids in rows.links.items() if u in self.tables}
        keep = np.ones(len(rows.ids), bool)
        for parent in unit.parents:
            keep &= links[parent] >= 0
        keys = rows.keys
        # The last key of lexsort counts most; object keys are ranked first, as lexsort refuses them.
        rank = np.unique(keys, return_inverse=True)[1] if keys.dtype == object else keys
        by = [rank, *(links[p] for p in reversed(unit.parents))]
        order = np.lexsort(by) if not _is_sorted(by) else np.arange(len(keys))
        if not keep.all():
            order = order[keep[order]]
        return UnitTable(
            rows.unit,
            keys[order],
            {u: c[order] for u, c in links.items()},
            {f: v[order] for f, v in rows.fields.items()},
            {f: v[order] for f, v in rows.nulls.items()},
            rows.ids[order],
        )

    def size(self, unit: str) -> int:
        """Return how many instances of a unit there are."""
        return len(self.tables[unit])

    def sizes(self, units: Iterable[str]) -> list[int]:
        """Return `size` of several units."""
        return [self.size(u) for u in units]

    def codes(self, unit: str, ids: Ints) -> npt.NDArray[np.int32]:
        """Return the codes for a Butler's row IDs, -1 where an ID is not here."""
        if unit not in self._by_id:
            known = self.tables[unit].ids
            if known is None:
                raise DataIdError(f"unit {unit!r} of a plan has no row IDs")
            order = np.argsort(known)
            self._by_id[unit] = (known[order], order)
        ascending, order = self._by_id[unit]
        position = lookup(ascending, ids)
        if not len(order):
            return position.astype(np.int32)
        return np.where(position < 0, -1, order[position]).astype(np.int32)

    def column(self, columns: Mapping[str, Any], unit: str, rows: Any = slice(None)) -> npt.NDArray[np.int32]:
        """Return the codes of any unit that some columns determine.

        Parameters
        ----------
        columns : Mapping
            Leaf unit → codes.
        unit : str
            The unit wanted: a leaf, or a parent or implied unit of one, however far.
        rows : slice or array, optional
            Which rows; all unless given.

        Returns
        -------
        numpy.ndarray
            int32 codes, -1 where null.

        Raises
        ------
        DataIdError
            The columns do not determine the unit.
        """
        way = self.model.route(columns, unit)
        if way is None:
            raise DataIdError(f"{', '.join(columns) or 'no units'} do not determine {unit!r}")
        codes: npt.NDArray[np.int32] = columns[way[0]][rows]
        for here, there in itertools.pairwise(way):
            link = self.tables[here].links[there]
            if not len(link):
                return np.full(len(codes), -1, np.int32)
            codes = np.where(codes < 0, np.int32(-1), link[codes]) if _may_be_null(codes) else link[codes]
        return codes

    def determines(self, columns: Mapping[str, Any], unit: str) -> bool:
        """Tell whether `column` can answer."""
        return self.model.route(columns, unit) is not None

    def data_ids(self, columns: Mapping[str, Any], rows: Any = slice(None), *, n: int = 1) -> list[DataId]:
        """Return the data IDs of rows; `n` empty ones where there are no columns."""
        closure = self.model.closure(columns)
        if not closure:
            return [DataId()] * n
        shape = DataId.shape(closure)
        values = []
        for unit in shape.names:
            keys = self.tables[unit].keys
            values.append(keys[self.column(columns, unit, rows)].tolist())
        make = DataId.from_sorted
        return [make(shape, v) for v in zip(*values, strict=True)]

    def code_of(self, unit: str, dataId: Mapping[str, Key]) -> int:
        """Return the code of the instance that a data ID names.

        Raises
        ------
        DataIdError
            There is no such instance, or the data ID lacks a key.
        """
        closure = self.model.closure((unit,))
        try:
            values = tuple([dataId[u] for u in closure])
        except KeyError as error:
            raise DataIdError(f"a data ID for {unit!r} needs {', '.join(closure)}: {error.args[0]}") from None
        return int(self.codes_of(unit, closure, [DataId(dict(zip(closure, values, strict=True)))._values])[0])

    def codes_of(
        self, unit: str, names: tuple[str, ...], values: Sequence[tuple[Key, ...]]
    ) -> npt.NDArray[np.int32]:
        """Return the codes of the instances of a unit that data IDs name.

        Parameters
        ----------
        unit : str
            The unit.
        names : tuple of str
            What the data IDs name: the unit and its parents, perhaps others.
        values : sequence of tuple
            Their values, in the order of their sorted names.

        Raises
        ------
        DataIdError
            There is no such instance; names the first.
        """
        closure = self.model.closure((unit,))
        index = self._index(unit, closure)
        _, getter = DataId.shape(names).part(closure)
        try:
            return np.fromiter(map(index.__getitem__, map(getter, values)), np.int32, len(values))
        except KeyError as error:
            missing = DataId.from_sorted(DataId.shape(closure), error.args[0])
            raise DataIdError(f"no {unit!r} {missing} is in the selected part of the repository") from None

    def _index(self, unit: str, closure: tuple[str, ...]) -> dict[tuple[Key, ...], int]:
        """Key values of every instance, in the order of the closure's sorted names → code."""
        if unit not in self._by_key:
            own: Columns = {unit: np.arange(self.size(unit), dtype=np.int32)}
            values = [d._values for d in self.data_ids(own)]
            self._by_key[unit] = {v: i for i, v in enumerate(values)}
        return self._by_key[unit]

    def mask(self, condition: Condition, columns: Mapping[str, Any], n: int) -> npt.NDArray[np.bool_]:
        """Return where a condition is not false on rows that determine all its units, shape (n,)."""

        def resolve(name: Name) -> tuple[Any, npt.NDArray[np.bool_] | None]:
            table = self.tables[name.unit]
            codes = self.column(columns, name.unit)
            values = table.keys if name.field is None else self.field(name.unit, name.field)
            if not len(values):
                return np.zeros(n, np.int64), np.ones(n, bool)
            null = codes < 0
            if name.field in table.nulls:
                null = null | table.nulls[name.field][codes]
            return values[codes], null if null.any() else None

        if not names(condition):
            return np.broadcast_to(evaluate(condition, resolve), (n,))
        return evaluate(condition, resolve)

    def field(self, unit: str, field: str) -> npt.NDArray[Any]:
        """Return a field of all instances of a unit.

        Raises
        ------
        DataIdError
            The unit has no such field.
        """
        table = self.tables[unit]
        if field not in table.fields:
            known = [f.name for f in self.model.unit(unit).fields]
            if field not in known or self._fetch is None:
                raise DataIdError(f"{unit!r} has no field {field!r}{did_you_mean(field, known)}")
            rows = self._fetch(unit, field)
            codes = self.codes(unit, rows.ids)
            # An instance that is not selected has no code.
            here = codes >= 0
            for target, source in ((table.fields, rows.fields), (table.nulls, rows.nulls)):
                if field in source:
                    column = np.zeros(len(table), source[field].dtype)
                    column[codes[here]] = source[field][here]
                    target[field] = column
        return table.fields[field]


class UnitSet(AbstractSet[DataId]):
    """The instances of one unit as a set of data IDs, made on demand."""

    def __init__(self, space: UnitSpace, unit: str, selected: npt.NDArray[np.bool_] | None = None) -> None:
        self._space = space
        self._unit = unit
        self._selected = selected

    @property
    def codes(self) -> npt.NDArray[np.int32]:
        """Codes of the instances, ascending."""
        if self._selected is None:
            return np.arange(self._space.size(self._unit), dtype=np.int32)
        return np.flatnonzero(self._selected).astype(np.int32)

    def _columns(self) -> Columns:
        return {self._unit: self.codes}

    def __len__(self) -> int:
        return self._space.size(self._unit) if self._selected is None else int(self._selected.sum())

    def __iter__(self) -> Iterator[DataId]:
        return iter(self._space.data_ids(self._columns()))

    def __contains__(self, dataId: object) -> bool:
        if not isinstance(dataId, Mapping):
            return False
        try:
            code = self._space.code_of(self._unit, dataId)
        except DataIdError:
            return False
        return self._selected is None or bool(self._selected[code])

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:
        return set(it)

    def field(self, name: str) -> npt.NDArray[Any]:
        """Return a field of all instances, in the order of iteration, shape (n,)."""
        values = self._space.field(self._unit, name)
        return values if self._selected is None else values[self._selected]

    def __repr__(self) -> str:
        return f"<{len(self)} of unit {self._unit!r}>"


def _may_be_null(codes: npt.NDArray[np.int32]) -> bool:
    return bool(len(codes)) and bool(codes.min() < 0)


def _is_sorted(by: list[Any]) -> bool:
    """Tell whether lexsort of these would change nothing (its last key counts most)."""
    later = np.zeros(max(len(by[0]) - 1, 0), bool)
    equal = np.ones(len(later), bool)
    for key in reversed(by):
        later |= equal & (key[1:] > key[:-1])
        equal &= key[1:] == key[:-1]
    return bool((later | equal).all())


def _parents_first(model: UnitModel, wanted: Iterable[str]) -> list[str]:
    wanted = set(wanted)
    done: list[str] = []

    def visit(unit: str) -> None:
        if unit in done or unit not in wanted:
            return
        for other in model.unit(unit).parents + model.unit(unit).implies:
            visit(other)
        done.append(unit)

    for unit in model.sort(wanted):
        visit(unit)
    return done
