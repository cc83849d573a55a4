"""``supertask relation``: what relates units in a repository: loaded, checked, computed anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json, repository
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from supertask.butler.port import AbstractButler
    from supertask.relations.compared import Comparison
    from supertask.sky.skymap import SkyMap

__all__ = ["command"]


@click.group(
    "relation",
    short_help="Relate units: load, check and recompute.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Relate units: load, check and recompute."""


_constant = click.option(
    "--constant", "constants", multiple=True, metavar="UNIT=KEY",
    help="The same in all rows, instead of a column; may be given again.",
)  # fmt: skip
_skymap = click.option(
    "--skymap", "names", multiple=True, metavar="NAME",
    help="Only this sky map; may be given again. All of them unless given.",
)  # fmt: skip


def _constants(butler: AbstractButler, words: tuple[str, ...]) -> dict[str, Any]:
    """Return the keys of ``unit=key`` words, whole numbers where the unit's keys are."""
    from supertask.units import KeyKind

    values: dict[str, Any] = {}
    for word in words:
        unit, equals, text = (part.strip() for part in word.partition("="))
        if not equals or not unit or unit in values:
            raise click.UsageError(f"--constant {word!r}: write UNIT=KEY, each unit once")
        whole = unit in butler.model and butler.model.unit(unit).key is KeyKind.INT
        values[unit] = int(text) if whole and text.removeprefix("-").isdecimal() else text
    return values


@define("list", short_help="Show which relations there are, and how many rows they have.")
@repository
@as_json
def list_(*, repo: Path, as_json: bool) -> None:
    """Show which relations the unit model of the repository REPO has, and how many rows."""
    from supertask.butler.repository import Butler
    from supertask.relations.compared import n_rows

    with Butler(repo, writeable=False) as butler, butler.reader() as reader:
        rows = [
            {
                "name": r.name,
                "kind": r.kind.value,
                "left": ", ".join(r.left),
                "right": ", ".join(r.right),
                "rows": n_rows(reader.relation(r.name)),
                "doc": r.doc,
            }
            for r in butler.model.relations
        ]
    if as_json:
        terminal.objects(rows)
    elif not rows:
        terminal.note("its unit model has none")
    else:
        terminal.table(list(rows[0]), [list(row.values()) for row in rows])


@define("load", short_help="Load a table of related data IDs.")
@repository
@click.argument("relation")
@click.argument("table", type=click.Path(path_type=Path))
@_constant
@click.option("--repeats", is_flag=True, help="Let rows pass that say again what an earlier one says.")
@as_json
def load(
    *, repo: Path, relation: str, table: Path, constants: tuple[str, ...], repeats: bool, as_json: bool
) -> None:
    """Load TABLE (CSV, ECSV or Parquet) into the RELATION of the repository REPO, all of it or nothing.

    It has a column for each unit of both sides and their parents. Rows there already are passed over.
    """
    from supertask.butler.repository import Butler
    from supertask.relations.given import load_relation

    with Butler(repo) as butler:
        done = load_relation(butler, relation, table, constant=_constants(butler, constants), repeats=repeats)
    if as_json:
        terminal.objects([{"rows": done.rows, "new": done.new, "repeated": done.repeated}])
    else:
        terminal.line(f"{terminal.counted(done.rows, 'row')}, {done.new:,} new in relation {relation}")


@define("footprints", short_help="Take footprints from a table of corners.")
@repository
@click.argument("table", type=click.Path(path_type=Path))
@_constant
@click.option("--replace", is_flag=True, help="They take the place of earlier ones of their data IDs.")
@as_json
def footprints(*, repo: Path, table: Path, constants: tuple[str, ...], replace: bool, as_json: bool) -> int:
    """Take footprints from TABLE (CSV, ECSV or Parquet), and relate them to the sky maps of REPO.

    It has a row for each corner: the units of the data ID, and ra and dec in degrees. An outline that
    is none is named and hinders no other; then the exit code is 1.
    """
    from supertask.butler.repository import Butler
    from supertask.sky.given import load_footprints

    with Butler(repo) as butler:
        kept = load_footprints(butler, table, constant=_constants(butler, constants), replace=replace)
    refused = [{"data_id": dict(values), "reason": reason} for values, reason in kept.refused]
    if as_json:
        counts = {"footprints": kept.footprints, "new": kept.new, "removed": kept.removed}
        terminal.objects([{**counts, "refused": refused, "unrelated": kept.unrelated}])
    else:
        if kept.refused:
            terminal.table(
                ["footprint of", "refused because it"], [(_shown(v), reason) for v, reason in kept.refused]
            )
        taken = f", {kept.removed:,} removed" if kept.removed else ""
        terminal.line(
            f"{terminal.counted(kept.footprints, 'footprint')} kept, {kept.new:,} overlaps new{taken}; "
            f"{len(kept.refused):,} refused"
        )
    if kept.unrelated:
        terminal.error(
            f"they are kept, but not related to every sky map: {kept.unrelated}\n"
            "Once that is put right, `supertask relation recompute` relates them."
        )
    return 1 if kept.refused or kept.unrelated else 0


