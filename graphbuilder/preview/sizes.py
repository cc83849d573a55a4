"""Bytes of the datasets of a plan: known of those that are there, estimated of those it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler
from supertask.datasets import Dataset
from supertask.repograph.tables import DatasetTable

__all__ = ["TypeSizes", "sizes_of"]

_SAMPLE = 1000


@attrs.frozen(eq=False)
class TypeSizes:
    """Bytes of the datasets of one type in a plan."""

    dataset_type: type[Dataset]
    n: int
    made: bool
    """Whether the plan makes them."""
    each: npt.NDArray[np.float64] | float | None
    """Bytes of each, shape (n,), or of all alike; None where unknown."""
    source: str
    """Where the figure is from, in words."""

    @property
    def total(self) -> int | None:
        """Bytes of all, None where unknown."""
        if self.each is None:
            return None
        return round(self.each * self.n if isinstance(self.each, float) else float(self.each.sum()))

    def of(self, rows: npt.NDArray[Any]) -> float | None:
        """Return bytes of some rows, those repeated counted each time; None where unknown."""
        if self.each is None:
            return None
        return self.each * len(rows) if isinstance(self.each, float) else float(self.each[rows].sum())


def sizes_of(dag: ScienceDag, butler: AbstractButler | None = None) -> dict[type[Dataset], TypeSizes]:
    """Return the bytes of every dataset type of a plan.

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    butler : AbstractButler, optional
        Its repository: what the plan makes is estimated from what it has of the same types.
    """
    return {
        t: _estimated(dag, t, butler) if t in dag.producers else _known(dag, t, butler) for t in dag.datasets
    }


def _known(dag: ScienceDag, dataset_type: type[Dataset], butler: AbstractButler | None) -> TypeSizes:
    table = dag.datasets[dataset_type]
    if table.sizes is None:
        return TypeSizes(dataset_type, table.n, made=False, each=None, source="unknown")
    sizes = table.sizes[:].astype(float)
    unknown = np.flatnonzero(sizes < 0)
    if not len(unknown):
        return TypeSizes(dataset_type, table.n, made=False, each=sizes, source="as registered")
    looked = _looked_up(table, unknown, dag.meta.butler_root if butler is None else butler.root)
    known = np.concatenate([sizes[sizes >= 0], looked])
    if not len(known):
        return TypeSizes(dataset_type, table.n, made=False, each=None, source="unknown")
    sizes[unknown] = looked.mean() if len(looked) else known.mean()
    source = f"{len(unknown):,} of them by the mean of {len(looked) or len(known):,}"
    return TypeSizes(dataset_type, table.n, made=False, each=sizes, source=source)


def _looked_up(table: DatasetTable, rows: npt.NDArray[Any], root: str) -> npt.NDArray[np.float64]:
    """Ask the file system for the sizes of some files, a thousand at most, evenly spread."""
    if table.locations is None or not root:
        return np.empty(0)
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).astype(int)]
    found = []
    for row in chosen.tolist():
        location = str(table.locations[row])
        path = unquote(urlparse(location).path) if location.startswith("file:") else location
        try:
            found.append(float((Path(root) / path).stat().st_size))
        except OSError:
            continue
    return np.array(found)


def _estimated(dag: ScienceDag, dataset_type: type[Dataset], butler: AbstractButler | None) -> TypeSizes:
    n = dag.datasets[dataset_type].n
    each, source = None, "unknown: none was made before"
    if butler is not None and dataset_type.name in butler.dataset_types():
        runs = tuple(i.name for i in butler.collection_infos())
        with butler.reader(collections=runs or None) as reader:
            sizes = reader.datasets(dataset_type).sizes
        sizes = sizes[sizes >= 0]
        if len(sizes):
            each, source = float(sizes.mean()), f"by the mean of {len(sizes):,} made before"
    return TypeSizes(dataset_type, n, made=True, each=each, source=source)
