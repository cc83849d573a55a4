"""Sky maps: the sky divided into tracts, each with one tangent plane, and tracts into patches.

A tract is a grid of ``nx`` by ``ny`` patches, its tangent point in the middle. Patches are numbered
along x first: ``patch = y * nx + x``, with x (towards decreasing right ascension) and y (towards the
north) from 0. The inner regions of patches, ``width`` by ``height`` pixels, cover the tract without
a gap or overlap; a patch is larger by ``border`` pixels on each side, clipped to the tract.
Pixel boxes are ``(x0, y0, x1, y1)`` in pixels of the tract, the first pixel being 0 and the end
exclusive.

A sky map is its configuration, a small YAML file, which a repository keeps under ``sky/skymaps``:
the same configuration gives the same tracts anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.butler.port import AbstractButler
from supertask.errors import Problems, did_you_mean
from supertask.sky.sphere import gnomonic, vectors
from supertask.sky.tracts import Box, SkyMapError, Tract
from supertask.yamltext import YamlError, dump, load, load_file

__all__ = ["FOLDER", "Box", "SkyMap", "SkyMapError", "Tract"]

FOLDER = "sky/skymaps"
"""Folder of the configurations under a repository's root."""

_TOP = ("name", "doc", "margin", "tracts", "pixel_scale", "grid", "patch_size", "border")
_TRACT = ("tract", "ra", "dec", "pixel_scale", "grid", "patch_size", "border")
_ROWS = 50_000


