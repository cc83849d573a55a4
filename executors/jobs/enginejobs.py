"""What an engine is given, and what it says of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import attrs

__all__ = ["SLOTS", "Chained", "EngineView", "Job", "JobState", "Measured"]

SLOTS = 1000
"""How many jobs an engine is given at most at once, unless told otherwise."""


class JobState(enum.Enum):
    """Where a job stands, as its engine says."""

    WAITING = "waiting"
    RUNNING = "running"
    GONE = "gone"
    """Ended, however; or the engine knows nothing of it."""


@attrs.frozen(kw_only=True)
class Measured:
    """What a job is taken to need by what its tasks were measured to need, with room for error: no limits."""

    memory: int
    """Bytes, all told."""
    seconds: float


@attrs.frozen(kw_only=True)
class Job:
    """What an engine is given."""

    name: str
    """No other job of the run has it. Letters, digits and ``-``."""
    folder: Path
    command: tuple[str, ...]
    """Program and arguments; no shell is needed."""
    quanta: int
    """How many it runs."""
    labels: tuple[str, ...]
    """Of their tasks."""
    memory: int | None = None
    """Bytes that it needs, where a limit is known."""
    seconds: float | None = None
    """That it may take at most, where limits are known for all of its quanta."""
    measured: Measured | None = None
    """What it is taken to need; None where a task of its was not measured when the plan was bundled."""
    cores: int = 1
    """Processor cores that its tasks' submit hooks ask for."""
    precedence: int = 0
    """0 where its tasks have the greatest priority of all in the run, as submit hooks say; else below 0."""


@attrs.frozen
class Chained:
    """A job that is submitted before those that it waits for have run."""

    job: Job
    after: tuple[str, ...] = ()
    """Names of jobs that must have ended, well or not; these come before it."""


class EngineView(Protocol):
    """An engine as it is seen by who looks at a run, and neither drives it nor does anything about it."""

    def open(self, home: Path) -> None:
        """Find what an earlier driver submitted for the jobs in a folder.

        Raises
        ------
        ExecutionError
            The engine is not installed on this host, or cannot be reached.
        """

    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """Say where jobs stand; those left out are gone."""

    def held(self, names: Sequence[str]) -> Mapping[str, str]:
        """Say which of some jobs do not run until somebody lets them go, and why; asked after `states`."""
