"""What a site's accounting keeps of jobs that Slurm has forgotten: with a real ``sacct``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from executors.slurm.controller import Controller, Known
from executors.slurm.framework import SlurmFramework, reason_of
from executors.slurm.site import SlurmSite
from executors.testing import slurm
from supertask.configs.policy import FailureClass
from supertask.errors import ExecutionError
from tests.executors.batchruns import Reaching, bundled
from tests.executors.frames import make_repository

PATIENCE = 120.0


@pytest.fixture(scope="module")
def engine() -> Iterator[slurm.Cluster]:
    with slurm.cluster(accounting=True) as started:
        yield started


class Forgetful(Controller):
    """A cluster that forgets jobs as soon as they have ended, as all do after a while."""

    def _run(self, command: Sequence[str], text: str = "") -> str:
        if list(command[:3]) == ["scontrol", "--oneliner", "show"]:
            command = [*command[:-1], "99999"]
        return super()._run(command, text)


class TestAccounting(Reaching):
    pytestmark = [
        pytest.mark.engine,
        pytest.mark.slow,
        pytest.mark.xdist_group("what sites do to slurm"),
        pytest.mark.skipif(bool(slurm.why_no_accounting()), reason=slurm.why_no_accounting() or "there is"),
    ]

    def test_why_a_job_ended_that_slurm_has_forgotten_is_told_by_its_accounting(
        self, engine: slurm.Cluster, tmp_path: Path
    ) -> None:
        asked = Forgetful()
        script = "#!/bin/sh\nsleep 60\n"
        job = asked.submit(
            ["--array=0-1", "--job-name=supertask-7", "--no-requeue", f"--output={tmp_path}/%a"], script
        )
        self._until(lambda: {k.state for k in asked.known(["supertask-7"])} == {"RUNNING"})
        asked.cancel([f"{job}_0"])
        engine.ask("scontrol", "update", "node=localhost", "state=down", "reason=broken")
        self._until(lambda: asked.accounted([job]).get(f"{job}_1", {}).get("JobState") == "NODE_FAIL")
        engine.ask("scontrol", "update", "node=localhost", "state=resume")
        kept = asked.accounted([job])
        assert kept[f"{job}_0"]["JobState"] == "CANCELLED"
        assert kept[f"{job}_1"]["NodeList"] == "localhost"
        why, kind = reason_of(asked, Known("supertask-7", 1, f"{job}_1", "COMPLETED"))
        assert "the node of its job failed" in why
        assert kind is FailureClass.TRANSIENT
        engine.wait()

    def test_jobs_of_a_run_are_in_the_accounting(self, engine: slurm.Cluster, tmp_path: Path) -> None:
        before = set(self._jobs(engine))
        with make_repository(tmp_path / "repo", 2, 2) as butler:
            run = SlurmFramework(late=5.0)
            assert run.execute(bundled(butler), butler).exit_code == 0
        own, asked = [job for job in self._jobs(engine) if job not in before], Controller()
        self._until(lambda: {each["JobState"] for each in asked.accounted(own).values()} == {"COMPLETED"})
        assert {each["ExitCode"] for each in asked.accounted(own).values()} == {"0:0"}

    @pytest.mark.parametrize(
        ("site", "said"),
        [
            (SlurmSite(account="nobody"), "Invalid account"),
            (SlurmSite(qos="best"), "Invalid qos"),
            (SlurmSite(account="spent"), "AssocMaxSubmitJobLimit"),
        ],
        ids=["account", "quality of service", "quota"],
    )
    def test_what_accounting_forbids_is_said_and_the_run_goes_on_after(
        self, tmp_path: Path, site: SlurmSite, said: str
    ) -> None:
        with make_repository(tmp_path / "repo", 1, 1) as butler:
            dag = bundled(butler)
            with pytest.raises(ExecutionError, match=f"Slurm refuses: .*{said}"):
                SlurmFramework(site=site).execute(dag, butler)
            run = SlurmFramework(site=SlurmSite(account="survey"), late=5.0)
            assert run.execute(dag, butler).exit_code == 0

    def _jobs(self, engine: slurm.Cluster) -> list[str]:
        return engine.ask("squeue", "--noheader", "--array", "--states=all", "--format=%i").split()

    def _until(self, true: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < until
            time.sleep(0.2)
