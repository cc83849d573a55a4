"""Commands that look and plan: init, query, pipeline, preflight, dag, batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphbuilder.dag.dag import ScienceDag
from supertask.butler.repository import Butler

PLAN = ("preflight", "repo", "-p", "pipeline.yaml", "--output-run", "u/me/run1")


def test_new_repository_says_what_its_units_are(call, tmp_path: Path) -> None:
    said = call("init", tmp_path / "repo", "--unit-model", "spectra")
    assert said.code == 0
    assert "unit model spectra: release" in said.out


def test_repository_is_made_but_once(call, survey: Path) -> None:
    said = call("init", "repo")
    assert said.code == 2
    assert "there is a repository" in said.err


def test_folder_that_is_no_repository_is_refused(call, tmp_path: Path) -> None:
    said = call("query", tmp_path, "--types")
    assert said.code == 2
    assert "is not a data repository" in said.err


def test_datasets_are_listed_by_data_id(call, survey: Path) -> None:
    said = call("query", "repo", "frame", "--where", "visit IN (2, :v)", "--bind", "v=3")
    assert said.out.splitlines() == [
        "instrument  visit  detector",
        "Cam             2         0",
        "Cam             2         1",
        "Cam             3         0",
        "Cam             3         1",
    ]


def test_programs_read_json(call, survey: Path) -> None:
    said = call("query", "repo", "frame", "--limit", 1, "--files", "--json")
    (row,) = said.rows
    assert (row["instrument"], row["visit"], row["detector"]) == ("Cam", 1, 0)
    assert Path("repo", row["location"]).stat().st_size == row["bytes"]


def test_types_collections_and_units_are_listed(call, survey: Path) -> None:
    assert call("query", "repo", "--types", "--json").rows == [
        {"name": "frame", "units": "visit, detector", "storage": "json"}
    ]
    assert call("query", "repo", "--collections", "--json").rows[0]["name"] == "raw/all"
    units = call("query", "repo", "--units", "visit", "--where", "visit > 4").out.splitlines()
    assert units == ["instrument  visit  object", "Cam             5  M31", "Cam             6  M31"]


def test_collections_to_search_may_be_named(call, survey: Path) -> None:
    assert len(call("query", "repo", "frame", "--collections", "raw/all", "--json").rows) == 12
    assert call("query", "repo", "frame", "--collections", "raw/al").code == 2


@pytest.mark.parametrize("words", [[], ["frame", "--types"], ["--types", "--units", "visit"]])
def test_a_query_asks_one_thing(call, survey: Path, words: list[str]) -> None:
    said = call("query", "repo", *words)
    assert said.code == 2
    assert "give one of" in said.err


def test_pipeline_is_shown_with_who_makes_what(call, survey: Path) -> None:
    said = call("pipeline", "show", "pipeline.yaml", "-c", "sky:factor=3", "--values")
    assert said.code == 0
    assert "cmdline_steps:NightTask" in said.out
    assert "(must be there)" in said.out
    assert "3.0 adu  sky:factor=3" in said.out


def test_pipeline_is_shown_as_json(call, survey: Path) -> None:
    (row,) = call("pipeline", "show", "pipeline.yaml", "--json").rows
    assert row["tasks"]["sky"]["config"]["factor"] == 2
    assert row["dataset_types"]["sky"]["producer"] == "sky"


def test_mistyped_override_is_refused_with_a_hint(call, survey: Path) -> None:
    said = call("pipeline", "show", "pipeline.yaml", "-c", "sky:factr=3")
    assert said.code == 2
    assert "did you mean 'factor'?" in said.err


def test_plan_is_made_and_saved(call, survey: Path) -> None:
    said = call(*PLAN, "--where", "visit IN (1..4)", "-c", "sky:factor=4", "-o", "four.h5")
    assert said.code == 0
    assert "planned 12 quanta and 20 datasets" in said.out
    dag = ScienceDag.load("four.h5")
    assert dag.meta.output_run == "u/me/run1"
    assert dag.task("sky").config["factor"] == 4
    assert dag.meta.where == "visit IN (1..4)"


def test_plan_is_described_for_programs(call, survey: Path) -> None:
    (row,) = call(*PLAN, "--json").rows
    assert row["plan"] == "plan.h5"
    assert [(t["label"], t["quanta"]) for t in row["tasks"]] == [("sky", 12), ("night", 6)]
    assert row["quanta"] == 18


def test_empty_plan_says_which_step_left_nothing(call, survey: Path) -> None:
    said = call(*PLAN, "--where", "visit > 100")
    assert said.code == 2
    assert "is empty" in said.err
    assert "'visit' selected" in said.err
    assert not Path("plan.h5").exists()


def test_expression_with_a_typo_is_pointed_at(call, survey: Path) -> None:
    said = call(*PLAN, "--where", "visti > 3")
    assert said.code == 2
    assert "did you mean 'visit'?" in said.err
    assert said.err.endswith("  visti > 3\n  ^\n")


def test_plan_without_a_run_to_write_to_is_bad_usage(call, survey: Path) -> None:
    said = call("preflight", "repo", "-p", "pipeline.yaml")
    assert said.code == 2
    assert "--output-run" in said.err


def test_plan_is_shown_with_its_origin(call, survey: Path) -> None:
    call(*PLAN, "--where", "visit < 4")
    said = call("dag", "show", "plan.h5")
    assert said.code == 0
    for words in ("u/me/run1", "visit < 4", "How it came about:", "9 quanta:", "there, "):
        assert words in said.out
    assert said.out.index("9 quanta:") < said.out.index("How it came about:"), "what is longest comes last"


def test_one_task_of_a_plan_is_listed(call, survey: Path) -> None:
    call(*PLAN)
    rows = call("dag", "show", "plan.h5", "--label", "night", "--limit", 2, "--json").rows
    assert [(r["quantum"], r["visit"]) for r in rows] == [(12, 1), (13, 2)]
    assert "4 more" in call("dag", "show", "plan.h5", "--label", "night", "--limit", 2).err


def test_one_quantum_is_shown_with_what_it_reads_and_writes(call, survey: Path) -> None:
    call(*PLAN)
    (row,) = call("dag", "show", "plan.h5", "--quantum", 13, "--json").rows
    assert row["dataId"] == {"instrument": "Cam", "visit": 2}
    assert [d["detector"] for d in row["reads"]["sky"]] == [0, 1]
    found = call("dag", "show", "plan.h5", "--identity", row["identity"][:8])
    assert row["identity"] in found.out
    assert "night" in found.out


def test_quantum_that_is_not_there_is_refused(call, survey: Path) -> None:
    call(*PLAN)
    said = call("dag", "show", "plan.h5", "--quantum", 99)
    assert said.code == 2
    assert "0 to 17" in said.err


def test_damaged_plan_is_refused(call, survey: Path) -> None:
    call(*PLAN)
    whole = Path("plan.h5").read_bytes()
    Path("plan.h5").write_bytes(whole[: len(whole) // 2])
    said = call("dag", "show", "plan.h5")
    assert said.code == 2
    assert "plan.h5" in said.err
    assert "Traceback" not in said.err


def test_plan_is_cut_into_bundles(call, survey: Path) -> None:
    call(*PLAN)
    said = call("batch", "plan.h5", "--max-quanta", 5, "-o", "bundled.h5")
    assert said.code == 0
    assert said.out.splitlines()[-1] == "5 bundles of 18 quanta in bundled.h5"
    assert ScienceDag.load("plan.h5").bundling() is None
    assert json.loads(call("dag", "show", "bundled.h5", "--json").out)["bundlings"] == {"default": 5}


def test_times_are_told_in_words(call, survey: Path) -> None:
    with Butler("repo") as butler:
        butler.insert_units("visit", [{"instrument": "Cam", "visit": 7, "obs_time": "2026-01-05T03:00:00.5"}])
    rows = call("query", "repo", "--units", "visit", "--where", "visit > 5", "--json").rows
    assert [r.get("obs_time") for r in rows] == [None, "2026-01-05T03:00:00.500"]
