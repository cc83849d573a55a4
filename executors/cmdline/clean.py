"""``supertask clean``: delete what killed runs left behind, what is no longer needed, and whole runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.finding import home_of
from executors.cmdline.options import as_json, retention
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from supertask.butler.repository import Butler

__all__ = ["command"]


@define("clean", short_help="Delete what killed runs left behind, intermediates, or whole runs.")
@click.argument("target", metavar="REPO | PLAN", type=click.Path(path_type=Path))
@click.option("--run", "runs", multiple=True, metavar="RUN",
              help="Delete this whole run of the repository; may be given again.")  # fmt: skip
@retention
@click.option("--scratch", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Look for leftovers in this folder for scratch, too; may be given again.")  # fmt: skip
@click.option("--older-than", type=click.FloatRange(min=0), default=1.0, show_default=True, metavar="HOURS",
              help="Leave alone temporary files that are younger, unless their run has ended.")  # fmt: skip
@click.option("--dry-run", "-n", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before whole runs are deleted.")
@click.option("--including-unremakable", is_flag=True,
              help="Delete also what no plan can make again, such as raw frames.")  # fmt: skip
@click.option("--repo", type=click.Path(path_type=Path), default=None, metavar="REPO",
              help="Where the plan's repository is now, if it was moved.")  # fmt: skip
@as_json
def command(
    *,
    target: Path,
    runs: tuple[str, ...],
    retain: Mapping[str, str],
    scratch: tuple[Path, ...],
    older_than: float,
    dry_run: bool,
    yes: bool,
    including_unremakable: bool,
    repo: Path | None,
    as_json: bool,
) -> int:
    """Delete what killed runs left behind in the repository REPO, or of the run of the plan in the file PLAN.

    That is: temporary files of interrupted writes, and scratch of processes that are gone. Runs that go on
    are left alone.

    With --retain and PLAN: the run's intermediates that need not stay, too. With --run and REPO: whole runs.
    What cannot be made again is kept unless you say --including-unremakable.
    """  # fmt: skip
    from supertask.butler.repository import Butler

    plan = None if target.is_dir() else target
    if retain and plan is None:
        raise click.UsageError("--retain needs the plan that made the run: give its file instead of REPO")
    if runs and plan is not None:
        raise click.UsageError("--run deletes runs of a repository: give REPO instead of a plan")
    if repo is not None and plan is None:
        raise click.UsageError("--repo is for a plan: give REPO once")
    rows: list[dict[str, Any]] = []
    code = 0
    if plan is None:
        with Butler(target) as butler:
            for run in runs:
                code = max(code, _remove_run(butler, run, rows, dry_run, yes, including_unremakable))
            _leftovers(butler, None, rows, scratch, older_than, dry_run)
    else:
        from graphbuilder.dag.dag import ScienceDag

        dag = ScienceDag.load(plan)
        with Butler(repo or home_of(dag)) as butler:
            if retain:
                from executors.cleaning import delete_intermediates

                gone, kept = delete_intermediates(
                    dag, butler, retain, dry_run=dry_run, including_unremakable=including_unremakable
                )
                if gone.files:
                    rows.append(_row("intermediates", dag.meta.output_run, gone.files, gone.size))
                if kept:
                    terminal.note(
                        f"outputs of {terminal.counted(kept, 'quantum')} stay: what they were made from is "
                        "gone, so they could not be made again (--including-unremakable deletes them)"
                    )
            _leftovers(butler, dag.meta.output_run, rows, scratch, older_than, dry_run)
    _show(rows, dry_run=dry_run, as_json=as_json)
    return code


def _leftovers(
    butler: Butler,
    run: str | None,
    rows: list[dict[str, Any]],
    scratch: tuple[Path, ...],
    hours: float,
    dry_run: bool,
) -> None:
    from executors.cleaning import find_leftovers, remove_leftovers, unfinished_removals

    for name, gone in unfinished_removals(butler, dry_run=dry_run) if run is None else ():
        rows.append(_row("rest of a run", name, gone.files, gone.size))
    found = find_leftovers(butler, scratch, older=3600 * hours, run=run)
    if not dry_run:
        remove_leftovers(found)
    rows += [_row(each.what, each.path, 1, each.size) for each in found]


def _remove_run(
    butler: Butler, run: str, rows: list[dict[str, Any]], dry_run: bool, yes: bool, unremakable: bool
) -> int:
    from executors.cleaning import look_into_run, remove_run

    contents = look_into_run(butler, run)
    if contents.unremakable and not unremakable:
        terminal.error(
            f"run {run!r} is kept: {contents.unremakable:,} of its {contents.datasets:,} datasets cannot be "
            f"made again, because {contents.why}. --including-unremakable deletes them all the same"
        )
        return 2
    if not dry_run:
        what = f"delete run {run}: {contents.datasets:,} datasets, {terminal.size(contents.size)}"
        if contents.unremakable:
            what += f", of which {contents.unremakable:,} CANNOT be made again"
        if not yes and not _confirmed(what):
            terminal.note(f"run {run} is kept")
            return 1
        remove_run(butler, contents)
    rows.append(_row("run", run, contents.datasets, contents.size))
    return 0


def _confirmed(what: str) -> bool:
    if not terminal.is_terminal(sys.stdin):
        raise click.UsageError(f"to {what}, say --yes: nobody is there to be asked")
    return click.confirm(f"{what[0].upper()}{what[1:]}?", default=False, err=True)


def _row(what: str, where: str, files: int, size: int) -> dict[str, Any]:
    return {"what": what, "where": where, "files": files, "bytes": size}


def _show(rows: list[dict[str, Any]], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        terminal.objects([{**row, "deleted": not dry_run} for row in rows])
        return
    if not rows:
        terminal.line("nothing is left over")
        return
    terminal.table(
        ["what", "where", "files", "size"],
        [[row["what"], row["where"], row["files"], terminal.size(row["bytes"])] for row in rows],
    )
    total = terminal.size(sum(row["bytes"] for row in rows))
    terminal.line(f"{'would free' if dry_run else 'freed'} {total}")
