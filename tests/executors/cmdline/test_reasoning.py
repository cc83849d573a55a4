"""explain, plan-diff and dag report, as a user calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from executors.cmdline.diagrams import dot, mermaid
from supertask.butler.repository import Butler

PLAN = ("preflight", "repo", "-p", "pipeline.yaml", "--output-run", "u/me/run1")


def test_an_empty_plan_names_the_condition_and_what_comes_nearest(call, survey: Path) -> None:
    said = call(*PLAN, "--where", "visit > 100")
    assert said.code == 2
    assert "visit > 100 is true of none of the 6 values of unit 'visit'; the nearest: 5, 6" in said.err
    said = call(*PLAN, "--where", "visit.object = 'm31'")
    assert "the nearest: 'M31'" in said.err


def test_a_quantum_is_explained_with_what_need_not_be_said_left_out(call, survey: Path) -> None:
    call(*PLAN, "--where", "visit < 4")
    said = call("explain", "plan.h5", "sky", "visit=2", "detector=1")
    assert said.code == 0
    assert "visit < 4 is true: visit is 2" in said.out
    said = call("explain", "plan.h5", "visit=5", "--json")
    (row,) = said.rows
    assert (row["label"], row["verdict"]) == ("night", "not selected")


def test_a_data_id_may_be_given_as_it_is_printed(call, survey: Path) -> None:
    call(*PLAN)
    told = call("explain", "plan.h5", "sky", "visit=2", "detector=1").out
    assert told.startswith("sky {")
    assert call("explain", "plan.h5", "sky", "visit=2,detector=1").out == told
    assert call("explain", "plan.h5", "sky", "{visit=2,", "detector=1}").out == told


def test_without_a_data_id_it_is_told_how_the_plan_came_about(call, survey: Path) -> None:
    call(*PLAN, "--where", "visit IN (1, 2, 99) AND detector = 0")
    said = call("explain", "plan.h5")
    assert said.code == 0
    assert "visit IN (1, 2, 99): the repository has no 99; the nearest: 5, 6" in said.out
    (row,) = call("explain", "plan.h5", "--json").rows
    assert [c["together"] for c in row["conditions"]] == [2, 1]
    assert call("explain", "plan.h5", "nigth").code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sky", "visit=1"), "is ambiguous: 2 quanta of 'sky'"),
        (("sky", "visit"), "is not UNIT=VALUE"),
        (("sky", "visit=1", "visit=2"), "given twice"),
        (("sky", "visit=one", "detector=1"), "visit"),
        (("sky", "vist=1"), "vist"),
        (("band=r",), "no task of the plan has quanta by (band)"),
    ],
)
def test_questions_that_cannot_be_answered(call, survey: Path, words: tuple[str, ...], message: str) -> None:
    call(*PLAN)
    said = call("explain", "plan.h5", *words)
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err


def test_a_plan_of_another_repository_is_refused(call, survey: Path) -> None:
    call(*PLAN)
    Butler.create("other", "imaging").close()
    said = call("explain", "plan.h5", "sky", "visit=9", "detector=0", "--repo", "other")
    assert said.code == 2
    assert "give the one that it was made from" in said.err
    assert call("dag", "report", "plan.h5", "--repo", "other").code == 2


def test_a_plan_whose_repository_is_gone_is_explained_as_far_as_it_goes(call, survey: Path) -> None:
    call(*PLAN)
    shutil.move("repo", "away")
    assert call("explain", "plan.h5", "night", "visit=2").code == 0
    said = call("explain", "plan.h5")
    assert said.code == 0
    assert "not at hand" in said.err
    said = call("dag", "report", "plan.h5")
    assert said.code == 0
    assert "unknown: none was made before" in said.out
    assert call("explain", "plan.h5", "--repo", "away").code == 0


def test_two_plans_are_compared(call, survey: Path) -> None:
    call(*PLAN, "-o", "a.h5")
    call(*PLAN, "-o", "b.h5", "-c", "sky:factor=3", "--where", "visit < 6")
    said = call("plan-diff", "a.h5", "b.h5")
    assert said.code == 1
    for words in ("config factor", "2.0", "3.0", "visit < 6 is false", "upstream", "the plans differ"):
        assert words in said.out
    said = call("plan-diff", "a.h5", "a.h5")
    assert said.code == 0
    assert "the same quanta" in said.out
    said = call("plan-diff", "a.h5", "b.h5", "--json")
    (row,) = said.rows
    sky = row["tasks"][0]
    assert (sky["changed"], sky["only_a"]) == ({"task": 10}, {"visit < 6 is false": 2})


def test_files_that_are_no_plans_are_refused(call, survey: Path) -> None:
    call(*PLAN, "-o", "a.h5")
    whole = Path("a.h5").read_bytes()
    Path("cut.h5").write_bytes(whole[: len(whole) // 2])
    altered = bytearray(whole)
    altered[len(altered) // 2] ^= 255
    Path("altered.h5").write_bytes(altered)
    Path("text.h5").write_text("not a plan")
    for name in ("cut.h5", "altered.h5", "text.h5", "missing.h5"):
        for words in (("plan-diff", "a.h5", name), ("explain", name), ("dag", "report", name)):
            said = call(*words)
            assert said.code == 2, (words, said.out)
            assert name in said.err


def test_a_plan_is_reported_on_with_costs_of_earlier_runs(call, survey: Path) -> None:
    call(*PLAN, "-o", "one.h5", "--where", "visit < 3")
    assert call("run", "one.h5", "-j", "1").code == 0
    said = call(*PLAN[:-1], "u/me/run2", "--report", "-o", "plan.h5")
    assert said.code == 0
    assert "quanta as were measured, of u/me/run1" in said.out
    assert "by the mean of 4 made before" in said.out
    assert "nothing looks amiss" in said.out
    (row,) = call(*PLAN[:-1], "u/me/run2", "--report", "--json").rows
    assert row["report"]["totals"]["cpu"]["tasks_unknown"] == 0
    assert call("report", "one.h5", "--costs", "costs.json").code == 0
    assert {t["label"] for t in json.loads(Path("costs.json").read_text())["tasks"]} == {"sky", "night"}
    (row,) = call("dag", "report", "plan.h5", "--costs", "costs.json", "--json").rows
    assert row["tasks"][0]["cpu"] > 0
    assert call("dag", "report", "plan.h5", "--costs", "one.h5").code == 2


def test_a_plan_is_drawn(call, survey: Path) -> None:
    call(*PLAN)
    assert call("dag", "report", "plan.h5", "--graph", "graph.png").code == 0
    assert Path("graph.png").read_bytes().startswith(b"\x89PNG")
    assert call("dag", "report", "plan.h5", "--as", "mermaid").out.startswith("flowchart TD")
    assert call("dag", "report", "plan.h5", "--as", "dot").out.startswith("digraph plan {")
    said = call("dag", "report", "plan.h5", "--sky", "sky.png")
    assert said.code == 2
    assert "needs footprints" in said.err
    assert call("dag", "report", "plan.h5", "--graph", "graph.what").code == 2


def test_a_plan_with_tasks_that_have_nothing_to_do_says_where_to_ask(call, survey: Path) -> None:
    with Butler("repo") as butler:
        (frame,) = [t for n, t in butler.dataset_types().items() if n == "frame"]
        butler.remove(butler.query(frame), run="raw/all")
    said = call(*PLAN)
    assert said.code == 2
    assert "no collection has any 'frame': ingest it" in said.err


def test_names_of_a_pipeline_cannot_break_out_of_its_drawing() -> None:
    nasty = 'a"]; click x "javascript:1"\n'
    frame = SimpleNamespace(name=nasty, units=(nasty,))
    task = SimpleNamespace(
        config=SimpleNamespace(quantum_units=(nasty,)),
        dataset_fields={"frame": SimpleNamespace(dataset_type=frame, role=SimpleNamespace(value="input"))},
    )

    class Odd(dict):
        def dataset_types(self) -> dict:
            return {nasty: SimpleNamespace(dataset_type=frame)}

    drawn = list(dot(Odd({nasty: task})))
    assert all(line.count('"') - line.count('\\"') in (0, 4) for line in drawn)
    for line in mermaid(Odd({nasty: task, "b": SimpleNamespace(config=None, dataset_fields={})})):
        assert line.count('"') in (0, 2)
