"""Bundles as apps of Parsl."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from executors import InProcessFramework
from executors.events import Event, Listener, QuantumStarted
from executors.futures.parsl import ParslFramework
from executors.testing import slurm
from executors.testing.frameworks import FrameworkContract
from executors.testing.parslpool import high_throughput
from executors.testing.survey import Survey
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError

with_parsl = [
    pytest.mark.slow,
    pytest.mark.xdist_group("parsl"),
    pytest.mark.skipif(importlib.util.find_spec("parsl") is None, reason="Parsl is not installed"),
]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What a user may have loaded, shared by tests."""
    from parsl.dataflow.dflow import DataFlowKernel

    made = DataFlowKernel(high_throughput(tmp_path_factory.mktemp("parsl")))
    yield made
    made.cleanup()


@pytest.fixture
def survey(tmp_path: Path) -> Survey:
    return Survey(tmp_path / "survey")


@pytest.fixture
def butler(survey: Survey) -> Iterator[Butler]:
    with Butler(survey.root) as butler:
        yield butler


class TestContract(FrameworkContract):
    """The situations that every framework must master; a driver that is killed has an engine of its own."""

    pytestmark = with_parsl
    patience = 120.0
    shared: ClassVar[Any] = None

    @pytest.fixture(autouse=True)
    def reach(self, kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "shared", kernel)

    def make(self, tmp_path: Path) -> ParslFramework:
        return ParslFramework(self.shared, processes=2, late=5.0, grace=3.0)


class TestParsl:
    pytestmark = with_parsl

    def test_workers_of_its_own_end_with_the_run(self, survey: Survey, butler: Butler) -> None:
        before = {p.pid for p in psutil.Process().children(recursive=True)}
        framework = ParslFramework(processes=2, late=5.0)
        plan = survey.bundled(butler)
        survey.order("merge-1", "raise")
        assert framework.execute(plan, butler).exit_code == 1
        survey.countermand()
        assert framework.execute(plan, butler).exit_code == 0, "once more, with another kernel"
        until = time.monotonic() + 60.0  # what was told to end takes a moment to
        while {p.pid for p in psutil.Process().children(recursive=True)} - before:
            assert time.monotonic() < until, "its workers have not ended"
            time.sleep(0.1)

    @pytest.mark.parametrize(("kind", "calls"), [("worker", 2), ("pool", 1)])
    def test_what_died_with_its_worker_is_tried_again_and_what_outlives_its_pool_is_not(
        self, survey: Survey, butler: Butler, tmp_path: Path, kind: str, calls: int
    ) -> None:
        survey.order("merge-1", "1 times sleep 20")
        plan = survey.bundled(butler)
        config = high_throughput(tmp_path)
        # So that a pool that is gone is missed soon; with workers of which one alone is killed, it is told.
        config.executors[0].heartbeat_period, config.executors[0].heartbeat_threshold = 1, 10
        config.strategy = "simple"
        config.executors[0].provider.max_blocks = 2
        report = ParslFramework(config, late=5.0).execute(
            plan,
            butler,
            listeners=[killing_the_worker_of(plan, "merge", 1, pool=kind == "pool")],
            policies={"*": {"delay": 0.0, "retries.killed": 0}},
        )
        assert report.exit_code == 0
        assert survey.calls().count("merge-1") == calls
        assert len(survey.calls()) == survey.n_quanta + calls - 1

    def test_a_kernel_that_is_cleaned_up_midway_ends_the_run_and_loses_nothing(
        self, survey: Survey, butler: Butler, tmp_path: Path
    ) -> None:
        from parsl.dataflow.dflow import DataFlowKernel

        survey.order("merge-1", "1 times sleep 60")
        kernel = DataFlowKernel(high_throughput(tmp_path))
        plan = survey.bundled(butler)

        def clean_up(event: Event) -> None:
            if "merge-1" in survey.calls() and not kernel.cleanup_called:
                kernel.cleanup()

        with pytest.raises(ExecutionError, match="Parsl takes no more jobs: it was cleaned up"):
            ParslFramework(kernel, late=5.0).execute(plan, butler, listeners=[clean_up])
        with pytest.raises(ExecutionError, match="it was cleaned up"):
            ParslFramework(kernel, late=5.0).execute(plan, butler)
        assert InProcessFramework().execute(plan, butler).exit_code == 0
        assert survey.calls().count("merge-1") == 2
        assert len(survey.calls()) == survey.n_quanta + 1, "nothing that was finished ran again"

    @pytest.mark.engine
    @pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not() or "there is one")
    def test_workers_that_parsls_own_provider_starts_on_slurm(
        self, survey: Survey, butler: Butler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from parsl import Config
        from parsl.executors import HighThroughputExecutor
        from parsl.launchers import SimpleLauncher
        from parsl.providers import SlurmProvider

        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        monkeypatch.setenv("PATH", programs)
        with slurm.cluster() as real:
            for name, value in real.env.items():
                monkeypatch.setenv(name, value)
            provider = SlurmProvider(
                partition="main",
                cores_per_node=1,
                mem_per_node=1,
                exclusive=False,
                init_blocks=2,
                max_blocks=2,
                walltime="00:10:00",
                launcher=SimpleLauncher(),
                worker_init=f"export PATH={programs}",
            )
            executor = HighThroughputExecutor(
                label="slurm", address="127.0.0.1", max_workers_per_node=1, provider=provider
            )
            config = Config(
                executors=[executor], run_dir=str(tmp_path / "runinfo"), strategy_period=0.5, strategy="none"
            )
            report = ParslFramework(config, late=5.0).execute(survey.bundled(butler), butler)
            assert "parsl" in real.ask("squeue", "--noheader", "--states=all", "--format=%j")
        assert report.exit_code == 0
        assert len(survey.calls()) == survey.n_quanta


def killing_the_worker_of(plan: ScienceDag, label: str, visit: int, *, pool: bool) -> Listener:
    """Return a listener that kills the worker which has a quantum run, or its whole pool, the first time."""
    killed: list[int] = []

    def listener(event: Event) -> None:
        if isinstance(event, QuantumStarted) and not killed:
            quantum = plan.quanta[event.index]
            if quantum.label == label and quantum.dataId["visit"] == visit:
                worker = psutil.Process(event.pid).parent()
                killed.append((worker.parent() if pool else worker).pid)
                os.kill(killed[0], signal.SIGKILL)

    return listener


def test_a_host_without_parsl_is_told_what_to_install(
    survey: Survey, butler: Butler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "parsl.dataflow.dflow", None)
    with pytest.raises(ExecutionError, match=r"pip install 'supertask\[parsl\]'"):
        ParslFramework().execute(survey.plan(butler), butler)
    assert InProcessFramework().execute(survey.plan(butler), butler).exit_code == 0


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ExecutionError, match="1 process or more, not 0"):
        ParslFramework(processes=0)
