"""Makes a repository of a WfFormat instance, and a plan of it with simulated work."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import attrs

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.workflows.instance import Instance, Job
from graphbuilder.workflows.tasks import (
    INPUTS,
    SimulatedTask,
    WorkConfig,
    control_of,
    files_of,
    is_control,
    text_of,
)
from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.datasets import Dataset
from supertask.errors import PipelineError
from supertask.pipelines.pipeline import Pipeline
from supertask.unitmodels import unit_model_from_dict

__all__ = ["Scales", "import_instance"]

_MOST = 10 << 30
_INPUT_RUN = "workflow/inputs"
_MODEL = {
    "name": "workflow",
    "doc": "Tasks and files of a workflow.",
    "units": {
        "job": {
            "key": "str",
            "doc": "A task of the workflow.",
            "fields": {
                "step": {"kind": "str", "doc": "Step of the pipeline."},
                "name": {"kind": "str", "doc": "What it is called."},
                "program": {"kind": "str", "doc": "What it ran."},
                "seconds": {"kind": "float", "unit": "s", "doc": "That it ran."},
                "cores": {"kind": "float", "doc": "That it used."},
                "memory": {"kind": "int", "unit": "byte", "doc": "That it held."},
            },
        },
        "file": {
            "key": "str",
            "doc": "A file, or that a task is done.",
            "fields": {
                "step": {"kind": "str", "doc": "Step that writes it; empty for none."},
                "size": {"kind": "int", "unit": "byte", "doc": "How large it was."},
            },
        },
    },
    "relations": {
        "reads": {"left": "job", "right": "file", "doc": "What tasks read."},
        "writes": {"left": "job", "right": "file", "doc": "What tasks write."},
    },
}


@attrs.frozen(kw_only=True)
class Scales:
    """How much of what tasks needed is needed in their place."""

    time: float = 0.01
    size: float = 1e-6
    memory: float = 0.0

    def __attrs_post_init__(self) -> None:
        for name in ("time", "size", "memory"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise PipelineError(f"the scale of {name} must be 0 or more, not {getattr(self, name)}")


def import_instance(
    instance: Instance, root: str | Path, output_run: str, *, scales: Scales | None = None
) -> tuple[ScienceDag, Pipeline]:
    """Make a repository of an instance and plan it.

    Parameters
    ----------
    instance : Instance
        What `read_instance` gave.
    root : path
        Folder for the repository; there must be none in it.
    output_run : str
        RUN collection that its tasks write to.
    scales : Scales, optional
        How much of what was needed is needed now.

    Returns
    -------
    ScienceDag, Pipeline
        A plan with one quantum for each task, and what it was made from.

    Raises
    ------
    PipelineError
        What would be written is too much, or names of the instance clash with ours.
    RepositoryError
        There is a repository already, or it cannot be made.
    """
    scales = scales or Scales()
    total = sum(instance.sizes.values()) * scales.size
    if total > _MOST:
        raise PipelineError(
            f"its files, scaled by {scales.size:g}, would take {total:,.0f} bytes, and {_MOST:,} are enough: "
            "take a smaller scale for sizes"
        )
    if strange := [file for file in instance.sizes if is_control(file)]:
        raise PipelineError(f"file {strange[0]!r} has a name that is kept for what is done without files")
    steps = _steps(instance)
    waits = _waits(instance)
    with Butler.create(root, unit_model_from_dict(_MODEL)) as butler:
        _fill(butler, instance, steps, waits, scales)
        pipeline = _pipeline(instance, steps, waits, scales)
        builder = GraphBuilder(pipeline, butler, output_run, collections=[_INPUT_RUN])
        return builder.makeGraph(), pipeline


def _steps(instance: Instance) -> dict[str, str]:
    """Return the label of the step of each task: its program, with its level where that needs it."""
    levels: dict[str, set[int]] = {}
    for job in instance.jobs:
        levels.setdefault(_program(job), set()).add(instance.levels[job.id])
    labels: dict[tuple[str, int], str] = {}
    taken: set[str] = set()
    found = {}
    for job in instance.jobs:
        key = (_program(job), instance.levels[job.id])
        if key not in labels:
            word = re.sub(r"[^A-Za-z0-9_]+", "_", key[0]).strip("_")[:40] or "task"
            label = word if word[0].isalpha() else f"task_{word}"
            label = f"{label}_{key[1]}" if len(levels[key[0]]) > 1 else label
            while label in taken or label == "parameters":
                label += "_"
            taken.add(label)
            labels[key] = label
        found[job.id] = labels[key]
    return found


def _program(job: Job) -> str:
    return job.program or re.sub(r"[_-]?(ID)?\d+$", "", job.name) or job.name


def _waits(instance: Instance) -> dict[str, list[str]]:
    """Return of each task those that it waits for without reading what they write."""
    found = {}
    for job in instance.jobs:
        makers = {instance.makers[file] for file in job.reads if file in instance.makers}
        found[job.id] = [other for other in job.parents if other not in makers]
    return found


def _fill(
    butler: Butler, instance: Instance, steps: dict[str, str], waits: dict[str, list[str]], scales: Scales
) -> None:
    butler.insert_units(
        "job",
        [
            {
                "job": job.id,
                "step": steps[job.id],
                "name": job.name,
                "program": job.program,
                "seconds": job.seconds,
                "cores": job.cores,
                "memory": job.memory,
            }
            for job in instance.jobs
        ],
    )
    awaited = _awaited(instance, waits)
    files = {file: steps.get(instance.makers.get(file, ""), "") for file in instance.sizes}
    files |= {control_of(job): steps[job] for job in awaited}
    butler.insert_units(
        "file", [{"file": f, "step": step, "size": instance.sizes.get(f, 0)} for f, step in files.items()]
    )
    reads = [(job.id, file) for job in instance.jobs for file in job.reads]
    reads += [(job, control_of(other)) for job, others in waits.items() for other in others]
    writes = [(job.id, file) for job in instance.jobs for file in job.writes]
    writes += [(job, control_of(job)) for job in awaited]
    for relation, rows in (("reads", reads), ("writes", writes)):
        butler.insert_relation(relation, [{"job": job, "file": file} for job, file in rows])
    butler.create_collection(_INPUT_RUN, CollectionKind.RUN)
    inputs = Dataset.subclass(INPUTS, ("file",), "text", "Files that are there before.")
    needed = sorted({file for job in instance.jobs for file in job.reads if file not in instance.makers})
    for file in needed:
        butler.put(text_of(int(scales.size * instance.sizes[file])), inputs(file=file), run=_INPUT_RUN)


def _awaited(instance: Instance, waits: dict[str, list[str]]) -> list[str]:
    """Return tasks that must say that they are done: others wait for that, or they write nothing else."""
    named = {other for others in waits.values() for other in others}
    return [job.id for job in instance.jobs if job.id in named or not job.writes]


def _pipeline(
    instance: Instance, steps: dict[str, str], waits: dict[str, list[str]], scales: Scales
) -> Pipeline:
    reads: dict[str, set[str]] = {}
    for job in instance.jobs:
        own = reads.setdefault(steps[job.id], set())
        own |= set(_types(job.reads, instance, steps))
        own |= {files_of(steps[other]) for other in waits[job.id]}
    pipeline = Pipeline(f"Simulated work of {' '.join(instance.name.split())[:200]}.")
    for label, types in reads.items():
        pipeline.add(
            label,
            SimulatedTask,
            WorkConfig(
                step=label,
                reads=tuple(sorted(types)),
                time_scale=scales.time,
                size_scale=scales.size,
                memory_scale=scales.memory,
            ),
        )
    return pipeline


def _types(files: Iterable[str], instance: Instance, steps: dict[str, str]) -> Iterable[str]:
    for file in files:
        maker = instance.makers.get(file)
        yield files_of(steps[maker]) if maker is not None else INPUTS
