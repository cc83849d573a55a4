"""What is submitted at once: which job goes after which, and what each must look up."""

from __future__ import annotations

import numpy as np
import pytest

from executors import QuantumStatus
from executors.decisions.schedule import Schedule
from executors.jobs.foresight import foresee
from executors.testing.survey import Survey
from graphbuilder.dag.values import Bundling
from supertask.butler.repository import Butler


@pytest.fixture
def plan(tmp_path):
    survey = Survey(tmp_path / "survey")
    with Butler(survey.root) as butler:
        yield survey.bundled(butler)


def edges(plan):
    indptr, indices = plan.successors()
    return [(p, int(q)) for p in range(plan.n_quanta) for q in indices[indptr[p] : indptr[p + 1]]]


@pytest.mark.parametrize("done", [[], [0, 1, 2]])
def test_each_bundle_goes_after_those_that_hold_what_it_waits_for(plan, done):
    statuses = np.full(plan.n_quanta, QuantumStatus.PLANNED.code, np.int8)
    statuses[done] = QuantumStatus.SUCCEEDED.code
    ahead = foresee(plan, Schedule(plan.successors(), plan.bundling(), statuses=statuses))
    home = {q: each.work.bundle for each in ahead for q in each.work.quanta}
    assert sorted(home) == [q for q in range(plan.n_quanta) if q not in done]
    seen = set()
    for each in ahead:
        mine = [
            (p, q)
            for p, q in edges(plan)
            if q in each.work.quanta and home.get(p, each.work.bundle) != each.work.bundle
        ]
        assert {(p, q) for q, before in each.waits.items() for p in before} == set(mine)
        assert {p: b for b, before in each.after.items() for p in before} == {p: home[p] for p, _ in mine}
        assert seen.issuperset(each.after)
        seen.add(each.work.bundle)


def test_bundles_that_wait_for_nothing_are_told_of_none(plan):
    alone = Bundling("all", np.array([0, plan.n_quanta]), np.arange(plan.n_quanta, dtype=np.int32))
    (ahead,) = foresee(plan, Schedule(plan.successors(), alone))
    assert (ahead.work.quanta, ahead.waits, ahead.after) == (tuple(range(plan.n_quanta)), {}, {})
