"""``supertask skymap``: divisions of the sky into tracts and patches, in a repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json, repository
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from supertask.butler.port import AbstractButler
    from supertask.sky.skymap import SkyMap

__all__ = ["command"]


@click.group(
    "skymap",
    short_help="Divide the sky into tracts and patches.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Divide the sky into tracts and patches."""


def _register(butler: AbstractButler, skymap: SkyMap, *, as_json: bool) -> None:
    from supertask.sky.ingested import relate_all
    from supertask.sky.relate import spatial_relation

    new = skymap.register(butler)
    relation = spatial_relation(butler.model)
    done = relate_all(butler, skymap) if relation and butler.root else None
    n = sum(t.n_patches for t in skymap.tracts)
    if as_json:
        row: dict[str, Any] = {
            "skymap": skymap.name, "tracts": len(skymap.tracts), "patches": n, "new_patches": new,
        }  # fmt: skip
        if done is not None:
            row |= {"related": done.pairs, "new_rows": done.new, "without_patch": done.without_patch}
        terminal.objects([row])
        return
    said = f"{terminal.counted(len(skymap.tracts), 'tract')}, {n:,} patches, {new:,} of them new"
    terminal.line(f"sky map {skymap.name}: {said}")
    if done is not None and relation is not None and done.pairs + done.without_patch:
        terminal.line(
            f"relation {relation.name}: {done.pairs:,} overlaps with footprints, {done.new:,} of them new; "
            f"{terminal.counted(done.without_patch, 'footprint')} overlap no patch of it"
        )


@define("register", short_help="Make a sky map known from its YAML file.")
@repository
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def register(*, repo: Path, file: Path, as_json: bool) -> None:
    """Make the sky map in FILE known in the repository REPO, and relate the footprints there to it.

    Doing it again adds only what is missing. Another configuration under the same name is refused.
    """
    from supertask.butler.repository import Butler
    from supertask.sky.skymap import SkyMap

    skymap = SkyMap.from_yaml(file)
    with Butler(repo) as butler:
        _register(butler, skymap, as_json=as_json)


@define("around", short_help="Make a sky map of one tract around a target.")
@repository
@click.argument("name")
@click.option("--ra", type=float, required=True, help="Right ascension of the target, degrees.")
@click.option("--dec", type=float, required=True, help="Declination of the target, degrees.")
@click.option("--pixel-scale", type=float, required=True, metavar="ARCSEC", help="Arcsec per pixel.")
@click.option("--patch-size", type=int, required=True, metavar="PIXELS", help="Inner size of a patch.")
@click.option("--radius", type=float, default=None, metavar="DEG",
              help="Degrees that the tract reaches on each side at least.")  # fmt: skip
@click.option("--grid", type=(int, int), default=None, metavar="NX NY",
              help="Number of patches, instead of --radius.")  # fmt: skip
@click.option("--border", type=int, default=0, metavar="PIXELS", help="Of a patch beyond its inner size.")
@click.option("--margin", type=float, default=0.0, metavar="ARCSEC",
              help="What comes this near to a patch counts as overlapping it.")  # fmt: skip
@as_json
def around(
    *,
    repo: Path,
    name: str,
    ra: float,
    dec: float,
    pixel_scale: float,
    patch_size: int,
    radius: float | None,
    grid: tuple[int, int] | None,
    border: int,
    margin: float,
    as_json: bool,
) -> None:
    """Make the sky map NAME of one tract around a target known in the repository REPO."""
    from supertask.butler.repository import Butler
    from supertask.sky.skymap import SkyMap

    skymap = SkyMap.around(
        ra,
        dec,
        name=name,
        pixel_scale=pixel_scale,
        patch_size=patch_size,
        grid=grid,
        radius=radius,
        border=border,
        margin=margin,
    )
    with Butler(repo) as butler:
        _register(butler, skymap, as_json=as_json)


@define("list", short_help="Show which sky maps a repository has.")
@repository
@as_json
def list_(*, repo: Path, as_json: bool) -> None:
    """Show which sky maps the repository REPO has."""
    from supertask.butler.repository import Butler
    from supertask.sky.skymap import SkyMap

    with Butler(repo, writeable=False) as butler:
        rows = [
            {
                "name": m.name,
                "layout": type(m.layout).__name__.lower(),
                "tracts": len(m.tracts),
                "patches": sum(t.n_patches for t in m.tracts),
                "margin": m.margin,
                "doc": m.doc,
            }
            for m in SkyMap.load_all(butler.root)
        ]
    if as_json:
        terminal.objects(rows)
    elif not rows:
        terminal.note("it has none")
    else:
        terminal.table(list(rows[0]), [list(row.values()) for row in rows])


@define("show", short_help="Show the configuration of a sky map as YAML.")
@repository
@click.argument("name")
def show(*, repo: Path, name: str) -> None:
    """Show the configuration of the sky map NAME in the repository REPO, which `register` reads."""
    from supertask.butler.repository import Butler
    from supertask.sky.skymap import SkyMap

    with Butler(repo, writeable=False) as butler:
        terminal.line(SkyMap.load(butler.root, name).to_yaml().rstrip())


for _command in (register, around, list_, show):
    command.add_command(_command)
