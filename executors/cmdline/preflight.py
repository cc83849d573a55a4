"""``supertask preflight``: work out the whole plan and save it."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from executors.cmdline import terminal
from executors.cmdline.dag import show_summary, summary
from executors.cmdline.dag_report import report_of, show_preflight
from executors.cmdline.nextsteps import run_command
from executors.cmdline.options import as_json, planning, repository
from executors.cmdline.options import command as define
from executors.cmdline.reusing import partial, reuse_of, reusing, show_reused
from executors.cmdline.sharded import preflight_in_shards, sharding

if TYPE_CHECKING:
    from executors.cmdline.framework import Planning
    from executors.cmdline.sharded import Sharding

__all__ = ["command"]


@define("preflight", short_help="Work out the whole plan before anything runs.")
@repository
@planning()
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), default=Path("plan.h5"), show_default=True,
    metavar="FILE", help="Where to save the plan.",
)  # fmt: skip
@click.option(
    "--report", is_flag=True,
    help="Report what the plan will read, write and cost, and what looks amiss; as supertask dag report.",
)  # fmt: skip
@reusing
@partial
@sharding
@as_json
def command(
    *,
    repo: Path,
    planning: Planning,
    output: Path,
    report: bool,
    part: dict[str, Any],
    shards: Sharding | None,
    as_json: bool,
    **reusable: Any,
) -> None:
    """Work out what a pipeline will do with the data of the repository REPO, and save the plan.

    Where everything is there already, the plan that is saved has no quanta, and running it does nothing.
    """
    from executors.cmdline.framework import CmdLineFramework
    from supertask.butler.repository import Butler

    began = time.perf_counter()
    with Butler(repo) as butler:
        with terminal.spinner("planning"):
            planning = evolve(planning, **part, reuse=reuse_of(butler, **reusable))
            if shards is None:
                dag = CmdLineFramework().preflight(planning, butler)
                dag.save(output)
            else:
                dag = preflight_in_shards(planning, shards, butler, output)
        seconds = time.perf_counter() - began
        found = report_of(dag, butler) if report else None
    n_bytes = output.stat().st_size
    if as_json:
        told = {} if found is None else {"report": found.to_dict()}
        terminal.objects(
            [{"plan": str(output), "bytes": n_bytes, "seconds": seconds, **summary(dag), **told}]
        )
        return
    reused = dag.meta.reused
    if reused is not None:
        show_reused(reused)
    if not dag.n_quanta and reused is not None and reused.aside:
        terminal.line(
            f"nothing to run of what was asked for; {terminal.counted(reused.aside, 'quantum')} that were "
            f"not asked for are not there either; {output} is an empty plan"
        )
        return
    if not dag.n_quanta:
        terminal.line(
            f"nothing to run: all {terminal.counted(reused.planned if reused else 0, 'quantum')} are there "
            f"already; {output} is an empty plan"
        )
        return
    if found is None:
        show_summary(dag)
        for trimmed in dag.meta.trimmed:
            terminal.note(str(trimmed))
    else:
        show_preflight(found)
    replaces = dag.meta.replaces
    if replaces is not None and replaces.count:
        what = ", ".join(f"{n:,} {name}" for name, n in replaces.datasets.items())
        terminal.note(
            f"running it replaces {terminal.counted(replaces.count, 'dataset')} of run {dag.meta.output_run} "
            f"({terminal.size(replaces.size)}): {what}"
        )
    empty = [node.label for node in dag.tasks if not node.count]
    if empty:
        terminal.note(f"no quanta of {', '.join(empty)}; why: supertask explain {quote(str(output))}")
    what = f"{terminal.counted(dag.n_quanta, 'quantum')} and {terminal.counted(dag.n_datasets, 'dataset')}"
    terminal.line(
        f"planned {what} in {seconds:.1f} s: {output} ({terminal.size(n_bytes)}); "
        f"run it with: {run_command(output)}"
    )
