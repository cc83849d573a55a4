"""What is done about quanta that fail: tried again, ended, borne, or done without."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import numpy as np
import pytest

from executors import MultiprocessFramework, QuantumStatus, status
from executors.events import QuantumEnded
from executors.host.processes import is_alive
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder
from graphbuilder import QuantumBatcher
from supertask.errors import ExecutionError
from tests.executors.frames import RUN, family, outputs, plan, ran

pytestmark = pytest.mark.slow

SUCCEEDED, NO_WORK, FAILED, BLOCKED, CANCELLED = (
    QuantumStatus.SUCCEEDED, QuantumStatus.NO_WORK, QuantumStatus.FAILED, QuantumStatus.BLOCKED,
    QuantumStatus.CANCELLED,
)  # fmt: skip
AT_ONCE = {"*": {"delay": 0.0}}


def patient(**retries):
    """A policy that tries again at once."""
    return {"*": {"delay": 0.0, **{f"retries.{kind}": n for kind, n in retries.items()}}}


# -- retries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bundled", [False, True])
def test_what_is_disturbed_from_outside_is_tried_again_and_succeeds(
    framework, butler, control, root, bundled
):
    (control / "reduce-1-1").write_text("until:3:transient")
    dag = plan(butler, control)
    if bundled:
        dag = QuantumBatcher(max_quanta=6).batch(dag)
    seen = []
    report = framework.execute(dag, butler, policies=AT_ONCE, listeners=[seen.append])
    assert report.counts == {SUCCEEDED: 17}
    assert report.exit_code == 0
    assert not report.failures
    assert {t.label: t.retried for t in report.tasks} == {"reduce": 2, "stack": 0, "report": 0}
    assert ran(control).count("reduce-1-1") == 3
    assert len(ran(control)) == 19, "and nothing else ran twice"
    ends = [e for e in seen if isinstance(e, QuantumEnded) and e.attempt.index == 4]
    assert [(e.attempt.number, e.attempt.status, e.retry_in) for e in ends] == [
        (1, FAILED, 0.0), (2, FAILED, 0.0), (3, SUCCEEDED, None),
    ]  # fmt: skip
    assert status(root, RUN).counts == report.counts


def test_retries_come_to_an_end(framework, butler, control):
    (control / "reduce-1-1").write_text("transient")
    report = framework.execute(plan(butler, control), butler, policies=patient(transient=1))
    assert report.counts == {SUCCEEDED: 14, FAILED: 1, BLOCKED: 2}
    (group,) = report.failures
    assert (group.kind, group.attempts, group.count) == ("transient", 2, 1)


@pytest.mark.parametrize(("action", "kind"), [("raise", "error"), ("bad", "bad input")])
def test_errors_are_not_tried_again_unless_asked_for_and_bad_input_never(
    framework, butler, control, action, kind
):
    (control / "reduce-1-1").write_text(action)
    dag = plan(butler, control).subset(["reduce"])
    framework.execute(dag, butler)
    assert ran(control).count("reduce-1-1") == 1
    report = framework.execute(dag, butler, policies=patient(error=2))
    assert ran(control).count("reduce-1-1") == (4 if action == "raise" else 2)
    assert [g.kind for g in report.failures] == [kind]


def test_a_retry_waits_and_other_work_goes_on_meanwhile(framework, butler, control):
    (control / "reduce-0-0").write_text("until:2:transient")
    policies = {"reduce": {"delay": 1.0}}
    began = time.monotonic()
    report = framework.execute(plan(butler, control), butler, policies=policies)
    assert report.counts == {SUCCEEDED: 17}
    assert time.monotonic() - began > 0.5
    names = ran(control)
    assert names.index("stack-3") < len(names) - 1 - names[::-1].index("reduce-0-0")


@pytest.mark.parametrize("bundled", [False, True])
def test_a_killed_worker_is_tried_again_where_its_task_says_so(pool, butler, control, bundled):
    (control / "reduce-1-1").write_text("until:2:kill")
    dag = plan(butler, control)
    if bundled:
        dag = QuantumBatcher(max_quanta=6).batch(dag)
    report = pool.execute(dag, butler, policies={"reduce": {"retries.killed": 1, "delay": 0.1}})
    assert report.counts == {SUCCEEDED: 17}


def test_what_waits_for_a_retry_when_the_run_stops_has_failed(framework, butler, control, root):
    (control / "reduce-0-0").write_text("transient")
    (control / "reduce-0-1").write_text("raise")
    for others in range(2, 6):  # whichever worker is late, not all is done when that raises
        (control / f"reduce-{others}-0").write_text("sleep:3")
    report = framework.execute(plan(butler, control), butler, fail_fast=True, policies={"*": {"delay": 30.0}})
    assert report.counts[FAILED] >= 1
    assert report.counts[CANCELLED] >= 1
    assert report.exit_code == 1


# -- time ------------------------------------------------------------------------------------------


def test_what_takes_too_long_fails_alone(framework, butler, control):
    (control / "reduce-1-1").write_text("sleep:60")
    began = time.monotonic()
    report = framework.execute(plan(butler, control), butler, policies={"reduce": {"timeout": 6.0}})
    assert time.monotonic() - began < 40
    assert report.counts == {SUCCEEDED: 14, FAILED: 1, BLOCKED: 2}
    (group,) = report.failures
    assert group.kind == "timeout"
    assert "it took longer than the 6 s that it may take" in group.message


def test_a_timeout_ends_all_that_the_task_started(framework, butler, control):
    """Also what began a session of its own, and what lost its parent."""
    (control / "reduce-1-1").write_text("family")
    report = framework.execute(
        plan(butler, control).subset(["reduce"]), butler, policies={"reduce": {"timeout": 5.0}}
    )
    assert report.counts == {SUCCEEDED: 11, FAILED: 1}
    started = family(control)
    assert len(started) == 2
    own_session, orphan = sorted(started, key=lambda pid: is_alive(pid))
    assert not is_alive(own_session)
    if isinstance(framework, MultiprocessFramework):
        assert not is_alive(orphan), "a worker is given the orphans below it"
    else:
        os.kill(orphan, signal.SIGKILL)
        os.waitpid(-1, os.WNOHANG)


def test_a_timeout_is_tried_again_where_its_task_says_so(framework, butler, control):
    (control / "reduce-1-1").write_text("until:2:sleep:60")
    policies = {"reduce": {"timeout": 6.0, "retries.timeout": 1, "delay": 0.0}}
    assert framework.execute(plan(butler, control), butler, policies=policies).counts == {SUCCEEDED: 17}


# -- memory ----------------------------------------------------------------------------------------


def held_by_a_worker(pool, butler, control):
    """What a quantum's process holds that does nothing special."""
    report = pool.execute(plan(butler, control, run="u/test/before"), butler)
    return max(t.peak_memory for t in report.tasks)


