from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from supertask.sky import FootprintError, Footprints, SkyMap
from supertask.sky.overlaps import overlaps
from supertask.sky.sphere import caps, from_plane, gnomonic, near_pairs, radec_of, vectors

RINGS = SkyMap.rings(name="all", n_rings=9, pixel_scale=240.0, patch_size=60, border=2)


def rectangle(ra, dec, half, angle=0.0):
    """Return corners of a square on the sky around a position, turned by an angle, degrees."""
    c = vectors(ra, dec)
    east = np.array([-np.sin(np.deg2rad(ra)), np.cos(np.deg2rad(ra)), 0.0])
    north = np.cross(c, east)
    t, turn = np.tan(np.deg2rad(half)), np.deg2rad(angle)
    corners = []
    for a, b in [(-1, -1), (1, -1), (1, 1), (-1, 1)]:
        x, y = a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn)
        v = c + t * (x * east + y * north)
        corners.append(v / np.linalg.norm(v))
    return np.stack(radec_of(np.array(corners)), axis=1)


def footprints_of(*outlines):
    return Footprints.from_outlines(["visit"], [({"visit": i}, o) for i, o in enumerate(outlines)])


def pairs(found):
    return set(zip(found.footprint.tolist(), found.tract.tolist(), found.patch.tolist(), strict=True))


def by_the_footprints_own_plane(outline, skymap, grow=0.0):
    """Answer the same on the plane that touches the sky at the footprint: patches sure and possible."""
    points = vectors(outline[:, 0], outline[:, 1])
    centre = points.sum(axis=0) / np.linalg.norm(points.sum(axis=0))
    ra, dec = (float(v) for v in radec_of(centre))
    polygon = shapely.Polygon(np.stack(gnomonic(points, ra, dec), axis=1))
    sure, possible = set(), set()
    for tract in skymap.tracts:
        if float(vectors(tract.ra, tract.dec) @ centre) < np.cos(tract.radius + np.deg2rad(8)):
            continue
        for patch in range(tract.n_patches):
            corners = skymap.patch_polygon(tract.tract, patch)
            x, y = gnomonic(vectors(corners[:, 0], corners[:, 1]), ra, dec)
            if np.hypot(x, y).max() > 3:
                continue
            area = polygon.intersection(shapely.Polygon(np.stack([x, y], axis=1))).area
            if area > 1e-9:
                sure.add((0, tract.tract, patch))
            if polygon.distance(shapely.Polygon(np.stack([x, y], axis=1))) < 1e-6:
                possible.add((0, tract.tract, patch))
    return sure, possible


@pytest.mark.parametrize(
    ("ra", "dec"),
    [(0.0, 0.0), (359.9, 30.0), (0.1, -60.0), (123.0, 90.0), (7.0, -89.5), (200.0, 89.0), (180.0, 45.0)],
)
@pytest.mark.parametrize("half", [0.01, 1.0, 4.0])
def test_overlaps_are_those_seen_from_the_footprints_own_plane(ra, dec, half):
    outline = rectangle(ra, dec, half, angle=33.0)
    found = pairs(overlaps(footprints_of(outline), RINGS))
    sure, possible = by_the_footprints_own_plane(outline, RINGS)
    assert sure <= found <= possible


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 359.99),
    st.floats(-90, 90),
    st.floats(0.001, 5.0),
    st.floats(0, 90),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=5, max_size=5),
)
def test_every_position_within_a_footprint_is_in_a_patch_that_overlaps_it(ra, dec, half, angle, at):
    outline = rectangle(ra, dec, half, angle)
    found = pairs(overlaps(footprints_of(outline), RINGS))
    corners = vectors(outline[:, 0], outline[:, 1])
    for u, v in at:
        weights = np.array([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v])
        inside = weights @ corners
        position = radec_of(inside / np.linalg.norm(inside))
        covering = RINGS.covers(float(position[0]), float(position[1]))
        assert covering
        assert {(0, t, p) for t, p in covering} <= found


def test_many_footprints_at_once_are_as_one_by_one():
    rng = np.random.default_rng(3)
    outlines = [rectangle(rng.uniform(0, 360), rng.uniform(-90, 90), rng.uniform(0.1, 3)) for _ in range(50)]
    together = pairs(overlaps(footprints_of(*outlines), RINGS))
    alone = {
        (i, t, p) for i, o in enumerate(outlines) for _, t, p in pairs(overlaps(footprints_of(o), RINGS))
    }
    assert together == alone


def test_pairs_come_sorted_and_once():
    found = overlaps(footprints_of(rectangle(0, 89, 3), rectangle(0, 0, 3)), RINGS)
    listed = list(zip(found.footprint.tolist(), found.tract.tolist(), found.patch.tolist(), strict=True))
    assert listed == sorted(set(listed))


