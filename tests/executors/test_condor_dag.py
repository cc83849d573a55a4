"""A whole plan as one DAG of DAGMan's, on a real pool; and what its file says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors import InProcessFramework, status
from executors.condor.dag import WrittenDag, dagman_of, follow_dag, submit_dag
from executors.condor.dagfile import Node, dag_text
from executors.condor.framework import CondorFramework
from executors.condor.queue import Queue
from executors.condor.site import CondorSite
from executors.engines import EngineOptions, make_framework
from executors.testing import condor
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError
from tests.executors.batchruns import ROOT, bundled
from tests.executors.frames import RUN, make_repository, outputs, plan, ran
from tests.executors.test_condor import with_condor
from tests.executors.test_crashes import succeeded_in_journal

PATIENCE = 240.0


class TestFile:
    """What DAGMan is told."""

    def test_those_behind_the_same_others_share_a_line(self) -> None:
        wide = [Node(f"a{i}", "n.sub") for i in range(50)]
        gather = [Node(f"g{i}", "n.sub", tuple(n.name for n in wide)) for i in range(40)]
        text = dag_text([*wide, *gather], "collect.sub", retries=3)
        lines = [line for line in text.splitlines() if line.startswith("PARENT")]
        assert len(lines) == 1
        assert lines[0].endswith(" ".join(["CHILD", *(n.name for n in gather)]))

    def test_what_holds_up_most_comes_first(self) -> None:
        nodes = [
            Node("a", "n.sub"),
            Node("b", "n.sub", ("a",)),
            Node("c", "n.sub", ("b",)),
            Node("d", "n.sub"),
        ]
        text = dag_text(nodes, "collect.sub", retries=0)
        assert "PRIORITY a 2" in text
        assert "PRIORITY b 1" in text
        assert "PRIORITY d" not in text
        assert "RETRY" not in text.replace("$(RETRY)", "")

    def test_priorities_of_submit_hooks_go_before_that(self) -> None:
        text = dag_text([Node("a", "n.sub", (), -1), Node("b", "n.sub")], "collect.sub", retries=0)
        assert "PRIORITY a -1" in text

    def test_a_dag_of_nothing_is_refused(self) -> None:
        with pytest.raises(ExecutionError, match="nothing is left to run"):
            dag_text([], "collect.sub", retries=0)


@pytest.fixture(scope="module")
def pool() -> Iterator[condor.Pool]:
    with condor.pool() as started:
        yield started


def science(root: Path) -> dict[str, bytes]:
    """Return what a run made, but for what says how its tasks were configured."""
    return {name: data for name, data in outputs(root).items() if "_config/" not in name}


def in_process(root: Path, visits: int, detectors: int) -> dict[str, bytes]:
    with make_repository(root, visits, detectors) as butler:
        assert InProcessFramework().execute(plan(butler), butler).exit_code == 0
    return science(root)


def written(pool: condor.Pool, root: Path, file: Path, **options: Any) -> WrittenDag:
    framework = CondorFramework(detached=True, queue=Queue(pool.env), **options)
    with Butler(root) as butler:
        framework.execute(file, butler)
    assert framework.dag is not None
    return framework.dag


def saved(root: Path, file: Path, control: Path, visits: int = 3, detectors: int = 2) -> None:
    with make_repository(root, visits, detectors) as butler:
        bundled(butler, control=str(control)).save(file)


class TestOnAPool:
    pytestmark = with_condor

    def test_a_plan_runs_without_a_driver_and_is_collected(
        self, pool: condor.Pool, tmp_path: Path, control: Path
    ) -> None:
        root, file = tmp_path / "there", tmp_path / "plan.h5"
        (control / "reduce-1-1").write_text("until:2:transient")
        saved(root, file, control)
        told: list[int] = []
        assert follow_dag(written(pool, root, file), told.append, patience=PATIENCE)
        assert science(root) == in_process(tmp_path / "here", 3, 2)
        assert ran(control).count("reduce-1-1") == 2, "DAGMan started its node again"
        assert ran(control).count("reduce-1-0") == 1, "and what had finished stayed so"
        assert told[-1] >= 2
        with Butler(root) as butler:
            assert len(butler.query("image", collections=[RUN])) == 6
        assert status(root, RUN).exit_code == 0

    def test_a_failure_blocks_what_depends_on_it_alone_and_another_dag_does_the_rest(
        self, pool: condor.Pool, tmp_path: Path, control: Path
    ) -> None:
        root, file = tmp_path / "there", tmp_path / "plan.h5"
        (control / "reduce-2-1").write_text("raise")
        saved(root, file, control)
        assert not follow_dag(written(pool, root, file), patience=PATIENCE)
        report = status(root, RUN)
        assert {s.value: n for s, n in report.counts.items() if s.value == "failed"} == {"failed": 1}
        assert sum(n for s, n in report.counts.items() if s.value == "succeeded") == 7
        (control / "reduce-2-1").unlink()
        assert follow_dag(written(pool, root, file), patience=PATIENCE)
        assert science(root) == in_process(tmp_path / "here", 3, 2)
        assert ran(control).count("reduce-0-0") == 1

    def test_a_dag_that_was_removed_goes_on_from_its_rescue(
        self, pool: condor.Pool, tmp_path: Path, control: Path
    ) -> None:
        root, file = tmp_path / "there", tmp_path / "plan.h5"
        (control / "stack-1").write_text("until:2:sleep:60")
        saved(root, file, control)
        dag = written(pool, root, file, site=CondorSite(vacate=3))
        self._wait_for(control, "stack-1")
        pool.ask("condor_rm", str(dagman_of(dag.log)))
        with pytest.raises(ExecutionError, match="DAGMan was removed"):
            follow_dag(dag, patience=PATIENCE)
        rescue = dag.path.with_name("plan.dag.rescue001")
        until = time.monotonic() + 60
        while not rescue.exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert "DONE" in rescue.read_text()
        submit_dag(dag, Queue(pool.env))
        self._wait_for_end(dag)
        assert status(root, RUN).exit_code == 0
        assert science(root) == in_process(tmp_path / "here", 3, 2)
        assert ran(control).count("reduce-0-0") == 1

    def test_a_dag_that_was_left_alone_is_finished_in_process(
        self, pool: condor.Pool, tmp_path: Path, control: Path
    ) -> None:
        root, file = tmp_path / "there", tmp_path / "plan.h5"
        (control / "stack-1").write_text("until:2:sleep:20")
        saved(root, file, control)
        dag = written(pool, root, file, site=CondorSite(vacate=3))
        self._wait_for(control, "stack-1")
        with Butler(root) as butler:
            assert InProcessFramework().execute(file, butler).exit_code == 0
        assert science(root) == in_process(tmp_path / "here", 3, 2)
        assert set(succeeded_in_journal(root).values()) == {1}
        pool.ask("condor_rm", str(dagman_of(dag.log)))

    def test_machines_without_our_software_end_the_dag_at_its_first_node(
        self, pool: condor.Pool, tmp_path: Path, control: Path
    ) -> None:
        root, file = tmp_path / "there", tmp_path / "plan.h5"
        saved(root, file, control, 6, 4)
        dag = written(pool, root, file, python="/nowhere/python")
        assert not follow_dag(dag, patience=PATIENCE)
        assert not ran(control)
        assert "not found" in "".join(p.read_text() for p in (dag.path.parent / "printed").glob("b*.err"))
        with Butler(root) as butler:
            assert InProcessFramework().execute(file, butler).exit_code == 0

    def test_status_tells_what_dagman_has_of_it(
        self, pool: condor.Pool, tmp_path: Path, control: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in pool.env.items():
            monkeypatch.setenv(name, value)
        root, file = tmp_path / "there", tmp_path / "plan.h5"
        (control / "reduce-0-0").write_text("until:2:sleep:60")
        saved(root, file, control)
        dag = written(pool, root, file, site=CondorSite(vacate=3), submits=False)
        jobs = sum(line.startswith("JOB ") for line in dag.path.read_text().splitlines())
        assert standing(tmp_path)["lost"] == jobs, "written, and not submitted"
        submit_dag(dag, Queue(pool.env))
        self._wait_for(control, "reduce-0-0")
        said = standing(tmp_path)
        assert (said["engine"], said["running"], said["lost"]) == ("HTCondor", 1, 0)
        assert said["waiting"] + said["running"] + said["gone"] == jobs
        assert said["waiting"] >= 1, "what gathers waits, although HTCondor does not have it yet"
        pool.ask("condor_rm", str(dagman_of(dag.log)))
        self._wait_for_end(dag)
        said = standing(tmp_path)
        assert said["waiting"] + said["running"] == 0
        assert said["lost"] >= 1
        shown = supertask(tmp_path, "status", "plan.h5").stdout
        assert "HTCondor: 0 jobs wait, 0 run" in shown
        assert "whoever goes on with the run does what they did not" in shown
        (control / "reduce-0-0").unlink()
        with Butler(root) as butler:
            assert InProcessFramework().execute(file, butler).exit_code == 0
        assert set(succeeded_in_journal(root).values()) == {1}
        assert "jobs" not in json.loads(supertask(tmp_path, "status", "plan.h5", "--json").stdout)

    def test_status_tells_what_htcondor_has_of_a_run_whose_driver_was_killed(
        self, pool: condor.Pool, tmp_path: Path, control: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in pool.env.items():
            monkeypatch.setenv(name, value)
        root, file = tmp_path / "there", tmp_path / "plan.h5"
        (control / "reduce-*").write_text("sleep:60")
        saved(root, file, control, 4, 3)
        (tmp_path / "site.yaml").write_text("memory: 300\nvacate: 3\n")
        words = ["run", "plan.h5", "--engine", "condor", "--site", "site.yaml"]
        driver = subprocess.Popen(
            [sys.executable, "-m", "executors.cmdline", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + PATIENCE
            while len(pool.ask("condor_q", "-constraint", "JobStatus == 2", "-af:j", "Cmd").split("\n")) < 2:
                assert time.monotonic() < until
                time.sleep(0.2)
        finally:
            driver.kill()
            driver.wait()
        said = standing(tmp_path)
        assert said["running"] >= 1
        assert said["running"] + said["waiting"] == len(ids(pool))
        pool.ask("condor_hold", *ids(pool))
        said = standing(tmp_path)
        assert (said["running"], said["held"]) == (0, len(ids(pool)))
        while "condor_hold" not in standing(tmp_path)["why_held"]:
            assert time.monotonic() < until, "the log has not come to say so"
        assert "are held: held: via condor_hold" in supertask(tmp_path, "status", "plan.h5").stdout
        held = len(ids(pool))
        pool.ask("condor_rm", *ids(pool))
        until = time.monotonic() + PATIENCE
        while ids(pool):
            assert time.monotonic() < until
            time.sleep(0.2)
        assert standing(tmp_path)["lost"] == held
        (control / "reduce-*").unlink()
        with Butler(root) as butler:
            assert InProcessFramework().execute(file, butler).exit_code == 0
        assert set(succeeded_in_journal(root).values()) == {1}

    def test_on_the_command_line(
        self, pool: condor.Pool, tmp_path: Path, control: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in pool.env.items():
            monkeypatch.setenv(name, value)
        saved(tmp_path / "there", tmp_path / "plan.h5", control)
        done = supertask(tmp_path, "dagman", "plan.h5")
        assert done.returncode == 0, done.stderr
        assert "to run it: condor_submit_dag" in done.stdout
        done = supertask(tmp_path, "dagman", "plan.h5", "--follow")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "10 of 10 quanta done" in done.stdout
        done = supertask(tmp_path, "dagman", "plan.h5")
        assert (done.returncode, done.stdout) == (0, "nothing is left to run: all of the plan has ended\n")

    def _wait_for(self, control: Path, name: str) -> None:
        until = time.monotonic() + PATIENCE
        while name not in ran(control):
            assert time.monotonic() < until, f"{name} has not begun"
            time.sleep(0.05)

    def _wait_for_end(self, dag: WrittenDag) -> None:
        until = time.monotonic() + PATIENCE
        while dagman_of(dag.log) is not None:
            assert time.monotonic() < until, "the DAG has not ended"
            time.sleep(0.2)


def ids(pool: condor.Pool) -> list[str]:
    """Return which jobs are in the queue, but for DAGMan."""
    return pool.ask("condor_q", "-constraint", "JobUniverse == 5", "-af:j", "JobStatus").split()[::2]


def standing(folder: Path) -> dict[str, Any]:
    """Return what `supertask status` says of jobs."""
    said: dict[str, Any] = json.loads(supertask(folder, "status", "plan.h5", "--json").stdout)["jobs"]
    return said


def supertask(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "executors.cmdline", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_folders_are_not_carried_for_a_dag(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match="nothing can be staged"):
        CondorFramework(detached=True, site=CondorSite(transfer=True))


def test_a_plan_without_bundles_is_refused(tmp_path: Path) -> None:
    with make_repository(tmp_path / "repo", 1, 1) as butler:
        plan(butler).save(tmp_path / "plan.h5")
    done = supertask(tmp_path, "dagman", "plan.h5")
    assert done.returncode == 2
    assert "supertask batch" in done.stderr


def test_a_host_without_htcondor_keeps_the_dag_that_was_written(tmp_path: Path, control: Path) -> None:
    root, file = tmp_path / "repo", tmp_path / "plan.h5"
    saved(root, file, control, 1, 1)
    framework = CondorFramework(detached=True, queue=Queue({"PATH": str(tmp_path)}))
    with (
        Butler(root) as butler,
        pytest.raises(ExecutionError, match="HTCondor is not installed on this host"),
    ):
        framework.execute(file, butler)
    with Butler(root) as butler:
        assert InProcessFramework().execute(file, butler).exit_code == 0


def test_the_engine_is_known_to_run_without_a_driver() -> None:
    framework = make_framework(EngineOptions(engine="condor", detached=True))
    assert isinstance(framework, CondorFramework)
    assert framework.detached
