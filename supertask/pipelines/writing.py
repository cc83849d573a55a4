"""A pipeline as the plain data of a file, and with other values of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from supertask.errors import ConfigError, PipelineError, Problems, did_you_mean
from supertask.pipelines.cameraoverrides import camera_overrides
from supertask.pipelines.dataoverrides import plain, written
from supertask.pipelines.parameters import Given, escape, resolve
from supertask.pipelines.parts import Content

__all__ = ["with_values", "write"]


def write(content: Content, *, everything: bool) -> dict[str, Any]:
    """Return a pipeline as the plain data of a file, with nothing left to import.

    Parameters
    ----------
    content : Content
        The pipeline.
    everything : bool
        Whether to write all values of configurations, and none as a reference to a parameter; else only
        those that differ from defaults.
    """
    said: dict[str, Any] = {"description": content.description} if content.description else {}
    if content.parameters:
        said["parameters"] = {name: p.plain() for name, p in content.parameters.items()}
    shipped = set() if everything else _as_shipped(content)
    if shipped:
        said["cameras"] = [c for c in content.cameras if c in shipped]
    said["tasks"] = {}
    for task in content.tasks:
        values = escape(task.config.to_dict() if everything else task.config.changes_from())
        if not everything:
            # Later paths stand over earlier ones, also over what leads to the same field.
            values.update(content.references.get(task.label, {}))
        overrides = [
            written(o, content.parameters) if everything else plain(o)
            for o in content.overrides
            if o.label == task.label and (everything or o.camera not in shipped)
        ]
        said["tasks"][task.label] = {
            "class": task.class_path,
            **({"config": values} if values else {}),
            **({"overrides": overrides} if overrides else {}),
        }
    if content.subsets:
        said["subsets"] = {
            name: {"labels": list(s.labels), "description": s.description}
            if s.description
            else list(s.labels)
            for name, s in content.subsets.items()
        }
    if content.steps:
        said["steps"] = [
            {"subset": s.subset, "units": list(s.units)} if s.units else s.subset for s in content.steps
        ]
    if content.contracts:
        said["contracts"] = [
            {"contract": c.expression, "message": c.message} if c.message else c.expression
            for c in content.contracts
        ]
    if content.retention:
        said["retention"] = {name: r.policy.value for name, r in content.retention.items()}
    return said


def _as_shipped(content: Content) -> set[str]:
    """Return the cameras whose overrides are here just as their packages would give them."""
    found = set()
    for camera in content.cameras:
        try:
            theirs = [o for o in camera_overrides(camera) if o.label in content.labels]
        except PipelineError:
            continue
        if theirs == [o for o in content.overrides if o.camera == camera]:
            found.add(camera)
    return found


def with_values(content: Content, given: Mapping[str, Given]) -> Content:
    """Return a pipeline with other values of parameters, and all that refers to them set anew.

    Raises
    ------
    PipelineError
        Names every parameter that is unknown, and every value that is not allowed.
    """
    problems = Problems("parameters")
    parameters = dict(content.parameters)
    for name, value in given.items():
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            problems.add(
                f"the pipeline has no parameter {name!r}{did_you_mean(name, parameters)}; it has {known}"
            )
            continue
        try:
            parameters[name] = parameters[name].given(value)
        except PipelineError as error:
            problems.take(error, f"{name}: ")
    problems.raise_if_any(PipelineError)
    tasks = []
    for task in content.tasks:
        config = task.config
        for path, raw in content.references.get(task.label, {}).items():
            old, new = (resolve(raw, p, problems.add) for p in (content.parameters, parameters))
            if old == new:
                continue
            sources = ", ".join(v.source for v in given.values())
            try:
                config = config.over({path: new}, sources)
            except ConfigError as error:
                problems.take(error, f"{task.label}:")
        tasks.append(attrs.evolve(task, config=config))
    problems.raise_if_any(PipelineError)
    return attrs.evolve(content, tasks=tuple(tasks), parameters=parameters)
