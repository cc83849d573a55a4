"""A run begun on one engine is finished by each other one: from its journal and the same plan file."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from executors import InProcessFramework, MultiprocessFramework, SlurmFramework
from executors.condor.framework import CondorFramework
from executors.condor.queue import Queue
from executors.condor.site import CondorSite
from executors.futures.dask import DaskFramework
from executors.futures.parsl import ParslFramework
from executors.port import ExecutionFramework
from executors.slurm.pilots import SlurmPilotFramework
from executors.slurm.site import SlurmSite
from executors.testing import condor, slurm
from executors.testing.parslpool import high_throughput
from executors.testing.survey import Survey
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.repository import Butler
from tests.conftest import DATA

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0

KERNELS: dict[str, Any] = {}
"""What Parsl has loaded in this process; a driver that is to be killed has its own."""

ENGINES: dict[str, Callable[[], ExecutionFramework]] = {
    "in-process": InProcessFramework,
    "pool": lambda: MultiprocessFramework(2),
    "slurm": lambda: SlurmFramework(late=5.0, grace=3.0),
    # Pilots of a driver that was killed hold their processors until they were idle for long.
    "slurm-pilot": lambda: SlurmPilotFramework(late=5.0, grace=3.0, site=SlurmSite(pilot_idle=10.0)),
    # Not through bindings: they keep to the pool of an earlier test.
    "condor": lambda: CondorFramework(late=5.0, site=CondorSite(vacate=3), queue=Queue()),
    "dask": lambda: DaskFramework(os.environ["SUPERTASK_TEST_DASK"], late=5.0),
    "parsl": lambda: ParslFramework(KERNELS.get("parsl"), processes=2, late=5.0),
}
"""The same in every process of a test. What they need is started once for all, and in the environment."""


def why_not(name: str) -> str:
    """Return why an engine cannot be tested here, nothing if it can."""
    needs = {"dask": "distributed", "parsl": "parsl"}.get(name)
    if needs is not None and importlib.util.find_spec(needs) is None:
        return f"{needs} is not installed"
    if name == "condor":
        return condor.why_not()
    return slurm.why_not() if name.startswith("slurm") else ""


PAIRS = [
    pytest.param(
        one,
        other,
        id=f"{one} then {other}",
        marks=pytest.mark.skipif(bool(why_not(one) or why_not(other)), reason=why_not(one) or why_not(other)),
    )
    for one in ENGINES
    for other in ENGINES
    if one != other
]

DRIVER = """
import sys
from supertask.butler.repository import Butler
from tests.executors.test_engines_agree import ENGINES
name, root, plan = sys.argv[1:]
with Butler(root) as butler:
    ENGINES[name]().execute(plan, butler)
"""


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start what outlives drivers, once for all tests."""
    with ExitStack() as started, pytest.MonkeyPatch.context() as patch:
        if not why_not("slurm"):
            for name, value in started.enter_context(slurm.cluster()).env.items():
                patch.setenv(name, value)
        if not why_not("condor"):
            for name, value in started.enter_context(condor.pool(seen=[DATA])).env.items():
                patch.setenv(name, value)
        if not why_not("dask"):
            from distributed import LocalCluster

            cluster = LocalCluster(
                n_workers=1,
                threads_per_worker=2,
                memory_limit=None,
                dashboard_address="127.0.0.1:0",
                host="127.0.0.1",
            )
            patch.setenv("SUPERTASK_TEST_DASK", started.enter_context(cluster).scheduler_address)
        if not why_not("parsl"):
            from parsl.dataflow.dflow import DataFlowKernel

            kernel = DataFlowKernel(high_throughput(tmp_path_factory.mktemp("parsl")))
            started.callback(kernel.cleanup)
            patch.setitem(KERNELS, "parsl", kernel)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    survey = Survey(tmp_path_factory.mktemp("undisturbed") / "survey")
    with Butler(survey.root) as butler:
        assert InProcessFramework().execute(survey.plan(butler), butler).exit_code == 0
    return survey.outputs()


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.xdist_group("engines agree")
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_run_begun_on_one_and_killed_is_finished_by_the_other(
    engines: None, undisturbed: dict[str, bytes], tmp_path: Path, one: str, other: str
) -> None:
    survey, file = Survey(tmp_path / "survey"), tmp_path / "plan.h5"
    survey.order("merge-1", "1 times sleep 3")
    with Butler(survey.root) as butler:
        survey.bundled(butler).save(file)
    begin_and_kill(one, survey, file, "merge-1")
    with Butler(survey.root) as butler:
        report = ENGINES[other]().execute(file, butler)
        assert report.exit_code == 0
        assert report.unregistered == 0
    assert survey.outputs() == undisturbed
    assert survey.successes(ScienceDag.load(file)) == [1] * survey.n_quanta, "nothing finished is redone"
    assert not list(survey.root.rglob(".tmp-*"))


def begin_and_kill(name: str, survey: Survey, plan: Path, begun: str) -> None:
    """Drive a run in a process of its own, and kill that once a quantum has begun."""
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, name, str(survey.root), str(plan)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        until = time.monotonic() + PATIENCE
        while begun not in survey.calls():
            assert driver.poll() is None, "it ended before it was killed"
            assert time.monotonic() < until, f"{begun} has not begun"
            time.sleep(0.02)
    finally:
        driver.kill()
        driver.wait(PATIENCE)
