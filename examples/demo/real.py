"""The demonstration with real frames that the examples know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from astropy.io import fits

from examples.coadd.mosaic import mosaic
from examples.demo.pictures import draw_coadds, draw_light_curve
from examples.demo.stage import Stage
from examples.hatp32 import repository as hatp32
from examples.isr.tasks import IsrConfig
from supertask.errors import RepositoryError
from supertask.formats.fits_image import FitsImage
from supertask.ingest.discovery import is_fits_name
from supertask.ingest.ingestion import ingest
from supertask.sky.skymap import SkyMap

__all__ = ["run_real"]

_ISR = Path(__file__).parent.parent / "isr"


def run_real(stage: Stage, data: Path) -> int:
    """Run each set of frames that is known, in a folder or in folders within it; return the exit code.

    Raises
    ------
    RepositoryError
        There is none.
    """
    found = [(folder, kind) for folder in _folders(data) if (kind := _kind(folder))]
    if not found:
        raise RepositoryError(
            f"{data} has no frames that the demonstration knows: of Kast blue, or of MicroObservatory with "
            "plate solutions in wcs/ and tycho2_refcat.csv; for your own see docs/tutorial and docs/how-to"
        )
    return max(kind(stage, folder) for folder, kind in found)


def kast_blue(stage: Stage, folder: Path) -> int:
    """Make master calibrations of Kast blue, measure gain and read noise, and reduce its frames."""
    butler = stage.repository("kast_blue")
    with stage.step(f"ingested {folder}"):
        report = ingest(butler, [folder], _ISR / "kast_blue_headers.yaml", run="raw/all")
        stage.say(f"  {report}")
        camera = IsrConfig().camera
        butler.register_type(camera)
        described = yaml.safe_load((_ISR / "kast_blue.yaml").read_text(encoding="utf-8"))
        butler.put(described, camera(instrument="KastBlue"), run="reference")
    ran = stage.run(butler, _ISR / "kast_blue_pipeline.yaml", "demo/kast_blue", plan="kast_blue.h5")
    if ran.exit_code == 0:
        table = butler.get("transfer", instrument="KastBlue", detector=0)
        stage.table({name: row[name] for name in table.colnames} for row in table)
    return ran.exit_code


def microobservatory(stage: Stage, folder: Path) -> int:
    """Make a coadd of the field of HAT-P-32, and find its planet's transit."""
    butler = stage.repository("hatp32")
    with stage.step(f"ingested {folder}"):
        stage.say(f"  {hatp32.fill(butler, folder)}")
    ran = stage.run(butler, hatp32.PIPELINE, "demo/hatp32", plan="hatp32.h5")
    if ran.exit_code == 0:
        sky_map = SkyMap.from_yaml(hatp32.SKYMAP)
        made = {}
        for name in ("coadd", "coadd_depth"):
            made[name] = mosaic(sky_map, 0, {int(d["patch"]): butler.get(d) for d in butler.query(name)})
        path = stage.out / "hatp32.fits"
        path.unlink(missing_ok=True)
        FitsImage().write(made["coadd"], str(path))
        draw_coadds(stage.out / "hatp32.png", {"Clear": made["coadd"]}, {"Clear": made["coadd_depth"]})
        transit = butler.get("transit", skymap=sky_map.name, tract=0)
        curve = butler.get("transit_curve", skymap=sky_map.name, tract=0)
        draw_light_curve(stage.out / "transit.png", curve, transit)
        stage.say(
            f"  transit: BJD {transit['mid_time']:.4f} ± {transit['mid_time_error']:.4f}, "
            f"depth {100 * transit['depth']:.2f} ± {100 * transit['depth_error']:.2f} %"
        )
    return ran.exit_code


def _folders(data: Path) -> list[Path]:
    return [data, *sorted(p for p in data.rglob("*") if p.is_dir())] if data.is_dir() else []


def _kind(folder: Path) -> Callable[[Stage, Path], int] | None:
    """Return what to do with the frames of a folder, by the header of the first."""
    first = next((p for p in sorted(folder.iterdir()) if p.is_file() and is_fits_name(p.name)), None)
    if first is None:
        return None
    try:
        header = fits.getheader(first)
    except OSError:
        return None
    if str(header.get("VERSION", "")).strip() == "kastb":
        return kast_blue
    has_solutions = (folder / "wcs").is_dir() and (folder / "tycho2_refcat.csv").is_file()
    if str(header.get("TELESCOP", "")).strip() == "Cecilia" and has_solutions:
        return microobservatory
    return None
