"""The demonstration: what is simulated, and the whole of it in small."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from examples.demo import simulated
from examples.demo.compare import against_truth, summary
from examples.demo.detector import stars_on_pixels
from examples.demo.run import demo
from examples.demo.simulate import simulate
from examples.demo.sky import BANDS, Field, reference_catalogue, true_stars
from examples.demo.stage import Stage
from examples.demo.survey import DETECTORS, SIZE, detector_wcs, exposures
from examples.isr.camera import Camera
from supertask import Butler, Pipeline, RepositoryError
from supertask.unitmodels import load_unit_model

SMALL = {"visits": 3, "biases": 3, "darks": 2, "flats": 2}


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("survey"), **SMALL)


def digest(path):
    return hashlib.blake2b(path.read_bytes()).hexdigest()


def test_stars_keep_all_their_light():
    image = stars_on_pixels((80, 80), [40.3], [39.8], [1000.0], 3.0)
    assert image.sum() == pytest.approx(1000, rel=1e-4)
    y, x = np.mgrid[:80, :80]
    assert (np.sum(x * image) / 1000, np.sum(y * image) / 1000) == pytest.approx((40.3, 39.8), abs=1e-2)


def test_stars_are_apart_and_one_saturates():
    stars = true_stars(Field(), 7)
    assert len(stars) == Field().n_stars
    assert len(set(stars["source"])) == len(stars)
    east = (stars["ra"] - 150.1) * np.cos(np.deg2rad(2.2)) * 3600
    north = (stars["dec"] - 2.2) * 3600
    apart = np.hypot(east[:, None] - east, north[:, None] - north) + 99 * np.eye(len(stars))
    assert apart.min() > 3.9
    assert np.argmin(stars["mag_r"]) == len(stars) - 1
    reference = reference_catalogue(stars, 7)
    assert 0 < len(reference) < len(stars) / 2
    assert reference["mag_r"].max() < 20.6


def test_detectors_of_an_exposure_do_not_overlap():
    exposure = next(e for e in exposures(Field(), 7) if e.obs_type == "science")
    corners = [detector_wcs(exposure, d).calc_footprint() for d in DETECTORS]
    middles = np.array([c.mean(axis=0) for c in corners])
    # East is to the left: the lower left detector has the greatest right ascension of its row.
    assert middles[0, 0] > middles[1, 0]
    assert middles[2, 1] > middles[0, 1]
    x, _ = detector_wcs(exposure, 0).all_world2pix(corners[1], 0).T
    assert x.min() > SIZE


def test_frames_are_those_of_the_survey(survey):
    assert len(survey.files) == (3 + 2 + 2 * 2 + 2 * 3) * 4
    science = next(f for f in survey.files if f.name.startswith("science"))
    with fits.open(science) as hdus:
        assert hdus[0].data.dtype == np.uint16
        assert hdus[0].data.shape == (SIZE, SIZE + 32)
        assert hdus[0].header["IMAGETYP"] == "LIGHT"
        assert hdus[0].header["CTYPE1"] == "RA---TAN"
    assert len(Camera.from_dict(survey.camera).detectors) == 4


def test_equal_seeds_give_equal_bytes(survey, tmp_path):
    again = simulate(tmp_path / "again", **SMALL)
    assert [digest(f) for f in again.files] == [digest(f) for f in survey.files]
    other = simulate(tmp_path / "other", seed=1, visits=1, biases=1, darks=0, flats=0)
    assert digest(other.files[0]) != digest(again.files[0])


def test_pipelines_are_consistent():
    model = load_unit_model("imaging")
    folder = simulated.PIPELINE.parents[1]
    for name in ("isr/pipeline", "isr/kast_blue_pipeline", "hatp32/pipeline", "demo/pipeline"):
        path = folder / f"{name}.yaml"
        pipeline = Pipeline.load(path)
        pipeline.check(model)
        assert len(pipeline) >= 4, path


def test_comparison_tells_what_was_missed_and_what_is_not_there():
    truth = Table(
        {"source": [1, 2, 3], "ra": [10.0, 10.01, 10.02], "dec": [0.0, 0.0, 0.0], "mag_r": [20.0, 20.0, 20.0]}
    )
    true = 10 ** (-0.4 * (20 - 31.4))
    catalogue = Table(
        {
            "ra": [10.0 + 0.01 / 3600, 10.0101, 10.5],
            "dec": [0.02 / 3600, 0.0, 0.0],
            "r_flux": [true * 1.01, true, true],
            "r_flux_err": [true / 100] * 3,
            "r_bad": [0.0] * 3,
        }
    )
    table = against_truth(catalogue, truth, np.array([True, True, False]), ["r"])
    assert table["found"].tolist() == [True, True, False]
    assert (table["east"][0], table["north"][0]) == pytest.approx((10, 20), abs=0.01)
    assert table.meta["unmatched"] == 1
    (row,) = summary(table, ["r"])
    assert (row["true"], row["found"], row["completeness"]) == (2, 2, 1.0)
    assert row["flux_ratio"] == pytest.approx(1.005)


def test_demo_does_not_overwrite_what_it_did_not_make(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RepositoryError, match="no demonstration made it"):
        demo(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    with pytest.raises(RepositoryError, match="no frames that the demonstration knows"):
        demo(tmp_path / "out", data=tmp_path)


@pytest.mark.slow
def test_small_survey_is_recovered_and_twice_the_same(survey, tmp_path):
    """All steps, on three visits in each band; planned for one band alone they give the same bytes."""
    said = []
    sky_map = simulated.survey_sky_map(survey)
    digests = []
    for name, where in (("whole", ""), ("part", "band = 'r'")):
        stage = Stage(tmp_path / name, said.append, processes=2)
        stage.out.mkdir()
        butler = stage.repository()
        simulated.fill(butler, survey, sky_map)
        report = stage.run(butler, simulated.PIPELINE, simulated.RUN, where=where)
        assert report.exit_code == 0, report.failures
        if not where:
            found = simulated.present(stage, butler, survey, sky_map)
        made = [d for kind in ("coadd", "flat", "calexp") for d in butler.query(kind)]
        digests.append({str(d): digest(tmp_path / name / "repo" / butler.locate(d).location) for d in made})
    assert 5 < len(digests[1]) < len(digests[0])
    assert digests[1].items() <= digests[0].items()
    for row in found:
        assert row["completeness"] > 0.97
        assert row["stars"] > 80
        assert abs(row["east"]) < 6
        assert abs(row["north"]) < 6
        assert row["rms"] < 15
        assert row["flux_ratio"] == pytest.approx(1.0, abs=0.01)
        assert row["flux_scatter"] < 0.04
        assert row["pull"] == pytest.approx(1.1, abs=0.25)
    for name in ("coadds.png", "colour.png", "truth.png", "coadd_g.fits", "comparison.ecsv", "plan.h5"):
        assert (tmp_path / "whole" / name).stat().st_size > 1000
    assert any("no true star" in line for line in said)
    assert set(BANDS) == {row["band"] for row in found}


@pytest.mark.slow
def test_kast_blue_runs_from_its_folder(shared_data, tmp_path):
    said = []
    assert (
        demo(tmp_path / "out", data=shared_data / "isr" / "shane_kast_blue", processes=2, say=said.append)
        == 0
    )
    butler = Butler(tmp_path / "out" / "kast_blue", collections=("demo/kast_blue",))
    table = butler.get("transfer", instrument="KastBlue", detector=0)
    assert table["gain"].tolist() == pytest.approx([1.21, 1.25], abs=0.006)
    assert len(butler.query("isr_image")) == 2
    flat = butler.get("flat", instrument="KastBlue", detector=0, physical_filter="600/4310-d55")
    assert flat.header["NCOMBINE"] == 4
