"""What came of a simulated run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Simulated"]


@attrs.frozen(kw_only=True)
class Simulated:
    """What a run would take. Times are in seconds; those of slots are summed over all of them."""

    slots: int
    makespan: float
    """From the call until it returns."""
    work: float
    """Of slots: quanta that succeeded, without what they share."""
    overhead: float
    """Of slots: making what quanta share."""
    retries: float
    """Of slots: attempts that failed, or were killed."""
    latency: float
    """Of slots: starting jobs, and what the framework does between quanta."""
    critical_path: float
    """Of the plan: its longest chain of quanta, without anything else."""
    driver: float
    """That the driver is busy."""
    jobs: int
    attempts: int
    counts: Mapping[str, int]
    """Status → how many quanta end with it."""
    stopped: str = ""
    """Why nothing more was handed out, where it stopped."""

    @property
    def capacity(self) -> float:
        """Of slots: all of it."""
        return self.slots * self.makespan

    @property
    def idle(self) -> float:
        """Of slots: when there is nothing to do for them, or the driver has not come to hand it out."""
        return max(0.0, self.capacity - self.work - self.overhead - self.retries - self.latency)

    @property
    def utilisation(self) -> float:
        """Share of what slots could do that is work."""
        return self.work / self.capacity if self.capacity else 0.0

    @property
    def bound(self) -> float:
        """No run with so many slots can take less: the critical path, or all work divided among them."""
        return max(self.critical_path, self.work / self.slots)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        derived = ("capacity", "idle", "utilisation", "bound")
        return {**attrs.asdict(self), **{name: getattr(self, name) for name in derived}}
