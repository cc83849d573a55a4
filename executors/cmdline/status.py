"""``supertask status``: how a run stands, while it goes on or after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from executors.cmdline.standing import Standing
    from executors.journal.report import Report

__all__ = ["command", "data_ids_running", "find_command", "find_report"]


@define("status", short_help="Show how a run stands, while it goes on or after.")
@click.argument("where", metavar="PLAN | REPO RUN", nargs=-1, required=True)
@click.option("--jobs", "home", metavar="FOLDER",
              type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Where the run's jobs are, if it was told so; their engine is asked.")  # fmt: skip
@as_json
def command(*, where: tuple[str, ...], home: Path | None, as_json: bool) -> int:
    """Show how a run stands: the one of the plan in the file PLAN, or RUN of the repository REPO.

    Exits with 1 if something failed.
    """
    report = find_report(where)
    jobs = _jobs_of(where, report, home)
    if home is not None and jobs is None:
        terminal.note(f"{home} holds no jobs that Slurm or HTCondor was given")
    if as_json:
        import attrs

        terminal.objects([{**report.to_dict(), **({"jobs": attrs.asdict(jobs)} if jobs is not None else {})}])
    else:
        from executors.cmdline.shown import show_status

        show_status(report, find_command(where), data_ids_running(report, _root_of(where)))
        if jobs is not None:
            for line in str(jobs).splitlines():
                terminal.line(line)
    from executors.outcome import QuantumStatus

    bad = report.unregistered or any(
        report.counts.get(s) for s in (QuantumStatus.FAILED, QuantumStatus.BLOCKED)
    )
    return 1 if bad else 0


def find_command(where: tuple[str, ...]) -> str:
    """Return the command that goes on with the run of ``PLAN``; empty for ``REPO RUN``: the report knows."""
    from executors.cmdline.nextsteps import run_command

    return run_command(where[0]) if len(where) == 1 else ""


def find_report(where: tuple[str, ...]) -> Report:
    """Return the report of ``PLAN`` or ``REPO RUN``."""
    from executors.journal.report import status

    if len(where) == 2:
        return _with_progress(status(where[0], where[1]), where[0])
    if len(where) != 1 or Path(where[0]).is_dir():
        raise click.UsageError("give the file of a plan, or a repository and a run")
    from executors.cmdline.finding import home_of
    from graphbuilder.dag.dag import ScienceDag

    dag = ScienceDag.open(where[0])
    root = home_of(dag, f"give it and the run instead of the plan: REPO {dag.meta.output_run}")
    return _with_progress(status(root, dag.meta.output_run), root)


def _jobs_of(where: tuple[str, ...], report: Report, home: Path | None) -> Standing | None:
    """Ask the engine how the run's jobs stand."""
    from executors.cmdline.standing import standing
    from executors.journal.runfolder import RunFolder

    return standing(home.absolute() if home else RunFolder(_root_of(where), report.run).path / "jobs")


def _root_of(where: tuple[str, ...]) -> str:
    from graphbuilder.dag.dag import ScienceDag

    return where[0] if len(where) == 2 else ScienceDag.open(where[0]).meta.butler_root


def data_ids_running(report: Report, root: str) -> dict[int, str]:
    """Return the data IDs of what runs, the longest first, as far as a plan of the run is there."""
    from executors.cmdline.shown import RUNNING_SHOWN
    from executors.journal.bundlerecords import plan_of_run
    from supertask.errors import SuperTaskError

    shown = sorted(report.running, key=lambda b: b.time)[:RUNNING_SHOWN]
    try:
        quanta = plan_of_run(root, report.run).quanta if shown else ()
        if len(quanta) != report.n_quanta:
            return {}
        return {
            b.index: ", ".join(f"{u}={v}" for u, v in (quanta[b.index].dataId or {}).items()) for b in shown
        }
    except SuperTaskError:
        return {}


def _with_progress(report: Report, root: str) -> Report:
    """Add what tasks that run say of how far they are."""
    if not report.running:
        return report
    import attrs

    from executors.listeners.progressfile import read_progress

    return attrs.evolve(report, progress=read_progress(root, report.run))
