"""``supertask batch``: merge quanta of a plan into bundles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from executors.cmdline import terminal
from executors.cmdline.costwords import parse_costs
from executors.cmdline.failures import parse_seconds
from executors.cmdline.finding import PUT_BACK, home_of
from executors.cmdline.options import as_json, refuse_idle, together, words
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from graphbuilder.batcher import Cluster
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.dag.values import Bundling
    from graphbuilder.sizing import Choice, Measured

__all__ = ["command"]


def _size(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    from supertask.configs.policy import parse_size
    from supertask.errors import ConfigError

    try:
        return None if value is None else parse_size(value)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


def _share(_: click.Context, __: click.Parameter, value: str) -> float:
    text = value.strip()
    try:
        share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise click.BadParameter(f"{value!r} is not a share between 0 and 1: write 5% or 0.05")
    return share


def _time(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_seconds(value, value)
    except click.UsageError:
        raise click.BadParameter(f"{value!r} is not a time: write 90, 30m or 2h") from None


_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.argument("plan", type=click.Path(path_type=Path)),
    click.option("--max-quanta", type=click.IntRange(min=1), default=None, metavar="N",
                 help="No bundle has more quanta."),
    click.option("--max-cost", type=click.FloatRange(min=0, min_open=True), default=None, metavar="C",
                 help="No bundle costs more, by --cost."),
    click.option("--max-time", callback=_time, default=None, metavar="TIME",
                 help="No bundle takes longer, overhead included: by --time, or as measured."),
    click.option("--max-memory", callback=_size, default=None, metavar="SIZE",
                 help="The quanta of no bundle hold more all together, by --memory."),
    click.option("--max-input", callback=_size, default=None, metavar="SIZE",
                 help="The quanta of no bundle read more."),
    click.option("--slots", type=click.IntRange(min=1), default=None, metavar="N",
                 help="So many bundles of each task, to run side by side; with --auto, so many run at once."),
    click.option("--largest-first", is_flag=True,
                 help="Fill slots with the largest quanta first, instead of parting neighbours evenly."),
    click.option("--locality", default=None, metavar="UNITS",
                 help="Quanta with equal values of these units lie together: detector, or tract,patch."),
    click.option("--keep-together", is_flag=True, help="Do not part them where limits allow it."),
    click.option("--by", default=None, metavar="UNITS",
                 help="Run quanta of several tasks together that have equal values of these units."),
    click.option("--shape", type=click.Choice(["chains", "trees"]), default=None,
                 help="Run what waits for each other alone together: one by one, or several for one."),
    click.option("--labels", default=None, metavar="LABELS", help="Of these tasks only."),
    click.option("--cost", multiple=True, metavar="LABEL=MODEL",
                 help="What quanta cost: a number, bytes:NUMBER, inputs:NUMBER, or package.module:function."),
    click.option("--time", "times", multiple=True, metavar="LABEL=MODEL", help="Seconds that quanta take."),
    click.option("--memory", "memories", multiple=True, metavar="LABEL=MODEL", help="Bytes they hold."),
    click.option("--auto", is_flag=True, help="Choose sizes by what was measured in earlier runs."),
    click.option("--overhead-fraction", default="5%", show_default=True, callback=_share, metavar="SHARE",
                 help="With --auto: so much of a bundle's time may be overhead."),
    click.option("--quantile", default="95%", show_default=True, callback=_share, metavar="SHARE",
                 help="With --auto: so many bundles get by with the time and memory that they ask for."),
    click.option("--probe", type=click.IntRange(min=1), default=10, show_default=True, metavar="N",
                 help="With --auto: size of bundles of which nothing was measured yet."),
    click.option("--measured", multiple=True, metavar="RUN",
                 help="Run to take times from; the newest of the plan's repository unless given."),
    click.option("--missing", is_flag=True,
                 help="Keep apart what its run has finished: bundles hold just what is missing."),
    click.option("--split", type=click.IntRange(min=0), default=None, metavar="BUNDLE",
                 help="Split this bundle of the plan and leave the others; with --into."),
    click.option("--into", type=click.IntRange(min=2), default=None, metavar="N", help="In so many."),
    click.option("--name", default="default", show_default=True, help="What to call this way to bundle."),
    click.option("--output", "-o", type=click.Path(path_type=Path), default=None, metavar="FILE",
                 help="Write the plan to another file; unless given, PLAN is replaced."),
    click.option("--dry-run", is_flag=True, help="Show what would be, and why, and write nothing."),
    as_json,
)  # fmt: skip


@define("batch", short_help="Merge quanta of a plan into bundles that run together.")
@together(*_OPTIONS)
def command(
    *, plan: Path, name: str, output: Path | None, dry_run: bool, as_json: bool, **given: Any
) -> None:
    """Merge quanta of the plan in the file PLAN that share overhead into bundles.

    With no limit, all that share overhead are one bundle.
    """
    from graphbuilder.dag.dag import ScienceDag

    _refuse_idle(given)
    dag = ScienceDag.load(plan)
    choices: Sequence[Choice] = ()
    if given["split"] is not None:
        bundling = _split(dag, given, name)
    else:
        bundling, choices = _batched(dag, given, name)
    if not dry_run:
        dag.with_bundling(bundling).save(output or plan)
    rows = _rows(dag, bundling, choices)
    if as_json:
        terminal.objects({**row, "why": bundling.about.get("why", {}).get(row["task"], "")} for row in rows)
        return
    _show(rows, choices)
    where = f"{output or plan}, not written" if dry_run else str(output or plan)
    terminal.line(f"{len(bundling):,} bundles of {dag.n_quanta:,} quanta in {where}")


def _refuse_idle(given: dict[str, Any]) -> None:
    """Refuse options that would be taken and do nothing."""
    if (given["split"] is None) != (given["into"] is None):
        raise click.UsageError("--split BUNDLE and --into N go together")
    auto, slots = given["auto"], given["slots"] is not None
    refuse_idle("overhead_fraction", "quantile", "probe", unless=auto, words="without --auto")
    if given["split"] is not None:
        others = [name for name in given if name not in ("split", "into")]
        refuse_idle(*others, unless=False, words="with --split, which parts a bundle that is there")
    if auto:
        return
    by_cost = given["max_cost"] is not None or (slots and not given["times"])
    refuse_idle("cost", unless=by_cost, words="without --max-cost, or --slots that are not filled by --time")
    by_time = given["max_time"] is not None or slots
    refuse_idle("times", unless=by_time, words="without --max-time or --slots")
    refuse_idle("memories", unless=given["max_memory"] is not None, words="without --max-memory")
    refuse_idle("largest_first", unless=slots, words="without --slots")


def _split(dag: ScienceDag, given: dict[str, Any], name: str) -> Bundling:
    from graphbuilder.batching.parts import split

    there = dag.bundling(name if name in dag.bundlings or name != "default" else None)
    if there is None:
        raise click.UsageError("the plan has no bundles to split: batch it first")
    return split(there, given["split"], given["into"])


def _batched(dag: ScienceDag, given: dict[str, Any], name: str) -> tuple[Bundling, Sequence[Choice]]:
    from graphbuilder.batcher import QuantumBatcher

    finished = None
    if given["missing"]:
        from executors.cmdline.measured import finished_of

        finished = finished_of(dag, home_of(dag, PUT_BACK))
    if given["auto"]:
        return _sized(dag, given, name, finished)
    if given["measured"] and given["max_time"] is None:
        raise click.UsageError("--measured is for --auto and --max-time")
    seconds = parse_costs("time", given["times"])
    overhead: dict[str, float] = {}
    if given["max_time"] is not None:
        from graphbuilder.batching.weights import Constant

        known = _measured(dag, given)
        overhead = {label: m.overhead for label, m in known.items()}
        seconds = {label: Constant(float(m.seconds.mean())) for label, m in known.items()} | seconds
        if lacking := [node.label for node in dag.tasks if node.label not in seconds]:
            raise click.UsageError(
                f"--max-time: nothing was measured of {', '.join(lacking)}: say --time {lacking[0]}=SECONDS"
            )
    batcher = QuantumBatcher(
        given["max_quanta"],
        name,
        max_cost=given["max_cost"],
        max_seconds=given["max_time"],
        max_memory=given["max_memory"],
        max_input_bytes=given["max_input"],
        slots=given["slots"],
        packing="largest-first" if given["largest_first"] else "even",
        locality=words(given["locality"]) or (),
        keep_together=given["keep_together"],
        clusters=_clusters(given),
        cost=parse_costs("cost", given["cost"]),
        seconds=seconds,
        memory=parse_costs("memory", given["memories"]),
        overhead=overhead,
    )
    return batcher.bundles(dag, finished=finished), ()


def _sized(
    dag: ScienceDag, given: dict[str, Any], name: str, finished: Any
) -> tuple[Bundling, Sequence[Choice]]:
    from graphbuilder.sizing import Sizing

    for other in ("max_cost", "max_memory", "max_input", "largest_first", "cost", "times", "memories"):
        if given[other]:
            option = {"times": "time", "memories": "memory"}.get(other, other.replace("_", "-"))
            raise click.UsageError(f"--auto chooses by measured times: leave --{option} out")
    sizing = Sizing(
        slots=given["slots"] or 1,
        overhead_fraction=given["overhead_fraction"],
        quantile=given["quantile"],
        probe=given["probe"],
    )
    return sizing.bundles(
        dag,
        _measured(dag, given),
        name=name,
        max_quanta=given["max_quanta"],
        max_seconds=given["max_time"],
        locality=words(given["locality"]) or (),
        clusters=_clusters(given),
        finished=finished,
    )


def _measured(dag: ScienceDag, given: dict[str, Any]) -> dict[str, Measured]:
    from executors.cmdline.measured import measured_by
    from supertask.butler.repository import Butler

    with Butler(home_of(dag, PUT_BACK), writeable=False) as butler:
        return measured_by(butler, [node.label for node in dag.tasks], given["measured"])


def _clusters(given: dict[str, Any]) -> list[Cluster]:
    from graphbuilder.batcher import Cluster

    labels, by, shape = words(given["labels"]) or (), words(given["by"]) or (), given["shape"] or ""
    if labels and not (by or shape):
        raise click.UsageError("--labels goes with --by or --shape")
    return [Cluster(labels, by, shape)] if by or shape else []


def _rows(dag: ScienceDag, bundling: Bundling, choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """Return a row for each task: how many of its quanta are in how many bundles of which sizes."""
    sizes = np.diff(bundling.indptr)
    bundle = np.empty(dag.n_quanta, np.int64)
    bundle[bundling.indices] = np.repeat(np.arange(len(bundling)), sizes)
    chosen = {choice.label: choice for choice in choices}
    rows = []
    for node in dag.tasks:
        own = np.bincount(bundle[node.first : node.first + node.count], minlength=len(bundling))
        own = own[own > 0]
        row = {
            "task": node.label, "quanta": node.count, "bundles": len(own),
            "smallest": int(own.min(initial=node.count)), "largest": int(own.max(initial=0)),
        }  # fmt: skip
        if node.label in chosen:
            choice = chosen[node.label]
            row |= {"overhead": choice.fraction, "seconds": choice.seconds, "memory": choice.memory}
        rows.append(row)
    return rows


def _show(rows: Sequence[dict[str, Any]], choices: Sequence[Choice]) -> None:
    head = ["task", "quanta", "bundles", "smallest", "largest"]
    cells: list[list[Any]] = [[row[name] for name in head] for row in rows]
    if choices:
        head += ["overhead", "asks for s", "asks for"]
        for row, cell in zip(rows, cells, strict=True):
            cell += [f"{row['overhead']:.1%}", round(row["seconds"], 1), terminal.size(row["memory"])]
    terminal.table(head, cells)
    for choice in choices:
        terminal.line(f"{choice.label}: {choice.why}")
