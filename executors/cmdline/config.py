"""``supertask config``: look into the configs of a pipeline, and change them in its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json, overrides, see_local_modules
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from supertask.pipelines.pipeline import Pipeline, TaskDef

__all__ = ["command"]


@click.group(
    "config",
    short_help="Look into the configs of a pipeline, and change them.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Look into the configs of a pipeline, and change them."""


def _load(file: Path, overrides: tuple[str, ...]) -> Pipeline:
    see_local_modules(file.parent)
    from supertask.pipelines.pipeline import Pipeline

    return Pipeline.load(file, overrides)


def _tasks(pipeline: Pipeline, label: str | None) -> list[TaskDef]:
    return list(pipeline.values()) if label is None else list(pipeline.select(label).values())


def _shown(value: Any) -> str:
    from supertask.datasets import DatasetType

    if isinstance(value, DatasetType):
        return value.name
    return value.__name__ if isinstance(value, type) else str(value)


_file = click.argument("file", type=click.Path(path_type=Path))
_label = click.argument("label", required=False)


@define("show", short_help="Show the values of configs as YAML.")
@_file
@_label
@overrides
@click.option("--changed", is_flag=True, help="Only what differs from the defaults.")
def show(*, file: Path, label: str | None, overrides: tuple[str, ...], changed: bool) -> None:
    """Show the config of the task LABEL (or of all) in the pipeline FILE."""
    from supertask.yamlfiles.text import dump

    values = {
        task.label: task.config.changes_from() if changed else task.config.to_dict()
        for task in _tasks(_load(file, overrides), label)
    }
    terminal.line(dump(values).rstrip())


@define("history", short_help="Show which file, line, option or code set each value, in order.")
@_file
@_label
@overrides
@click.option("--all", "everything", is_flag=True, help="Values that nothing set, too.")
@as_json
def history(
    *, file: Path, label: str | None, overrides: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """Show what set the values of the task LABEL (or of all) in the pipeline FILE, first to last.

    What an override on data sets comes after, with the data for which it holds.
    """
    from executors.cmdline.ondata import history_rows

    pipeline = _load(file, overrides)
    rows: list[dict[str, Any]] = []
    for task in _tasks(pipeline, label):
        rows += [
            {
                "task": task.label,
                "field": path,
                "value": _shown(setting.value),
                "set by": setting.source,
                "when": "",
            }
            for path, settings in task.config.history.items()
            for setting in settings
            if everything or len(settings) > 1 or setting.source != "default"
        ]
        rows += history_rows(pipeline, task.label)
    if as_json:
        terminal.objects(rows)
        return
    heads = ["task", "field", "value", "set by"]
    if any(row["when"] for row in rows):
        heads.append("when")
    terminal.table(heads, [[row[h] for h in heads] for row in rows])


@define("diff", short_help="Show what of configs differs from the defaults, or from another pipeline.")
@_file
@click.argument("other", type=click.Path(path_type=Path), required=False)
@overrides
@as_json
def diff(*, file: Path, other: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show what of the configs in FILE differs from the defaults, or from those in OTHER."""
    here = _load(file, overrides)
    there = None if other is None else _load(other, ())
    rows = []
    for label, task in here.items():
        base: Any = (
            task.task_class.ConfigClass() if there is None else getattr(there.get(label), "config", None)
        )
        if type(base) is type(task.config):
            for path, (a, b) in task.config.diff(base).items():
                rows.append({"task": label, "field": path, "here": _shown(a), "there": _shown(b)})
    if as_json:
        terminal.objects(rows)
        return
    heads = ["task", "field", "here", "default" if other is None else str(other)]
    terminal.table(heads, [list(row.values()) for row in rows])


@define("set", short_help="Set values in a pipeline file; comments and order stay.")
@_file
@click.argument("settings", nargs=-1, required=True, metavar="LABEL:FIELD=VALUE…")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), default=None, help="Another file to write to."
)
def set_(*, file: Path, settings: tuple[str, ...], output: Path | None) -> None:
    """Set values in the pipeline FILE: LABEL:FIELD=VALUE, or parameters:NAME=VALUE."""
    from supertask.pipelines.files import split_location

    whole, part = split_location(file)
    if part and output is None:
        raise click.UsageError(f"{file} is a part of a file: name {whole}, or write the part with --output")
    pipeline = _load(file, ()).applyConfigOverrides(settings)
    pipeline.check()
    pipeline.save(output or file)
    terminal.note(f"wrote {output or file}")


for _command in (show, history, diff, set_):
    command.add_command(_command)
