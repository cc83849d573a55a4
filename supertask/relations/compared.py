"""What is stored of a relation against what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.butler.port import AbstractButler, Reader
from supertask.relations.rowids import RowIds
from supertask.rows import RelationRows
from supertask.units import UnitModel

__all__ = ["Comparison", "Corrected", "compare_rows", "correct", "data_ids", "n_rows", "unique_rows"]

Int = npt.NDArray[np.int64]


@attrs.frozen(eq=False)
class Comparison:
    """A stored relation, or a part of it, against what was computed or given anew."""

    stored: int
    """Rows stored."""
    computed: int
    """Rows that should be."""
    missing: RelationRows
    """Those that should be and are not stored."""
    extra: RelationRows
    """Those that are stored and should not be: of older footprints, say, or given by hand."""

    @property
    def same(self) -> bool:
        """Whether neither is missing nor extra."""
        return not n_rows(self.missing) and not n_rows(self.extra)


@attrs.frozen
class Corrected:
    """What `correct` did."""

    added: int
    removed: int


def n_rows(rows: RelationRows) -> int:
    """Return how many rows there are."""
    return len(next(iter(rows.units.values())))


def compare_rows(stored: RelationRows, computed: RelationRows) -> Comparison:
    """Compare two sets of rows of one relation.

    Parameters
    ----------
    stored, computed : RelationRows
        Of the same relation, in any order; rows said twice count once.
    """
    names = list(computed.units)
    there, wanted = unique_rows(stored, names), unique_rows(computed, names)
    both = np.concatenate([there, wanted])
    _, inverse, counts = np.unique(both, axis=0, return_inverse=True, return_counts=True)
    alone = counts[inverse.reshape(-1)] == 1

    def picked(rows: Int, which: npt.NDArray[np.bool_]) -> RelationRows:
        return RelationRows(computed.relation, {n: rows[which, i] for i, n in enumerate(names)})

    return Comparison(
        len(there), len(wanted), picked(wanted, alone[len(there) :]), picked(there, alone[: len(there)])
    )


def unique_rows(rows: RelationRows, names: list[str]) -> Int:
    """Return each row once, sorted, with columns as in `names`: shape (n, k)."""
    whole = np.stack([rows.units[n] for n in names], axis=1)
    return np.unique(whole, axis=0) if len(whole) else whole


def correct(butler: AbstractButler, comparison: Comparison, *, remove_extra: bool = False) -> Corrected:
    """Store what is missing, and on demand remove what is extra.

    Parameters
    ----------
    butler : AbstractButler
        The repository that was compared.
    comparison : Comparison
        What is to be put right.
    remove_extra : bool, optional
        Whether to remove the rows that should not be; they stay unless asked, as they may have been
        given by hand.
    """
    added = butler.insert_relation_rows(comparison.missing) if n_rows(comparison.missing) else 0
    extra = comparison.extra
    removed = butler.remove_relation_rows(extra) if remove_extra and n_rows(extra) else 0
    return Corrected(added, removed)


def data_ids(
    reader: Reader, model: UnitModel, rows: RelationRows, limit: int = 100
) -> Iterator[dict[str, Any]]:
    """Yield the data IDs that rows relate, units in the model's order.

    Parameters
    ----------
    reader : Reader
        Of the repository the rows are of.
    model : UnitModel
        Its unit model.
    rows : RelationRows
        The rows.
    limit : int, optional
        Only so many, the first ones.
    """
    index = RowIds(reader, model)
    keys: dict[str, list[Any]] = {}
    for unit, ids in rows.units.items():
        keys |= {u: k.tolist() for u, k in index.keys(unit, ids[:limit]).items()}
    ordered = model.sort(keys)
    for values in zip(*(keys[u] for u in ordered), strict=True):
        yield dict(zip(ordered, values, strict=True))