def test_what_holds_too_much_memory_fails_alone_and_both_numbers_are_said(pool, butler, control):
    limit = held_by_a_worker(pool, butler, control) + 150_000_000
    (control / "reduce-1-1").write_text(f"allocate:{limit - 20_000_000}")
    policies = {"reduce": {"memory": str(limit), "retries.out_of_memory": 0}}
    report = pool.execute(plan(butler, control), butler, policies=policies)
    assert report.counts == {SUCCEEDED: 14, FAILED: 1, BLOCKED: 2}
    (group,) = report.failures
    assert (group.exception, group.kind) == ("MemoryLimit", "out of memory")
    assert re.fullmatch(r"it and what it started held \d+ MB in memory, and may hold \d+ MB", group.message)


def test_a_request_beyond_the_limit_is_refused_before_it_is_touched(framework, butler, control):
    (control / "reduce-1-1").write_text("allocate:3000000000")
    policies = {"reduce": {"memory": "1 GB", "retries.out_of_memory": 0}}
    report = framework.execute(plan(butler, control), butler, policies=policies)
    assert report.counts == {SUCCEEDED: 14, FAILED: 1, BLOCKED: 2}
    (group,) = report.failures
    assert (group.exception, group.kind) == ("MemoryError", "out of memory")
    assert "its process held" in group.message
    assert "it may hold 1 GB more" in group.message


