"""``supertask run``: run a plan, or plan and run."""

from __future__ import annotations

import os
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from executors.cmdline import terminal
from executors.cmdline.asking import Asking, asking
from executors.cmdline.batchoptions import BatchOptions, batch_options
from executors.cmdline.failures import FailureOptions, failure_options
from executors.cmdline.finding import home_of
from executors.cmdline.options import as_json, moved, planning, see_local_modules
from executors.cmdline.options import command as define
from executors.cmdline.watching import Watching, watching

if TYPE_CHECKING:
    from executors.cmdline.framework import Planning
    from executors.events import Listener
    from graphbuilder.dag.dag import ScienceDag

__all__ = ["command"]

_MANY = 8
"""More processes than so many times the cores are mentioned."""
_INTERRUPTED = 130


@define("run", short_help="Run a plan, or what is left of it.")
@click.argument("target", metavar="PLAN | REPO", type=click.Path(path_type=Path))
@planning(required=False)
@click.option(
    "-j",
    "processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Run in so many processes; with one, in this very process.",
)
@batch_options
@failure_options
@watching
@asking
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Go on with a run that was begun before, or refuse to.",
)
@click.option(
    "--bundling", default=None, metavar="NAME", help="Which of the plan's bundlings; the last one made."
)
@moved
@as_json
def command(
    *,
    target: Path,
    planning: Planning | None,
    processes: int,
    where_to: BatchOptions,
    failures: FailureOptions,
    watch: Watching,
    asked: Asking,
    resume: bool,
    bundling: str | None,
    repo: Path | None,
    as_json: bool,
) -> int:
    """Run the plan in the file PLAN, or with -p plan what is to be done in the repository REPO and run it.

    The same command again goes on where it was; what is finished does not run again. Exits with 0 if
    everything succeeded, with 1 if not.
    """  # fmt: skip
    if planning is None and target.is_dir():
        raise click.UsageError(f"{target} is a folder: give the file of a plan, or -p PIPELINE to plan first")
    if planning is not None and repo is not None:
        raise click.UsageError("--repo is for a plan that was made before: give REPO once")
    see_local_modules()
    from executors.cmdline.framework import CmdLineFramework
    from executors.cmdline.nextsteps import run_again
    from executors.cmdline.progress import Progress
    from executors.cmdline.shown import show_report
    from executors.listeners.progressfile import ProgressFile
    from supertask.butler.repository import Butler

    walker = where_to.framework(processes)
    if walker is None and processes > _MANY * (cores := len(os.sched_getaffinity(0))):
        terminal.note(
            f"note: -j {processes} is far more than the {cores} cores here: they will wait for each other"
        )
    framework = CmdLineFramework(processes, walker)
    plan: Path | ScienceDag = target
    with Butler(target if planning is not None else repo or _home(target)) as butler:
        if planning is not None:
            with terminal.spinner("planning"):
                plan = framework.preflight(planning, butler)
        with ExitStack() as watched, Progress() as progress:
            listeners: list[Listener] = [progress, ProgressFile()]
            for each in watch.listeners():
                watched.enter_context(each)
                listeners.append(each)
            report = framework.execute(
                plan,
                butler,
                listeners=listeners,
                resume=resume,
                max_failures=failures.max_failures,
                policies=failures.policies,
                retry_failed=failures.retry_failed,
                retain=watch.retain,
                scratch=watch.scratch or None,
                scratch_size=watch.scratch_size,
                overhead_memory=watch.overhead_memory,
                bundling=bundling,
                **asked.arguments(),
            )
    if where_to.detached:
        terminal.line("submitted all that is left to run; take what it makes by:")
        terminal.line(f"  supertask collect {shlex.quote(report.plan_file or str(target))} --follow")
        return 0
    if as_json:
        terminal.objects([report.to_dict()])
    else:
        # What was planned with the run is not planned again.
        again = "" if planning is not None else run_again(click.get_current_context().find_root().obj.words)
        show_report(report, again, tracebacks=False)
        if report.failures:
            where = [str(target)] if planning is None else [str(target), report.run]
            terminal.note(f"supertask report {shlex.join(where)} shows tracebacks")
    return _INTERRUPTED if report.interrupted else report.exit_code


def _home(plan: Path) -> str:
    from graphbuilder.dag.dag import ScienceDag

    return home_of(ScienceDag.open(plan))
