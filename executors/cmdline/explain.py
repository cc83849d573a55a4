"""``supertask explain``: why a quantum is in a plan, or is not."""

from __future__ import annotations

from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json
from executors.cmdline.options import command as define

__all__ = ["command"]


@define("explain", short_help="Say why a quantum is in a plan, or is not.")
@click.argument("plan", type=click.Path(path_type=Path))
@click.argument("words", nargs=-1, required=True, metavar="[LABEL] UNIT=VALUE…")
@click.option(
    "--repo", type=click.Path(path_type=Path), default=None, metavar="REPO",
    help="The repository to ask about what planning never saw; where the plan says, unless given.",
)  # fmt: skip
@as_json
def command(*, plan: Path, words: tuple[str, ...], repo: Path | None, as_json: bool) -> None:
    """Say why a quantum is in the plan in the file PLAN, or is not.

    LABEL is its task; without it every task is asked whose quanta have these units. For example:

    supertask explain plan.h5 warp instrument=Cam visit=42 skymap=sky tract=0 patch=3
    """
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.explain import explain
    from supertask.butler.repository import Butler
    from supertask.errors import PreflightError

    dag = ScienceDag.load(plan)
    label, *pairs = words if "=" not in words[0] else ("", *words)
    dataId: dict[str, int | str] = {}
    for pair in pairs:
        unit, equals, text = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair!r} is not UNIT=VALUE")
        dataId[unit] = int(text) if dag.model.unit(unit).key.value == "int" and _is_int(text) else text
    labels = [label] if label else [
        t.label for t in dag.tasks if set(dag.model.closure(t.quantum_units)) == set(dataId)
    ]  # fmt: skip
    if not labels:
        raise PreflightError(f"no task of the plan has quanta by ({', '.join(dataId)}); give LABEL")
    root = repo or (Path(dag.meta.butler_root) if dag.meta.butler_root else None)
    butler = Butler(root, writeable=False) if root is not None and root.is_dir() else None
    found = [explain(dag, name, dataId, butler) for name in labels]
    if as_json:
        terminal.objects(
            [
                {"label": f.label, "dataId": dict(f.dataId), "verdict": f.verdict.value, "lines": f.lines}
                for f in found
            ]
        )
        return
    for explanation in found:
        terminal.line(str(explanation))


def _is_int(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
