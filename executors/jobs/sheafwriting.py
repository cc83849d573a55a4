"""Writes sheaves: columns of many bundles are sliced out of the plan at once, then cut at their ends.

So what a bundle costs is what its columns cost numpy, and a cut of each; no object is made of any quantum.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from executors.jobs.folder import write_whole
from executors.jobs.sheaf import FORMAT
from executors.jobs.slots import Slots
from graphbuilder.dag.columns import StringColumn
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.parameters import ParameterColumn
from graphbuilder.dag.values import TaskNode
from supertask.datasets import Dataset
from supertask.errors import ExecutionError
from supertask.repograph.columns import Edges, expand
from supertask.repograph.tables import QuantumTable
from supertask.rows import TextColumn

__all__ = ["PlanColumns", "write_sheaf"]

Ints = npt.NDArray[Any]
_FEW = 256
"""Words of a unit that are written once; of more, each row has its own."""


@attrs.frozen
class _Keys:
    """Keys of a unit as they are written."""

    column: npt.NDArray[Any]
    kind: str
    words: Sequence[str] = ()


@attrs.frozen(eq=False)
class _Texts:
    """Strings with all of their bytes in memory."""

    ends: Ints
    """Shape (n + 1,): where each begins in the heap, and the last one ends."""
    heap: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, strings: Sequence[str]) -> _Texts:
        """Take strings of whatever column."""
        if isinstance(strings, TextColumn):
            ends, heap = strings.packed()
        else:
            made = strings if isinstance(strings, StringColumn) else StringColumn.from_strings(strings)
            ends, heap = np.asarray(made.ends), np.asarray(made.heap)
        return cls(np.concatenate([[0], ends]).astype(np.int64), heap)


@attrs.define(eq=False)
class _Parts:
    """Parts of bundles, growing."""

    parts: list[list[Any]]
    present: list[int] = attrs.field(factory=list)
    """Bundles that have rows in the group."""

    def add(self, data: bytes, ends: Sequence[int], width: int) -> None:
        """Cut a column; `ends` says where its rows of each bundle that is present end."""
        view, parts, begin = memoryview(data), self.parts, 0
        for bundle, end in zip(self.present, ends, strict=True):
            stop = end * width
            parts[bundle].append(view[begin:stop])
            begin = stop


class PlanColumns:
    """Columns of a plan, as they go into sheaves; what is made of whole tables is kept.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    """

    def __init__(self, plan: ScienceDag) -> None:
        self.plan = plan
        self._keys: dict[str, _Keys] = {}
        self._texts: dict[tuple[str, str], _Texts] = {}
        self._firsts = np.array([t.first for t in plan.tasks], np.int64)

    def tasks_of(self, quanta: Ints) -> Ints:
        """Return of which of the plan's tasks quanta are."""
        return np.searchsorted(self._firsts, quanta, side="right") - 1

    def add(
        self, quanta: Ints, bundles: Ints, outside: npt.NDArray[np.bool_], n: int
    ) -> tuple[list[Any], list[Any], list[list[Any]]]:
        """Slice and cut the columns of some quanta.

        Parameters
        ----------
        quanta, bundles : numpy.ndarray
            Shape (m,): quanta, and which of `n` bundles each belongs to, ascending.
        outside : numpy.ndarray
            Shape (m,): whether it is one that the bundle speaks of, and that runs elsewhere.
        n : int
            Number of bundles.

        Returns
        -------
        layout : list
            Of each group, as JSON has it.
        groups : list
            For each bundle its groups, and how many rows it has of them.
        parts : list
            For each bundle pieces of bytes, one after another.
        """
        layout: list[Any] = []
        groups: list[Any] = [[] for _ in range(n)]
        parts = _Parts([[] for _ in range(n)])
        tasks = self.tasks_of(quanta)
        for t in np.unique(tasks).tolist():
            for elsewhere in (False, True):
                chosen = np.flatnonzero((tasks == t) & (outside == elsewhere))
                if not len(chosen):
                    continue
                counts = np.bincount(bundles[chosen], minlength=n)
                parts.present = np.flatnonzero(counts).tolist()
                for bundle in parts.present:
                    groups[bundle].append((len(layout), int(counts[bundle])))
                ends = np.cumsum(counts[parts.present])
                layout.append(self._group(parts, t, quanta[chosen], ends, elsewhere=elsewhere))
        return layout, groups, parts.parts

    def _group(self, parts: _Parts, t: int, quanta: Ints, ends: Ints, *, elsewhere: bool) -> dict[str, Any]:
        node, table = self.plan.tasks[t], self.plan.quantum_tables[t]
        members, stops = quanta - node.first, ends.tolist()
        parts.add(quanta.astype("<i4").tobytes(), stops, 4)
        parts.add(np.ascontiguousarray(self.plan.identities[quanta]).tobytes(), stops, 16)
        if table.variants is not None:
            parts.add(table.variants[members].astype("<u2").tobytes(), stops, 2)
        shown = self._data_ids(parts, table.columns, members, stops)
        if table.parameters is not None:
            said = table.parameters
            texts = self._strings(("parameters", node.label), lambda: _parameters(said))
            self._text(parts, texts, members, ends)
        inputs = {} if elsewhere else table.inputs
        return {
            "label": node.label,
            "varying": table.variants is not None,
            "parameters": table.parameters is not None,
            "minimums": _minimums(node, table) if inputs else {},
            **shown,
            "inputs": [self._side(parts, d, edges, members, ends) for d, edges in inputs.items()],
            "outputs": [self._side(parts, d, edges, members, ends) for d, edges in table.outputs.items()],
        }

    def _side(
        self, parts: _Parts, dataset_type: type[Dataset], edges: Edges, members: Ints, ends: Ints
    ) -> dict[str, Any]:
        datasets = self.plan.datasets[dataset_type]
        rows, stops = members, ends
        if edges.indptr is not None:
            begins = edges.indptr[members]
            counts = edges.indptr[members + 1] - begins
            parts.add(counts.astype("<u4").tobytes(), ends.tolist(), 4)
            rows, stops = expand(begins, counts), np.cumsum(counts)[ends - 1]
        if edges.rows is not None:
            rows = edges.rows[rows]
        shown = self._data_ids(parts, datasets.columns, rows, stops.tolist())
        digests = self.plan.dataset_identities(dataset_type, rows)
        parts.add(np.ascontiguousarray(digests).tobytes(), stops.tolist(), 16)
        if datasets.locations is not None:
            texts = self._strings(("locations", dataset_type.name), lambda: datasets.locations)
            self._text(parts, texts, rows, stops)
        return {
            "type": dataset_type.name,
            "single": edges.indptr is None,
            "located": datasets.locations is not None,
            **shown,
        }

    def _data_ids(
        self, parts: _Parts, columns: Mapping[str, Any], rows: Ints, stops: Sequence[int]
    ) -> dict[str, Any]:
        space = self.plan.space
        shown = space.model.closure(columns)
        keys = []
        for unit in sorted(shown):
            known = self._keys_of(unit)
            found = known.column[space.column(columns, unit, rows)]
            parts.add(found.tobytes(), stops, found.dtype.itemsize)
            keys.append((known.kind, known.words))
        return {"shown": shown, "keys": keys}

    def _keys_of(self, unit: str) -> _Keys:
        known = self._keys.get(unit)
        if known is None:
            keys = np.asarray(self.plan.space.tables[unit].keys)
            if keys.dtype.kind in "iu":
                known = _Keys(keys.astype("<i8"), "q")
            elif len(keys) <= _FEW:
                known = _Keys(np.arange(len(keys), dtype=np.uint8), "B", keys.tolist())
            else:
                column = np.array([key.encode() for key in keys.tolist()])
                known = _Keys(column, f"S{column.dtype.itemsize}")
            self._keys[unit] = known
        return known

    def _strings(self, key: tuple[str, str], strings: Callable[[], Sequence[str]]) -> _Texts:
        """Return strings with their bytes in memory, made once."""
        found = self._texts.get(key)
        if found is None:
            found = self._texts[key] = _Texts.of(strings())
        return found

    @staticmethod
    def _text(parts: _Parts, strings: _Texts, rows: Ints, stops: Ints) -> None:
        begins = strings.ends[rows]
        lengths = strings.ends[rows + 1] - begins
        heap = strings.heap[expand(begins, lengths)].tobytes()
        sizes = memoryview(lengths.astype("<u4").tobytes())
        where = np.concatenate([[0], np.cumsum(lengths)])[stops].tolist()
        begin = at = 0
        view = memoryview(heap)
        for bundle, end, stop in zip(parts.present, stops.tolist(), where, strict=True):
            parts.parts[bundle] += (sizes[4 * begin : 4 * end], view[at:stop])
            begin, at = end, stop


