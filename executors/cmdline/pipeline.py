"""``supertask pipeline``: look into a pipeline file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json, overrides, see_local_modules
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from supertask.pipeline import DatasetUse, Pipeline, TaskDef

__all__ = ["command"]


@click.group(
    "pipeline", short_help="Look into a pipeline.", context_settings={"help_option_names": ["-h", "--help"]}
)
def command() -> None:
    """Look into a pipeline."""


@define("show", short_help="Show the tasks, dataset types and configs of a pipeline.")
@click.argument("file", type=click.Path(path_type=Path))
@overrides
@click.option("--values", is_flag=True, help="Show every value of every config, and what set it.")
@as_json
def show(*, file: Path, overrides: tuple[str, ...], values: bool, as_json: bool) -> None:
    """Show the pipeline in FILE."""
    see_local_modules(file.parent)
    from supertask.pipeline import Pipeline

    pipeline = Pipeline.load(file).applyConfigOverrides(overrides)
    pipeline.check()
    if as_json:
        terminal.objects([summary(pipeline)])
        return
    if pipeline.description:
        terminal.line(pipeline.description)
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


command.add_command(show)
