from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supertask.butler.memory import InMemoryButler
from supertask.butler.repository import Butler
from supertask.sky import SkyMap, SkyMapError
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
