"""What the tasks of a run ask of the jobs that run them: their submit hooks, each asked once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from executors.quanta.surroundings import SurroundingsSpec
from executors.quanta.taskset import TaskSet
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import TaskNode
from supertask.configs.policy import FailurePolicy
from supertask.connections.fields import SuperTaskConfig
from supertask.tasks.caching import cache_folders
from supertask.tasks.hooks import JobRequest, hooks_of, requested
from supertask.tasks.supertask import SuperTask
from supertask.tasks.tags import check_tags, inherited_tags, tags_of

__all__ = ["JobRequests", "asked_for", "job_requests", "surroundings_of", "task_tags"]

JobRequests = Mapping[str, Sequence[JobRequest]]
"""Task label → what each of its variants asks for; tasks without submit hooks are not named."""


def job_requests(nodes: Iterable[TaskNode], tasks: TaskSet) -> dict[str, list[JobRequest]]:
    """Ask the submit hooks of all tasks, with what their failure policies say as the first word.

    Raises
    ------
    ExecutionError
        A hook raised, or gave no job.
    """
    found: dict[str, list[JobRequest]] = {}
    for node in nodes:
        variants = [tasks.variant(node.label, n) for n in range(max(1, len(node.variants)))]
        if any(hooks_of(type(task), task.config) for task in variants):
            found[node.label] = [_ask(node.label, task) for task in variants]
    return found


def _ask(label: str, task: SuperTask) -> JobRequest:
    policy = task.config.policy if isinstance(task.config, SuperTaskConfig) else FailurePolicy()
    job = JobRequest(label=label, timeout=policy.timeout, memory=policy.memory_bytes)
    return requested(job, hooks_of(type(task), task.config))


def asked_for(policies: Sequence[FailurePolicy], jobs: Sequence[JobRequest]) -> list[FailurePolicy]:
    """Return the policies of a task's variants with the time and memory that submit hooks ask for."""
    return [
        policy.replace(timeout=job.timeout, memory="" if job.memory is None else str(job.memory))
        for policy, job in zip(policies, jobs, strict=True)
    ]


def task_tags(plan: ScienceDag, tasks: TaskSet) -> dict[str, dict[str, Any]]:
    """Return the tags of each task of a plan, own and inherited."""
    own = {node.label: tags_of(type(tasks[node.label]), tasks[node.label].config) for node in plan.tasks}
    if not any(own.values()):
        return {label: {} for label in own}
    makers: dict[str, list[str]] = {}
    upstream: dict[str, list[str]] = {}
    for label in own:
        classes = tasks[label].getDatasetClasses()
        reads = [t.name for t in (*classes.inputs.values(), *classes.initInputs.values())]
        upstream[label] = [maker for name in reads for maker in makers.get(name, ())]
        for t in (*classes.outputs.values(), *classes.initOutputs.values()):
            makers.setdefault(t.name, []).append(label)
    return inherited_tags(own, upstream)


def _cached(node: TaskNode, tasks: TaskSet) -> tuple[str, ...]:
    variants = [tasks.variant(node.label, n) for n in range(max(1, len(node.variants)))]
    return tuple(dict.fromkeys(name for t in variants for name in cache_folders(type(t), t.config)))


def surroundings_of(
    plan: ScienceDag,
    tasks: TaskSet,
    jobs: JobRequests,
    root: str,
    tags: Mapping[str, Any],
    tokens: Mapping[str, int] | None = None,
    token_folder: str = "",
) -> SurroundingsSpec:
    """Return what surrounds the calls of a run.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    tasks : TaskSet
        Its tasks.
    jobs : Mapping
        What they ask for.
    root : str
        Folder of the repository.
    tags : Mapping
        Of the run.
    tokens, token_folder : optional
        As of `SurroundingsSpec`.

    Raises
    ------
    ConfigError
        A tag of run or task is no word with a plain value.
    """
    of_run = check_tags(tags, "this run")
    return SurroundingsSpec(
        root=root,
        run=plan.meta.output_run,
        tags={label: {**of_run, **of_task} for label, of_task in task_tags(plan, tasks).items()},
        environ={label: tuple(job.environ for job in each) for label, each in jobs.items()},
        caches={node.label: found for node in plan.tasks if (found := _cached(node, tasks))},
        tokens=tokens or {},
        token_folder=token_folder,
    )
