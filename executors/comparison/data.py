"""Pairs the datasets of two runs by data ID and says how far those differ that are not the same."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from executors.comparison.values import DataComparison, PartSummary
from supertask.butler.datastore import Datastore
from supertask.butler.port import AbstractButler
from supertask.butler.querying import row_handles
from supertask.datasets import Dataset
from supertask.errors import StorageError
from supertask.formats.differences import Difference, Tolerance
from supertask.formats.find import find_format
from supertask.rows import FileRecord

__all__ = ["Side", "compare_type", "types_of"]

_PROBLEMS = 20


@attrs.frozen(eq=False)
class Side:
    """One of the two runs."""

    butler: AbstractButler
    run: str

    store: Datastore = attrs.field(init=False)
    """Its files."""

    @store.default
    def _files(self) -> Datastore:
        return Datastore(self.butler.root)


@attrs.define
class _Sum:
    """Adds up how one part differs."""

    what: str
    datasets: int = 0
    values: int = 0
    differing: int = 0
    most: float = 0.0
    total: float = 0.0
    note: str = ""
    where: str = ""

    def summary(self) -> PartSummary:
        mean = self.total / self.values if self.values else 0.0
        return PartSummary(
            what=self.what, datasets=self.datasets, values=self.values, differing=self.differing,
            most=self.most, mean=mean, note=self.note, where=self.where,
        )  # fmt: skip


def compare_type(
    dataset_type: type[Dataset],
    a: Side,
    b: Side,
    tolerance: Tolerance,
    *,
    sample: int | None = None,
    reused: tuple[bool, bool] = (False, False),
    problems: list[str],
) -> DataComparison | None:
    """Compare the datasets of one type; None where neither run has any.

    Parameters
    ----------
    dataset_type : dataset type
        Its storage format says how values differ.
    a, b : Side
        The runs.
    tolerance : Tolerance
        How far numbers may be apart.
    sample : int, optional
        Compare so many of those whose identity differs, evenly spread; all unless given.
    reused : tuple of bool, optional
        Whether the plan of `b` reused what was in `a`, and the other way: what one has alone is then shared.
    problems : list of str
        Takes what could not be compared.
    """
    same, suspects, only_a, only_b = _paired(dataset_type, a, b)
    if not (same or suspects or only_a or only_b):
        return None
    chosen = suspects
    if sample is not None and len(suspects) > sample:
        chosen = [suspects[i] for i in np.linspace(0, len(suspects) - 1, sample).round().astype(int)]
    counts = {"equal": 0, "close": 0, "differ": 0, "unread": 0}
    sums: dict[str, _Sum] = {}
    for dataset in chosen:
        ours, theirs = (s.butler.locate(dataset, collections=[s.run]) for s in (a, b))
        if (
            ours.checksum
            and ours.checksum == theirs.checksum
            and _untouched(a, ours)
            and _untouched(b, theirs)
        ):
            same += 1
            continue
        try:
            found = _compare(dataset, (a, ours), (b, theirs), tolerance)
        except StorageError as error:
            counts["unread"] += 1
            if counts["unread"] <= _PROBLEMS:
                problems.append(str(error))
            continue
        counts["equal" if found.is_equal else "close" if found.is_close else "differ"] += 1
        _add(sums, found, str(dataset))
    return DataComparison(
        name=dataset_type.name,
        storage=dataset_type.storage,
        same=same,
        only_a=0 if reused[0] else only_a,
        only_b=0 if reused[1] else only_b,
        reused=only_a * reused[0] + only_b * reused[1],
        passed_over=len(suspects) - len(chosen),
        parts=tuple(s.summary() for s in sums.values() if s.datasets or s.most),
        **counts,
    )


def _untouched(side: Side, record: FileRecord) -> bool:
    """Tell whether a file has, as far as its size tells, the bytes that its checksum is of."""
    try:
        return os.stat(side.store.path(record.location)).st_size == record.size
    except OSError:
        return False


def _compare(
    dataset: Dataset, a: tuple[Side, FileRecord], b: tuple[Side, FileRecord], tolerance: Tolerance
) -> Difference:
    """Read two values and compare them.

    Raises
    ------
    StorageError
        A file cannot be read, or its values cannot be compared.
    """
    values = [
        side.store.read(type(dataset), record.location, what=f"{dataset} of run {side.run}")
        for side, record in (a, b)
    ]
    try:
        return find_format(type(dataset).storage).compare(values[0], values[1], tolerance)
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise StorageError(
            f"{dataset} cannot be compared as {type(dataset).storage}: {type(error).__name__}: {error}"
        ) from error


def _add(sums: dict[str, _Sum], found: Difference, where: str) -> None:
    for part in found.parts:
        known = sums.setdefault(part.what, _Sum(part.what))
        known.values += part.n
        known.differing += part.differing
        known.total += part.mean * part.n
        if part.differing:
            known.datasets += 1
            known.note = known.note or part.note
            known.where = known.where or where
        if part.most > known.most:
            known.most, known.where = part.most, where


def _paired(dataset_type: type[Dataset], a: Side, b: Side) -> tuple[int, list[Dataset], int, int]:
    """Return how many are the same, those that may differ, and how many only one run has."""
    ours, theirs = _identities(dataset_type, a), _identities(dataset_type, b)
    suspects = [d for d, identity in ours.items() if theirs.get(d, identity) != identity]
    shared = sum(1 for d in ours if d in theirs)
    return shared - len(suspects), sorted(suspects), len(ours) - shared, len(theirs) - shared


def _identities(dataset_type: type[Dataset], side: Side) -> dict[Dataset, bytes]:
    """Return the identity of each dataset of a type in a run."""
    if dataset_type.name not in side.butler.dataset_types():
        return {}
    with side.butler.reader(collections=[side.run]) as reader:
        rows = reader.datasets(dataset_type)
        digests = np.ascontiguousarray(rows.identities).tobytes()
        handles = row_handles(side.butler.model, reader, rows)
        return {d: digests[16 * i : 16 * i + 16] for i, d in enumerate(handles)}


def types_of(sides: Sequence[Side]) -> Iterator[type[Dataset]]:
    """Yield the dataset types that some of the repositories know, each once."""
    known: dict[str, type[Dataset]] = {}
    for side in sides:
        known = {**side.butler.dataset_types(), **known}
    yield from (known[name] for name in sorted(known))
