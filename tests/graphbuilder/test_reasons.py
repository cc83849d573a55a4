"""Why quanta are missing, and why plans are empty or thin: `reasons.txt` is read by people, compared whole.

``REASONS_WRITE=1 pytest tests/graphbuilder/test_reasons.py`` writes it anew; read what changed before it is
committed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shortages import DARK, FOCUS, REFCAT, DarkTask, DeepTask, FocusTask, MatchTask, PickyTask, StackTask
from surveys import RAW, CoaddTask, fill, pipeline

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.explain import Verdict, explain, explain_plan
from supertask.butler.memory import InMemoryButler
from supertask.butler.port import CollectionKind
from supertask.errors import DataIdError, EmptyPlanError, PreflightError
from supertask.pipelines.pipeline import Pipeline

WRITTEN = Path(__file__).parent / "reasons.txt"
CAM = {"instrument": "Cam"}
SKY = {"skymap": "sky", "tract": 0}
DAY = 86_400_000_000_000


def survey() -> InMemoryButler:
    """Return the small survey."""
    made: Any = InMemoryButler("imaging")
    fill(made)
    return made


def with_gap() -> InMemoryButler:
    """Return the survey with four more exposures, a day apart, and darks that leave a gap at the third."""
    butler = survey()
    for night in range(4):
        common = {**CAM, "physical_filter": "G1", "obs_time": night * DAY}
        butler.insert_units("visit", [{**common, "visit": 20 + night}])
        butler.insert_units(
            "exposure", [{**common, "exposure": 201 + night, "visit": 20 + night, "obs_type": "science"}]
        )
        butler.put({"sum": 0}, RAW(instrument="Cam", exposure=201 + night, detector=0), run="raw/all")
    butler.register_type(DARK)
    butler.create_collection("calibs", CollectionKind.CALIBRATION)
    for run, begin, end in (("d/1", 0, 2 * DAY), ("d/2", 3 * DAY, None)):
        butler.create_collection(run, CollectionKind.RUN)
        dark = butler.put({"sum": 0}, DARK(instrument="Cam", detector=0), run=run)
        butler.certify("calibs", [dark], begin, end, run=run)
    butler.register_type(FOCUS)
    butler.put({"sum": 0}, FOCUS(instrument="Cam", exposure=201), run="raw/all")
    return butler


def with_refcat() -> InMemoryButler:
    """Return the survey with reference catalogues of patches 0 and 2; that of 1 is where nobody looks."""
    butler = survey()
    butler.register_type(REFCAT)
    for run, patches in (("ref", (0, 2)), ("elsewhere", (1,))):
        butler.create_collection(run, CollectionKind.RUN)
        for patch in patches:
            butler.put({"sum": 0}, REFCAT(skymap="sky", tract=0, patch=patch), run=run)
    return butler


def full() -> Pipeline:
    return pipeline()


def with_coadd(task: type) -> Callable[[], Pipeline]:
    return lambda: pipeline("merge").replace("coadd", task)


def darks() -> Pipeline:
    return Pipeline().add("subtract", DarkTask)


def focused() -> Pipeline:
    return Pipeline().add("sharpen", FocusTask)


def matched() -> Pipeline:
    return pipeline("coadd", "merge").add("match", MatchTask)


QUANTA = {
    "planned, through a relation": (survey, full, "", "warp", {"visit": 1, "patch": 0}),
    "planned, by an expression": (survey, full, "band = 'g'", "coadd", {"patch": 0, "band": "g"}),
    "no such exposure": (survey, full, "", "isr", {"exposure": 107, "detector": 0}),
    "the expression names other visits": (
        survey, full, "visit IN (1..2)", "isr", {"exposure": 104, "detector": 0},
    ),
    "one of three conditions": (
        survey, full, "instrument = 'Cam' AND visit.exposure_time > 25 AND detector >= 0",
        "isr", {"exposure": 101, "detector": 0},
    ),
    "a field compared with arithmetic": (
        survey, full, "visit.exposure_time * 2 > 50", "calibrate", {"visit": 2, "detector": 0},
    ),
    "a condition on the other side of a relation": (
        survey, full, "patch = 0", "isr", {"exposure": 103, "detector": 1},
    ),
    "of another kind than is asked for": (survey, full, "", "isr", {"exposure": 901, "detector": 0}),
    "overlaps nothing": (survey, full, "", "warp", {"visit": 4, "patch": 0}),
    "overlaps nothing, two steps on": (survey, full, "", "coadd", {"patch": 2, "band": "g"}),
    "overlaps nothing, three steps on": (
        survey, full, "visit = 4", "merge", {"skymap": "sky", "tract": 0, "patch": 0},
    ),
    "a gap of the calibration": (
        with_gap, darks, "exposure > 200", "subtract", {"exposure": 203, "detector": 0},
    ),
    "no calibration of the detector": (
        with_gap, darks, "exposure IN (101, 201)", "subtract", {"exposure": 101, "detector": 1},
    ),
    "planned, by time": (with_gap, darks, "exposure > 200", "subtract", {"exposure": 202, "detector": 0}),
    "planned, as the nearest": (
        with_gap, focused, "exposure > 200", "sharpen", {"exposure": 202, "detector": 0},
    ),
    "nothing near enough in time": (
        with_gap, focused, "exposure > 200", "sharpen", {"exposure": 204, "detector": 0},
    ),
    "a reference catalogue that is not searched": (
        with_refcat, matched, "", "match", {"visit": 2, "patch": 1},
    ),
    "fewer than the minimum": (survey, with_coadd(StackTask), "", "coadd", {"patch": 2, "band": "r"}),
    "left out by the task": (survey, with_coadd(DeepTask), "", "coadd", {"patch": 2, "band": "r"}),
    "not made, and no reason given": (survey, with_coadd(PickyTask), "", "coadd", {"patch": 1, "band": "r"}),
}  # fmt: skip

EXPRESSIONS = {
    "a band in the wrong case": (full, "band = 'R'"),
    "a visit that is not there": (full, "visit = 12"),
    "one visit of a list that is not there": (full, "visit IN (1, 7, 2)"),
    "bounds past all": (full, "visit > 100"),
    "each holds, both do not": (full, "visit.exposure_time > 25 AND visit < 3"),
    "a pattern": (full, "physical_filter GLOB 'r*'"),
    "nights before the first": (darks, "exposure.obs_time < '1969-12-24' AND exposure > 200"),
    "a span of nights between": (
        darks, "exposure.obs_time BETWEEN '1970-01-02 06:00' AND '1970-01-02 18:00' AND exposure > 200",
    ),
    "collections that have none": (full, "", "calib"),
    "nothing overlaps": (full, "visit = 4 AND patch = 1"),
}  # fmt: skip


def plan(butler: Any, tasks: Pipeline, where: str = "", collections: Any = None) -> ScienceDag:
    return GraphBuilder(tasks, butler, "u/run", collections=collections).makeGraph(where)


def searched(butler: Any) -> list[str]:
    return [i.name for i in butler.collection_infos() if i.name not in ("elsewhere", "d/1", "d/2")]


def of_quantum(name: str) -> str:
    make, tasks, where, label, dataId = QUANTA[name]
    butler = make()
    dag = plan(butler, tasks(), where, searched(butler))
    text = str(explain(dag, label, dataId, butler))
    return "\n".join(
        line.split(", identity")[0] for line in text.replace(dag.meta.created, "TIME").splitlines()
    )


def of_plan(name: str) -> str:
    tasks, where, *collections = EXPRESSIONS[name]
    butler = with_gap()
    try:
        dag = plan(butler, tasks(), where, collections or searched(butler))
    except EmptyPlanError as error:
        return str(error)
    return "\n".join([f"{len(dag)} quanta", *explain_plan(dag, butler).findings])


def told() -> str:
    parts = [f"== {name} ==\n{of_quantum(name)}" for name in QUANTA]
    parts += [f"== {name} ==\n{of_plan(name)}" for name in EXPRESSIONS]
    return "\n\n".join(parts) + "\n"


def test_reasons_are_told_as_they_were_read_and_found_good() -> None:
    now = told()
    if os.environ.get("REASONS_WRITE"):
        WRITTEN.write_text(now, encoding="utf-8")
    assert now == WRITTEN.read_text(encoding="utf-8")


def test_an_empty_plan_carries_its_findings_and_steps() -> None:
    with pytest.raises(EmptyPlanError) as caught:
        plan(with_gap(), darks(), "exposure > 200 AND detector = 9")
    first = caught.value.findings[0]
    assert first.startswith("detector = 9 is true of none of the 2 values of unit 'detector'")
    assert caught.value.steps[-1] == ("subtract", "quanta planned", 0)


def test_a_data_id_that_several_quanta_have_is_refused_with_them() -> None:
    dag = plan(survey(), full())
    with pytest.raises(DataIdError, match=r"ambiguous: 2 quanta of 'warp'.*give patch too.*patch=1"):
        explain(dag, "warp", {"visit": 1})


def test_what_there_is_one_of_may_be_left_out() -> None:
    dag = plan(survey(), full())
    assert explain(dag, "warp", {"visit": 1, "patch": 0}).verdict is Verdict.PLANNED
    with pytest.raises(DataIdError, match="'detector' is missing"):
        explain(dag, "isr", {"exposure": 901})


def test_another_repository_is_refused() -> None:
    dag = plan(survey(), full())
    with pytest.raises(PreflightError, match="give the one that it was made from"):
        explain(dag, "isr", {"exposure": 101, "detector": 0}, survey())
    with pytest.raises(PreflightError, match="give the one that it was made from"):
        explain_plan(dag, survey())


def test_without_the_repository_the_plan_says_what_it_knows() -> None:
    dag = plan(survey(), pipeline("merge").replace("coadd", StackTask))
    found = explain(dag, "coadd", {"patch": 2, "band": "r"})
    assert found.verdict is Verdict.LEFT_OUT
    assert "has 1" in str(found)
    assert explain_plan(dag).selection is None


def test_a_pipeline_that_cannot_be_imported_leaves_the_plan_explained() -> None:
    class Local(CoaddTask):
        pass

    butler = survey()
    dag = plan(butler, pipeline("merge").replace("coadd", Local))
    found = explain(dag, "coadd", {"patch": 2, "band": "g"}, butler)
    assert found.verdict is Verdict.NOTHING_TO_DO
    assert "cannot be imported here" in str(found)


def test_json_has_the_whole_chain() -> None:
    butler = survey()
    told = explain(plan(butler, full()), "coadd", {"patch": 2, "band": "g"}, butler).to_dict()
    assert told["verdict"] == "nothing upstream"
    assert told["because"][0]["verdict"] == "not related"
    whole = explain_plan(plan(butler, full(), "band = 'r'"), butler).to_dict()
    assert whole["conditions"][0]["alone"] == 1
