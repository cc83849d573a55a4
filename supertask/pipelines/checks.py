"""The order of tasks, and what can be wrong with a pipeline, named with both sides and all at once."""

from __future__ import annotations

import heapq
import numbers
from collections.abc import Sequence
from typing import Any

from supertask.connections.fields import DatasetField, FieldRole
from supertask.errors import PipelineError, Problems, did_you_mean
from supertask.pipelines.contracts import broken
from supertask.pipelines.overridechecks import check_overrides
from supertask.pipelines.parts import Content
from supertask.pipelines.retention import check_retention
from supertask.pipelines.taskdefs import TaskDef
from supertask.units import FieldKind, KeyKind, UnitModel

__all__ = ["check_content", "check_tasks", "is_ordered", "sorted_tasks"]

_WRITES = (FieldRole.OUTPUT, FieldRole.INIT_OUTPUT)

Edges = dict[str, dict[str, str]]
"""Label → label of a task that reads what it makes → name of the dataset type."""


def _edges(tasks: Sequence[TaskDef]) -> Edges:
    producers: dict[str, list[str]] = {}
    for task in tasks:
        for field in task.dataset_fields.values():
            if field.role in _WRITES:
                producers.setdefault(field.dataset_type.name, []).append(task.label)
    edges: Edges = {task.label: {} for task in tasks}
    for task in tasks:
        for field in task.dataset_fields.values():
            if field.role not in _WRITES:
                for producer in producers.get(field.dataset_type.name, ()):
                    edges[producer].setdefault(task.label, field.dataset_type.name)
    return edges


def is_ordered(tasks: Sequence[TaskDef]) -> bool:
    """Tell whether every task comes after those whose outputs it reads."""
    place = {task.label: i for i, task in enumerate(tasks)}
    return all(place[a] < place[b] for a, following in _edges(tasks).items() for b in following)


def sorted_tasks(tasks: Sequence[TaskDef]) -> list[TaskDef]:
    """Return tasks so that each comes after those whose outputs it reads, else in their order.

    Raises
    ------
    PipelineError
        They form a cycle.
    """
    edges = _edges(tasks)
    place = {task.label: i for i, task in enumerate(tasks)}
    waiting = dict.fromkeys(edges, 0)
    for following in edges.values():
        for label in following:
            waiting[label] += 1
    ready = [place[label] for label, n in waiting.items() if not n]
    heapq.heapify(ready)
    done: list[TaskDef] = []
    while ready:
        task = tasks[heapq.heappop(ready)]
        done.append(task)
        for label in edges[task.label]:
            waiting[label] -= 1
            if not waiting[label]:
                heapq.heappush(ready, place[label])
    if len(done) < len(tasks):
        cycle = _cycle({a: b for a, b in edges.items() if waiting[a]}, waiting)
        raise PipelineError(f"tasks form a cycle, so none of them can be first: {cycle}")
    return done


def _cycle(edges: Edges, waiting: dict[str, int]) -> str:
    """Return one cycle in words, among tasks that no order can place."""
    # Each has a predecessor that waits too, so going back must come round.
    back = {b: (a, name) for a, following in edges.items() for b, name in following.items() if waiting[b]}
    label = next(iter(back))
    seen: list[str] = []
    while label not in seen:
        seen.append(label)
        label = back[label][0]
    loop = [*seen[seen.index(label) :], label]
    words = loop[-1]
    for after in loop[-2::-1]:
        words += f" -({back[after][1]})-> {after}"
    return words


def check_tasks(tasks: Sequence[TaskDef], model: UnitModel | None = None) -> None:
    """Refuse tasks that do not fit each other, or a unit model.

    Raises
    ------
    PipelineError
        Names every cycle, every dataset type with two producers or with uses that disagree, and
        every unit and field that the model lacks.
    """
    problems = Problems("pipeline")
    _check_producers(tasks, problems)
    _check_agreement(tasks, model, problems)
    try:
        sorted_tasks(tasks)
    except PipelineError as error:
        problems.take(error)
    if model is not None:
        for task in tasks:
            _check_units(task, model, problems)
    problems.raise_if_any(PipelineError)


def check_content(content: Content, model: UnitModel | None = None) -> None:
    """Refuse a pipeline whose tasks do not fit each other or a unit model, or that breaks a contract.

    Raises
    ------
    PipelineError
        Names all that `check_tasks` names, every step out of order, every override that does not fit its
        task, every broken contract, and what `retention` names that cannot go.
    """
    problems = Problems("pipeline")
    try:
        check_tasks(content.tasks, model)
    except PipelineError as error:
        problems.take(error)
    _check_steps(content, model, problems)
    check_overrides(content, model, problems)
    check_retention(content.tasks, content.retention, problems)
    configs = {task.label: task.config for task in content.tasks}
    for contract in content.contracts:
        if problem := broken(contract, configs, content.parameters):
            problems.add(problem)
    problems.raise_if_any(PipelineError)


