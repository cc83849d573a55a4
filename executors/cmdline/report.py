"""``supertask report``: what came of a run."""

from __future__ import annotations

from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json
from executors.cmdline.options import command as define
from executors.cmdline.status import find_command, find_report

__all__ = ["command"]


@define("report", short_help="Show what came of a run: what each task used, and each kind of failure.")
@click.argument("where", metavar="PLAN | REPO RUN", nargs=-1, required=True)
@click.option("--no-tracebacks", is_flag=True, help="Leave tracebacks out.")
@click.option(
    "--costs", type=click.Path(path_type=Path), default=None, metavar="FILE",
    help="Write what its tasks cost to a file, from which supertask dag report estimates later plans.",
)  # fmt: skip
@as_json
def command(*, where: tuple[str, ...], no_tracebacks: bool, costs: Path | None, as_json: bool) -> int:
    """Show what came of a run: the one of the plan in the file PLAN, or RUN of the repository REPO.

    Exits with 1 if not everything succeeded.
    """
    report = find_report(where)
    if costs is not None:
        from executors.cmdline.costs import costs_of
        from graphbuilder.preview.costs import write_costs

        write_costs(costs, costs_of(report))
        terminal.note(f"wrote what its tasks cost to {costs}")
    if as_json:
        terminal.objects([report.to_dict()])
    else:
        from executors.cmdline.shown import show_report

        show_report(report, find_command(where), tracebacks=not no_tracebacks)
    return report.exit_code
