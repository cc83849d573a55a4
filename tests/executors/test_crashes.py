"""Tests that kill workers and drivers at any moment; run again, all ends as if nothing had happened."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from executors import InProcessFramework, MultiprocessFramework, QuantumStatus, status
from executors.events import QuantumEnded, RunStarted
from executors.host.processes import is_alive
from executors.journal.runfolder import RunFolder
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError
from tests.executors.frames import RUN, make_repository, outputs, plan, ran

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SUCCEEDED, FAILED, BLOCKED, LOST = (
    QuantumStatus.SUCCEEDED, QuantumStatus.FAILED, QuantumStatus.BLOCKED, QuantumStatus.LOST,
)  # fmt: skip

DRIVER = """
import sys
from pathlib import Path
from executors import InProcessFramework, MultiprocessFramework
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError

if __name__ == "__main__":
    root, file, kind = sys.argv[1:]
    method = {"pool": None, "forked pool": "fork"}
    framework = InProcessFramework()
    if kind in method:
        framework = MultiprocessFramework(2, start_method=method[kind])
    with Butler(root) as butler:
        print("open", flush=True)
        sys.exit(framework.execute(file, butler).exit_code)
"""


def drive(root, file, kind):
    """Start a driver in a process of its own."""
    script = file.with_name("driver.py")
    script.write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(script), str(root), str(file), kind], cwd=ROOT, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def workers_of(root):
    """Process numbers of workers that the journal knows."""
    paths = RunFolder(str(root), RUN).journal.glob("*-worker-*.jsonl")
    return [int(p.stem.rpartition("-")[2]) for p in paths]


def succeeded_in_journal(root):
    """How often the journal says of each quantum that it succeeded."""
    counts = Counter()
    for path in RunFolder(str(root), RUN).journal.glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            try:
                value = json.loads(line[9:])
            except ValueError:
                continue
            if value["event"] == "end" and value["status"] == "succeeded":
                counts[value["index"]] += 1
    return counts


def left_over(root):
    return list(Path(root).rglob(".tmp-*"))


# -- workers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "how"),
    [
        ("die", "ended with exit code 3"),
        ("kill", "was ended by SIGKILL; the system may have run out of memory"),
        ("segfault", "was ended by SIGSEGV"),
    ],
)
def test_a_dead_worker_fails_its_quantum_alone_and_is_replaced(pool, butler, control, root, action, how):
    (control / "reduce-1-1").write_text(action)
    seen = []
    report = pool.execute(plan(butler, control), butler, listeners=[seen.append])
    assert {t.label: t.counts for t in report.tasks} == {
        "reduce": {SUCCEEDED: 11, FAILED: 1},
        "stack": {SUCCEEDED: 3, BLOCKED: 1},
        "report": {BLOCKED: 1},
    }
    (group,) = report.failures
    assert group.exception == "WorkerDied"
    assert how in group.message
    assert group.dataIds == ({"instrument": "Cam", "visit": 1, "detector": 1},)
    ends = [e.attempt.index for e in seen if isinstance(e, QuantumEnded)]
    assert len(ends) == len(set(ends)) == 15
    assert not left_over(root)
    assert status(root, RUN).counts == report.counts


def test_many_dead_workers_end_no_run(pool, butler, control, root):
    for visit in range(4):
        (control / f"reduce-{visit}-1").write_text("kill")
    report = pool.execute(plan(butler, control), butler)
    assert report.counts == {SUCCEEDED: 8, FAILED: 4, BLOCKED: 5}
    for each in control.glob("reduce-*"):
        each.unlink()
    assert pool.execute(plan(butler, control), butler).exit_code == 0


def test_workers_that_cannot_begin_are_an_error_and_no_endless_loop(pool, butler, control, tmp_path):
    file = tmp_path / "plan.h5"
    plan(butler, control).save(file)

    def spoil(event):
        if isinstance(event, RunStarted):
            file.unlink()

    with pytest.raises(ExecutionError, match=r"cannot begin: supertask.errors.DagFileError: .*plan.h5"):
        pool.execute(file, butler, listeners=[spoil])


def test_nothing_waits_behind_a_long_quantum_while_others_are_idle(butler, control):
    """What an idle worker could do is taken back from a busy one."""
    (control / "reduce-2-0").write_text("sleep:3")
    ends = []

    def note(event):
        if isinstance(event, QuantumEnded):
            ends.append((time.monotonic(), event.attempt.index))

    MultiprocessFramework(2).execute(plan(butler, control).subset(["reduce"]), butler, listeners=[note])
    assert [index for _, index in ends][-1] == 6
    assert ends[-1][0] - ends[-2][0] > 1


# -- drivers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["in process", "pool", "forked pool"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_in_order(root, butler, control, tmp_path, kind, number):
    (control / "reduce-@").write_text("sleep:0.2")
    file = tmp_path / "plan.h5"
    plan(butler, control).save(file)
    driver = drive(root, file, kind)
    with driver:
        while len(ran(control)) < 3:
            assert driver.poll() is None, driver.stderr.read()
            time.sleep(0.01)
        driver.send_signal(number)
        assert driver.wait(30) == 1
        assert driver.stderr.read() == ""
    found = status(root, RUN)
    assert not found.active
    assert SUCCEEDED in found.counts
    assert found.counts.get(LOST, 0) == 0
    finished = found.counts[SUCCEEDED]
    assert finished == len(ran(control)), "what ran was finished"
    assert len(butler.query("image", collections=[RUN])) == finished, "and registered"
    (control / "reduce-@").unlink()
    report = InProcessFramework().execute(file, butler)
    assert (report.exit_code, report.finished_before) == (0, finished)


@pytest.mark.parametrize("kind", ["in process", "pool", "forked pool"])
def test_a_second_signal_ends_it_at_once(root, butler, control, tmp_path, kind):
    (control / "reduce-@").write_text("sleep:30")
    file = tmp_path / "plan.h5"
    plan(butler, control).save(file)
    driver = drive(root, file, kind)
    with driver:
        while not ran(control):
            assert driver.poll() is None, driver.stderr.read()
            time.sleep(0.01)
        begun = time.monotonic()
        driver.send_signal(signal.SIGINT)
        time.sleep(0.2)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(20) == 1
        assert time.monotonic() - begun < 15
        assert driver.stderr.read() == ""
    assert not any(map(is_alive, workers_of(root)))
    (control / "reduce-@").unlink()
    assert MultiprocessFramework(2).execute(file, butler).exit_code == 0
    assert not left_over(root)


@pytest.mark.parametrize("kind", ["pool", "forked pool"])
def test_workers_end_with_their_driver(root, butler, control, tmp_path, kind):
    (control / "reduce-@").write_text("sleep:60")
    file = tmp_path / "plan.h5"
    plan(butler, control).save(file)
    driver = drive(root, file, kind)
    with driver:
        while len(ran(control)) < 2:
            assert driver.poll() is None, driver.stderr.read()
            time.sleep(0.01)
        driver.kill()
    until = time.monotonic() + 30
    # A process that the kernel takes down holds its files a moment longer than it is seen to live.
    while any(map(is_alive, workers_of(root))) or status(root, RUN).running:
        assert time.monotonic() < until, "a worker outlives its driver"
        time.sleep(0.01)
    found = status(root, RUN)
    assert (found.active, found.interrupted, found.running) == (False, True, ())
    (control / "reduce-@").unlink()
    report = InProcessFramework().execute(file, butler)
    assert report.exit_code == 0
    assert not left_over(root)


def undisturbed(tmp_path, visits, detectors):
    """The outputs of a run that nothing happened to."""
    root = tmp_path / "undisturbed"
    with make_repository(root, visits, detectors) as butler:
        assert InProcessFramework().execute(plan(butler), butler).exit_code == 0
    return outputs(root)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_killed_when_the_run_ends_as_if_nothing_had_happened(tmp_path, seed):
    """Drivers and workers are killed at random; what is left is run again, by one framework or the other."""
    dice = random.Random(seed)
    visits, detectors = 30, 14
    expected = undisturbed(tmp_path, visits, detectors)
    root, file = tmp_path / "repo", tmp_path / "plan.h5"
    with make_repository(root, visits, detectors) as butler:
        dag = plan(butler)
        dag.save(file)
    # In turn, so that how many of each there are hangs on luck as little as can be.
    turns = itertools.cycle(["driver", "worker"])
    deaths, code = Counter(), None
    while code != 0:
        assert sum(deaths.values()) < 200
        driver = drive(root, file, dice.choice(["in process", "pool", "forked pool"]))
        with driver:
            assert driver.stdout.readline() == "open\n"
            while driver.poll() is None:
                done = len(succeeded_in_journal(root))
                if done > 0.9 * dag.n_quanta:  # the last of the work is done in peace
                    break
                aim = done + dice.randint(0, 20)
                while driver.poll() is None and len(succeeded_in_journal(root)) < aim:
                    time.sleep(dice.uniform(0.0, 0.03))
                workers = [pid for pid in workers_of(root) if is_alive(pid)]
                victim = next(turns) if workers else "driver"
                deaths[victim] += 1
                if victim == "driver":
                    driver.kill()
                    break
                os.kill(dice.choice(workers), signal.SIGKILL)
            code = driver.wait(120)
            said = driver.stderr.read()
        assert code in {0, 1, -signal.SIGKILL}, said
        assert "Traceback" not in said
    assert deaths["driver"] >= 3
    assert deaths["worker"] >= 1
    assert outputs(root) == expected
    counts = succeeded_in_journal(root)
    assert set(counts) == set(range(dag.n_quanta))
    assert set(counts.values()) == {1}, "every quantum succeeded exactly once"
    assert not left_over(root)
    with Butler(root) as butler:
        for name in ("image", "mask", "stack", "report"):
            there = butler.query(name, collections=[RUN])
            assert len(there) == sum(f.startswith(f"{name}/") for f in expected)
        butler.verify(there[0])
    assert status(root, RUN).exit_code == 0