def test_a_margin_takes_in_what_is_near_and_only_that():
    skymap = SkyMap.around(10.0, 80.0, name="m", pixel_scale=1.0, patch_size=100, grid=(3, 3))
    wcs = skymap.tract_wcs(0)
    # A small square whose edge is 5 pixels short of the middle patch, seen along x.
    x, y = np.array([90.0, 94.5, 94.5, 90.0]), np.array([140.0, 140.0, 160.0, 160.0])
    outline = np.stack(wcs.all_pix2world(x, y, 0), axis=1)
    assert pairs(overlaps(footprints_of(outline), skymap)) == {(0, 0, 3)}
    assert pairs(overlaps(footprints_of(outline), skymap, margin=4.9)) == {(0, 0, 3)}
    assert pairs(overlaps(footprints_of(outline), skymap, margin=5.1)) == {(0, 0, 3), (0, 0, 4)}


def test_an_l_shaped_footprint_leaves_out_what_lies_in_its_corner():
    skymap = SkyMap.around(10.0, 0.0, name="l", pixel_scale=1.0, patch_size=100, grid=(3, 3))
    x = np.array([10.0, 290.0, 290.0, 90.0, 90.0, 10.0])
    y = np.array([10.0, 10.0, 90.0, 90.0, 290.0, 290.0])
    outline = np.stack(skymap.tract_wcs(0).all_pix2world(x, y, 0), axis=1)
    assert {p for _, _, p in pairs(overlaps(footprints_of(outline), skymap))} == {0, 1, 2, 3, 6}


def test_an_outline_that_crosses_itself_is_mended():
    outline = rectangle(50, 10, 1)[[0, 2, 1, 3]]
    assert len(overlaps(footprints_of(outline), RINGS))


def test_an_outline_on_the_far_side_of_the_sky_overlaps_nothing():
    skymap = SkyMap.around(10.0, 20.0, name="m", pixel_scale=60.0, patch_size=100, grid=(9, 9))
    assert not len(overlaps(footprints_of(rectangle(190, -20, 5)), skymap))


def test_an_outline_that_goes_half_round_the_sky_overlaps_what_is_within():
    outline = np.stack([np.arange(0.0, 360.0, 10.0), np.full(36, 5.0)], axis=1)
    skymap = SkyMap.around(0.0, 89.0, name="m", pixel_scale=60.0, patch_size=100, grid=(3, 3))
    assert len(overlaps(footprints_of(outline), skymap)) == 9


def test_no_footprints_have_no_overlaps():
    assert not len(overlaps(footprints_of(), RINGS))


@pytest.mark.parametrize(
    "outline",
    [
        [[1, 1], [1, 1], [1, 1]],
        [[1, 1], [2, 2]],
        [[1, 1], [2, 2], [float("nan"), 3]],
        [[1, 1], [2, 2], [3, 95]],
        [],
    ],
)
def test_an_outline_of_no_area_or_off_the_sky_is_refused(outline):
    with pytest.raises(FootprintError, match="footprint of visit=0"):
        footprints_of(np.array(outline))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 360), st.floats(-90, 90), st.floats(0, 40)), min_size=1, max_size=12))
def test_circles_that_touch_are_found_wherever_they_are(circles):
    ra, dec, radius = (np.array(c) for c in zip(*circles, strict=True))
    centres, radii = vectors(ra, dec), np.deg2rad(radius)
    found = set(zip(*(c.tolist() for c in near_pairs(centres, radii, centres, radii)), strict=True))
    angles = np.arccos(np.clip(centres @ centres.T, -1, 1))
    reach = radii[:, None] + radii[None, :]
    assert {*map(tuple, np.argwhere(angles < reach - 1e-7).tolist())} <= found
    assert found <= {*map(tuple, np.argwhere(angles <= reach + 1e-7).tolist())}


def test_a_circle_around_points_holds_them():
    points = vectors([359.0, 1.0, 0.0], [89.0, 89.0, 85.0])
    centres, radii = caps(points, np.array([0, 3]))
    assert (np.arccos(points @ centres[0]) <= radii[0] + 1e-9).all()
    assert np.rad2deg(radii[0]) < 4


@pytest.mark.parametrize(
    ("outline", "says"),
    [
        ([[0, 90], [120, 90], [240, 90]], "three different corners"),
        ([[10, 5], [370, 5], [10, 5], [20, 5]], "three different corners"),
        ([[1, 1], [float("inf"), 2], [3, 3]], "ra inf, dec 2"),
        ([[1, 1], [2, -90.001], [3, 3]], "dec -90.001"),
        ([[0, 0], [90, 0], [180, 0], [270, 0]], "not known what is inside"),
    ],
)
def test_each_outline_that_is_none_is_named_with_its_reason(outline, says):
    good = rectangle(5, 5, 1)
    made, refused = Footprints.sift(
        ["visit"], [({"visit": i}, o) for i, o in enumerate([good, outline, good, outline])]
    )
    assert made.keys["visit"].tolist() == [0, 2]
    assert [(dataId["visit"], says in reason) for dataId, reason in refused] == [(1, True), (3, True)]
    with pytest.raises(FootprintError, match=r"(?s)2 problems.*visit=1.*visit=3"):
        footprints_of(good, outline, good, outline)


