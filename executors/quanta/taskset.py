"""The tasks of a plan, each constructed once in a process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphbuilder.dag.values import TaskNode
from supertask.butler.port import DatasetSource
from supertask.classpath import load_class
from supertask.connections.fields import FieldRole, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import ExecutionError, SuperTaskError
from supertask.pipelines.taskdefs import config_type
from supertask.tasks.initsource import InitSource
from supertask.tasks.supertask import SuperTask

__all__ = ["TaskSet", "outside_init_inputs"]


class TaskSet:
    """Constructs tasks from what the plan says of them, when they are first asked for.

    A task that has init inputs is constructed after all tasks before it, so that it finds their schemas;
    others need nobody, and a process that runs one task imports one. Of a task that overrides on data give
    several configurations, each variant that is asked for is a task of its own.

    Parameters
    ----------
    nodes : sequence of TaskNode
        The plan's tasks, in order.
    outside : DatasetSource, optional
        Where to read init inputs that no task of the plan makes.
    """

    def __init__(self, nodes: Sequence[TaskNode], outside: DatasetSource | None = None) -> None:
        self._nodes = {node.label: node for node in nodes}
        self._made: dict[tuple[str, int], SuperTask] = {}
        self._schemas: dict[str, Mapping[type[Dataset], Any]] = {}
        self._init = InitSource(outside)
        for node in nodes:
            self._init.record(config_type(node.label), node.config)

    def __getitem__(self, label: str) -> SuperTask:
        return self.variant(label, 0)

    def variant(self, label: str, number: int) -> SuperTask:
        """Return a task as one of its variants has it."""
        task = self._made.get((label, number))
        return task if task is not None else self._make(self._nodes[label], number)

    def schemas(self, label: str) -> Mapping[type[Dataset], Any]:
        """Return what a task makes known once it is constructed: dataset type → object."""
        self[label]
        return self._schemas[label]

    def _make(self, node: TaskNode, number: int) -> SuperTask:
        variant = node.variant(number)
        try:
            cls = load_class(variant.class_path, SuperTask)
            config = cls.ConfigClass.from_dict(variant.config, "the plan")
            if isinstance(config, SuperTaskConfig) and config.fields_of(FieldRole.INIT_INPUT):
                for earlier in self._nodes:
                    if earlier == node.label:
                        break
                    self[earlier]
            task: SuperTask = cls(butler=self._init, config=config, name=node.label)
            schemas = dict(task.getDatasetSchemas())
        except SuperTaskError as error:
            raise ExecutionError(f"task {node.label!r} cannot be constructed: {error}") from error
        except Exception as error:
            raise ExecutionError(
                f"task {node.label!r} ({variant.class_path}) cannot be constructed: "
                f"{type(error).__name__}: {error}"
            ) from error
        if node.label not in self._schemas:
            for dataset_type, schema in schemas.items():
                self._init.record(dataset_type, schema)
            self._schemas[node.label] = schemas
        self._made[node.label, number] = task
        return task


def outside_init_inputs(nodes: Sequence[TaskNode]) -> list[type[Dataset]]:
    """Return the dataset types that tasks read when constructed and that no task among them makes known.

    Raises
    ------
    ExecutionError
        A task's class cannot be imported, or the plan's configuration of it is not valid.
    """
    wanted: dict[str, type[Dataset]] = {}
    known = {config_type(node.label).name for node in nodes}
    for node in nodes:
        try:
            config = load_class(node.class_path, SuperTask).ConfigClass.from_dict(node.config, "the plan")
        except SuperTaskError as error:
            raise ExecutionError(f"task {node.label!r} cannot be constructed: {error}") from error
        if isinstance(config, SuperTaskConfig):
            known |= {f.dataset_type.name for f in config.fields_of(FieldRole.INIT_OUTPUT).values()}
            wanted |= {
                f.dataset_type.name: f.dataset_type for f in config.fields_of(FieldRole.INIT_INPUT).values()
            }
    return [t for name, t in wanted.items() if name not in known]
