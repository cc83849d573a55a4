"""Options about the batch system that runs a plan."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from executors.cmdline.options import refuse_idle, together
from executors.jobs.enginejobs import SLOTS

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
    slots: int = SLOTS
    """How many jobs are submitted at most at once."""
    pilots: int | None = None
    """How many long jobs with warm workers."""
    detached: bool = False
    """Whether all is submitted at once, to run without a driver."""

    def framework(self, processes: int = 1) -> ExecutionFramework | None:
        """Return the framework of the engine, or None for this machine.

        Parameters
        ----------
        processes : int, optional
            How many processes run quanta, for an engine that is started for this run alone.

        Raises
        ------
        ConfigError
            The site's file is not valid, or the engine has no such options.
        ExecutionError
            There is no such engine, or what it needs is not installed.
        """
        if self.engine is None:
            if self.site or self.jobs or self.staged or self.pilots or self.detached:
                raise click.UsageError(
                    "--site, --jobs, --staged, --pilots and --detach are for a batch system: give --engine"
                )
            return None
        from executors.engines import EngineOptions, make_framework

        return make_framework(EngineOptions(**attrs.asdict(self), processes=processes))


def batch_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as `BatchOptions`, in ``where_to``."""

    @functools.wraps(function)
    def wrapped(
        *,
        engine: str | None,
        site: Path | None,
        jobs: Path | None,
        staged: bool,
        slots: int,
        pilots: int | None,
        detached: bool,
        **rest: Any,
    ) -> Any:
        refuse_idle("slots", unless=engine is not None, words="without --engine")
        where = BatchOptions(
            engine=engine, site=site, jobs=jobs, staged=staged, slots=slots, pilots=pilots, detached=detached
        )
        return function(where_to=where, **rest)

    options = [
        click.option("--engine", default=None, metavar="NAME",
                     help="Run bundles on an engine: slurm, slurm-pilot, condor, parsl, dask, or "
                     "one that another package brings."),
        click.option("--site", type=click.Path(path_type=Path), default=None, metavar="FILE",
                     help="What the site wants said with each job: partition, account, set-up."),
        click.option("--jobs", type=click.Path(path_type=Path), default=None, metavar="FOLDER",
                     help="Where jobs have their folders, which nodes see; in the repository if not given."),
        click.option("--staged", is_flag=True, help="Nodes cannot see the repository: send inputs along."),
        click.option("--slots", type=click.IntRange(min=1), default=SLOTS, show_default=True, metavar="N",
                     help="Submit at most so many jobs at once."),
        click.option("--pilots", type=click.IntRange(min=1), default=None, metavar="N",
                     help="Let N long jobs with warm workers take one bundle after another."),
        click.option("--detach", "detached", is_flag=True,
                     help="Submit all bundles at once, each to wait for those before it, and go; supertask "
                     "collect takes what they make."),
    ]  # fmt: skip
    return together(*options)(wrapped)
