"""``supertask query``: datasets, dataset types, collections and units of a repository."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from executors.cmdline import terminal
from executors.cmdline.asking import tag_option
from executors.cmdline.options import as_json, bind, parse_binds, repository, where, words
from executors.cmdline.options import command as define
from supertask.errors import DatasetTypeError, did_you_mean
from supertask.units import FieldKind

if TYPE_CHECKING:
    from supertask.butler.port import AbstractButler
    from supertask.conditions import Condition

__all__ = ["command"]

_LIST = "\0list"

Row = dict[str, Any]


@define("query", short_help="Show what a repository holds.")
@repository
@click.argument("dataset_type", metavar="[TYPE]", required=False)
@click.option("--types", is_flag=True, help="List the dataset types.")
@click.option(
    "--collections", "-i", is_flag=False, flag_value=_LIST, default=None, metavar="[A,B,…]",
    help="With names: search these collections, in order. Alone: list the collections.",
)  # fmt: skip
@click.option("--units", metavar="UNIT", default=None, help="List the instances of a unit, such as visit.")
@where
@bind
@tag_option("With TYPE: only those with this tag. Alone: what has it. May be given again.")
@click.option("--files", is_flag=True, help="Show also where each dataset is stored, and its size.")
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Show at most so many.")
@as_json
def command(
    *,
    repo: Path,
    dataset_type: str | None,
    types: bool,
    collections: str | None,
    units: str | None,
    where: str,
    binds: tuple[str, ...],
    tags: dict[str, str],
    files: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show datasets of one TYPE in the repository REPO, or with an option what else it holds."""
    wanted = [bool(dataset_type), types, collections == _LIST, units is not None]
    if sum(wanted) != 1 and not (tags and not any(wanted)):
        raise click.UsageError(
            "give one of: a dataset TYPE, --types, --collections (alone), --units UNIT, --tag NAME=VALUE"
        )
    if tags and not dataset_type and any(wanted):
        raise click.UsageError("--tag goes with a dataset TYPE, or alone")
    from supertask.butler.repository import Butler

    with Butler(repo, writeable=False) as butler:
        searched = None if collections in {None, _LIST} else words(collections)
        condition = _condition(butler, where, binds)
        if tags and dataset_type:
            searched = _tagged_runs(butler, dataset_type, tags, searched)
        if tags and not dataset_type:
            columns, rows = _tagged(butler, tags)
        elif searched == ():  # nothing has these tags
            columns, rows = [], []
        elif dataset_type:
            columns, rows = _datasets(butler, dataset_type, searched, condition, files=files)
        elif types:
            columns, rows = _types(butler)
        elif units is not None:
            columns, rows = _units(butler, units, condition)
        else:
            columns, rows = _collections(butler)
    shown = rows if limit is None else rows[:limit]
    if as_json:
        terminal.objects(shown)
    elif not shown:
        terminal.note("nothing found")
    else:
        rest = len(rows) - len(shown)
        terminal.table(columns, ([row.get(c) for c in columns] for row in shown),
                       caption=f"{rest} more" if rest else "")  # fmt: skip


def _condition(butler: AbstractButler, where: str, binds: Sequence[str]) -> Condition | None:
    if not where:
        return None
    from graphbuilder.loading.lookups import condition_for

    return condition_for(where, butler, bind=parse_binds(binds))


def _datasets(
    butler: AbstractButler,
    dataset_type: str,
    collections: Sequence[str] | None,
    condition: Condition | None,
    *,
    files: bool,
) -> tuple[list[str], list[Row]]:
    found = butler.query(dataset_type, collections=collections, where=condition)
    rows: list[Row] = [dict(d.dataId) for d in found]
    if files:
        for row, dataset in zip(rows, found, strict=True):
            record = butler.locate(dataset, collections=collections)
            row |= {"bytes": record.size, "location": record.location}
    return list(rows[0]) if rows else [], rows


def _tagged_runs(
    butler: AbstractButler, dataset_type: str, tags: dict[str, str], among: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Return the runs whose datasets of a type have these tags."""
    from supertask.runtags import tagged

    known = butler.dataset_types()
    if dataset_type not in known:
        raise DatasetTypeError(
            f"the repository has no dataset type {dataset_type!r}{did_you_mean(dataset_type, known)}"
        )
    found = tuple(run for run, _, _ in tagged(butler, tags, dataset_type))
    return found if among is None else tuple(run for run in among if run in found)


def _tagged(butler: AbstractButler, tags: dict[str, str]) -> tuple[list[str], list[Row]]:
    from supertask.runtags import tagged

    rows: list[Row] = [
        {"run": run, "type": name or "all", "tags": ", ".join(f"{k}={v}" for k, v in sorted(there.items()))}
        for run, name, there in tagged(butler, tags)
    ]
    return ["run", "type", "tags"], rows


def _types(butler: AbstractButler) -> tuple[list[str], list[Row]]:
    rows: list[Row] = [
        {"name": t.name, "units": ", ".join(t.units), "storage": t.storage}
        for _, t in sorted(butler.dataset_types().items())
    ]
    return ["name", "units", "storage"], rows


def _collections(butler: AbstractButler) -> tuple[list[str], list[Row]]:
    rows: list[Row] = [
        {"name": c.name, "kind": c.kind.value, "children": ", ".join(c.children), "doc": c.doc}
        for c in butler.collection_infos()
    ]
    return ["name", "kind", "children", "doc"], rows


def _units(butler: AbstractButler, unit: str, condition: Condition | None) -> tuple[list[str], list[Row]]:
    rows = butler.units(unit, condition)
    for field in butler.model.unit(unit).fields:
        if field.kind is FieldKind.TIME:
            _say_times([row for row in rows if row.get(field.name) is not None], field.name)
    # Fields that no instance has would only take room.
    shown = [name for row in rows for name, value in row.items() if value is not None]
    return list(dict.fromkeys(shown)), list(rows)


def _say_times(rows: Sequence[Row], name: str) -> None:
    """Put UTC in words in the place of nanoseconds TAI."""
    if not rows:
        return
    from supertask.times import from_tai_ns

    with warnings.catch_warnings():
        # Of years whose leap seconds are not yet known; to the second nobody will mind.
        warnings.simplefilter("ignore")
        words = from_tai_ns(np.array([row[name] for row in rows])).utc.isot
    for row, said in zip(rows, words, strict=True):
        row[name] = str(said)
