"""What a site does to jobs on Slurm: put back in the queue, preempted, run on a node that fails."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.events import QuantumEnded
from executors.jobs.collecting import collect
from executors.slurm.framework import SlurmFramework
from executors.slurm.pilots import SlurmPilotFramework
from executors.testing import slurm
from tests.executors.batchruns import Reaching, bundled
from tests.executors.frames import make_repository, ran
from tests.executors.test_crashes import succeeded_in_journal

PATIENCE = 120.0


@pytest.fixture(scope="module")
def engine() -> Iterator[slurm.Cluster]:
    with slurm.cluster() as started:
        yield started


class Disturbed:
    """A listener that does something to the job of the first quantum that has ended well."""

    def __init__(self, engine: slurm.Cluster, what: Callable[[slurm.Cluster, str], None]) -> None:
        self.engine = engine
        self.what = what
        self.job = ""

    def __call__(self, event: Any) -> None:
        if isinstance(event, QuantumEnded) and not self.job:
            running = self.engine.ask("squeue", "--noheader", "--array", "--states=R", "--format=%i").split()
            if running:
                self.job = running[0]
                self.what(self.engine, self.job)

    def told(self, name: str) -> str:
        """Return what Slurm says of the job."""
        said = self.engine.ask("scontrol", "--oneliner", "show", "job", self.job)
        found = re.search(rf"\b{name}=(\S*)", said)
        return found[1] if found else said


def fail_node(engine: slurm.Cluster, job: str) -> None:
    engine.ask("scontrol", "update", "node=localhost", "state=down", "reason=broken")
    engine.ask("scontrol", "update", "node=localhost", "state=resume")


def preempt(engine: slurm.Cluster, job: str) -> None:
    """Have another job that is more urgent take the node as a whole."""
    said = engine.ask(
        "sbatch", "--partition=urgent", "--exclusive", "--parsable", "--output=/dev/null", "--wrap=sleep 2"
    )
    until = time.monotonic() + PATIENCE
    while engine.ask("squeue", "--noheader", f"--jobs={said.strip()}", "--format=%T").strip() == "PENDING":
        assert time.monotonic() < until, engine.ask("squeue", "--format=%i %P %T %r")
        time.sleep(0.1)


def finished(framework: SlurmFramework, disturbed: Disturbed, folder: Path, control: Path) -> Disturbed:
    """Run a plan while something is done to one of its jobs; it comes to its end, and nothing twice."""
    with make_repository(folder / "repo", 2, 2) as butler:
        report = framework.execute(bundled(butler, control=str(control)), butler, listeners=[disturbed])
    assert report.exit_code == 0, report.failures
    assert set(succeeded_in_journal(folder / "repo").values()) == {1}
    return disturbed


class TestDisturbed(Reaching):
    pytestmark = [
        pytest.mark.engine,
        pytest.mark.slow,
        pytest.mark.xdist_group("what sites do to slurm"),
        pytest.mark.skipif(
            bool(slurm.why_not() or os.environ.get("SUPERTASK_SLURM")),
            reason=slurm.why_not() or "it is not ours to disturb",
        ),
    ]

    @pytest.mark.parametrize(
        ("what", "host"),
        [(fail_node, "this"), (fail_node, "another"), (preempt, "another")],
        ids=["node fails", "node fails elsewhere", "preempted elsewhere"],
    )
    def test_what_had_not_ended_in_a_job_is_done_and_nothing_twice(
        self,
        engine: slurm.Cluster,
        control: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        what: Any,
        host: str,
    ) -> None:
        if host == "another":  # as seen by the driver: what becomes of processes there, Slurm alone can say
            monkeypatch.setattr(socket, "gethostname", lambda: host)
        (control / "reduce-*").write_text("sleep:1")
        framework = SlurmFramework(late=5.0, grace=3.0)
        disturbed = finished(framework, Disturbed(engine, what), tmp_path, control)
        assert disturbed.told("Restarts") == "1"
        engine.wait()

    def test_a_quantum_that_takes_longer_than_a_preempted_job_may_runs_anew(
        self, engine: slurm.Cluster, control: Path, tmp_path: Path
    ) -> None:
        (control / "reduce-0-1").write_text("until:2:sleep:60")
        framework = SlurmFramework(late=5.0, grace=0.2)
        disturbed = finished(framework, Disturbed(engine, preempt), tmp_path, control)
        assert disturbed.told("Restarts") == "1"
        assert ran(control).count("reduce-0-1") == 2
        assert ran(control).count("reduce-0-0") == 1
        engine.wait()

    def test_a_preempted_pilot_is_replaced(
        self, engine: slurm.Cluster, control: Path, tmp_path: Path
    ) -> None:
        (control / "reduce-*").write_text("sleep:1")
        framework = SlurmPilotFramework(pilots=1, late=5.0, grace=3.0)
        disturbed = finished(framework, Disturbed(engine, preempt), tmp_path, control)
        assert disturbed.told("JobState") == "PREEMPTED"
        engine.wait()

    def test_without_a_driver_slurm_itself_begins_a_job_anew(
        self, engine: slurm.Cluster, control: Path, tmp_path: Path
    ) -> None:
        (control / "reduce-*").write_text("sleep:1")
        with make_repository(tmp_path / "repo", 2, 2) as butler:
            dag = bundled(butler, control=str(control))
            SlurmFramework(late=5.0, grace=3.0, detached=True).execute(dag, butler)
            until = time.monotonic() + PATIENCE
            while not ran(control):
                assert time.monotonic() < until
                time.sleep(0.1)
            (job,) = engine.ask("squeue", "--noheader", "--array", "--states=R", "--format=%i").split()
            engine.ask("scontrol", "requeue", job)
            done = collect(dag, butler, follow=True, seconds=0.5, late=5.0)
        assert done.report.exit_code == 0, done.report.failures
        assert "Restarts=1" in engine.ask("scontrol", "--oneliner", "show", "job", job)
        assert set(succeeded_in_journal(tmp_path / "repo").values()) == {1}
        engine.wait()
