"""Sky maps: the sky divided into tracts, each with one tangent plane, and tracts into patches.

A tract is a grid of ``nx`` by ``ny`` patches, its tangent point in the middle. Patches are numbered
along x first: ``patch = y * nx + x``, with x (towards decreasing right ascension) and y (towards the
north) from 0. The inner regions of patches, ``width`` by ``height`` pixels, cover the tract without
a gap or overlap; a patch is larger by ``border`` pixels on each side, clipped to the tract.
Pixel boxes are ``(x0, y0, x1, y1)`` in pixels of the tract, the first pixel being 0 and the end
exclusive.

A sky map is its configuration, a small YAML file, which a repository keeps under ``sky/skymaps``:
the same configuration gives the same tracts anywhere. See `layouts` for the ways to lay tracts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from supertask.butler.port import AbstractButler
from supertask.errors import did_you_mean
from supertask.sky.division import Division
from supertask.sky.layouts import Around, Healpix, Listed, Rings, digest
from supertask.sky.skymapfile import Written, read, write
from supertask.sky.tracts import Box, SkyMapError, Tract

__all__ = ["FOLDER", "Box", "SkyMap", "SkyMapError", "Tract"]

FOLDER = "sky/skymaps"
"""Folder of the configurations under a repository's root."""

_ROWS = 50_000
_DIFFERENCES = 8


