"""supertask identity diff, as a user calls it."""

from __future__ import annotations

import pytest

P = ("preflight", "repo", "-p", "pipeline.yaml", "--output-run")


@pytest.fixture
def runs(call, survey):
    """Two runs that differ in a config field of the first task."""
    assert call(*P, "u/a", "-o", "a.h5").code == 0
    assert call("run", "a.h5").code == 0
    assert call(*P, "u/b", "-o", "b.h5", "-c", "sky:factor=3").code == 0
    assert call("run", "b.h5").code == 0
    return survey


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("a.h5#12", "b.h5#12"),
        ("a.h5#night,visit=1", "b.h5#night,visit=1,instrument=Cam"),
        ("u/a#night,visit=1", "u/b#night,visit=1"),
        ("a.h5#night,visit=1", "u/b#night,visit=1"),
    ],
)
def test_the_field_in_which_two_identities_part(call, runs, a, b) -> None:
    said = call("identity", "diff", a, b, "--repo", "repo")
    assert said.code == 1, said.err
    assert "config factor: 2.0 → 3.0" in said.out
    assert "which reaches it by sky {" in said.out
    (row,) = call("identity", "diff", a, b, "--repo", "repo", "--json").rows
    assert {r["change"]["what"] for r in row["roots"]} == {"config factor"}


def test_one_is_itself(call, runs) -> None:
    assert call("identity", "diff", "a.h5#3", "a.h5#3").code == 0
    assert call("identity", "diff", "u/a#night,visit=1", "u/a#night,visit=1", "--repo", "repo").code == 0
    # A dataset beside a quantum stands for what made it.
    assert call("identity", "diff", "a.h5#night,visit=1", "u/a#night,visit=1", "--repo", "repo").code == 0


def test_what_was_ingested_has_no_plan(call, runs) -> None:
    words = ("raw/all#frame,visit=1,detector=0", "raw/all#frame,visit=1,detector=1")
    said = call("identity", "diff", *words, "--repo", "repo")
    assert said.code == 1
    assert "content: " in said.out
    said = call("identity", "diff", words[0], "u/a#night,visit=1", "--repo", "repo")
    assert "made by: no plan known: ingested → night" in said.out


def test_what_was_reused_is_followed_into_the_run_that_made_it(call, runs) -> None:
    assert call(*P, "u/c", "-o", "c.h5", "--tasks", "night", "--collections", "u/a,raw/all").code == 0
    assert call(*P, "u/d", "-o", "d.h5", "--tasks", "night", "--collections", "u/b,raw/all").code == 0
    said = call("identity", "diff", "c.h5#0", "d.h5#0")
    assert said.code == 1
    assert "config factor: 2.0 → 3.0" in said.out


@pytest.mark.parametrize(
    ("a", "message"),
    [
        ("a.h5", "write PLAN#NUMBER"),
        ("a.h5#99", "there is no quantum 99: the plan has 0 to 17"),
        ("a.h5#nigth,visit=1", "did you mean 'night'"),
        ("a.h5#night,visit", "'visit' is not UNIT=VALUE"),
        ("a.h5#night,visit=1,visit=2", "'visit' is given twice"),
        ("a.h5#night,visit=77", "no quantum of 'night'"),
        ("a.h5#night,vsit=1", "vsit"),
        ("a.h5#", "comes a number, or a name"),
        ("nowhere.h5#1", "nowhere.h5"),
        ("u/aa#night,visit=1", "did you mean 'u/a'"),
        ("u/a#nigth,visit=1", "did you mean 'night'"),
        ("u/a#night", "names 6 datasets in 'u/a'"),
        ("u/a#night,visit=99", "names 0 datasets"),
        ("u/a#night,vsit=1", "vsit"),
    ],
)
def test_what_is_not_there(call, runs, a: str, message: str) -> None:
    said = call("identity", "diff", a, "b.h5#1", "--repo", "repo")
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err
