"""Two hundred kills: of drivers, of workers, of all processes at once; what is left ends as if none had been.

A warm process forks the drivers, so that a session costs what it does and not what importing does.
"""

from __future__ import annotations

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

from executors import InProcessFramework, status
from executors.journal.runfolder import RunFolder
from executors.workplaces.scratch import memory_folder, sweep_scratch
from supertask.butler.repository import Butler
from tests.executors.frames import RUN, make_repository, outputs, plan
from tests.executors.test_crashes import is_alive, left_over, succeeded_in_journal, workers_of

ROOT = Path(__file__).parents[2]
KILLS = 200

WARM = """
import json, os, sys
import executors.pool.crew, executors.inprocess, executors.multiprocess, h5py
from supertask.butler.repository import Butler
from tests.executors import frames

def drive(root, file, kind, retain):
    os.setsid()
    framework = executors.inprocess.InProcessFramework()
    if kind == "pool":
        framework = executors.multiprocess.MultiprocessFramework(2, start_method="fork")
    with Butler(root) as butler:
        return framework.execute(file, butler, retain=retain).exit_code

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        code = 70
        try:
            code = drive(*json.loads(line))
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture
def warm(tmp_path):
    """Start drivers: called with what to run, gives the process's number; its next line is how it ended."""
    said = (tmp_path / "said").open("w+")
    with subprocess.Popen(
        [sys.executable, "-c", WARM], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True,
    ) as process:  # fmt: skip
        yield process
        process.stdin.close()
    said.seek(0)
    text = said.read()
    said.close()
    assert "Traceback" not in text, text


def session(warm, dice, root, file, kind, retain, deaths, most):
    """Run one session and kill what the dice say; return how it ended."""
    print(json.dumps([str(root), str(file), kind, retain]), file=warm.stdin, flush=True)
    pid = int(warm.stdout.readline())
    ended = False
    while not ended and sum(deaths.values()) < most:
        # Some wait for long: on a busy machine workers take a while to be there to be killed.
        until = time.monotonic() + dice.uniform(*dice.choice([(0, 0.1), (0.05, 0.5), (0.5, 3)]))
        while is_alive(pid) and time.monotonic() < until:
            time.sleep(0.002)
        workers = [w for w in workers_of(root) if is_alive(w)]
        victim = dice.choice(["driver", "machine", *(["worker"] * 2 if workers else [])])
        try:
            if victim == "worker":
                os.kill(dice.choice(workers), signal.SIGKILL)
            elif victim == "machine":
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            ended = not is_alive(pid)
            continue
        deaths[victim] += 1
        ended = victim != "worker"
    return int(warm.stdout.readline())


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "visits"), [(1, 40), (2, 384)], ids=["521 quanta", "4993 quanta"])
def test_two_hundred_kills_lose_nothing_and_repeat_nothing(tmp_path, warm, seed, visits):
    dice = random.Random(seed)
    detectors = 12
    retain = {}
    with make_repository(tmp_path / "undisturbed", visits, detectors) as butler:
        assert InProcessFramework().execute(plan(butler), butler).exit_code == 0
    expected = outputs(tmp_path / "undisturbed")
    deaths, runs = Counter(), 0
    while sum(deaths.values()) < KILLS // 2:
        runs += 1
        root, file = tmp_path / f"repo{runs}", tmp_path / f"plan{runs}.h5"
        with make_repository(root, visits, detectors) as butler:
            dag = plan(butler)
            dag.save(file)
        code, sessions = None, 0
        while code != 0:
            sessions += 1
            kind = ["in process", "pool"][sessions % 2]
            code = session(warm, dice, root, file, kind, retain, deaths, KILLS // 2)
            assert code in {0, 1, -signal.SIGKILL}
            assert sessions < KILLS
        found = outputs(root)
        assert found.keys() == expected.keys()
        assert found == expected
        counts = succeeded_in_journal(root)
        assert set(counts) == set(range(dag.n_quanta))
        assert set(counts.values()) == {1}, "every quantum succeeded exactly once"
        assert not left_over(root)
        with Butler(root) as butler:
            for name in ("image", "mask", "stack", "report"):
                there = butler.query(name, collections=[RUN])
                assert len(there) == sum(f.startswith(f"{name}/") for f in expected)
        assert status(root, RUN).exit_code == 0
    assert set(deaths) == {"driver", "worker", "machine"}


@pytest.mark.slow
def test_kills_while_intermediates_go_leave_what_an_undisturbed_run_leaves(tmp_path, warm):
    dice = random.Random(5)
    visits, detectors = 40, 12
    retain = {"image": "until-used", "mask": "until-used"}
    with make_repository(tmp_path / "undisturbed", visits, detectors) as butler:
        assert InProcessFramework().execute(plan(butler), butler, retain=retain).exit_code == 0
    expected = outputs(tmp_path / "undisturbed")
    deaths = Counter()
    root, file = tmp_path / "repo", tmp_path / "plan.h5"
    with make_repository(root, visits, detectors) as butler:
        plan(butler).save(file)
    code, sessions = None, 0
    while code != 0:
        sessions += 1
        code = session(warm, dice, root, file, ["in process", "pool"][sessions % 2], retain, deaths, 30)
        assert code in {0, 1, -signal.SIGKILL}
        assert sessions < 60
    assert outputs(root) == expected
    assert not left_over(root)
    with Butler(root) as butler:
        assert butler.query("image", collections=[RUN]) == []
        assert len(butler.query("stack", collections=[RUN])) == visits
    assert sweep_scratch(memory_folder(), dry_run=True) == []
    assert RunFolder(str(root), RUN).journal.is_dir()
