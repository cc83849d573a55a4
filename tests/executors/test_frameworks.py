"""What every ExecutionFramework promises, held to each of them."""

from __future__ import annotations

import json
import re
import threading

import numpy as np
import pytest

from executors import InProcessFramework, MultiprocessFramework, QuantumStatus, status
from executors.events import (
    BundleEnded,
    BundleStarted,
    QuantaBlocked,
    QuantumEnded,
    QuantumStarted,
    Registered,
    RunFinished,
    RunStarted,
)
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder
from graphbuilder.dag.values import Bundling
from supertask.butler.repository import Butler
from supertask.errors import DagFileError, ExecutionError
from tests.executors import frames
from tests.executors.frames import RUN, make_repository, outputs, plan, ran

SUCCEEDED, NO_WORK, FAILED, BLOCKED, CANCELLED, LOST = (
    QuantumStatus.SUCCEEDED, QuantumStatus.NO_WORK, QuantumStatus.FAILED, QuantumStatus.BLOCKED,
    QuantumStatus.CANCELLED, QuantumStatus.LOST,
)  # fmt: skip


def by_task(report):
    return {task.label: task.counts for task in report.tasks}


def nothing_left_over(root):
    return not list(root.rglob(".tmp-*"))


@pytest.fixture
def events():
    return []


def of(kind, events):
    return [e for e in events if isinstance(e, kind)]


# -- all is well -----------------------------------------------------------------------------------


def test_a_plan_runs_and_its_outputs_are_registered(framework, butler, control, root):
    report = framework.execute(plan(butler, control), butler)
    assert report.exit_code == 0
    assert report.counts == {SUCCEEDED: 17}
    assert len(ran(control)) == len(set(ran(control))) == 17
    assert butler.get("stack", instrument="Cam", visit=1) == {
        "sum": 36.0, "of": 3, "masks": 1, "schema": ["value"],
    }  # fmt: skip
    assert butler.get("report", instrument="Cam") == {"visits": 4, "total": 204.0}
    assert len(butler.query("mask", collections=[RUN])) == 4
    for name in ("image", "mask", "stack", "report"):
        for dataset in butler.query(name, collections=[RUN]):
            butler.verify(dataset)
    assert nothing_left_over(root)


def test_a_plan_in_a_file_runs_too(here, butler, control, tmp_path):
    file = tmp_path / "plan.h5"
    plan(butler, control).save(file)
    assert here.execute(file, butler).exit_code == 0
    assert here.execute(str(file), butler).finished_before == 17


def test_identities_of_outputs_are_those_of_the_plan(here, butler, control):
    dag = plan(butler, control)
    here.execute(dag, butler)
    for i in range(dag.n_quanta):
        record = dag.record(i)
        for datasets in record.quantum.outputs.values():
            for dataset in datasets:
                if butler.exists(dataset):
                    assert butler.locate(dataset).identity == record.identities[dataset]


def test_schemas_and_configurations_are_recorded_once_for_the_run(here, butler, control):
    here.execute(plan(butler, control, offset=2.5), butler)
    assert butler.get("schema") == {"value": "float"}
    assert butler.get("reduce_config")["offset"] == 2.5


def test_what_made_the_run_is_recorded(here, butler, control):
    here.execute(plan(butler, control, where="visit = 1"), butler)
    here.execute(plan(butler, control, where="visit = 1"), butler)
    found = butler.run_provenance(RUN)
    assert found["plan"]["where"] == "visit = 1"
    assert list(found["plan"]["pipeline"]["tasks"]) == ["reduce", "stack", "report"]
    assert found["tasks"]["reduce"]["class"] == "tests.executors.frames:ReduceTask"
    assert len(found["sessions"]) == 2
    assert {"host", "user", "command", "python", "packages"} <= set(found["sessions"][0])
    assert found["sessions"][0]["packages"]["numpy"] == np.__version__


def test_all_is_measured(framework, butler, control, events):
    (control / "reduce-1-1").write_text("sleep:0.5")
    framework.execute(plan(butler, control), butler, listeners=[events.append])
    attempts = [e.attempt for e in of(QuantumEnded, events)]
    assert len(attempts) == 17
    assert all(a.host and a.pid and a.peak_memory > 1e6 and a.end >= a.start > 1e18 for a in attempts)
    (slept,) = [a for a in attempts if a.metadata == {"reduce": {"action": "sleep:0.5"}}]
    assert slept.wall > 0.5
    assert slept.cpu < 0.4
    assert slept.bytes_read == len('{"value": 11}')
    assert slept.bytes_written == sum(r.size for r in slept.records) > 0


