"""A reference page of a pipeline, in Markdown, from what its configs say of themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from executors.cmdline.diagrams import mermaid
from executors.cmdline.ondata import rows
from supertask.configs.base import ConfigBase
from supertask.configs.fields import ConfigField, Configurable
from supertask.configs.policy import FailurePolicy
from supertask.kinds.base import MISSING
from supertask.pipelines.pipeline import Pipeline, TaskDef

__all__ = ["page"]

_HEADS = ("| field | type | default | here | what it is |", "|---|---|---|---|---|")


def page(pipeline: Pipeline, title: str) -> Iterator[str]:
    """Yield the lines of the page.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    title : str
        Head of the page.
    """
    yield from (f"# {title}", "")
    if pipeline.description:
        yield from (pipeline.description, "")
    yield from ("```mermaid", *mermaid(pipeline), "```", "")
    if pipeline.parameters:
        yield from ("## Parameters", "", "| parameter | type | value | what it is |", "|---|---|---|---|")
        for name, parameter in pipeline.parameters.items():
            f = parameter.declared
            type_ = f"{parameter.type} {f.unit}".strip()
            yield f"| `{name}` | {type_} | `{parameter.value}` | {_cell(f.doc)} |"
        yield ""
    for label, task in pipeline.items():
        yield from _task(label, task)
        yield from _on_data(pipeline, label)
    if pipeline.contracts:
        yield from ("## Contracts", "")
        for contract in pipeline.contracts:
            yield f"- `{contract.expression}`{f': {contract.message}' if contract.message else ''}"
        yield ""
    if pipeline.retention:
        yield from ("## How long datasets stay", "", "| dataset type | stays |", "|---|---|")
        for name, policy in pipeline.retention.items():
            yield f"| {_cell(f'`{name}`')} | {policy.value} |"
        yield ""
    yield from (
        "## When quanta fail",
        "",
        "Each task has a `policy`; it is listed above where it is another.",
        "",
    )
    yield from (*_HEADS, *_fields(FailurePolicy(), "policy.", set()), "")


def _task(label: str, task: TaskDef) -> Iterator[str]:
    yield from (f"## {label}", "")
    units = ", ".join(getattr(task.config, "quantum_units", ()))
    yield from (f"`{task.class_path}`{f', one quantum for each {units}' if units else ''}.", "")
    if vars(task.task_class).get("__doc__"):
        doc = inspect.getdoc(task.task_class) or ""
        yield from (doc.partition("\n\n")[0].replace("\n", " "), "")
    if task.dataset_fields:
        yield from (
            "| dataset type | field | role | units | storage | what it is |",
            "|---|---|---|---|---|---|",
        )
        for name, f in task.dataset_fields.items():
            kind = f.dataset_type
            role = f.role.value.replace("_", " ")
            units = ", ".join(kind.units)
            yield f"| `{kind.name}` | `{name}` | {role} | {units} | {kind.storage} | {_cell(f.doc)} |"
        yield ""
    fields = [*_fields(task.config, "", {*task.dataset_fields, "policy"}), *_policy(task.config)]
    if fields:
        yield from (*_HEADS, *fields, "")


def _policy(config: ConfigBase) -> Iterator[str]:
    """Yield the rows of the failure policy whose values are not as they come: all tasks have one."""
    policy = getattr(config, "policy", None)
    if isinstance(policy, FailurePolicy):
        plain = set(_fields(FailurePolicy(), "policy.", set()))
        yield from (row for row in _fields(policy, "policy.", set()) if row not in plain)


def _on_data(pipeline: Pipeline, label: str) -> Iterator[str]:
    listed = rows(pipeline, label)
    if listed:
        yield from ("For some data it is otherwise:", "")
        yield from ("| when | then | rank |", "|---|---|---|")
        for row in listed:
            yield f"| `{_cell(row['when'])}` | `{_cell(row['then'])}` | {row['rank']} |"
        yield ""


def _fields(config: ConfigBase, prefix: str, left_out: set[str]) -> Iterator[str]:
    for name, declared in config.config_fields.items():
        if name in left_out:
            continue
        value = getattr(config, name)
        doc = declared.doc + (f" Deprecated: {declared.deprecated}." if declared.deprecated else "")
        default = "required" if declared.default is MISSING else _shown(declared.default, declared)
        here = _shown(value, declared)
        nested = value.config if isinstance(value, Configurable) else value
        if not isinstance(value, ConfigBase):
            yield (
                f"| `{prefix}{name}` | {_cell(_allowed(declared))} | {default} | "
                f"{'' if here == default else here} | {_cell(doc)} |"
            )
        if isinstance(nested, ConfigBase):
            yield from _fields(nested, f"{prefix}{name}.", set())


def _shown(value: object, declared: ConfigField) -> str:
    if isinstance(value, Configurable):
        return f"`{value.target.__name__}`"
    return _cell(f"`{declared.kind.plain(value)!r}`")


def _allowed(declared: ConfigField) -> str:
    words = declared.kind.say()
    if declared.unit:
        words += f", {declared.unit}"
    if declared.min is not None:
        words += f", at least {declared.min!r}"
    if declared.max is not None:
        words += f", at most {declared.max!r}"
    return f"{words}: {', '.join(map(repr, declared.choices))}" if declared.choices else words


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
