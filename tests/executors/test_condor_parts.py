"""What can be said of HTCondor without one: its log, what events mean, what is submitted, and bad input."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from executors.batch import Job, JobState
from executors.condor.framework import CondorFramework
from executors.condor.joblog import Happened, JobLog, Kind
from executors.condor.queue import CondorRefusedError, Queue
from executors.condor.site import CondorSite, quoted
from executors.condor.standing import Standing
from executors.condor.submitting import refuse_odd
from supertask.configs.policy import FailureClass
from supertask.errors import ConfigError, ExecutionError
from tests.executors.batchruns import ROOT
from tests.executors.frames import make_repository, plan

SUBMITTED = "000 (031.002.000) 2026-11-21 13:11:31 Job submitted from host: <127.0.0.1:9618>\n...\n"
HELD = (
    "012 (031.002.000) 2026-11-21 13:11:35 Job was held.\n"
    "\tError from slot1_3@node7: memory usage exceeded request_memory\n"
    "\tCode 34 Subcode 102\n...\n"
)


def test_the_log_is_read_as_it_grows_and_never_half_an_event(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "jobs.log")
    assert not list(log.read()), "it need not be there yet"
    half = len(HELD) // 2
    log.path.write_text(SUBMITTED + HELD[:half])
    (submitted,) = log.read()
    assert (submitted.kind, submitted.cluster, submitted.process) == (Kind.SUBMITTED, 31, 2)
    assert not list(log.read())
    with log.path.open("a") as file:
        file.write(HELD[half:])
    (held,) = log.read()
    assert held.kind is not Kind.RELEASED
    assert held.text.endswith("Code 34 Subcode 102")


def test_events_of_other_kinds_and_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "jobs.log")
    log.path.write_text(
        "what is this\n...\n" + SUBMITTED + "006 (031.002.000) 2026-11-21 13:11:35 Size\n...\n"
    )
    standing = Standing()
    for event in log.read():
        standing.take(event)
    assert (standing.state, standing.id) == (JobState.WAITING, "31.2")


@pytest.mark.parametrize(
    ("text", "state", "kind", "said"),
    [
        ("Job was held.\nmemory usage exceeded request_memory\nCode 34 Subcode 102", JobState.GONE,
         FailureClass.OUT_OF_MEMORY, "more memory than it had asked for"),
        ("Job was held.\nThe job exceeded allowed execute duration of 0+00:05:00\nCode 47 Subcode 0",
         JobState.GONE, FailureClass.TIMEOUT, "ran out of time"),
        ("Job was held.\nTransfer output files failure at execution point\nCode 12 Subcode 2", JobState.GONE,
         FailureClass.TRANSIENT, "could not be brought back"),
        ("Job was held.\nvia condor_hold (by user jobs)\nCode 1 Subcode 0", JobState.WAITING,
         FailureClass.KILLED, ""),
    ],
)  # fmt: skip
def test_a_hold_means_what_its_code_says(text: str, state: JobState, kind: FailureClass, said: str) -> None:
    standing = Standing(state=JobState.RUNNING)
    standing.take(Happened(Kind.HELD, 31, 2, text))
    assert (standing.state, standing.kind) == (state, kind)
    assert said in standing.ours
    standing.take(Happened(Kind.REMOVED, 31, 2, "Job was aborted.\nvia condor_rm"))
    assert standing.state is JobState.GONE


def test_an_evicted_job_waits_again() -> None:
    standing = Standing(state=JobState.RUNNING)
    standing.take(Happened(Kind.EVICTED, 1, 0, "Job was evicted."))
    assert standing.state is JobState.WAITING


def test_a_site_says_what_each_job_asks_for(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(
        'accounting_group: survey\nminutes: 30\ncpus: 2\npriority: 5\nenvironment: ["A=it\'s 1"]\n'
        "options: ['+ProjectName = \"survey\"']\n"
    )
    site = CondorSite.load(file)
    job = Job(name="b0", folder=tmp_path, command=("true",), quanta=1, labels=(), precedence=-2)
    assert site.asked(job) == [
        "request_memory = 2048", "request_cpus = 2", "allowed_execute_duration = 2100", "priority = 3",
    ]  # fmt: skip
    lines = site.lines()
    assert "accounting_group = survey" in lines
    assert '+ProjectName = "survey"' in lines
    assert "environment = \"'A=it''s 1'\"" in lines


def test_words_are_quoted_as_submit_descriptions_want_it() -> None:
    assert quoted(["a b", "it's", 'say "x"']) == "\"'a b' 'it''s' 'say \"\"x\"\"'\""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partition: long", "partition"),
        ("memroy: 5", "did you mean 'memory'"),
        ("cpus: 0", "cpus"),
        ("options: [queue 100]", "no command of a submit description"),
        ("options: ['executable = /bin/evil']", "said by SuperTask itself"),
        ("environment: [A]", "not NAME=value"),
        ("inherit: ['A B']", "no name of an environment variable"),
        ("[1, 2", "not plain YAML"),
    ],
)
def test_mistakes_in_a_sites_file_are_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        CondorSite.load(file)


def test_folders_that_mean_something_to_htcondor_are_refused() -> None:
    refuse_odd([Path("/data/my run")])
    with pytest.raises(ExecutionError, match="let jobs have their folders elsewhere"):
        refuse_odd([Path("/data/$(run)")])


def test_a_host_without_htcondor_is_told(tmp_path: Path) -> None:
    with make_repository(tmp_path / "repo", 1, 1) as butler:
        without = CondorFramework(queue=Queue({"PATH": str(tmp_path)}))
        with pytest.raises(ExecutionError, match="was not found: HTCondor is not installed on this host"):
            without.execute(plan(butler), butler)


def program(folder: Path, name: str, text: str) -> dict[str, str]:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_a_queue_that_does_not_answer_is_told(tmp_path: Path) -> None:
    env = program(tmp_path, "condor_q", "echo '-- Failed to fetch ads from: <127.0.0.1:9618>' >&2; exit 1")
    with pytest.raises(ExecutionError, match="cannot be reached: .*its jobs go on"):
        Queue(env, patience=0.3).standing("true")


def test_a_refusal_is_given_in_htcondors_own_words(tmp_path: Path) -> None:
    env = program(
        tmp_path, "condor_submit", "echo 'ERROR: Number of submitted jobs would exceed' >&2; exit 1"
    )
    with pytest.raises(CondorRefusedError, match="would exceed"):
        Queue(env).submit(tmp_path / "x.sub")


def test_a_job_that_the_log_says_is_running_and_the_queue_does_not_have_is_gone(tmp_path: Path) -> None:
    program(tmp_path, "condor_status", "true")
    program(tmp_path, "condor_submit", "echo '31.0 - 31.0'")
    env = program(tmp_path, "condor_q", "true")
    run = CondorFramework(queue=Queue(env), check=0.0)
    folder = tmp_path / "jobs" / "b0-1"
    job = Job(name="b0-1", folder=folder, command=("true", str(folder)), quanta=1, labels=())
    folder.mkdir(parents=True)
    run.submit([job])
    assert run.states(["b0-1"]) == {"b0-1": JobState.GONE}
    why, kind = run.why_gone("b0-1")
    assert "not in the queue any more" in why
    assert kind is FailureClass.KILLED


@pytest.mark.skipif(importlib.util.find_spec("htcondor2") is None, reason="no bindings: pip install htcondor")
@pytest.mark.skipif(Path("/etc/condor/condor_config").exists(), reason="HTCondor is set up on this host")
def test_a_host_with_bindings_and_without_a_pool_is_told_in_plain_words() -> None:
    words = "from executors.condor.bindings import BoundQueue; BoundQueue().machines()"
    env = {name: value for name, value in os.environ.items() if name != "CONDOR_CONFIG"}
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert "HTCondor is not set up on this host" in done.stderr
    assert "UserWarning" not in done.stderr
