"""What the engine says of a run's jobs, beside what is in the journal: nobody need drive the run for that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from executors.jobs.enginejobs import EngineView

__all__ = ["Standing", "lives", "standing"]

_PATIENCE = 10.0
_TRACES = {".slurm": "Slurm", ".condor": "HTCondor", ".dagman": "HTCondor"}
"""Folder beside those of jobs → the engine that was given some."""


@attrs.define
class Standing:
    """Jobs of a run that were not collected yet."""

    engine: str = ""
    waiting: int = 0
    """Jobs that have not begun."""
    held: int = 0
    """How many of these, or of those that began, the engine keeps until they are released."""
    running: int = 0
    gone: int = 0
    """Jobs that ended, as their folders say."""
    lost: int = 0
    """Jobs that the engine does not have, and that have not said that they ended: killed, or never begun."""
    ended: int = 0
    """Quanta that ended in these jobs; the journal of the run does not know of it yet."""
    why: str = ""
    """Why the engine does not say, where it does not."""
    why_held: str = ""
    """Of one of those that are held, in the engine's words."""

    def __str__(self) -> str:
        if self.why:
            return f"what {self.engine} has of the run's jobs is not known: {self.why}"
        said = (
            f"{self.engine}: {self.waiting} jobs wait, {self.running} run, {self.gone} ended and are to be "
            f"collected; {self.ended} quanta ended in them"
        )
        if self.held:
            said += f"\n{self.held} of those that wait are held: {self.why_held}"
        if self.lost:
            said += (
                f"\n{self.lost} jobs neither wait nor run nor ended: they were killed, or never began; "
                "whoever goes on with the run does what they did not"
            )
        return said


def standing(home: Path) -> Standing | None:
    """Return how the jobs in a folder stand; None where no engine was given any that are there."""
    from executors.jobs.enginejobs import JobState
    from executors.jobs.pieces import Piece
    from executors.jobs.settling import jobs_in
    from supertask.errors import ExecutionError

    engine = _engine_of(home)
    jobs = jobs_in([home]) if engine else []
    if not jobs:
        return None
    found = Standing(engine=engine)
    over: dict[str, bool] = {}
    for job in jobs:
        piece = Piece(job)
        found.ended += sum(line.said["event"] == "end" for line in piece.read())
        ending = piece.ending()
        over[job.path.name] = ending is not None and not ending.again
    try:
        framework = _framework(home, engine)
        states = framework.states(list(over))
        held = framework.held(list(over))
    except ExecutionError as error:
        found.why = str(error)
        return found
    for name, ended in over.items():
        state = states.get(name, JobState.GONE)
        # Where a folder says that its job ended and the engine that it runs, the folder is right.
        found.gone += ended
        if ended:
            continue
        found.held += name in held
        found.waiting += state is JobState.WAITING or (state is JobState.GONE and name in held)
        found.running += state is JobState.RUNNING
        found.lost += state is JobState.GONE and name not in held
    found.why_held = next(iter(held.values()), "")
    return found


def lives(home: Path, names: Sequence[str]) -> bool:
    """Tell whether any of some jobs waits or runs; True where nobody can say."""
    from executors.jobs.enginejobs import JobState
    from supertask.errors import ExecutionError

    engine = _engine_of(home)
    if not engine:
        return True
    try:
        framework = _framework(home, engine)
        return any(s is not JobState.GONE for s in framework.states(names).values()) or bool(
            framework.held(names)
        )
    except ExecutionError:
        return True


def _engine_of(home: Path) -> str:
    """Return which engine was given jobs in a folder, the last one; empty where none was."""
    there = [home / name for name in _TRACES if (home / name).is_dir()]
    return _TRACES[max(there, key=lambda trace: trace.stat().st_mtime).name] if there else ""


def _framework(home: Path, engine: str) -> EngineView:
    """Return an engine as it was given the jobs in a folder."""
    framework: EngineView
    if engine == "Slurm":
        from executors.slurm.controller import Controller
        from executors.slurm.framework import SlurmFramework
        from executors.slurm.pilots import SlurmPilotFramework

        kind = SlurmPilotFramework if (home / ".pilots").is_dir() else SlurmFramework
        framework = kind(controller=Controller(patience=_PATIENCE))
    else:
        from executors.condor.bindings import queue_of_host
        from executors.condor.framework import CondorFramework

        framework = CondorFramework(queue=queue_of_host(patience=_PATIENCE))
    framework.open(home)
    return framework
