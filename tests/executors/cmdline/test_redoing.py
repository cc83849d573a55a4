"""preflight against earlier runs, as a user calls it; each test counts quanta."""

from __future__ import annotations

from pathlib import Path

import pytest

from supertask.butler.repository import Butler

P = ("preflight", "repo", "-p", "pipeline.yaml", "-o", "next.h5", "--output-run")


@pytest.fixture
def first(call, survey: Path):
    """Everything once, in u/first."""
    assert call("preflight", "repo", "-p", "pipeline.yaml", "--output-run", "u/first").code == 0
    assert call("run", "plan.h5").code == 0
    return survey


def run_broken(call, *, most: int | None = None) -> None:
    """Run with visit 3 failing; with `most` failures, what is left never begins."""
    words = [] if most is None else ["--max-failures", most]
    said = call("preflight", "repo", "-p", "pipeline.yaml", "--output-run", "u/broken", "-c", "sky:fail=[3]")
    assert said.code == 0
    assert call("run", "plan.h5", *words).code == 1


def planned(said) -> dict[str, int]:
    """Label → quanta to run, of ``preflight --json``."""
    assert said.code == 0, said.err
    (row,) = said.rows
    return {t["label"]: t["run"] for t in row["reused"]["tasks"] if t["run"]}


def because(said) -> dict[str, dict[str, int]]:
    return {t["label"]: t["because"] for t in said.rows[0]["reused"]["tasks"]}


def test_nothing_runs_where_nothing_changed(call, first: Path) -> None:
    said = call(*P, "u/second", "--skip-existing")
    assert said.code == 0
    assert "nothing to run: all 18 quanta are there already" in said.out
    assert "reused from u/first" in said.out
    assert call("run", "next.h5").code == 0


def test_collections_may_be_given_one_by_one_or_together(call, first: Path) -> None:
    together = planned(call(*P, "u/second", "--skip-existing", "--json", "-i", "u/first,raw/all"))
    assert (
        planned(call(*P, "u/second", "--skip-existing", "--json", "-i", "u/first", "-i", "raw/all"))
        == together
    )


@pytest.mark.parametrize("run", ["../../x", "u/../y", "/tmp/z", "u//z", ""])
def test_a_run_outside_of_the_repository_is_refused_before_it_is_planned(
    call, survey: Path, run: str
) -> None:
    said = call(*P, run)
    assert said.code == 2
    assert "is no name for a collection" in said.err
    assert not (survey / "next.h5").exists()


def test_what_changed_is_told_one_thing_to_a_line(call, first: Path) -> None:
    call(*P, "u/second", "--reuse-from", "u/first", "-c", "sky:factor=3", "--where", "visit < 4")
    call("run", "next.h5")
    said = call(*P, "u/third", "--skip-existing", "-c", "sky:factor=3")
    assert planned(call(*P, "u/third", "--skip-existing", "-c", "sky:factor=3", "--json")) == {
        "sky": 6,
        "night": 3,
    }
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "sky 6 reused from u/second" in lines
    assert "sky 6 to run: task or config differs" in lines
    assert "sky 6 differs: config factor: 2.0 → 3.0" in lines


def test_what_failed_is_told_from_what_did_not_finish(call, survey: Path) -> None:
    run_broken(call, most=1)
    failed = call(*P, "u/again", "--failed", "u/broken", "--json")
    assert planned(failed)["sky"] >= 1
    assert because(failed)["sky"]["failed in run 'u/broken'"] >= 1
    unfinished = call(*P, "u/again", "--unfinished", "u/broken", "--json")
    assert planned(unfinished)["night"] >= planned(failed)["night"] == 1
    assert sum(planned(unfinished).values()) > sum(planned(failed).values())
    aside = sum(t["aside"] for t in failed.rows[0]["reused"]["tasks"])
    assert sum(planned(failed).values()) + aside == sum(planned(unfinished).values())


def test_a_mended_task_runs_again_where_it_failed_and_nowhere_else(call, survey: Path) -> None:
    run_broken(call)
    said = call(*P, "u/again", "--failed", "u/broken", "--json")  # fail: [] has another identity
    assert planned(said) == {"sky": 2, "night": 1}
    assert because(said)["sky"] == {"failed in run 'u/broken'": 2}
    assert call("run", "next.h5").code == 0
    with Butler("repo") as butler:
        assert len(butler.query("night", collections=["u/again", "u/broken"])) == 6


def test_with_nothing_failed_nothing_is_planned_and_the_rest_is_told(call, first: Path) -> None:
    said = call(*P, "u/again", "--failed", "u/first", "-c", "sky:factor=9")
    assert said.code == 0
    assert "nothing to run of what was asked for; 18 quanta that were not asked for" in said.out


