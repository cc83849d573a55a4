"""Instances of WfFormat, versions 1.5 and 1.6: tasks, who waits for whom, files, and how long tasks ran.

What is read is checked as a whole; whatever is wrong is named at once.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from supertask.errors import PipelineError, Problems, did_you_mean

__all__ = ["VERSIONS", "Instance", "Job", "read_instance"]

VERSIONS = ("1.5", "1.6")
_LARGEST = 1 << 30
_SHOWN = 5
_LONGEST = 1000


@attrs.frozen(kw_only=True)
class Job:
    """One task of an instance."""

    id: str
    name: str
    parents: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    """IDs of files."""
    writes: tuple[str, ...] = ()
    program: str = ""
    seconds: float = 0.0
    """That it ran."""
    cores: float = 1.0
    memory: int = 0
    """Bytes."""


@attrs.frozen(kw_only=True)
class Instance:
    """A workflow and one execution of it."""

    name: str
    jobs: tuple[Job, ...]
    """Each after those that it waits for."""
    sizes: Mapping[str, int]
    """ID of a file → bytes, 0 where nothing is said."""
    makers: Mapping[str, str]
    """ID of a file → ID of the task that writes it; those that are there before have none."""
    levels: Mapping[str, int]
    """ID of a task → how many lie one after another before it."""
    notes: tuple[str, ...] = ()
    """What is odd and does no harm."""


def read_instance(path: str | Path) -> Instance:
    """Read an instance from its file.

    Raises
    ------
    PipelineError
        It cannot be read, is not WfFormat, or contradicts itself; names everything that is wrong.
    """
    try:
        size = os.stat(path).st_size
        if size > _LARGEST:
            raise PipelineError(
                f"{path} has {size:,} bytes; instances of more than {_LARGEST:,} are not read: they "
                "would not fit in memory. Take a smaller one"
            )
        said = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise PipelineError(f"{path} is no JSON: {error}; is it truncated?") from None
    return _Reading(str(path), said).instance()


class _Reading:
    def __init__(self, path: str, said: Any) -> None:
        self.problems = Problems(f"WfFormat instance {path}")
        self.notes: list[str] = []
        if not isinstance(said, dict) or not isinstance(said.get("workflow"), dict):
            self._stop('it has no "workflow"')
        version = said.get("schemaVersion")
        if version not in VERSIONS:
            self._stop(f"it is of schema version {version!r}, and {' and '.join(VERSIONS)} are read; "
                       "WfCommons has a tool that migrates others")  # fmt: skip
        specification = said["workflow"].get("specification")
        if not isinstance(specification, dict) or not specification.get("tasks"):
            self._stop("its workflow has no specification with tasks")
        self.name = str(said.get("name") or "workflow")
        self.tasks = self._rows(specification.get("tasks"), "task")
        self.files = self._rows(specification.get("files", []), "file")
        execution = said["workflow"].get("execution")
        self.ran = self._rows(execution.get("tasks", []) if isinstance(execution, dict) else [], "run time")

    def _stop(self, problem: str) -> None:
        self.problems.add(problem)
        self.problems.raise_if_any(PipelineError)

    def _rows(self, rows: Any, what: str) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for row in rows if isinstance(rows, list) else ():
            key = row.get("id") if isinstance(row, dict) else None
            if not isinstance(key, str) or not key or len(key) > _LONGEST:
                self.problems.add(f"a {what} has no id that is a text of 1 to {_LONGEST} characters")
            elif key in found:
                self.problems.add(f"{what} {key!r} is there twice")
            else:
                found[key] = row
        return found

    def instance(self) -> Instance:
        """Return what was read, once it is checked."""
        sizes = {file: self._size(file, row) for file, row in self.files.items()}
        reads = {task: self._names(task, row, "inputFiles") for task, row in self.tasks.items()}
        writes = {task: self._names(task, row, "outputFiles") for task, row in self.tasks.items()}
        makers = self._makers(writes)
        for task in self.tasks:
            both = sorted({*reads[task]} & {*writes[task]})
            if both:
                self.problems.add(f"task {task!r} reads and writes {both[0]!r}: a dataset is written once")
        parents = self._parents()
        undeclared = 0
        for task, files in reads.items():
            for file in files:
                maker = makers.get(file)
                if maker is not None and maker not in parents[task]:
                    parents[task][maker] = None
                    undeclared += 1
        if undeclared:
            self.notes.append(f"{undeclared} parents are not declared, and follow from files")
        levels = self._levels(parents)
        jobs = [
            self._job(task, parents[task], reads[task], writes[task])
            for task in sorted(self.tasks, key=lambda task: levels.get(task, 0))
        ]
        self.problems.raise_if_any(PipelineError)
        for files in (*reads.values(), *writes.values()):
            for file in files:
                sizes.setdefault(file, 0)
        return Instance(
            name=self.name,
            jobs=tuple(jobs),
            sizes=sizes,
            makers=makers,
            levels=levels,
            notes=tuple(self.notes),
        )

    def _size(self, file: str, row: Mapping[str, Any]) -> int:
        size = row.get("sizeInBytes", 0)
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            self.problems.add(
                f"file {file!r}: sizeInBytes is {size!r}, and must be a whole number of 0 or more"
            )
            return 0
        return size

    def _names(self, task: str, row: Mapping[str, Any], field: str) -> tuple[str, ...]:
        names = row.get(field) or []
        if not isinstance(names, list) or not all(
            isinstance(n, str) and 0 < len(n) <= _LONGEST for n in names
        ):
            self.problems.add(f"task {task!r}: {field} must be a list of texts of 1 to {_LONGEST} characters")
            return ()
        return tuple(dict.fromkeys(names))

    def _makers(self, writes: Mapping[str, Iterable[str]]) -> dict[str, str]:
        makers: dict[str, str] = {}
        for task, files in writes.items():
            for file in files:
                other = makers.setdefault(file, task)
                if other != task:
                    self.problems.add(f"file {file!r} is written by {other!r} and by {task!r}")
        return makers

    def _parents(self) -> dict[str, dict[str, None]]:
        parents: dict[str, dict[str, None]] = {task: {} for task in self.tasks}
        one_sided = 0
        for task, row in self.tasks.items():
            for other in self._known(task, row, "parents"):
                parents[task][other] = None
        for task, row in self.tasks.items():
            for other in self._known(task, row, "children"):
                if task not in parents[other]:
                    parents[other][task] = None
                    one_sided += 1
        if one_sided:
            self.notes.append(f"{one_sided} children do not name their parents")
        return parents

    def _known(self, task: str, row: Mapping[str, Any], field: str) -> list[str]:
        known = []
        for other in self._names(task, row, field):
            if other not in self.tasks:
                near = did_you_mean(other, self.tasks) if len(self.problems) < _SHOWN else ""
                self.problems.add(f"task {task!r}: {field} names {other!r}, which is no task{near}")
            else:
                known.append(other)
        return known

    def _levels(self, parents: Mapping[str, Mapping[str, None]]) -> dict[str, int]:
        """Return how many tasks lie one after another before each."""
        children: dict[str, list[str]] = {task: [] for task in parents}
        for task, before in parents.items():
            for other in before:
                children[other].append(task)
        waiting = {task: len(before) for task, before in parents.items()}
        levels = {task: 0 for task, n in waiting.items() if not n}
        front = list(levels)
        while front:
            task = front.pop()
            for child in children[task]:
                levels[child] = max(levels.get(child, 0), levels[task] + 1)
                waiting[child] -= 1
                if not waiting[child]:
                    front.append(child)
        if stuck := [task for task, n in waiting.items() if n]:
            self.problems.add(f"tasks wait for each other: {' for '.join(map(repr, _cycle(stuck, parents)))}")
        return levels

    def _job(
        self, task: str, parents: Mapping[str, None], reads: tuple[str, ...], writes: tuple[str, ...]
    ) -> Job:
        row, ran = self.tasks[task], self.ran.get(task, {})
        command = ran.get("command")
        program = command.get("program") if isinstance(command, dict) else None
        name = row.get("name")
        return Job(
            id=task,
            name=name if isinstance(name, str) and name else task,
            parents=tuple(parents),
            reads=reads,
            writes=writes,
            program=program if isinstance(program, str) else "",
            seconds=self._number(task, ran, "runtimeInSeconds", 0.0),
            cores=self._number(task, ran, "coreCount", 1.0),
            memory=int(self._number(task, ran, "memoryInBytes", 0.0)),
        )

    def _number(self, task: str, row: Mapping[str, Any], field: str, unsaid: float) -> float:
        value = row.get(field, unsaid)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            self.problems.add(f"task {task!r}: {field} is {value!r}, and must be a number of 0 or more")
            return unsaid
        return float(value)


def _cycle(stuck: list[str], parents: Mapping[str, Mapping[str, None]]) -> list[str]:
    """Return tasks that wait for each other, the first again at the end."""
    among = set(stuck)
    seen: dict[str, int] = {}
    walk: list[str] = []
    task = stuck[0]
    while task not in seen:
        seen[task] = len(walk)
        walk.append(task)
        task = next(other for other in parents[task] if other in among)
    found = [*walk[seen[task] :], task]
    return found if len(found) <= _SHOWN + 2 else [*found[:_SHOWN], "…", task]
