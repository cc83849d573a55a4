"""``supertask provenance``: where a dataset came from, and what was made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from executors.cmdline import terminal
from executors.cmdline.finding import find_root, find_run, in_repository, unit_values
from executors.cmdline.options import as_json, collections
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from executors.lineage.values import Provenance

__all__ = ["command"]


@define("provenance", short_help="Show where a dataset came from, and what was made of it.")
@click.argument("dataset", required=False)
@click.argument("units", nargs=-1, metavar="[UNIT=VALUE…]")
@in_repository
@collections
@click.option("--run", "run", default=None, metavar="RUN", help="Of all that was done in a run, instead.")
@click.option("--up", is_flag=True, help="What it was made of; so without --down, too.")
@click.option("--down", is_flag=True, help="What was made of it.")
@click.option("--depth", default="1", show_default=True, metavar="N|all",
              help="How many quanta one after another to go.")  # fmt: skip
@click.option("--check", is_flag=True, help="Compare files with the checksums that were registered.")
@click.option("--logs", is_flag=True, help="Show what the tasks logged.")
@click.option("--limit", type=click.IntRange(1), default=10_000, show_default=True, metavar="N",
              help="Tell of so many quanta at most.")  # fmt: skip
@click.option("--prov", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE",
              help="Write it as W3C PROV: JSON, or as FILE's ending says (.xml, .ttl, .provn).")  # fmt: skip
@as_json
def command(
    *,
    dataset: str | None,
    units: tuple[str, ...],
    repo: Path | None,
    collections: tuple[str, ...] | None,
    run: str | None,
    up: bool,
    down: bool,
    depth: str,
    check: bool,
    logs: bool,
    limit: int,
    prov: Path | None,
    as_json: bool,
) -> int:
    """Show where a dataset came from: the quantum that made it, with what, from what, where and when.

    DATASET is a dataset type, with as many UNIT=VALUE as it takes to tell which; or the path of a file;
    or an identity (eight hexadecimal digits of it at least). For example:

    supertask provenance coadd patch=3 band=r --depth all

    Exits with 1 if a file that it tells of was altered, with 2 if there is no such dataset.
    """
    if (dataset is None) == (run is None):
        raise click.UsageError("give a dataset, or --run RUN")
    steps = _steps(depth)
    from executors.lineage.trace import provenance, run_lineage
    from supertask.butler.repository import Butler

    if run is not None:
        root, run = find_run(run, repo)
    else:
        root = find_root(repo)
    with Butler(root, writeable=False) as butler:
        if run is not None:
            found = run_lineage(butler, run, check=check, logs=logs, limit=limit)
        else:
            assert dataset is not None  # noqa: S101 - asked above
            found = provenance(
                butler,
                dataset,
                unit_values(units, butler.model),
                up=steps if up or not down else 0,
                down=steps if down else 0,
                collections=collections,
                check=check,
                logs=logs,
                limit=limit,
            )
    if prov is not None:
        from executors.lineage.prov import write_prov

        write_prov(found, prov)
        terminal.note(f"wrote {prov}")
    if as_json:
        terminal.objects([found.to_dict()])
    elif prov is None:
        from executors.cmdline.lineage import show_lineage

        show_lineage(found, logs=logs)
    return 1 if _is_altered(found) else 0


def _is_altered(found: Provenance) -> bool:
    from executors.lineage.values import FileState

    return any(d.state is FileState.ALTERED for d in found.datasets.values())


def _steps(depth: str) -> int | None:
    if depth == "all":
        return None
    if not depth.isdecimal():
        raise click.BadParameter(f"--depth {depth!r}: give a number, or 'all'")
    return int(depth)
