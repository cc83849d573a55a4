"""What quanta cost in earlier runs: a record that runs export and planners read.

A costs file is JSON::

    {"format": "supertask-costs", "version": 1, "tasks": [
      {"label": "isr", "source": "u/me/run1", "quanta": 48, "cpu": 12.5, "wall": 14.0,
       "peak_memory": 350000000, "bytes_read": 96000000, "bytes_written": 96000000}]}

Seconds and bytes are sums over all quanta of the record, `peak_memory` is the most that one used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs

from supertask.errors import PreflightError, Problems

__all__ = ["TaskCost", "merged", "read_costs", "write_costs"]

FORMAT = "supertask-costs"
VERSION = 1


@attrs.frozen
class TaskCost:
    """What the quanta of one task cost in earlier runs."""

    label: str
    quanta: int
    """How many were measured."""
    cpu: float
    """Seconds, all together."""
    wall: float
    """Seconds, all together, one after the other."""
    peak_memory: int
    """Bytes: the most that one used."""
    bytes_read: int = 0
    bytes_written: int = 0
    source: str = ""
    """The runs that were measured."""


def merged(costs: Iterable[TaskCost]) -> dict[str, TaskCost]:
    """Add up the records of each task."""
    found: dict[str, TaskCost] = {}
    for cost in costs:
        if not cost.quanta:
            continue
        other = found.get(cost.label)
        found[cost.label] = cost if other is None else TaskCost(
            cost.label,
            other.quanta + cost.quanta,
            other.cpu + cost.cpu,
            other.wall + cost.wall,
            max(other.peak_memory, cost.peak_memory),
            other.bytes_read + cost.bytes_read,
            other.bytes_written + cost.bytes_written,
            ", ".join(dict.fromkeys(s for s in (other.source, cost.source) if s)),
        )  # fmt: skip
    return found


def write_costs(path: str | Path, costs: Sequence[TaskCost]) -> None:
    """Write a costs file."""
    content = {"format": FORMAT, "version": VERSION, "tasks": [attrs.asdict(c) for c in costs]}
    Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_costs(path: str | Path) -> list[TaskCost]:
    """Read a costs file.

    Raises
    ------
    PreflightError
        It is missing or not one; names every record that is not right.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PreflightError(f"cannot read the costs in {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise PreflightError(f"{path} is not a costs file: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise PreflightError(f"{path} is not a costs file: write one with supertask report … --costs FILE")
    if content.get("version") != VERSION:
        raise PreflightError(f"{path} is of version {content.get('version')!r}, and {VERSION} is read here")
    problems = Problems(f"costs in {path}")
    tasks = content.get("tasks")
    found = [_task(i, said, problems) for i, said in enumerate(tasks if isinstance(tasks, list) else [])]
    problems.raise_if_any(PreflightError)
    return [f for f in found if f is not None]


_NUMBERS = ("quanta", "cpu", "wall", "peak_memory", "bytes_read", "bytes_written")
_WHOLE = ("quanta", "peak_memory", "bytes_read", "bytes_written")


def _task(i: int, said: Any, problems: Problems) -> TaskCost | None:
    if not isinstance(said, dict) or not isinstance(said.get("label"), str):
        problems.add(f"record {i} has no label")
        return None
    values: dict[str, Any] = {"label": said["label"], "source": str(said.get("source", ""))}
    for name in _NUMBERS:
        value = said.get(name, 0)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or value < 0:
            problems.add(f"record {i} ({said['label']!r}): {name} is {value!r}, not a number of 0 or more")
            return None
        values[name] = int(value) if name in _WHOLE else float(value)
    return TaskCost(**values)
