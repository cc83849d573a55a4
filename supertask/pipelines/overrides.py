"""Overrides as text applied to a pipeline: ``label:field=value``, and ``label{expression}:field=value``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from supertask.configs.overrides import Override, parse_override, parse_path
from supertask.errors import ConfigError, PipelineError, Problems, did_you_mean
from supertask.pipelines.dataoverrides import RANK_USER, DataOverride, applied, make_override
from supertask.pipelines.parameters import Given
from supertask.pipelines.parts import Content
from supertask.pipelines.taskdefs import TaskDef
from supertask.pipelines.writing import with_values

__all__ = ["checked_override", "overridden", "unknown"]

_CONDITIONAL = re.compile(r"(?P<label>[^:{}=]+)\{(?P<when>.*?)\}:(?P<rest>.*)\Z", re.DOTALL)


def unknown(label: str, labels: Iterable[str]) -> str:
    """Return what is said of a label that a pipeline does not have."""
    known = list(labels)
    return (
        f"the pipeline has no task {label!r}{did_you_mean(label, known)}; it has {', '.join(known) or 'none'}"
    )


def checked_override(content: Content, override: DataOverride) -> DataOverride:
    """Return an override whose task is there and whose values fit it.

    Raises
    ------
    PipelineError
        There is no such task or class.
    ConfigError
        Its values are not valid.
    """
    applied(_task(content, override.label), override, content.parameters)
    return override


def _task(content: Content, label: str) -> TaskDef:
    found = next((t for t in content.tasks if t.label == label), None)
    if found is None:
        raise PipelineError(unknown(label, content.labels))
    return found


def overridden(
    content: Content,
    overrides: Iterable[str | tuple[str, Any]] | Mapping[str, Any],
    here: str,
    source: str,
) -> Content:
    """Return a pipeline with overrides applied in order; see `Pipeline.applyConfigOverrides`.

    Raises
    ------
    ConfigError
        Names every override that cannot be applied.
    """
    problems = Problems("config overrides")
    by_label: dict[str, list[Override]] = {}
    given: dict[str, Given] = {}
    conditional: list[tuple[str, DataOverride]] = []
    for item in overrides.items() if isinstance(overrides, Mapping) else overrides:
        text, pair = (item, None) if isinstance(item, str) else (item[0], item)
        if (match := _CONDITIONAL.match(text)) is not None:
            try:
                made = _on_data(match, pair, source or (text if pair is None else here))
                conditional.append((text, made))
            except (ConfigError, PipelineError) as error:
                problems.take(error, f"override {text!r}: ")
            continue
        label, colon, rest = text.partition(":")
        if not colon:
            problems.add(f"override {text!r} names no task: write it as label:field=value")
        elif label == "parameters":
            name, _, value = rest.partition("=") if pair is None else (rest, "", pair[1])
            given[name.strip()] = Given(
                value.strip() if isinstance(value, str) else value, source or text, text=True
            )
        elif label not in content.labels:
            problems.add(f"override {text!r}: {unknown(label, content.labels)}")
        elif pair is not None:
            by_label.setdefault(label, []).append(Override(rest, pair[1], here))
        else:
            try:
                by_label.setdefault(label, []).append(parse_override(rest, source or text))
            except ConfigError as error:
                problems.take(error, f"override {text!r}: ")
    try:
        content = with_values(content, given) if given else content
    except PipelineError as error:
        problems.take(error)
    content = _changed(content, by_label, problems)
    for text, override in conditional:
        try:
            typed = _typed(content, override)
        except (ConfigError, PipelineError) as error:
            problems.take(error, f"override {text!r}: ")
            continue
        content = attrs.evolve(content, overrides=(*content.overrides, typed))
    problems.raise_if_any(ConfigError)
    return content


def _changed(content: Content, by_label: Mapping[str, list[Override]], problems: Problems) -> Content:
    new = {t.label: t for t in content.tasks}
    references = {label: dict(found) for label, found in content.references.items()}
    for label, changes in by_label.items():
        try:
            config = new[label].config.apply_overrides(changes)
            new[label] = attrs.evolve(new[label], config=config)
        except ConfigError as error:
            problems.take(error, f"{label}:")
            continue
        # What is set by hand no longer follows its parameter.
        touched = {parse_path(change.path)[0] for change in changes}
        found = references.pop(label, {})
        if kept := {p: v for p, v in found.items() if parse_path(p)[0] not in touched}:
            references[label] = kept
    return attrs.evolve(content, tasks=tuple(new.values()), references=references)


def _on_data(match: re.Match[str], pair: tuple[str, Any] | None, source: str) -> DataOverride:
    """Return the override that ``label{expression}:field=value`` says, its value still text."""
    label, when, rest = match["label"].strip(), match["when"], match["rest"]
    if rest.strip() in ("drop", "drop=true"):
        return make_override(label, when, drop=True, rank=RANK_USER, source=source)
    change = Override(rest, pair[1]) if pair is not None else parse_override(rest)
    return make_override(label, when, {change.path: change.value}, rank=RANK_USER, source=source)


def _typed(content: Content, override: DataOverride) -> DataOverride:
    """Return the same override with values of the types that its task's fields have."""
    task = _task(content, override.label)
    if override.drop:
        return override
    path, value = next(iter(override.config.items()))
    changed = task.config.apply_override(path, value, override.source)
    node: Any = changed.to_dict()
    for step in parse_path(path):
        node = node["config"] if isinstance(node, dict) and step not in node and "config" in node else node
        node = node[int(step)] if isinstance(node, list) else node[step]
    return checked_override(content, attrs.evolve(override, config={path: node}))
