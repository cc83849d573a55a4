"""What each batch system is tried with besides the contract, on the real engine: a class to inherit from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from executors import InProcessFramework
from executors.batch import BatchFramework
from graphbuilder.batcher import QuantumBatcher
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError
from tests.executors.frames import RUN, make_repository, outputs, plan
from tests.executors.test_crashes import succeeded_in_journal

ROOT = Path(__file__).parents[2]


def bundled(butler: Butler, **options: Any) -> ScienceDag:
    """Return a plan of frames in bundles of six."""
    return QuantumBatcher(max_quanta=6).batch(plan(butler, **options))


class Reaching:
    """Tests whose programs reach the engine that the fixture ``engine`` of their module started."""

    @pytest.fixture(autouse=True)
    def reach(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in engine.env.items():
            monkeypatch.setenv(name, value)


class BatchRuns(Reaching):
    """Runs on a batch system."""

    framework: ClassVar[Callable[..., BatchFramework]]
    name: ClassVar[str]
    """What ``--engine`` calls it."""
    site: ClassVar[str]
    """The text of a file that ``--site`` may name."""
    more: ClassVar[tuple[str, ...]] = ()
    """Further words of the command line."""

    @pytest.fixture
    def control(self, tmp_path: Path) -> Path:
        folder = tmp_path / "control"
        folder.mkdir()
        return folder

    def gives_the_bytes_of_a_run_in_this_process(self, tmp_path: Path, **options: Any) -> None:
        with make_repository(tmp_path / "here", 6, 4) as butler:
            assert InProcessFramework().execute(plan(butler), butler).exit_code == 0
        with make_repository(tmp_path / "there", 6, 4) as butler:
            report = self.framework(**options).execute(bundled(butler), butler)
            assert report.exit_code == 0
            assert len(butler.query("image", collections=[RUN])) == 24
        assert outputs(tmp_path / "there") == outputs(tmp_path / "here")
        assert set(succeeded_in_journal(tmp_path / "there").values()) == {1}

    def is_refused(self, tmp_path: Path, said: str, **options: Any) -> None:
        with make_repository(tmp_path / "repo", 1, 2) as butler:
            dag = bundled(butler)
            with pytest.raises(ExecutionError, match=said):
                self.framework(**options).execute(dag, butler)
            assert InProcessFramework().execute(dag, butler).exit_code == 0, "the run goes on elsewhere"

    def test_a_killed_job_fails_its_quantum_alone(self, control: Path, tmp_path: Path) -> None:
        (control / "reduce-1-1").write_text("kill")
        with make_repository(tmp_path / "repo", 2, 2) as butler:
            report = self.framework().execute(bundled(butler, control=str(control)), butler)
        (failure,) = report.failures
        assert "its job was ended from outside" in str(failure)
        reduce = next(t for t in report.tasks if t.label == "reduce")
        assert {status.value: n for status, n in reduce.counts.items()} == {"succeeded": 3, "failed": 1}

    def test_an_engine_that_is_started_anew_is_waited_for(
        self, engine: Any, control: Path, tmp_path: Path
    ) -> None:
        if not engine.folder:
            pytest.skip("it is not ours to stop")
        (control / "reduce-*").write_text("sleep:1")
        told: list[int] = []

        def restart(event: Any) -> None:
            if type(event).__name__ == "QuantumStarted" and not told:
                told.append(1)
                engine.restart()

        with make_repository(tmp_path / "repo", 2, 2) as butler:
            dag = bundled(butler, control=str(control))
            assert self.framework().execute(dag, butler, listeners=[restart]).exit_code == 0
        assert told

    def test_machines_without_our_software_are_found_out_at_the_first_jobs(self, tmp_path: Path) -> None:
        with make_repository(tmp_path / "repo", 6, 4) as butler:
            dag = bundled(butler)
            with pytest.raises(ExecutionError, match="in a row ended before they ran anything"):
                self.framework(python="/nowhere/python", late=0.5).execute(dag, butler)
            assert InProcessFramework().execute(dag, butler).exit_code == 0

    def test_on_the_command_line(self, tmp_path: Path) -> None:
        (tmp_path / "site.yaml").write_text(self.site)
        with make_repository(tmp_path / "repo", 2, 2) as butler:
            bundled(butler).save(tmp_path / "plan.h5")
        words = ["run", "plan.h5", "--engine", self.name, "--site", "site.yaml", "--jobs", "jobs", *self.more]
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