def test_events_come_once_and_in_order(framework, butler, control, events):
    (control / "reduce-1-1").write_text("raise")
    report = framework.execute(plan(butler, control), butler, listeners=[events.append])
    started, ended = of(QuantumStarted, events), of(QuantumEnded, events)
    assert len({e.index for e in started}) == len(started) == len(ended) == 15
    for e in started:
        (its_end,) = [x for x in ended if x.attempt.index == e.index]
        assert events.index(e) < events.index(its_end)
    (blocked,) = of(QuantaBlocked, events)
    assert blocked.counts == {"stack": 1, "report": 1}
    assert events[0] == RunStarted(RUN, {"reduce": 12, "stack": 4, "report": 1}, {}) or events[0].run == RUN
    assert events[-1] == RunFinished(report)
    assert sum(e.datasets for e in of(Registered, events)) == report.registered


def test_a_listener_that_raises_is_named_once_and_hurts_nothing(here, butler, control, events, caplog):
    calls = []

    def broken(event):
        calls.append(event)
        raise RuntimeError("no screen")

    report = here.execute(plan(butler, control), butler, listeners=[broken, events.append])
    assert len(calls) == 1
    assert len(of(QuantumEnded, events)) == 17
    assert report.exit_code == 0
    (problem,) = report.problems
    assert "broken raised RuntimeError: no screen; it is not called again" in problem


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "exception", "message"),
    [
        ("raise", "ValueError", "the sky was cloudy"),
        ("exit", "SystemExit", r"the task called sys.exit\(3\)"),
        ("memory", "MemoryError", ""),
        ("partial", "ValueError", "after it wrote"),
        ("forget", "supertask.errors.ExecutionError", "task 'reduce' ended without writing image"),
    ],
)
def test_a_failed_quantum_blocks_its_descendants_and_nothing_else(
    framework, butler, control, root, action, exception, message
):
    (control / "reduce-1-1").write_text(action)
    report = framework.execute(plan(butler, control), butler)
    assert report.exit_code == 1
    assert by_task(report) == {
        "reduce": {SUCCEEDED: 11, FAILED: 1},
        "stack": {SUCCEEDED: 3, BLOCKED: 1},
        "report": {BLOCKED: 1},
    }
    (group,) = report.failures
    assert (group.label, group.exception, group.count) == ("reduce", exception, 1)
    assert group.dataIds == ({"instrument": "Cam", "visit": 1, "detector": 1},)
    assert re.search(message, group.message)
    assert len(butler.query("image", collections=[RUN])) == 11
    assert not [name for name in outputs(root) if name.startswith("image") and "1_1" in name]
    assert nothing_left_over(root)


def test_what_failed_is_tried_again_and_nothing_else_when_the_same_is_run_again(framework, butler, control):
    (control / "reduce-1-1").write_text("raise")
    framework.execute(plan(butler, control), butler)
    before = len(ran(control))
    (control / "reduce-1-1").unlink()
    report = framework.execute(plan(butler, control), butler)
    assert report.exit_code == 0
    assert report.finished_before == 14
    assert sorted(ran(control)[before:]) == ["reduce-1-1", "report-Cam", "stack-1"]
    assert butler.get("report", instrument="Cam") == {"visits": 4, "total": 204.0}


def test_failures_that_say_the_same_are_one_group(here, butler, control):
    (control / "reduce-@").write_text("raise")
    report = here.execute(plan(butler, control), butler)
    (group,) = report.failures
    assert group.count == 12
    assert "cloudy" in group.traceback
    assert "runner.py" not in group.traceback
    assert by_task(report)["stack"] == {BLOCKED: 4}


def test_fail_fast_begins_nothing_more(framework, butler, control):
    (control / "reduce-0-0").write_text("raise")
    for v in range(4):
        (control / f"reduce-{v}-2").write_text("sleep:0.2")
    report = framework.execute(plan(butler, control), butler, fail_fast=True)
    assert report.exit_code == 1
    assert not report.interrupted
    assert 1 <= len(ran(control)) < 10
    assert report.counts[FAILED] == 1
    assert report.counts[CANCELLED] > 4
    (control / "reduce-0-0").unlink()
    assert framework.execute(plan(butler, control), butler).exit_code == 0
    assert len(ran(control)) == 18


