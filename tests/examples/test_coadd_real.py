"""Coaddition of real frames: the figures that they are known to give."""

from __future__ import annotations

import re

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.stats import mad_std
from astropy.table import Table, unique, vstack

from examples.coadd.calibrate import match
from examples.coadd.measure import box_noise, centroids, find_stars, fit_sky
from examples.coadd.mosaic import mosaic
from examples.coadd.psf_match import match_psf, median_of
from examples.coadd.register import hot_pixels, measure_shift
from examples.hatp32 import repository as hatp32
from executors import MultiprocessFramework
from graphbuilder import GraphBuilder
from supertask import Butler, Pipeline
from supertask.sky.skymap import SkyMap

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hatp32")]


@pytest.fixture(scope="module")
def sky_map():
    return SkyMap.from_yaml(hatp32.SKYMAP)


@pytest.fixture(scope="module")
def field(shared_data, tmp_path_factory):
    """Run the pipeline of HAT-P-32 once, with coadds of all pixels: nothing is masked and nothing clipped."""
    root = tmp_path_factory.mktemp("hatp32")
    butler = Butler.create(root / "repo", "imaging")
    report = hatp32.fill(butler, shared_data / "coadd" / "hatp32_microobs")
    assert (len(report.ingested), report.failed) == (24, ())
    pipeline = Pipeline.load(hatp32.PIPELINE)
    pipeline.applyConfigOverrides(["coadd:sigma=1e9", "attach:saturation=1e9"])
    dag = GraphBuilder(pipeline, butler, "hatp32", collections=("raw/all", "reference")).makeGraph()
    dag.save(root / "plan.h5")
    done = MultiprocessFramework(processes=2).execute(root / "plan.h5", butler)
    assert done.exit_code == 0, done.failures
    butler.collections = ("hatp32", "reference", "raw/all")
    return butler


def whole(butler, sky_map, name):
    return mosaic(sky_map, 0, {d["patch"]: butler.get(d) for d in butler.query(name)})


def test_hatp32_grid_is_the_known_one(sky_map):
    wcs = sky_map.tract_wcs(0)
    assert sky_map.tract(0).shape == (620, 960)
    x, y = wcs.all_world2pix(31.0, 46.74, 1)
    assert (float(x), float(y)) == pytest.approx((480.0, 310.0), abs=0.002)


def test_hatp32_coverage(field, sky_map):
    depth = whole(field, sky_map, "coadd_depth").data
    assert 100 * (depth == 0).mean() == pytest.approx(14.5, abs=0.05)
    assert 100 * ((depth > 0) & (depth < 12)).mean() == pytest.approx(29.8, abs=0.05)
    assert 100 * (depth == 24).mean() == pytest.approx(27.9, abs=0.05)
    deepest = [
        int(field.get("coadd_depth", skymap="hatp32", tract=0, patch=p, band="Clear").data.max())
        for p in range(8)
    ]
    assert deepest == [18, 24, 24, 19, 17, 24, 24, 19]


def test_hatp32_noise_goes_down(field, sky_map):
    coadd, depth = whole(field, sky_map, "coadd"), whole(field, sky_map, "coadd_depth").data
    assert str(coadd.unit) == "adu"
    assert box_noise(coadd.data, usable=depth == 24) == pytest.approx(0.331, abs=0.002)
    first = field.get(field.query("calexp")[0])
    assert box_noise(first.data) == pytest.approx(1.20, abs=0.02)


def test_hatp32_transit_is_where_it_was_published(field):
    found = field.get("transit", skymap="hatp32", tract=0)
    assert found["n_frames"] == 24
    assert found["mid_time"] == pytest.approx(2458107.7110, abs=0.002)
    assert 100 * found["depth"] == pytest.approx(2.5, abs=0.2)
    # Published: 2458107.71406 ± 0.00097, 2.37 ± 0.10 %.
    assert abs(found["mid_time"] - 2458107.71406) < 2 * np.hypot(found["mid_time_error"], 0.00097)
    assert abs(found["depth"] - 0.0237) < 2 * np.hypot(found["depth_error"], 0.0010)
    assert 0.001 < found["mid_time_error"] < 0.0065
    assert 0.001 < found["depth_error"] < 0.004


def test_hatp32_stars_are_as_far_from_tycho_as_each_plate_solution_says(field, shared_data):
    """Eight arcsec are a pixel and a half: with more, chance neighbours are taken for reference stars."""
    stated = {
        int(row["file"][-17:-5]): row
        for row in Table.read(shared_data / "coadd" / "hatp32_microobs" / "wcs_facts.csv")
    }
    reference = unique(vstack([field.get(d) for d in field.query("refcat")]), keys="source")
    known = SkyCoord(reference["ra"], reference["dec"], unit="deg")
    differences = []
    for dataset in field.query("stars"):
        stars, row = field.get(dataset), stated.pop(dataset["visit"])
        pairs = match(SkyCoord(stars["ra"], stars["dec"], unit="deg"), known, 8.0)
        assert len(pairs) >= row["n_matched"] - 1
        rms = np.sqrt(np.mean(pairs.east**2 + pairs.north**2))
        differences.append(rms - row["rms_arcsec"])
    assert not stated
    assert abs(np.median(differences)) < 0.1
    assert np.abs(differences).max() < 0.8


def test_decam_stack_is_reproduced_to_the_last_digit(shared_data):
    folder = shared_data / "coadd" / "decam_sfft_04"
    read = fits.getdata
    images = [read(folder / "DEC-OBS04a.mini.fits")]
    images += [
        match_psf(read(folder / f"DEC-OBS04{x}.mini.fits"), read(folder / f"DEC-OBS04{x}.MatchKernel.fits"))
        for x in "bcde"
    ]
    stack = median_of(images)
    assert np.array_equal(stack, read(folder / "Stack-DEC-OBS04.fits"))
    assert mad_std(stack) == pytest.approx(8.25, abs=0.005)
    single = [mad_std(read(folder / f"DEC-OBS04{x}.mini.fits")) for x in "abcde"]
    assert (round(min(single), 1), round(max(single), 1)) == (25.9, 33.7)


def test_stargate_shifts_agree_with_iraf(shared_data):
    folder = shared_data / "coadd" / "stargate_iraf"
    text = (folder / "input_output_shifts.txt").read_text()
    iraf = np.array(re.findall(r"xshift\s+(\S+)\s+yshift\s+(\S+)", text), dtype=float)
    frames = [
        CCDData(fits.getdata(folder / f"StarGateCluster_030_sec_1x1_{i:04d}.fit").astype(float), unit="adu")
        for i in range(1, 11)
    ]
    hot = hot_pixels(frames)
    assert 100 < hot.sum() < 1000
    lists = []
    for frame in frames:
        frame.mask = hot
        sky = fit_sky(frame)
        frame.data = frame.data - sky.level
        stars = find_stars(frame, fwhm=3.0, threshold=8, noise=sky.noise)
        stars["x"], stars["y"] = centroids(frame, stars["x"], stars["y"], fwhm=3.0)
        lists.append(stars)
    ours = np.array([measure_shift(stars, lists[4]) for stars in lists])
    apart = np.hypot(*(ours - iraf).T)
    # IRAF correlates whole frames, hot pixels with them, which pull its shifts towards 0.
    assert np.median(apart) < 0.25
    assert apart.max() < 0.8
