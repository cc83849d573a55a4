"""Overrides on data as rows of tables, for the commands that show pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from supertask.configs.base import leaves
from supertask.pipelines.dataoverrides import DataOverride, applied, resolved, say_when
from supertask.pipelines.pipeline import Pipeline

__all__ = ["history_rows", "rows", "what"]


def what(override: DataOverride) -> str:
    """Return in words what an override changes."""
    parts = [f"{path}={value}" for path, value in override.config.items()]
    if override.task_class:
        parts.insert(0, f"class {override.task_class}")
    if override.drop is not None:
        parts.insert(0, "dropped" if override.drop else "not dropped")
    return ", ".join(parts)


def rows(pipeline: Pipeline, label: str | None = None) -> list[dict[str, Any]]:
    """Return a row for each override, in the order of their ranks."""
    found = [o for o in pipeline.overrides if label in (None, o.label)]
    return [
        {
            "task": o.label,
            "when": say_when(o.when),
            "then": what(resolved(o, pipeline.parameters)),
            "rank": o.rank,
            "said by": o.source + (f" (camera {o.camera})" if o.camera else ""),
        }
        for o in sorted(found, key=lambda o: o.rank)
    ]


def history_rows(pipeline: Pipeline, label: str) -> Iterator[dict[str, Any]]:
    """Yield what overrides of a task set, lower ranks first, as rows of a history."""
    mine = sorted((o for o in pipeline.overrides if o.label == label), key=lambda o: o.rank)
    for override in mine:
        when = say_when(override.when)
        if override.drop is not None:
            yield _row(label, "", "dropped" if override.drop else "not dropped", override.source, when)
        if override.task_class:
            yield _row(label, "", f"class {override.task_class}", override.source, when)
        task = pipeline[label]
        variant = applied(task, override, pipeline.parameters)
        before = task.config.history if type(task.config) is type(variant.config) else {}
        values = dict(leaves(variant.config, ""))
        for path, settings in variant.config.history.items():
            if override.config and len(settings) > len(before.get(path, settings[:1])):
                yield _row(label, path, str(values.get(path, settings[-1].value)), settings[-1].source, when)


def _row(label: str, path: str, value: str, source: str, when: str) -> dict[str, Any]:
    return {"task": label, "field": path, "value": value, "set by": source, "when": when}
