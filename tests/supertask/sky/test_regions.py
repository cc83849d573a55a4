from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supertask.sky import Footprints, SkyMap
from supertask.sky.regions import (
    Area,
    Box,
    Circle,
    Polygon,
    RegionError,
    meets,
    nearest,
    nearest_tracts,
    patches_in,
    region_of_footprints,
    region_of_patch,
    region_of_tract,
    tracts_in,
)
from supertask.sky.sphere import angles, from_plane, radec_of, vectors

RINGS = SkyMap.rings(name="all", n_rings=9, pixel_scale=240.0, patch_size=60, border=2)
ANYWHERE = {
    "ra": st.one_of(st.sampled_from([0.0, 359.999, 0.001, 180.0]), st.floats(0, 359.99)),
    "dec": st.one_of(st.sampled_from([-90.0, 90.0, 89.9, -89.9, 0.0]), st.floats(-90, 90)),
}


def square(ra, dec, half, angle=0.0):
    """Return corners of a square on the sky around a position, turned by an angle, degrees."""
    t, turn = np.tan(np.deg2rad(half)), np.deg2rad(angle)
    a, b = np.array([-1, 1, 1, -1]) * t, np.array([-1, -1, 1, 1]) * t
    corners = from_plane(a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn), ra, dec)
    return np.stack(radec_of(corners), axis=-1)


def footprints_of(*outlines):
    return Footprints.from_outlines(["visit"], [({"visit": i}, o) for i, o in enumerate(outlines)])


def inside(outline, n=24):
    """Return positions spread over a convex outline, its edge among them, shape (k, 3)."""
    corners = vectors(outline[:, 0], outline[:, 1])
    u, v = (w.ravel() for w in np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n)))
    weights = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], axis=1)
    found = weights @ corners
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@settings(max_examples=150, deadline=None)
@given(
    **ANYWHERE,
    half=st.floats(1e-4, 8),
    angle=st.floats(0, 90),
    away=st.floats(0, 25),
    towards=st.floats(0, 360),
    radius=st.floats(0, 15),
)
def test_a_circle_meets_a_footprint_where_positions_of_it_are_within(
    ra, dec, half, angle, away, towards, radius
):
    outline = square(ra, dec, half, angle)
    t, turn = np.tan(np.deg2rad(away)), np.deg2rad(towards)
    centre = from_plane(np.array(t * np.sin(turn)), np.array(t * np.cos(turn)), ra, dec)
    circle_ra, circle_dec = (float(v) for v in radec_of(centre))
    nearest = np.rad2deg(angles(inside(outline), centre).min())
    found = bool(meets(Circle(circle_ra, circle_dec, radius), footprints_of(outline))[0])
    if nearest <= radius - 1e-9:
        assert found
    # The positions are at most a half diagonal of their grid from any within.
    if nearest > radius + half * 2 / 23:
        assert not found


@settings(max_examples=150, deadline=None)
@given(
    **ANYWHERE,
    half=st.floats(1e-3, 8),
    angle=st.floats(0, 90),
    width=st.floats(0.01, 360),
    height=st.floats(0.01, 60),
    shift=st.floats(-40, 40),
    lift=st.floats(-20, 20),
)
def test_a_box_meets_a_footprint_where_positions_of_it_are_within(
    ra, dec, half, angle, width, height, shift, lift
):
    outline = square(ra, dec, half, angle)
    box = Box.around((ra + shift) % 360, float(np.clip(dec + lift, -90, 90)), width, height)
    at_ra, at_dec = radec_of(inside(outline))
    east = (at_ra - box.ra_min) % 360.0
    within = (east > 1e-6) & (east < box.width - 1e-6) | (box.width >= 360)
    within &= (at_dec > box.dec_min + 1e-5) & (at_dec < box.dec_max - 1e-5)
    found = bool(meets(box, footprints_of(outline))[0])
    if within.any():
        assert found
    beyond = half * 4 / 23 + 1e-5
    if (at_dec < box.dec_min - beyond).all() or (at_dec > box.dec_max + beyond).all():
        assert not found


