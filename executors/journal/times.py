"""Times of a run's quanta, with what they shared dealt out among those that shared it.

Time spent on an overhead is measured once, where it was spent; it is dealt out evenly among all attempts that
used what it made, in whole nanoseconds, the remainder going to the first. So sums over quanta are what was
spent, whatever happened: failures, bundles that ended early, runs that were gone on with, several stages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from executors.journal.journal import Header, decode_attempt
from executors.journal.runfolder import RunFolder
from executors.outcome import Attempt, Making, Stage
from supertask.errors import ExecutionError

__all__ = ["Times", "times_of"]

_BODY = 9


@attrs.frozen(kw_only=True)
class Times:
    """Times of one attempt to run a quantum, in seconds."""

    index: int
    """Of the quantum in its plan."""
    identity: str
    """Hexadecimal."""
    label: str
    number: int
    """Of the attempt."""
    status: str
    time_pre_execute_task: float = 0.0
    """Spent on this quantum alone before `execute`."""
    time_pre_execute_bundle_overhead: float = 0.0
    """Its share of what was spent for several."""
    time_execute_task: float = 0.0
    time_execute_bundle_overhead: float = 0.0
    time_post_execute_task: float = 0.0
    time_post_execute_bundle_overhead: float = 0.0
    cpu_task: float = 0.0
    """CPU seconds on this quantum alone, in all stages."""
    cpu_bundle_overhead: float = 0.0
    """Its share of CPU seconds that were spent for several."""

    @property
    def time_pre_execute(self) -> float:
        """All of the stage `pre_execute`."""
        return self.time_pre_execute_task + self.time_pre_execute_bundle_overhead

    @property
    def time_execute(self) -> float:
        """All of the stage `execute`."""
        return self.time_execute_task + self.time_execute_bundle_overhead

    @property
    def time_post_execute(self) -> float:
        """All of the stage `post_execute`."""
        return self.time_post_execute_task + self.time_post_execute_bundle_overhead

    @property
    def time_bundle_overhead(self) -> float:
        """Its share of overheads in all stages."""
        return (
            self.time_pre_execute_bundle_overhead
            + self.time_execute_bundle_overhead
            + self.time_post_execute_bundle_overhead
        )

    @property
    def time_total(self) -> float:
        """All of it; over all quanta it adds up to what was spent."""
        return self.time_pre_execute + self.time_execute + self.time_post_execute

    @property
    def cpu_total(self) -> float:
        """CPU seconds, its share of overheads included."""
        return self.cpu_task + self.cpu_bundle_overhead

    def to_dict(self) -> dict[str, Any]:
        """Return all times by name, those derived too."""
        derived = [name for name, value in vars(Times).items() if isinstance(value, property)]
        return {**attrs.asdict(self), **{name: getattr(self, name) for name in derived}}


def times_of(root: str | Path, run: str) -> list[Times]:
    """Return the times of every attempt of a run that ended, in the order of the plan.

    Parameters
    ----------
    root : path
        Folder of the data repository.
    run : str
        The RUN collection.

    Raises
    ------
    ExecutionError
        The run has no journal.
    """
    folder = RunFolder(str(root), run)
    paths = sorted(folder.journal.glob("*.jsonl"))
    if not paths:
        raise ExecutionError(f"run {run!r} has no journal in {folder.journal}: nothing was executed into it")
    rows = [row for path in paths for row in _of_process(path)]
    return sorted(rows, key=lambda r: (r.index, r.number))


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            try:
                yield json.loads(line[_BODY:])
            except ValueError:
                continue  # torn, as its writer was killed


def _of_process(path: Path) -> list[Times]:
    attempts: list[Attempt] = []
    late: list[Making] = []
    header: Header | None = None
    for value in _lines(path):
        event = value.get("event")
        if event == "header":
            header = Header.from_line(value)
        elif event == "end" and header is not None:
            attempts.append(decode_attempt(value, header))
        elif event == "overhead":
            serial, name, wall, cpu, stage, inside = value["making"]
            late.append(Making(serial, name, wall, cpu, Stage(stage), inside))
    users: dict[int, list[int]] = {}
    for position, attempt in enumerate(attempts):
        for serial in attempt.uses:
            users.setdefault(serial, []).append(position)
    walls: list[dict[Stage, int]] = [{} for _ in attempts]
    cpus = [0] * len(attempts)
    makings = [(position, m) for position, a in enumerate(attempts) for m in a.makings]
    for position, making in [*makings, *((-1, m) for m in late)]:
        sharers = users.get(making.serial) or [position]
        for sharer, part in zip(sharers, _dealt(making.wall, len(sharers)), strict=True):
            walls[sharer][making.stage] = walls[sharer].get(making.stage, 0) + part
        for sharer, part in zip(sharers, _dealt(making.cpu, len(sharers)), strict=True):
            cpus[sharer] += part
    return [_times(a, walls[i], cpus[i]) for i, a in enumerate(attempts)]


def _dealt(spent: int, among: int) -> list[int]:
    """Return parts of a number of nanoseconds that add up to it."""
    part, rest = divmod(spent, among)
    return [part + (i < rest) for i in range(among)]


def _times(attempt: Attempt, shares: Mapping[Stage, int], cpu: int) -> Times:
    own = {stage: times[0] for stage, times in attempt.stages.items()}
    own[Stage.EXECUTE] = attempt.wall - sum(own.values())
    own_cpu = attempt.cpu
    for making in attempt.makings:
        if making.inside:
            own[making.stage] = own.get(making.stage, 0.0) - making.wall / 1e9
            own_cpu -= making.cpu / 1e9
    said: dict[str, float] = {}
    for stage in Stage:
        said[f"time_{stage.value}_task"] = own.get(stage, 0.0)
        said[f"time_{stage.value}_bundle_overhead"] = shares.get(stage, 0) / 1e9
    return Times(
        index=attempt.index,
        identity=attempt.identity.hex(),
        label=attempt.label,
        number=attempt.number,
        status=attempt.status.value,
        cpu_task=own_cpu,
        cpu_bundle_overhead=cpu / 1e9,
        **said,
    )
