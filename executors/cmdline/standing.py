"""What the engine says of a run's jobs, beside what is in the journal: nobody need drive the run for that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

__all__ = ["Standing", "lives", "standing"]


@attrs.define
class Standing:
    """Jobs of a run that were not collected yet."""

    engine: str = ""
    waiting: int = 0
    """Jobs that have not begun."""
    running: int = 0
    gone: int = 0
    """Jobs that ended."""
    ended: int = 0
    """Quanta that ended in these jobs; the journal of the run does not know of it yet."""
    why: str = ""
    """Why the engine does not say, where it does not."""

    def __str__(self) -> str:
        if self.why:
            return f"what {self.engine} has of the run's jobs is not known: {self.why}"
        return (
            f"{self.engine}: {self.waiting} jobs wait, {self.running} run, {self.gone} ended and are to be "
            f"collected; {self.ended} quanta ended in them"
        )


def standing(home: Path) -> Standing | None:
    """Return how the jobs in a folder stand; None where no engine was given any."""
    if not (home / ".slurm").is_dir():
        return None
    from executors.batch import JobState
    from executors.jobs.pieces import Piece
    from executors.jobs.settling import jobs_in
    from supertask.errors import ExecutionError

    jobs = jobs_in([home])
    found = Standing(engine="Slurm")
    for job in jobs:
        found.ended += sum(line.said["event"] == "end" for line in Piece(job).read())
    try:
        states = _states(home, [job.path.name for job in jobs])
    except ExecutionError as error:
        found.why = str(error)
        return found
    found.waiting = sum(s is JobState.WAITING for s in states.values())
    found.running = sum(s is JobState.RUNNING for s in states.values())
    found.gone = len(jobs) - found.waiting - found.running
    return found


def lives(home: Path, names: Sequence[str]) -> bool:
    """Tell whether any of some jobs waits or runs; True where nobody can say."""
    from executors.batch import JobState
    from supertask.errors import ExecutionError

    if not (home / ".slurm").is_dir():
        return True
    try:
        return any(s is not JobState.GONE for s in _states(home, names).values())
    except ExecutionError:
        return True


def _states(home: Path, names: Sequence[str]) -> dict[str, object]:
    from executors.slurm.controller import Controller
    from executors.slurm.framework import SlurmFramework
    from executors.slurm.pilots import SlurmPilotFramework

    kind = SlurmPilotFramework if (home / ".pilots").is_dir() else SlurmFramework
    framework = kind(controller=Controller(patience=10.0))
    framework.open(home)
    return dict(framework.states(names))
