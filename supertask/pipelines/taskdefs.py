"""A task in a pipeline: its label, class and configuration, and which dataset types it uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from supertask.classpath import class_path, load_class
from supertask.connections.fields import DatasetField, FieldRole, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import PipelineError
from supertask.tasks.supertask import SuperTask

__all__ = [
    "DatasetUse",
    "TaskDef",
    "check_label",
    "config_type",
    "dataset_uses",
    "make_task_def",
    "overrides_type",
]

_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*\Z")


@attrs.frozen
class TaskDef:
    """A task of a pipeline."""

    label: str
    """Its name in the pipeline."""
    task_class: type[SuperTask]
    config: Any
    """An instance of the class's `ConfigClass`."""

    @property
    def class_path(self) -> str:
        """Path of the class, ``package.module:Class``."""
        return class_path(self.task_class)

    @property
    def dataset_fields(self) -> dict[str, DatasetField]:
        """What it reads and writes by field."""
        return self.config.dataset_fields if isinstance(self.config, SuperTaskConfig) else {}


@attrs.frozen
class DatasetUse:
    """A dataset type in a pipeline: who makes it and who reads it."""

    dataset_type: type[Dataset]
    producer: str | None
    """Label of the task that makes it; None if it must be in the repository."""
    consumers: tuple[str, ...]
    """Labels of the tasks that read it."""
    init: bool = False
    """Whether it belongs to the construction of tasks rather than to quanta."""


def check_label(label: str) -> None:
    """Refuse what cannot be a label.

    Raises
    ------
    PipelineError
        It has characters that overrides and file names cannot have.
    """
    if not _LABEL.match(str(label)):
        raise PipelineError(
            f"{label!r} cannot be a label: use letters, digits, '_' and '-', and begin with a letter or '_'"
        )
    if label == "parameters":
        raise PipelineError("'parameters' cannot be a label: in overrides and contracts it means parameters")


def make_task_def(label: str, task_class: type[SuperTask] | str, config: Any = None) -> TaskDef:
    """Return a checked TaskDef.

    Raises
    ------
    PipelineError
        The label cannot be one, or the configuration is not of the task's class.
    ClassPathError
        The path names no SuperTask.
    ConfigError
        The configuration is not valid.
    """
    check_label(label)
    if isinstance(task_class, str):
        task_class = load_class(task_class, SuperTask)
    given: Any = task_class
    if not (isinstance(given, type) and issubclass(given, SuperTask)):
        raise PipelineError(f"task {label!r}: {given!r} is no subclass of SuperTask")
    config_class = task_class.ConfigClass
    if config is None:
        config = config_class()
    elif isinstance(config, Mapping):
        config = config_class(**config)
    elif type(config) is not config_class:
        raise PipelineError(
            f"task {label!r}: {task_class.__name__} is configured by a {config_class.__name__}, "
            f"got {config!r} ({type(config).__name__})"
        )
    return TaskDef(label, task_class, config)


def config_type(label: str) -> type[Dataset]:
    """Return the dataset type under which the configuration of a task is recorded."""
    return Dataset.subclass(f"{label}_config", (), "yaml", f"Configuration of task {label}.")


def overrides_type(label: str) -> type[Dataset]:
    """Return the dataset type under which is recorded what is otherwise for some data."""
    return Dataset.subclass(f"{label}_overrides", (), "yaml", f"Overrides on data of task {label}.")


def dataset_uses(tasks: Iterable[TaskDef]) -> dict[str, DatasetUse]:
    """Return every dataset type that tasks use, by name; of two producers the first is named."""
    uses: dict[str, DatasetUse] = {}
    for task in tasks:
        for field in task.dataset_fields.values():
            kind = field.dataset_type
            init = field.role in (FieldRole.INIT_INPUT, FieldRole.INIT_OUTPUT)
            use = uses.get(kind.name) or DatasetUse(kind, None, (), init)
            if field.role in (FieldRole.OUTPUT, FieldRole.INIT_OUTPUT):
                use = attrs.evolve(use, dataset_type=kind, producer=use.producer or task.label)
            elif task.label not in use.consumers:
                use = attrs.evolve(use, consumers=(*use.consumers, task.label))
            uses[kind.name] = use
    return uses
