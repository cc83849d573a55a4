"""``supertask diff``: what two runs do not share, and how far their data differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from executors.cmdline import terminal
from executors.cmdline.finding import find_run, in_repository
from executors.cmdline.options import as_json, words
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from executors.comparison.values import DataComparison, PartSummary, RunComparison

__all__ = ["command"]


@define("diff", short_help="Compare two runs: what made them, what they read, and how far their data differ.")
@click.argument("a", metavar="RUN-A")
@click.argument("b", metavar="RUN-B")
@in_repository
@click.option(
    "--repo-b", type=click.Path(path_type=Path), default=None, metavar="REPO",
    help="The repository of RUN-B, if that is another.",
)  # fmt: skip
@click.option(
    "--absolute", "-a", "absolute", type=click.FloatRange(0), default=0.0, metavar="X",
    help="Numbers that are no further apart count as equal.",
)  # fmt: skip
@click.option(
    "--relative", "-r", "relative", type=click.FloatRange(0), default=0.0, metavar="X",
    help="The same, as a fraction of the larger of the two.",
)  # fmt: skip
@click.option(
    "--types", "-t", default=None, metavar="A,B,…", callback=lambda _context, _option, value: words(value),
    help="Compare datasets of these types alone.",
)  # fmt: skip
@click.option(
    "--sample", type=click.IntRange(1), default=None, metavar="N",
    help="Look into so many datasets of each type at most, evenly spread.",
)  # fmt: skip
@click.option("--no-data", is_flag=True, help="Leave data out.")
@as_json
def command(
    *,
    a: str,
    b: str,
    repo: Path | None,
    repo_b: Path | None,
    absolute: float,
    relative: float,
    types: tuple[str, ...] | None,
    sample: int | None,
    no_data: bool,
    as_json: bool,
) -> int:
    """Compare two runs: names of RUN collections, or files of their plans.

    Told are: configs, task versions, source code and packages that differ; what the runs read and came to;
    and by storage format how far their data differ. Datasets of equal identity are not read.

    Exits with 0 if the data are the same within the tolerance, with 1 if not, with 2 if there is no such run.
    """
    from executors.comparison.runs import compare_runs
    from supertask.butler.repository import Butler
    from supertask.formats.differences import Tolerance

    root_a, run_a = find_run(a, repo)
    root_b, run_b = find_run(b, repo_b or repo)
    with Butler(root_a, writeable=False) as butler, Butler(root_b, writeable=False) as other:
        found = compare_runs(
            butler,
            run_a,
            run_b,
            other=None if other.repository_id == butler.repository_id else other,
            tolerance=Tolerance(absolute, relative),
            types=types,
            sample=sample,
            data=not no_data,
        )
    if as_json:
        terminal.objects([found.to_dict()])
    else:
        _show(found)
    return 0 if found.is_same else 1


def _show(found: RunComparison) -> None:
    if found.changes:
        terminal.table(
            ["task", "differs in", "A", "B"],
            [[c.task, c.what, c.a, c.b] for c in found.changes],
            title="Made with",
        )
    if found.inputs:
        terminal.table(
            ["type", "same", "replaced", "only in A", "only in B"],
            [[i.name, i.same, i.replaced, i.only_a, i.only_b] for i in found.inputs],
            title="Inputs",
        )
    if found.tasks:
        terminal.table(
            ["task", "quanta A", "quanta B", "CPU s A", "CPU s B", "memory A", "memory B"],
            [
                [t.label, *map(_counts, t.counts),
                 *(round(c, 2) if n else "" for c, n in zip(t.cpu, t.counts, strict=True)),
                 *(terminal.size(m) if n else "" for m, n in zip(t.peak_memory, t.counts, strict=True))]
                for t in found.tasks
            ],
            title="Came to",
        )  # fmt: skip
    if found.data:
        terminal.table(
            ["type", "format", "same", "equal", "close", "differ", "only in A", "only in B", "reused"],
            [
                [d.name, d.storage, d.same, d.equal, d.close, d.differ, d.only_a, d.only_b, d.reused]
                for d in found.data
            ],
            title="Data",
        )
    rows = [_part(d, p) for d in found.data for p in d.parts]
    if rows:
        terminal.table(
            ["type", "differs in", "datasets", "values", "differ", "most", "mean", "note", "most in"],
            rows,
            title="How far",
        )
    for problem in found.problems:
        terminal.note(f"note: {problem}")
    left = sum(d.passed_over for d in found.data)
    if left:
        terminal.line(f"{left:,} datasets were not looked into (--sample)")
    if found.data:
        terminal.line("the data are the same" if found.is_same else "the data differ")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {status}" for status, n in counts.items()) or "none"


def _part(data: DataComparison, part: PartSummary) -> list[object]:
    most = part.most or None
    where = part.where.removeprefix(data.name)
    return [data.name, part.what, part.datasets, part.values, part.differing, most,
            part.mean or None, part.note, where]  # fmt: skip
