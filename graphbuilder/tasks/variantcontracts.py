"""Contracts held against the variants that overrides on data make, as far as their data meet.

The pipeline's own check knows tasks as they are configured. Which variants there are, and which of two
tasks' variants work on the same data, only a plan knows. Quanta of two tasks meet where the units that both
tell have the same values; where they tell none in common, each may meet each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import product
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.dataids import DataId
from supertask.errors import PipelineError, Problems
from supertask.pipelines.contracts import broken, labels_of
from supertask.pipelines.dataoverrides import DataOverride
from supertask.pipelines.pipeline import Pipeline, TaskDef
from supertask.repograph.tables import QuantumTable

__all__ = ["MadeVariant", "check_contracts"]


@attrs.frozen
class MadeVariant:
    """A variant of a task and what made it."""

    task: TaskDef
    overrides: tuple[DataOverride, ...]
    """None for the task's own configuration."""


def check_contracts(
    pipeline: Pipeline, made: Mapping[str, Sequence[MadeVariant]], tables: Sequence[QuantumTable]
) -> None:
    """Refuse variants that break a contract.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline, checked: its contracts hold for the tasks' own configurations.
    made : Mapping
        Label → its variants, in the order of their numbers; labels without any need not be there.
    tables : sequence of QuantumTable
        The quanta of all tasks.

    Raises
    ------
    PipelineError
        Names every contract that is broken, an example of data for which it is, and the overrides that do it.
    """
    problems = Problems("contracts, for data that overrides select")
    by_label = {table.label: table for table in tables if table.n}
    own = {label: task.config for label, task in pipeline.items()}
    for contract in pipeline.contracts:
        varied = sorted(label for label in labels_of(contract) if made.get(label) and label in by_label)
        meeting = _Meeting([by_label[label] for label in varied]) if varied else None
        for numbers in product(*(range(len(made[label])) for label in varied)) if meeting else ():
            variants = [made[label][k] for label, k in zip(varied, numbers, strict=True)]
            by = dict.fromkeys(str(o) for v in variants for o in v.overrides)
            configs = {**own, **{v.task.label: v.task.config for v in variants}}
            what = broken(contract, configs, pipeline.parameters) if by else ""
            example = meeting.example(numbers) if what and meeting else None
            if example is not None:
                problems.add(f"{what}, for {example} by {' and '.join(by)}")
    problems.raise_if_any(PipelineError)


class _Meeting:
    """Where quanta of several tasks work on the same data."""

    def __init__(self, tables: Sequence[QuantumTable]) -> None:
        self._tables = tables
        self._keys: list[npt.NDArray[np.int64]] | None = None

    def example(self, numbers: Sequence[int]) -> DataId | None:
        """Return the data ID of a quantum of the first task that meets some of the others, if there is one.

        Parameters
        ----------
        numbers : sequence of int
            The variant of each task.
        """
        if self._keys is None:
            self._keys = _keys(self._tables)
        rows = [_rows(table, k) for table, k in zip(self._tables, numbers, strict=True)]
        common = reduce(np.intersect1d, (keys[r] for keys, r in zip(self._keys, rows, strict=True)))
        if not len(common):
            return None
        first = self._tables[0]
        row = rows[0][np.argmax(self._keys[0][rows[0]] == common[0])]
        return first.space.data_ids(first.columns, np.array([row]), n=1)[0]


def _rows(table: QuantumTable, number: int) -> npt.NDArray[Any]:
    return np.arange(table.n) if table.variants is None else np.flatnonzero(table.variants == number)


def _keys(tables: Sequence[QuantumTable]) -> list[npt.NDArray[np.int64]]:
    """Return, for each quantum of each task, a number that is the same where the data are."""
    space = tables[0].space
    units = [u for u in space.tables if all(space.determines(t.columns, u) for t in tables)]
    keys = np.zeros(sum(t.n for t in tables), np.int64)
    for unit in units if len(tables) > 1 else ():
        codes = np.concatenate([space.column(t.columns, unit) for t in tables]).astype(np.int64)
        # Numbered anew each time, so that no number of units overflows.
        _, keys = np.unique(keys * (space.size(unit) + 1) + codes + 1, return_inverse=True)
    return list(_split(keys, [t.n for t in tables]))


def _split(keys: npt.NDArray[np.int64], lengths: Sequence[int]) -> Iterator[npt.NDArray[np.int64]]:
    start = 0
    for n in lengths:
        yield keys[start : start + n]
        start += n
