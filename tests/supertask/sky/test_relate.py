from __future__ import annotations

import os

import numpy as np
import pytest

from supertask.butler.repository import Butler
from supertask.relations.compared import Corrected, data_ids, n_rows
from supertask.rows import RelationRows
from supertask.sky import (
    Footprints,
    FootprintStore,
    SkyMap,
    SkyMapError,
    compare,
    keep_footprints,
    relate_all,
)
from supertask.sky.footprint import FootprintError
from supertask.sky.ingested import check_relation, recompute
from supertask.sky.relate import footprint_units, relate

UNITS = ("instrument", "visit", "detector")


@pytest.fixture
def skymap():
    return SkyMap.around(10.0, 20.0, name="m", pixel_scale=10.0, patch_size=100, grid=(4, 4))


@pytest.fixture
def butler(tmp_path):
    with Butler.create(tmp_path / "repo") as butler:
        butler.insert_units("instrument", [{"instrument": "C"}])
        butler.insert_units("detector", [{"instrument": "C", "detector": d} for d in range(2)])
        butler.insert_units("visit", [{"instrument": "C", "visit": v} for v in range(10)])
        yield butler


def square(ra, dec, half=0.1):
    return [
        [ra - half, dec - half],
        [ra + half, dec - half],
        [ra + half, dec + half],
        [ra - half, dec + half],
    ]


def outline(visit, detector=0, ra=10.0, dec=20.0):
    return {"instrument": "C", "visit": visit, "detector": detector}, square(ra, dec)


def related(butler):
    with butler.reader() as reader:
        rows = reader.relation("overlap").units
        visits = reader.units("visit")
        number = dict(zip(visits.ids.tolist(), visits.keys.tolist(), strict=True))
    return sorted({number[v] for v in rows["visit"].tolist()})


def test_footprints_are_related_when_they_come(butler, skymap):
    skymap.register(butler)
    assert keep_footprints(butler, [outline(1), outline(2, ra=300.0)]).new == 4
    assert related(butler) == [1]
    assert keep_footprints(butler, [outline(1), outline(3, 1)]).new == 4
    assert related(butler) == [1, 3]


def test_a_sky_map_that_comes_later_is_related_to_all(butler, skymap):
    keep_footprints(butler, [outline(1), outline(2, ra=300.0)])
    skymap.register(butler)
    done = relate_all(butler, skymap)
    assert (done.pairs, done.new, done.without_patch) == (4, 4, 1)
    assert relate_all(butler, skymap).new == 0


def test_a_relation_can_be_computed_anew_and_compared(butler, skymap):
    skymap.register(butler)
    keep_footprints(butler, [outline(1)])
    kept = FootprintStore(butler.root).read(UNITS)
    same = compare(butler, skymap, kept)
    assert (same.stored, same.computed, same.same) == (4, 4, True)
    moved = Footprints.from_outlines(UNITS, [outline(1, ra=10.3)])
    other = compare(butler, skymap, moved)
    assert n_rows(other.missing) > 0
    assert n_rows(other.extra) > 0
    with butler.reader() as reader:
        (first, *_) = data_ids(reader, butler.model, other.missing)
    assert first == {**outline(1)[0], "skymap": "m", "tract": 0, "patch": first["patch"]}


def test_a_relation_that_lost_or_gained_rows_is_put_right(butler, skymap):
    skymap.register(butler)
    keep_footprints(butler, [outline(1), outline(2, ra=300.0)])
    with butler.reader() as reader:
        rows = reader.relation("overlap")
    lost = RelationRows("overlap", {u: ids[:1] for u, ids in rows.units.items()})
    butler.remove_relation_rows(lost)
    butler.insert_relation("overlap", [{**outline(2)[0], "skymap": "m", "tract": 0, "patch": 9}])
    found = check_relation(butler, skymap)
    assert (n_rows(found.missing), n_rows(found.extra)) == (1, 1)
    assert recompute(butler, skymap) == Corrected(1, 0)
    assert recompute(butler, skymap, remove_extra=True) == Corrected(0, 1)
    assert check_relation(butler, skymap).same


