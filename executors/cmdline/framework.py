"""CmdLineFramework: preflight and execution as the command line does them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from executors.driving.driver import Driver
from executors.port import ExecutionFramework
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.reuse.planning import Reuse
from supertask.butler.port import AbstractButler

__all__ = ["CmdLineFramework", "Planning"]


@attrs.frozen
class Planning:
    """All that preflight is told beside the repository."""

    pipeline: Path
    """The pipeline's file."""
    output_run: str
    """RUN collection that outputs are written to."""
    where: str = ""
    """Data-ID expression."""
    bind: Mapping[str, Any] = attrs.field(factory=dict)
    """Values for names in the expression."""
    overrides: tuple[str, ...] = ()
    """Each ``label:field=value``."""
    collections: tuple[str, ...] | None = None
    """Input collections in search order; the Butler's own unless given."""
    tasks: tuple[str, ...] = ()
    """Labels, subsets and ranges of tasks to be planned; all unless given."""
    like: Path | None = None
    """Earlier plan whose data IDs alone are planned."""
    identity: str | None = None
    """What stands for the code of tasks in identities; what each says, unless given."""
    reuse: Reuse | None = None
    """What earlier runs made and is left out."""
    clobber: bool = False
    """Whether what the output run holds already is replaced."""


class CmdLineFramework(ExecutionFramework):
    """Both a preflight and an execution framework.

    Parameters
    ----------
    processes : int, optional
        How many run quanta: with one it is this very process, with more a pool of warm ones.
    walker : ExecutionFramework, optional
        What runs them instead: a batch system, say.
    """

    def __init__(self, processes: int = 1, walker: ExecutionFramework | None = None) -> None:
        self._walker: ExecutionFramework
        if walker is not None:
            self._walker = walker
        elif processes == 1:
            from executors.inprocess import InProcessFramework

            self._walker = InProcessFramework()
        else:
            from executors.multiprocess import MultiprocessFramework

            self._walker = MultiprocessFramework(processes=processes)

    def preflight(self, planning: Planning, butler: AbstractButler) -> ScienceDag:
        """Work out the whole plan.

        Raises
        ------
        SuperTaskError
            As `Pipeline.load`, `Pipeline.applyConfigOverrides` and `GraphBuilder.makeGraph` say.
        """
        # A run of a plan that was made before does without these.
        from graphbuilder.builder import GraphBuilder
        from supertask.pipelines.pipeline import Pipeline

        pipeline = Pipeline.load(planning.pipeline, planning.overrides)
        builder = GraphBuilder(
            pipeline,
            butler,
            planning.output_run,
            collections=planning.collections,
            identity=planning.identity,
        )
        return builder.makeGraph(
            planning.where,
            bind=planning.bind,
            reuse=planning.reuse,
            tasks=planning.tasks,
            like=None if planning.like is None else ScienceDag.load(planning.like),
            clobber=planning.clobber,
        )

    def prepare(self, plan: ScienceDag, butler: AbstractButler) -> None:
        """Take what an earlier driver left behind."""
        self._walker.prepare(plan, butler)

    def walk(self, driver: Driver) -> None:
        """Run all that the driver hands out."""
        self._walker.walk(driver)
