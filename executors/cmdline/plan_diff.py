"""``supertask plan-diff``: what two plans do not share, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from graphbuilder.comparing.plandiff import PlanDiff

__all__ = ["command"]


@define("plan-diff", short_help="Show what two plans do not share, and why.")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@as_json
def command(*, a: Path, b: Path, as_json: bool) -> int:
    """Show what the plans in the files A and B do not share, and why.

    Quanta are paired by task and data ID, and compared by identity. Exits with 0 if both have the same
    quanta of the same identities, with 1 if not, with 2 if a file is no plan.
    """
    from graphbuilder.comparing.plandiff import plan_diff
    from graphbuilder.dag.dag import ScienceDag

    found = plan_diff(ScienceDag.load(a), ScienceDag.load(b))
    if as_json:
        terminal.objects([found.to_dict()])
    else:
        _show(found)
    return 0 if found.is_same else 1


def _show(found: PlanDiff) -> None:
    if found.settings:
        terminal.table(["made with", "A", "B"], [[c.what, c.a, c.b] for c in found.settings])
        terminal.line()
    changes = [[t.label, c.what, c.a, c.b] for t in found.tasks for c in t.changes]
    if changes:
        terminal.table(["task", "differs in", "A", "B"], changes)
        terminal.line()
    terminal.table(
        ["task", "A", "B", "same", "changed", "only in A", "only in B"],
        [
            [t.label, t.a, t.b, t.same, *(sum(c.values()) for c in (t.changed, t.only_a, t.only_b))]
            for t in found.tasks
        ],
        title="Quanta",
    )
    reasons = [
        [t.label, n, which, why]
        for t in found.tasks
        for which, counts in (
            ("changed", {cause.value: n for cause, n in t.changed.items()}),
            ("only in A", t.only_a),
            ("only in B", t.only_b),
        )
        for why, n in counts.items()
    ]
    if reasons:
        terminal.table(["task", "quanta", "which", "why"], reasons, title="Why")
    terminal.line("the same quanta" if found.is_same else "the plans differ")
