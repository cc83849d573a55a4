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
import numpy as np
import numpy.typing as npt

from supertask.butler.port import AbstractButler
from supertask.errors import Problems, did_you_mean
from supertask.sky.footprints import Footprints
from supertask.sky.layouts import Around, Healpix, Layout, Listed, Rings, digest
from supertask.sky.skymapfile import Written, read, write
from supertask.sky.sphere import gnomonic, vectors
from supertask.sky.tracts import Box, SkyMapError, Tract

__all__ = ["FOLDER", "Box", "SkyMap", "SkyMapError", "Tract"]

FOLDER = "sky/skymaps"
"""Folder of the configurations under a repository's root."""

Int = npt.NDArray[np.int64]
_ROWS = 50_000
_DIFFERENCES = 8


def _made(skymap: SkyMap) -> tuple[Tract, ...]:
    return skymap.layout.make()


@attrs.frozen
class SkyMap:
    """A division of some of the sky into tracts and patches.

    Raises
    ------
    SkyMapError
        It is not valid; names every mistake found.
    """

    name: str
    layout: Layout = attrs.field(eq=False)
    margin: float = 0.0
    """Arcsec: a footprint that comes this near to a patch counts as overlapping it."""
    doc: str = attrs.field(default="", eq=False)
    tracts: tuple[Tract, ...] = attrs.field(
        init=False, repr=False, default=attrs.Factory(_made, takes_self=True)
    )
    _by_number: dict[int, Tract] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        problems = Problems(f"sky map {self.name!r}")
        _check(self, problems)
        problems.raise_if_any(SkyMapError)
        object.__setattr__(self, "_by_number", {t.tract: t for t in self.tracts})

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

    # -- asking it ----------------------------------------------------------------------------

    def differences(self, other: SkyMap) -> list[str]:
        """Return in words what differs from another, as ``mine, not theirs``; empty if they are equal."""
        found = []
        if self.margin != other.margin:
            found.append(f"margin {self.margin:g}, not {other.margin:g}")
        if len(self.tracts) != len(other.tracts):
            found.append(f"{len(self.tracts)} tracts, not {len(other.tracts)}")
        for tract in self.tracts:
            theirs = other._by_number.get(tract.tract)
            if theirs is None:
                found.append(f"tract {tract.tract}, which is not there")
                continue
            changed = [
                f"{a.name} {getattr(tract, a.name)!r}, not {getattr(theirs, a.name)!r}"
                for a in attrs.fields(Tract)
                if getattr(tract, a.name) != getattr(theirs, a.name)
            ]
            if changed:
                found.append(f"tract {tract.tract} with {', '.join(changed)}")
        return found

    def patch_numbers(self, tracts: Iterable[int] | None = None) -> tuple[Int, Int]:
        """Return tract and patch numbers of all patches of some tracts (or all), shape (k,), int64."""
        wanted = [t.tract for t in self.tracts] if tracts is None else list(tracts)
        counts = np.array([self.tract(t).n_patches for t in wanted], np.int64)
        patches = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(np.array(wanted, np.int64), counts), patches

    def patch_outlines(self, tracts: Int, patches: Int, *, inner: bool = False) -> Footprints:
        """Return the outlines of many patches.

        Parameters
        ----------
        tracts, patches : numpy.ndarray
            Their numbers, shape (n,), int64.
        inner : bool, optional
            Whether to leave out borders.
        """
        found = np.empty((len(tracts), 4, 2))
        order = np.argsort(tracts, kind="stable")
        numbers, starts = np.unique(tracts[order], return_index=True)
        for number, part in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
            tract = self.tract(number)
            found[part] = tract.outlines(tract.boxes(patches[part], inner=inner))
        return _quadrangles(found, {"tract": tracts, "patch": patches})

    def tract_outlines(self, tracts: Iterable[int] | None = None) -> Footprints:
        """Return outlines that make up some tracts (or all): several of a tract that is large."""
        wanted = [t.tract for t in self.tracts] if tracts is None else list(tracts)
        parts = [(t, self.tract(t).outlines(self.tract(t).blocks())) for t in wanted]
        numbers = np.repeat(np.array(wanted, np.int64), [len(p) for _, p in parts])
        return _quadrangles(np.concatenate([np.empty((0, 4, 2)), *(p for _, p in parts)]), {"tract": numbers})

    def home_tract(self, ra: Any, dec: Any) -> Int:
        """Return for each position the one tract that it is at home in.

        That is the tract of its HEALPix cell, or else the tract with the nearest tangent point: by
        it, what is measured in two tracts that overlap can be counted once.

        Parameters
        ----------
        ra, dec : array_like
            Degrees, shape (n,).

        Returns
        -------
        numpy.ndarray
            Tract numbers, shape (n,), int64; -1 where the sky map has none there.
        """
        if isinstance(self.layout, Healpix):
            cells = self.layout.cell_of(ra, dec)
            return np.where(np.isin(cells, [t.tract for t in self.tracts]), cells, -1)
        points = np.atleast_2d(vectors(ra, dec))
        centres = self.centres()
        nearest = np.array([int(np.argmax(centres @ p)) for p in points], np.int64)
        home = np.array([t.tract for t in self.tracts], np.int64)[nearest]
        for i, (point, number) in enumerate(zip(points, home.tolist(), strict=True)):
            tract = self.tract(number)
            near = float(point @ vectors(tract.ra, tract.dec)) >= np.cos(tract.radius) - 1e-12
            if not near or _patch_at(tract, point) < 0:
                home[i] = -1
        return home

    def tract(self, number: int) -> Tract:
        """Return a tract.

        Raises
        ------
        SkyMapError
            There is none of that number.
        """
        try:
            return self._by_number[number]
        except KeyError:
            raise SkyMapError(
                f"sky map {self.name!r} has no tract {number!r}; it has {len(self.tracts)}"
            ) from None

    def tract_wcs(self, tract: int) -> Any:
        """Return the WCS of a tract, an ``astropy.wcs.WCS``."""
        return self.tract(tract).wcs()

    def patch_bbox(self, tract: int, patch: int, *, inner: bool = False) -> Box:
        """Return the pixel box of a patch in its tract: x0, y0, x1, y1, ends exclusive.

        Parameters
        ----------
        tract, patch : int
            Their numbers.
        inner : bool, optional
            Whether to leave out the border.
        """
        found = self.tract(tract)
        found.patch_xy(patch)
        x0, y0, x1, y1 = found.boxes(np.array([patch]), inner=inner)[0].tolist()
        return x0, y0, x1, y1

    def patch_wcs(self, tract: int, patch: int) -> Any:
        """Return the WCS of a patch's own pixels, border included, with its shape."""
        x0, y0, x1, y1 = self.patch_bbox(tract, patch)
        wcs = self.tract_wcs(tract)
        wcs.wcs.crpix = wcs.wcs.crpix - [x0, y0]
        wcs.wcs.set()
        wcs.array_shape = (y1 - y0, x1 - x0)
        return wcs

    def patch_polygon(self, tract: int, patch: int) -> npt.NDArray[np.float64]:
        """Return the corners of a patch on the sky, shape (4, 2): ra and dec, degrees."""
        x0, y0, x1, y1 = self.patch_bbox(tract, patch)
        ra, dec = self.tract_wcs(tract).all_pix2world(
            np.array([x0, x1, x1, x0]) - 0.5, np.array([y0, y0, y1, y1]) - 0.5, 0
        )
        return np.stack([ra % 360.0, dec], axis=1)

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

    def centres(self) -> npt.NDArray[np.float64]:
        """Return unit vectors of the tangent points, shape (n, 3)."""
        return vectors([t.ra for t in self.tracts], [t.dec for t in self.tracts])

    def covers(self, ra: float, dec: float) -> list[tuple[int, int]]:
        """Return tract and patch of each inner region that holds a position, degrees."""
        point = vectors(ra, dec)
        radii = np.array([t.radius for t in self.tracts])
        near = np.flatnonzero(self.centres() @ point >= np.cos(radii) - 1e-12).tolist()
        found = [(self.tracts[i], _patch_at(self.tracts[i], point)) for i in near]
        return [(tract.tract, patch) for tract, patch in found if patch >= 0]


