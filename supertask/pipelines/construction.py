"""The tasks of a pipeline constructed in order, each with what those before it made known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from supertask.butler.port import DatasetSource
from supertask.connections.fields import FieldRole
from supertask.datasets import Dataset
from supertask.errors import PipelineError, Problems, SuperTaskError
from supertask.pipelines.taskdefs import TaskDef, config_type
from supertask.tasks.initsource import InitSource
from supertask.tasks.supertask import SuperTask

__all__ = ["made_tasks"]


def made_tasks(tasks: Sequence[TaskDef], butler: DatasetSource | None = None) -> list[SuperTask]:
    """Construct tasks in order.

    Parameters
    ----------
    tasks : sequence of TaskDef
        What to construct.
    butler : DatasetSource, optional
        Where init inputs are that none of them makes.

    Raises
    ------
    PipelineError
        A task cannot be constructed, or its schemas are not those it declares.
    """
    init = InitSource(butler)
    made: list[SuperTask] = []
    for taskdef in tasks:
        try:
            task = taskdef.task_class(butler=init, config=taskdef.config, name=taskdef.label)
            schemas = task.getDatasetSchemas()
        except SuperTaskError as error:
            raise PipelineError(f"task {taskdef.label!r} cannot be constructed: {error}") from error
        except Exception as error:
            raise PipelineError(
                f"task {taskdef.label!r} ({taskdef.class_path}) cannot be constructed: "
                f"{type(error).__name__}: {error}"
            ) from error
        _check_schemas(taskdef, schemas)
        for dataset_type, schema in schemas.items():
            init.record(dataset_type, schema)
        init.record(config_type(taskdef.label), taskdef.config.to_dict())
        made.append(task)
    return made


def _check_schemas(taskdef: TaskDef, schemas: Mapping[type[Dataset], Any]) -> None:
    declared = {
        f.dataset_type: name for name, f in taskdef.dataset_fields.items() if f.role is FieldRole.INIT_OUTPUT
    }
    problems = Problems(f"getDatasetSchemas of task {taskdef.label!r}")
    for dataset_type, name in declared.items():
        if dataset_type not in schemas:
            problems.add(f"nothing is returned for the InitOutputField {name!r} ({dataset_type.name!r})")
    for dataset_type in schemas:
        if dataset_type not in declared:
            problems.add(f"{dataset_type!r} is not declared: add an InitOutputField to the configuration")
    problems.raise_if_any(PipelineError)
