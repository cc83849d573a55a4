"""``supertask dagman``: a whole plan as one DAG of HTCondor's DAGMan."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.failures import FailureOptions, failure_options
from executors.cmdline.finding import PUT_BACK, home_of
from executors.cmdline.options import command as define
from executors.cmdline.options import see_local_modules

__all__ = ["command"]


@define("dagman", short_help="Write a plan as one DAG for HTCondor, and submit it.")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--site", type=click.Path(path_type=Path), default=None, metavar="FILE",
              help="What the site wants said with each job.")  # fmt: skip
@click.option("--jobs", type=click.Path(path_type=Path), default=None, metavar="FOLDER",
              help="Where jobs have their folders; in the repository if not given.")  # fmt: skip
@click.option(
    "--bundling", default=None, metavar="NAME", help="Which of the plan's bundlings; the last one made."
)
@failure_options
@click.option("--submit", is_flag=True, help="Submit it, and go.")
@click.option("--follow", is_flag=True, help="Submit it, and wait until it has ended.")
def command(
    *,
    plan: Path,
    site: Path | None,
    jobs: Path | None,
    bundling: str | None,
    failures: FailureOptions,
    submit: bool,
    follow: bool,
) -> int:
    """Pack what PLAN has left to run, and write it as one DAG, whose last node collects.

    Without --submit or --follow it is for you to look at, and to submit with condor_submit_dag. With --follow
    it exits with 0 if all of the plan has succeeded, with 1 if not.
    """
    see_local_modules()
    if failures.max_failures is not None:
        raise click.UsageError("--fail-fast and --max-failures need a driver that counts: supertask run")
    from executors.condor.dag import follow_dag
    from executors.condor.framework import CondorFramework
    from executors.condor.site import CondorSite
    from executors.journal.report import status
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.repository import Butler

    framework = CondorFramework(
        jobs,
        site=CondorSite() if site is None else CondorSite.load(site),
        detached=True,
        submits=submit or follow,
    )
    dag = ScienceDag.open(plan)
    meta = dag.meta
    # Its nodes look for it there, too.
    with Butler(home_of(dag, PUT_BACK)) as butler:
        framework.execute(
            plan,
            butler,
            bundling=bundling,
            policies=failures.policies,
            retry_failed=failures.retry_failed,
        )
    if framework.dag is None:
        terminal.line("nothing is left to run: all of the plan has ended")
        return status(meta.butler_root, meta.output_run).exit_code
    where = shlex.quote(str(framework.dag.path))
    terminal.line(f"{framework.dag.nodes} bundles in {where}")
    if not submit and not follow:
        terminal.line(f"  to run it: condor_submit_dag {where}")
        return 0
    if not follow:
        terminal.line(f"submitted; how it goes: condor_q, or supertask status {shlex.quote(str(plan))}")
        return 0
    follow_dag(framework.dag, lambda ended: terminal.line(f"{ended} nodes have ended"))
    from executors.cmdline.shown import show_status

    report = status(meta.butler_root, meta.output_run)
    show_status(report)
    return report.exit_code
