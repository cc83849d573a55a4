"""CmdLineFramework: preflight and execution as the command line does them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler
from supertask.pipeline import Pipeline

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


class CmdLineFramework:
    """Both a preflight and an execution framework.

    Parameters
    ----------
    butler : AbstractButler
        The data repository.
    """

    def __init__(self, butler: AbstractButler) -> None:
        self.butler = butler

    def preflight(self, planning: Planning) -> ScienceDag:
        """Work out the whole plan.

        Raises
        ------
        SuperTaskError
            As `Pipeline.load`, `Pipeline.applyConfigOverrides` and `GraphBuilder.makeGraph` say.
        """
        pipeline = Pipeline.load(planning.pipeline).applyConfigOverrides(planning.overrides)
        builder = GraphBuilder(pipeline, self.butler, planning.output_run, collections=planning.collections)
        return builder.makeGraph(planning.where, bind=planning.bind)
