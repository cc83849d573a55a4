"""``supertask bundles``: which bundles there are, what they hold, and how they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.finding import find_run, in_repository
from executors.cmdline.options import as_json
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from executors.journal.bundlerecords import BundleRecord
    from graphbuilder.dag.dag import ScienceDag

__all__ = ["command", "find_plan"]

_STATUSES = ("planned", "running", "succeeded", "failed", "blocked")


@define("bundles", short_help="Show bundles: what they hold, and how they stand.")
@click.argument("which", metavar="PLAN | RUN")
@in_repository
@click.option("--bundling", default=None, metavar="NAME", help="Which of the plan's; the last one made.")
@click.option(
    "--bundle",
    "numbers",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="B",
    help="Show the quanta of this one; may be given again.",
)
@click.option(
    "--quantum",
    type=click.IntRange(min=0),
    default=None,
    metavar="Q",
    help="Show which bundles hold this quantum.",
)
@click.option("--status", type=click.Choice(_STATUSES), default=None, help="Only those that stand so.")
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="Show no more than so many.",
)
@as_json
def command(
    *,
    which: str,
    repo: Path | None,
    bundling: str | None,
    numbers: tuple[int, ...],
    quantum: int | None,
    status: str | None,
    most: int,
    as_json: bool,
) -> None:
    """Show the bundles of the plan in the file PLAN, or of the plan that RUN was made by."""  # fmt: skip
    from executors.journal.bundlerecords import bundle_records, bundles_of

    root, plan = find_plan(which, repo)
    if quantum is not None:
        held = bundles_of(plan, quantum)
        rows: list[Mapping[str, Any]] = [{"bundling": name, "bundle": b} for name, b in held.items()]
        _write(rows, ["bundling", "bundle"], as_json=as_json)
        return
    records = bundle_records(plan, root, bundling, numbers or None)
    if status is not None:
        records = [r for r in records if r.status.value == status]
    if numbers and not as_json:
        for record in records:
            _show_one(plan, record)
        return
    found = [_row(plan, r, whole=bool(numbers)) for r in records]
    if as_json:
        terminal.objects(found)
        return
    rows = [{**row, "task": ", ".join(row["tasks"])} for row in found[:most]]
    head = ["bundle", "task", "quanta", "status", "done", "wall s", "CPU s", "overhead s", "asks for s"]
    _write(rows, head, as_json=False)
    if len(found) > most:
        terminal.line(f"and {len(found) - most:,} more (--most)")
    others = [name for name in plan.bundlings if not records or name != records[0].bundling]
    if others:
        terminal.note(f"the plan has other bundlings, too: {', '.join(others)}")


def find_plan(which: str, repo: Path | None) -> tuple[Path, ScienceDag]:
    """Return repository and plan of a plan's file, or of a run."""
    from executors.journal.bundlerecords import plan_of_run
    from graphbuilder.dag.dag import ScienceDag

    root, run = find_run(which, repo)
    plan = ScienceDag.open(which) if Path(which).is_file() else plan_of_run(root, run)
    return root, plan


def _row(plan: ScienceDag, record: BundleRecord, *, whole: bool) -> dict[str, Any]:
    from graphbuilder.dag.requests import request

    bundling = plan.bundling(record.bundling)
    assert bundling is not None  # noqa: S101 - the record is of it
    asked = request(plan, bundling, record.bundle)
    row: dict[str, Any] = {
        "bundling": record.bundling, "bundle": record.bundle, "tasks": list(record.labels),
        "quanta": len(record.quanta), "status": record.status.value,
        "done": sum(n for s, n in record.counts.items() if s.finished),
        "wall s": round(record.wall, 3), "CPU s": round(record.cpu, 3),
        "overhead s": round(record.overhead, 3),
        "asks for s": None if asked is None else round(asked.seconds, 1),
        "asks for bytes": None if asked is None else asked.memory,
    }  # fmt: skip
    return row | ({"members": list(record.quanta)} if whole else {})


def _write(rows: Sequence[Mapping[str, Any]], head: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        terminal.objects(rows)
    else:
        terminal.table(head, [[row[name] for name in head] for row in rows])


def _show_one(plan: ScienceDag, record: BundleRecord) -> None:
    quanta = [plan.quanta[q] for q in record.quanta]
    terminal.table(
        ["quantum", "task", "data ID", "parameters"],
        [
            [i, q.label, str(q.dataId), "" if q.parameters is None else str(q.parameters)]
            for i, q in zip(record.quanta, quanta, strict=True)
        ],
        title=f"bundle {record.bundle} of {record.bundling}: {record.status.value}",
    )
    bundling = plan.bundling(record.bundling)
    for label, why in (bundling.about.get("why", {}) if bundling is not None else {}).items():
        if label in record.labels:
            terminal.line(f"{label}: {why}")
