"""What a task of a pipeline declares as overhead, for the plan to say."""

from __future__ import annotations

from supertask.errors import ConfigError, PreflightError
from supertask.pipelines.pipeline import TaskDef
from supertask.tasks.overheads import OverheadNames, declared_overhead

__all__ = ["overhead_of"]


def overhead_of(taskdef: TaskDef) -> OverheadNames:
    """Return what a task declares as overhead.

    Raises
    ------
    PreflightError
        It declares what is not there.
    """
    try:
        return declared_overhead(taskdef.task_class, taskdef.config)
    except ConfigError as error:
        raise PreflightError(f"task {taskdef.label!r}: {error}") from error
