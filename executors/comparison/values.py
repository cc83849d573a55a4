"""What is told of two runs that are compared."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["Change", "DataComparison", "InputComparison", "PartSummary", "RunComparison", "TaskComparison"]


@attrs.frozen
class Change:
    """One thing that two runs were made with that differs."""

    what: str
    """Such as ``config kernel``, ``source``, ``package numpy``."""
    a: str
    b: str
    task: str = ""
    """Label, where it is of one task."""


@attrs.frozen(kw_only=True)
class TaskComparison:
    """What one task came to in each run: first the one, then the other."""

    label: str
    counts: tuple[dict[str, int], dict[str, int]]
    """Status → quanta."""
    cpu: tuple[float, float]
    """Seconds."""
    wall: tuple[float, float]
    """Seconds."""
    peak_memory: tuple[int, int]
    """Bytes."""
    bytes_written: tuple[int, int]


@attrs.frozen(kw_only=True)
class InputComparison:
    """Datasets of one type that were there before and that quanta of the runs read."""

    name: str
    same: int
    """Of equal identity."""
    replaced: int
    """Of equal data ID, and another identity: ingested or made anew."""
    only_a: int
    """What the other need not read, as it reused what was made of it, does not count."""
    only_b: int


@attrs.frozen(kw_only=True)
class PartSummary:
    """How one plane, column or place differs, over all datasets of a type that were compared."""

    what: str
    datasets: int
    """In how many it differs beyond the tolerance."""
    values: int
    """How many values were compared."""
    differing: int
    """How many of these differ beyond the tolerance."""
    most: float
    """Largest absolute difference."""
    mean: float
    """Mean absolute difference over all values."""
    note: str = ""
    """Of the first that has one."""
    where: str = ""
    """The dataset that has the largest difference."""


@attrs.frozen(kw_only=True)
class DataComparison:
    """Datasets of one type that the two runs made."""

    name: str
    storage: str
    """Storage format."""
    same: int
    """Of equal identity, or of equal bytes: not looked into."""
    equal: int = 0
    """Of other bytes, and nothing differs."""
    close: int = 0
    """What differs is within the tolerance."""
    differ: int = 0
    only_a: int = 0
    only_b: int = 0
    reused: int = 0
    """Only one run has them, and the other's plan reused what was there."""
    unread: int = 0
    """Could not be compared: a file is gone, say."""
    passed_over: int = 0
    """Left out, as only a sample was asked for."""
    parts: tuple[PartSummary, ...] = ()
    """Of what differs."""

    @property
    def is_same(self) -> bool:
        """Whether nothing differs beyond the tolerance."""
        return not (self.differ or self.only_a or self.only_b or self.unread)


@attrs.frozen(kw_only=True)
class RunComparison:
    """What two runs do not share."""

    a: str
    b: str
    changes: tuple[Change, ...]
    tasks: tuple[TaskComparison, ...]
    inputs: tuple[InputComparison, ...]
    data: tuple[DataComparison, ...]
    problems: tuple[str, ...] = ()
    """What could not be compared, and why."""

    @property
    def is_same(self) -> bool:
        """Whether the data of both are the same within the tolerance, whatever they were made with."""
        return all(d.is_same for d in self.data)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return {"same": self.is_same, **attrs.asdict(self)}
