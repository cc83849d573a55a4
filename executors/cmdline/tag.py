"""``supertask tag``: tags of a run."""

from __future__ import annotations

from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json, repository
from executors.cmdline.options import command as define
from supertask.tasks.tags import parse_tag

__all__ = ["command"]


@define("tag", short_help="Show or change the tags of a run.")
@repository
@click.argument("run", metavar="RUN")
@click.argument("tags", metavar="[NAME=VALUE]…", nargs=-1)
@click.option("--remove", multiple=True, metavar="NAME", help="Take this tag away; may be given again.")
@as_json
def command(*, repo: Path, run: str, tags: tuple[str, ...], remove: tuple[str, ...], as_json: bool) -> None:
    """Give the run RUN in the repository REPO tags, and show all that it has.

    Outputs of the run are found by them with `supertask query REPO --tag NAME=VALUE`.
    """
    from supertask.butler.repository import Butler
    from supertask.runtags import run_tags, set_run_tags

    given = dict(parse_tag(text) for text in tags)
    with Butler(repo, writeable=bool(given or remove)) as butler:
        found = set_run_tags(butler, run, given, remove) if given or remove else run_tags(butler, run)
    if as_json:
        terminal.objects([found])
    elif found:
        terminal.table(["tag", "value"], ([name, str(value)] for name, value in sorted(found.items())))
    else:
        terminal.note(f"run {run!r} has no tags")
