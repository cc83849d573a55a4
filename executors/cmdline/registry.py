"""``supertask registry``: look after the database of a repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json, repository
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from supertask.butler.checking import Checked

__all__ = ["command"]

_SHOWN = 50


@click.group(
    "registry",
    short_help="Look after the database of a repository.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Look after the database of a repository."""


@define("migrate", short_help="Bring a registry to the schema of this version.")
@repository
@as_json
def migrate(repo: Path, *, as_json: bool) -> None:
    """Bring the registry of REPO to the schema of this version of the software.

    Of a registry on SQLite a copy is made first. If it is interrupted the registry is what it was.
    """
    from supertask.butler.upkeep import migrate_registry

    done = migrate_registry(repo)
    if as_json:
        terminal.objects(
            [{"before": done.before, "after": done.after, "steps": done.steps, "backup": done.backup or None}]
        )
        return
    if not done.steps:
        terminal.line(f"{repo} is of schema version {done.after} already")
        return
    terminal.line(
        f"migrated {repo} from schema version {done.before} to {done.after}: {', '.join(done.steps)}"
    )
    if done.backup:
        terminal.line(f"what it was before is in {done.backup}")


@define("copy", short_help="Move a repository to another database.")
@repository
@click.option(
    "--to", "url", required=True, metavar="URL",
    help="postgresql://USER@HOST/DATABASE, or sqlite: for the usual file in REPO.",
)  # fmt: skip
@as_json
def copy(repo: Path, *, url: str, as_json: bool) -> None:
    """Copy the registry of REPO to another database, and have REPO use that one from then on.

    Files stay where they are, and so does the old registry. Nobody else may be at work meanwhile.
    """
    from supertask.butler.upkeep import copy_registry

    with terminal.spinner("copying"):
        done = copy_registry(repo, url)
    rows = sum(done.rows.values())
    if as_json:
        terminal.objects([{"source": done.source, "target": done.target, "rows": dict(done.rows)}])
        return
    terminal.line(f"copied {terminal.counted(rows, 'row')} of {terminal.counted(len(done.rows), 'table')}")
    terminal.line(f"{repo} now uses {done.target}; nothing uses {done.source} any more")


@define("check", short_help="Compare a registry with its files, and repair.")
@repository
@click.option("--checksums", is_flag=True, help="Read every file, and compare its bytes with the registry.")
@click.option(
    "--repair", is_flag=True, help="Delete half-written files; put right rows that refer to nothing."
)
@click.option("--forget-missing", is_flag=True, help="Remove datasets whose files are gone.")
@click.option("--delete-unknown", is_flag=True, help="Delete files that are registered as nothing.")
@click.option(
    "--older-than", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="MINUTES",
    help="Pass over unregistered files that are younger: they may be on their way.",
)  # fmt: skip
@as_json
def check(
    repo: Path,
    *,
    checksums: bool,
    repair: bool,
    forget_missing: bool,
    delete_unknown: bool,
    older_than: float,
    as_json: bool,
) -> int:
    """Compare the registry of REPO with its files, both ways.

    Exits with 1 if something is not in order, or could not be repaired. Nothing is changed unless asked for.
    """
    from supertask.butler.checking import check as find
    from supertask.butler.repository import Butler

    with Butler(repo) as butler, terminal.spinner("checking"):
        checked = find(
            butler,
            checksums=checksums,
            repair=repair,
            forget_missing=forget_missing,
            delete_unknown=delete_unknown,
            age=60.0 * older_than,
        )
    if as_json:
        terminal.objects(
            {"kind": f.kind.value, "what": f.what, "detail": f.detail, "repaired": f.repaired}
            for f in checked.findings
        )
        terminal.objects(
            [{"datasets": checked.datasets, "files": checked.files, "found": len(checked.findings),
              "left": len(checked.left)}]
        )  # fmt: skip
    else:
        _show(checked)
    return 1 if checked.left else 0


def _show(checked: Checked) -> None:
    by_kind: dict[str, list[tuple[str, str, str]]] = {}
    for f in checked.findings:
        by_kind.setdefault(f.kind.value, []).append((f.what, f.detail, "repaired" if f.repaired else ""))
    for kind, rows in by_kind.items():
        terminal.table(["what", "", ""], rows[:_SHOWN], title=f"{kind} ({len(rows):,})")
        if len(rows) > _SHOWN:
            terminal.note(f"{len(rows) - _SHOWN:,} more; --json lists all")
    looked = f"{terminal.counted(checked.datasets, 'dataset')}, {terminal.counted(checked.files, 'file')}"
    if not checked.findings:
        terminal.line(f"{looked}: all in order")
        return
    repaired = sum(f.repaired for f in checked.findings)
    terminal.line(f"{looked}: {len(checked.left):,} not in order, {repaired:,} repaired")


command.add_command(migrate)
command.add_command(copy)
command.add_command(check)