def _patch_at(tract: Tract, point: npt.NDArray[np.float64]) -> int:
    """Return the patch whose inner region holds a position within the tract's circle, or -1."""
    xi, eta = gnomonic(point, tract.ra, tract.dec)
    rows, columns = tract.shape
    x = int(np.floor((columns / 2 - xi * tract.scale) / tract.width))
    y = int(np.floor((rows / 2 + eta * tract.scale) / tract.height))
    return y * tract.nx + x if 0 <= x < tract.nx and 0 <= y < tract.ny else -1


def _quadrangles(corners: npt.NDArray[np.float64], keys: dict[str, Any]) -> Footprints:
    return Footprints(keys, corners.reshape(-1, 2), np.arange(len(corners) + 1, dtype=np.int64) * 4)


def _check(skymap: SkyMap, problems: Problems) -> None:
    if (
        not skymap.name
        or not all(c.isalnum() or c in "_-." for c in skymap.name)
        or skymap.name.startswith(".")
    ):
        problems.add("its name must be of letters, digits, '_', '-' and '.', and begin with none of '.'")
    if not skymap.tracts:
        problems.add("it has no tracts")
    if not 0 <= skymap.margin < 36_000:
        problems.add(f"its margin must be 0 to 36000 arcsec, and is {skymap.margin}")
    numbers = [t.tract for t in skymap.tracts]
    if len(set(numbers)) < len(numbers):
        problems.add("two tracts have one number")
    for t in skymap.tracts:
        what = f"tract {t.tract}"
        if t.tract < 0:
            problems.add(f"{what}: numbers are not negative")
        if not (0 <= t.ra < 360 and -90 <= t.dec <= 90):
            problems.add(f"{what}: ra must be in [0, 360) and dec in [-90, 90], and is at {t.ra}, {t.dec}")
        if not (t.pixel_scale > 0 and min(t.nx, t.ny, t.width, t.height) > 0 and t.border >= 0):
            problems.add(
                f"{what}: pixel scale, grid and patch size must be positive, and border not negative"
            )
        elif t.radius > np.deg2rad(80):
            problems.add(
                f"{what}: it reaches {np.rad2deg(t.radius):.0f} degrees from its tangent point, more than 80"
            )
