from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from supertask.butler.repository import Butler
from supertask.ingest import HeaderTranslator

TRANSLATOR = r"""
name: cam
values:
  instrument: Cam
  detector: {card: CCD, default: 0}
  physical_filter: {card: FILTER, when: {exposure.obs_type: [science, flat]}}
  band: {from: physical_filter, match: '^(.)'}
  exposure: {card: EXPID}
  exposure.obs_type: {card: OBJECT, map: {'*bias*': bias, '*flat*': flat, focus: focus, '*': science}}
  exposure.obs_time: {card: DATE-OBS, plus: [exposure.exposure_time, 0.5]}
  exposure.exposure_time: {card: EXPTIME}
  exposure.object: {card: OBJECT}
  visit: {from: exposure, when: {exposure.obs_type: science}}
datasets:
  - {type: null, when: {exposure.obs_type: focus}}
  - {type: raw, units: [exposure, detector], storage: fits_image}
"""

CARDS = {
    "EXPID": 1,
    "CCD": 0,
    "FILTER": "r1",
    "OBJECT": "M31",
    "DATE-OBS": "2026-01-05T03:00:00",
    "EXPTIME": 30.0,
}


@pytest.fixture
def write_frame(tmp_path):
    """Write a small FITS file and return its path."""

    def write(name="a.fits", *, data=None, folder="in", checksum=False, **cards):
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = int(cards.get("EXPID") or 0) * 100 + int(cards.get("CCD", 0))
        data = (
            np.random.default_rng(seed).integers(0, 1000, (20, 30)).astype(np.int16) if data is None else data
        )
        hdu = fits.PrimaryHDU(data)
        hdu.header.update({k: v for k, v in {**CARDS, **cards}.items() if v is not None})
        hdu.writeto(path, checksum=checksum)
        return path

    return write


@pytest.fixture
def translator():
    return HeaderTranslator.from_yaml(TRANSLATOR)


@pytest.fixture
def butler(tmp_path):
    with Butler.create(tmp_path / "repo") as butler:
        yield butler
