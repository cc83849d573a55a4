"""``supertask dag``: look into a plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import asdict

from executors.cmdline import terminal
from executors.cmdline.dag_report import report
from executors.cmdline.options import as_json
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from graphbuilder.dag.dag import ScienceDag
    from supertask.datasets import Dataset

__all__ = ["command", "show_summary", "summary"]


@click.group("dag", short_help="Look into a plan.", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look into a plan."""


@define("show", short_help="Show a plan, one of its tasks, or one of its quanta.")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--quantum", type=int, default=None, metavar="N", help="Show the quantum of this number.")
@click.option("--identity", default=None, metavar="HEX", help="Show the quantum whose identity begins so.")
@click.option("--label", default=None, help="List the quanta of this task.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="List at most so many."
)
@as_json
def show(
    *, plan: Path, quantum: int | None, identity: str | None, label: str | None, limit: int, as_json: bool
) -> None:
    """Show the plan in the file PLAN, one of its tasks, or one of its quanta."""
    if sum(x is not None for x in (quantum, identity, label)) > 1:
        raise click.UsageError("give at most one of --quantum, --identity and --label")
    from graphbuilder.dag.dag import ScienceDag

    dag = ScienceDag.load(plan)
    if identity is not None:
        quantum = dag.find_identity(identity)
    if quantum is not None:
        _show_quantum(dag, quantum, as_json=as_json)
    elif label is not None:
        _show_task(dag, label, limit, as_json=as_json)
    elif as_json:
        terminal.objects([summary(dag)])
    else:
        _show_origin(dag)
        show_summary(dag)
        _show_steps(dag)


command.add_command(show)
command.add_command(report)


def summary(dag: ScienceDag) -> dict[str, Any]:
    """Return what a plan holds, as JSON values."""
    meta = dag.meta
    return {
        "quanta": dag.n_quanta,
        "datasets": dag.n_datasets,
        "output_run": meta.output_run,
        "collections": list(meta.collections),
        "where": meta.where,
        "bind": meta.bind,
        "repository": meta.butler_root,
        "created": meta.created,
        "command": meta.command,
        "versions": meta.versions,
        "tasks": [_task(dag, k) for k in range(len(dag.tasks))],
        "dataset_types": [_dataset_type(dag, t) for t in dag.datasets],
        "steps": [{"task": label, "step": step, "left": n} for label, step, n in meta.steps],
        "trimmed": [asdict(t) for t in meta.trimmed],
        "reused": None if meta.reused is None else meta.reused.to_dict(),
        "replaces": None if meta.replaces is None else asdict(meta.replaces),
        "bundlings": {name: len(b) for name, b in dag.bundlings.items()},
        "retention": dict(meta.retention),
    }


def _task(dag: ScienceDag, k: int) -> dict[str, Any]:
    node, table = dag.tasks[k], dag.quantum_tables[k]
    return {
        "label": node.label,
        "class": node.class_path,
        "version": node.version,
        "units": list(node.quantum_units),
        "quanta": node.count,
        "first": node.first,
        "variants": _variants(dag, node.label),
        "inputs": [t.name for t in table.inputs],
        "outputs": [t.name for t in table.outputs],
    }


def _variants(dag: ScienceDag, label: str) -> list[dict[str, Any]]:
    """Return what overrides on data make of a task, and of how many quanta."""
    node = dag.task(label)
    counts = dag.variant_counts(label) if node.variants else []
    return [
        {
            "variant": k,
            "quanta": n,
            "overrides": [str(o) for o in variant.overrides],
            "class": variant.class_path,
            "changes": {path: here for path, (_, here, _) in variant.changes.items()},
        }
        for k, (variant, n) in enumerate(zip(node.variants, counts, strict=True))
    ]


def _dataset_type(dag: ScienceDag, dataset_type: type[Dataset]) -> dict[str, Any]:
    table = dag.datasets[dataset_type]
    made = dataset_type in dag.producers
    bytes_read = None
    if not made and table.sizes is not None:
        sizes = table.sizes[:]
        bytes_read = int(sizes[sizes > 0].sum())
    return {
        "name": dataset_type.name,
        "units": list(dataset_type.units),
        "storage": dataset_type.storage,
        "datasets": table.n,
        "made": made,
        "bytes": bytes_read,
    }


