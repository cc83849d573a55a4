from __future__ import annotations

import numpy as np
import pytest
from astropy_healpix.core import healpix_to_lonlat
from hypothesis import given, settings
from hypothesis import strategies as st

from supertask.butler.memory import InMemoryButler
from supertask.butler.repository import Butler
from supertask.sky import SkyMap, SkyMapError
from supertask.sky.sphere import gnomonic, vectors
from supertask.units import Unit, UnitModel

AROUND = {"name": "deep", "pixel_scale": 5.16, "patch_size": (240, 310), "grid": (4, 2)}


@pytest.fixture
def skymap():
    return SkyMap.around(31.0, 46.74, border=10, **AROUND)


def test_the_tangent_point_is_in_the_middle(skymap):
    rows, columns = skymap.tract(0).shape
    assert (rows, columns) == (620, 960)
    x, y = skymap.tract_wcs(0).all_world2pix(31.0, 46.74, 0)
    assert (float(x), float(y)) == pytest.approx(((columns - 1) / 2, (rows - 1) / 2))


def test_patches_are_numbered_along_x_first(skymap):
    assert skymap.tract(0).patch_xy(5) == (1, 1)
    assert skymap.patch_bbox(0, 5, inner=True) == (240, 310, 480, 620)


def test_borders_are_clipped_to_the_tract(skymap):
    assert skymap.patch_bbox(0, 0) == (0, 0, 250, 320)
    assert skymap.patch_bbox(0, 5) == (230, 300, 490, 620)


def test_a_patchs_own_wcs_says_the_same_positions(skymap):
    x0, y0, x1, y1 = skymap.patch_bbox(0, 6)
    patch = skymap.patch_wcs(0, 6)
    assert patch.array_shape == (y1 - y0, x1 - x0)
    ours, theirs = patch.all_pix2world(3, 4, 0), skymap.tract_wcs(0).all_pix2world(x0 + 3, y0 + 4, 0)
    assert np.array(ours) == pytest.approx(np.array(theirs))


def test_a_target_is_covered_to_the_radius_asked_for():
    skymap = SkyMap.around(0.0, 89.9, name="pole", pixel_scale=1.0, patch_size=500, radius=0.3)
    for ra in range(0, 360, 30):
        assert skymap.covers(ra, 89.8)


@pytest.mark.parametrize(("tract", "patch"), [(1, 0), (0, 8), (0, -1)])
def test_what_is_not_there_is_said(skymap, tract, patch):
    with pytest.raises(SkyMapError, match=r"no (tract|patch)"):
        skymap.patch_bbox(tract, patch)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 359.999), st.floats(-90, 90))
def test_rings_cover_the_whole_sky(ra, dec):
    rings = SkyMap.rings(name="all", n_rings=7, pixel_scale=60.0, patch_size=100)
    found = rings.covers(ra, dec)
    assert found
    for tract, patch in found:
        x0, y0, x1, y1 = rings.patch_bbox(tract, patch, inner=True)
        x, y = rings.tract_wcs(tract).all_world2pix(ra, dec, 0)
        assert x0 - 0.51 <= x <= x1 - 0.49
        assert y0 - 0.51 <= y <= y1 - 0.49


def test_a_sky_map_is_its_configuration(skymap):
    assert SkyMap.from_yaml(skymap.to_yaml()) == skymap
    rings = SkyMap.rings(name="all", n_rings=3, pixel_scale=60.0, patch_size=100, margin=2.5)
    assert SkyMap.from_yaml(rings.to_yaml()) == rings


def test_tracts_may_differ_from_what_stands_above_them():
    skymap = SkyMap.from_yaml(
        "name: deep\npixel_scale: 0.2\ngrid: [9, 9]\npatch_size: 4000\nborder: 100\nmargin: 1\n"
        "tracts:\n  - {tract: 7, ra: 150.1, dec: 2.2}\n  - {ra: 34.5, dec: -5, grid: 3}\n"
    )
    assert [(t.tract, t.nx, t.border) for t in skymap.tracts] == [(7, 9, 100), (1, 3, 100)]


