"""Plans replayed in virtual time: policies and quorums of the plan hold as in a real run."""

from __future__ import annotations

import numpy as np
import pytest

from executors.simulation.latencies import TIMES, known_latencies, latencies_of
from executors.simulation.simulate import simulate
from executors.simulation.workload import Workload
from executors.testing.survey import Survey
from graphbuilder import GraphBuilder, QuantumBatcher
from supertask import Butler, Pipeline
from supertask.errors import ConfigError, ExecutionError

HERE = latencies_of("in-process")
BATCH = latencies_of("slurm")


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "survey", visits=4, detectors=3)


def planned(survey, **changes):
    """Plan the survey, with config values of some tasks changed: ``label={"policy": …}``."""
    with Butler(survey.root) as butler:
        from executors.testing.steered import FlattenTask, GalaxiesTask, MergeTask, StarsTask, SummaryTask

        pipeline = Pipeline("A diamond.")
        for task in (FlattenTask, StarsTask, GalaxiesTask, MergeTask, SummaryTask):
            label = task._DefaultName
            pipeline.add(label, task, task.ConfigClass(**changes.get(label, {})))
        return GraphBuilder(pipeline, butler, "u/sim/run", collections=["raw"]).makeGraph()


def workload(dag, label="", failing=0.0):
    share = np.zeros(dag.n_quanta)
    if label:
        node = dag.task(label)
        share[node.first : node.first + node.count] = failing
    return Workload(seconds=np.ones(dag.n_quanta), failing=share)


def test_all_is_done_and_time_adds_up(survey):
    dag = planned(survey)
    found = simulate(dag, workload(dag), HERE, slots=1)
    assert found.counts == {"succeeded": survey.n_quanta}
    assert found.work == survey.n_quanta
    assert found.critical_path == 4.0
    assert found.makespan > survey.n_quanta
    parts = found.work + found.overhead + found.retries + found.latency + found.idle
    assert parts == pytest.approx(found.capacity)


def test_what_fails_blocks_what_follows_as_in_a_real_run(survey):
    dag = planned(survey)
    found = simulate(dag, workload(dag, "stars", 1.0), HERE, slots=1)
    assert found.counts == {"succeeded": 24, "failed": 12, "blocked": 5}


def test_what_fails_is_tried_again_as_the_plan_says(survey):
    dag = planned(survey, stars={"policy": {"retries": {"error": 2}, "delay": 30.0}})
    found = simulate(dag, workload(dag, "stars", 1.0), HERE, slots=1)
    assert found.counts["failed"] == 12
    assert found.attempts == 24 + 3 * 12
    assert found.retries == 36.0
    some = simulate(dag, workload(dag, "stars", 0.3), BATCH, slots=4, seed=1)
    assert some.counts.get("failed", 0) < 4
    assert some.attempts > survey.n_quanta - 5


def test_a_quorum_of_the_plan_lets_others_run_without_what_failed(survey):
    dag = planned(survey, merge={"policy": {"quorum": "50%"}}, summary={"policy": {"quorum": "50%"}})
    without = simulate(planned(survey), workload(dag, "stars", 0.2), HERE, slots=1, seed=3)
    found = simulate(dag, workload(dag, "stars", 0.2), HERE, slots=1, seed=3)
    assert without.counts["failed"] == found.counts["failed"] > 0
    assert found.counts.get("blocked", 0) < without.counts["blocked"]


def test_a_budget_of_failures_stops_the_run(survey):
    dag = planned(survey)
    found = simulate(dag, workload(dag, "flatten", 1.0), HERE, slots=1, max_failures=2)
    assert found.counts["failed"] == 2
    assert "2 are too many" in found.stopped
    bundled = simulate(
        dag,
        workload(dag, "flatten", 1.0),
        BATCH,
        slots=2,
        bundling=QuantumBatcher(max_quanta=4).bundles(dag),
        max_failures=1,
    )
    assert bundled.counts["failed"] == 2
    assert bundled.counts["blocked"] + bundled.counts["cancelled"] == survey.n_quanta - 2


def test_larger_bundles_are_fewer_jobs_and_less_latency(survey):
    dag = planned(survey)
    few, many = (
        simulate(dag, workload(dag), BATCH, slots=100, bundling=QuantumBatcher(max_quanta=n).bundles(dag))
        for n in (12, 1)
    )
    assert few.jobs < many.jobs == survey.n_quanta
    assert few.latency < many.latency


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slots": 0}, "1 slot or more"),
        ({"slots": 2}, "1 slot, not 2"),
        ({"workload": Workload(seconds=[1.0])}, "the workload is of 1 quanta"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message, survey):
    dag = planned(survey)
    given = {"slots": 1, "workload": workload(dag), **changes}
    with pytest.raises(ExecutionError, match=message):
        simulate(dag, given["workload"], HERE, slots=given["slots"])


def test_latencies_that_ship_say_when_and_where_they_were_measured():
    known = known_latencies()
    assert {"in-process", "pool", "slurm"} <= set(known)
    assert all(each.source for each in known.values())
    assert all(sum(getattr(each, name) for name in TIMES) > 0 for each in known.values())


def test_latencies_that_are_none_are_refused_all_at_once():
    with pytest.raises(ConfigError, match="did you mean 'delay'"):
        BATCH.replace({"dealy": 3.0})
    with pytest.raises(ConfigError, match="2 problems"):
        BATCH.replace({"delay": -1.0, "notice": float("inf")})
