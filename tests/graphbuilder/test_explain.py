"""Why a quantum is, or is not, in a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from shortages import DeepTask
from surveys import CoaddTask, pipeline

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.explain import Verdict, explain
from supertask.butler.port import AbstractButler
from supertask.errors import DataIdError, PreflightError

Make = Callable[..., ScienceDag]
CAM = {"instrument": "Cam"}
SKY = {"skymap": "sky", "tract": 0}


@pytest.mark.parametrize(
    ("where", "label", "dataId", "verdict", "words"),
    [
        ("", "warp", {**CAM, **SKY, "visit": 1, "patch": 0}, Verdict.PLANNED, "reads 2 'calexp'"),
        (
            "",
            "warp",
            {**CAM, **SKY, "visit": 4, "patch": 0},
            Verdict.NO_RELATION,
            "relation 'overlap' has no row",
        ),
        ("", "isr", {**CAM, "exposure": 107, "detector": 0}, Verdict.UNKNOWN, "no exposure=107"),
        ("", "isr", {**CAM, "exposure": 107, "detector": 0}, Verdict.UNKNOWN, "104, 901"),
        (
            "visit IN (1..2)",
            "isr",
            {**CAM, "exposure": 104, "detector": 0},
            Verdict.NOT_SELECTED,
            "visit is 4",
        ),
        ("band = 'r'", "calibrate", {**CAM, "visit": 1, "detector": 1}, Verdict.NOT_SELECTED, "band is 'g'"),
        (
            "visit.exposure_time > 25",
            "isr",
            {**CAM, "exposure": 101, "detector": 0},
            Verdict.NOT_SELECTED,
            "visit.exposure_time is 10.0",
        ),
        ("", "isr", {**CAM, "exposure": 901, "detector": 0}, Verdict.NO_INPUT, "exposure.obs_type is bias"),
    ],
)
def test_reasons(
    make: Make,
    butler: AbstractButler,
    where: str,
    label: str,
    dataId: dict[str, Any],
    verdict: Verdict,
    words: str,
) -> None:
    found = explain(make(where), label, dataId, butler)
    assert found.verdict is verdict, str(found)
    assert words in str(found)


def test_what_a_task_left_out_is_in_the_plan_with_its_reason(butler: AbstractButler) -> None:
    class Deep(CoaddTask):
        def adjustQuanta(self, quanta: Any, repoGraph: Any) -> Any:
            return quanta.where(quanta.counts(self.config.warps) > 1, "coadds of two warps or more")

    tasks = pipeline("merge").replace("coadd", Deep)
    dag = GraphBuilder(tasks, butler, "u/run").makeGraph()
    found = explain(dag, "coadd", {**SKY, "patch": 2, "band": "r"})
    assert found.verdict is Verdict.LEFT_OUT
    assert "two warps or more" in str(found)


def test_what_needs_a_quantum_that_was_left_out_is_left_out_too_and_says_so(butler: AbstractButler) -> None:
    tasks = pipeline().replace("coadd", DeepTask)
    dag = GraphBuilder(tasks, butler, "u/run").makeGraph()
    whole = GraphBuilder(pipeline(), butler, "u/run").makeGraph()
    merged = {
        p: explain(plan, "merge", {**SKY, "patch": 2}, butler) for p, plan in (("all", whole), ("deep", dag))
    }
    assert merged["all"].verdict is Verdict.PLANNED
    assert merged["deep"].verdict is Verdict.UPSTREAM
    assert "two warps or more" in str(merged["deep"])


def test_a_plan_says_what_it_can_without_its_repository(make: Make) -> None:
    found = explain(make(), "isr", {**CAM, "exposure": 901, "detector": 0})
    assert found.verdict is Verdict.NOTHING_TO_DO


def test_a_wrong_question_is_refused(make: Make, butler: AbstractButler) -> None:
    with pytest.raises(PreflightError, match="did you mean 'warp'"):
        explain(make(), "wrap", {}, butler)
    with pytest.raises(DataIdError, match="'detector' is missing"):
        explain(make(), "isr", {**CAM, "exposure": 1}, butler)
