"""How much of a plan was reused from earlier runs, in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

__all__ = ["Replaced", "Reused", "TaskReuse"]


@attrs.frozen
class Replaced:
    """How much of its output run a plan replaces."""

    token: str
    """Tells this plan from others that replace the same."""
    datasets: dict[str, int]
    """Dataset type → how many."""
    size: int
    """Bytes, as far as they are known."""

    @property
    def count(self) -> int:
        """How many datasets there are."""
        return sum(self.datasets.values())


@attrs.frozen
class TaskReuse:
    """What becomes of the planned quanta of one task."""

    label: str
    planned: int
    run: int
    """How many must run."""
    runs: dict[str, int]
    """Run → how many quanta are reused from it; outputs of several runs count for the first."""
    without: int
    """How many need not run although nothing of them is there: nobody needs it, or they have no work."""
    because: dict[str, int]
    """Why → how many must run."""
    differs: dict[str, int]
    """What differs of the task (``config kernel: 'a' → 'b'``) → how many quanta of earlier runs."""
    aside: int = 0
    """How many are not there either, and were not asked for: only what failed was, say."""

    @property
    def reused(self) -> int:
        """How many need not run."""
        return self.planned - self.run - self.aside


@attrs.frozen
class Reused:
    """How much of a plan is reused."""

    tasks: tuple[TaskReuse, ...]

    @property
    def planned(self) -> int:
        """How many quanta there are."""
        return sum(t.planned for t in self.tasks)

    @property
    def run(self) -> int:
        """How many of them must run."""
        return sum(t.run for t in self.tasks)

    @property
    def aside(self) -> int:
        """How many are not there, and were not asked for."""
        return sum(t.aside for t in self.tasks)

    def __str__(self) -> str:
        return "\n".join(self._told())

    def _told(self) -> Iterator[str]:
        for t in self.tasks:
            yield f"{t.label}: {t.reused:,} of {t.planned:,} reused, {t.run:,} to run"
            yield from (f"  {n:,} reused from {run}" for run, n in t.runs.items())
            if t.without:
                yield f"  {t.without:,} not needed, or known to have no work"
            if t.aside:
                yield f"  {t.aside:,} not there either, and not asked for"
            yield from (f"  {n:,} to run: {why}" for why, n in t.because.items())
            yield from (f"    {what} ({n:,} quanta)" for what, n in t.differs.items())

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Reused:
        """Return what `to_dict` gave."""
        return cls(tuple(TaskReuse(**t) for t in plain["tasks"]))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return {"planned": self.planned, "run": self.run, "tasks": [attrs.asdict(t) for t in self.tasks]}