def test_a_budget_of_failures(framework, butler, control):
    (control / "reduce-@").write_text("raise")
    report = framework.execute(plan(butler, control), butler, max_failures=3)
    assert 3 <= report.counts[FAILED] <= 6  # each of two workers has three at most


def test_a_task_that_interrupts_ends_the_run_in_order(framework, butler, control, root):
    (control / "reduce-1-1").write_text("interrupt")
    report = framework.execute(plan(butler, control), butler)
    assert report.exit_code == 1
    assert report.interrupted
    assert FAILED not in report.counts
    (control / "reduce-1-1").unlink()
    assert framework.execute(plan(butler, control), butler).exit_code == 0


# -- no work ---------------------------------------------------------------------------------------


def test_no_work_is_a_success_and_what_follows_runs_with_fewer_inputs(framework, butler, control, root):
    (control / "reduce-1-1").write_text("nothing")
    report = framework.execute(plan(butler, control), butler)
    assert report.exit_code == 0
    assert by_task(report)["reduce"] == {SUCCEEDED: 11, NO_WORK: 1}
    stack = butler.get("stack", instrument="Cam", visit=1)
    assert (stack["of"], stack["masks"]) == (2, 0)
    assert butler.get("report", instrument="Cam")["visits"] == 4


def test_what_is_left_with_too_few_inputs_finds_no_work_either(framework, butler, control):
    (control / "reduce-1-0").write_text("nothing")
    (control / "reduce-1-1").write_text("nothing")
    report = framework.execute(plan(butler, control), butler)
    assert report.exit_code == 0
    assert by_task(report) == {
        "reduce": {SUCCEEDED: 10, NO_WORK: 2},
        "stack": {SUCCEEDED: 3, NO_WORK: 1},
        "report": {SUCCEEDED: 1},
    }
    assert "stack-1" not in ran(control)
    assert butler.get("report", instrument="Cam")["visits"] == 3


def test_no_work_is_remembered_when_a_run_goes_on(framework, butler, control):
    (control / "reduce-1-1").write_text("nothing")
    (control / "stack-1").write_text("raise")
    framework.execute(plan(butler, control), butler)
    (control / "stack-1").unlink()
    (control / "reduce-1-1").unlink()
    assert framework.execute(plan(butler, control), butler).exit_code == 0
    assert butler.get("stack", instrument="Cam", visit=1)["of"] == 2


def test_an_output_that_may_be_left_out_is_missed_by_nobody_even_in_a_later_session(
    framework, butler, control
):
    (control / "stack-@").write_text("raise")
    framework.execute(plan(butler, control), butler)
    (control / "stack-@").unlink()
    assert framework.execute(plan(butler, control), butler).exit_code == 0
    assert butler.get("stack", instrument="Cam", visit=1)["masks"] == 1


# -- bundles ---------------------------------------------------------------------------------------


def bundled(dag):
    """One bundle for each visit, its reductions and its stack; the report by itself."""
    members = [[*range(3 * v, 3 * v + 3), 12 + v] for v in range(4)] + [[16]]
    indptr = np.cumsum([0, *map(len, members)])
    return dag.with_bundling(Bundling("by visit", indptr, np.concatenate(members).astype(np.int32)))


def test_bundles_run_whole_and_give_the_same(framework, butler, control, events, root):
    report = framework.execute(bundled(plan(butler, control)), butler, listeners=[events.append])
    assert report.exit_code == 0
    assert butler.get("report", instrument="Cam") == {"visits": 4, "total": 204.0}
    assert {e.quanta for e in of(BundleStarted, events)} == {
        (0, 1, 2, 12), (3, 4, 5, 13), (6, 7, 8, 14), (9, 10, 11, 15), (16,),
    }  # fmt: skip
    assert sorted(e.bundle for e in of(BundleEnded, events)) == [0, 1, 2, 3, 4]
    for e in of(BundleStarted, events):
        own = {x.attempt.pid for x in of(QuantumEnded, events) if x.attempt.index in e.quanta}
        assert len(own) == 1


