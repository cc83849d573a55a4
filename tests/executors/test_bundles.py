"""Bundles as they run: what clusters spare, what is left after failures, records, and recreation."""

from __future__ import annotations

import numpy as np
import pytest

from executors.cmdline.measured import finished_of, measured_by, measured_of
from executors.events import BundleStarted
from executors.journal.bundlerecords import bundle_records, bundles_of, plan_of_run
from executors.outcome import Attempt, Making, QuantumStatus
from executors.quanta.recreation import recreate
from graphbuilder.batcher import Cluster, QuantumBatcher
from graphbuilder.sizing import Sizing
from supertask.errors import ExecutionError, PreflightError
from tests.executors.frames import RUN, outputs, plan, ran

FAILED, SUCCEEDED, PLANNED = QuantumStatus.FAILED, QuantumStatus.SUCCEEDED, QuantumStatus.PLANNED


def members(dag, name=None):
    bundling = dag.bundling(name)
    return [bundling[b].tolist() for b in range(len(bundling))]


@pytest.mark.parametrize("cluster", [Cluster(by=("visit",)), Cluster(("reduce", "stack"), shape="trees")])
def test_clusters_of_a_visit_spare_its_intermediates(framework, butler, root, cluster):
    dag = QuantumBatcher(clusters=[cluster]).batch(plan(butler))
    assert members(dag) == [[0, 1, 2, 12], [3, 4, 5, 13], [6, 7, 8, 14], [9, 10, 11, 15], [16]]
    report = framework.execute(dag, butler, retain={"image": "until-used", "mask": "until-used"})
    assert report.exit_code == 0
    assert not any(name.startswith(("image/", "mask/")) for name in outputs(root))
    assert any(name.startswith("report") for name in outputs(root))


def test_clusters_are_merged_with_their_like_until_a_limit(butler):
    dag = QuantumBatcher(8, clusters=[Cluster(by=("visit",))]).batch(plan(butler))
    assert members(dag) == [[0, 1, 2, 12, 3, 4, 5, 13], [6, 7, 8, 14, 9, 10, 11, 15], [16]]


def test_after_failures_bundles_hold_just_what_is_missing(here, butler, control, root):
    """Earlier software ran whole bundles again, or left what had failed marked as never begun."""
    (control / "reduce-2-1").write_text("raise")
    dag = QuantumBatcher(6).batch(plan(butler, control))
    report = here.execute(dag, butler)
    assert report.exit_code == 1
    assert report.counts[FAILED] == 1
    finished = finished_of(dag, root)
    again = QuantumBatcher(6, "rest").batch(dag, finished=finished)
    rest = [m for m in members(again) if not finished[m].any()]
    assert sorted(q for m in rest for q in m) == sorted(np.flatnonzero(~finished).tolist())
    (control / "reduce-2-1").unlink()
    (control / "ran").unlink()
    heard = []
    report = here.execute(again, butler, listeners=[heard.append])
    assert report.exit_code == 0
    assert len(ran(control)) == int((~finished).sum())
    started = [list(e.quanta) for e in heard if isinstance(e, BundleStarted)]
    assert sorted(started) == sorted(rest)


def test_bundles_are_records_with_status_times_and_members(here, butler, control, root):
    (control / "reduce-1-1").write_text("raise")
    dag = QuantumBatcher(1, "single").batch(QuantumBatcher(6, "six").batch(plan(butler, control)))
    before = bundle_records(dag, root, "six")
    assert {r.status for r in before} == {PLANNED}
    here.execute(dag, butler, bundling="six")
    records = bundle_records(dag, root, "six")
    assert [(r.bundle, r.labels, len(r.quanta), r.status) for r in records[:2]] == [
        (0, ("reduce",), 6, FAILED),
        (1, ("reduce",), 6, SUCCEEDED),
    ]
    assert records[0].counts == {SUCCEEDED: 5, FAILED: 1}
    assert records[1].wall > 0
    assert bundles_of(dag, 7) == {"six": 1, "single": 7}
    assert plan_of_run(root, RUN).n_quanta == dag.n_quanta
    with pytest.raises(ExecutionError, match="no bundle 99"):
        bundle_records(dag, root, "six", [99])
    with pytest.raises(PreflightError, match="no bundling 'sixx'"):
        bundle_records(dag, root, "sixx")


def test_a_run_without_a_plan_has_no_bundles(butler, root):
    with pytest.raises(ExecutionError, match="nothing was executed into it"):
        plan_of_run(root, "u/nobody/run")


def test_a_bundle_is_recreated_from_its_run_and_runs_aside(here, butler, control, root):
    (control / "reduce-1-1").write_text("raise")
    dag = QuantumBatcher(clusters=[Cluster(by=("visit",))]).batch(plan(butler, control))
    here.execute(dag, butler)
    before = outputs(root)
    work = recreate(butler, RUN, bundle=1)
    assert [q.label for q in work.quanta] == ["reduce", "reduce", "reduce", "stack"]
    assert work.task(3).name == "stack"
    attempts = work.run()
    assert [a.status for a in attempts[:3]].count(FAILED) == 1
    with pytest.raises(Exception, match="."):
        work.task(1).runQuantum(work.quanta[1], work.butler(1))
    (control / "reduce-1-1").unlink()
    told = []
    assert [a.status for a in work.run(told=told.append)] == [SUCCEEDED] * 4
    assert len(told) == 4
    (stack,) = next(iter(work.quanta[3].outputs.values()))
    assert work.get(stack, 3)["of"] == 3  # made of what was made here
    work.close()
    assert outputs(root) == before


def test_a_quantum_is_recreated_by_its_number(here, butler, control):
    dag = plan(butler, control)
    here.execute(dag, butler)
    work = recreate(butler, dag, quantum=13)
    assert [a.status for a in work.run()] == [SUCCEEDED]
    work.close()
    for wrong in ({}, {"bundle": 0, "quantum": 1}, {"bundle": 0}):
        with pytest.raises(ExecutionError):
            recreate(butler, dag, **wrong)


def attempt(index, wall, *makings, label="fit", status=SUCCEEDED, pid=1):
    return Attempt(
        index=index, identity=b"", label=label, status=status, wall=wall, makings=makings, host="h", pid=pid,
        peak_memory=1000 * index,
    )  # fmt: skip


def test_overhead_is_taken_out_of_the_quantum_that_made_it():
    second = 1_000_000_000
    attempts = [
        attempt(0, 1.01, Making(1, "model", second, second)),
        attempt(1, 0.01),
        attempt(2, 3.01, Making(1, "model", 3 * second, second), pid=2),
        attempt(3, 9.0, status=FAILED),
    ]
    known = measured_of(attempts, "u/me/run1")["fit"]
    assert known.seconds == pytest.approx([0.01, 0.01, 0.01])
    assert known.overhead == pytest.approx(2.0)
    assert known.memory.tolist() == [0, 1000, 2000]


def test_sizes_follow_from_what_a_run_measured(here, butler, control):
    dag = plan(butler, control)
    here.execute(dag, butler)
    known = measured_by(butler, ["reduce", "stack"])
    assert {label: len(m.seconds) for label, m in known.items()} == {"reduce": 12, "stack": 4}
    assert known["reduce"].source == RUN
    bundling, choices = Sizing(slots=2).bundles(dag, known)
    assert {c.label: "nothing was measured" in c.why for c in choices} == {
        "reduce": False, "stack": False, "report": True,
    }  # fmt: skip
    assert np.diff(bundling.indptr).max() <= 6
    with pytest.raises(ExecutionError, match="no journal"):
        measured_by(butler, ["reduce"], ["u/nobody/run"])
