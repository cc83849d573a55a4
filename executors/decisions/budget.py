"""How much failure a run bears."""

from __future__ import annotations

import attrs

__all__ = ["Budget"]


@attrs.define
class Budget:
    """How many of some quanta may fail before nothing more is handed out."""

    name: str
    """Label of their task, empty for all quanta."""
    first: int
    """Index of the first."""
    stop: int
    """Index after the last."""
    allowed: int
    """So many failures are too many."""
    failed: int = 0

    def __str__(self) -> str:
        whose = f"of {self.name!r}" if self.name else "in all"
        return f"{self.failed} {whose} failed, and {self.allowed} are too many"