def test_a_failure_in_a_bundle_leaves_its_neighbours_standing(framework, butler, control, events):
    (control / "reduce-1-1").write_text("raise")
    report = framework.execute(bundled(plan(butler, control)), butler, listeners=[events.append])
    assert by_task(report) == {
        "reduce": {SUCCEEDED: 11, FAILED: 1},
        "stack": {SUCCEEDED: 3, BLOCKED: 1},
        "report": {BLOCKED: 1},
    }
    assert sorted(e.bundle for e in of(BundleEnded, events)) == [0, 1, 2, 3]


def test_no_work_in_a_bundle_reaches_its_neighbours(framework, butler, control):
    (control / "reduce-1-1").write_text("nothing")
    assert framework.execute(bundled(plan(butler, control)), butler).exit_code == 0
    assert butler.get("stack", instrument="Cam", visit=1)["of"] == 2


# -- going on --------------------------------------------------------------------------------------


def test_running_again_runs_nothing(framework, butler, control, root):
    framework.execute(plan(butler, control), butler)
    before = outputs(root)
    report = framework.execute(plan(butler, control), butler)
    assert (report.exit_code, report.finished_before, report.registered) == (0, 17, 0)
    assert len(ran(control)) == 17
    assert outputs(root) == before


def test_what_one_framework_begins_another_finishes(butler, control, root):
    (control / "stack-2").write_text("raise")
    InProcessFramework().execute(plan(butler, control), butler)
    (control / "stack-2").unlink()
    (control / "report-Cam").write_text("raise")
    MultiprocessFramework(2).execute(plan(butler, control), butler)
    (control / "report-Cam").unlink()
    assert InProcessFramework().execute(plan(butler, control), butler).exit_code == 0
    assert sorted(ran(control)).count("stack-2") == 2
    assert len(ran(control)) == 19


def test_what_succeeded_and_was_not_registered_is_registered_and_not_run_again(here, butler, control, root):
    here.execute(plan(butler, control), butler)
    images = butler.query("image", collections=[RUN])
    folder = RunFolder(str(root), RUN)
    kept = []
    for path in folder.journal.glob("*.jsonl"):
        lines = [x for x in path.read_text().splitlines() if '"registered"' not in x[:40]]
        path.write_text("\n".join(lines) + "\n")
        kept += lines
    moved = {p: p.read_bytes() for p in (root / RUN / "image").rglob("*.json")}
    butler.remove(images, run=RUN)
    for path, data in moved.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    report = here.execute(plan(butler, control), butler)
    assert report.exit_code == 0
    assert report.registered == 12
    assert butler.query("image", collections=[RUN]) == images
    assert len(ran(control)) == 17


def test_a_quantum_whose_file_is_gone_runs_again_alone(framework, butler, control, root):
    framework.execute(plan(butler, control), butler)
    before = outputs(root)
    (root / RUN / "image/Cam/1/image_Cam_1_1.json").unlink()
    report = framework.execute(plan(butler, control), butler)
    assert report.exit_code == 0
    assert ran(control)[17:] == ["reduce-1-1"]
    assert outputs(root) == before
    (there,) = butler.query("image", collections=[RUN], visit=1, detector=1)
    butler.verify(there)


def test_a_whole_file_that_no_attempt_speaks_of_is_made_again(here, butler, control, root):
    place = root / RUN / "image/Cam/1/image_Cam_1_1.json"
    place.parent.mkdir(parents=True)
    place.write_text('{"value": -1}')
    assert here.execute(plan(butler, control), butler).exit_code == 0
    assert json.loads(place.read_text()) == {"value": 12.0}


def test_a_lost_journal_is_made_good_by_what_is_registered(here, butler, control, root):
    dag = plan(butler, control, masks=False)
    here.execute(dag, butler)
    for path in RunFolder(str(root), RUN).journal.iterdir():
        path.unlink()
    report = here.execute(dag, butler)
    assert report.exit_code == 0
    # Reductions that may leave out a mask cannot be told from those that were broken off.
    assert set(ran(control)[17:]) == {f"reduce-{v}-{d}" for v in range(4) for d in range(3)}
    assert butler.get("report", instrument="Cam")["visits"] == 4


def test_a_run_that_was_begun_is_refused_if_it_must_not_be_resumed(here, butler, control):
    here.execute(plan(butler, control), butler)
    with pytest.raises(ExecutionError, match="was begun before and is not to be resumed"):
        here.execute(plan(butler, control), butler, resume=False)