@settings(max_examples=60, deadline=None)
@given(
    **ANYWHERE,
    half=st.floats(0.001, 5),
    angle=st.floats(0, 90),
    other=st.floats(0.001, 5),
    shift=st.floats(0, 12),
    towards=st.floats(0, 360),
)
def test_a_polygon_meets_a_footprint_as_the_footprint_meets_it(ra, dec, half, angle, other, shift, towards):
    one = square(ra, dec, half, angle)
    t, turn = np.tan(np.deg2rad(shift)), np.deg2rad(towards)
    centre = from_plane(np.array(t * np.sin(turn)), np.array(t * np.cos(turn)), ra, dec)
    two = square(*(float(v) for v in radec_of(centre)), other)
    there = bool(meets(Polygon(one), footprints_of(two))[0])
    assert there == bool(meets(Polygon(two), footprints_of(one))[0])
    nearest = min(angles(inside(two, 12), p).min() for p in inside(one, 12))
    if np.rad2deg(nearest) > 2 * (half + other) * 2 / 11:
        assert not there


@settings(max_examples=80, deadline=None)
@given(**ANYWHERE, radius=st.floats(0.0, 20))
def test_patches_in_a_circle_are_those_that_hold_positions_of_it(ra, dec, radius):
    tract, patch = patches_in(Circle(ra, dec, radius), RINGS, inner=True)
    found = set(zip(tract.tolist(), patch.tolist(), strict=True))
    assert set(RINGS.covers(ra, dec)) <= found
    t = np.tan(np.deg2rad(radius * 0.999))
    for turn in np.arange(0, 2 * np.pi, 0.7):
        at = from_plane(np.array(t * np.sin(turn)), np.array(t * np.cos(turn)), ra, dec)
        assert set(RINGS.covers(*(float(v) for v in radec_of(at)))) <= found
    assert set(tracts_in(Circle(ra, dec, radius), RINGS).tolist()) >= set(tract.tolist())


def test_a_position_has_the_patches_that_cover_it():
    tract, patch = patches_in(Circle(123.4, 56.7, 0.0), RINGS, inner=True)
    assert list(zip(tract.tolist(), patch.tolist(), strict=True)) == RINGS.covers(123.4, 56.7)


def test_all_the_sky_meets_everything():
    rng = np.random.default_rng(5)
    many = footprints_of(
        *(square(rng.uniform(0, 360), rng.uniform(-90, 90), rng.uniform(0.01, 3)) for _ in range(300))
    )
    assert meets(Circle(10.0, 20.0, 180.0), many).all()
    assert meets(Box(0.0, 360.0, -90.0, 90.0), many).all()
    assert not meets(Circle(10.0, 20.0, 0.0), footprints_of(square(190, -20, 5))).any()


def test_a_box_may_lie_across_ra_0():
    at = footprints_of(*(square(ra, 10.0, 0.1) for ra in (358.0, 0.0, 2.0, 180.0)))
    for box in (Box(357.0, 1.0, 5.0, 15.0), Box(-3.0, 1.0, 5.0, 15.0), Box.around(359.0, 10.0, 4.0, 10.0)):
        assert meets(box, at).tolist() == [True, True, False, False]


def test_a_box_follows_its_parallel_and_not_a_great_circle():
    # A great circle between the upper corners would rise by seven degrees in between.
    at = footprints_of(square(45.0, 52.0, 0.5), square(45.0, 49.0, 0.5))
    assert meets(Box(0.0, 90.0, 0.0, 50.0), at).tolist() == [False, True]


def test_a_tract_or_patch_or_visit_can_be_the_region():
    skymap = SkyMap.around(10.0, 20.0, name="m", pixel_scale=10.0, patch_size=100, grid=(4, 4))
    visit = region_of_footprints(footprints_of(square(10.5, 20.0, 0.05), square(9.5, 20.0, 0.05)))
    tract, patch = patches_in(visit, skymap)
    assert (tract.tolist(), patch.tolist()) == ([0] * 4, [4, 7, 8, 11])
    at = footprints_of(square(10.0, 20.0, 0.01), square(10.4, 20.4, 0.01), square(20, 20, 0.1))
    assert meets(region_of_tract(skymap, 0), at).tolist() == [True, True, False]
    assert meets(region_of_patch(skymap, 0, 5), at).tolist() == [True, False, False]


