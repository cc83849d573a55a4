"""What a pipeline consists of besides its tasks, and how the parts of two pipelines come together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from supertask.errors import PipelineError, Problems, did_you_mean
from supertask.kinds.base import INVALID
from supertask.pipelines.contracts import Contract, labels_of, relabelled
from supertask.pipelines.dataoverrides import DataOverride, imported_override, resolved
from supertask.pipelines.parameters import Parameter, has_references, resolve
from supertask.pipelines.retention import Retained, still_said
from supertask.pipelines.taskdefs import TaskDef, check_label, make_task_def
from supertask.tasks.supertask import SuperTask

__all__ = ["Content", "Step", "Subset", "merged", "selected", "taken_in", "task_in"]


@attrs.frozen
class Subset:
    """Tasks of a pipeline that have a name together."""

    labels: tuple[str, ...]
    description: str = ""


@attrs.frozen
class Step:
    """A subset that is run as a whole before the next, and by which units its work may be divided."""

    subset: str
    units: tuple[str, ...] = ()
    """Values of these units may be processed apart from each other; empty for all at once."""


@attrs.frozen
class Content:
    """What a pipeline file says."""

    description: str = ""
    tasks: tuple[TaskDef, ...] = ()
    parameters: dict[str, Parameter] = attrs.field(factory=dict)
    subsets: dict[str, Subset] = attrs.field(factory=dict)
    steps: tuple[Step, ...] = ()
    contracts: tuple[Contract, ...] = ()
    references: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """Label → path of a field → its value as written, where that refers to parameters."""
    overrides: tuple[DataOverride, ...] = ()
    """What is otherwise for some data, those of cameras among them."""
    cameras: tuple[str, ...] = ()
    """Instruments whose packages' overrides are taken in."""
    retention: dict[str, Retained] = attrs.field(factory=dict)
    """Dataset type or pattern → how long such stay."""

    def values(self) -> Content:
        """Return the same without what is only a way of writing: references, and who ships an override."""
        overrides = tuple(resolved(o, self.parameters) for o in self.overrides)
        return attrs.evolve(self, references={}, cameras=(), overrides=overrides)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of its tasks, in order."""
        return tuple(t.label for t in self.tasks)


def task_in(
    content: Content, label: str, task_class: type[SuperTask] | str, config: Any
) -> tuple[TaskDef, Content]:
    """Return a task for a pipeline, and the pipeline that remembers its references to parameters.

    Raises
    ------
    PipelineError
        A reference leads nowhere, or class and configuration do not fit.
    ConfigError
        The configuration is not valid.
    """
    references = {}
    if isinstance(config, Mapping):
        references = {path: value for path, value in config.items() if has_references(value)}
        problems = Problems(f"task {label!r}")
        made = {k: resolve(v, content.parameters, problems.add) for k, v in config.items()}
        problems.raise_if_any(PipelineError)
        config = {k: v for k, v in made.items() if v is not INVALID} if references else config
    task = make_task_def(label, task_class, config)
    others = {name: found for name, found in content.references.items() if name != label}
    return task, attrs.evolve(content, references={**others, label: references} if references else others)


def selected(
    content: Content,
    include: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
) -> Content:
    """Return the part of a pipeline that some labels and subsets name.

    Subsets and steps shrink with it; contracts stay whose tasks do; what tasks left out would read is kept.

    Parameters
    ----------
    content : Content
        The whole.
    include : iterable of str, optional
        Labels and names of subsets; all unless given.
    exclude : iterable of str, optional
        Labels and names of subsets that are left out of these.
    rename : Mapping, optional
        Label → its new label.

    Raises
    ------
    PipelineError
        Names everything that is not in the pipeline, and labels that would meet.
    """
    problems = Problems("selection")
    rename = rename or {}

    def labels(words: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for word in words:
            if word in content.subsets:
                found.update(content.subsets[word].labels)
            elif word in content.labels:
                found.add(word)
            else:
                known = [*content.labels, *content.subsets]
                problems.add(
                    f"the pipeline has no task or subset {word!r}{did_you_mean(word, known)}; "
                    f"it has {', '.join(known) or 'none'}"
                )
        return found

    kept = (set(content.labels) if include is None else labels(include)) - labels(exclude)
    for label, new in rename.items():
        if label not in kept:
            problems.add(f"there is no task {label!r} to rename{did_you_mean(label, kept)}")
        elif new in kept and new not in rename:
            problems.add(f"task {label!r} cannot be renamed: there is another {new!r}")
        try:
            check_label(new)
        except PipelineError as error:
            problems.take(error)
    problems.raise_if_any(PipelineError)

    def named(label: str) -> str:
        return rename.get(label, label)

    subsets = {
        name: attrs.evolve(s, labels=tuple(named(x) for x in s.labels if x in kept))
        for name, s in content.subsets.items()
        if any(x in kept for x in s.labels) or not s.labels
    }
    tasks = tuple(attrs.evolve(t, label=named(t.label)) for t in content.tasks if t.label in kept)
    return attrs.evolve(
        content,
        tasks=tasks,
        subsets=subsets,
        steps=tuple(s for s in content.steps if s.subset in subsets),
        contracts=tuple(relabelled(c, rename) for c in content.contracts if labels_of(c) <= kept),
        references={named(label): dict(r) for label, r in content.references.items() if label in kept},
        overrides=tuple(attrs.evolve(o, label=named(o.label)) for o in content.overrides if o.label in kept),
        retention=still_said(content.retention, content.tasks, tasks),
    )


def taken_in(other: Content, *words: Any, **further: Any) -> Content:
    """Return the part of another pipeline that a pipeline imports; takes what `selected` takes."""
    part = selected(other, *words, **further)
    return attrs.evolve(part, overrides=tuple(map(imported_override, part.overrides)))


def merged(first: Content, second: Content) -> Content:
    """Return two pipelines as one; the first's description stands.

    Raises
    ------
    PipelineError
        Names each task, parameter, subset and retention that both have and that differ.
    """
    problems = Problems("pipelines")
    tasks = {t.label: t for t in first.tasks}
    for task in second.tasks:
        other = tasks.setdefault(task.label, task)
        if other != task:
            problems.add(
                f"both have a task {task.label!r} ({other.class_path} and {task.class_path}): "
                "exclude or rename one of them"
            )
    parameters = dict(first.parameters)
    for name, parameter in second.parameters.items():
        if parameters.setdefault(name, parameter) != parameter:
            problems.add(f"both have a parameter {name!r}, and they differ: say here which it is")
    subsets = dict(first.subsets)
    for name, subset in second.subsets.items():
        if subsets.setdefault(name, subset) != subset:
            problems.add(f"both have a subset {name!r}, and they differ: say here which it is")
    retention = dict(first.retention)
    for name, said in second.retention.items():
        other_said = retention.setdefault(name, said)
        if other_said != said:
            problems.add(
                f"both say how long {name} stays, {other_said.policy.value} and {said.policy.value}: "
                "say here which it is"
            )
    problems.raise_if_any(PipelineError)
    return Content(
        first.description,
        tuple(tasks.values()),
        parameters,
        subsets,
        (*first.steps, *(s for s in second.steps if s not in first.steps)),
        (*first.contracts, *(c for c in second.contracts if c not in first.contracts)),
        {**second.references, **first.references},
        (*first.overrides, *(o for o in second.overrides if o not in first.overrides)),
        tuple(dict.fromkeys([*first.cameras, *second.cameras])),
        retention,
    )
