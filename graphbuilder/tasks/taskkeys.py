"""What of a task enters the identities of its quanta beside its config: first name, perhaps source."""

from __future__ import annotations

import enum

import attrs

from graphbuilder.dag.values import TaskNode, Variant
from supertask.canonical import digest
from supertask.classpath import class_path, load_class
from supertask.configs.sources import source_hash
from supertask.errors import PreflightError, Problems, did_you_mean
from supertask.pipelines.pipeline import Pipeline, TaskDef
from supertask.tasks.supertask import SuperTask

__all__ = ["IdentityBy", "check_names", "key_with_source", "with_source"]


class IdentityBy(enum.Enum):
    """What stands in a task's identity for its code."""

    DECLARED = "declared"
    """The version that its class declares."""
    SOURCE = "source"
    """The version, and a hash of its source code."""


def check_names(pipeline: Pipeline) -> None:
    """Refuse tasks that declare one former name, or the name of another task of today.

    Raises
    ------
    PreflightError
        Their quanta would be taken for one another's; names all.
    """
    problems = Problems("former names of tasks")
    claimed: dict[str, str] = {}
    for taskdef in pipeline.values():
        now = class_path(taskdef.task_class)
        for name in {now, *taskdef.task_class.__dict__.get("former_names", ())}:
            other = claimed.setdefault(name, now)
            if other != now:
                problems.add(
                    f"{name!r} is what both {other} and {now} say they were or are: one class can "
                    "go on under its identities, so take it out of former_names of the other"
                )
    problems.raise_if_any(PreflightError)


def with_source(node: TaskNode, taskdef: TaskDef, by: str | None) -> TaskNode:
    """Return a task with the hash of its source code, which joins its identity where that is asked for.

    Parameters
    ----------
    node : TaskNode
        The task as the plan has it.
    taskdef : TaskDef
        The task in its pipeline.
    by : str or None
        A value of `IdentityBy`; what the class says, unless given.

    Raises
    ------
    PreflightError
        It is neither, or the source code is wanted and cannot be read.
    """
    wanted = taskdef.task_class.identity if by is None else by
    known = [i.value for i in IdentityBy]
    if wanted not in known:
        raise PreflightError(
            f"identity {wanted!r} of task {node.label!r}: it is one of {', '.join(known)}"
            f"{did_you_mean(str(wanted), known)}"
        )
    source = source_hash(taskdef.task_class, taskdef.config)
    if wanted == IdentityBy.DECLARED.value:
        return attrs.evolve(node, source=source)
    if not source:
        raise PreflightError(
            f"task {node.label!r} is to be identified by its source code, and that of {node.class_path} "
            "cannot be read: define it in a file, or take identity='declared'"
        )
    return attrs.evolve(
        node,
        source=source,
        by_source=True,
        key=key_with_source(node.key, source),
        variants=tuple(_variant_with_source(v, source) for v in node.variants),
    )


def _variant_with_source(variant: Variant, source: str) -> Variant:
    """Return a variant by its own source code: it may have another class, or other subtasks."""
    if variant.overrides:
        task_class = load_class(variant.class_path, SuperTask)
        source = (
            source_hash(task_class, task_class.ConfigClass.from_dict(variant.config, "the plan")) or source
        )
    return attrs.evolve(variant, key=key_with_source(variant.key, source))


def key_with_source(key: bytes, source: str) -> bytes:
    """Return the identity of a task, 16 bytes, that its source code (in hexadecimal) has joined."""
    return digest(b"by source", key, bytes.fromhex(source))
