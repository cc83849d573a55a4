"""Frames, plate solutions and reference stars → a repository that `pipeline.yaml` can be planned on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from examples.coadd.patches import patch_grid
from examples.coadd.tasks import AttachConfig, CalibrateConfig, WarpConfig
from supertask import Butler
from supertask.ingest.ingestion import ingest
from supertask.ingest.report import IngestReport
from supertask.sky.skymap import SkyMap

__all__ = ["HEADERS", "PIPELINE", "SKYMAP", "fill", "put_reference", "put_sky_map", "tycho2"]

_HERE = Path(__file__).parent
HEADERS = _HERE / "headers.yaml"
PIPELINE = _HERE / "pipeline.yaml"
SKYMAP = _HERE / "skymap.yaml"


def fill(butler: Butler, folder: Path, *, run: str = "reference") -> IngestReport:
    """Ingest the frames of a folder, and put what is known beforehand into a run.

    Parameters
    ----------
    butler : Butler
        A repository of the unit model `imaging`.
    folder : Path
        With frames, ``wcs/*.wcs`` beside them, and ``tycho2_refcat.csv``.
    run : str, optional
        RUN collection for sky map, plate solutions and reference stars; frames go to ``raw/all``.
    """
    sky_map = SkyMap.from_yaml(SKYMAP)
    sky_map.register(butler)
    report = ingest(butler, [folder], HEADERS, run="raw/all")
    put_sky_map(butler, sky_map, run=run)
    put_reference(butler, sky_map, tycho2(folder / "tycho2_refcat.csv"), run=run)
    solution = AttachConfig().plate_solution
    butler.register_type(solution)
    for raw in report.ingested:
        path = folder / "wcs" / Path(butler.path_of(raw)).with_suffix(".wcs").name
        text = fits.getheader(path).tostring(sep="\n", endcard=False, padding=False)
        butler.put(text, solution(raw.dataId), run=run)
    return report


def put_sky_map(butler: Butler, sky_map: SkyMap, *, run: str) -> None:
    """Put the configuration of a sky map where tasks can read it."""
    kind = WarpConfig().sky_map
    butler.register_type(kind)
    butler.put(sky_map.to_yaml(), kind(skymap=sky_map.name), run=run)


def put_reference(butler: Butler, sky_map: SkyMap, stars: Table, *, run: str, margin: float = 60.0) -> None:
    """Put reference stars, those of each patch and `margin` pixels around it, for all patches of tract 0."""
    kind = CalibrateConfig().refcat
    butler.register_type(kind)
    for patch in range(sky_map.tract(0).n_patches):
        where: Mapping[str, Any] = {"skymap": sky_map.name, "tract": 0, "patch": patch}
        grid = patch_grid(sky_map, where)
        x, y = grid.wcs.all_world2pix(stars["ra"], stars["dec"], 0)
        ny, nx = grid.shape
        near = (x > -margin) & (x < nx + margin) & (y > -margin) & (y < ny + margin)
        butler.put(stars[near], kind(where), run=run)


def tycho2(path: Path) -> Table:
    """Return reference stars from a table of Tycho-2: source (numbered from 1), ra, dec (deg), mag."""
    read = Table.read(path, format="ascii.csv")
    stars = Table(
        {"source": np.arange(1, len(read) + 1), "ra": read["ra"], "dec": read["dec"], "mag": read["vt"]}
    )
    stars["ra"].unit = stars["dec"].unit = "deg"
    return stars