@define("check", short_help="Compute overlaps anew and compare them with what is stored.")
@repository
@_skymap
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True,
              help="Show at most so many rows of each sky map and kind.")  # fmt: skip
@as_json
def check(*, repo: Path, names: tuple[str, ...], limit: int, as_json: bool) -> int:
    """Compute which footprints overlap which patches, and compare that with what REPO has stored.

    Rows that are missing or extra are shown by data ID; then the exit code is 1.
    """
    from supertask.butler.repository import Butler
    from supertask.relations.compared import data_ids, n_rows
    from supertask.sky.ingested import check_relation

    same = True
    summary: list[dict[str, Any]] = []
    differing: list[dict[str, Any]] = []
    with Butler(repo, writeable=False) as butler:
        for skymap in _skymaps(butler, names):
            found = check_relation(butler, skymap)
            same = same and found.same
            summary.append(_counts(skymap, found))
            for state, rows in (("missing", found.missing), ("extra", found.extra)):
                if n_rows(rows) and limit:
                    with butler.reader() as reader:
                        ids = list(data_ids(reader, butler.model, rows, limit))
                    differing += [{"state": state, **i} for i in ids]
    if as_json:
        terminal.objects([*summary, *differing])
        return 0 if same else 1
    if differing:
        terminal.table(list(differing[0]), [list(row.values()) for row in differing])
    terminal.table(list(summary[0]), [list(row.values()) for row in summary])
    if not same:
        terminal.note(
            "missing: computed and not stored; extra: stored and not computed. "
            "`supertask relation recompute` puts it right"
        )
    return 0 if same else 1


def _counts(skymap: SkyMap, found: Comparison) -> dict[str, Any]:
    from supertask.relations.compared import n_rows

    return {
        "skymap": skymap.name,
        "stored": found.stored,
        "computed": found.computed,
        "missing": n_rows(found.missing),
        "extra": n_rows(found.extra),
    }


@define("recompute", short_help="Compute overlaps anew and store what is missing.")
@repository
@_skymap
@click.option("--remove-extra", is_flag=True,
              help="Take out what is stored and not computed, given by hand or not.")  # fmt: skip
@as_json
def recompute(*, repo: Path, names: tuple[str, ...], remove_extra: bool, as_json: bool) -> None:
    """Compute which footprints overlap which patches, and store in REPO what is missing."""
    from supertask.butler.repository import Butler
    from supertask.sky.ingested import recompute as compute

    rows = []
    with Butler(repo) as butler:
        for skymap in _skymaps(butler, names):
            done = compute(butler, skymap, remove_extra=remove_extra)
            rows.append({"skymap": skymap.name, "added": done.added, "removed": done.removed})
    if as_json:
        terminal.objects(rows)
    else:
        terminal.table(list(rows[0]), [list(row.values()) for row in rows])


def _skymaps(butler: AbstractButler, names: tuple[str, ...]) -> list[SkyMap]:
    from supertask.sky.skymap import SkyMap
    from supertask.sky.tracts import SkyMapError

    found = [SkyMap.load(butler.root, n) for n in names] if names else SkyMap.load_all(butler.root)
    if not found:
        raise SkyMapError("the repository has no sky map: make one known with `supertask skymap register`")
    return found


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{u}={v}" for u, v in values.items())


for _command in (list_, load, footprints, check, recompute):
    command.add_command(_command)
