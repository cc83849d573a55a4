"""``supertask explain``: why a quantum is in a plan, or is not; and where a plan's quanta went."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json, see_local_modules
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.explain import PlanExplanation
    from supertask.butler.port import AbstractButler

__all__ = ["command", "open_repository"]


@define("explain", short_help="Say why a quantum is in a plan, or is not; or how the plan came about.")
@click.argument("plan", type=click.Path(path_type=Path))
@click.argument("words", nargs=-1, metavar="[LABEL] [UNIT=VALUE…]")
@click.option(
    "--repo", type=click.Path(path_type=Path), default=None, metavar="REPO",
    help="The repository to ask about what planning never saw; where the plan says, unless given.",
)  # fmt: skip
@as_json
def command(*, plan: Path, words: tuple[str, ...], repo: Path | None, as_json: bool) -> None:
    """Say why a quantum is in the plan in the file PLAN, or is not.

    LABEL is its task; without it every task is asked whose quanta have these units. Units of which the
    plan has one instance only may be left out. For example:

    supertask explain plan.h5 warp visit=42 patch=3

    Without UNIT=VALUE it tells how the plan came about: what each condition of the expression leaves,
    which values that it names are not there and which come nearest, and what each step left.
    """
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.explain import explain, explain_plan
    from supertask.errors import PreflightError

    dag = ScienceDag.load(plan)
    see_local_modules(plan.parent)
    butler = open_repository(dag, repo)
    label, *pairs = words if words and "=" not in words[0] else ("", *words)
    if not pairs:
        if label:
            dag.task(label)
        _show_plan(dag, explain_plan(dag, butler), label, as_json=as_json)
        return
    dataId = _data_id(dag, pairs)
    labels = [label] if label else [
        t.label for t in dag.tasks if _could_be(dag, t.quantum_units, set(dataId))
    ]  # fmt: skip
    if not labels:
        raise PreflightError(f"no task of the plan has quanta by ({', '.join(dataId)}); give LABEL")
    found = [explain(dag, name, dataId, butler) for name in labels]
    if as_json:
        terminal.objects([f.to_dict() for f in found])
        return
    for explanation in found:
        terminal.line(str(explanation))


def open_repository(dag: ScienceDag, repo: Path | None) -> AbstractButler | None:
    """Open the repository of a plan to read, where it is still there (and the one given in any case)."""
    from supertask.butler.repository import Butler

    if repo is not None:
        return Butler(repo, writeable=False)
    root = Path(dag.meta.butler_root) if dag.meta.butler_root else None
    return Butler(root, writeable=False) if root is not None and root.is_dir() else None


_BETWEEN = re.compile(r",\s*(?=\w+=)|,$")


def _data_id(dag: ScienceDag, pairs: list[str]) -> dict[str, int | str]:
    dataId: dict[str, int | str] = {}
    # As data IDs are printed, too: {visit=42, patch=3} in one word or several.
    for pair in (part for word in pairs for part in _BETWEEN.split(word.strip("{}")) if part):
        unit, equals, text = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair!r} is not UNIT=VALUE")
        if unit in dataId:
            raise click.UsageError(f"{unit!r} is given twice")
        dataId[unit] = int(text) if dag.model.unit(unit).key.value == "int" and _is_int(text) else text
    return dataId


def _could_be(dag: ScienceDag, units: tuple[str, ...], given: set[str]) -> bool:
    """Tell whether units given are those of quanta, but for such as there is only one of."""
    closure = set(dag.model.closure(units))
    single = {u for u in closure if u in dag.space.tables and dag.space.size(u) == 1}
    return given <= closure <= given | single


def _is_int(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _show_plan(dag: ScienceDag, explanation: PlanExplanation, label: str, *, as_json: bool) -> None:
    if as_json:
        terminal.objects([explanation.to_dict()])
        return
    chosen = explanation.selection
    if chosen is None:
        terminal.note("the repository is not at hand (see --repo): what each condition leaves is not known")
    elif chosen.conditions:
        terminal.table(
            ["condition", "counted", "there", "alone", "with those before", "nearest"],
            [
                [c.condition, c.unit, c.total, c.alone, c.together, ", ".join(c.nearest)]
                for c in chosen.conditions
            ],
            title="What each condition leaves",
        )
    terminal.table(
        ["left", "step", "task"],
        [[n, step, task] for task, step, n in explanation.steps if not label or task in ("", label)],
        title="How it came about",
    )
    for finding in explanation.findings:
        terminal.line(f"note: {finding}")
    if dag.meta.where:
        terminal.line(f"expression: {dag.meta.where}")
