"""Runs in virtual time, against bounds, against each other, and against a simulation by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executors.decisions.schedule import Schedule
from executors.simulation.latencies import Latencies
from executors.simulation.virtual import VirtualRun
from executors.simulation.workload import Workload, critical_path
from graphbuilder.dag.topology import successors
from graphbuilder.dag.values import Bundling
from supertask.configs.policy import FailureClass
from supertask.errors import ExecutionError

NOTHING = Latencies(framework="nothing")


def graph(n: int, edges: list[tuple[int, int]]):
    pairs = [(np.array([a for a, _ in edges], np.int64), np.array([b for _, b in edges], np.int64))]
    return successors(n, pairs if edges else [])


def virtual(
    n, edges, workload, latencies=NOTHING, *, slots=1, bundling=None, ahead=10_000, seed=0, retry=None
):
    schedule = Schedule(graph(n, edges), bundling)
    never = retry or (lambda quantum, number, kind: None)
    run = VirtualRun(schedule, workload, latencies, slots=slots, ahead=ahead, retry=never, seed=seed)
    return run, run.run(), schedule


def brute_force(n, edges, seconds, slots):
    """Return the makespan by stepping through time: who is ready first runs first."""
    waiting = [0] * n
    after = [[] for _ in range(n)]
    for a, b in sorted(edges):
        waiting[b] += 1
        after[a].append(b)
    ready = [q for q in range(n) if not waiting[q]]
    running: list[tuple[float, int, int]] = []
    now, begun = 0.0, 0
    while ready or running:
        while ready and len(running) < slots:
            q = ready.pop(0)
            running.append((now + seconds[q], begun, q))
            begun += 1
        running.sort()
        now, _, q = running.pop(0)
        for b in after[q]:
            waiting[b] -= 1
            if not waiting[b]:
                ready.append(b)
    return now


@st.composite
def workflows(draw):
    n = draw(st.integers(1, 12))
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []
    seconds = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.25]), min_size=n, max_size=n))
    return n, edges, seconds


@given(workflows(), st.integers(1, 4))
def test_without_latencies_it_takes_what_brute_force_says(workflow, slots):
    n, edges, seconds = workflow
    _, makespan, _ = virtual(n, edges, Workload(seconds=seconds), slots=slots)
    assert makespan == pytest.approx(brute_force(n, edges, seconds, slots))


@given(workflows(), st.integers(1, 4), st.integers(1, 5), st.floats(0, 2), st.floats(0, 2))
def test_no_run_beats_the_critical_path_or_all_work_divided(workflow, slots, size, delay, between):
    n, edges, seconds = workflow
    bundling = Bundling(
        "some", np.append(np.arange(0, n, size), n).astype(np.int64), np.arange(n, dtype=np.int32)
    )
    latencies = Latencies(framework="some", delay=delay, between=between, notice=0.1, per_end=0.01)
    workload = Workload(seconds=seconds)
    run, makespan, _ = virtual(n, edges, workload, latencies, slots=slots, bundling=bundling)
    bound = max(critical_path(graph(n, edges), workload.seconds), sum(seconds) / slots)
    assert makespan >= bound - 1e-9
    spent = run.spent
    assert spent.work == pytest.approx(sum(seconds))
    assert spent.work + spent.latency <= slots * makespan + 1e-6
    assert spent.attempts == n


@given(workflows(), st.integers(1, 3), st.integers(0, 5), st.floats(0, 0.9), st.floats(0, 0.5))
@settings(max_examples=50)
def test_equal_seeds_give_equal_runs_and_everything_ends(workflow, slots, seed, failing, dying):
    n, edges, seconds = workflow
    workload = Workload(seconds=seconds, failing=np.full(n, failing), dying=dying)

    def once():
        run, makespan, schedule = virtual(
            n, edges, workload, slots=slots, seed=seed,
            retry=lambda quantum, number, kind: 0.25 * number if number < 3 else None,
        )  # fmt: skip
        return makespan, run.spent, schedule.statuses.tolist(), schedule.n_open

    assert once() == once()
    assert once()[-1] == 0


def test_a_chain_takes_the_sum_and_a_latency_for_each_link():
    latencies = Latencies(framework="batch", startup=1, per_job=0.5, delay=2, notice=0.25, ending=3)
    _, makespan, _ = virtual(3, [(0, 1), (1, 2)], Workload(seconds=[10, 20, 30]), latencies, slots=5)
    assert makespan == pytest.approx(1 + 3 * (0.5 + 2 + 0.25) + 60 + 3)


def test_a_waiting_job_begins_in_its_slot_after_what_lies_between():
    latencies = Latencies(framework="batch", delay=2, between=0.5)
    _, makespan, _ = virtual(3, [], Workload(seconds=[10, 10, 10]), latencies)
    assert makespan == pytest.approx(2 + 30 + 2 * 0.5)


def test_the_driver_is_what_many_short_quanta_wait_for():
    latencies = Latencies(framework="slow driver", per_job=0.1, per_end=0.1)
    _, makespan, _ = virtual(100, [], Workload(seconds=np.full(100, 0.01)), latencies, slots=100)
    assert makespan >= 100 * 0.2


def test_what_is_shared_is_made_once_for_a_bundle_or_once_for_a_slot_that_keeps_it():
    workload = Workload(seconds=np.ones(6), overhead=np.full(6, 10.0), keys=[0, 0, 0, 0, 1, 1])
    pairs = Bundling("pairs", np.array([0, 2, 4, 6]), np.arange(6, dtype=np.int32))
    run, makespan, _ = virtual(6, [], workload, bundling=pairs)
    assert (run.spent.overhead, makespan) == (30.0, 36.0)
    warm = Latencies(framework="warm", keeps=True)
    run, makespan, _ = virtual(6, [], workload, warm, bundling=pairs)
    assert (run.spent.overhead, makespan) == (20.0, 26.0)


def test_a_failure_blocks_what_follows_and_its_time_is_lost():
    workload = Workload(seconds=[5.0, 1.0, 1.0], failing=[1.0, 0.0, 0.0])
    run, makespan, schedule = virtual(3, [(0, 1)], workload)
    assert [schedule.status(q).value for q in range(3)] == ["failed", "blocked", "succeeded"]
    assert run.spent.retries == 5.0
    assert makespan == 6.0


def test_what_is_tried_again_waits_as_the_policy_says():
    workload = Workload(seconds=[5.0], failing=[1.0])
    run, makespan, schedule = virtual(
        1, [], workload, retry=lambda q, number, kind: 7.0 if number == 1 else None
    )
    assert run.spent.attempts == 2
    assert makespan == 5 + 7 + 5
    assert schedule.status(0).value == "failed"


def test_a_job_that_is_killed_gives_back_what_it_had_not_begun():
    kinds = []

    def retry(quantum, number, kind):
        kinds.append(kind)
        return 0.0 if len(kinds) < 3 else None

    workload = Workload(seconds=np.ones(4), dying=1.0)
    whole = Bundling("one", np.array([0, 4]), np.arange(4, dtype=np.int32))
    run, _, schedule = virtual(4, [], workload, bundling=whole, retry=retry)
    assert set(kinds) == {FailureClass.KILLED}
    assert schedule.n_open == 0
    assert run.spent.jobs >= 3


def test_the_critical_path_of_a_diamond_goes_through_its_slower_side():
    edges = [(0, 1), (0, 2), (1, 3), (2, 3)]
    assert critical_path(graph(4, edges), np.array([1.0, 2.0, 5.0, 1.0])) == 7.0
    assert critical_path(graph(0, []), np.array([])) == 0.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seconds": [-1.0]}, "numbers of 0 or more"),
        ({"seconds": [math.nan]}, "numbers of 0 or more"),
        ({"seconds": [1.0], "failing": [2.0]}, "a share of attempts"),
        ({"seconds": [1.0], "dying": -0.5}, "a share of jobs"),
        ({"seconds": [1.0], "overhead": [1.0, 2.0]}, "shape"),
    ],
)
def test_what_is_no_workload_is_refused(wrong, message):
    with pytest.raises(ExecutionError, match=message):
        Workload(**wrong)
