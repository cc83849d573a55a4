"""Bundles as calls on workers of Dask."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from executors import InProcessFramework
from executors.events import Event, Listener, QuantumStarted
from executors.futures.dask import DaskFramework
from executors.testing import slurm
from executors.testing.frameworks import FrameworkContract
from executors.testing.survey import Survey
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError

with_dask = [
    pytest.mark.slow,
    pytest.mark.xdist_group("dask"),
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="Dask is not installed"),
]


def local(**options: Any) -> Any:
    """A cluster of this machine, such as a user may have."""
    from distributed import LocalCluster

    said = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": None, **options}
    return LocalCluster(dashboard_address="127.0.0.1:0", host="127.0.0.1", **said)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster that tests share; they reach it as a user reaches somebody's."""
    with local() as made:
        yield made


@pytest.fixture
def survey(tmp_path: Path) -> Survey:
    return Survey(tmp_path / "survey")


@pytest.fixture
def butler(survey: Survey) -> Iterator[Butler]:
    with Butler(survey.root) as butler:
        yield butler


class TestContract(FrameworkContract):
    """The situations that every framework must master, on a cluster that outlives each run."""

    pytestmark = with_dask
    patience = 120.0

    @pytest.fixture(autouse=True)
    def reach(self, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUPERTASK_TEST_DASK", cluster.scheduler_address)

    def make(self, tmp_path: Path) -> DaskFramework:
        return DaskFramework(os.environ["SUPERTASK_TEST_DASK"], late=5.0, grace=3.0)


class TestDask:
    pytestmark = with_dask

    def test_workers_of_its_own_end_with_the_run(self, survey: Survey, butler: Butler) -> None:
        before = {p.pid for p in psutil.Process().children(recursive=True)}
        framework = DaskFramework(processes=2, late=5.0)
        assert framework.execute(survey.bundled(butler), butler).exit_code == 0
        left = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
        assert not [p.cmdline() for p in left if "resource_tracker" not in " ".join(p.cmdline())]

    def test_workers_of_its_own_are_not_profiled(self, tmp_path: Path) -> None:
        """Looking at threads that come and go has ended in a deadlock of the whole driver."""
        framework = DaskFramework(processes=1)
        framework.open(tmp_path)
        try:
            (worker,) = framework._ours[-1].workers.values()
            assert "heartbeat" in worker.periodic_callbacks
            assert "profile" not in worker.periodic_callbacks
        finally:
            framework.close()

    @pytest.mark.parametrize("kind", ["client", "cluster", "address"])
    def test_a_cluster_is_given_as_one_has_it(
        self, survey: Survey, butler: Butler, cluster: Any, kind: str
    ) -> None:
        from distributed import Client

        with Client(cluster, set_as_default=False) as client:
            given = {"client": client, "cluster": cluster, "address": cluster.scheduler_address}[kind]
            report = DaskFramework(given, late=5.0).execute(survey.bundled(butler), butler)
            assert report.exit_code == 0
            assert client.status == "running", "it is not ours to close"

    def test_what_ran_on_a_worker_that_died_is_tried_again_as_its_policy_says(
        self, survey: Survey, butler: Butler
    ) -> None:
        survey.order("merge-1", "1 times sleep 30")
        plan = survey.bundled(butler)
        with local() as cluster:
            report = DaskFramework(cluster, late=5.0).execute(
                plan,
                butler,
                listeners=[killing_the_worker_of(plan, "merge", 1)],
                policies={"*": {"delay": 0.0, "retries.killed": 0}},
            )
        assert report.exit_code == 0
        assert survey.calls().count("merge-1") == 2
        assert len(survey.calls()) == survey.n_quanta + 1

    def test_what_ran_on_a_worker_that_died_fails_where_no_retry_is_wanted(
        self, survey: Survey, butler: Butler
    ) -> None:
        survey.order("merge-1", "1 times sleep 30")
        plan = survey.bundled(butler)
        with local() as cluster:
            report = DaskFramework(cluster, late=5.0).execute(
                plan,
                butler,
                listeners=[killing_the_worker_of(plan, "merge", 1)],
                policies={"*": {"retries.transient": 0}},
            )
        assert report.exit_code == 1
        assert [f.kind for f in report.failures] == ["transient"]
        assert survey.calls().count("merge-1") == 1, "Dask's own retries run nothing twice"

    def test_an_adaptive_cluster_grows_from_nothing(self, survey: Survey, butler: Butler) -> None:
        with local(n_workers=0) as cluster:
            cluster.adapt(minimum=0, maximum=2, interval="200 ms")
            report = DaskFramework(cluster, late=5.0).execute(survey.bundled(butler), butler)
        assert report.exit_code == 0
        assert len(survey.calls()) == survey.n_quanta

    def test_a_cluster_that_is_closed_midway_ends_the_run_and_loses_nothing(
        self, survey: Survey, butler: Butler
    ) -> None:
        survey.order("merge-1", "1 times sleep 60")
        cluster = local()
        closed: list[int] = []

        def close(event: Any) -> None:
            if isinstance(event, QuantumStarted) and "merge-1" in survey.calls() and not closed:
                closed.append(1)
                cluster.close()

        plan = survey.bundled(butler)
        with pytest.raises(ExecutionError, match="Dask takes no more jobs: its scheduler does not answer"):
            DaskFramework(cluster, late=5.0, timeout=2.0).execute(plan, butler, listeners=[close])
        assert InProcessFramework().execute(plan, butler).exit_code == 0
        assert survey.calls().count("merge-1") == 2
        assert len(survey.calls()) == survey.n_quanta + 1, "nothing that was finished ran again"

    def test_workers_without_our_software_are_found_out_at_the_first_job(
        self, survey: Survey, butler: Butler
    ) -> None:
        from distributed import Client

        with local(n_workers=1) as cluster:
            with Client(cluster, set_as_default=False) as client:
                client.run(exec, "import sys; sys.modules['executors'] = None")
            with pytest.raises(ExecutionError, match="workers of Dask cannot run jobs.*executors"):
                DaskFramework(cluster, late=5.0).execute(survey.plan(butler), butler)
        assert InProcessFramework().execute(survey.plan(butler), butler).exit_code == 0

    @pytest.mark.engine
    @pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not() or "there is one")
    @pytest.mark.skipif(importlib.util.find_spec("dask_jobqueue") is None, reason="no dask-jobqueue")
    def test_workers_that_dask_jobqueue_starts_on_slurm(
        self, survey: Survey, butler: Butler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from dask_jobqueue import SLURMCluster

        with slurm.cluster() as real:
            for name, value in real.env.items():
                monkeypatch.setenv(name, value)
            with SLURMCluster(
                cores=1,
                processes=1,
                memory="500 MB",
                walltime="00:10:00",
                interface="lo",
                python=sys.executable,
                local_directory=str(tmp_path / "dask"),
                log_directory=str(tmp_path / "logs"),
                scheduler_options={"dashboard_address": "127.0.0.1:0"},
            ) as cluster:
                cluster.scale(jobs=2)
                report = DaskFramework(cluster, late=5.0).execute(survey.bundled(butler), butler)
                assert "dask-worker" in real.ask("squeue", "--noheader", "--states=all", "--format=%j")
        assert report.exit_code == 0
        assert len(survey.calls()) == survey.n_quanta


def killing_the_worker_of(plan: ScienceDag, label: str, visit: int) -> Listener:
    """Return a listener that kills the worker which has a quantum run, the first time."""
    killed: list[int] = []

    def listener(event: Event) -> None:
        if isinstance(event, QuantumStarted) and not killed:
            quantum = plan.quanta[event.index]
            if quantum.label == label and quantum.dataId["visit"] == visit:
                killed.append(psutil.Process(event.pid).ppid())
                os.kill(killed[0], signal.SIGKILL)

    return listener


def test_a_host_without_dask_is_told_what_to_install(
    survey: Survey, butler: Butler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ExecutionError, match=r"pip install 'supertask\[dask\]'"):
        DaskFramework().execute(survey.plan(butler), butler)
    assert InProcessFramework().execute(survey.plan(butler), butler).exit_code == 0


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="Dask is not installed")
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere"])
def test_a_scheduler_that_does_not_answer_is_told(survey: Survey, butler: Butler, address: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ExecutionError, match=f"no Dask scheduler answers at {address}.*Is it running"):
        DaskFramework(address, timeout=1.0).execute(survey.plan(butler), butler)
    assert time.monotonic() - begun < 60


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ExecutionError, match="1 process or more, not 0"):
        DaskFramework(processes=0)
    with pytest.raises(ExecutionError, match="1 slot or more, not 0"):
        DaskFramework(slots=0)