def test_every_mistake_of_a_configuration_is_named_with_its_line():
    with pytest.raises(SkyMapError) as caught:
        SkyMap.from_yaml(
            "name: deep\npixel_scal: 0.2\ngrid: [9, x]\npatch_size: 4000\ntracts:\n"
            "  - {tract: 0, ra: ten, dec: 2.2}\n  - 5\n"
        )
    said = str(caught.value)
    for part in (
        "line 2: unknown key 'pixel_scal' (did you mean 'pixel_scale'?)",
        "line 6: 'ra' must be a number",
        "line 6: 'grid' must be one whole number or two",
        "line 7: a tract is a mapping",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "../x"}, "its name"),
        ({"pixel_scale": -1.0}, "must be positive"),
        ({"grid": (0, 2)}, "must be positive"),
        ({"grid": None}, "either grid"),
        ({"pixel_scale": 5000.0}, "more than 80"),
        ({"margin": -1.0}, "margin must be"),
        ({"ra": 400.0}, r"ra must be in \[0, 360\)"),
        ({"dec": float("nan")}, "dec in"),
    ],
)
def test_impossible_sky_maps_are_refused(change, says):
    with pytest.raises(SkyMapError, match=says):
        SkyMap.around(**{"ra": 31.0, "dec": 46.74, **AROUND, **change})


def test_a_repository_knows_patches_and_keeps_the_configuration(skymap, tmp_path):
    with Butler.create(tmp_path / "repo") as butler:
        assert skymap.register(butler) == 8
        assert skymap.register(butler) == 0
        assert [(p["patch"], p["x"], p["y"]) for p in butler.units("patch")][5] == (5, 1, 1)
        assert SkyMap.load(butler.root, "deep") == skymap
        with pytest.raises(SkyMapError, match="did you mean 'deep'"):
            SkyMap.load(butler.root, "dep")
        other = SkyMap.around(32.0, 46.74, **AROUND)
        with pytest.raises(SkyMapError, match="another sky map 'deep'"):
            other.register(butler)


def test_a_unit_model_without_patches_has_no_use_for_sky_maps(skymap):
    butler = InMemoryButler(UnitModel("plain", (Unit("visit"),)))
    with pytest.raises(SkyMapError, match="has no skymap, tract, patch"):
        skymap.register(butler)


def test_the_sky_map_of_the_worked_example_has_patches_of_one_size():
    skymap = SkyMap.around(31.0, 46.74, **AROUND)
    for patch in range(8):
        x0, y0, x1, y1 = skymap.patch_bbox(0, patch)
        assert (x1 - x0, y1 - y0) == (240, 310)


def test_a_healpix_map_covers_the_sky_with_a_tract_for_each_cell():
    skymap = SkyMap.healpix(name="hp", nside=4, pixel_scale=60.0, patch_size=200, overlap=0.01)
    assert [t.tract for t in skymap.tracts] == list(range(192))
    rng = np.random.default_rng(1)
    anywhere = np.stack([rng.uniform(0, 360, 200), rng.uniform(-90, 90, 200)], axis=1).tolist()
    for ra, dec in [[0.0, 90.0], [0.0, -90.0], *anywhere]:
        (home,) = skymap.home_tract([ra], [dec])
        assert int(home) in [t for t, _ in skymap.covers(ra, dec)]
    assert SkyMap.from_yaml(skymap.to_yaml()) == skymap


@pytest.mark.parametrize("nside", [1, 2, 16, 64])
def test_each_tract_of_a_healpix_map_holds_its_whole_cell(nside):
    rng = np.random.default_rng(nside)
    cells = rng.choice(12 * nside**2, 12, replace=False).tolist()
    scale = 3600.0 / nside
    skymap = SkyMap.healpix(name="hp", nside=nside, pixel_scale=scale / 10, patch_size=1, cells=cells)
    dx, dy = (np.clip(rng.uniform(-0.2, 1.2, 5000), 0, 1) for _ in range(2))
    for cell in cells:
        lon, lat = healpix_to_lonlat(np.full(5000, cell), nside, dx, dy, order="nested")
        tract = skymap.tract(cell)
        xi, eta = gnomonic(vectors(lon.to_value("deg"), lat.to_value("deg")), tract.ra, tract.dec)
        rows, columns = tract.shape
        assert 0.99 < np.abs(xi).max() * tract.scale * 2 / columns < 1
        assert 0.99 < np.abs(eta).max() * tract.scale * 2 / rows < 1


def test_some_cells_of_a_healpix_map_can_be_picked():
    skymap = SkyMap.healpix(name="hp", nside=4, pixel_scale=60.0, patch_size=200, order="ring", cells=[5, 2])
    assert [t.tract for t in skymap.tracts] == [5, 2]
    assert skymap.home_tract([skymap.tract(5).ra, 200.0], [skymap.tract(5).dec, -80.0]).tolist() == [5, -1]
    assert SkyMap.from_yaml(skymap.to_yaml()).layout == skymap.layout


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nside": 3}, "power of two"),
        ({"nside": 0}, "'nside' must be 1 to"),
        ({"nside": 2**20}, "13,194,139,533,312 tracts, more than 1,000,000: name the 'cells'"),
        ({"pixel_scale": float("inf")}, "must be positive"),
        ({"pixel_scale": 0.001, "patch_size": 1}, "patches, more than 100,000,000"),
        ({"order": "rung"}, "nested or ring"),
        ({"cells": [192]}, "cells 0 to 191, and no 192"),
        ({"pixel_scale": 0}, "must be positive"),
        ({"pixel_scale": float("nan")}, "must be positive"),
        ({"overlap": -1}, "0 to 30 degrees"),
    ],
)
def test_impossible_healpix_maps_are_refused(change, says):
    with pytest.raises(SkyMapError, match=says):
        SkyMap.healpix(**{"name": "hp", "nside": 4, "pixel_scale": 60.0, "patch_size": 100, **change})


