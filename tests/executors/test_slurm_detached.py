"""Runs on Slurm without a driver: everything submitted at once, each job behind those that it waits for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from executors import InProcessFramework, QuantumStatus
from executors.batch import Chained, Job
from executors.cmdline.main import main
from executors.engines import EngineOptions, make_framework
from executors.jobs.collecting import collect
from executors.slurm.chains import arrays_of
from executors.slurm.controller import Controller
from executors.slurm.framework import SlurmFramework
from executors.testing import slurm
from executors.testing.survey import Survey
from graphbuilder.dag.values import Bundling
from supertask.butler.repository import Butler
from supertask.errors import ConfigError, ExecutionError

SUCCEEDED, NO_WORK, FAILED, BLOCKED = (
    QuantumStatus.SUCCEEDED, QuantumStatus.NO_WORK, QuantumStatus.FAILED, QuantumStatus.BLOCKED,
)  # fmt: skip
with_slurm = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not() or "there is one"),
]


def chained(*pairs):
    """Make jobs from names, each with the names of those before it."""
    return [
        Chained(Job(name=name, folder=Path(name), command=("true",), quanta=1, labels=()), tuple(after))
        for name, after in pairs
    ]


def shown(arrays):
    number = {id(array): i for i, array in enumerate(arrays)}
    return [
        ({i: c.job.name for i, c in a.jobs.items()}, a.dependencies(lambda other: str(number[id(other)])))
        for a in arrays
    ]


def test_chains_go_on_index_by_index_and_a_gather_waits_for_arrays():
    jobs = chained(
        ("a0", ""), ("a1", ""), ("a2", ""), ("b0", ["a0"]), ("b2", ["a2"]), ("c", ["b0", "a1", "b2"])
    )
    assert shown(arrays_of(jobs, lambda _: "alike", 100)) == [
        ({0: "a0", 1: "a1", 2: "a2"}, []),
        ({0: "b0", 2: "b2"}, ["--dependency=aftercorr:0"]),
        ({0: "c"}, ["--dependency=afterany:1:0"]),
    ]


def test_jobs_that_were_put_elsewhere_are_asked_for(tmp_path, monkeypatch, capsys):
    survey = Survey(tmp_path / "survey", visits=1)
    plan, home = str(tmp_path / "plan.h5"), tmp_path / "jobs"
    with Butler(survey.root) as butler:
        survey.plan(butler).save(plan)
        assert InProcessFramework().execute(plan, butler).exit_code == 0
    home.mkdir()
    assert main(["status", plan, "--jobs", str(home)]) == 0
    assert "holds no jobs that Slurm or HTCondor was given" in capsys.readouterr().err
    (home / "b0-1").mkdir()
    (home / "b0-1" / "bundle.json").touch()
    (home / ".slurm").mkdir()
    (home / ".slurm" / "supertask-7.txt").write_text(f"0 {home}/b0-1\n")
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'supertask-7|5_0|RUNNING|None'\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert main(["status", plan, "--jobs", str(home)]) == 0
    assert "Slurm: 0 jobs wait, 1 run, 0 ended" in capsys.readouterr().out
    assert main(["status", plan, "--jobs", str(tmp_path / "nowhere")]) == 2


def test_several_that_follow_one_go_to_arrays_of_their_own():
    jobs = chained(("a", ""), ("b", ["a"]), ("c", ["a"]))
    assert shown(arrays_of(jobs, lambda _: "alike", 100)) == [
        ({0: "a"}, []),
        ({0: "b"}, ["--dependency=aftercorr:0"]),
        ({0: "c"}, ["--dependency=aftercorr:0"]),
    ]


def test_arrays_are_no_larger_than_they_may_be_and_alike():
    jobs = chained(("a", ""), ("b", ""), ("c", ""), ("d", ["c"]))
    assert shown(arrays_of(jobs, lambda _: "alike", 2)) == [
        ({0: "a", 1: "b"}, []),
        ({0: "c"}, []),
        ({0: "d"}, ["--dependency=aftercorr:1"]),
    ]
    assert len(arrays_of(jobs[:3], lambda each: each.job.name, 100)) == 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Cluster]:
    with slurm.cluster() as started:
        yield started


class Detached:
    def __init__(self, cluster, folder, visits=3):
        self.framework = SlurmFramework(controller=Controller(cluster.env), detached=True, late=5.0)
        self.survey = Survey(folder, visits=visits)
        self.butler = Butler(self.survey.root)
        self.plan = self.survey.bundled(self.butler)

    def submit(self, **options):
        return self.framework.execute(self.plan, self.butler, **options)

    def wait(self):
        """Wait until Slurm has nothing left of it."""
        until = time.monotonic() + 180
        names = list(self.framework._places)
        while any(s.value != "gone" for s in self.framework.states(names).values()):
            assert time.monotonic() < until
            time.sleep(0.3)

    def run(self, **options):
        self.submit(**options)
        self.wait()
        return collect(self.plan, self.butler, late=5.0).report


@pytest.fixture
def detached(cluster, tmp_path):
    made = Detached(cluster, tmp_path / "survey")
    yield made
    made.butler.close()


class TestDetached:
    pytestmark = with_slurm

    def test_a_run_goes_on_to_its_end_without_a_driver(self, detached, tmp_path):
        undisturbed = Survey(tmp_path / "undisturbed")
        with Butler(undisturbed.root) as butler:
            InProcessFramework().execute(undisturbed.plan(butler), butler)
        detached.run()
        assert detached.survey.outputs() == undisturbed.outputs()
        assert detached.survey.successes(detached.plan) == [1] * detached.survey.n_quanta
        assert detached.butler.get("summary", instrument="Cam")["visits"] == 3

    def test_a_failure_blocks_what_is_behind_it_in_other_bundles_and_nothing_else(self, detached):
        detached.survey.order("stars-0-0", "raise")
        detached.run()
        assert sorted(detached.survey.calls()).count("summary-Cam") == 0
        assert len(detached.survey.calls()) == detached.survey.n_quanta - 2
        detached.survey.countermand()
        report = InProcessFramework().execute(detached.plan, detached.butler)
        assert report.exit_code == 0
        assert detached.survey.successes(detached.plan) == [1] * detached.survey.n_quanta

    def test_a_gather_goes_on_with_what_was_made_in_other_jobs(self, detached):
        detached.survey.order("flatten-1-*", "nothing")
        detached.run()
        assert detached.butler.get("summary", instrument="Cam")["visits"] == 2

    def test_what_is_submitted_twice_runs_once(self, detached):
        detached.survey.order("flatten-*", "sleep 1")
        detached.submit()
        again = SlurmFramework(controller=detached.framework.controller, late=5.0, grace=5.0)
        assert again.execute(detached.plan, detached.butler).exit_code == 0
        assert detached.survey.successes(detached.plan) == [1] * detached.survey.n_quanta

    def test_on_the_command_line(self, detached, cluster, tmp_path, monkeypatch, capsys):
        for name, value in cluster.env.items():
            monkeypatch.setenv(name, value)
        plan = str(tmp_path / "plan.h5")
        detached.plan.save(plan)
        assert main(["run", plan, "--engine", "slurm", "--detach"]) == 0
        assert f"supertask collect {plan} --follow" in capsys.readouterr().out
        assert main(["collect", plan, "--follow", "--every", "0.5", "--late", "5"]) == 0
        assert detached.butler.get("summary", instrument="Cam")["visits"] == 3

    def test_what_waits_and_runs_in_slurm_is_told(self, detached, cluster, tmp_path, monkeypatch, capsys):
        for name, value in cluster.env.items():
            monkeypatch.setenv(name, value)
        detached.plan.save(tmp_path / "plan.h5")
        detached.survey.order("flatten-*", "sleep 5")
        detached.submit()
        assert main(["status", str(tmp_path / "plan.h5"), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)["jobs"]
        assert said["waiting"] + said["running"] == 4
        assert said["waiting"] >= 1, "the last one waits for others"
        last = cluster.ask("squeue", "--noheader", "--array", "--states=PD", "--format=%i").split()[-1]
        cluster.ask("scontrol", "hold", last)
        assert main(["status", str(tmp_path / "plan.h5")]) == 0
        assert "1 of those that wait are held: JobHeld" in capsys.readouterr().out
        cluster.ask("scontrol", "release", last)
        detached.wait()
        assert main(["status", str(tmp_path / "plan.h5")]) == 0
        assert "0 jobs wait, 0 run, 4 ended" in capsys.readouterr().out

    def test_chains_behind_a_killed_job_are_ended_and_others_go_on(self, detached, cluster, tmp_path):
        detached.plan = _by_step_and_visit(detached.plan)
        detached.survey.order("flatten-1-0", "kill")
        detached.submit()
        report = collect(
            detached.plan, detached.butler, follow=True, seconds=0.3, late=3.0,
            lives=lambda names: any(s.value != "gone" for s in detached.framework.states(names).values()),
        ).report  # fmt: skip
        calls = detached.survey.calls()
        assert {"merge-0", "merge-2"} <= set(calls)
        assert not {"stars-1-0", "stars-1-1", "merge-1", "summary-Cam"} & set(calls)
        assert report.exit_code == 1
        detached.survey.countermand()
        assert InProcessFramework().execute(detached.plan, detached.butler).exit_code == 0
        assert detached.survey.successes(detached.plan) == [1] * detached.survey.n_quanta


def _by_step_and_visit(plan):
    """Return the plan with bundles that follow each other in chains, visit by visit."""
    steps = {"flatten": 0, "stars": 1, "galaxies": 1, "merge": 2, "summary": 3}
    members = {}
    for q, quantum in enumerate(plan.quanta):
        key = (steps[quantum.label], dict(quantum.dataId or ()).get("visit", 0))
        members.setdefault(key, []).append(q)
    ends = np.cumsum([0, *map(len, members.values())]).astype(np.int64)
    indices = np.array([q for each in members.values() for q in each], np.int32)
    return plan.with_bundling(Bundling("by step and visit", ends, indices))


def test_other_engines_need_a_driver_that_stays():
    with pytest.raises(ConfigError, match="'parsl' needs a driver that stays"):
        make_framework(EngineOptions(engine="parsl", detached=True))


def test_what_runs_without_a_driver_cannot_be_staged():
    with pytest.raises(ExecutionError, match="nodes must see the repository"):
        SlurmFramework(detached=True, staged=True)


def test_what_runs_without_a_driver_runs_in_bundles(tmp_path):
    survey = Survey(tmp_path)
    with Butler(survey.root) as butler, pytest.raises(ExecutionError, match="supertask batch"):
        SlurmFramework(detached=True).execute(survey.plan(butler), butler)
