"""preflight in shards, as a user calls it: the plan is the one made in one piece."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphbuilder.dag.dag import ScienceDag

P = ("preflight", "repo", "-p", "pipeline.yaml", "--output-run", "u/one")


def identities(path: str) -> set[bytes]:
    dag = ScienceDag.load(path)
    return {record.identity for record in dag.records(range(dag.n_quanta))}


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--where", "visit IN (2..5)"),
        ("-c", "sky{visit = 3}:factor=5"),
        ("--tasks", "sky"),
    ],
)
def test_shards_give_the_plan_that_one_piece_gives(call, survey: Path, words) -> None:
    assert call(*P, *words, "-o", "whole.h5").code == 0
    said = call(*P, *words, "-o", "parts.h5", "--shards", "visit", "--processes", 2, "--parts", 3, "--json")
    assert said.code == 0, said.err
    assert said.rows[0]["plan"] == "parts.h5"
    assert identities("parts.h5") == identities("whole.h5")
    assert not list(survey.glob(".tmp-*"))


def test_shards_can_be_run_and_what_they_made_need_not_run_again(call, survey: Path) -> None:
    assert call(*P, "-o", "first.h5", "--shards", "visit", "--processes", 2, "--where", "visit < 4").code == 0
    assert call("run", "first.h5").code == 0
    again = ("preflight", "repo", "-p", "pipeline.yaml", "--output-run", "u/two", "--skip-existing", "--json")
    whole = call(*again, "-o", "whole.h5")
    parts = call(*again, "-o", "parts.h5", "--shards", "visit", "--processes", 2)
    assert parts.code == 0, parts.err
    assert parts.rows[0]["reused"] == whole.rows[0]["reused"]
    assert identities("parts.h5") == identities("whole.h5")
    assert len(identities("parts.h5")) == 9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shards", "visitt"), "did you mean 'visit'"),
        (("--shards", "patch"), "no task has quanta by patch"),
        (("--processes", 2), "give --shards UNIT"),
        (("--shards", "visit", "--processes", 0), "--processes"),
        (("--shards", "visit", "--clobber"), "leave --shards out"),
        (("--shards", "visit", "--where", "vizit = 1"), "vizit"),
        (
            ("--shards", "visit", "--processes", 1, "--where", "visit = 77"),
            "no shard by visit has anything to do",
        ),
    ],
)
def test_what_cannot_be_planned_in_shards_is_told(call, survey: Path, words, said) -> None:
    found = call(*P, "-o", "plan.h5", *words)
    assert found.code == 2
    assert said in " ".join(found.err.replace("│", " ").split())
    assert "Traceback" not in found.err
    assert not (survey / "plan.h5").exists()
