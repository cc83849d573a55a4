"""Warm children: one process that runs one job after another, whatever tasks do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from executors.host.processes import is_alive
from executors.jobs.folder import ExitCode, JobFolder
from executors.jobs.pieces import Piece
from executors.jobs.planning import HandPacker
from executors.testing.survey import Survey
from executors.warm.child import WarmChild
from supertask.butler.repository import Butler

ROOT = Path(__file__).parents[2]


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "survey", visits=3)


@pytest.fixture
def jobs(survey, tmp_path):
    with Butler(survey.root) as butler:
        plan = survey.bundled(butler)
        plan.save(tmp_path / "plan.h5")
        packer = HandPacker(plan, butler, tmp_path / "plan.h5")
        return [job.path for _, job in packer.pack(tmp_path / "jobs")]


@pytest.fixture
def child():
    with WarmChild(grace=0.5) as child:
        yield child


def until(happened):
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def processes_of(job):
    return {line.header.pid for line in Piece(JobFolder(job)).read()}


def test_one_process_runs_one_job_after_another(child, jobs, survey):
    assert [child.run(job).code for job in jobs] == [ExitCode.SUCCEEDED] * 3
    assert {pid for job in jobs for pid in processes_of(job)} == {child.pid}
    assert len(survey.calls()) == 7 * 3


def test_what_tasks_print_is_kept_apart_from_what_is_said(child, jobs, tmp_path):
    out = tmp_path / "out.txt"
    assert child.run(jobs[0], output=out).code == 0
    assert out.exists()


def test_a_failed_quantum_is_said_by_the_exit_code_and_the_child_goes_on(child, jobs, survey):
    survey.order("stars-0-0", "raise")
    ran = child.run(jobs[0])
    assert (ran.code, ran.died) == (ExitCode.FAILED, False)
    assert "1 of" in ran.why
    assert child.run(jobs[1]).code == 0


def test_a_child_that_its_task_kills_is_replaced(child, jobs, survey):
    survey.order("stars-0-0", "kill")
    ran = child.run(jobs[0])
    assert (ran.code, ran.died) == (-signal.SIGKILL, True)
    assert "SIGKILL" in ran.why
    first = child.pid
    assert child.run(jobs[1]).code == 0
    assert child.pid != first


def test_a_job_that_takes_too_long_is_ended(child, jobs, survey):
    survey.order("stars-0-0", "hang")
    ran = child.run(jobs[0], seconds=5.0)
    assert ran.died
    assert "longer than the 5 s" in ran.why


def test_asked_to_stop_it_gives_back_what_has_not_begun(child, jobs, survey):
    survey.order("stars-0-0", "hang")
    asked = threading.Thread(target=lambda: (until(lambda: "stars-0-0" in survey.calls()), child.ask()))
    asked.start()
    ran = child.run(jobs[0])
    asked.join()
    assert (ran.code, ran.died) == (ExitCode.AGAIN, False)
    assert child.run(jobs[1]).code == 0, "it is the job that was asked, not the child"


def test_killed_from_another_thread_it_says_so(child, jobs, survey):
    survey.order("stars-0-0", "hang")
    killer = threading.Thread(target=lambda: (until(lambda: "stars-0-0" in survey.calls()), child.kill()))
    killer.start()
    assert child.run(jobs[0]).died
    killer.join()


def test_what_is_no_job_is_said(child, tmp_path):
    ran = child.run(tmp_path)
    assert (ran.code, ran.died) == (ExitCode.BAD_INPUT, False)
    assert "no job to be run" in ran.why


def test_an_interpreter_without_our_software_is_said(jobs, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    with WarmChild(str(python)) as child:
        ran = child.run(jobs[0])
    assert ran.died
    assert "before it was up" in ran.why


PARENT = """
import sys, threading
from executors.warm.child import WarmChild
child = WarmChild()
def work():
    child.start()
    print(child.pid, flush=True)
    child.run(sys.argv[1])
if sys.argv[2] == "main":
    work()
else:
    threading.Thread(target=work).start()
"""


@pytest.mark.parametrize("thread", ["main", "other"])
def test_a_child_ends_with_its_parent(jobs, survey, thread):
    survey.order("stars-0-0", "hang")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(jobs[0]), thread],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    pid = int(parent.stdout.readline())
    until(lambda: "stars-0-0" in survey.calls())
    parent.kill()
    parent.communicate()
    until(lambda: not is_alive(pid))
