"""The answer to why a quantum is, or is not, in a plan."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import attrs

from supertask.dataids import DataId

__all__ = ["Explanation", "Verdict"]


class Verdict(enum.Enum):
    """Whether a quantum is in a plan, and at which hurdle it fell if not."""

    PLANNED = "planned"
    LEFT_OUT = "left out"
    """Planning saw it and left it out."""
    UNKNOWN = "unknown"
    """The repository does not have the units that it names."""
    NOT_SELECTED = "not selected"
    """The data-ID expression is false for it."""
    NO_RELATION = "not related"
    """A relation has no row for it."""
    NO_INPUT = "no input"
    """An input that must have been there is missing."""
    UPSTREAM = "nothing upstream"
    """An input that the plan should make is not made."""
    NOTHING_TO_DO = "nothing to do"
    """None of these: the task's own `defineQuanta` does not make it."""


@attrs.frozen
class Explanation:
    """Why a quantum is, or is not, in a plan."""

    label: str
    dataId: DataId
    verdict: Verdict
    lines: tuple[str, ...]
    """The reasons, one a line."""
    because: tuple[Explanation, ...] = ()
    """Why quanta are missing that should have made its inputs."""

    def __str__(self) -> str:
        return "\n".join(self._told(""))

    def _told(self, margin: str) -> Iterator[str]:
        yield f"{margin}{self.label} {self.dataId}: {self.verdict.value}"
        yield from (f"{margin}  {line}" for line in self.lines)
        for cause in self.because:
            yield from cause._told(margin + "  ")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return {
            "label": self.label,
            "dataId": dict(self.dataId),
            "verdict": self.verdict.value,
            "lines": list(self.lines),
            "because": [cause.to_dict() for cause in self.because],
        }
