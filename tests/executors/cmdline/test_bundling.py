"""Commands of bundles: batch, bundles, shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphbuilder.dag.dag import ScienceDag


@pytest.fixture
def planned(call, survey: Path) -> Path:
    said = call("preflight", "repo", "-p", "pipeline.yaml", "--output-run", "u/me/run1", "-o", "plan.h5")
    assert said.code == 0, said.err
    return Path("plan.h5")


def test_a_dry_run_shows_bundles_and_writes_nothing(call, planned):
    before = planned.read_bytes()
    said = call("batch", planned, "--max-quanta", 5, "--dry-run")
    assert said.code == 0
    assert "smallest  largest" in said.out
    assert "not written" in said.out
    assert planned.read_bytes() == before


def test_sizes_are_chosen_by_what_was_measured_and_the_reason_is_told(call, planned):
    said = call("batch", planned, "--auto", "--slots", 2)
    assert "nothing was measured of it: bundles of at most" in said.out
    assert call("run", planned).code == 0
    said = call("batch", planned, "--auto", "--slots", 2)
    assert "measured on" in said.out
    assert "for 2 slots" in said.out
    assert "why" in ScienceDag.load(planned).bundling().about
    (row, *_) = call("bundles", planned, "--json").rows
    assert row["status"] == "succeeded"
    assert row["asks for s"] is not None
    said = call("batch", planned, "--auto", "--measured", "u/me/run2")
    assert (said.code, "(did you mean 'u/me/run1'?); there are u/me/run1" in said.err) == (2, True)


def test_bundles_and_their_quanta_are_shown(call, planned):
    assert "no bundles" in call("bundles", planned).err
    call("batch", planned, "--max-quanta", 3, "--name", "three")
    call("batch", planned, "--max-quanta", 1, "--name", "one")
    said = call("bundles", planned, "--bundling", "three")
    assert "planned" in said.out
    assert "other bundlings, too: one" in said.err
    assert "bundle 0 of three: planned" in call("bundles", planned, "--bundling", "three", "--bundle", 0).out
    assert call("bundles", planned, "--quantum", 4, "--json").rows == [
        {"bundling": "three", "bundle": 1},
        {"bundling": "one", "bundle": 4},
    ]
    assert call("bundles", planned, "--bundle", 9999).code == 2


def test_a_bundle_runs_aside_of_its_run(call, planned, tmp_path):
    call("batch", planned, "--max-quanta", 3)
    assert call("run", planned).code == 0
    said = call(
        "shell", "u/me/run1", "--repo", "repo", "--bundle", 0, "--run", "--folder", tmp_path / "aside"
    )
    assert said.code == 0, said.err
    assert said.out.count("succeeded") == 3
    assert any(p.is_file() for p in (tmp_path / "aside").rglob("*"))


def test_a_prompt_knows_the_bundle(call, planned, monkeypatch):
    call("batch", planned, "--max-quanta", 3)
    lines = iter(["print(len(work.quanta), plan.n_quanta > 3)"])

    def read(prompt=""):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setitem(__import__("sys").modules, "IPython", None)
    said = call("shell", planned, "--bundle", 0)
    assert said.code == 0
    assert "3 True" in said.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("batch", "plan.h5", "--max-quanta", "0"), "0 is not in the range"),
        (("batch", "plan.h5", "--by", "vist"), "did you mean 'visit'"),
        (("batch", "plan.h5", "--max-time", "soon"), "is not a time"),
        (("batch", "plan.h5", "--max-time", "5m"), "nothing was measured of"),
        (("batch", "plan.h5", "--max-cost", "3", "--cost", "reduce"), "LABEL=NUMBER"),
        (("batch", "plan.h5", "--max-cost", "3", "--cost", "nobody=2"), "no task 'nobody'"),
        (("batch", "plan.h5", "--max-input", "much"), "is not a size"),
        (("batch", "plan.h5", "--auto", "--overhead-fraction", "200%"), "not a share"),
        (("batch", "plan.h5", "--auto", "--max-cost", "3"), "leave --max-cost out"),
        (("batch", "plan.h5", "--cost", "reduce=2"), "--cost does nothing without --max-cost, or --slots"),
        (
            ("batch", "plan.h5", "--slots", 2, "--time", "reduce=2", "--cost", "reduce=2"),
            "--cost does nothing",
        ),
        (("batch", "plan.h5", "--time", "reduce=2"), "--time does nothing without --max-time or --slots"),
        (("batch", "plan.h5", "--memory", "reduce=2"), "--memory does nothing without --max-memory"),
        (("batch", "plan.h5", "--largest-first"), "--largest-first does nothing without --slots"),
        (
            ("batch", "plan.h5", "--overhead-fraction", "5%", "--probe", 3),
            "error: --overhead-fraction and --probe do nothing without --auto",
        ),
        (
            ("batch", "plan.h5", "--split", 0, "--into", 2, "--max-quanta", 3),
            "--max-quanta does nothing with --split",
        ),
        (("collect", "plan.h5", "--every", 3), "--every does nothing without --follow"),
        (("run", "plan.h5", "--slots", 2), "--slots does nothing without --engine"),
        (("run", "plan.h5", "--scratch-size", "3G"), "--scratch-size does nothing without --scratch"),
        (("batch", "plan.h5", "--labels", "a"), "goes with --by or --shape"),
        (("batch", "plan.h5", "--split", "0"), "go together"),
        (("batch", "plan.h5", "--keep-together"), "needs `locality`"),
        (("batch", "none.h5", "--max-quanta", "2"), "no plan file"),
        (("bundles", "nothing"), "is in no repository"),
        (("bundles", "nothing", "--repo", "repo"), "there is no run 'nothing'"),
        (("shell", "plan.h5"), "give --bundle B or --quantum Q"),
        (("shell", "plan.h5", "--quantum", "99999"), "there is no quantum 99999"),
    ],
)
def test_what_makes_no_sense_is_told_and_ends_with_2(call, planned, words, message):
    said = call(*words)
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err
    assert json.dumps(said.out) == '""'
