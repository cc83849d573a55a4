"""What an expression asks of the repository: tables, the sky, what exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from surveys import fill, pipeline

from graphbuilder.builder import GraphBuilder
from graphbuilder.explain import Verdict, explain
from graphbuilder.loading.lookups import condition_for
from graphbuilder.reasons.selection import select_step_by_step
from supertask.butler.memory import InMemoryButler
from supertask.butler.port import AbstractButler, CollectionKind
from supertask.butler.repository import Butler
from supertask.datasets import Dataset
from supertask.errors import EmptyPlanError, ExpressionError
from supertask.sky.ingested import keep_footprints
from supertask.sky.skymap import SkyMap

POSTISR = Dataset.subclass("postisr", ("exposure", "detector"), "json")


def quanta(butler: AbstractButler, where: str, label: str, **options) -> set[tuple]:
    dag = GraphBuilder(pipeline(), butler, "u/test/run", **options).makeGraph(where)
    return {tuple(q.dataId.values()) for q in dag.quanta if q.label == label}


# -- tables -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "ecsv", "parquet"])
def test_data_ids_of_a_file_are_what_is_meant(butler, tmp_path, ending):
    from astropy.table import Table

    path = tmp_path / f"good.{ending}"
    rows = Table({"detector": [0, 1, 7], "visit": [1, 3, 1], "note": ["a", "b", "c"]})
    rows.write(path, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv"}.get(ending, ending))
    found = quanta(butler, f"(visit, detector) IN TABLE '{path}'", "calibrate")
    assert found == {("Cam", 1, 0), ("Cam", 3, 1)}
    others = quanta(butler, f"(visit, detector) NOT IN TABLE '{path}'", "calibrate")
    assert len(others) == 6
    assert not others & found
    assert quanta(butler, f"visit IN TABLE '{path}' AND detector = 0", "calibrate") == {
        ("Cam", 1, 0),
        ("Cam", 3, 0),
    }


def test_a_file_may_be_named_by_a_bind_value(butler, tmp_path):
    path = tmp_path / "it's.csv"
    path.write_text("visit\n1\n")
    where = condition_for("visit IN TABLE :file", butler, bind={"file": str(path)})
    assert [row["visit"] for row in butler.units("visit", where)] == [1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "visit,detector\n1,0\nx,1\n,2\n99999999999999999999,1\n",
            ["row 2", "row 3: 'visit' is missing", "row 4"],
        ),
        ("visits,detector\n1,0\n", ["no column 'visit'", "did you mean 'visits'"]),
        ("visit,detector\n1,0,3\n", ["row 1 has 3 values"]),
        ("visit,detector,visit\n1,0,3\n", ["2 columns 'visit'"]),
        ("", ["no line of column names"]),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_row(butler, tmp_path, text, says):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ExpressionError) as caught:
        condition_for(f"(visit, detector) IN TABLE '{path}'", butler)
    assert all(word in str(caught.value) for word in says)


def test_a_table_without_rows_selects_nothing(butler, tmp_path):
    path = tmp_path / "none.csv"
    path.write_text("visit\n")
    assert butler.units("visit", condition_for(f"visit IN TABLE '{path}'", butler)) == []


# -- what exists --------------------------------------------------------------------------------------


def test_what_exists_already_is_left_out(butler):
    butler.create_collection("u/test/first", CollectionKind.RUN)
    butler.register_type(POSTISR)
    for detector in (0, 1):
        butler.put({"sum": 0}, POSTISR(instrument="Cam", exposure=101, detector=detector), run="u/test/first")
    options = {"collections": ("raw/all", "calib", "u/test/first")}
    todo = quanta(butler, "NOT EXISTS(postisr)", "isr", **options)
    assert {exposure for _, exposure, _ in todo} == {102, 103, 104}
    done = quanta(butler, "exposure > 900 OR EXISTS(postisr IN 'u/test/first')", "isr")
    assert done == {("Cam", 101, 0), ("Cam", 101, 1)}
    with pytest.raises(EmptyPlanError):
        quanta(butler, "EXISTS(postisr IN 'raw/all')", "isr")


def test_what_is_to_be_made_for_the_first_time_does_not_exist_yet(butler):
    assert len(quanta(butler, "NOT EXISTS(postisr)", "isr")) == 8


def test_exists_holds_within_other_conditions(butler):
    found = quanta(butler, "exposure IN (102, 901) OR EXISTS(raw) AND detector = 0", "isr")
    assert found == {("Cam", 102, 0), ("Cam", 102, 1), ("Cam", 101, 0), ("Cam", 103, 0), ("Cam", 104, 0)}


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("detector = 0 AND EXISTS(rwa)", 24, "did you mean 'raw'"),
        ("EXISTS(raw IN 'raw/al')", 7, "did you mean 'raw/all'"),
        ("EXISTS(raw IN 3)", 14, "in quotes"),
    ],
)
def test_what_cannot_exist_is_pointed_at(butler, text, at, says):
    with pytest.raises(ExpressionError) as caught:
        condition_for(text, butler)
    assert caught.value.position == at
    assert says in str(caught.value)


# -- the sky ------------------------------------------------------------------------------------------


def square(ra, dec, half=0.05):
    return [
        (ra - half, dec - half),
        (ra + half, dec - half),
        (ra + half, dec + half),
        (ra - half, dec + half),
    ]


@pytest.fixture
def survey(tmp_path: Path) -> Iterator[AbstractButler]:
    """Yield the survey, its visits side by side around RA 0 and on a sky map of their own."""
    with Butler.create(tmp_path / "repo") as butler:
        fill(butler)
        skymap = SkyMap.around(0.2, 0.0, name="around", pixel_scale=1.0, patch_size=360, grid=(10, 10))
        skymap.register(butler)
        keep_footprints(
            butler,
            [
                ({"instrument": "Cam", "visit": v, "detector": d}, square((0.2 * v - 0.3) % 360, 0.1 * d))
                for v in (1, 2, 3)
                for d in (0, 1)
            ],
        )
        yield butler


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("visit OVERLAPS CIRCLE(0.1, 0, 0.01)", {2}),
        ("visit OVERLAPS CIRCLE(-0.1, 0, 0.01)", {1}),
        ("visit OVERLAPS CIRCLE(359.9, 0, 0.16)", {1, 2}),
        ("visit OVERLAPS BOX(0, 0, 0.3, 0.02)", {1, 2}),
        ("visit OVERLAPS POLYGON(0.28, -0.01, 0.32, -0.01, 0.3, 0.01)", {3}),
        ("visit NOT OVERLAPS CIRCLE(0.1, 0, 0.01)", {1, 3, 4}),
        ("visit OVERLAPS visit(instrument='Cam', visit=2)", {2}),
        ("visit OVERLAPS CIRCLE(180, 0, 1)", set()),
        ("visit OVERLAPS tract(skymap='around', tract=0)", {1, 2, 3}),
    ],
)
def test_visits_in_a_region_are_meant(survey, text, expected):
    assert {row["visit"] for row in survey.units("visit", condition_for(text, survey))} == expected


def test_a_detector_of_a_visit_has_a_place_of_its_own(survey):
    assert quanta(survey, "(visit, detector) OVERLAPS CIRCLE(0.1, -0.04, 0.001)", "calibrate") == {
        ("Cam", 2, 0)
    }


def test_patches_in_a_region_narrow_the_detectors_that_overlap_them(survey):
    condition = condition_for("patch OVERLAPS detector(visit=3, detector=1)", survey)
    patches = {row["patch"] for row in survey.units("patch", condition)}
    skymap = SkyMap.load(survey.root, "around")
    assert patches
    assert patches < {p.item() for p in skymap.patch_numbers()[1]}
    found = quanta(survey, "patch OVERLAPS CIRCLE(0.34, 0.14, 0.001)", "calibrate")
    assert ("Cam", 3, 1) in found
    assert ("Cam", 1, 0) not in found
    assert condition_for("tract OVERLAPS CIRCLE(0, 0, 1)", survey) is not None


@pytest.mark.parametrize(
    ("text", "visit", "says"),
    [
        # Visit 1 covers RA -0.15 to -0.05, visit 2 0.05 to 0.15, visit 3 0.25 to 0.35.
        (
            "visit OVERLAPS CIRCLE(0.1, 0, 0.01)",
            1,
            ["it is 0.14 deg from there", "the nearest: instrument='Cam', visit=2 (in it), "],
        ),
        (
            "visit OVERLAPS BOX(0.1, 0, 0.1, 0.02)",
            3,
            ["it is 0.1 deg from there", "visit=2 (in it)"],
        ),
        ("visit OVERLAPS visit(visit=3)", 1, ["it is 0.3 deg from there", "visit=3 (in it)"]),
        (
            "visit OVERLAPS POLYGON(0.28, -0.01, 0.32, -0.01, 0.3, 0.01)",
            2,
            ["it is 0.13 deg from there", "visit=3 (in it), instrument='Cam', visit=2 (0.13 deg)"],
        ),
        (
            "visit OVERLAPS CIRCLE(0.1, 0, 0.01)",
            4,
            ["nothing is known of where on the sky it is; the nearest"],
        ),
    ],
)
def test_a_quantum_outside_a_region_is_told_how_far_and_what_is_nearest(survey, text, visit, says):
    dag = GraphBuilder(pipeline(), survey, "u/test/run").makeGraph(text)
    told = explain(dag, "calibrate", {"instrument": "Cam", "visit": visit, "detector": 0}, survey)
    assert told.verdict is Verdict.NOT_SELECTED
    assert "OVERLAPS" in told.lines[0]
    assert "is false" in told.lines[0]
    assert all(words in told.lines[0] for words in says), told.lines[0]


def test_where_no_patch_that_it_lies_on_is_in_a_region_the_nearest_are_told(survey):
    dag = GraphBuilder(pipeline(), survey, "u/test/run").makeGraph("patch OVERLAPS CIRCLE(0.34, 0.14, 0.001)")
    told = explain(dag, "calibrate", {"instrument": "Cam", "visit": 1, "detector": 0}, survey)
    assert told.verdict is Verdict.NO_RELATION
    assert "leads to none of it" in told.lines[0]
    assert "the nearest to it: skymap='around', tract=0, patch=" in told.lines[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("visit OVERLAPS CIRCLE(2, 0, 0.1)", r"visit=3 \(1.55 deg\), instrument='Cam', visit=2 \(1.75 deg\)"),
        ("visit OVERLAPS BOX(2, 0, 0.2, 0.1)", r"visit=3 \(1.55 deg\)"),
        ("patch OVERLAPS CIRCLE(2, 0, 0.1)", r"skymap='around', tract=0, patch=\d+ \(1.2 deg\)"),
        ("tract OVERLAPS POLYGON(2, 0, 2.1, 0, 2, 0.1)", r"tract=0 \(1.3 deg\)"),
    ],
)
def test_a_region_in_which_nothing_lies_is_told_with_what_is_nearest(survey, text, says):
    counted = select_step_by_step(survey, condition_for(text, survey), ()).conditions[0]
    assert counted.together == 0
    assert re.search(says, str(counted)), str(counted)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("band OVERLAPS CIRCLE(0, 0, 1)", "band has no place on the sky"),
        ("detector OVERLAPS CIRCLE(0, 0, 1)", "what has: visit or (visit, detector) or tract or patch"),
        ("patch OVERLAPS visit(visit=99)", "nothing is known of where on the sky visit(visit=99) is"),
        ("patch OVERLAPS band(band='r')", "'band' has no place on the sky"),
        ("patch OVERLAPS visit(visit=1, band='r')", "'band' does not say which visit"),
        ("patch OVERLAPS CIRCLE(0, 91, 1)", "declination 91"),
        ("patch OVERLAPS CIRCLE(0, 1)", "CIRCLE(ra, dec, radius)"),
        ("patch OVERLAPS POLYGON(0, 1, 0, 1, 0, 1)", "three different corners"),
    ],
)
def test_a_region_that_is_none_is_said_to_be(survey, text, says):
    with pytest.raises(ExpressionError) as caught:
        condition_for(text, survey)
    assert says in str(caught.value)
    assert "^" in str(caught.value)


def test_a_repository_without_footprints_says_so(butler):
    with pytest.raises(ExpressionError, match="keeps no footprints"):
        condition_for("visit OVERLAPS CIRCLE(0, 0, 1)", butler)
    with pytest.raises(ExpressionError, match="no sky map"):
        condition_for("patch OVERLAPS CIRCLE(0, 0, 1)", InMemoryButler("imaging"))


def test_many_rows_are_told_in_columns(butler, tmp_path):
    path = tmp_path / "many.csv"
    rng = np.random.default_rng(1)
    path.write_text("visit\n" + "\n".join(map(str, [*rng.integers(100, 10**9, 20_000), 2])) + "\n")
    condition = condition_for(f"visit IN TABLE '{path}'", butler)
    assert [row["visit"] for row in butler.units("visit", condition)] == [2]
