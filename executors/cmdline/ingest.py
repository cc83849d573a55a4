"""``supertask ingest``: FITS files into a repository."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json, repository, see_local_modules
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from supertask.ingest.report import IngestReport

__all__ = ["command"]

_WARNINGS_SHOWN = 20


@define("ingest", short_help="Bring FITS files into a repository.")
@repository
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@click.option(
    "--translator",
    "-t",
    required=True,
    metavar="FILE|NAME",
    help="What says which card gives which unit: a YAML file, or one that is installed.",
)
@click.option(
    "--run", default="raw/all", show_default=True, metavar="RUN", help="RUN collection to put them in."
)
@click.option(
    "--transfer",
    type=click.Choice(["direct", "link", "copy", "move"]),
    default="direct",
    show_default=True,
    help="Leave the files where they are, or link, copy or move them into the repository.",
)
@click.option(
    "-j",
    "processes",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Read files in so many processes; by itself one per CPU if there are many files.",
)
@as_json
def command(
    *,
    repo: Path,
    paths: tuple[str, ...],
    translator: str,
    run: str,
    transfer: str,
    processes: int | None,
    as_json: bool,
) -> int:
    """Bring the FITS files in PATHs (files, or folders to search) into the repository REPO.

    A file that cannot be used is named with its reason and hinders no other; then the exit code is 1.
    Running it again adds only what is new.
    """  # fmt: skip
    see_local_modules()
    from executors.cmdline.progress import Stages
    from supertask.butler.repository import Butler
    from supertask.ingest.ingestion import ingest

    began = time.perf_counter()
    with Butler(repo) as butler, Stages() as stages:
        report = ingest(
            butler, paths, translator, run=run, transfer=transfer, processes=processes, progress=stages
        )
    if as_json:
        terminal.objects([_plain(report)])
    else:
        _show(report, run, time.perf_counter() - began)
    return 0 if report.ok else 1


def _plain(report: IngestReport) -> dict[str, object]:
    return {
        "ingested": len(report.ingested),
        "skipped": [{"file": f, "reason": r} for f, r in report.skipped],
        "failed": [{"file": f, "reason": r} for f, r in report.failed],
        "warnings": [{"file": f, "warning": w} for f, w in report.warnings],
        "related": report.related,
    }


def _show(report: IngestReport, run: str, seconds: float) -> None:
    for path, warning in report.warnings[:_WARNINGS_SHOWN]:
        terminal.note(f"warning: {path}: {warning}")
    if len(report.warnings) > _WARNINGS_SHOWN:
        terminal.note(f"{len(report.warnings) - _WARNINGS_SHOWN:,} more warnings; --json gives all")
    if report.failed:
        terminal.table(["file", "refused because"], report.failed)
    kinds: dict[str, int] = {}
    for dataset in report.ingested:
        kinds[dataset.name] = kinds.get(dataset.name, 0) + 1
    what = ", ".join(f"{n:,} {name}" for name, n in sorted(kinds.items())) or "nothing new"
    terminal.line(
        f"ingested {what} into {run} in {seconds:.1f} s; "
        f"{terminal.counted(len(report.skipped), 'file')} skipped, {len(report.failed):,} refused"
    )
