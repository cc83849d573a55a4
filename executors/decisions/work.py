"""What a schedule hands out, and who runs it gets."""

from __future__ import annotations

import attrs

__all__ = ["Work"]


@attrs.frozen
class Work:
    """What is handed out at once, to be run in this order."""

    quanta: tuple[int, ...]
    bundle: int = -1
    """Its number, or -1 for quanta that are independent of each other."""
    absent: dict[int, tuple[int, ...]] = attrs.field(factory=dict)
    """Quantum → those it depends on that ended without all of their outputs."""
    lost: dict[int, tuple[int, ...]] = attrs.field(factory=dict)
    """Quantum → those it depends on that failed or were blocked, and that it runs without."""
    behind: dict[int, tuple[int, ...]] = attrs.field(factory=dict)
    """Quantum → those it depends on that were made without all that the plan means them to have."""
