"""Pipeline files: a description and labelled tasks, in YAML.

    description: From raw frames to reduced ones.
    tasks:
      isr:
        class: mypackage.isr:IsrTask
        config:
          saturation: 60000.0
          detect.threshold: 5.0     # a field of a nested configuration or of a subtask
      calibrate: mypackage.calibrate:CalibrateTask    # as it comes

Every mistake is named at once, each with file, line and column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from supertask.classpath import ClassPathError, load_class
from supertask.errors import ConfigError, PipelineError, Problems, did_you_mean
from supertask.supertask import SuperTask
from supertask.taskdefs import TaskDef, check_label
from supertask.yamltext import Document

__all__ = ["Content", "read", "write"]

_TOP = ("description", "tasks")
_TASK = ("class", "config")


@attrs.frozen
class Content:
    """What a pipeline file says."""

    description: str
    tasks: tuple[TaskDef, ...]


def read(document: Document) -> Content:
    """Return what a document says.

    Raises
    ------
    PipelineError
        Names everything that is wrong with it.
    """
    problems = Problems(document.source)
    top = document.value
    if not isinstance(top, Mapping):
        problems.add(f"{document.at()}: a pipeline must be a mapping with a key 'tasks', got {top!r}")
        problems.raise_if_any(PipelineError)
    _unknown_keys(top, _TOP, document, (), problems)
    description = top.get("description", "")
    if not isinstance(description, str):
        problems.add(f"{document.at('description')}: 'description' must be text, got {description!r}")
    tasks = top.get("tasks", {})
    if not isinstance(tasks, Mapping):
        problems.add(f"{document.at('tasks')}: 'tasks' must be a mapping from labels to tasks, got {tasks!r}")
        tasks = {}
    elif "tasks" not in top:
        problems.add(f"{document.at()}: 'tasks' is missing")
    made = [_task(label, value, document, problems) for label, value in tasks.items()]
    problems.raise_if_any(PipelineError)
    return Content(description, tuple(t for t in made if t is not None))


def _unknown_keys(
    value: Mapping[Any, Any],
    known: Sequence[str],
    document: Document,
    path: tuple[str, ...],
    problems: Problems,
) -> None:
    for key in value:
        if key not in known:
            problems.add(
                f"{document.at(*path, key)}: unknown key {key!r}{did_you_mean(str(key), known)}; "
                f"known are {', '.join(known)}"
            )


def _task(label: Any, value: Any, document: Document, problems: Problems) -> TaskDef | None:
    """Return one task, or None with its problems noted."""
    path = ("tasks", label)
    before = len(problems)
    try:
        check_label(label)
    except PipelineError as error:
        problems.take(error, f"{document.at(*path)}: ")
    if isinstance(value, str):
        value = {"class": value}
    if not isinstance(value, Mapping):
        problems.add(f"{document.at(*path)}: task {label!r} must be a class path, or a mapping with 'class'")
        return None
    _unknown_keys(value, _TASK, document, path, problems)
    task_class = value.get("class")
    if not isinstance(task_class, str):
        problems.add(
            f"{document.at(*path, 'class')}: task {label!r} needs 'class', a path as package.module:Class"
        )
        return None
    try:
        loaded = load_class(task_class, SuperTask)
    except ClassPathError as error:
        problems.take(error, f"{document.at(*path, 'class')}: task {label!r}: ")
        return None
    given = value.get("config")
    at_task = f"{document.at(*path, 'config')}: task {label!r}: "
    try:
        config = loaded.ConfigClass.overlaid({} if given is None else given, document, (*path, "config"))
    except ConfigError as error:
        for problem in error.problems or (str(error),):
            # What has no place of its own (a cross-check) gets that of the task's configuration.
            problems.add(problem if problem.startswith(f"{document.source}:") else at_task + problem)
        return None
    return TaskDef(label, loaded, config) if len(problems) == before else None


def write(description: str, tasks: Sequence[TaskDef], *, everything: bool) -> dict[str, Any]:
    """Return the content of a pipeline file as plain data.

    Parameters
    ----------
    description : str
        What the pipeline is for.
    tasks : sequence of TaskDef
        Its tasks.
    everything : bool
        Whether to write all values of configurations, or only those that differ from defaults.
    """
    plain: dict[str, Any] = {"description": description} if description else {}
    plain["tasks"] = {}
    for task in tasks:
        values = task.config.to_dict() if everything else task.config.changes_from()
        plain["tasks"][task.label] = {"class": task.class_path, **({"config": values} if values else {})}
    return plain
