"""Callbacks on what is complete, delivered exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from executors.driving.callbacks import Callbacks
from executors.outcome import QuantumStatus
from tests.executors import frames


def counting(told: list[str]) -> Callbacks:
    callbacks = Callbacks()

    @callbacks.on_quantum(name="quantum")
    def quantum(completed):
        told.append(f"{completed.label} {completed.index} {completed.status.value}")

    @callbacks.on_task(name="task")
    def task(completed):
        told.append(completed.label)

    @callbacks.on_run(name="run")
    def run(completed):
        told.append("run")

    return callbacks


def test_each_completion_is_told_once_in_every_framework(framework, butler, control) -> None:
    told: list[str] = []
    dag = frames.plan(butler, control)
    framework.execute(dag, butler, listeners=[counting(told)])
    assert set(Counter(told).values()) == {1}
    assert len(told) == dag.n_quanta + len(dag.tasks) + 1
    assert told[-1] == "run"


def test_what_was_told_is_not_told_again_by_a_session_that_finds_all_done(here, butler, control) -> None:
    told: list[str] = []
    dag = frames.plan(butler, control)
    here.execute(dag, butler, listeners=[counting(told)])
    count = len(told)
    here.execute(dag, butler, listeners=[counting(told)])
    here.execute(dag, butler, listeners=[counting(told)])
    assert len(told) == count


def test_failures_are_told_and_task_and_run_wait_until_all_is_well(here, butler, control) -> None:
    told: list[str] = []
    (control / "reduce-0-1").write_text("raise")
    dag = frames.plan(butler, control)
    here.execute(dag, butler, listeners=[counting(told)])
    assert sum(QuantumStatus.FAILED.value in t for t in told) == 1
    assert "run" not in told
    assert "reduce" not in told
    (control / "reduce-0-1").unlink()
    here.execute(dag, butler, listeners=[counting(told)])
    assert Counter(told)["run"] == Counter(told)["reduce"] == 1


def test_a_callback_that_is_new_hears_of_what_is_complete_already(here, butler, control) -> None:
    dag = frames.plan(butler, control)
    here.execute(dag, butler)
    told: list[str] = []
    here.execute(dag, butler, listeners=[counting(told)])
    assert len(told) == dag.n_quanta + len(dag.tasks) + 1


def test_one_that_raises_is_reported_and_keeps_others_and_later_calls_going(here, butler, control) -> None:
    told: list[str] = []
    callbacks = counting(told)

    @callbacks.on_quantum("reduce", name="broken")
    def broken(completed):
        raise OSError("no disk")

    dag = frames.plan(butler, control)
    report = here.execute(dag, butler, listeners=[callbacks])
    assert report.exit_code == 0
    assert len(told) == dag.n_quanta + len(dag.tasks) + 1
    assert len(callbacks.raised) == next(t.count for t in dag.tasks if t.label == "reduce")
    assert "no disk" in callbacks.raised[0]


def test_a_task_that_the_plan_does_not_have_is_named(here, butler, control) -> None:
    callbacks = Callbacks()
    callbacks.on_task("reduse", name="x")(print)
    report = here.execute(frames.plan(butler, control), butler, listeners=[callbacks])
    assert any("did you mean 'reduce'" in problem for problem in report.problems)


SCRIPT = """
import os, signal, sys
from executors import InProcessFramework
from executors.driving.callbacks import Callbacks
from graphbuilder import ScienceDag
from supertask import Butler

root, plan, told, killed = sys.argv[1:]
callbacks = Callbacks()

@callbacks.on_quantum(name="note")
def note(completed):
    line = f"{completed.key} {int(completed.again)}"
    if not os.path.exists(killed) and len(open(told, "a+").readlines()) >= 0:
        with open(told) as file:
            if len(file.readlines()) == 3:
                open(killed, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
    with open(told, "a") as file:
        file.write(line + "\\n")

with Butler(root) as butler:
    InProcessFramework().execute(plan, butler, listeners=[callbacks])
"""


def test_a_driver_killed_within_a_callback_tells_the_rest_once_and_that_one_again(
    butler, root, control, tmp_path
) -> None:
    dag = frames.plan(butler, control)
    dag.save(tmp_path / "plan.h5")
    told, killed = tmp_path / "told", tmp_path / "killed"
    told.touch()
    words = [sys.executable, "-c", SCRIPT, str(root), str(tmp_path / "plan.h5"), str(told), str(killed)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    codes = [subprocess.run(words, check=False, env=environment).returncode for _ in range(3)]
    assert codes == [-signal.SIGKILL, 0, 0]
    lines = told.read_text().splitlines()
    assert len({line.rpartition(" ")[0] for line in lines}) == len(lines) == dag.n_quanta
    assert sum(line.endswith(" 1") for line in lines) == 1


@pytest.mark.parametrize("name", ["", "same"])
def test_callbacks_need_names_of_their_own(name) -> None:
    callbacks = Callbacks()
    callbacks.on_run(name="same")(print)
    from supertask.errors import ConfigError

    with pytest.raises(ConfigError, match="needs a name"):
        callbacks.on_run(name=name)(type("Nameless", (), {"__call__": print})() if not name else print)
