"""``supertask pipeline``: look into a pipeline file."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json, drawn_as, overrides, see_local_modules
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from supertask.pipelines.pipeline import DatasetUse, Pipeline, TaskDef
    from supertask.units import UnitModel

__all__ = ["command"]


@click.group(
    "pipeline", short_help="Look into a pipeline.", context_settings={"help_option_names": ["-h", "--help"]}
)
def command() -> None:
    """Look into a pipeline."""


@define("show", short_help="Draw the tasks and dataset types of a pipeline, and say what they are.")
@click.argument("file", type=click.Path(path_type=Path))
@overrides
@drawn_as
@click.option("--values", is_flag=True, help="Show every value of every config, and what set it.")
@as_json
def show(*, file: Path, overrides: tuple[str, ...], form: str | None, values: bool, as_json: bool) -> None:
    """Show the pipeline in FILE: ■ is a task, ○ a dataset type, a line one that a later task reads."""
    if form is not None and (values or as_json):
        raise click.UsageError("--as is the drawing alone: leave out --values and --json")
    pipeline = _load(file, overrides)
    pipeline.check()
    if as_json:
        terminal.objects([summary(pipeline)])
        return
    if form is not None:
        _draw(pipeline, form)
        return
    if pipeline.description:
        terminal.line(pipeline.description)
        terminal.line()
    _draw(pipeline)
    terminal.line()
    terminal.table(
        ["task", "for each", "reads", "writes", "class"],
        [
            [label, ", ".join(task.config.quantum_units), *_sides(task), task.class_path]
            for label, task in pipeline.sort().items()
        ],
        title=terminal.counted(len(pipeline), "task"),
    )
    uses = pipeline.dataset_types()
    terminal.table(
        ["dataset type", "for each", "storage", "made by", "read by"],
        [
            [name, ", ".join(u.dataset_type.units), u.dataset_type.storage, _maker(u), ", ".join(u.consumers)]
            for name, u in uses.items()
        ],
        title=terminal.counted(len(uses), "dataset type"),
    )
    if pipeline.overrides:
        from executors.cmdline.ondata import rows

        listed = rows(pipeline)
        terminal.table(
            list(listed[0]), [list(row.values()) for row in listed], title="What is otherwise for some data"
        )
    if pipeline.retention:
        terminal.table(
            ["dataset type", "stays"],
            [[name, policy.value] for name, policy in pipeline.retention.items()],
            title="How long datasets stay; others for good",
        )
    if values:
        for label, task in pipeline.items():
            _show_config(label, task)


def summary(pipeline: Pipeline) -> dict[str, Any]:
    """Return what a pipeline says, as JSON values."""
    return {
        **pipeline.to_dict(),
        "dataset_types": {
            name: {
                "units": list(use.dataset_type.units),
                "storage": use.dataset_type.storage,
                "producer": use.producer,
                "consumers": list(use.consumers),
            }
            for name, use in pipeline.dataset_types().items()
        },
    }


def _sides(task: TaskDef) -> tuple[str, str]:
    fields = task.dataset_fields.values()
    reads = ", ".join(f.dataset_type.name + ("" if f.minimum else "?") for f in fields if f.is_input)
    writes = ", ".join(f.dataset_type.name for f in fields if not f.is_input)
    return reads, writes


def _maker(use: DatasetUse) -> str:
    return use.producer or "(must be there)"


def _show_config(label: str, task: TaskDef) -> None:
    from supertask.datasets import DatasetType

    rows = []
    for path, settings in task.config.history.items():
        known = task.config.config_fields.get(path)
        value, source = settings[-1]
        shown = value.name if isinstance(value, DatasetType) else value
        rows.append(
            [path, f"{shown} {known.unit if known else ''}".strip(), source, known.doc if known else ""]
        )
    terminal.table(["field", "value", "set by", "what it is"], rows, title=f"config of {label}")


def _load(file: Path, overrides: tuple[str, ...]) -> Pipeline:
    see_local_modules(file.parent)
    from supertask.pipelines.pipeline import Pipeline

    return Pipeline.load(file, overrides)


@define("check", short_help="Check a pipeline: tasks, order, units, contracts.")
@click.argument("file", type=click.Path(path_type=Path))
@overrides
@click.option("--unit-model", metavar="NAME", default=None,
              help="Hold units against this model: imaging, spectra, or a file.")  # fmt: skip
def check(*, file: Path, overrides: tuple[str, ...], unit_model: str | None) -> None:
    """Check the pipeline in FILE; every mistake is named at once."""
    pipeline = _load(file, overrides)
    model = None
    if unit_model is not None:
        from supertask.unitmodels import load_unit_model

        model = load_unit_model(unit_model)
    _check_all(pipeline, model)
    order = "" if pipeline.checkOrder() else "; tasks will be put in order"
    parts: tuple[tuple[str, Sized], ...] = (
        ("task", pipeline),
        ("dataset type", pipeline.dataset_types()),
        ("contract", pipeline.contracts),
        *([("override", pipeline.overrides)] if pipeline.overrides else []),
    )
    counts = ", ".join(terminal.counted(len(found), what) for what, found in parts)
    terminal.line(f"{file} is good: {counts}{order}")


def _check_all(pipeline: Pipeline, model: UnitModel | None) -> None:
    """Check a pipeline, and the conditions of its overrides that are expressions, which need a unit model."""
    from supertask.errors import PipelineError, Problems

    problems = Problems("pipeline")
    try:
        pipeline.check(model)
    except PipelineError as error:
        problems.take(error)
    if model is not None:
        from graphbuilder.tasks.variants import Overrides

        noted = {problem.partition(": when: ")[0] for problem in problems}
        try:
            Overrides(pipeline, model)
        except PipelineError as error:
            for problem in error.problems:
                if problem.partition(": when: ")[0] not in noted:
                    problems.add(problem)
    problems.raise_if_any(PipelineError)


@define("graph", short_help="Draw tasks and dataset types with their units, and no more.")
@click.argument("file", type=click.Path(path_type=Path))
@overrides
@drawn_as
def graph(*, file: Path, overrides: tuple[str, ...], form: str | None) -> None:
    """Draw the pipeline in FILE: ■ is a task, ○ a dataset type, a line one that a later task reads."""
    _draw(_load(file, overrides), form)


def _draw(pipeline: Pipeline, form: str | None = None) -> None:
    from executors.cmdline import diagrams

    draw = {"mermaid": diagrams.mermaid, "dot": diagrams.dot}.get(form or "", diagrams.terminal_graph)
    for line in draw(pipeline.sort()):
        terminal.line(line)


@define("diff", short_help="Show what differs between two pipelines.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@as_json
def diff(*, file: Path, other: Path, as_json: bool) -> None:
    """Show what differs between the pipelines in FILE and OTHER: tasks, and values of configs."""
    here, there = _load(file, ()), _load(other, ())
    rows = [
        {"task": label, "field": field, "here": a, "there": b}
        for label, field, a, b in differences(here, there)
    ]
    if as_json:
        terminal.objects(rows)
    elif not rows:
        terminal.line("no differences")
    else:
        terminal.table(["task", "field", str(file), str(other)], [list(row.values()) for row in rows])


def differences(here: Pipeline, there: Pipeline) -> Iterator[tuple[str, str, str, str]]:
    """Yield label, field (empty for the task itself) and both values of all that differs."""
    from supertask.pipelines.retention import Retention, rule_for

    mine, theirs = (_on_data(p) for p in (here, there))
    for key in dict.fromkeys([*mine, *theirs]):
        if mine.get(key) != theirs.get(key):
            label, when = key
            yield label, f"when {when}", mine.get(key, "(none)"), theirs.get(key, "(none)")
    for label in dict.fromkeys([*here, *there]):
        a, b = here.get(label), there.get(label)
        if a is None or b is None or a.task_class is not b.task_class:
            yield label, "", *("(none)" if t is None else t.class_path for t in (a, b))
            continue
        for path, values in a.config.diff(b.config).items():
            yield label, path, *(str(getattr(v, "name", v)) for v in values)
    for name in dict.fromkeys([*here.retention, *there.retention]):
        policies = [rule_for(name, side.retention) or Retention.KEEP for side in (here, there)]
        if policies[0] is not policies[1]:
            yield "", f"retention of {name}", policies[0].value, policies[1].value


def _on_data(pipeline: Pipeline) -> dict[tuple[str, str], str]:
    """Label and condition → what then is, of each override."""
    from executors.cmdline.ondata import rows

    found: dict[tuple[str, str], str] = {}
    for row in rows(pipeline):
        key = (row["task"], row["when"])
        said = f"{row['then']} (rank {row['rank']})"
        found[key] = f"{found[key]}; {said}" if key in found else said
    return found


@define("docs", short_help="Write a reference page of a pipeline, in Markdown.")
@click.argument("file", type=click.Path(path_type=Path))
@overrides
@click.option("--output", "-o", type=click.Path(path_type=Path), default=None, help="File to write to.")
def docs(*, file: Path, overrides: tuple[str, ...], output: Path | None) -> None:
    """Write a reference page of the pipeline in FILE, from what its configs say of themselves."""
    from executors.cmdline.taskpages import page

    text = "\n".join(page(_load(file, overrides).sort(), Path(str(file).partition("#")[0]).stem))
    if output is None:
        terminal.line(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")


@define("expand", short_help="Show a pipeline with its imports in it and its parameters resolved.")
@click.argument("file", type=click.Path(path_type=Path))
@overrides
def expand(*, file: Path, overrides: tuple[str, ...]) -> None:
    """Show the pipeline in FILE as one file that imports nothing, with every value of every config."""
    from supertask.yamlfiles.text import dump

    terminal.line(dump(_load(file, overrides).to_dict()).rstrip())


@define("schema", short_help="Show the JSON Schema of pipeline files, for editors.")
def schema() -> None:
    """Show the JSON Schema of pipeline files."""
    import json

    from supertask.pipelines.schema import load_schema

    terminal.line(json.dumps(load_schema("pipeline"), indent=2, ensure_ascii=False))


for _command in (show, check, graph, diff, docs, expand, schema):
    command.add_command(_command)
