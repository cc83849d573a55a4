"""The demonstration with a simulated survey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.nddata import CCDData
from astropy.table import Table

from examples.coadd.mosaic import mosaic
from examples.demo.compare import against_truth, summary
from examples.demo.pictures import draw_coadds, draw_colour, draw_truth
from examples.demo.simulate import Survey, simulate
from examples.demo.sky import BANDS
from examples.demo.stage import Stage
from examples.demo.survey import CAMERA, PIXEL_SCALE
from examples.hatp32.repository import put_reference, put_sky_map
from examples.isr.tasks import IsrConfig
from supertask.butler.repository import Butler
from supertask.formats.fits_image import FitsImage
from supertask.ingest.ingestion import ingest
from supertask.sky.skymap import SkyMap

__all__ = ["PIPELINE", "run_simulated"]

_HERE = Path(__file__).parent
HEADERS = _HERE / "simcam.yaml"
PIPELINE = _HERE / "pipeline.yaml"
RUN = "demo/run1"


def run_simulated(stage: Stage) -> int:
    """Simulate, ingest, plan, run, and hold the result against the truth; return the exit code."""
    with stage.step("simulated a survey with known truth"):
        survey = simulate(stage.out / "raw")
        survey.stars.write(stage.out / "truth.ecsv", overwrite=True)
    stage.say(
        f"  {len(survey.files)} raw frames of {len(survey.exposures)} exposures, {len(survey.stars)} stars"
    )
    sky_map = survey_sky_map(survey)
    butler = stage.repository()
    with stage.step(f"ingested into {butler.root}"):
        fill(butler, survey, sky_map)
    report = stage.run(butler, PIPELINE, RUN)
    if report.exit_code == 0:
        with stage.step("held against the truth"):
            present(stage, butler, survey, sky_map)
    return report.exit_code


def survey_sky_map(survey: Survey) -> SkyMap:
    """Return the sky map: one tract of three by three patches in the middle of the field."""
    return SkyMap.around(
        survey.field.ra,
        survey.field.dec,
        name="demo",
        pixel_scale=PIXEL_SCALE,
        patch_size=400,
        grid=(3, 3),
        border=24,
    )


def fill(butler: Butler, survey: Survey, sky_map: SkyMap) -> None:
    """Ingest the frames, and put what is known beforehand: camera, sky map and reference stars."""
    sky_map.register(butler)
    ingest(butler, [survey.folder], HEADERS, run="raw/all")
    camera = IsrConfig().camera
    butler.register_type(camera)
    butler.put(survey.camera, camera(instrument=CAMERA), run="reference")
    put_sky_map(butler, sky_map, run="reference")
    put_reference(butler, sky_map, survey.reference, run="reference")


def present(stage: Stage, butler: Butler, survey: Survey, sky_map: SkyMap) -> Table:
    """Write coadds as FITS and PNG and the comparison with the truth, and return its summary."""
    coadds = {band: whole(butler, sky_map, "coadd", band) for band in BANDS}
    depths = {band: whole(butler, sky_map, "coadd_depth", band) for band in BANDS}
    for band in BANDS:
        path = stage.out / f"coadd_{band}.fits"
        path.unlink(missing_ok=True)
        FitsImage().write(coadds[band], str(path))
    draw_coadds(stage.out / "coadds.png", coadds, depths)
    draw_colour(stage.out / "colour.png", coadds["r"], coadds["g"])
    catalogue = butler.get("catalogue", skymap=sky_map.name, tract=0)
    depth = np.minimum(*(depths[band].data for band in BANDS))
    compared = against_truth(catalogue, survey.stars, covered(survey.stars, sky_map, depth), BANDS)
    found = summary(compared, BANDS)
    catalogue.write(stage.out / "catalogue.ecsv", overwrite=True)
    compared.write(stage.out / "comparison.ecsv", overwrite=True)
    found.write(stage.out / "summary.ecsv", overwrite=True)
    draw_truth(stage.out / "truth.png", compared, BANDS)
    stage.say(f"  {len(catalogue)} sources; {compared.meta['unmatched']} of them are no true star")
    stage.table({name: row[name] for name in found.colnames} for row in found)
    return found


def whole(butler: Butler, sky_map: SkyMap, name: str, band: str) -> CCDData:
    """Return a dataset of all patches of the tract as one image."""
    return mosaic(sky_map, 0, {int(d["patch"]): butler.get(d) for d in butler.query(name, band=band)})


def covered(
    stars: Table, sky_map: SkyMap, depth: npt.NDArray[Any], *, least: int = 3
) -> npt.NDArray[np.bool_]:
    """Tell for each star whether at least so many visits have data at its place in every band."""
    x, y = sky_map.tract_wcs(0).all_world2pix(stars["ra"], stars["dec"], 0)
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    ny, nx = depth.shape
    inside: npt.NDArray[np.bool_] = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    result = inside.copy()
    result[inside] = depth[row[inside], column[inside]] >= least
    return result
