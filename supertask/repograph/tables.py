"""Dataset tables and quantum tables: columns that show themselves as sets and sequences of objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import DataIdError
from supertask.quanta import Quantum
from supertask.repograph.columns import Edges, Ints, group, pack
from supertask.repograph.space import Columns, UnitSpace

__all__ = ["DatasetTable", "QuantumTable", "RelationTable"]


@attrs.define(eq=False)
class DatasetTable(AbstractSet[Dataset]):
    """Datasets of one type: one row each, a column of codes for each leaf unit.

    A set of `Dataset` handles to whom iterates or asks, integers to whom computes.
    """

    dataset_type: type[Dataset]
    space: UnitSpace
    columns: Columns
    n: int
    identities: Any = None
    """Shape (n, 16), uint8: of datasets that were there before the plan; None of those it makes."""
    locations: Any = None
    """Sequence of str: where those that were there before are stored; None of those it makes."""
    sizes: Any = None
    """Shape (n,), int64 bytes, -1 where unknown; None of those it makes."""
    _index: dict[tuple[Any, ...], int] | None = attrs.field(default=None, init=False)
    """Values of data IDs, in the order of their sorted names → row."""
    _handles: list[Dataset] | None = attrs.field(default=None, init=False)
    _added: list[Dataset] = attrs.field(factory=list, init=False)
    _closure: tuple[str, ...] = attrs.field(init=False)
    """Units of the data IDs."""

    def __attrs_post_init__(self) -> None:
        self._closure = self.space.model.closure(self.columns)

    def __len__(self) -> int:
        return self.n + len(self._added)

    def __iter__(self) -> Iterator[Dataset]:
        return iter(self.handles())

    def __contains__(self, dataset: object) -> bool:
        return isinstance(dataset, Dataset) and self.find(dataset.dataId) is not None

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:
        return set(it)

    def handles(self) -> list[Dataset]:
        """Return a handle for every row, in order; made once."""
        self.settle()
        if self._handles is None:
            make = self.dataset_type.from_row
            self._handles = [make(d, i) for i, d in enumerate(self.data_ids())]
        return self._handles

    def data_ids(self, rows: Any = slice(None)) -> list[DataId]:
        """Return the data IDs of rows."""
        return self.space.data_ids(self.columns, rows, n=self.n if isinstance(rows, slice) else len(rows))

    def at(self, rows: Ints) -> list[Dataset]:
        """Return handles for rows."""
        make = self.dataset_type.from_row
        return [make(d, r) for d, r in zip(self.data_ids(rows), rows.tolist(), strict=True)]

    def find(self, dataId: DataId) -> int | None:
        """Return the row of a data ID, or None."""
        try:
            return self._rows().get(dataId.subset(self._closure)._values)
        except KeyError:
            return None

    def _rows(self) -> dict[tuple[Any, ...], int]:
        if self._index is None:
            self._index = {d._values: i for i, d in enumerate(self.data_ids())}
            self._index.update((d.dataId._values, self.n + i) for i, d in enumerate(self._added))
        return self._index

    def add(self, dataset: Dataset) -> Dataset:
        """Add a dataset, if it is not there, and return its handle in this table.

        Raises
        ------
        DataIdError
            Its data ID lacks a key.
        """
        dataId = dataset.dataId
        if dataId._shape.shown != self._closure:
            try:
                dataId = dataId.subset(self._closure)
            except KeyError as error:
                raise DataIdError(f"{dataset!r} needs {', '.join(self._closure)}: {error.args[0]}") from None
        index = self._rows()
        new = self.n + len(self._added)
        row = index.setdefault(dataId._values, new)
        handle = self.dataset_type.from_row(dataId, row)
        if row == new:
            self._added.append(handle)
        return handle

    def settle(self) -> None:
        """Turn what was added one by one into columns.

        Raises
        ------
        DataIdError
            A data ID names an instance of a unit that is not there.
        """
        if not self._added:
            return
        added, self._added = self._added, []
        values = [d.dataId._values for d in added]
        for unit, column in self.columns.items():
            new = self.space.codes_of(unit, self._closure, values)
            self.columns[unit] = np.concatenate([column, new])
        self.n += len(added)
        if self._handles is not None:
            self._handles += added
        elif self.n == len(added):
            self._handles = added

    def sort(self) -> npt.NDArray[np.int64] | None:
        """Sort rows by data ID; return the new row of each old one, or None where nothing moved."""
        self.settle()
        key = pack(list(self.columns.values()), self.space.sizes(self.columns), n=self.n)
        groups = group(key)
        if groups.rows is None:
            return None
        order = groups.rows
        for unit, column in self.columns.items():
            self.columns[unit] = column[order]
        new_rows = np.empty(self.n, np.int64)
        new_rows[order] = np.arange(self.n)
        self._index = self._handles = None
        return new_rows

    def __repr__(self) -> str:
        return f"<{len(self)} {self.dataset_type.name!r} by {', '.join(self.columns) or 'nothing'}>"


@attrs.frozen(eq=False)
class RelationTable:
    """Rows of a relation in codes, one column for each leaf unit of both sides."""

    name: str
    columns: Columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@attrs.frozen(eq=False)
class QuantumTable(Sequence[Quantum]):
    """Quanta of one task: a column of codes for each leaf of their units, and edges to datasets.

    A sequence of `Quantum` objects, made on demand.
    """

    label: str
    space: UnitSpace
    columns: Columns
    n: int
    inputs: dict[type[Dataset], Edges] = attrs.field(factory=dict)
    """Input type → rows of its table for each quantum."""
    outputs: dict[type[Dataset], Edges] = attrs.field(factory=dict)
    tables: dict[type[Dataset], DatasetTable] = attrs.field(factory=dict)
    """The table of each type named in `inputs` and `outputs`."""
    parameters: Sequence[Any] | None = None
    """Per-quantum values, or None."""
    variants: Any = None
    """Shape (n,), unsigned: number of the variant of its task that each has; None where all have the same."""

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.quantum(i) for i in range(*index.indices(self.n))]
        i = int(index)
        if not -self.n <= i < self.n:
            raise IndexError(f"quantum {i} of {self.n}")
        return self.quantum(i % self.n)

    def quantum(self, i: int) -> Quantum:
        """Return quantum `i` as an object."""
        dataId = self.space.data_ids(self.columns, np.array([i]))[0]
        return Quantum(
            {t: set(self.tables[t].at(e.of(i))) for t, e in self.inputs.items()},
            {t: set(self.tables[t].at(e.of(i))) for t, e in self.outputs.items()},
            self.label,
            None if self.parameters is None else self.parameters[i],
            dataId,
        )

    def data_ids(self) -> list[DataId]:
        """Return the data ID of every quantum."""
        return self.space.data_ids(self.columns, n=self.n)

    def take(self, quanta: Ints) -> QuantumTable:
        """Return some of the quanta, in the order given."""
        return attrs.evolve(
            self,
            columns={u: c[quanta] for u, c in self.columns.items()},
            n=len(quanta),
            inputs={t: e.take(quanta) for t, e in self.inputs.items()},
            outputs={t: e.take(quanta) for t, e in self.outputs.items()},
            parameters=None if self.parameters is None else [self.parameters[i] for i in quanta.tolist()],
            variants=None if self.variants is None else self.variants[:][quanta],
        )

    def key(self) -> npt.NDArray[np.int64]:
        """Return the packed data ID of every quantum, in whose order the plan keeps them."""
        return pack(list(self.columns.values()), self.space.sizes(self.columns), n=self.n)

    def __repr__(self) -> str:
        return f"<{self.n} quanta of {self.label or 'a task'} by {', '.join(self.columns) or 'nothing'}>"
