"""Bundles as jobs of a real HTCondor pool of one machine, started for these tests."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors import InProcessFramework, MultiprocessFramework, status
from executors.condor.framework import CondorFramework
from executors.condor.queue import CondorRefusedError, Queue
from executors.condor.site import CondorSite
from executors.testing import condor
from executors.testing.frameworks import FrameworkContract
from graphbuilder.batcher import QuantumBatcher
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError
from tests.executors.frames import RUN, make_repository, outputs, plan, ran
from tests.executors.test_crashes import succeeded_in_journal

ROOT = Path(__file__).parents[2]
SITE = CondorSite(vacate=3)

with_condor = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.xdist_group("condor"),
    pytest.mark.skipif(bool(condor.why_not()), reason=condor.why_not() or "there is one"),
]


@pytest.fixture(scope="module")
def pool() -> Iterator[condor.Pool]:
    with condor.pool() as started:
        yield started


def framework(pool: condor.Pool, **options: Any) -> CondorFramework:
    return CondorFramework(queue=Queue(pool.env), **options)


def bundled(butler: Butler, **options: Any) -> ScienceDag:
    return QuantumBatcher(max_quanta=6).batch(plan(butler, **options))


def science(root: Path) -> dict[str, bytes]:
    """Return what a run made, but for what says how its tasks were configured."""
    return {name: data for name, data in outputs(root).items() if "_config/" not in name}


class TestContract(FrameworkContract):
    """The situations that every framework must master."""

    pytestmark = with_condor
    follows_jobs = True
    patience = 120.0

    @pytest.fixture(autouse=True)
    def reach(self, pool: condor.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in pool.env.items():
            monkeypatch.setenv(name, value)

    def make(self, tmp_path: Path) -> CondorFramework:
        return CondorFramework(late=5.0, site=SITE, queue=Queue())


class TestCondor:
    pytestmark = with_condor

    @pytest.mark.parametrize("how", ["repository seen", "staged", "carried"])
    def test_gives_the_bytes_of_a_run_in_this_process(
        self, pool: condor.Pool, tmp_path: Path, how: str
    ) -> None:
        with make_repository(tmp_path / "here", 6, 4) as butler:
            assert InProcessFramework().execute(plan(butler), butler).exit_code == 0
        with make_repository(tmp_path / "there", 6, 4) as butler:
            site = CondorSite(transfer=how == "carried")
            report = framework(pool, site=site, staged=how == "staged").execute(bundled(butler), butler)
            assert report.exit_code == 0
            assert len(butler.query("image", collections=[RUN])) == 24
        assert outputs(tmp_path / "there") == outputs(tmp_path / "here")
        assert set(succeeded_in_journal(tmp_path / "there").values()) == {1}

    def test_a_killed_job_fails_its_quantum_alone(self, pool: condor.Pool, tmp_path: Path) -> None:
        control = tmp_path / "control"
        control.mkdir()
        (control / "reduce-1-1").write_text("kill")
        with make_repository(tmp_path / "repo", 2, 2) as butler:
            report = framework(pool).execute(bundled(butler, control=str(control)), butler)
        (failure,) = report.failures
        assert "its job was ended from outside" in str(failure)
        reduce = next(t for t in report.tasks if t.label == "reduce")
        assert {status.value: n for status, n in reduce.counts.items()} == {"succeeded": 3, "failed": 1}

    def test_a_driver_that_was_killed_is_followed_by_one_in_process(
        self, pool: condor.Pool, tmp_path: Path
    ) -> None:
        control = tmp_path / "control"
        control.mkdir()
        (control / "reduce-2-*").write_text("sleep:2")
        root, file = tmp_path / "repo", tmp_path / "plan.h5"
        with make_repository(tmp_path / "here", 3, 2) as butler:
            assert InProcessFramework().execute(plan(butler), butler).exit_code == 0
        with make_repository(root, 3, 2) as butler:
            bundled(butler, control=str(control)).save(file)
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(root), str(file)],
            cwd=ROOT,
            env={**os.environ, **pool.env, "PYTHONPATH": str(ROOT)},
        )
        until = time.monotonic() + 120
        while not ran(control) and time.monotonic() < until:
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        with Butler(root) as butler:
            assert InProcessFramework().execute(file, butler).exit_code == 0
        assert science(root) == science(tmp_path / "here")
        assert set(succeeded_in_journal(root).values()) == {1}
        assert status(root, RUN).exit_code == 0

    def test_a_run_begun_in_a_pool_of_processes_is_finished_on_htcondor(
        self, pool: condor.Pool, tmp_path: Path
    ) -> None:
        control = tmp_path / "control"
        control.mkdir()
        (control / "reduce-2-0").write_text("raise")
        with make_repository(tmp_path / "repo", 3, 2) as butler:
            dag = bundled(butler, control=str(control))
            assert MultiprocessFramework(2).execute(dag, butler).exit_code == 1
            (control / "reduce-2-0").unlink()
            assert framework(pool).execute(dag, butler).exit_code == 0
        assert set(succeeded_in_journal(tmp_path / "repo").values()) == {1}

    def test_a_queue_that_is_started_anew_is_waited_for(self, pool: condor.Pool, tmp_path: Path) -> None:
        control = tmp_path / "control"
        control.mkdir()
        (control / "reduce-*").write_text("sleep:1")
        if pool.holder is None:
            pytest.skip("the pool is not ours to stop")
        with make_repository(tmp_path / "repo", 2, 2) as butler:
            dag = bundled(butler, control=str(control))
            told: list[int] = []

            def restart(event: Any) -> None:
                if type(event).__name__ == "QuantumStarted" and not told:
                    told.append(1)
                    pool.restart_schedd()

            report = framework(pool, check=1.0).execute(dag, butler, listeners=[restart])
            assert report.exit_code == 0

    @pytest.mark.parametrize(
        ("site", "said"),
        [
            (CondorSite(memory=10**7), "no machine of the pool can run"),
            (CondorSite(cpus=512), "no machine of the pool can run"),
            (CondorSite(requirements="((("), "[Rr]equirements"),
        ],
    )
    def test_what_htcondor_refuses_is_said_and_the_run_goes_on_later(
        self, pool: condor.Pool, tmp_path: Path, site: CondorSite, said: str
    ) -> None:
        with make_repository(tmp_path / "repo", 1, 2) as butler:
            dag = bundled(butler)
            with pytest.raises(CondorRefusedError, match=said):
                framework(pool, site=site).execute(dag, butler)
            assert InProcessFramework().execute(dag, butler).exit_code == 0

    def test_machines_without_our_software_are_found_out_at_the_first_jobs(
        self, pool: condor.Pool, tmp_path: Path
    ) -> None:
        with make_repository(tmp_path / "repo", 6, 4) as butler:
            dag = bundled(butler)
            with pytest.raises(ExecutionError, match="in a row ended before they ran anything"):
                framework(pool, python="/nowhere/python", late=0.5).execute(dag, butler)
            assert InProcessFramework().execute(dag, butler).exit_code == 0

    def test_jobs_that_htcondor_holds_are_given_up_with_its_reason(
        self, pool: condor.Pool, tmp_path: Path
    ) -> None:
        control = tmp_path / "control"
        control.mkdir()
        (control / "reduce-0-0").write_text("sleep:60")
        site = CondorSite(
            vacate=3,
            options=[
                "periodic_hold = JobStatus == 2 && time() - JobCurrentStartDate > 5",
                'periodic_hold_reason = "the archive is closed"',
            ],
        )
        with make_repository(tmp_path / "repo", 1, 1) as butler:
            dag = bundled(butler, control=str(control))
            with pytest.raises(ExecutionError, match="held 4 jobs in a row.*the archive is closed"):
                framework(pool, site=site).execute(dag, butler)
            (control / "reduce-0-0").unlink()
            assert InProcessFramework().execute(dag, butler).exit_code == 0
        assert "archive" not in pool.ask("condor_q", "-hold"), "none of them is left in the queue"

    def test_on_the_command_line(
        self, pool: condor.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in pool.env.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "site.yaml").write_text("memory: 300\ntransfer: true\n")
        with make_repository(tmp_path / "repo", 2, 2) as butler:
            bundled(butler).save(tmp_path / "plan.h5")
        words = ["run", "plan.h5", "--engine", "condor", "--site", "site.yaml", "--jobs", "jobs"]
        done = subprocess.run(
            [sys.executable, "-m", "executors.cmdline", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "7 of 7 quanta done" in done.stdout
        assert not list((tmp_path / "jobs").glob("*")), "nothing is left of jobs that ended well"

    @pytest.mark.skipif(
        importlib.util.find_spec("htcondor2") is None, reason="no bindings: pip install htcondor"
    )
    def test_through_bindings_where_there_are_any(self, pool: condor.Pool, tmp_path: Path) -> None:
        root, file = tmp_path / "repo", tmp_path / "plan.h5"
        with make_repository(root, 2, 2) as butler:
            bundled(butler).save(file)
        done = subprocess.run(
            [sys.executable, "-c", BOUND, str(root), str(file)],
            cwd=ROOT,
            env={**os.environ, **pool.env, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == "BoundQueue 0 HTCondor refuses True\n"


BOUND = """
import sys
from pathlib import Path
from executors.condor.bindings import queue_of_host
from executors.condor.framework import CondorFramework
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError
queue = queue_of_host()
with Butler(sys.argv[1]) as butler:
    report = CondorFramework(check=0.5).execute(sys.argv[2], butler)
    wrong = Path(sys.argv[2] + ".sub")
    wrong.write_text("no such command")
    try:
        queue.submit(wrong)
    except ExecutionError as error:
        said = str(error).partition(":")[0]
    queue.remove(["99999.0"])
    print(type(queue).__name__, report.exit_code, said, queue.machines()[0][0] > 0)
"""

DRIVER = """
import sys
from executors.condor.framework import CondorFramework
from supertask.butler.repository import Butler
with Butler(sys.argv[1]) as butler:
    CondorFramework().execute(sys.argv[2], butler)
"""
