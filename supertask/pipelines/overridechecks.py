"""Overrides on data held against their tasks and a unit model, before anything is planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from supertask.connections.fields import SuperTaskConfig
from supertask.errors import ConfigError, PipelineError, Problems, did_you_mean
from supertask.pipelines.dataoverrides import applied
from supertask.pipelines.parts import Content
from supertask.pipelines.taskdefs import TaskDef
from supertask.units import UnitModel

__all__ = ["check_overrides", "incompatible", "undetermined"]


def check_overrides(content: Content, model: UnitModel | None, problems: Problems) -> None:
    """Note what is wrong with the overrides of a pipeline.

    Parameters
    ----------
    content : Content
        The pipeline.
    model : UnitModel or None
        Units of the data, to hold conditions against that are written as mappings; those written as
        expressions are read when a plan is made.
    problems : Problems
        Takes what is wrong.
    """
    tasks = {task.label: task for task in content.tasks}
    for override in content.overrides:
        task = tasks.get(override.label)
        if task is None:
            known = ", ".join(tasks) or "none"
            problems.add(
                f"{override.source}: override of {override.label!r}: the pipeline has no such task"
                f"{did_you_mean(override.label, tasks)}; it has {known}"
            )
            continue
        at = f"{override.source}: override of {override.label!r}: " if override.source else ""
        try:
            variant = applied(task, override, content.parameters)
        except (ConfigError, PipelineError) as error:
            problems.take(error, at)
            continue
        for what in incompatible(task, variant):
            problems.add(f"{at}{what}")
        if model is not None and isinstance(override.when, Mapping):
            _check_units(task, override.when, model, at, problems)


def incompatible(task: TaskDef, variant: TaskDef) -> list[str]:
    """Say in what a variant of a task differs that must be the same for all of its quanta."""
    found = []
    ours, theirs = (getattr(t.config, "quantum_units", ()) for t in (task, variant))
    if set(ours) != set(theirs):
        found.append(
            f"its quanta would be by ({', '.join(theirs)}) rather than by ({', '.join(ours)}): what a "
            "task's quanta are must be settled before it can be told which of them match; make it two tasks"
        )
    mine, other = ({f.dataset_type.name: f for f in t.dataset_fields.values()} for t in (task, variant))
    for name in [n for n in mine if n not in other]:
        gained = [n for n in other if n not in mine]
        instead = f" but {', '.join(map(repr, gained))}" if gained else ""
        found.append(
            f"it would not {'read' if mine[name].is_input else 'write'} {name!r}{instead}: dataset types are "
            "those of the task, for all data alike; to have another, make it two tasks"
        )
    if not found:
        found += [
            f"it would {'read' if f.is_input else 'write'} {name!r} too: dataset types are those of "
            "the task, for all data alike; to have another, make it two tasks"
            for name, f in other.items()
            if name not in mine
        ]
    for name in mine.keys() & other.keys():
        a, b = mine[name], other[name]
        for what, one, two in (
            ("role", a.role.value, b.role.value),
            ("units", ", ".join(a.dataset_type.units), ", ".join(b.dataset_type.units)),
            ("storage", a.dataset_type.storage, b.dataset_type.storage),
        ):
            if one != two:
                found.append(f"{what} of {name!r} would be {two} rather than {one}")
    return [*found, *_counted(task, variant)]


def _counted(task: TaskDef, variant: TaskDef) -> Iterator[str]:
    """Say what of a variant's failure policy must be the task's, as it is counted over all quanta."""
    ours, theirs = (t.config for t in (task, variant))
    if isinstance(ours, SuperTaskConfig) and isinstance(theirs, SuperTaskConfig):
        for name in ("quorum", "max_failures"):
            a, b = getattr(ours.policy, name), getattr(theirs.policy, name)
            if a != b:
                yield (
                    f"policy.{name} would be {b!r} rather than {a!r}: it is of all quanta of the task "
                    "together; an override may change the policy's retries, delays, timeout and memory"
                )


def _check_units(
    task: TaskDef, when: Mapping[str, object], model: UnitModel, at: str, problems: Problems
) -> None:
    for word in when:
        unit, _, attribute = word.partition(".")
        if unit not in model:
            problems.add(
                f"{at}when: unit model {model.name!r} has no unit {unit!r}{did_you_mean(unit, model.names)}; "
                f"it has {', '.join(model.names)}"
            )
            continue
        known = [f.name for f in model.unit(unit).fields]
        if attribute and attribute not in known:
            problems.add(
                f"{at}when: unit {unit!r} has no field {attribute!r}{did_you_mean(attribute, known)}; "
                f"it has {', '.join(known) or 'none'}"
            )
        if what := undetermined(task, [unit], model):
            problems.add(f"{at}{what}")


def undetermined(task: TaskDef, units: list[str], model: UnitModel) -> str:
    """Say which units a quantum of a task does not tell; empty if it tells them all."""
    own = getattr(task.config, "quantum_units", ())
    if not own or any(u not in model for u in own):
        return ""
    told = model.determined(own)
    strange = [u for u in units if u not in told]
    if not strange:
        return ""
    return (
        f"when: a quantum is for each ({', '.join(own)}), which does not tell its {', '.join(strange)}; "
        f"it tells {', '.join(told)}"
    )