def _parameters(parameters: Sequence[Any]) -> StringColumn:
    return parameters.strings if isinstance(parameters, ParameterColumn) else ParameterColumn.pack(parameters)


def _minimums(node: TaskNode, table: QuantumTable) -> dict[str, int]:
    names = {t.name for t in table.inputs}
    return {name: n for name, n in node.minimums.items() if name in names}


def write_sheaf(
    path: Path, shared: Mapping[str, Any], own: Sequence[Mapping[str, Any]], columns: Sequence[Sequence[Any]]
) -> None:
    """Write a sheaf, and open the slots of its jobs.

    Parameters
    ----------
    path : Path
        Its file; its folder is made.
    shared : Mapping
        What is alike in all of its bundles.
    own : sequence of Mapping
        What is said of each.
    columns : sequence of sequence of bytes
        The columns of each.

    Raises
    ------
    ExecutionError
        It cannot be written.
    """
    parts: list[bytes] = []
    for said, pieces in zip(own, columns, strict=True):
        text = json.dumps(said, separators=(",", ":")).encode()
        parts.append(b"".join([struct.pack("<I", len(text)), text, *pieces]))
    ends = np.cumsum([len(part) for part in parts]).tolist()
    said = {**shared, "ends": ends, "seals": [zlib.crc32(part) for part in parts]}
    data = json.dumps(said, separators=(",", ":")).encode()
    head = json.dumps({"supertask-sheaf": FORMAT, "shared": len(data), "seal": zlib.crc32(data)}).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Slots first: who finds a sheaf without them may take it for one that nobody goes on with. A machine
        # that fails takes the run with it; what it left of this is known by its seals.
        Slots(path).make(len(parts))
        write_whole(path, b"".join([head, b"\n", data, *parts]), lasting=False)
    except OSError as error:
        raise ExecutionError(f"{path} cannot be written: {error.strerror or error}") from error
