"""``supertask init``: a new data repository."""

from __future__ import annotations

from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.options import command as define
from executors.cmdline.options import repository

__all__ = ["command"]


@define("init", short_help="Make a new data repository.")
@repository
@click.option(
    "--unit-model",
    default="imaging",
    show_default=True,
    metavar="NAME|FILE",
    help="Units that label its data: imaging, spectra, one that is installed, or a YAML or Python file.",
)
@click.option(
    "--registry",
    default=None,
    metavar="URL",
    help="Where its database is: postgresql://USER@HOST/DATABASE for a team (a password belongs in "
    "~/.pgpass), or sqlite:PATH. A file in REPO unless given.",
)
def command(repo: Path, unit_model: str, registry: str | None) -> None:
    """Make a new data repository in the folder REPO."""
    from supertask.butler.repository import Butler

    butler = Butler.create(repo, unit_model=unit_model, registry=registry)
    terminal.line(f"made {repo} (unit model {butler.model.name}: {', '.join(butler.model.names)})")