def test_by_existence_whatever_is_there_counts(call, first: Path) -> None:
    said = call(*P, "u/second", "--by-existence", "-c", "sky:factor=3")
    assert "nothing to run: all 18 quanta are there already" in said.out
    assert planned(call(*P, "u/second", "--skip-existing", "-c", "sky:factor=3", "--json")) == {
        "sky": 12,
        "night": 6,
    }


def test_verify_makes_again_what_was_altered(call, first: Path) -> None:
    with Butler("repo") as butler:
        night = butler.query("night", collections=["u/first"])[0]
        path = Path("repo") / butler.locate(night, collections=["u/first"]).location
    text = path.read_text()
    path.write_text(text[::-1] if text[::-1] != text else text + " ")
    assert "nothing to run" in call(*P, "u/second", "--skip-existing").out
    said = call(*P, "u/second", "--skip-existing", "--verify", "--json")
    assert planned(said) == {"night": 1}
    assert because(said)["night"] == {"a file is gone or altered": 1}


@pytest.mark.parametrize(
    ("words", "quanta"),
    [("..sky", {"sky": 12}), ("sky", {"sky": 12}), ("sky..", {"sky": 12, "night": 6}),
     ("sky..night", {"sky": 12, "night": 6}), ("..night", {"sky": 12, "night": 6})],
)  # fmt: skip
def test_ranges_of_tasks(call, survey: Path, words: str, quanta: dict[str, int]) -> None:
    (row,) = call(*P, "u/part", "--tasks", words, "--json").rows
    assert {t["label"]: t["quanta"] for t in row["tasks"]} == quanta


def test_what_lies_before_a_range_is_read_where_it_is(call, first: Path) -> None:
    said = call(*P, "u/second", "--tasks", "night..", "--collections", "u/first,raw/all", "--json")
    assert {t["label"]: t["quanta"] for t in said.rows[0]["tasks"]} == {"night": 6}
    assert call("run", "next.h5").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tasks", "nigth.."), "did you mean 'night'"),
        (("--tasks", "night..sky"), "is it the other way?"),
        (("--tasks", ".."), "names nothing"),
        (("--failed", "u/frist"), "did you mean 'u/first'"),
        (("--failed", "u/first", "--unfinished", "u/first"), "give one of"),
        (("--skip-existing", "--verify", "--trust-registry"), "give one of them"),
        (("--verify",), "give --skip-existing with them"),
        (("--like", "nowhere.h5"), "nowhere.h5"),
        (("--identity", "code"), "'code' is not one of"),
    ],
)
def test_what_cannot_be_planned(call, first: Path, words: tuple[str, ...], message: str) -> None:
    said = call(*P, "u/second", *words)
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err


def test_the_data_ids_of_an_earlier_plan(call, first: Path) -> None:
    call("preflight", "repo", "-p", "pipeline.yaml", "--output-run", "u/some", "-o", "some.h5",
         "--where", "visit IN (2, 5) AND detector = 1")  # fmt: skip
    (row,) = call(*P, "u/second", "--like", "some.h5", "-c", "sky:factor=3", "--json").rows
    assert {t["label"]: t["quanta"] for t in row["tasks"]} == {"sky": 2, "night": 2}


def test_source_code_that_joins_or_leaves_the_identity_is_told(call, first: Path) -> None:
    def differs(*words: str) -> dict[str, int]:
        said = call(*P, "u/second", "--skip-existing", *words, "--json")
        return said.rows[0]["reused"]["tasks"][0]["differs"]

    assert differs("--identity", "source") == {"source code joined the identity": 12}
    call(*P, "u/by_source", "--identity", "source")
    call("run", "next.h5")
    said = call(*P, "u/second", "--reuse-from", "u/by_source", "--json")
    assert said.rows[0]["reused"]["tasks"][0]["differs"] == {"source code left the identity": 12}
    assert "nothing to run" in call(*P, "u/second", "--skip-existing", "--identity", "source").out


def test_a_comment_in_the_source_runs_nothing_unless_the_source_is_the_identity(call, first: Path) -> None:
    call(*P, "u/by_source", "--identity", "source")
    call("run", "next.h5")
    steps = first / "cmdline_steps.py"
    steps.write_text(f"# A comment.\n{steps.read_text()}")
    assert "nothing to run" in call(*P, "u/second", "--skip-existing").out
    said = call(*P, "u/second", "--skip-existing", "--identity", "source", "--json")
    assert planned(said) == {"sky": 12, "night": 6}
    (change,) = said.rows[0]["reused"]["tasks"][0]["differs"]
    assert change.startswith("source code: ")
