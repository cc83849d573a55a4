"""``supertask dag report``: what a plan will read, write and cost, as a table, as JSON and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.explain import open_repository
from executors.cmdline.options import as_json, drawn_as, see_local_modules
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.preview.report import PreflightReport
    from supertask.butler.port import AbstractButler

__all__ = ["report", "report_of", "show_preflight"]


@define("report", short_help="Report what a plan will read, write and cost, and what looks amiss.")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--repo",
    type=click.Path(path_type=Path),
    default=None,
    metavar="REPO",
    help="The plan's repository; where the plan says, unless given.",
)
@click.option(
    "--costs",
    "cost_files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Costs of earlier runs, from supertask report … --costs; of runs of the repository unless given.",
)
@drawn_as
@click.option(
    "--graph",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE.png",
    help="Draw the plan's graph.",
)
@click.option(
    "--sky",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE.png",
    help="Draw where on the sky the quanta are.",
)
@click.option(
    "--panels",
    type=click.Choice(["task", "band"]),
    default="task",
    show_default=True,
    help="What each panel of --sky shows.",
)
@as_json
def report(
    *,
    plan: Path,
    repo: Path | None,
    cost_files: tuple[Path, ...],
    form: str | None,
    graph: Path | None,
    sky: Path | None,
    panels: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Report what the plan in the file PLAN will read, write and cost, and what in it looks amiss.

    Costs are estimated from earlier runs of tasks of the same label, sizes of outputs from datasets of
    the same type that were made before; what is not known is said to be unknown.
    """
    from graphbuilder.dag.dag import ScienceDag

    dag = ScienceDag.load(plan)
    if form is not None:
        from graphbuilder.preview import graph as drawn

        for line in (drawn.mermaid if form == "mermaid" else drawn.dot)(drawn.graph_of(dag)):
            terminal.line(line)
        return
    see_local_modules(plan.parent)
    butler = open_repository(dag, repo)
    try:
        _draw(dag, butler, graph, sky, panels)
        if (graph is None and sky is None) or as_json:
            found = report_of(dag, butler, cost_files)
            if as_json:
                terminal.objects([found.to_dict()])
            else:
                show_preflight(found)
    finally:
        if butler is not None:
            butler.close()


def _draw(
    dag: ScienceDag, butler: AbstractButler | None, graph: Path | None, sky: Path | None, panels: str
) -> None:
    if graph is not None:
        from graphbuilder.preview.graph import graph_of
        from graphbuilder.preview.pictures import draw_graph

        draw_graph(graph_of(dag), graph, title=dag.meta.output_run)
        terminal.note(f"drew {graph}")
    if sky is not None:
        from graphbuilder.preview.skypictures import draw_sky
        from graphbuilder.preview.skyview import panels_of

        draw_sky(panels_of(dag, butler, by=panels), sky, title=dag.meta.output_run)
        terminal.note(f"drew {sky}")


def report_of(
    dag: ScienceDag, butler: AbstractButler | None, cost_files: tuple[Path, ...] = ()
) -> PreflightReport:
    """Return the preflight report of a plan, costs from these files or else from runs of the repository."""
    from executors.cmdline.costs import earlier_costs
    from graphbuilder.preview.costs import read_costs
    from graphbuilder.preview.report import preflight_report

    costs = [c for file in cost_files for c in read_costs(file)]
    if not cost_files and butler is not None:
        costs = earlier_costs(butler)
    return preflight_report(dag, butler=butler, costs=costs)


def show_preflight(found: PreflightReport) -> None:
    """Write a preflight report as tables."""
    rows: list[list[Any]] = [
        [
            t.label, t.quanta, t.reads, _bytes(t.bytes_read), t.writes, _bytes(t.bytes_written),
            _time(t.cpu), _time(t.wall), _bytes(t.memory), t.measured or None,
        ]
        for t in found.tasks
    ]  # fmt: skip
    if len(rows) > 1:
        summed = [found.total(w) for w in ("bytes_read", "bytes_written", "cpu", "wall")]
        shown = [
            _at_least(_bytes(round(v)) if i < 2 else _time(v), unknown, len(rows))
            for i, (v, unknown) in enumerate(summed)
        ]
        rows.append(
            [
                "all", found.quanta, sum(t.reads for t in found.tasks), shown[0],
                sum(t.writes for t in found.tasks), shown[1], shown[2], shown[3], "", None,
            ]
        )  # fmt: skip
    terminal.table(
        ["task", "quanta", "reads", "bytes", "writes", "bytes", "CPU", "wall", "memory", "measured"],
        rows,
        title=f"What {found.output_run} will do",
    )
    sources = dict.fromkeys(t.source for t in found.tasks if t.source)
    known = f"estimated from as many quanta as were measured, of {', '.join(sources)}"
    terminal.line(
        f"CPU, wall time and memory are {known if sources else 'unknown: there is no earlier run'}\n"
    )
    terminal.table(
        ["dataset type", "datasets", "for each", "", "bytes", "known"],
        [
            [t.name, t.datasets, ", ".join(t.units), "made" if t.made else "there", _bytes(t.bytes), t.source]
            for t in found.types
        ],
        title=terminal.counted(sum(t.datasets for t in found.types), "dataset"),
    )
    for caution in found.cautions:
        terminal.line(f"warning: {caution}")
    if not found.cautions:
        terminal.line("nothing looks amiss")


def _bytes(n: int | None) -> str:
    return "unknown" if n is None else terminal.size(n)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 600:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 36_000 else f"{seconds / 3600:.3g} h"


def _at_least(text: str, unknown: int, tasks: int) -> str:
    return "unknown" if unknown >= tasks else f"≥ {text}" if unknown else text
