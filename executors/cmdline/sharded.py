"""``supertask preflight --shards UNIT``: plan parts in several processes, and put them together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import click

from executors.cmdline.options import together

if TYPE_CHECKING:
    from executors.cmdline.framework import Planning
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.repository import Butler

__all__ = ["Sharding", "preflight_in_shards", "sharding"]

F = TypeVar("F", bound=Callable[..., Any])


@attrs.frozen
class Sharding:
    """How a plan is divided while it is made."""

    by: str
    """Unit to divide by."""
    processes: int | None = None
    """How many at once; as many as there are CPUs unless given."""
    parts: int | None = None
    """Into how many; as many as processes unless given."""


def sharding(function: F) -> F:
    """Add ``--shards``, ``--processes`` and ``--parts``, as `shards`: a `Sharding`, or None for one piece."""

    @functools.wraps(function)
    def called(*, shards: str | None, processes: int | None, parts: int | None, **given: Any) -> Any:
        if shards is None and (processes is not None or parts is not None):
            raise click.UsageError(
                "--processes and --parts say how to plan in shards: give --shards UNIT with them, such as "
                "--shards tract"
            )
        return function(shards=None if shards is None else Sharding(shards, processes, parts), **given)

    options: tuple[Callable[[Any], Any], ...] = (
        click.option("--shards", metavar="UNIT", default=None,
                     help="Plan parts by this unit, such as tract, in several processes; put them together."),
        click.option("--processes", type=click.IntRange(min=1), default=None, metavar="N",
                     help="With --shards: so many at once; as many as there are CPUs, unless given."),
        click.option("--parts", type=click.IntRange(min=1), default=None, metavar="N",
                     help="With --shards: divide in so many; more need less memory. As many as processes, "
                     "unless given."),
    )  # fmt: skip
    return cast("F", together(*options)(called))


def preflight_in_shards(planning: Planning, how: Sharding, butler: Butler, output: Path) -> ScienceDag:
    """Plan in shards and save the plan.

    Raises
    ------
    UsageError
        The plan is to be like an earlier one, or replace what is there: that is told of a plan in one piece.
    SuperTaskError
        As `graphbuilder.sharding.plan_in_shards` says.
    """
    whole = {"--like": planning.like is not None, "--clobber": planning.clobber}
    given = [option for option, is_given in whole.items() if is_given]
    if given:
        raise click.UsageError(f"{' and '.join(given)} need the plan in one piece: leave --shards out")
    from graphbuilder.builder import GraphBuilder
    from graphbuilder.sharding import plan_in_shards
    from supertask.pipelines.pipeline import Pipeline

    builder = GraphBuilder(
        Pipeline.load(planning.pipeline, planning.overrides), butler, planning.output_run,
        collections=planning.collections, identity=planning.identity,
    )  # fmt: skip
    return plan_in_shards(
        builder, output, by=how.by, shards=how.parts, processes=how.processes, where=planning.where,
        bind=planning.bind, tasks=planning.tasks, reuse=planning.reuse,
    )  # fmt: skip