@attrs.frozen
class SkyMap:
    """A division of some of the sky into tracts and patches."""

    name: str
    tracts: tuple[Tract, ...]
    margin: float = 0.0
    """Arcsec: a footprint that comes this near to a patch counts as overlapping it."""
    doc: str = ""
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
        """Make one tract, numbered 0, around a target.

        Parameters
        ----------
        ra, dec : float
            Of the target, degrees ICRS.
        name : str
            Of the sky map.
        pixel_scale : float
            Arcsec per pixel.
        patch_size : int or tuple of int
            Inner size of a patch, pixels: one number, or width and height.
        grid : tuple of int, optional
            Number of patches along x and y.
        radius : float, optional
            Degrees that the tract must at least reach from the target on each side; in place of
            `grid`.
        border : int, optional
            Pixels that patches have beyond their inner size on each side.
        margin : float, optional
            Arcsec that a footprint may be away from a patch and yet count as overlapping it.

        Raises
        ------
        SkyMapError
            Something is not valid.
        """
        width, height = _pair(patch_size)
        if (grid is None) == (radius is None):
            raise SkyMapError("give either grid, the number of patches along x and y, or radius")
        if grid is None:
            if not (0 < (radius or 0) < 80 and width > 0 and height > 0 and pixel_scale > 0):
                raise SkyMapError("radius (below 80 degrees), patch_size and pixel_scale must be positive")
            half = np.tan(np.deg2rad(radius or 0)) * np.rad2deg(1.0) * 3600.0 / pixel_scale
            grid = int(np.ceil(2 * half / width)), int(np.ceil(2 * half / height))
        tract = Tract(0, float(ra), float(dec), float(pixel_scale), *grid, width, height, border)
        return cls(name, (tract,), margin)

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
        """Cover the whole sky with square tracts in rings of equal declination, and one at each pole.

        Parameters
        ----------
        name : str
            Of the sky map.
        n_rings : int
            Rings between the poles.
        pixel_scale : float
            Arcsec per pixel.
        patch_size : int
            Inner size of the square patches, pixels.
        border : int, optional
            Pixels that patches have beyond their inner size on each side.
        overlap : float, optional
            Degrees by which neighbouring tracts overlap at least.
        margin : float, optional
            As for `around`.

        Notes
        -----
        Tract 0 is at the south pole, the last at the north pole, and rings follow each other to the
        north, each from RA 0 eastward.
        """
        if n_rings < 1 or pixel_scale <= 0 or patch_size < 1 or overlap < 0:
            raise SkyMapError("n_rings, pixel_scale and patch_size must be positive")
        step = 180.0 / (n_rings + 1)
        centres = [(0.0, -90.0)]
        for ring in range(1, n_rings + 1):
            dec = -90.0 + ring * step
            # Tracts of a ring are as far apart as rings are, where the ring is longest.
            widest = max(np.cos(np.deg2rad(dec - step / 2)), np.cos(np.deg2rad(dec + step / 2)))
            count = max(3, int(np.ceil(360.0 * widest / step)))
            centres += [(360.0 * i / count, dec) for i in range(count)]
        centres.append((0.0, 90.0))
        # The corner of a square of half the step is on the circle that must be covered.
        half = (
            np.tan(np.deg2rad(step / np.sqrt(2.0) + overlap / 2.0)) * np.rad2deg(1.0) * 3600.0 / pixel_scale
        )
        n = int(np.ceil(2 * half / patch_size))
        return cls(
            name,
            tuple(
                Tract(i, float(ra), float(dec), float(pixel_scale), n, n, patch_size, patch_size, border)
                for i, (ra, dec) in enumerate(centres)
            ),
            margin,
        )

    @classmethod
    def from_yaml(cls, source: str | Path) -> SkyMap:
        """Read one from YAML text, or from the file of a path.

        The file names tracts one by one; what they have in common may stand above them::

            name: deep
            pixel_scale: 0.2        # arcsec
            grid: [9, 9]            # patches along x and y
            patch_size: 4000        # or [width, height]
            border: 100
            margin: 1.0             # arcsec
            tracts:
              - {tract: 0, ra: 150.1, dec: 2.2}
              - {tract: 1, ra: 34.5, dec: -5.0, grid: [3, 3]}

        Raises
        ------
        SkyMapError
            It is not valid; names every mistake found, each with its line.
        """
        try:
            is_text = isinstance(source, str) and "\n" in source
            document = load(str(source), "sky map") if is_text else load_file(source)
        except YamlError as error:
            raise SkyMapError(f"this is no sky map: {error}") from None
        top = document.value
        problems = Problems(f"sky map {document.source}")
        if not isinstance(top, dict) or not isinstance(top.get("tracts"), list):
            raise SkyMapError(f"{document.source} is no sky map: it must be a mapping with a list 'tracts'")
        _known(top, _TOP, problems, lambda key: document.place(key).line)
        tracts = []
        for i, entry in enumerate(top["tracts"]):
            line = document.place("tracts", i).line
            if not isinstance(entry, dict):
                problems.add(f"line {line}: a tract is a mapping such as {{tract: 0, ra: 10, dec: -5}}")
                continue
            _known(entry, _TRACT, problems, lambda key, i=i: document.place("tracts", i, key).line)
            given = {**{k: top[k] for k in _TRACT if k in top}, "tract": i, **entry}
            tract = _tract(given, problems, line)
            if tract is not None:
                tracts.append(tract)
        name, margin = top.get("name"), top.get("margin", 0.0)
        if not isinstance(name, str) or not name:
            problems.add("'name' is missing")
        if isinstance(margin, bool) or not isinstance(margin, int | float):
            problems.add(f"'margin' must be a number of arcsec, and is {margin!r}")
        problems.raise_if_any(SkyMapError)
        return cls(str(name), tuple(tracts), float(margin), str(top.get("doc", "")))

    def to_yaml(self) -> str:
        """Return the configuration, which `from_yaml` reads back equal."""
        tracts = [
            {
                "tract": t.tract,
                "ra": t.ra,
                "dec": t.dec,
                "pixel_scale": t.pixel_scale,
                "grid": [t.nx, t.ny],
                "patch_size": [t.width, t.height],
                "border": t.border,
            }
            for t in self.tracts
        ]
        head: dict[str, Any] = {"name": self.name, "doc": self.doc, "margin": self.margin}
        shared = {k: v for k, v in tracts[0].items() if k in _TOP and all(t[k] == v for t in tracts)}
        return dump(
            {**head, **shared, "tracts": [{k: v for k, v in t.items() if k not in shared} for t in tracts]}
        )

    # -- asking it ----------------------------------------------------------------------------

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
            if SkyMap.from_yaml(path) != self:
                raise SkyMapError(
                    f"the repository has another sky map {self.name!r}, in {path}: give this one another name"
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
        found = []
        for tract, centre in zip(self.tracts, self.centres(), strict=True):
            if float(point @ centre) < np.cos(tract.radius) - 1e-12:
                continue
            xi, eta = gnomonic(point, tract.ra, tract.dec)
            rows, columns = tract.shape
            x = int(np.floor((columns / 2 - xi * tract.scale) / tract.width))
            y = int(np.floor((rows / 2 + eta * tract.scale) / tract.height))
            if 0 <= x < tract.nx and 0 <= y < tract.ny:
                found.append((tract.tract, y * tract.nx + x))
        return found


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _known(given: Mapping[Any, Any], known: Iterable[str], problems: Problems, line: Any) -> None:
    for key in given:
        if key not in known:
            problems.add(f"line {line(key)}: unknown key {key!r}{did_you_mean(str(key), known)}")


def _tract(given: Mapping[str, Any], problems: Problems, line: int) -> Tract | None:
    before = len(problems)
    for key in ("ra", "dec", "pixel_scale"):
        if isinstance(given.get(key), bool) or not isinstance(given.get(key), int | float):
            problems.add(f"line {line}: {key!r} must be a number, and is {given.get(key)!r}")
    for key in ("tract", "border"):
        if type(given.get(key, 0)) is not int:
            problems.add(f"line {line}: {key!r} must be a whole number, and is {given.get(key)!r}")
    pairs: dict[str, tuple[int, int]] = {}
    for key in ("grid", "patch_size"):
        value = given.get(key)
        value = [value, value] if type(value) is int else value
        if not isinstance(value, list) or len(value) != 2 or not all(type(v) is int for v in value):
            problems.add(f"line {line}: {key!r} must be one whole number or two, and is {given.get(key)!r}")
        else:
            pairs[key] = (value[0], value[1])
    if len(problems) > before:
        return None
    return Tract(
        given["tract"],
        float(given["ra"]),
        float(given["dec"]),
        float(given["pixel_scale"]),
        *pairs["grid"],
        *pairs["patch_size"],
        given.get("border", 0),
    )


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