def test_what_ran_out_of_memory_may_have_more_and_that_is_remembered(framework, butler, control, root):
    (control / "reduce-1-1").write_text("allocate:700000000")
    policies = {"reduce": {"memory": "500 MB", "retries.out_of_memory": 0, "memory_cap": "2 GB"}}
    dag = plan(butler, control)
    assert framework.execute(dag, butler, policies=policies).counts[FAILED] == 1
    index = 4
    assert replay(RunFolder(str(root), RUN)).memory == {index: 1_000_000_000}
    report = framework.execute(dag, butler, policies=policies)
    assert report.counts == {SUCCEEDED: 17}
    assert sum(t.retried for t in report.tasks) == 0, "it began with what it needs"


def test_memory_grows_with_each_retry_until_it_is_enough(framework, butler, control):
    (control / "reduce-1-1").write_text("allocate:700000000")
    policies = {"reduce": {"memory": "300 MB", "retries.out_of_memory": 2}}
    report = framework.execute(plan(butler, control), butler, policies=policies)
    assert report.counts == {SUCCEEDED: 17}
    assert sum(t.retried for t in report.tasks) == 2


# -- quorum ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bundled", [False, True])
def test_a_quorum_runs_without_what_failed_and_says_so(framework, butler, control, root, bundled):
    (control / "reduce-1-1").write_text("raise")
    dag = plan(butler, control)
    if bundled:
        dag = QuantumBatcher(max_quanta=6).batch(dag)
    seen = []
    report = framework.execute(dag, butler, policies={"stack": {"quorum": "60%"}}, listeners=[seen.append])
    assert report.counts == {SUCCEEDED: 16, FAILED: 1}
    assert report.exit_code == 1
    attempts = {e.attempt.index: e.attempt for e in seen if isinstance(e, QuantumEnded)}
    stack = attempts[13]
    assert len(stack.short) == 2, "an image, and a mask"
    assert not stack.whole
    assert stack.caveats[0] == ("ran with 2 of 3 'image': image{instrument=Cam, visit=1, detector=1} failed")
    assert not attempts[16].whole
    assert "reads what was made of fewer inputs, by stack" in attempts[16].caveats[0]
    assert attempts[12].whole
    (file,) = (text for name, text in outputs(root).items() if re.match(r"stack/.*1\.json", name))
    assert json.loads(file)["of"] == 2
    assert [c.label for c in report.caveats] == ["stack", "stack", "report"]
    assert {c.label for c in status(root, RUN).caveats} == {"stack", "report"}
    assert [c["task"] for c in butler.run_provenance(RUN)["caveats"]] == ["stack", "stack", "report"]


def test_outputs_of_fewer_inputs_are_not_taken_for_what_the_plan_means(framework, butler, control):
    (control / "reduce-1-1").write_text("raise")
    dag = plan(butler, control)
    framework.execute(dag, butler, policies={"stack": {"quorum": "2"}})
    planned = {bytes(i) for q in range(dag.n_quanta) for i in dag.record(q).identities.values()}
    kept = {name: [bytes(d) for d in identities_of(butler, name)] for name in ("image", "stack", "report")}
    assert all(d in planned for d in kept["image"])
    assert sum(d in planned for d in kept["stack"]) == 3
    assert not any(d in planned for d in kept["report"])


def identities_of(butler, name):
    with butler.reader(collections=[RUN]) as reader:
        return list(np.asarray(reader.datasets(butler.dataset_types()[name]).identities))


def test_a_quorum_that_is_missed_blocks(framework, butler, control):
    for detector in (0, 1):
        (control / f"reduce-1-{detector}").write_text("raise")
    report = framework.execute(plan(butler, control), butler, policies={"stack": {"quorum": "50%"}})
    assert report.counts == {SUCCEEDED: 13, FAILED: 2, BLOCKED: 2}