def test_a_wide_tract_is_a_region_in_parts():
    assert len(region_of_tract(SkyMap.rings(name="w", n_rings=2, pixel_scale=600.0, patch_size=60), 1)
               .footprints) > 9  # fmt: skip
    with pytest.raises(RegionError, match="no footprints"):
        region_of_footprints(footprints_of())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Circle(float("nan"), 0, 1), "right ascension nan"),
        (lambda: Circle(0, 91, 1), "from -90 to 90"),
        (lambda: Circle(0, 0, -1), "radius must be 0 to 180"),
        (lambda: Circle(0, 0, float("inf")), "radius must be 0 to 180"),
        (lambda: Polygon([[0, 0], [1, 1], [0, 0]]), "three different corners"),
        (lambda: Polygon([[0, 0], [90, 0], [180, 0], [270, 0]]), "more than 60 degrees"),
        (lambda: Polygon([[0, 0], [1, 95], [float("inf"), 3]]), "2 problems"),
        (lambda: Box(0, 1, 5, 4), "wrong order"),
        (lambda: Box.around(0, 0, -1, 4), "width must not be negative"),
    ],
)
def test_what_is_no_region_is_refused(make, says):
    with pytest.raises(RegionError, match=says):
        make()


def test_no_footprints_meet_nothing():
    assert meets(Area(footprints_of(square(0, 0, 1))), footprints_of()).tolist() == []


def around(outline, step=0.002):
    """Return positions all along an outline, as vectors."""
    corners = vectors(outline[:, 0], outline[:, 1])
    along = np.arange(0, 1, step)[:, None]
    edges = [a * (1 - along) + b * along for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    points = np.concatenate(edges)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(ANYWHERE),
    st.lists(st.tuples(st.floats(-8, 8), st.floats(-8, 8), st.floats(0.1, 1), st.floats(0, 90)), min_size=1),
)
def test_what_is_nearest_is_so_by_walking_along_all_edges(at, offsets):
    x, y = np.tan(np.deg2rad(np.array([o[:2] for o in offsets]))).T
    ra, dec = radec_of(from_plane(x, y, at["ra"], at["dec"]))
    outlines = [square(r, d, o[2], o[3]) for r, d, o in zip(ra, dec, offsets, strict=True)]
    footprints = footprints_of(*outlines)
    regions = [
        (Circle(at["ra"], at["dec"], 0.5), vectors(at["ra"], at["dec"])[None], 0.5),
        (Polygon(square(at["ra"], at["dec"], 0.5)), around(square(at["ra"], at["dec"], 0.5)), 0.0),
    ]
    for region, edge, less in regions:
        rows, apart = nearest(region, footprints, len(outlines))
        walked = np.array(
            [
                np.rad2deg(
                    min(angles(around(outlines[i]), p).min() for p in edge[:: max(len(edge) // 250, 1)])
                )
                for i in rows
            ]
        )
        overlap = meets(region, footprints)[rows]
        assert sorted(rows.tolist()) == list(range(len(outlines)))
        assert (np.diff(apart) >= 0).all()
        assert (apart[overlap] == 0).all()
        # Walking meets the nearest positions but nearly.
        assert np.allclose(apart[~overlap], (walked - less)[~overlap], atol=0.02)


def test_the_nearest_tracts_are_those_whose_circles_are():
    tract = RINGS.tracts[5]
    ra, dec = (float(v) for v in radec_of(RINGS.centres()[5]))
    assert nearest_tracts(Circle(ra, dec, 0.01), RINGS, 1) == [tract.tract]
    assert len(nearest_tracts(Box.around(ra, dec, 1, 1), RINGS, 7)) == 7
    assert nearest(Circle(ra, dec, 1), footprints_of(), 3)[0].tolist() == []
