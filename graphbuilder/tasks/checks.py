"""What is checked while a plan is made: the pipeline against the repository, each task against its config."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from graphbuilder.loading.needs import Needs, fields_of, types_of
from supertask.connections.fields import FieldRole
from supertask.datasets import Dataset
from supertask.errors import PreflightError, Problems, SuperTaskError, did_you_mean
from supertask.pipelines.pipeline import Pipeline, TaskDef
from supertask.repograph.graph import RepoGraph
from supertask.repograph.tables import QuantumTable
from supertask.units import UnitModel

__all__ = [
    "check_enough",
    "check_inputs_known",
    "check_outputs",
    "check_prerequisites",
    "check_same_types",
    "named",
]

_SHOWN = 5


@contextmanager
def named(label: str, method: str) -> Iterator[None]:
    """Say of errors which task's method they came from, and where in its code, if they are the author's own.

    Raises
    ------
    PreflightError
        Whatever went wrong in there.
    """
    try:
        yield
    except PreflightError as error:
        raise type(error)(f"task {label!r}: {error}") from error
    except (SuperTaskError, MemoryError):
        raise
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise PreflightError(
            f"{method} of {label!r} failed: {type(error).__name__}: {error} ({at.filename}, line {at.lineno})"
        ) from error


def check_same_types(pipeline: Pipeline, model: UnitModel, known: Mapping[str, type[Dataset]]) -> None:
    """Compare the pipeline's dataset types with those of the repository.

    Raises
    ------
    PreflightError
        Some have one name and different units.
    """
    problems = Problems("the pipeline and the repository disagree")
    for name, use in pipeline.dataset_types().items():
        there = known.get(name)
        if there is None:
            continue
        ours = use.dataset_type
        if set(model.closure(there.units)) != set(model.closure(ours.units)):
            problems.add(
                f"dataset type {name!r} is by ({', '.join(ours.units)}) in the pipeline, "
                f"by ({', '.join(there.units)}) in the repository"
            )
    problems.raise_if_any(PreflightError)


def check_inputs_known(pipeline: Pipeline, needs: Needs, known: Mapping[str, type[Dataset]]) -> None:
    """Refuse inputs that nobody makes and the repository has never heard of.

    Raises
    ------
    PreflightError
        Names each of them.
    """
    everything = {*known, *pipeline.dataset_types()}
    problems = Problems("inputs that no task of the pipeline makes and the repository does not have")
    for taskdef in pipeline.values():
        for attribute, field in taskdef.config.dataset_fields.items():
            name = field.dataset_type.name
            if field.dataset_type in needs.inputs and name not in known and field.minimum:
                near = did_you_mean(name, everything - {name})
                problems.add(
                    f"{taskdef.label}.{attribute}: dataset type {name!r}{near}; ingest it, add the task "
                    "that makes it, or configure another name"
                )
    problems.raise_if_any(PreflightError)


def check_prerequisites(pipeline: Pipeline) -> None:
    """Refuse inputs that must be there before, and that a task of the pipeline makes.

    Raises
    ------
    PreflightError
        Names each of them.
    """
    makers = {t: d.label for d in pipeline.values() for t in types_of(d, FieldRole.OUTPUT)}
    problems = Problems("prerequisites, which must be in the repository before")
    for taskdef in pipeline.values():
        for attribute, field in taskdef.config.dataset_fields.items():
            maker = makers.get(field.dataset_type) if field.is_input and field.prerequisite else None
            if maker is not None:
                problems.add(
                    f"{taskdef.label}.{attribute}: {field.dataset_type.name!r} is made by {maker!r} of "
                    "this pipeline; run that before and leave it out here, or declare a plain input"
                )
    problems.raise_if_any(PreflightError)


def check_enough(taskdef: TaskDef, table: QuantumTable) -> None:
    """Hold a defineQuanta to the minimums that its config declares.

    Raises
    ------
    PreflightError
        Quanta have fewer inputs.
    """
    short = np.zeros(table.n, bool)
    for field in fields_of(taskdef):
        if field.role not in (FieldRole.INPUT, FieldRole.CALIBRATION) or not field.minimum:
            continue
        edges = table.inputs.get(field.dataset_type)
        missing = np.ones(table.n, bool) if edges is None else edges.counts() < field.minimum
        short |= missing
    if short.any():
        raise PreflightError(
            f"defineQuanta of {taskdef.label!r} returned {int(short.sum())} quanta with fewer inputs "
            f"than their fields require, the first: {table.quantum(int(np.flatnonzero(short)[0]))}; "
            "leave them out, or declare the field with minimum=0"
        )


def check_outputs(repoGraph: RepoGraph, taskdef: TaskDef, table: QuantumTable) -> None:
    """Every output has one producer, and every dataset added is somebody's output.

    Raises
    ------
    PreflightError
        Names those that are not so.
    """
    problems = Problems(f"outputs of {taskdef.label!r}")
    declared = types_of(taskdef, FieldRole.OUTPUT)
    for dataset_type in declared:
        if dataset_type not in table.outputs and table.n:
            problems.add(f"no quantum makes {dataset_type.name!r}, which the config declares")
    for dataset_type, edges in table.outputs.items():
        if dataset_type not in declared:
            problems.add(f"{dataset_type.name!r} is not declared: add an OutputField to the config")
        datasets = repoGraph.datasets[dataset_type]
        if edges.indptr is None and edges.rows is None and edges.n == datasets.n:
            continue
        made = np.bincount(edges.all_rows(), minlength=datasets.n)
        for count, what in (
            (made > 1, "made by two quanta"),
            (made == 0, "added, but made by no quantum"),
        ):
            rows = np.flatnonzero(count)
            if len(rows):
                shown = ", ".join(map(repr, datasets.at(rows[:_SHOWN])))
                problems.add(f"{len(rows)} datasets {what}: {shown}{', …' if len(rows) > _SHOWN else ''}")
    problems.raise_if_any(PreflightError)
