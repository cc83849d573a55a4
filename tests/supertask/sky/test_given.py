from __future__ import annotations

import pytest

from supertask.butler.memory import InMemoryButler
from supertask.butler.repository import Butler
from supertask.errors import DataIdError
from supertask.sky import SkyMap, SkyMapError, check_relation, load_footprints
from supertask.units import Unit, UnitModel

HEAD = "instrument,visit,detector,ra,dec"
CORNERS = [(9.9, 19.9), (10.1, 19.9), (10.1, 20.1), (9.9, 20.1)]


@pytest.fixture
def butler(tmp_path):
    with Butler.create(tmp_path / "repo") as butler:
        butler.insert_units("instrument", [{"instrument": "C"}])
        butler.insert_units("detector", [{"instrument": "C", "detector": d} for d in range(2)])
        butler.insert_units("visit", [{"instrument": "C", "visit": v} for v in range(10)])
        SkyMap.around(10.0, 20.0, name="m", pixel_scale=10.0, patch_size=100, grid=(4, 4)).register(butler)
        yield butler


def table(path, *footprints, head=HEAD):
    lines = [f"{ids},{ra},{dec}" for ids, corners in footprints for ra, dec in corners]
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def test_rows_that_follow_each_other_are_one_outline(butler, tmp_path):
    path = table(tmp_path / "f.csv", ("C,1,0", CORNERS), ("C,1,1", CORNERS), ("C,2,0", CORNERS[:3]))
    kept = load_footprints(butler, path)
    assert (kept.footprints, kept.new, kept.refused) == (3, 12, ())
    (skymap,) = SkyMap.load_all(butler.root)
    assert check_relation(butler, skymap).same


def test_what_is_the_same_for_all_needs_no_column(butler, tmp_path):
    path = table(tmp_path / "f.csv", ("1,0", CORNERS), head="visit,detector,ra,dec")
    assert load_footprints(butler, path, constant={"instrument": "C"}).new == 4


def test_a_bad_outline_and_an_unknown_data_id_are_named_and_hinder_no_other(butler, tmp_path):
    path = table(
        tmp_path / "f.csv",
        ("C,1,0", CORNERS),
        ("C,2,0", [CORNERS[0]] * 3),
        ("C,77,0", CORNERS),
        ("C,3,1", [*CORNERS[:2], (10, 95)]),
    )
    kept = load_footprints(butler, path)
    assert kept.footprints == 1
    assert {values["visit"]: reason.split()[0] for values, reason in kept.refused} == {
        2: "has",
        77: "is",
        3: "has",
    }
    (skymap,) = SkyMap.load_all(butler.root)
    assert check_relation(butler, skymap).same


def test_every_mistake_of_the_table_is_named_and_nothing_is_kept(butler, tmp_path):
    path = table(
        tmp_path / "f.csv",
        ("C,1,0", [("ten", 20), (10, "")]),
        ("C,one,0", CORNERS[:1]),
        head="instrument,visit,detektor,ra,dec",
    )
    with pytest.raises(DataIdError) as caught:
        load_footprints(butler, path)
    said = str(caught.value)
    for part in (
        "did you mean 'detector'",
        "one column 'detector', and has none",
        "row 1: 'ra' must be a number of degrees, got 'ten'",
        "row 2: 'dec' must be a number of degrees, got ''",
        "row 3: 'visit' must be an int, got 'one'",
    ):
        assert part in said


def test_an_empty_table_keeps_nothing(butler, tmp_path):
    assert load_footprints(butler, table(tmp_path / "f.csv")).footprints == 0


def test_a_unit_model_without_patches_has_no_footprints(tmp_path):
    with pytest.raises(SkyMapError, match="no spatial relation"):
        load_footprints(InMemoryButler(UnitModel("plain", (Unit("visit"),))), tmp_path / "f.csv")