def test_a_position_is_at_home_in_the_tract_with_the_nearest_tangent_point():
    rings = SkyMap.rings(name="all", n_rings=5, pixel_scale=60.0, patch_size=100)
    assert rings.home_tract([0.0, 77.0], [-90.0, 89.0]).tolist() == [0, rings.tracts[-1].tract]
    skymap = SkyMap.around(31.0, 46.74, **AROUND)
    assert skymap.home_tract([31.0, 31.0], [46.74, 48.0]).tolist() == [0, -1]


def test_a_layout_can_be_written_by_hand():
    skymap = SkyMap.from_yaml(
        "name: m31\nmargin: 1.5\n"
        "around: {ra: 10.68, dec: 41.27, radius: 0.5, pixel_scale: 1, patch_size: 600}\n"
    )
    assert (skymap.margin, skymap.tract(0).nx) == (1.5, 7)
    rings = SkyMap.from_yaml("name: all\nrings: {n_rings: 3, pixel_scale: 60, patch_size: 100}\n")
    assert rings == SkyMap.rings(name="all", n_rings=3, pixel_scale=60.0, patch_size=100)
    assert "n_rings: 3" in rings.to_yaml()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: a\nring: {}\n", "did you mean 'rings'"),
        ("name: a\nrings: {}\nhealpix: {}\n", "has rings and healpix"),
        ("name: a\nrings: 5\n", "line 2: 'rings' must be a mapping"),
        ("name: a\nrings: {n_rings: 2.5, pixel_scale: x}\n", "3 problems"),
        ("name: a\nhealpix: {nsid: 4, pixel_scale: 1, patch_size: 9}\n", "did you mean 'nside'"),
        ("- a\n", "must be a mapping"),
    ],
)
def test_mistakes_in_a_layout_are_named(text, says):
    with pytest.raises(SkyMapError, match=says):
        SkyMap.from_yaml(text)


def test_a_layout_that_gives_other_tracts_than_when_it_was_written_is_refused():
    text = SkyMap.rings(name="all", n_rings=3, pixel_scale=60.0, patch_size=100).to_yaml()
    with pytest.raises(SkyMapError, match="other tracts here"):
        SkyMap.from_yaml(text.replace("n_rings: 3", "n_rings: 4"))


def test_another_configuration_of_one_name_is_refused_with_what_differs(skymap, tmp_path):
    with Butler.create(tmp_path / "repo") as butler:
        skymap.register(butler)
        other = SkyMap.around(31.0, 46.5, border=12, margin=3.0, **AROUND)
        with pytest.raises(SkyMapError, match="margin 3, not 0; dec 46.5, not 46.74; border 12"):
            other.register(butler)
        assert SkyMap.load(butler.root, "deep") == skymap


def test_tracts_that_differ_one_by_one_are_said_by_number():
    one = "name: a\npixel_scale: 1\npatch_size: 9\ngrid: 3\ntracts: [{ra: 1, dec: 2}, {ra: 5, dec: 2}]\n"
    two = one.replace("ra: 5", "ra: 6").replace("{ra: 1, dec: 2}", "{tract: 7, ra: 1, dec: 2}")
    said = SkyMap.from_yaml(one).differences(SkyMap.from_yaml(two))
    assert said == ["tract 0, which is not there", "tract 1 with ra 5.0, not 6.0"]


def test_outlines_of_patches_are_those_of_their_wcs(skymap):
    tracts, patches = skymap.patch_numbers()
    outlines = skymap.patch_outlines(tracts, patches)
    assert outlines.radec[8:12] == pytest.approx(skymap.patch_polygon(0, 2), abs=1e-9)
    assert len(skymap.tract_outlines()) == 1


def test_no_patches_have_no_outlines() -> None:
    skymap = SkyMap.around(150.0, 2.0, name="here", pixel_scale=1.0, patch_size=100, grid=(2, 2))
    none = np.empty(0, np.int64)
    assert len(skymap.patch_outlines(none, none)) == 0