@settings(max_examples=25, deadline=None)
@given(
    st.one_of(st.sampled_from([0.0, 359.9999, 180.0]), st.floats(0, 359.99)),
    st.one_of(st.sampled_from([-90.0, 90.0, 89.5, -89.5]), st.floats(-90, 90)),
    st.one_of(st.just(1e-7), st.floats(1e-6, 5.0)),
    st.floats(0, 90),
    st.floats(0, 7200),
)
def test_a_margin_is_kept_wherever_it_is_and_however_small_the_footprint(ra, dec, half, angle, margin):
    outline = rectangle(ra, dec, half, angle)
    found = {(t, p) for _, t, p in pairs(overlaps(footprints_of(outline), RINGS, margin=margin))}
    corners = vectors(outline[:, 0], outline[:, 1])
    t = np.linspace(0, 1, 40)[:, None]
    edge = np.concatenate(
        [a * (1 - t) + b * t for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    )
    edge /= np.linalg.norm(edge, axis=1, keepdims=True)
    # From each position of the edge a step of the margin, in many directions, is taken on the sphere.
    reached = set()
    for point in edge[::8]:
        for turn in np.linspace(0, 2 * np.pi, 8, endpoint=False):
            to_ra, to_dec = (float(v) for v in radec_of(point))
            step = np.tan(np.deg2rad(margin / 3600.0 * 0.9999))
            at = from_plane(np.array(step * np.sin(turn)), np.array(step * np.cos(turn)), to_ra, to_dec)
            reached |= set(RINGS.covers(*(float(v) for v in radec_of(at))))
    assert reached <= found
    # And nothing is found that is further away than the margin on the plane allows.
    widest = max(t.radius for t in RINGS.tracts) + np.deg2rad(margin / 3600.0)
    limit = np.deg2rad(margin / 3600.0) / np.cos(widest) ** 2 + np.deg2rad(2 * half) / 39 + 4e-3
    tracts, patches = (np.array(c) for c in zip(*sorted(found), strict=True))
    boxes = RINGS.patch_outlines(tracts, patches).vectors.reshape(-1, 4, 3)
    inside = edge.mean(axis=0) / np.linalg.norm(edge.mean(axis=0))
    grown = np.concatenate([edge, inside[None]])
    u, v = (w.ravel()[:, None] for w in np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21)))
    for box in boxes:
        at = (1 - u) * (1 - v) * box[0] + u * (1 - v) * box[1] + u * v * box[2] + (1 - u) * v * box[3]
        at /= np.linalg.norm(at, axis=1, keepdims=True)
        nearest = np.arccos(np.clip((at @ grown.T).max(), -1, 1))
        assert nearest <= limit + np.deg2rad(half)


@settings(max_examples=15, deadline=None)
@given(
    st.one_of(st.sampled_from([0.0, 359.9999]), st.floats(0, 359.99)),
    st.one_of(st.sampled_from([-90.0, 90.0, 88.0]), st.floats(-90, 90)),
    st.floats(0.01, 6.0),
    st.lists(st.floats(0.05, 1.0), min_size=5, max_size=12),
    st.lists(st.tuples(st.integers(0, 200), st.floats(0, 0.999)), min_size=20, max_size=20),
)
def test_a_concave_outline_overlaps_the_patches_of_positions_within_it_and_near_it_alone(
    ra, dec, size, arms, at
):
    # A star: from its middle each edge is seen whole, so that positions within are easily made.
    turn = np.arange(len(arms)) * 2 * np.pi / len(arms)
    reach = np.tan(np.deg2rad(size)) * np.array(arms)
    corners = from_plane(reach * np.sin(turn), reach * np.cos(turn), ra, dec)
    found = pairs(overlaps(footprints_of(np.stack(radec_of(corners), axis=1)), RINGS))
    middle = vectors(ra, dec)
    for k, fraction in at:
        side, along = k % len(arms), (k // len(arms)) % 10 / 10
        edge = corners[side] * (1 - along) + corners[(side + 1) % len(arms)] * along
        inside = middle * (1 - fraction) + edge * fraction
        position = radec_of(inside / np.linalg.norm(inside))
        assert {(0, t, p) for t, p in RINGS.covers(float(position[0]), float(position[1]))} <= found
    # What only the convex hull holds is not found: each patch found has a position near some within.
    u = np.linspace(0, 1, 20)
    edges = np.concatenate(
        [np.outer(1 - u, a) + np.outer(u, b) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    )
    dense = np.concatenate([middle * (1 - f) + edges * f for f in np.linspace(0, 1, 20)])
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    tracts, patches = (np.array(c) for c in zip(*sorted((t, p) for _, t, p in found), strict=True))
    boxes = RINGS.patch_outlines(tracts, patches).vectors.reshape(-1, 4, 3)
    w = np.stack([v.ravel() for v in np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21))], axis=1)
    for box in boxes:
        a, b = w[:, :1], w[:, 1:]
        grid = (1 - a) * (1 - b) * box[0] + a * (1 - b) * box[1] + a * b * box[2] + (1 - a) * b * box[3]
        grid /= np.linalg.norm(grid, axis=1, keepdims=True)
        nearest = np.arccos(np.clip((grid @ dense.T).max(), -1, 1))
        assert np.rad2deg(nearest) < 0.2 + size / 10
