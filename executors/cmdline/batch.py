"""``supertask batch``: merge quanta of a plan into bundles."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from executors.cmdline import terminal
from executors.cmdline.options import command as define

__all__ = ["command"]


@define("batch", short_help="Merge quanta of a plan into bundles that run together.")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--max-quanta", type=click.IntRange(min=1), required=True, metavar="N", help="No bundle has more."
)
@click.option("--name", default="default", show_default=True, help="What to call this way to bundle.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), default=None, metavar="FILE",
    help="Write the plan to another file; unless given, PLAN is replaced.",
)  # fmt: skip
def command(*, plan: Path, max_quanta: int, name: str, output: Path | None) -> None:
    """Merge quanta of the plan in the file PLAN into bundles of at most N."""
    from graphbuilder.batcher import QuantumBatcher
    from graphbuilder.dag.dag import ScienceDag

    dag = QuantumBatcher(max_quanta, name).batch(ScienceDag.load(plan))
    bundling = dag.bundling(name)
    assert bundling is not None  # noqa: S101 - it was made in the line above
    dag.save(output or plan)
    sizes = np.diff(bundling.indptr)
    rows = []
    firsts = bundling.indices[bundling.indptr[:-1]]
    for node in dag.tasks:
        own = sizes[(firsts >= node.first) & (firsts < node.first + node.count)]
        if len(own):
            rows.append([node.label, node.count, len(own), int(own.min()), int(own.max())])
    terminal.table(["task", "quanta", "bundles", "smallest", "largest"], rows)
    terminal.line(f"{len(bundling):,} bundles of {dag.n_quanta:,} quanta in {output or plan}")