def test_a_quorum_can_stand_behind_what_is_blocked(framework, butler, control):
    (control / "reduce-1-1").write_text("raise")
    report = framework.execute(plan(butler, control), butler, policies={"report": {"quorum": "3"}})
    assert report.counts == {SUCCEEDED: 15, FAILED: 1, BLOCKED: 1}
    assert [c.label for c in report.caveats] == ["report"]


def test_a_quorum_waits_for_retries(framework, butler, control):
    (control / "reduce-1-1").write_text("until:2:transient")
    policies = {"*": {"quorum": "2", "delay": 0.3}}
    report = framework.execute(plan(butler, control), butler, policies=policies)
    assert report.counts == {SUCCEEDED: 17}
    assert not report.caveats


def test_who_goes_on_behind_fewer_inputs_in_a_later_session_knows_it(framework, butler, control):
    (control / "reduce-1-1").write_text("raise")
    (control / "report-Cam").write_text("raise")
    dag = plan(butler, control)
    policies = {"stack": {"quorum": "2"}}
    framework.execute(dag, butler, policies=policies)
    (control / "report-Cam").unlink()
    seen = []
    report = framework.execute(dag, butler, policies=policies, listeners=[seen.append])
    (last,) = [e.attempt for e in seen if isinstance(e, QuantumEnded) and e.attempt.label == "report"]
    assert (last.status, last.whole) == (SUCCEEDED, False)
    assert report.counts == {SUCCEEDED: 16, FAILED: 1}


def test_partial_outputs_are_kept_with_what_is_wrong_with_them(framework, butler, control, root):
    (control / "reduce-1-1").write_text("caveat")
    report = framework.execute(plan(butler, control), butler)
    assert report.counts == {SUCCEEDED: 17}
    (caveat,) = report.caveats
    assert (caveat.label, caveat.caveat, caveat.count) == ("reduce", "half of the detector is dead", 1)
    assert status(root, RUN).caveats == report.caveats


# -- budgets ---------------------------------------------------------------------------------------


def test_a_share_of_failures_stops_the_run(framework, butler, control):
    (control / "reduce-@").write_text("raise")
    report = framework.execute(plan(butler, control), butler, max_failures=0.1)
    assert 2 <= report.counts[FAILED] <= 4
    assert "2 are too many" in report.stopped


def test_each_task_may_have_a_budget_of_its_own(framework, butler, control):
    (control / "reduce-0-@").write_text("raise")
    (control / "reduce-1-@").write_text("raise")
    report = framework.execute(plan(butler, control), butler, policies={"reduce": {"max_failures": "25%"}})
    assert 3 <= report.counts[FAILED] <= 6
    assert report.stopped.startswith(f"{report.stopped.split()[0]} of 'reduce' failed")
    report = framework.execute(plan(butler, control), butler, policies={"stack": {"max_failures": "1"}})
    assert not report.stopped


def test_what_failed_may_stay_failed(framework, butler, control):
    (control / "reduce-1-1").write_text("raise")
    dag = plan(butler, control)
    framework.execute(dag, butler)
    calls = len(ran(control))
    report = framework.execute(dag, butler, retry_failed=False)
    assert len(ran(control)) == calls
    assert report.counts == {SUCCEEDED: 14, FAILED: 1, BLOCKED: 2}
    (control / "reduce-1-1").unlink()
    assert framework.execute(dag, butler).exit_code == 0


def test_policies_of_unknown_tasks_and_bad_values_are_all_named(here, butler, control):
    policies = {"redduce": {"timeout": 1}, "stack": {"timout": 1, "memory": "much"}, "*": {"delay": -1}}
    with pytest.raises(ExecutionError) as caught:
        here.execute(plan(butler, control), butler, policies=policies)
    for word in ("'redduce' (did you mean 'reduce'?)", "timout", "delay"):
        assert word in str(caught.value)