def _check_steps(content: Content, model: UnitModel | None, problems: Problems) -> None:
    place: dict[str, tuple[int, str]] = {}
    for i, step in enumerate(content.steps):
        for label in content.subsets[step.subset].labels:
            other = place.setdefault(label, (i, step.subset))
            if other[0] != i:
                problems.add(f"task {label!r} is in two steps, {other[1]!r} and {step.subset!r}")
        for unit in step.units:
            if model is not None and unit not in model:
                problems.add(
                    f"step {step.subset!r}: unit model {model.name!r} has no unit {unit!r}"
                    f"{did_you_mean(unit, model.names)}"
                )
    for label, following in _edges(content.tasks).items():
        for reader, name in following.items():
            if label in place and reader in place and place[label][0] > place[reader][0]:
                problems.add(
                    f"step {place[reader][1]!r} comes before {place[label][1]!r}, but {reader!r} in it reads "
                    f"{name!r}, which {label!r} makes"
                )


def _check_producers(tasks: Sequence[TaskDef], problems: Problems) -> None:
    producers: dict[str, list[str]] = {}
    for task in tasks:
        for name, field in task.dataset_fields.items():
            if field.role in _WRITES:
                producers.setdefault(field.dataset_type.name, []).append(f"{task.label}.{name}")
    for name, made_by in producers.items():
        if len(made_by) > 1:
            problems.add(
                f"dataset type {name!r} has {len(made_by)} producers, {' and '.join(made_by)}: "
                "configure another name for one of them"
            )


def _check_agreement(tasks: Sequence[TaskDef], model: UnitModel | None, problems: Problems) -> None:
    first: dict[str, tuple[str, DatasetField]] = {}
    for task in tasks:
        for name, field in task.dataset_fields.items():
            here = f"{task.label}.{name}"
            there, other = first.setdefault(field.dataset_type.name, (here, field))
            a, b = other.dataset_type, field.dataset_type
            if _complete(a.units, model) != _complete(b.units, model):
                problems.add(
                    f"dataset type {b.name!r} has units ({', '.join(a.units)}) in {there} "
                    f"but ({', '.join(b.units)}) in {here}"
                )
            if a.storage != b.storage:
                problems.add(
                    f"dataset type {b.name!r} is stored as {a.storage} in {there} but {b.storage} in {here}"
                )
            if _is_init(other) != _is_init(field):
                construction, quanta = (there, here) if _is_init(other) else (here, there)
                problems.add(
                    f"dataset type {b.name!r} belongs to construction in {construction} "
                    f"but to quanta in {quanta}"
                )


def _is_init(field: DatasetField) -> bool:
    return field.role in (FieldRole.INIT_INPUT, FieldRole.INIT_OUTPUT)


def _complete(units: tuple[str, ...], model: UnitModel | None) -> frozenset[str]:
    if model is None or any(u not in model for u in units):
        return frozenset(units)
    return frozenset(model.closure(units))


def _check_units(task: TaskDef, model: UnitModel, problems: Problems) -> None:
    def check(unit: str, where: str) -> bool:
        if unit in model:
            return True
        problems.add(
            f"{where}: unit model {model.name!r} has no unit {unit!r}{did_you_mean(unit, model.names)}; "
            f"it has {', '.join(model.names)}"
        )
        return False

    for unit in getattr(task.config, "quantum_units", ()):
        check(unit, f"{task.label}, quantum_units")
    for name, field in task.dataset_fields.items():
        where = f"{task.label}.{name}"
        for unit in field.dataset_type.units:
            check(unit, where)
        for word, values in field.select.items():
            unit, _, attribute = word.partition(".")
            if not check(unit, f"{where}, select"):
                continue
            declared = model.unit(unit).field(attribute) if attribute else None
            if attribute and declared is None:
                known = [f.name for f in model.unit(unit).fields]
                problems.add(
                    f"{where}, select: unit {unit!r} has no field {attribute!r}"
                    f"{did_you_mean(attribute, known)}; it has {', '.join(known) or 'none'}"
                )
                continue
            kind = model.unit(unit).key if declared is None else declared.kind
            for value in values:
                if not _is_of(kind, value):
                    problems.add(
                        f"{where}, select: {word} is of kind {kind.value!r}, and {value!r} is not, so that "
                        "nothing would match"
                    )


def _is_of(kind: KeyKind | FieldKind, value: Any) -> bool:
    """Tell whether a value can be one of a kind of key or field."""
    if kind.value == "str":
        return isinstance(value, str)
    if kind.value == "bool":
        return isinstance(value, bool)
    if kind.value in ("int", "float"):
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    return True  # dates and times are written in many ways