def _show_origin(dag: ScienceDag) -> None:
    meta = dag.meta
    terminal.pairs(
        {
            "repository": meta.butler_root,
            "output run": meta.output_run,
            "collections": ", ".join(meta.collections) or "all runs, newest first",
            "where": meta.where,
            "made": f"{meta.created} by {meta.user} with supertask {meta.versions.get('supertask', '?')}",
            "command": meta.command,
            "bundles": ", ".join(f"{name}: {len(b):,}" for name, b in dag.bundlings.items()),
            "retention": ", ".join(f"{name} {policy}" for name, policy in meta.retention.items()),
        }
    )


def _show_steps(dag: ScienceDag) -> None:
    """Write how many were left after each step of planning: last, for it is long."""
    terminal.table(
        ["left", "step", "task"],
        [[n, step, label] for label, step, n in dag.meta.steps],
        title="How it came about",
    )


def show_summary(dag: ScienceDag) -> None:
    """Write the tasks and dataset types of a plan as tables."""
    tasks = [_task(dag, k) for k in range(len(dag.tasks))]
    terminal.table(
        ["task", "quanta", "for each", "reads", "writes"],
        [
            [t["label"], t["quanta"], ", ".join(t["units"]), ", ".join(t["inputs"]), ", ".join(t["outputs"])]
            for t in tasks
        ],
        title=terminal.counted(dag.n_quanta, "quantum"),
    )
    varying = [(t["label"], v) for t in tasks for v in t["variants"]]
    if varying:
        terminal.table(
            ["task", "variant", "quanta", "values", "given by"],
            [
                [
                    label,
                    v["variant"],
                    v["quanta"],
                    _changed(v),
                    "; ".join(v["overrides"]) or "(the task's own)",
                ]
                for label, v in varying
            ],
            title="Variants of tasks by data",
        )
    types = [_dataset_type(dag, t) for t in dag.datasets]
    terminal.table(
        ["dataset type", "datasets", "for each", "storage", "which"],
        [[t["name"], t["datasets"], ", ".join(t["units"]), t["storage"], _which(t)] for t in types],
        title=terminal.counted(dag.n_datasets, "dataset"),
    )


def _said_of(dag: ScienceDag, label: str, number: int) -> str:
    """Return what is said of a quantum's variant; nothing where its task has none."""
    variants = _variants(dag, label)
    if not variants:
        return ""
    given = "; ".join(variants[number]["overrides"]) or "the task's own configuration"
    return (
        f"{number}: {_changed(variants[number])} by {given}"
        if _changed(variants[number])
        else f"{number}: {given}"
    )


def _changed(variant: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in variant["changes"].items())


def _which(dataset_type: Mapping[str, Any]) -> str:
    if dataset_type["made"]:
        return "made"
    n_bytes = dataset_type["bytes"]
    return f"there, {terminal.size(n_bytes)}" if n_bytes else "there"


def _show_task(dag: ScienceDag, label: str, limit: int, *, as_json: bool) -> None:
    node = dag.task(label)
    shown = range(node.first, node.first + min(node.count, limit))
    rows = [{"quantum": i, "identity": bytes(dag.identities[i]).hex(), **dag.quanta[i].dataId} for i in shown]
    if as_json:
        terminal.objects(rows)
        return
    columns = list(rows[0]) if rows else ["quantum", "identity"]
    more = node.count - len(rows)
    for row in rows:
        row["identity"] = str(row["identity"])[:12]
    terminal.table(
        columns,
        [[row[c] for c in columns] for row in rows],
        title=f"{terminal.counted(node.count, 'quantum')} of {label}",
    )
    if more:
        terminal.note(f"{more:,} more; see --limit")


def _show_quantum(dag: ScienceDag, i: int, *, as_json: bool) -> None:
    record = dag.record(i)
    quantum = record.quantum
    sides = (("reads", quantum.inputs), ("writes", quantum.outputs))
    if as_json:
        found: dict[str, Any] = {
            "quantum": i,
            "label": record.label,
            "identity": record.identity.hex(),
            "dataId": quantum.dataId,
            "variant": record.variant,
        }
        for what, side in sides:
            found[what] = {
                t.name: [
                    {**d.dataId, "identity": record.identities[d].hex(), "location": record.locations.get(d)}
                    for d in sorted(datasets)
                ]
                for t, datasets in side.items()
            }
        terminal.objects([found])
        return
    terminal.pairs(
        {
            "quantum": str(i),
            "task": record.label,
            "data ID": str(quantum.dataId),
            "identity": record.identity.hex(),
            "variant": _said_of(dag, record.label, record.variant),
        }
    )
    rows = [
        [what, t.name, str(d.dataId), record.locations.get(d, "")]
        for what, side in sides
        for t, datasets in side.items()
        for d in sorted(datasets)
    ]
    terminal.table(["", "dataset type", "data ID", "stored as"], rows)