@attrs.frozen
class SkyMap(Division):
    """A division of some of the sky into tracts and patches, under a name.

    What can be asked of it is in `division.Division`.

    Raises
    ------
    SkyMapError
        It is not valid; names every mistake found.
    """

    # -- making one ---------------------------------------------------------------------------

    @classmethod
    def around(
        cls,
        ra: float,
        dec: float,
        *,
        name: str,
        pixel_scale: float,
        patch_size: int | tuple[int, int],
        grid: tuple[int, int] | None = None,
        radius: float | None = None,
        border: int = 0,
        margin: float = 0.0,
    ) -> SkyMap:
        """Make one tract, numbered 0, around a target; `layouts.Around` says what the numbers are.

        Raises
        ------
        SkyMapError
            Something is not valid.
        """
        layout = Around(float(ra), float(dec), float(pixel_scale), patch_size, grid, radius, border)
        return cls(name, layout, margin)

    @classmethod
    def rings(
        cls,
        *,
        name: str,
        n_rings: int,
        pixel_scale: float,
        patch_size: int,
        border: int = 0,
        overlap: float = 0.0,
        margin: float = 0.0,
    ) -> SkyMap:
        """Cover the whole sky with tracts in rings; `layouts.Rings` says what the numbers are.

        Raises
        ------
        SkyMapError
            Something is not valid.
        """
        return cls(name, Rings(n_rings, float(pixel_scale), patch_size, border, float(overlap)), margin)

    @classmethod
    def healpix(
        cls,
        *,
        name: str,
        nside: int,
        pixel_scale: float,
        patch_size: int,
        border: int = 0,
        overlap: float = 0.0,
        order: str = "nested",
        cells: Sequence[int] | None = None,
        margin: float = 0.0,
    ) -> SkyMap:
        """Make one tract for each HEALPix cell; `layouts.Healpix` says what the numbers are.

        Raises
        ------
        SkyMapError
            Something is not valid, or astropy-healpix is not installed.
        """
        layout = Healpix(nside, float(pixel_scale), patch_size, border, float(overlap), order, cells)
        return cls(name, layout, margin)

    @classmethod
    def of_tracts(cls, name: str, tracts: Iterable[Tract], *, margin: float = 0.0) -> SkyMap:
        """Make one of tracts that are given one by one.

        Raises
        ------
        SkyMapError
            Something is not valid.
        """
        return cls(name, Listed(tuple(tracts)), margin)

    @classmethod
    def from_yaml(cls, source: str | Path) -> SkyMap:
        """Read one from YAML text, or from the file of a path.

        The file may name tracts one by one; what they have in common may stand above them::

            name: deep
            pixel_scale: 0.2        # arcsec
            grid: [9, 9]            # patches along x and y
            patch_size: 4000        # or [width, height]
            border: 100
            margin: 1.0             # arcsec
            tracts:
              - {tract: 0, ra: 150.1, dec: 2.2}
              - {tract: 1, ra: 34.5, dec: -5.0, grid: [3, 3]}

        or instead of `tracts` give a layout: ``around``, ``rings`` or ``healpix``, a mapping with
        the fields of `layouts.Around`, `layouts.Rings` or `layouts.Healpix`.

        Raises
        ------
        SkyMapError
            It is not valid; names every mistake found, each with its line.
        """
        said = read(source)
        made = cls(said.name, said.layout, said.margin, said.doc)
        if said.digest and said.digest != digest(made.tracts):
            raise SkyMapError(
                f"sky map {said.name!r} gives other tracts here than where it was written "
                f"(digest {digest(made.tracts)}, not {said.digest}): use the version that wrote it, or, "
                "if it was edited by hand, take out the line 'digest'"
            )
        return made

    def to_yaml(self) -> str:
        """Return the configuration, which `from_yaml` reads back equal."""
        return write(Written(self.name, self.layout, self.margin, self.doc, digest(self.tracts)))

    # -- in a repository ----------------------------------------------------------------------

    def register(self, butler: AbstractButler) -> int:
        """Make the sky map, its tracts and patches known, and keep its configuration.

        Parameters
        ----------
        butler : AbstractButler
            The repository; its unit model must have skymap, tract and patch.

        Returns
        -------
        int
            How many patches were new.

        Raises
        ------
        SkyMapError
            Another sky map of this name is there, or the unit model has no such units.
        """
        lacking = [u for u in ("skymap", "tract", "patch") if u not in butler.model]
        if lacking:
            raise SkyMapError(
                f"unit model {butler.model.name!r} has no {', '.join(lacking)}: no sky map can be used"
            )
        if butler.root:
            self._keep(Path(butler.root))
        butler.insert_units("skymap", [{"skymap": self.name}])
        butler.insert_units("tract", [{"skymap": self.name, "tract": t.tract} for t in self.tracts])
        fields = {f.name for f in butler.model.unit("patch").fields} & {"x", "y"}
        new, rows = 0, []
        for row in self._patch_rows(fields):
            rows.append(row)
            if len(rows) == _ROWS:
                new += butler.insert_units("patch", rows)
                rows = []
        return new + (butler.insert_units("patch", rows) if rows else 0)

    def _patch_rows(self, fields: set[str]) -> Iterator[dict[str, Any]]:
        for tract in self.tracts:
            for patch in range(tract.n_patches):
                at = {"x": patch % tract.nx, "y": patch // tract.nx}
                yield {
                    "skymap": self.name,
                    "tract": tract.tract,
                    "patch": patch,
                    **{f: at[f] for f in fields},
                }

    def _keep(self, root: Path) -> None:
        path = root / FOLDER / f"{self.name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
        temporary.write_text(self.to_yaml(), encoding="utf-8")
        try:
            # A link refuses to replace: of two different ones the first stands.
            os.link(temporary, path)
        except FileExistsError:
            differing = self.differences(SkyMap.from_yaml(path))
            if differing:
                more = len(differing) - _DIFFERENCES
                shown = [*differing[:_DIFFERENCES], *([f"and {more} more"] if more > 0 else [])]
                raise SkyMapError(
                    f"the repository has another sky map {self.name!r}, in {path}: give this one another "
                    f"name. This one has {'; '.join(shown)}"
                ) from None
        finally:
            temporary.unlink()

    @classmethod
    def load(cls, root: str | Path, name: str) -> SkyMap:
        """Return a sky map that a repository keeps.

        Raises
        ------
        SkyMapError
            It keeps none of that name.
        """
        path = Path(root) / FOLDER / f"{name}.yaml"
        if not path.is_file():
            known = [m.name for m in cls.load_all(root)]
            raise SkyMapError(
                f"the repository has no sky map {name!r}{did_you_mean(name, known)}; "
                f"it has {', '.join(known) or 'none'}"
            )
        return cls.from_yaml(path)

    @classmethod
    def load_all(cls, root: str | Path) -> list[SkyMap]:
        """Return all sky maps that a repository keeps, by name."""
        return [cls.from_yaml(path) for path in sorted((Path(root) / FOLDER).glob("*.yaml"))]