def test_a_larger_plan_goes_on_in_the_same_run(here, butler, control):
    small = plan(butler, control).subset(["reduce"], dataId={"visit": 1})
    here.execute(small, butler)
    report = here.execute(plan(butler, control), butler)
    assert (report.exit_code, report.finished_before) == (0, 3)
    assert len(ran(control)) == 17


def test_another_plan_that_would_write_over_what_is_there_is_refused(here, butler, control, root):
    here.execute(plan(butler, control), butler)
    before = outputs(root)
    with pytest.raises(ExecutionError, match="datasets of another plan that this one would write again"):
        here.execute(plan(butler, control, offset=5.0), butler)
    assert outputs(root) == before


# -- what is refused -------------------------------------------------------------------------------


def test_a_plan_of_another_repository_is_refused(here, butler, control, tmp_path):
    dag = plan(butler, control)
    with (
        make_repository(tmp_path / "other") as other,
        pytest.raises(ExecutionError, match=r"the plan was made from another repository: .*repo"),
    ):
        here.execute(dag, other)


def test_a_second_driver_is_refused_while_the_first_works(here, butler, control, root):
    (control / "reduce-@").write_text("sleep:0.3")
    dag = plan(butler, control).subset(["reduce"], dataId={"visit": 1})
    reports = []

    def first():
        with Butler(root) as own:
            reports.append(InProcessFramework().execute(dag, own))

    thread = threading.Thread(target=first)
    thread.start()
    while not ran(control):
        thread.join(0.01)
    with pytest.raises(ExecutionError, match="is being executed already, by process"):
        here.execute(dag, butler)
    now = status(root, RUN)
    assert now.active
    assert len(now.running) == 1
    thread.join()
    assert reports[0].exit_code == 0
    assert not status(root, RUN).active


def test_a_damaged_plan_is_refused(here, butler, control, tmp_path):
    file = tmp_path / "plan.h5"
    plan(butler, control).save(file)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DagFileError):
        here.execute(file, butler)


def test_a_task_that_cannot_be_constructed_is_said_before_anything_runs(here, butler, control, monkeypatch):
    dag = plan(butler, control)
    monkeypatch.delattr(frames, "StackTask")
    with pytest.raises(ExecutionError, match="task 'stack' cannot be constructed: .*no class 'StackTask'"):
        here.execute(dag, butler)
    assert not ran(control)


def test_damage_in_the_journal_is_said_and_what_it_hid_is_run_again(here, butler, control, root):
    here.execute(plan(butler, control), butler)
    paths = RunFolder(str(root), RUN).journal.glob("*.jsonl")
    path = next(p for p in paths if b'"index":5,"attempt":1,"status"' in p.read_bytes())
    path.write_bytes(
        path.read_bytes().replace(b'"index":5,"attempt":1,"status"', b'"index":5,"attempt":2,"status"')
    )
    report = here.execute(plan(butler, control), butler)
    assert report.exit_code == 0
    assert len(ran(control)) == 18
    assert any("torn or altered" in p for p in report.problems)


# -- reports ---------------------------------------------------------------------------------------


def test_status_from_the_journal_says_what_the_report_said(framework, butler, control, root):
    (control / "reduce-1-1").write_text("raise")
    report = framework.execute(plan(butler, control), butler)
    found = status(root, RUN)
    assert found.counts == report.counts
    assert by_task(found) == by_task(report)
    assert found.exit_code == report.exit_code == 1
    assert [(f.message, f.dataIds) for f in found.failures] == [
        (f.message, f.dataIds) for f in report.failures
    ]
    assert not found.active
    assert found.to_dict()["counts"] == {"succeeded": 14, "failed": 1, "blocked": 2}
    json.dumps(found.to_dict())
    json.dumps(report.to_dict())


def test_status_of_a_run_that_is_not_there(root, butler):
    with pytest.raises(ExecutionError, match="run 'u/none' has no journal"):
        status(root, "u/none")


def test_logs_are_kept_for_each_attempt(framework, butler, control, root, events):
    (control / "reduce-1-1").write_text("raise")
    framework.execute(plan(butler, control), butler, listeners=[events.append])
    found = replay(RunFolder(str(root), RUN))
    (failed,) = [a for a in found.attempts(range(17)) if a.status is FAILED]
    assert ": about to raise" in found.log(failed)
