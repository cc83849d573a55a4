"""Coaddition on images whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.coadd.attach import attach_solution, mid_time, solution_from_text
from examples.coadd.calibrate import astrometric_offset, match, moved, photometric_zero_point
from examples.coadd.catalogue import measure_patch, merge_patches
from examples.coadd.forced import forced_fluxes
from examples.coadd.measure import aperture_fluxes, box_noise, centroids, find_stars, fit_sky, star_width
from examples.coadd.mosaic import mosaic
from examples.coadd.patches import patch_grid
from examples.coadd.register import hot_pixels, measure_shift
from examples.coadd.stack import stack
from examples.coadd.tasks import CalibrateConfig, CalibrateTask, VisitSummaryTask
from examples.coadd.warp import warp_images
from supertask import NoWork
from supertask.sky.skymap import SkyMap

SKY_MAP = SkyMap.around(150.0, 2.0, name="small", pixel_scale=0.5, patch_size=120, grid=(2, 2), border=10)


def grid(patch=0):
    return patch_grid(SKY_MAP, {"tract": 0, "patch": patch})


def some_stars(n=25, seed=3, shape=(200, 220), least=20):
    """Return positions at least so far apart, and fluxes."""
    rng = np.random.default_rng(seed)
    kept = np.empty((0, 2))
    while len(kept) < n:
        one = rng.uniform((15, 15), (shape[1] - 15, shape[0] - 15))
        if not len(kept) or np.hypot(*(kept - one).T).min() > least:
            kept = np.vstack([kept, one])
    return kept[:, 0], kept[:, 1], rng.uniform(2000, 20000, n)


# -- measuring ------------------------------------------------------------------------------------


def test_sky_is_found_in_spite_of_stars(make_image):
    x, y, flux = some_stars()
    image = make_image(x, y, flux, sky=300.0, noise=5.0)
    slope = np.linspace(0, 20, 220)[None, :]
    image.data = image.data + slope
    found = fit_sky(image, box=40)
    assert np.median(found.level - slope) == pytest.approx(300, abs=0.3)
    assert np.median(found.noise) == pytest.approx(5, rel=0.05)


def test_stars_are_found_where_they_are(make_image):
    x, y, flux = some_stars()
    image = make_image(x, y, flux)
    found = find_stars(image, fwhm=3.0, threshold=8)
    new_x, new_y = centroids(image, found["x"], found["y"], fwhm=3.0)
    apart = np.hypot(new_x[:, None] - x, new_y[:, None] - y)
    assert (apart.min(axis=0) < 0.05).all()
    assert len(found) == len(x)
    assert star_width(image, new_x, new_y, guess=2.5) == pytest.approx(3.1, abs=0.15)


def test_an_empty_image_has_no_stars(make_image):
    image = make_image([], [], [])
    found = find_stars(image, fwhm=3.0, threshold=8)
    assert len(found) == 0
    assert len(aperture_fluxes(image, found["x"], found["y"], radius=4)) == 0
    assert np.isnan(star_width(image, found["x"], found["y"], guess=3))


def test_apertures_hold_the_flux_and_tell_its_error(make_image):
    x, y, flux = some_stars()
    image = make_image(x, y, flux, sky=50.0)
    table = aperture_fluxes(image, x, y, radius=7.0, annulus=(10.0, 16.0))
    assert table["flux"] / flux == pytest.approx(np.ones(len(x)), abs=0.06)
    pull = (table["flux"] - 0.997 * flux) / table["flux_err"]
    assert np.std(pull) == pytest.approx(1, abs=0.35)
    assert (table["bad"] == 0).all()


def test_masked_parts_of_an_aperture_are_told(make_image):
    image = make_image([50.0], [60.0], [5000.0])
    image.mask[:, 50:] = True
    inside, outside = aperture_fluxes(image, [50.0, 0.0], [60.0, 100.0], radius=5.0)["bad"]
    assert 0.4 < inside < 0.6
    assert 0.35 < outside < 0.5


def test_noise_is_that_of_the_emptiest_box(make_image):
    x, y, flux = some_stars(n=10, least=30)
    assert box_noise(make_image(x, y, flux, noise=1.5).data, box=40) == pytest.approx(1.5, rel=0.06)
    with pytest.raises(ValueError, match="no box of 40 pixels"):
        box_noise(np.full((100, 100), np.nan))


# -- calibrating ----------------------------------------------------------------------------------


def coordinates(table):
    return SkyCoord(np.asarray(table["ra"]), np.asarray(table["dec"]), unit="deg")


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_offset_of_a_wcs_is_found_and_undone(east, north, seed):
    rng = np.random.default_rng(seed)
    true = SkyCoord(150 + rng.uniform(-0.02, 0.02, 30), 60 + rng.uniform(-0.01, 0.01, 30), unit="deg")
    seen = true.spherical_offsets_by(-east * u.arcsec, -north * u.arcsec)
    found = astrometric_offset(match(seen, true, 2.0))
    assert found == pytest.approx((east, north), abs=0.02)


def test_moved_wcs_moves_the_sky(make_wcs):
    wcs = make_wcs((100, 100), dec=60.0)
    here, there = wcs.pixel_to_world(20, 30), moved(wcs, 1.5, -0.5).pixel_to_world(20, 30)
    east, north = here.spherical_offsets_to(there)
    assert (east.arcsec, north.arcsec) == pytest.approx((1.5, -0.5), abs=0.002)


def test_matches_are_mutual_and_near():
    one = SkyCoord([10.0, 10.001, 11.0], [0.0, 0.0, 0.0], unit="deg")
    two = SkyCoord([10.0002, 11.01], [0.0, 0.0], unit="deg")
    pairs = match(one, two, 2.0)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0], [0])
    assert len(match(one[:0], two, 1.0)) == 0


def test_zero_point_survives_a_wrong_star():
    flux = 10 ** np.linspace(2, 4, 12)
    stars = Table({"flux": flux, "flux_err": np.sqrt(flux), "bad": np.zeros(12)})
    reference = Table({"mag": 27.0 - 2.5 * np.log10(flux)})
    reference["mag"][4] += 1.0
    where = SkyCoord(np.arange(12.0), np.zeros(12), unit="deg")
    zero = photometric_zero_point(stars, reference, match(where, where, 1.0))
    assert zero.value == pytest.approx(27.0, abs=1e-6)
    assert zero.n == 11
    assert photometric_zero_point(stars[:2], reference, match(where[:2], where, 1.0)) is None


def test_calibration_brings_an_image_to_the_reference(make_image):
    x, y, flux = some_stars()
    image = make_image(x, y, flux, sky=200.0, noise=3.0)
    image.header["DATE-OBS"], image.header["EXPTIME"] = "2026-01-06T01:00:00", 60.0
    true = moved(image.wcs, 0.4, -0.3)
    ra, dec = true.all_pix2world(x, y, 0)
    reference = Table({"ra": ra, "dec": dec, "mag": 24.0 - 2.5 * np.log10(flux)})
    task = CalibrateTask(config=CalibrateConfig(sky_box=40, radius=7.0))
    result = task.run([image], [reference], {"visit": 5, "detector": 1})
    noted = result.calibration
    assert (noted["east"], noted["north"]) == pytest.approx((0.4, -0.3), abs=0.02)
    assert noted["zero_point"] == pytest.approx(24.0, abs=0.01)
    assert result.calexp.unit == u.nJy
    assert result.calexp.header["MJD-MID"] == pytest.approx(61046.0420139, abs=1e-6)
    mags = 31.4 - 2.5 * np.log10(result.stars["flux"])
    pairs = match(coordinates(result.stars), coordinates(reference), 1.0)
    assert mags[pairs.first] == pytest.approx(np.asarray(reference["mag"])[pairs.second], abs=0.05)
    summary = VisitSummaryTask().run([noted, {"visit": 5, "detector": 2, "fwhm": 3.0}]).visit_summary
    assert summary["detector"].tolist() == [1, 2]


def test_an_image_without_reference_stars_has_no_zero_point(make_image):
    x, y, flux = some_stars()
    image = make_image(x, y, flux)
    far = Table({"ra": [10.0], "dec": [10.0], "mag": [12.0]})
    with pytest.raises(NoWork, match="reference stars"):
        CalibrateTask().run([image], [far], {"visit": 5, "detector": 1})
    kept = CalibrateTask().run([image], [], {"visit": 5, "detector": 1})
    assert kept.calexp.unit == u.adu


# -- warping and stacking -------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["nearest-neighbor", "bilinear", "bicubic"])
@pytest.mark.parametrize(("scale", "turn"), [(0.5, 0.0), (0.5, 30.0), (0.4, 10.0), (0.62, 200.0)])
def test_warps_keep_fluxes_and_positions(make_image, make_wcs, order, scale, turn):
    patch = grid()
    wcs = make_wcs((300, 300), scale=scale, turn=turn)
    where = SkyCoord(*patch.wcs.all_pix2world([40.3, 90.0], [50.0, 100.6], 0), unit="deg")
    x, y = wcs.world_to_pixel(where)
    image = make_image(x, y, [30000.0, 10000.0], shape=(300, 300), wcs=wcs, noise=0.0, fwhm=6 * 0.5 / scale)
    image.uncertainty = VarianceUncertainty(np.ones(image.shape))
    warp = warp_images([image], patch, order=order)
    found = forced_fluxes(warp, Table({"ra": where.ra, "dec": where.dec}), radius=14.0)
    tolerance = 0.02 if order == "nearest-neighbor" else 0.006
    assert found["flux"] == pytest.approx([30000, 10000], rel=tolerance)
    cx, cy = centroids(warp, found["x"], found["y"], fwhm=6.0)
    limit = 0.15 if order == "nearest-neighbor" else 0.03
    assert np.hypot(cx - found["x"], cy - found["y"]).max() < limit


def test_variance_of_a_warp_is_right_for_apertures(make_image, make_wcs):
    wide = SkyMap.around(150.0, 2.0, name="wide", pixel_scale=0.5, patch_size=400, grid=(1, 1))
    wcs = make_wcs((600, 600), scale=0.43, turn=20.0)
    image = make_image([], [], [], shape=(600, 600), wcs=wcs, noise=3.0)
    warp = warp_images([image], patch_grid(wide, {"tract": 0, "patch": 0}))
    y, x = (v.ravel() for v in np.mgrid[30:370:17, 30:370:17])
    table = aperture_fluxes(warp, x, y, radius=8.0)
    assert np.std(table["flux"] / table["flux_err"]) == pytest.approx(1.0, abs=0.12)
    # Pixel by pixel it is smoother than that.
    assert np.std(warp.data[~warp.mask]) < 0.95 * np.sqrt(np.median(warp.uncertainty.array[~warp.mask]))


@pytest.mark.parametrize("order", ["bilinear", "bicubic"])
def test_a_masked_pixel_spoils_its_neighbours_and_nothing_else(make_image, make_wcs, order):
    patch = grid()
    wcs = make_wcs((300, 300), scale=0.5, turn=30.0)
    where = SkyCoord(*patch.wcs.all_pix2world([40.3, 90.0], [50.0, 100.6], 0), unit="deg")
    x, y = wcs.world_to_pixel(where)
    image = make_image(x, y, [30000.0, 10000.0], shape=(300, 300), wcs=wcs, noise=0.0, fwhm=6.0)
    image.uncertainty = VarianceUncertainty(np.ones(image.shape))
    whole = warp_images([image], patch, order=order)
    bad = wcs.world_to_pixel(SkyCoord(*patch.wcs.all_pix2world(65.0, 75.0, 0), unit="deg"))
    image.mask[round(float(bad[1])), round(float(bad[0]))] = True
    image.data[image.mask] = 1e6
    warp = warp_images([image], patch, order=order)
    spoilt = warp.mask & ~whole.mask
    assert 1 <= spoilt.sum() <= 25
    assert np.abs(warp.data - whole.data)[~spoilt].max() < 0.5
    assert warp.uncertainty.array[~warp.mask] == pytest.approx(1.0, rel=1e-3)
    found = forced_fluxes(warp, Table({"ra": where.ra, "dec": where.dec}), radius=14.0)
    assert found["flux"] == pytest.approx([30000, 10000], rel=0.006)


def test_masked_pixels_and_what_is_beside_the_image_have_no_data(make_image, make_wcs):
    wcs = make_wcs((100, 100))
    image = make_image([], [], [], shape=(100, 100), wcs=wcs)
    image.mask[50, 50] = True
    whole = warp_images([image], patch_grid(SKY_MAP, {"tract": 0, "patch": 3}))
    assert 0.05 < (~whole.mask).mean() < 0.3
    assert (whole.data[whole.mask] == 0).all()
    far = make_wcs((100, 100), ra=151.0)
    assert warp_images([make_image([], [], [], shape=(100, 100), wcs=far)], grid()) is None
    behind = make_wcs((100, 100), ra=330.0, dec=-2.0)
    assert warp_images([make_image([], [], [], shape=(100, 100), wcs=behind)], grid()) is None


def warp_of(value, noise, rng, *, shape=(40, 50), mask=None):
    return CCDData(
        (value + rng.normal(0, noise, shape)).astype(np.float32),
        unit="adu",
        uncertainty=VarianceUncertainty(np.full(shape, noise**2, np.float32)),
        mask=np.zeros(shape, bool) if mask is None else mask,
        wcs=grid().wcs,
    )


def test_stack_is_as_noisy_as_its_variance_says():
    rng = np.random.default_rng(2)
    warps = [warp_of(5.0, noise, rng) for noise in (1.0, 2.0, 1.0, 4.0, 1.5)]
    made = stack(warps)
    expected = 1 / np.sqrt(sum(n**-2 for n in (1.0, 2.0, 1.0, 4.0, 1.5)))
    assert np.sqrt(np.median(made.image.uncertainty.array)) == pytest.approx(expected, rel=1e-3)
    assert np.std(made.image.data) == pytest.approx(expected, rel=0.06)
    assert np.mean(made.image.data) == pytest.approx(5.0, abs=0.05)


def test_stack_leaves_out_strays_but_not_stars_in_other_seeing(make_image):
    wcs = grid().wcs
    warps = [
        make_image([60.2], [70.4], [50000.0], shape=grid().shape, wcs=wcs, fwhm=f, noise=3.0, seed=i)
        for i, f in enumerate((2.4, 2.5, 3.0, 3.2, 3.4, 2.8))
    ]
    warps[3].data[20, 30:36] += 500.0
    made = stack(warps)
    assert (made.depth[20, 30:36] == 5).all()
    assert (made.coverage == 6).all()
    assert np.abs(made.image.data[20, 30:36]).max() < 8
    assert (made.depth[60:81, 50:71] == 6).all()
    assert aperture_fluxes(made.image, [60.2], [70.4], radius=10)["flux"][0] == pytest.approx(50000, rel=0.01)
    assert (made.depth == 6).mean() > 0.995


def test_depth_counts_what_went_in():
    rng = np.random.default_rng(2)
    half = np.zeros((40, 50), bool)
    half[:, :25] = True
    every = np.ones((40, 50), bool)
    made = stack([warp_of(0, 1, rng), warp_of(0, 1, rng, mask=half), warp_of(0, 1, rng, mask=every)])
    assert made.depth[0].tolist() == [1] * 25 + [2] * 25
    nothing = stack([warp_of(0, 1, rng, mask=every)])
    assert nothing.image.mask.all()
    assert (nothing.image.data == 0).all()
    with pytest.raises(ValueError, match="no warps"):
        stack([])


# -- catalogues -----------------------------------------------------------------------------------


def test_each_star_of_a_tract_is_in_one_patch_and_whole():
    """Stars on seams and corners of patches, and elsewhere."""
    from examples.demo.detector import stars_on_pixels

    x = np.array([119.5, 120.2, 60.0, 118.0, 180.4, 30.0])
    y = np.array([119.5, 60.0, 119.9, 170.0, 180.0, 30.3])
    flux = np.array([9000.0, 8000.0, 7000.0, 6000.0, 5000.0, 4000.0])
    whole = stars_on_pixels((240, 240), x, y, flux, 3.0) + np.random.default_rng(0).normal(0, 1.0, (240, 240))
    tables, images = [], {}
    for number in range(4):
        patch = grid(number)
        x0, y0, x1, y1 = patch.box
        images[number] = CCDData(
            whole[y0:y1, x0:x1],
            unit="nJy",
            uncertainty=VarianceUncertainty(np.ones(patch.shape)),
            mask=np.zeros(patch.shape, bool),
            wcs=patch.wcs,
        )
        coadds = {"g": images[number], "r": images[number]}
        tables.append(measure_patch(coadds, patch, fwhm=3.0, threshold=7, radius=8, number=number))
    merged = merge_patches(tables)
    assert len(merged) == 6
    assert merged["source"].tolist() == [1, 2, 3, 4, 5, 6]
    pairs = match(
        SkyCoord(*SKY_MAP.tract_wcs(0).all_pix2world(x, y, 0), unit="deg"), coordinates(merged), 0.2
    )
    assert len(pairs) == 6
    assert np.asarray(merged["r_flux"])[pairs.second] == pytest.approx(flux[pairs.first], rel=0.02)
    assert str(merged["g_flux"].unit) == "nJy"
    put = mosaic(SKY_MAP, 0, images)
    assert np.allclose(put.data, whole, atol=1e-3)
    assert not put.mask.any()
    assert mosaic(SKY_MAP, 0, {1: images[1]}).mask.mean() == 0.75


def test_a_band_without_data_does_not_hide_the_other():
    patch = grid()
    good = CCDData(
        np.random.default_rng(0).normal(0, 1.0, patch.shape),
        unit="nJy",
        uncertainty=VarianceUncertainty(np.ones(patch.shape)),
        mask=np.zeros(patch.shape, bool),
        wcs=patch.wcs,
    )
    good.data[60, 60] += 0
    from examples.demo.detector import stars_on_pixels

    good.data += stars_on_pixels(patch.shape, [60.0], [60.0], [5000.0], 3.0)
    empty = CCDData(
        np.zeros(patch.shape),
        unit="nJy",
        uncertainty=VarianceUncertainty(np.zeros(patch.shape)),
        mask=np.ones(patch.shape, bool),
        wcs=patch.wcs,
    )
    table = measure_patch({"g": empty, "r": good}, patch, fwhm=3.0, threshold=7, radius=6)
    assert len(table) == 1
    assert table["g_bad"][0] == 1.0
    assert table["r_bad"][0] == 0.0


def test_forced_photometry_measures_only_what_is_on_the_image(make_image):
    image = make_image([50.0], [60.0], [5000.0])
    ra, dec = image.wcs.all_pix2world([50.0, -30.0], [60.0, 60.0], 0)
    targets = Table({"source": [7, 8], "ra": [*ra], "dec": [*dec]})
    table = forced_fluxes(image, targets, radius=8)
    assert table["source"].tolist() == [7]
    assert table["flux"][0] == pytest.approx(5000, rel=0.03)
    assert len(forced_fluxes(image, targets[:0], radius=8)) == 0


# -- attaching ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["2017-12-20T01:33:43.317-0000", "2017-12-20T01:33:43.317Z", "2017-12-20T01:33:43.317"]
)
def test_times_with_an_offset_of_zero_are_read(text):
    time = mid_time({"UT-OBS": text, "EXPTIME": 60.0}, start="UT-OBS")
    assert time.isot == "2017-12-20T01:34:13.317"
    assert time.scale == "utc"


def test_times_that_are_not_utc_are_refused():
    with pytest.raises(ValueError, match="0700"):
        mid_time({"DATE-OBS": "2017-12-19T18:33:43.317-0700", "EXPTIME": 60.0})
    with pytest.raises(ValueError, match="card EXPTIME"):
        mid_time({"DATE-OBS": "2017-12-19T18:33:43"})


def test_plate_solution_and_frame_become_an_image(make_wcs):
    header = make_wcs((50, 60)).to_header()
    header["NAXIS"] = 0
    wcs = solution_from_text(header.tostring(sep="\n", endcard=False, padding=False))
    frame = CCDData(np.random.default_rng(1).normal(300, 4.0, (50, 60)), unit="adu")
    frame.data[5, 6] = 4095
    image = attach_solution(frame, wcs, saturation=4095, gain=2.0)
    assert np.argwhere(image.mask).tolist() == [[5, 6]]
    assert np.sqrt(np.median(image.uncertainty.array)) == pytest.approx(4.0, rel=0.1)
    assert (
        image.wcs.pixel_to_world(10, 10).separation(make_wcs((50, 60)).pixel_to_world(10, 10)).arcsec < 1e-3
    )


# -- without WCS ----------------------------------------------------------------------------------


def test_shift_is_measured_in_spite_of_hot_pixels(make_image):
    x, y, flux = some_stars(n=12)
    frames = [
        make_image(x + dx, y + dy, flux, seed=i)
        for i, (dx, dy) in enumerate([(0, 0), (3.3, -2.1), (6.0, 4.4)])
    ]
    hot = np.random.default_rng(9).integers(20, 180, (40, 2))
    for frame in frames:
        frame.data[hot[:, 0], hot[:, 1]] += 3000
    mask = hot_pixels(frames)
    assert mask[hot[:, 0], hot[:, 1]].mean() > 0.9
    lists = []
    for frame in frames:
        frame.mask = mask
        found = find_stars(frame, fwhm=3.0, threshold=10)
        found["x"], found["y"] = centroids(frame, found["x"], found["y"], fwhm=3.0)
        lists.append(found)
    assert measure_shift(lists[1], lists[0]) == pytest.approx((-3.3, 2.1), abs=0.05)
    assert measure_shift(lists[0], lists[2]) == pytest.approx((6.0, 4.4), abs=0.05)
    with pytest.raises(ValueError, match="no"):
        measure_shift(lists[0][:1], lists[2][:1])
