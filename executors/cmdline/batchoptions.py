"""Options about the batch system that runs a plan."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

if TYPE_CHECKING:
    from executors.port import ExecutionFramework

__all__ = ["BatchOptions", "batch_options"]


@attrs.frozen(kw_only=True)
class BatchOptions:
    """Where a plan is to run, if not on this machine."""

    engine: str | None = None
    site: Path | None = None
    """YAML file that says what the site wants said with each job."""
    jobs: Path | None = None
    """Folder for the folders of jobs."""
    staged: bool = False
    """Whether jobs cannot see the repository."""
    slots: int = 1000
    """How many jobs are submitted at most at once."""

    def framework(self) -> ExecutionFramework | None:
        """Return the framework of the engine, or None for this machine.

        Raises
        ------
        ConfigError
            The site's file is not valid.
        """
        if self.engine is None:
            if self.site is not None or self.jobs is not None or self.staged:
                raise click.UsageError("--site, --jobs and --staged are for a batch system: give --engine")
            return None
        from executors.slurm.framework import SlurmFramework
        from executors.slurm.site import SlurmSite

        site = SlurmSite() if self.site is None else SlurmSite.load(self.site)
        return SlurmFramework(self.jobs, site=site, staged=self.staged, slots=self.slots)


def batch_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as `BatchOptions`, in ``where_to``."""

    @functools.wraps(function)
    def wrapped(
        *, engine: str | None, site: Path | None, jobs: Path | None, staged: bool, slots: int, **rest: Any
    ) -> Any:
        where = BatchOptions(engine=engine, site=site, jobs=jobs, staged=staged, slots=slots)
        return function(where_to=where, **rest)

    options = [
        click.option("--engine", type=click.Choice(["slurm"]), default=None,
                     help="Run bundles as jobs of a batch system."),
        click.option("--site", type=click.Path(path_type=Path), default=None, metavar="FILE",
                     help="What the site wants said with each job: partition, account, set-up."),
        click.option("--jobs", type=click.Path(path_type=Path), default=None, metavar="FOLDER",
                     help="Where jobs have their folders, which nodes see; in the repository if not given."),
        click.option("--staged", is_flag=True, help="Nodes cannot see the repository: send inputs along."),
        click.option("--slots", type=click.IntRange(min=1), default=1000, show_default=True, metavar="N",
                     help="Submit at most so many jobs at once."),
    ]  # fmt: skip
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