def test_only_rows_of_the_sky_map_in_question_are_compared(butler, skymap):
    other = SkyMap.around(10.0, 20.0, name="other", pixel_scale=10.0, patch_size=50, grid=(4, 4))
    skymap.register(butler)
    other.register(butler)
    keep_footprints(butler, [outline(1)])
    assert check_relation(butler, skymap).same
    assert check_relation(butler, other).same


def test_a_better_footprint_takes_back_what_only_the_earlier_one_overlapped(butler, skymap):
    skymap.register(butler)
    keep_footprints(butler, [outline(1), outline(2), outline(1, 1)])
    kept = keep_footprints(butler, [outline(1, ra=10.3)], replace=True)
    assert (kept.footprints, kept.new > 0, kept.removed > 0) == (1, True, True)
    assert check_relation(butler, skymap).same
    assert related(butler) == [1, 2]


def test_an_outline_that_is_none_is_named_and_hinders_no_other(butler, skymap):
    skymap.register(butler)
    bad = {3: [[1, 1], [1, 1], [1, 1]], 4: [[float("nan"), 0], [1, 1], [2, 0]], 5: [1, 2, 3], 6: "circle"}
    kept = keep_footprints(butler, [outline(1), *(({**outline(v)[0]}, o) for v, o in bad.items())])
    assert (kept.footprints, kept.new) == (1, 4)
    assert sorted(values["visit"] for values, _ in kept.refused) == [3, 4, 5, 6]


def test_a_better_footprint_takes_the_place_of_an_earlier_one(butler):
    store = FootprintStore(butler.root)
    store.add(Footprints.from_outlines(UNITS, [outline(1), outline(2)]))
    store.add(Footprints.from_outlines(UNITS, [outline(1, ra=11.0)]))
    assert store.read(UNITS).keys["visit"].tolist() == [1, 2, 1]
    store.add(Footprints.from_outlines(UNITS, [outline(1, ra=12.0)]), replace=True)
    read = store.read(UNITS)
    assert read.keys["visit"].tolist() == [2, 1]
    assert read.radec[read.indptr[1], 0] == pytest.approx(11.9)


def test_what_is_said_twice_is_kept_once(butler):
    store = FootprintStore(butler.root)
    for _ in range(2):
        store.add(Footprints.from_outlines(UNITS, [outline(1)]))
    assert len(store.read(UNITS)) == 1


def test_a_damaged_segment_is_named(butler):
    store = FootprintStore(butler.root)
    store.add(Footprints.from_outlines(UNITS, [outline(1)]))
    (path,) = store.folder.glob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FootprintError, match=path.name):
        store.read(UNITS)


def test_an_unknown_visit_or_sky_map_is_said(butler, skymap):
    footprints = Footprints.from_outlines(UNITS, [outline(99)])
    with pytest.raises(SkyMapError, match="visit=99, which is not known here"):
        relate(butler, skymap, footprints)
    with pytest.raises(SkyMapError, match="'m' is not known here"):
        relate(butler, skymap, Footprints.from_outlines(UNITS, [outline(1)]))


def test_footprints_can_be_taken_and_put_together():
    rng = np.random.default_rng(0)
    parts = [
        Footprints.from_outlines(
            ["visit"], [({"visit": i * 10 + j}, rng.uniform(0, 9, (3 + j, 2))) for j in range(4)]
        )
        for i in range(3)
    ]
    whole = Footprints.concatenate(parts)
    taken = whole.take(np.array([5, 0, 11]))
    assert taken.keys["visit"].tolist() == [11, 0, 23]
    assert np.array_equal(taken.radec[taken.indptr[1] : taken.indptr[2]], parts[0].radec[:3])


def test_the_unit_model_says_whose_footprints_are_kept(butler):
    assert footprint_units(butler.model) == ("instrument", "visit", "detector")


def test_footprints_are_kept_even_if_a_sky_map_cannot_be_read(butler, skymap):
    skymap.register(butler)
    path = butler.root + "/sky/skymaps/n.yaml"
    with open(path, "w") as file:
        file.write("name: n\n")
    kept = keep_footprints(butler, [outline(1)])
    assert (kept.footprints, kept.new) == (1, 0)
    assert "n.yaml is no sky map" in kept.unrelated
    os.unlink(path)
    assert recompute(butler, skymap) == Corrected(4, 0)
