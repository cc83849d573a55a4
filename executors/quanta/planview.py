"""What running a quantum asks of a plan: a whole `ScienceDag`, or one bundle's part of it, gives it.

So a job that has but its bundle needs no HDF5, whose import would be a third of its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from graphbuilder.dag.values import Outline, QuantumRecord, TaskNode
from supertask.quanta import Quantum
from supertask.units import UnitModel

__all__ = ["PlanView"]


class _Meta(Protocol):
    @property
    def output_run(self) -> str:
        """RUN collection that outputs are written to."""


class _Quanta(Protocol):
    def __getitem__(self, index: int, /) -> Quantum:
        """Return a quantum by its number in the plan."""


class PlanView(Protocol):
    """A plan, as the runner sees it. Quanta are known by their numbers in the whole plan."""

    @property
    def meta(self) -> _Meta:
        """Where it writes."""

    @property
    def model(self) -> UnitModel:
        """Unit model of the repository."""

    @property
    def tasks(self) -> Sequence[TaskNode]:
        """Its tasks, in order."""

    @property
    def quanta(self) -> _Quanta:
        """Its quanta, made on demand."""

    def record(self, i: int) -> QuantumRecord:
        """Return all that is needed to run a quantum."""

    def records(self, indices: Sequence[int]) -> list[QuantumRecord]:
        """Return `record` of several."""

    def outlines(self, indices: Sequence[int]) -> list[Outline]:
        """Return what can be said of several quanta without making them."""

    def successors(self) -> Any:
        """Return who waits for whom: for each quantum where its own begin, and all of them."""
