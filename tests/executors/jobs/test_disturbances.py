"""Engines that are wrong about jobs, and hosts that disagree about the time."""

from __future__ import annotations

import time

import pytest

import executors.batch
import executors.jobs.rounds
from executors import QuantumStatus, status
from executors.batch import JobState
from executors.jobs.collecting import collect
from executors.jobs.gathering import Gatherer
from executors.jobs.planning import HandPacker
from executors.jobs.running import run_job
from executors.outcome import Attempt
from executors.testing.blind import BlindFramework
from executors.testing.survey import RUN, Survey
from supertask.butler.datastore import Datastore
from supertask.butler.repository import Butler
from supertask.configs.policy import FailureClass

FAILED, BLOCKED, SUCCEEDED = QuantumStatus.FAILED, QuantumStatus.BLOCKED, QuantumStatus.SUCCEEDED


class Wrong(BlindFramework):
    """An engine that never takes note of a job's end."""

    def states(self, names):
        return dict.fromkeys(names, JobState.RUNNING)


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "survey")


def test_a_job_that_the_engine_says_is_running_and_is_not_is_found_out(survey, tmp_path):
    survey.order("stars-1-0", "kill")
    with Butler(survey.root) as butler:
        report = Wrong(tmp_path / "jobs", late=1.0).execute(survey.bundled(butler), butler)
    assert report.counts == {SUCCEEDED: survey.n_quanta - 3, FAILED: 1, BLOCKED: 2}


def test_jobs_of_an_earlier_driver_that_never_end_are_waited_for_a_while_alone(survey, tmp_path, monkeypatch):
    monkeypatch.setattr(executors.batch, "_GRACE", 0.3)
    with Butler(survey.root) as butler:
        plan = survey.bundled(butler)
        list(HandPacker(plan, butler, tmp_path / "plan.h5", staged=True).pack(tmp_path / "jobs"))
        assert Wrong(tmp_path / "jobs", late=1.0).execute(plan, butler).exit_code == 0
    assert len(survey.calls()) == survey.n_quanta


def test_a_job_keeps_its_folder_until_all_that_it_made_is_on_the_disk(survey, tmp_path, monkeypatch):
    safe, taken, unsafe, cleared = set(), {}, [], []
    sync, take, clear = Datastore.sync, Gatherer.take, Gatherer.clear_away

    def syncing(self, locations):
        locations = list(locations)
        sync(self, locations)
        safe.update(locations)

    def taking(self, piece):
        for each in take(self, piece):
            if isinstance(each, Attempt):
                taken.setdefault(piece.job.path.name, []).extend(r.location for r in each.records)
            yield each

    def clearing(self, job):
        unsafe.extend(set(taken[job.path.name]) - safe)
        cleared.append(job.path.name)
        clear(self, job)

    monkeypatch.setattr(Datastore, "sync", syncing)
    monkeypatch.setattr(Gatherer, "take", taking)
    monkeypatch.setattr(Gatherer, "clear_away", clearing)
    with Butler(survey.root) as butler:
        assert BlindFramework(tmp_path / "jobs").execute(survey.bundled(butler), butler).exit_code == 0
    assert unsafe == []
    assert sorted(cleared) == sorted(taken)
    assert not [path for path in (tmp_path / "jobs").iterdir() if path.name in taken]


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_host_whose_clock_is_wrong_makes_what_others_make(survey, tmp_path, monkeypatch, hours):
    with Butler(survey.root) as butler:
        plan = survey.bundled(butler)
        plan.save(tmp_path / "plan.h5")
        packer = HandPacker(plan, butler, tmp_path / "plan.h5")
        jobs = [job.path for _, job in packer.pack(packer.home)]
        right = time.time_ns
        with monkeypatch.context() as patch:
            patch.setattr(time, "time_ns", lambda: right() + hours * 3600 * 10**9)
            patch.setattr(time, "time", lambda: right() / 1e9 + hours * 3600)
            assert {int(run_job(job).code) for job in jobs} == {0}
        assert collect(plan, butler).settled.attempts == survey.n_quanta - 1
        assert BlindFramework(tmp_path / "jobs").execute(plan, butler).exit_code == 0
    assert status(str(survey.root), RUN).exit_code == 0
    assert len(survey.calls()) == survey.n_quanta


class Stopping(BlindFramework):
    """An engine that asks each job to end that runs a quantum without end."""

    def __init__(self, jobs, said, endless):
        super().__init__(jobs, late=1.0)
        self.grace = 0.5
        self.said = said
        self.endless = endless

    def why_gone(self, name):
        return self.said

    def hear(self, event):
        if type(event).__name__ == "QuantumStarted" and event.index == self.endless:
            self.cancel([n for n in self._processes if n.startswith("b1-")])


@pytest.mark.parametrize(
    ("said", "stops", "told"),
    [
        (("its job ran out of time", FailureClass.TIMEOUT), 10, "ran out of time"),
        (("its job was ended from outside", FailureClass.KILLED), 2, "its job was stopped 2 times"),
    ],
)
def test_what_never_ends_within_its_job_fails_some_time(survey, tmp_path, monkeypatch, said, stops, told):
    monkeypatch.setattr(executors.jobs.rounds, "_STOPS", stops)
    survey.order("stars-1-0", "hang")
    with Butler(survey.root) as butler:
        plan = survey.bundled(butler)
        endless = plan.find_quantum("stars", instrument="Cam", visit=1, detector=0)
        engine = Stopping(tmp_path / "jobs", said, endless)
        policies = {"*": {"retries.timeout": 0, "retries.transient": 0}}
        report = engine.execute(plan, butler, listeners=[engine.hear], policies=policies)
    assert report.counts[FAILED] == 1
    assert told in str(report.failures)
