"""``supertask collect``: take what bundles made that ran without a driver."""

from __future__ import annotations

from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.finding import home_of
from executors.cmdline.options import as_json, moved, refuse_idle, see_local_modules
from executors.cmdline.options import command as define

__all__ = ["command"]


@define("collect", short_help="Take what bundles made that ran without a driver, and register it.")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--from", "homes", type=click.Path(path_type=Path, exists=True, file_okay=False), multiple=True,
              metavar="FOLDER", help="A job's folder, or one that holds such; may be given again. Unless "
              "given, the one that the run has in the repository.")  # fmt: skip
@click.option("--follow", is_flag=True, help="Go on until every job has ended.")
@click.option("--every", type=click.FloatRange(min=0.1), default=10.0, show_default=True, metavar="SECONDS",
              help="Time between two looks.")  # fmt: skip
@click.option("--late", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="SECONDS",
              help="How long to wait for outputs that a shared file system shows late.")  # fmt: skip
@moved
@as_json
def command(
    *,
    plan: Path,
    homes: tuple[Path, ...],
    follow: bool,
    every: float,
    late: float,
    repo: Path | None,
    as_json: bool,
) -> int:
    """Merge what the jobs of PLAN wrote in the journal of its run, and register what they made.

    May be called again at any time, also while jobs run, and after it was killed. Exits with 0 if all of the
    plan has succeeded, with 1 if not (yet).
    """
    refuse_idle("every", unless=follow, words="without --follow")
    see_local_modules()
    from executors.cmdline.standing import lives
    from executors.jobs.collecting import collect
    from executors.jobs.settling import folder_for
    from executors.journal.report import status
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.repository import Butler

    dag = ScienceDag.load(plan)
    root = str(repo or home_of(dag))
    with Butler(root) as butler:
        where = [h.absolute() for h in homes] or [folder_for(dag, butler)]
        found = collect(
            dag,
            butler,
            where,
            plan_file=plan,
            follow=follow,
            seconds=every,
            late=late,
            lives=lambda names: any(lives(home, names) for home in where),
        )
    report = status(root, dag.meta.output_run)
    for problem in found.settled.problems:
        terminal.note(f"warning: {problem}")
    registered = found.report.registered
    if as_json:
        terminal.objects([{**report.to_dict(), "registered": registered, "open_jobs": found.settled.open}])
    else:
        from executors.cmdline.shown import show_status

        terminal.line(f"took {found.settled.attempts} attempts, registered {registered} datasets")
        if found.settled.open:
            terminal.line(f"{found.settled.open} jobs have not ended")
        show_status(report)
    return report.exit_code
