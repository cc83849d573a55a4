"""Commands about the sky and relations: skymap, relation."""

from __future__ import annotations

from pathlib import Path

import pytest

from supertask.butler.repository import Butler
from supertask.rows import RelationRows

AROUND = ("--ra", 10, "--dec", 20, "--pixel-scale", 1, "--patch-size", 300)
CORNERS = ["9.9,19.9", "10.1,19.9", "10.1,20.1", "9.9,20.1"]


@pytest.fixture
def sky(call, survey: Path):
    """The survey with a sky map, and footprints of its first two visits."""
    assert call("skymap", "around", "repo", "target", *AROUND, "--radius", 0.2).code == 0
    Path("f.csv").write_text(
        "\n".join(["visit,detector,ra,dec", *(f"{v},0,{c}" for v in (1, 2) for c in CORNERS)]) + "\n"
    )
    said = call("relation", "footprints", "repo", "f.csv", "--constant", "instrument=Cam")
    assert said.out == "2 footprints kept, 18 overlaps new; 0 refused\n"


def test_a_sky_map_around_a_target_is_made_listed_and_shown(call, sky) -> None:
    assert call("skymap", "list", "repo", "--json").rows == [
        {"name": "target", "layout": "around", "tracts": 1, "patches": 25, "margin": 0.0, "doc": ""}
    ]
    Path("again.yaml").write_text(call("skymap", "show", "repo", "target").out)
    said = call("skymap", "register", "repo", "again.yaml")
    assert said.out.splitlines() == [
        "sky map target: 1 tract, 25 patches, 0 of them new",
        "relation overlap: 18 overlaps with footprints, 0 of them new; 0 footprints overlap no patch of it",
    ]


def test_a_sky_map_that_comes_later_is_related_to_footprints_that_are_there(call, sky) -> None:
    Path("all.yaml").write_text("name: all\nhealpix: {nside: 2, pixel_scale: 60, patch_size: 300}\n")
    (row,) = call("skymap", "register", "repo", "all.yaml", "--json").rows
    assert (row["tracts"], row["without_patch"]) == (48, 0)
    assert row["new_rows"] == row["related"] > 0


def test_another_sky_map_of_one_name_is_refused_saying_what_differs(call, sky) -> None:
    said = call("skymap", "around", "repo", "target", *AROUND, "--radius", 0.3)
    assert said.code == 2
    assert "This one has radius 0.3, not 0.2" in said.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("skymap", "register", "repo", "none.yaml"), "none.yaml"),
        (("skymap", "around", "repo", "t", *AROUND), "either grid"),
        (("skymap", "show", "repo", "targt"), "did you mean 'target'"),
        (("relation", "check", "repo", "--skymap", "x"), "no sky map 'x'"),
        (("relation", "load", "repo", "overlaps", "f.csv"), "did you mean 'overlap'"),
        (("relation", "load", "repo", "overlap", "f.csv"), "column 'ra' is no unit"),
        (("relation", "footprints", "repo", "f.csv"), "one column 'instrument'"),
        (("relation", "footprints", "repo", "f.csv", "--constant", "instrument"), "write UNIT=KEY"),
        (("relation", "load", "repo", "overlap", "f.csv", "--constant", "tract=x"), "'tract' must be an int"),
    ],
)
def test_bad_input_is_said_and_ends_with_2(call, sky, words, says) -> None:
    said = call(*words)
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert "Traceback" not in said.err


def test_a_footprint_that_is_none_is_named_and_ends_with_1(call, sky) -> None:
    Path("g.csv").write_text(
        "instrument,visit,detector,ra,dec\n"
        + "".join(f"Cam,3,0,{c}\n" for c in CORNERS)
        + "Cam,4,1,1,1\n" * 3
    )
    said = call("relation", "footprints", "repo", "g.csv")
    assert said.code == 1
    assert "instrument=Cam, visit=4, detector=1" in said.out
    assert "1 footprint kept, 9 overlaps new; 1 refused" in said.out


def test_a_stored_relation_is_checked_by_data_id_and_put_right(call, sky) -> None:
    assert call("relation", "check", "repo").code == 0
    with Butler("repo") as butler:
        rows = butler.reader().relation("overlap")
        butler.remove_relation_rows(RelationRows("overlap", {u: i[:1] for u, i in rows.units.items()}))
    Path("more.csv").write_text("visit,detector,skymap,tract,patch\n6,1,target,0,24\n")
    said = call("relation", "load", "repo", "overlap", "more.csv", "--constant", "instrument=Cam")
    assert said.out == "1 row, 1 new in relation overlap\n"
    said = call("relation", "check", "repo")
    assert said.code == 1
    shown = [line.split() for line in said.out.splitlines()]
    assert shown[1][:4] == ["missing", "Cam", "1", "0"]
    assert shown[2] == ["extra", "Cam", "6", "1", "target", "0", "24"]
    assert shown[-1] == ["target", "18", "18", "1", "1"]
    recomputed = call("relation", "recompute", "repo", "--remove-extra", "--json").rows
    assert recomputed == [{"skymap": "target", "added": 1, "removed": 1}]
    assert call("relation", "check", "repo", "--json").rows[0]["missing"] == 0
    assert call("relation", "list", "repo", "--json").rows[0]["rows"] == 18


def test_without_a_sky_map_there_is_nothing_to_check(call, survey) -> None:
    said = call("relation", "check", "repo")
    assert said.code == 2
    assert "supertask skymap register" in said.err
    assert "none" in call("skymap", "list", "repo").err
