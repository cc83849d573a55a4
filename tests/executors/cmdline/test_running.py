"""Commands that run plans and tell what came of them: run, status, report."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest

from executors.cmdline.shown import RUNNING_SHOWN, show_status
from executors.cmdline.status import data_ids_running, find_report
from executors.journal.journal import Header
from executors.journal.replay import Begun
from supertask.butler.repository import Butler

ROOT = Path(__file__).resolve().parents[3]
PLANNING = ("-p", "pipeline.yaml", "--output-run", "u/me/run1")


@pytest.fixture
def plan(call, survey: Path):
    """Make plan.h5 with these overrides."""

    def make(*overrides: str) -> None:
        words = [word for o in overrides for word in ("-c", o)]
        assert call("preflight", "repo", *PLANNING, *words).code == 0

    return make


def test_run_that_succeeds_ends_with_0(call, plan) -> None:
    plan()
    said = call("run", "plan.h5")
    assert said.code == 0
    assert "18 of 18 quanta done" in said.out
    with Butler("repo") as butler:
        assert butler.get("night", instrument="Cam", visit=3) == 2 * (30 + 31)


def test_pool_of_processes_gives_the_same(call, plan) -> None:
    plan()
    said = call("run", "plan.h5", "-j", 2)
    assert said.code == 0, said.err
    assert "18 of 18 quanta done" in said.out


def test_plan_and_run_in_one_go(call, survey: Path) -> None:
    said = call("run", "repo", *PLANNING, "--where", "visit = 2", "--json")
    assert said.code == 0
    (row,) = said.rows
    assert row["counts"] == {"succeeded": 3}
    assert row["exit_code"] == 0


def test_same_command_again_runs_nothing(call, plan) -> None:
    plan()
    call("run", "plan.h5")
    again = call("run", "plan.h5")
    assert again.code == 0
    assert "18 of 18 quanta done, 18 of them before" in again.out
    refused = call("run", "plan.h5", "--no-resume")
    assert refused.code == 2
    assert "u/me/run1" in refused.err


def test_failure_blocks_what_depends_on_it_and_is_reported(call, plan) -> None:
    plan("sky:fail=[2]")
    said = call("run", "plan.h5")
    assert said.code == 1
    assert "2 failed, 1 blocked" in said.out
    assert "ValueError: visit 2 is too bright" in said.out
    assert "visit=2" in said.err
    assert "Traceback" not in said.out + said.err


def test_no_work_is_a_success(call, plan) -> None:
    plan("sky:empty=[5]")
    said = call("run", "plan.h5", "--json")
    assert said.code == 0
    # Both frames of the visit have nothing, and then the visit has too few inputs.
    assert said.rows[0]["counts"] == {"succeeded": 15, "no work": 3}


def test_fail_fast_begins_nothing_more(call, plan) -> None:
    plan("sky:fail=[1, 2, 3, 4, 5, 6]")
    said = call("run", "plan.h5", "--fail-fast", "--json")
    assert said.code == 1
    assert said.rows[0]["counts"]["failed"] == 1


def test_status_and_report_tell_of_a_run(call, plan) -> None:
    plan("sky:fail=[2]")
    call("run", "plan.h5")
    for where in (["plan.h5"], ["repo", "u/me/run1"]):
        status = call("status", *where)
        assert status.code == 1
        assert "15 of 18 quanta done, 2 failed, 1 blocked" in status.out
        report = call("report", *where)
        assert report.code == 1
        assert "is too bright" in report.out
        assert "Traceback" in report.out
    assert "Traceback" not in call("report", "plan.h5", "--no-tracebacks").out
    assert call("status", "plan.h5", "--json").rows[0]["counts"]["blocked"] == 1


def test_status_names_what_runs_the_longest_first(call, plan, capfd: pytest.CaptureFixture[str]) -> None:
    plan()
    call("run", "plan.h5")
    report = find_report(("plan.h5",))
    header = Header(run="u/me/run1", plan="", quanta=18, tasks=(("sky", 0, 12), ("night", 12, 6)))
    now = time.time_ns()
    begun = [Begun(i, 1, now - i * 10**9, header, alive=True) for i in range(18)] * 2
    report = attrs.evolve(report, running=tuple(begun))
    capfd.readouterr()
    show_status(report, running=data_ids_running(report, "repo"))
    shown = capfd.readouterr().out
    assert shown.split("running:")[1].splitlines()[2].split()[:5] == [
        "17",
        "night",
        "instrument=Cam,",
        "visit=6",
        "1",
    ]
    assert f"and {len(begun) - RUNNING_SHOWN} more that began later" in shown
    assert data_ids_running(report, "nowhere") == {}


def test_a_repository_that_was_moved_is_named_with_the_way_out(call, plan) -> None:
    plan()
    Path("repo").rename("moved")
    for words in (["run", "plan.h5"], ["clean", "plan.h5"], ["bundles", "plan.h5"]):
        said = call(*words)
        assert (said.code, "if it was moved, say where it is with --repo REPO" in said.err) == (2, True), said
    for command in ("status", "report"):
        assert "give it and the run instead of the plan: REPO u/me/run1" in call(command, "plan.h5").err
    assert call("run", "plan.h5", "--repo", "moved").code == 0
    assert call("status", "moved", "u/me/run1").code == 0


def test_status_of_a_journal_of_garbage_says_that_it_is_there_and_damaged(call, plan) -> None:
    plan()
    call("run", "plan.h5")
    for file in Path("repo/.supertask/runs/u/me/run1/journal").iterdir():
        file.write_bytes(b"\xff\x00garbage\n" * 9)
    said = call("status", "plan.h5")
    assert said.code == 2
    assert "the journal of run 'u/me/run1' cannot be read" in said.err
    assert "first line is damaged or missing" in said.err
    assert call("run", "plan.h5").code == 0


def test_far_more_processes_than_cores_are_mentioned(call, plan) -> None:
    plan()
    call("run", "plan.h5")  # so that none is started
    assert "-j 9999 is far more than" in call("run", "plan.h5", "-j", "9999").err
    assert "far more than" not in call("run", "plan.h5", "-j", "2").err


def test_status_of_a_run_that_never_was_is_refused(call, plan) -> None:
    plan()
    said = call("status", "plan.h5")
    assert said.code == 2
    assert "u/me/run1" in said.err


@pytest.mark.parametrize("words", [["repo"], ["a", "b", "c"]])
def test_status_needs_a_plan_or_a_run(call, survey: Path, words: list[str]) -> None:
    said = call("status", *words)
    assert said.code == 2
    assert "a repository and a run" in said.err


def test_folder_without_a_pipeline_is_bad_usage(call, survey: Path) -> None:
    said = call("run", "repo")
    assert said.code == 2
    assert "-p PIPELINE" in said.err


def test_moved_repository_can_be_named(call, plan) -> None:
    plan()
    shutil.move("repo", "elsewhere")
    refused = call("run", "plan.h5")
    assert refused.code == 2
    assert "is not there; if it was moved" in refused.err
    assert call("run", "plan.h5", "--repo", "elsewhere").code == 0


def test_plan_of_another_repository_is_refused(call, plan) -> None:
    plan()
    call("init", "other")
    said = call("run", "plan.h5", "--repo", "other")
    assert said.code == 2
    assert "repository" in said.err


def test_interrupt_ends_in_order_and_the_same_command_finishes(call, plan) -> None:
    Path("cmdline_steps.py").write_text(
        Path("cmdline_steps.py")
        .read_text()
        .replace("        if dataId", "        import time; time.sleep(0.2)\n        if dataId", 1)
    )
    plan()
    command = [sys.executable, "-m", "executors.cmdline", "run", "plan.h5"]
    child = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while not list(Path("repo").glob("u/me/run1/sky/**/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert "to go on: supertask run plan.h5" in out
    assert call("run", "plan.h5").code == 0
