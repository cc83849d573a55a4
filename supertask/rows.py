"""Columns in which a Butler and the RepoGraph exchange units, datasets and relations in bulk.

A Butler numbers every instance of a unit with an integer ID of its own (``visit`` 42 of ``Cam``
may be row 7). Everything in bulk speaks of these IDs; keys are looked up once, at the edge.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.datasets import Dataset

__all__ = ["DatasetRows", "FileRecord", "RelationRows", "UnitRows", "ValidityRows"]

IdColumn = npt.NDArray[np.int64]


@attrs.frozen(eq=False)
class UnitRows:
    """Instances of one unit."""

    unit: str
    ids: IdColumn
    """Shape (n,), int64: the Butler's row IDs."""
    keys: npt.NDArray[Any]
    """Shape (n,): int64, or str as dtype object."""
    links: dict[str, IdColumn]
    """Parent and implied units → their row IDs, -1 where null."""
    fields: dict[str, npt.NDArray[Any]]
    """Field → values, shape (n,): int64, float64, bool, or object for str."""
    nulls: dict[str, npt.NDArray[np.bool_]]
    """Fields with nulls → where, shape (n,)."""


@attrs.frozen(eq=False)
class DatasetRows:
    """Datasets of one type, at most one for each data ID (the first found wins)."""

    dataset_type: type[Dataset]
    ids: IdColumn
    """Shape (n,), int64: the Butler's dataset IDs."""
    units: dict[str, IdColumn]
    """Leaf units of the type → row IDs of the unit, shape (n,)."""
    identities: npt.NDArray[np.uint8]
    """Shape (n, 16): content identity of each dataset."""
    locations: list[str]
    """Where each is stored: relative to the repository's root, or absolute."""
    sizes: npt.NDArray[np.int64]
    """Shape (n,), bytes, -1 where unknown."""


@attrs.frozen(eq=False)
class ValidityRows:
    """Calibrations of one type with the times for which they are valid."""

    datasets: DatasetRows
    begin: npt.NDArray[np.int64]
    """Shape (n,), TAI ns since 1970, inclusive."""
    end: npt.NDArray[np.int64]
    """Shape (n,), TAI ns since 1970, exclusive."""


@attrs.frozen(eq=False)
class RelationRows:
    """Rows of one relation."""

    relation: str
    units: dict[str, IdColumn]
    """Leaf units of both sides → row IDs, shape (n,)."""


@attrs.frozen
class FileRecord:
    """What is known of one stored dataset; what a worker reports and the registry keeps."""

    dataset: Dataset
    location: str
    """Relative to the repository's root, or absolute (a path or ``file:`` URI)."""
    size: int
    """Bytes."""
    checksum: str
    """``blake2b:`` and 32 hexadecimal digits, of the file's bytes; empty where not computed."""
    identity: bytes
    """16 bytes."""
