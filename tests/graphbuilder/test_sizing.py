"""Sizes of bundles from measured times, and parts of bundles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import layered

from graphbuilder.batcher import QuantumBatcher
from graphbuilder.batching.parts import plan_of_bundles, split
from graphbuilder.batching.weights import ByBytes, ByFunction, ByInputs, Constant, costs
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.requests import request
from graphbuilder.sizing import Measured, Sizing
from supertask.errors import PreflightError


def test_overhead_of_a_second_and_quanta_of_ten_milliseconds_fill_two_slots_with_two_bundles():
    dag = layered([5000], [])
    bundling, (choice,) = Sizing(slots=2).bundles(dag, {"t0": Measured("t0", [0.01] * 20, overhead=1.0)})
    assert np.diff(bundling.indptr).tolist() == [2500, 2500]
    assert choice.fraction == pytest.approx(2 / 52)
    assert "10 ms for each of 5,000 quanta, measured on 20, and 1 s of overhead" in choice.why
    assert "1,900 together keep it at 5% or less" in choice.why
    assert "2 bundles of at most 2,500 for 2 slots" in choice.why


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 400),
    st.integers(1, 20),
    st.floats(0, 100),
    st.floats(1e-3, 100),
    st.floats(0.01, 0.5),
)
def test_overhead_stays_below_its_fraction_wherever_enough_quanta_share_it(n, slots, overhead, each, most):
    dag = layered([n], [])
    (choice,) = Sizing(slots=slots, overhead_fraction=most).choose(
        dag, {"t0": Measured("t0", [each], overhead=overhead)}
    )
    assert choice.fraction <= most + 1e-9 or choice.bundles == 1
    assert 1 <= choice.size <= n
    if not overhead:
        assert choice.bundles >= min(slots, n) / 2  # all slots have something, but for rounding


def test_of_what_nothing_was_measured_small_bundles_run_first_as_probes():
    bundling, (choice,) = Sizing(slots=2, probe=7).bundles(layered([100], []), {})
    assert np.diff(bundling.indptr).max() <= 7
    assert "nothing was measured" in choice.why


def test_a_bundle_asks_for_what_a_stated_part_of_bundles_gets_by_with(tmp_path):
    seconds = np.linspace(1.0, 3.0, 101)
    memory = np.arange(101) * 1_000_000
    measured = {"t0": Measured("t0", seconds, memory, overhead=10.0)}
    dag = layered([100], [])
    bundling, _ = Sizing(quantile=0.9, slots=1).bundles(dag, measured)
    dag.with_bundling(bundling).save(tmp_path / "plan.h5")
    dag = ScienceDag.open(tmp_path / "plan.h5")
    bundling = dag.bundling()
    asked = request(dag, bundling, 0)
    n = len(bundling[0])
    assert asked.memory == 90_000_000
    assert 10 + 2.0 * n < asked.seconds < 10 + 2.8 * n
    assert "2 s for each of 100 quanta" in bundling.about["why"]["t0"]


def test_who_batched_without_measuring_asks_for_nothing():
    dag = layered([3], [])
    assert request(dag, QuantumBatcher(2).bundles(dag), 0) is None


def test_times_of_bundles_are_bounded_with_their_overhead():
    dag = layered([100], [])
    batcher = QuantumBatcher(max_seconds=30.0, seconds={"t0": Constant(2.0)}, overhead={"t0": 10.0})
    assert np.diff(batcher.bundles(dag).indptr).tolist() == [10] * 10


def test_costs_are_constant_by_bytes_by_inputs_or_by_a_function():
    dag = layered([2, 2], [[{0}, {0, 1}]], sizes=[1000, 3000])
    models = {"t0": ByBytes(0.001, 1.0), "t1": ByInputs(5.0)}
    assert costs(dag, models).tolist() == [2.0, 4.0, 5.0, 10.0]
    assert costs(dag, {"t0": Constant(3)}).tolist() == [3, 3, 1, 1]
    assert costs(dag, {"t1": ByFunction(lambda table: np.arange(table.n))}).tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("given", [[1.0], [1.0, -1.0], [1.0, float("nan")]])
def test_a_function_that_gives_no_costs_is_told(given):
    with pytest.raises(PreflightError, match="cost of"):
        costs(layered([2], []), {"t0": ByFunction(lambda table: given)})


def test_costs_of_a_task_that_is_not_there_are_refused():
    with pytest.raises(PreflightError, match="no task 't00'"):
        costs(layered([2], []), {"t00": Constant()})


def test_bytes_of_input_bound_bundles():
    dag = layered([4], [], sizes=[10, 10, 10, 50])
    assert np.diff(QuantumBatcher(max_input_bytes=20.0).bundles(dag).indptr).tolist() == [2, 1, 1]


def test_a_bundle_is_split_evenly_and_never_in_empty_ones():
    dag = layered([7], [])
    whole = QuantumBatcher().bundles(dag)
    assert np.diff(split(whole, 0, 3).indptr).tolist() == [2, 2, 3]
    assert np.diff(split(whole, 0, 20).indptr).tolist() == [1] * 7
    with pytest.raises(PreflightError, match="no bundle 1"):
        split(whole, 1, 2)


def test_a_plan_of_some_bundles_has_their_quanta_and_bundles():
    dag = layered([6, 3], [[{0}, {2}, {4}]])
    bundling = QuantumBatcher(2).bundles(dag)
    part = plan_of_bundles(dag, bundling, (1, 3))
    assert [q.dataId["visit"] for q in part.quanta] == [2, 3, 0]
    assert np.diff(part.bundling().indptr).tolist() == [2, 1]


def test_several_bundlings_stand_in_one_plan(tmp_path):
    dag = QuantumBatcher(3, "coarse").batch(QuantumBatcher(1, "fine").batch(layered([6], [])))
    dag.save(tmp_path / "plan.h5")
    dag = ScienceDag.load(tmp_path / "plan.h5")
    assert {name: len(b) for name, b in dag.bundlings.items()} == {"fine": 6, "coarse": 2}
    assert dag.bundling().name == "coarse"
