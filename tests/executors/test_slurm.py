"""Bundles as jobs of a real Slurm cluster of one machine, started for these tests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from executors import InProcessFramework
from executors.batch import Job, JobState
from executors.slurm.controller import Controller, Known
from executors.slurm.framework import SlurmFramework, reason_of
from executors.slurm.pilots import SlurmPilotFramework
from executors.slurm.site import SlurmSite
from executors.testing import slurm
from executors.testing.frameworks import FrameworkContract
from supertask.configs.policy import FailureClass
from supertask.errors import ConfigError, ExecutionError
from tests.executors.batchruns import BatchRuns, Reaching, bundled
from tests.executors.frames import make_repository, plan
from tests.executors.test_crashes import succeeded_in_journal

with_slurm = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not() or "there is one"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[slurm.Cluster]:
    with slurm.cluster() as started:
        yield started


class TestContract(Reaching, FrameworkContract):
    """The situations that every framework must master."""

    pytestmark = with_slurm
    follows_jobs = True
    patience = 120.0

    def make(self, tmp_path: Path) -> SlurmFramework:
        return SlurmFramework(late=5.0, grace=3.0)


class TestPilotContract(TestContract):
    """The same, in pilot mode."""

    follows_jobs = False

    def make(self, tmp_path: Path) -> SlurmFramework:
        return SlurmPilotFramework(pilots=2, late=5.0, grace=3.0)


class TestSlurm(BatchRuns):
    pytestmark = with_slurm
    framework = SlurmFramework
    name = "slurm"
    site = "partition: main\nminutes: 5\n"
    more = ("--staged",)

    @pytest.mark.parametrize("staged", [False, True], ids=["repository seen", "staged"])
    def test_gives_the_bytes_of_a_run_in_this_process(self, tmp_path: Path, staged: bool) -> None:
        self.gives_the_bytes_of_a_run_in_this_process(tmp_path, staged=staged)

    @pytest.mark.parametrize(
        ("site", "said"),
        [
            (SlurmSite(partition="nowhere"), "invalid partition"),
            (SlurmSite(memory=10**7), "[Mm]emory"),
            (SlurmSite(options=["--constraint=gold"]), "[Ff]eature"),
        ],
    )
    def test_what_slurm_refuses_is_said(self, tmp_path: Path, site: SlurmSite, said: str) -> None:
        self.is_refused(tmp_path, said, site=site)

    def test_pilots_without_our_software_are_found_out_at_once(self, tmp_path: Path) -> None:
        with make_repository(tmp_path / "repo", 6, 4) as butler:
            dag = bundled(butler)
            pilots = SlurmPilotFramework(python="/nowhere/python", late=0.5)
            with pytest.raises(ExecutionError, match=r"pilots in a row ended before they began.*not found"):
                pilots.execute(dag, butler)
            assert InProcessFramework().execute(dag, butler).exit_code == 0

    def test_a_pilot_that_dies_is_replaced(
        self, engine: slurm.Cluster, control: Path, tmp_path: Path
    ) -> None:
        (control / "reduce-*").write_text("sleep:1")
        with make_repository(tmp_path / "repo", 3, 2) as butler:
            dag = bundled(butler, control=str(control))
            pilots = SlurmPilotFramework(pilots=1, late=1.0)
            told: list[str] = []

            def end_pilot(event: Any) -> None:
                if type(event).__name__ == "QuantumStarted" and not told:
                    told.extend(pilots._arrays)
                    engine.ask("scancel", "--signal=KILL", "--full", f"--name={told[0]}")

            report = pilots.execute(
                dag, butler, listeners=[end_pilot], policies={"*": {"retries.killed": 1, "delay": 0.0}}
            )
            assert report.exit_code == 0, report.failures
        assert told
        assert set(succeeded_in_journal(tmp_path / "repo").values()) == {1}

    def test_what_is_too_much_for_a_pilot_is_a_job_of_its_own(self, tmp_path: Path) -> None:
        with make_repository(tmp_path / "repo", 1, 2) as butler:
            site = SlurmSite(memory=100)
            pilots = SlurmPilotFramework(pilots=1, site=site)
            policies = {"*": {"memory": "500 MB"}}
            assert pilots.execute(bundled(butler), butler, policies=policies).exit_code == 0
            assert not pilots._arrays


def test_options_of_a_batch_system_want_one() -> None:
    from click.testing import CliRunner

    from executors.cmdline.run import command

    said = CliRunner().invoke(command, ["plan.h5", "--staged"])
    assert said.exit_code == 2
    assert "give --engine" in said.output


def test_what_accounting_keeps_is_read(tmp_path: Path) -> None:
    program = tmp_path / "sacct"
    program.write_text(
        "#!/bin/sh\ncat <<END\n"
        "7_0|OUT_OF_MEMORY|0:125|00:01:07||node1\n"
        "7_0.batch|OUT_OF_MEMORY|0:125|00:01:07|2048000K|node1\n"
        "7_1|CANCELLED by 1000|0:15|00:00:03||node2\nEND\n"
    )
    program.chmod(0o755)
    forgotten = tmp_path / "scontrol"
    forgotten.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Invalid job id specified' >&2\nexit 1\n")
    forgotten.chmod(0o755)
    asked = Controller({"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    kept = asked.accounted(["7"])
    assert (kept["7_0"]["MaxRSS"], kept["7_0"]["Elapsed"]) == ("2048000K", "00:01:07")
    assert kept["7_1"]["JobState"] == "CANCELLED"
    why, kind = reason_of(asked, Known("supertask-1", 0, "7_0", "COMPLETED"))
    assert "more memory than it had asked for" in why
    assert kind is FailureClass.OUT_OF_MEMORY


def test_a_job_that_is_told_to_end_as_its_time_is_over_ran_out_of_time(tmp_path: Path) -> None:
    program = tmp_path / "scontrol"
    program.write_text("#!/bin/sh\necho 'JobId=7 JobState=COMPLETING Reason=TimeLimit Requeue=1'\n")
    program.chmod(0o755)
    asked = Controller({"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    why, kind = reason_of(asked, Known("supertask-1", 0, "7_0", "COMPLETING"))
    assert "ran out of time" in why
    assert kind is FailureClass.TIMEOUT


def test_a_job_that_was_killed_and_is_in_the_queue_again_was_disturbed(tmp_path: Path) -> None:
    program, ending = tmp_path / "scontrol", tmp_path / "ending"
    program.write_text(
        f"#!/bin/sh\nif rm {ending} 2>/dev/null; then echo JobState=COMPLETING Reason=None\n"
        "else echo JobState=PENDING Reason=BeginTime Restarts=1; fi\n"
    )
    program.chmod(0o755)
    ending.touch()
    asked = Controller({"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    why, kind = reason_of(asked, Known("supertask-1", 0, "7_0", "COMPLETING"))
    assert "put back in the queue" in why
    assert kind is FailureClass.TRANSIENT


def test_a_site_without_accounting_says_nothing(tmp_path: Path) -> None:
    program = tmp_path / "sacct"
    program.write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    program.chmod(0o755)
    assert Controller({"PATH": f"{tmp_path}:{os.environ['PATH']}"}).accounted(["7"]) == {}


def test_arrays_are_no_larger_than_the_site_lets(tmp_path: Path) -> None:
    for name, said in (("scontrol", "MaxArraySize            = 3"), ("sbatch", "1")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{said}'\necho \"$@\" >> {tmp_path}/{name}.asked\n")
        (tmp_path / name).chmod(0o755)
    run = SlurmFramework(controller=Controller({"PATH": f"{tmp_path}:{os.environ['PATH']}"}))
    run.open(tmp_path / "jobs")
    folders = [tmp_path / f"b{i}" for i in range(7)]
    run.submit([Job(name=f.name, folder=f, command=("true", str(f)), quanta=1, labels=()) for f in folders])
    asked = (tmp_path / "sbatch.asked").read_text().splitlines()
    assert [line.split("--array=")[1].split()[0] for line in asked] == ["0-2", "0-2", "0"]


def test_a_host_without_slurm_is_told(tmp_path: Path) -> None:
    with make_repository(tmp_path / "repo", 1, 1) as butler:
        without = SlurmFramework(controller=Controller({"PATH": str(tmp_path)}))
        with pytest.raises(ExecutionError, match="sbatch was not found: Slurm is not installed on this host"):
            without.execute(plan(butler), butler)


def test_a_controller_that_does_not_answer_is_told(tmp_path: Path) -> None:
    program = tmp_path / "squeue"
    program.write_text("#!/bin/sh\necho 'Unable to contact slurm controller (connect failure)' >&2\nexit 1\n")
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    with pytest.raises(ExecutionError, match="cannot be reached: .*its jobs go on"):
        Controller({"PATH": path}, patience=0.3).known(["supertask-1"])


def test_a_site_says_what_each_job_asks_for(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("partition: long\naccount: survey\nminutes: 30\nsetup: [module load python]\n")
    site = SlurmSite.load(file)
    assert site.arguments() == ["--partition=long", "--account=survey"]
    assert site.request(None, None) == (2048, 35)
    assert site.request(2**30, 600.0) == (1024 + 200, 12 + 5)


def test_slurm_is_asked_for_what_submit_hooks_want(tmp_path: Path) -> None:
    job = Job(name="b0", folder=tmp_path, command=("true",), quanta=1, labels=(), cores=4, precedence=-20)
    asked = ["--mem=2048M", "--time=65", "--cpus-per-task=4", "--nice=20"]
    assert SlurmSite().asked(job) == asked
    plain = Job(name="b1", folder=tmp_path, command=("true",), quanta=1, labels=())
    assert SlurmSite(cpus=2).asked(plain) == [*asked[:2], "--cpus-per-task=2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partion: long", "did you mean 'partition'"),
        ("minutes: 0", "minutes"),
        ("options: [rm -rf /]", "no option of sbatch"),
        ("[1, 2", "not plain YAML"),
    ],
)
def test_mistakes_in_a_sites_file_are_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        SlurmSite.load(file)


class Holding(Controller):
    """A cluster that takes jobs and cannot launch them."""

    taken: ClassVar[list[str]] = []

    def submit(self, arguments: Sequence[str], script: str) -> str:
        self.taken[:] = [word.partition("=")[2] for word in arguments if word.startswith("--job-name=")]
        return "1"

    def known(self, names: Iterable[str]) -> list[Known]:
        return [Known(self.taken[0], 0, "1_0", "PENDING", "launch failed requeued held")]


def test_a_job_that_slurm_cannot_launch_is_not_waited_for(tmp_path: Path) -> None:
    run = SlurmFramework(controller=Holding())
    run.open(tmp_path)
    job = Job(
        name="b0-1", folder=tmp_path / "b0-1", command=("true", str(tmp_path / "b0-1")), quanta=1, labels=()
    )
    run.submit([job])
    assert run.states(["b0-1"]) == {"b0-1": JobState.GONE}
