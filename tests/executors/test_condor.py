"""Bundles as jobs of a real HTCondor pool of one machine, started for these tests."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from executors import InProcessFramework
from executors.condor.framework import CondorFramework
from executors.condor.queue import Queue
from executors.condor.site import CondorSite
from executors.testing import condor
from executors.testing.frameworks import FrameworkContract
from supertask.errors import ExecutionError
from tests.executors.batchruns import ROOT, BatchRuns, Reaching, bundled
from tests.executors.frames import make_repository

SITE = CondorSite(vacate=3)

with_condor = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.xdist_group("condor"),
    pytest.mark.skipif(bool(condor.why_not()), reason=condor.why_not() or "there is one"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[condor.Pool]:
    with condor.pool() as started:
        yield started


class TestContract(Reaching, FrameworkContract):
    """The situations that every framework must master."""

    pytestmark = with_condor
    follows_jobs = True
    patience = 120.0

    def make(self, tmp_path: Path) -> CondorFramework:
        return CondorFramework(late=5.0, site=SITE, queue=Queue())


class TestCondor(BatchRuns):
    pytestmark = with_condor
    # Bindings read the configuration of one pool, and this process has several one after another.
    framework = partial(CondorFramework, queue=Queue())
    name = "condor"
    site = "memory: 300\ntransfer: true\n"

    @pytest.mark.parametrize("how", ["repository seen", "staged", "carried"])
    def test_gives_the_bytes_of_a_run_in_this_process(self, tmp_path: Path, how: str) -> None:
        site = CondorSite(transfer=how == "carried")
        self.gives_the_bytes_of_a_run_in_this_process(tmp_path, site=site, staged=how == "staged")

    @pytest.mark.parametrize(
        ("site", "said"),
        [
            (CondorSite(memory=10**7), "no machine of the pool can run"),
            (CondorSite(cpus=512), "no machine of the pool can run"),
            (CondorSite(requirements="((("), "[Rr]equirements"),
        ],
    )
    def test_what_htcondor_refuses_is_said(self, tmp_path: Path, site: CondorSite, said: str) -> None:
        self.is_refused(tmp_path, said, site=site)

    def test_jobs_that_htcondor_holds_are_given_up_with_its_reason(
        self, engine: condor.Pool, control: Path, tmp_path: Path
    ) -> None:
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
                self.framework(site=site).execute(dag, butler)
            (control / "reduce-0-0").unlink()
            assert InProcessFramework().execute(dag, butler).exit_code == 0
        assert "archive" not in engine.ask("condor_q", "-hold"), "none of them is left in the queue"

    @pytest.mark.skipif(
        importlib.util.find_spec("htcondor2") is None, reason="no bindings: pip install htcondor"
    )
    def test_through_bindings_where_there_are_any(self, tmp_path: Path) -> None:
        root, file = tmp_path / "repo", tmp_path / "plan.h5"
        with make_repository(root, 2, 2) as butler:
            bundled(butler).save(file)
        done = subprocess.run(
            [sys.executable, "-c", BOUND, str(root), str(file)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == "away\nBoundQueue 0 HTCondor refuses True\n"


BOUND = """
import os, sys
from pathlib import Path
from executors.condor.bindings import BoundQueue, queue_of_host
from executors.condor.framework import CondorFramework
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError
there, nowhere = os.environ["CONDOR_CONFIG"], sys.argv[2] + ".config"
Path(nowhere).write_text("COLLECTOR_HOST = 127.0.0.1:1\\n")
os.environ["CONDOR_CONFIG"] = nowhere
try:
    BoundQueue(patience=0.3).machines()
except ExecutionError as error:
    print("away" if "cannot be reached" in str(error) else error)
os.environ["CONDOR_CONFIG"] = there
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
