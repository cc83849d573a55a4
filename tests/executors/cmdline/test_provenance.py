"""The commands that tell where data came from, compare runs, and write and run capsules."""

from __future__ import annotations

import json
import os
import shutil

import pytest


@pytest.fixture
def done(survey, call):
    """Two runs of the survey, the second with another factor."""
    for run, factor in (("u/me/a", "2"), ("u/me/b", "3")):
        plan = f"{run[-1]}.h5"
        words = ["-p", "pipeline.yaml", "-i", "raw/all", "-c", f"sky:factor={factor}", "--output-run", run]
        assert call("preflight", "repo", "-o", plan, *words).code == 0
        assert call("run", plan).code == 0
    return survey


def test_provenance_of_a_dataset_is_shown(done, call):
    said = call("provenance", "night", "visit=3", "-i", "u/me/a", "--depth", "all", "--repo", "repo")
    assert said.code == 0, said.err
    assert "quantum night instrument=Cam visit=3: succeeded" in said.out
    assert "cmdline_steps:SkyTask, version" in said.out
    assert "factor=2.0" in said.out
    assert "frame instrument=Cam visit=3 detector=1" in said.out
    assert "from raw/all" in said.out


def test_provenance_goes_down_through_runs(done, call):
    said = call(
        "provenance", "frame", "visit=3", "detector=1", "--down", "--depth=all", "--repo=repo", "--json"
    )
    [found] = said.rows
    assert sorted((q["label"], q["run"]) for q in found["quanta"]) == [
        ("night", "u/me/a"), ("night", "u/me/b"), ("sky", "u/me/a"), ("sky", "u/me/b")
    ]  # fmt: skip


def test_the_repository_of_the_current_folder_is_asked(done, call, monkeypatch):
    monkeypatch.chdir(done / "repo" / "u")
    assert call("provenance", "night", "visit=3").code == 0
    monkeypatch.chdir(done)
    said = call("provenance", "night", "visit=3")
    assert said.code == 2
    assert "--repo" in said.err


def test_provenance_is_written_as_prov(done, call):
    said = call("provenance", "night", "visit=3", "--repo", "repo", "--prov", "night.json")
    assert said.code == 0
    assert "voprov:name" in (done / "night.json").read_text()
    assert call("provenance", "--run", "a.h5", "--prov", "run.json").code == 0
    assert len(json.loads((done / "run.json").read_text())["activity"]) == 18


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nigth", "visit=3"], "did you mean 'night'"),
        (["night", "visit=99"], "there are 6 others"),
        (["night", "visit"], "is not UNIT=VALUE"),
        (["night", "visit=1", "visit=2"], "given twice"),
        (["night", "visit=3", "--depth", "some"], "--depth"),
        (["night", "visit=3", "--prov", "x.doc"], "ends in"),
        ([], "give a dataset"),
        (["--run", "u/me/c"], "did you mean 'u/me/b'"),
    ],
)
def test_what_is_not_there_is_said_in_one_message(done, call, words, says):
    said = call("provenance", *words, "--repo", "repo")
    assert said.code == 2
    assert says in said.err
    assert "Traceback" not in said.err


def test_an_altered_file_is_said_and_gives_exit_code_1(done, call):
    path = done / "repo" / "u/me/b/night/Cam/night_Cam_3.json"
    path.write_text(path.read_text().replace("1", "2"))
    said = call("provenance", path, "--repo", "repo", "--check")
    assert said.code == 1
    assert "ALTERED" in said.out


def test_control_characters_in_logs_reach_no_terminal(done, call):
    steps = (done / "cmdline_steps.py").read_text()
    words = 'self.log.warning("\\x1b[2J\\x1b]0;gone\\x07<script>"); return Struct(sky'
    (done / "loud_steps.py").write_text(steps.replace("return Struct(sky", words))
    text = (done / "pipeline.yaml").read_text().replace("cmdline_steps", "loud_steps")
    (done / "loud.yaml").write_text(text)
    call("preflight", "repo", "-o", "c.h5", "-p", "loud.yaml", "-i", "raw/all", "--output-run", "u/me/c")
    assert call("run", "c.h5").code == 0
    said = call("provenance", "sky", "visit=3", "detector=0", "-i", "u/me/c", "--logs", "--repo", "repo")
    assert "\\x1b[2J" in said.out
    assert "\x1b" not in said.out
    assert "\x07" not in said.out


def test_two_runs_are_compared(done, call):
    said = call("diff", "u/me/a", "u/me/b", "--repo", "repo")
    assert said.code == 1
    assert "config factor" in said.out
    assert "the data differ" in said.out
    [line] = [line for line in said.out.splitlines() if line.startswith("sky") and "value" in line]
    assert line.split()[2:7] == ["12", "12", "12", "61", "35.5"]


def test_runs_that_are_the_same_give_exit_code_0(done, call):
    assert call("diff", "u/me/a", "a.h5", "--repo", "repo").code == 0
    assert call("diff", "u/me/a", "u/me/b", "--repo", "repo", "-a", "1000").code == 0
    assert call("diff", "u/me/a", "u/me/b", "--repo", "repo", "--no-data").code == 0


def test_a_comparison_is_written_as_json(done, call):
    [found] = call("diff", "u/me/a", "u/me/b", "--repo", "repo", "--json", "-t", "sky").rows
    assert found["same"] is False
    assert [d["name"] for d in found["data"]] == ["sky"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["u/me/a", "u/me/x"], "did you mean"),
        (["u/me/a", "u/me/b", "-t", "skyy"], "did you mean 'sky'"),
        (["u/me/a", "u/me/b", "-a", "-1"], "-1"),
        (["u/me/a"], "RUN-B"),
    ],
)
def test_bad_comparisons_are_refused(done, call, words, says):
    said = call("diff", *words, "--repo", "repo")
    assert said.code == 2
    assert says in said.err


def test_a_capsule_is_written_and_run(done, call, monkeypatch):
    said = call("capsule", "u/me/a", "night", "visit=3", "--repo", "repo")
    assert said.code == 0, said.err
    assert "supertask run-capsule night-Cam-3.zip" in said.out
    shutil.rmtree(done / "repo")
    said = call("run-capsule", "night-Cam-3.zip")
    assert said.code == 0, said.err
    assert "the same, byte by byte" in said.out
    assert call("run-capsule", "night-Cam-3.zip", "--json").rows[0]["same"] is True
    assert {"night-Cam-3-run1", "night-Cam-3-run2"} <= set(os.listdir())


def test_a_capsule_of_a_quantum_by_its_identity(done, call):
    [found] = call("provenance", "night", "visit=3", "-i", "u/me/a", "--repo", "repo", "--json").rows
    identity = found["quanta"][0]["identity"][:12]
    assert call("capsule", "a.h5", identity, "-o", "folder").code == 0
    assert (done / "folder" / "README.md").exists()
    said = call("capsule", "a.h5", identity, "-o", "folder")
    assert said.code == 2
    assert "is there already" in said.err


def test_a_damaged_capsule_gives_exit_code_2(done, call):
    call("capsule", "a.h5", "night", "visit=3", "-o", "x.zip")
    (done / "x.zip").write_bytes((done / "x.zip").read_bytes()[:200])
    said = call("run-capsule", "x.zip")
    assert said.code == 2
    assert "x.zip" in said.err
    assert "Traceback" not in said.err
