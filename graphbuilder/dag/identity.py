"""Identities of quanta and datasets: a Merkle hash, computed task by task on columns.

The identity of a quantum is a BLAKE2b digest of 16 bytes over: the identity of its task (class,
version and config), its data ID, its parameters, and for each input field how many datasets it has
and their identities in order of their data IDs. What a quantum makes has the quantum's identity,
exclusive-or a constant of the dataset type (and of the data ID, where a quantum makes several of a
type). So an identity of 16 bytes is stored for each quantum and none for what it makes, and from
any dataset the quantum that made it can be told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.parameters import parameter_values
from supertask.canonical import canonical, digest
from supertask.datasets import Dataset
from supertask.repograph.columns import Edges, Ints, group, pack
from supertask.repograph.space import UnitSpace
from supertask.repograph.tables import DatasetTable, QuantumTable

__all__ = ["FieldInput", "dataset_identities", "quantum_identities", "unit_digests"]

Digests = npt.NDArray[np.uint8]

# Bumped when the layout of what is hashed changes: old identities are then all different.
_LAYOUT = b"supertask quantum 1"
_CHUNK = 1 << 15
_WIDTH = 16


@attrs.frozen(eq=False)
class FieldInput:
    """The datasets that the quanta of a task read through one field."""

    field: str
    """Attribute of the config; the name of the dataset type never enters an identity."""
    edges: Edges
    identities: Callable[[Ints], Digests]
    """Gives the identities, shape (m, 16), of rows of the type's table."""


@lru_cache(maxsize=4096)
def _type_constant(name: str) -> Digests:
    return np.frombuffer(digest(b"output", name.encode()), np.uint8)


def dataset_identities(
    dataset_type: type[Dataset], quanta: Digests, table: DatasetTable | None, rows: Ints
) -> Digests:
    """Return the identities of datasets that quanta make, shape (n, 16).

    Parameters
    ----------
    dataset_type : dataset type
        Their type.
    quanta : numpy.ndarray
        Shape (n, 16), uint8: identity of the quantum that makes each.
    table : DatasetTable or None
        Where quanta make several of the type: the table, whose data IDs then tell them apart.
    rows : numpy.ndarray
        Shape (n,): their rows in the table.
    """
    made = np.bitwise_xor(quanta, _type_constant(dataset_type.name))
    if table is not None and len(rows):
        own = [digest(b"output of several", canonical(dict(d))) for d in table.data_ids(rows)]
        made ^= np.frombuffer(b"".join(own), np.uint8).reshape(-1, _WIDTH)
    return made


def unit_digests(space: UnitSpace, unit: str) -> Digests:
    """Return a digest of the complete key of every instance of a unit, shape (n, 16)."""
    closure = space.model.closure((unit,))
    n = space.size(unit)
    if not n:
        return np.empty((0, _WIDTH), np.uint8)
    own = {unit: np.arange(n, dtype=np.int32)}
    parts = [map(_key_parts(space, u).__getitem__, space.column(own, u).tolist()) for u in closure]
    head = digest(b"unit", *(u.encode() for u in closure))
    made = [blake2b(head + b"".join(row), digest_size=_WIDTH).digest() for row in zip(*parts, strict=True)]
    return np.frombuffer(b"".join(made), np.uint8).reshape(n, _WIDTH)


def _key_parts(space: UnitSpace, unit: str) -> list[bytes]:
    """Return the key of every instance of a unit as it enters digests."""
    # An int and a str are told apart by their tag, and lengths keep neighbours apart.
    keys = np.asarray(space.tables[unit].keys).tolist()
    tagged = [b"i%d" % key if isinstance(key, int) else b"s" + key.encode() for key in keys]
    return [b"%d:%b" % (len(t), t) for t in tagged]


def quantum_identities(
    task_key: bytes,
    quanta: QuantumTable,
    inputs: Sequence[FieldInput],
    units: Callable[[str], Digests],
) -> Digests:
    """Return the identity of every quantum of a task.

    Parameters
    ----------
    task_key : bytes
        16 bytes: identity of the task's class, version and config.
    quanta : QuantumTable
        The quanta.
    inputs : sequence of FieldInput
        What they read.
    units : callable
        Gives `unit_digests` of a unit.

    Returns
    -------
    numpy.ndarray
        Shape (n, 16), uint8.
    """
    inputs = sorted(inputs, key=lambda f: f.field)
    head = digest(
        _LAYOUT,
        task_key,
        *(b"unit " + u.encode() for u in quanta.columns),
        *(b"input " + f.field.encode() for f in inputs),
        b"with parameters" if quanta.parameters is not None else b"",
    )
    fixed = [(units(u), codes) for u, codes in quanta.columns.items()]
    if quanta.parameters is not None:
        own = b"".join(
            digest(b"parameters", canonical(parameter_values(p, meta=False))) for p in quanta.parameters
        )
        parameters = np.frombuffer(own, np.uint8).reshape(-1, _WIDTH)
        fixed.append((parameters, np.arange(quanta.n)))
    result = np.empty((quanta.n, _WIDTH), np.uint8)
    counts = [f.edges.counts() for f in inputs]
    for members, sizes in _equal_counts(counts, quanta.n):
        begun = blake2b(head + np.array(sizes, "<u4").tobytes(), digest_size=_WIDTH)
        for begin in range(0, len(members), _CHUNK):
            part = members[begin : begin + _CHUNK]
            columns = [digests[codes[part]] for digests, codes in fixed]
            for field, size in zip(inputs, sizes, strict=True):
                if size:
                    found = field.identities(_rows_of(field.edges, part, size))
                    columns.append(found.reshape(len(part), size * _WIDTH))
            result[part] = _hash_rows(begun, columns, len(part))
    return result


def _equal_counts(
    counts: Sequence[npt.NDArray[np.int64]], n: int
) -> list[tuple[npt.NDArray[np.int64], list[int]]]:
    """Sort quanta by how many inputs they have in each field, so that each batch has equal widths."""
    varying = [c for c in counts if n and c.min() != c.max()]
    if not varying:
        return [(np.arange(n), [int(c[0]) for c in counts])] if n else []
    groups = group(pack(varying, [int(c.max()) + 1 for c in varying]))
    rows = np.arange(n) if groups.rows is None else groups.rows
    batches = []
    for begin, end in zip(groups.indptr, groups.indptr[1:], strict=False):
        members = rows[begin:end]
        batches.append((members, [int(c[members[0]]) for c in counts]))
    return batches


def _rows_of(edges: Edges, quanta: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    if edges.indptr is None:
        return quanta if edges.rows is None else edges.rows[quanta]
    places = (edges.indptr[quanta][:, None] + np.arange(size)).ravel()
    return places if edges.rows is None else edges.rows[places]  # type: ignore[no-any-return]


def _hash_rows(begun: blake2b, columns: Sequence[Digests], n: int) -> Digests:
    """Return the digests of what has begun so, each continued with one row of all columns."""
    if not columns:
        return np.tile(np.frombuffer(begun.digest(), np.uint8), (n, 1))
    matrix = np.concatenate(columns, axis=1)
    # One bytes object for each row is the cheapest way into hashlib, and a copy of what has begun cheaper
    # than to begin anew.
    rows = np.ascontiguousarray(matrix).view(f"V{matrix.shape[1]}").ravel().tolist()
    made = []
    for row in rows:
        each = begun.copy()
        each.update(row)
        made.append(each.digest())
    return np.frombuffer(b"".join(made), np.uint8).reshape(-1, _WIDTH)
