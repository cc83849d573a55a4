"""Sums of times over quanta are what was spent, whatever happens: on a clock that the tests turn, exactly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from executors.inprocess import InProcessFramework
from executors.journal.times import Times, times_of
from executors.multiprocess import MultiprocessFramework
from executors.quanta.recreation import recreate
from graphbuilder import GraphBuilder, QuantumBatcher
from supertask.butler.repository import Butler
from supertask.configs.config import field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import NoWork
from supertask.pipelines.pipeline import Pipeline
from supertask.tasks.overheads import overhead
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

STAR = Dataset.subclass("star", ("visit",), "json")
N = 4
STAGES = ("pre_execute", "execute", "post_execute")


class Clock:
    """Shows what time was spent, and nothing else: all else takes none."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0

    def spend(self, wall: int) -> None:
        self.wall += wall
        self.cpu += wall // 3

    @contextmanager
    def shown(self) -> Iterator[None]:
        with (
            patch("time.perf_counter_ns", lambda: self.wall),
            patch("time.perf_counter", lambda: self.wall / 1e9),
            patch("time.process_time_ns", lambda: self.cpu),
            patch("time.process_time", lambda: self.cpu / 1e9),
        ):
            yield


CLOCK = Clock()


class FitConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    star = InputField(("visit",), "json", doc="A star.")
    labels = OutputField(("visit",), "json", doc="Its labels.")
    library: str = field("main", doc="Which grid.", overhead=True)
    script: str = field("{}", doc="What takes how long, and fails.", meta=True)


class FitTask(SuperTask):
    ConfigClass = FitConfig
    _DefaultName = "fit"

    @property
    def script(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.config.script)
        return said

    @overhead(config=("library", "script"))
    def grid(self) -> float:
        said = json.loads(self.config.script)
        CLOCK.spend(said["grid"])
        return 1.0

    @overhead(config=("library", "script"))
    def model(self) -> float:
        said = json.loads(self.config.script)
        CLOCK.spend(said["model"])
        found = self.grid() if said["nested"] else 1.0
        CLOCK.spend(said["model"])
        if said["model fails"]:
            raise OSError("the model is on tape")
        return found

    def run(self, star: int) -> Struct:
        said = self.script
        CLOCK.spend(said["own"][star - 1])
        if said["uses"][star - 1]:
            self.model()
        if said["ends"][star - 1] == "raise":
            raise ValueError("does not converge")
        if said["ends"][star - 1] == "nothing":
            raise NoWork("no lines")
        CLOCK.spend(said["own"][star - 1])
        return Struct(labels=star)


class TogetherTask(FitTask):
    """Works on all of a bundle, in stages and several passes; may end early, or fail as a whole."""

    def runBundle(self, bundle: Any, butler: Any) -> None:
        said = self.script
        for stage in STAGES:
            if stage not in said["stages"] and stage != "execute":
                continue
            with bundle.stage(stage):
                CLOCK.spend(said["common"])
                if said["uses"][0]:
                    self.model()
                if said["fails in"] == stage:
                    raise OSError("all of it")
                for _ in range(said["passes"] if stage != "execute" else 1):
                    for item in bundle:
                        if item.ended:
                            continue
                        with item as (quantum, inputs, _):
                            if stage == "execute":
                                self.runQuantum(quantum, item.butler)
                            else:
                                CLOCK.spend(said["own"][inputs.star - 1])
                        CLOCK.spend(said["common"])
                        if said["ends"][item.quantum.dataId["visit"] - 1] == "break":
                            break
        CLOCK.spend(said["common"])


class HoldingTask(TogetherTask):
    """Its quanta end in the last stage."""

    def postExecute(self, bundle: Any, butler: Any) -> None:
        """Be there: what that does stands above."""


@pytest.fixture(scope="module")
def butler(tmp_path_factory):
    with Butler.create(tmp_path_factory.mktemp("times") / "repo", unit_model="imaging") as made:
        made.insert_units("instrument", [{"instrument": "Cam"}])
        made.insert_units("band", [{"band": "g"}])
        made.insert_units("physical_filter", [{"instrument": "Cam", "physical_filter": "G", "band": "g"}])
        visits = [{"instrument": "Cam", "visit": v, "physical_filter": "G"} for v in range(1, N + 1)]
        made.insert_units("visit", visits)
        made.register_type(STAR)
        for v in range(1, N + 1):
            made.put(v, STAR(instrument="Cam", visit=v), run="raw/all")
        yield made


TIMES = st.integers(0, 10**12)
SCRIPTS = st.fixed_dictionaries(
    {
        "grid": TIMES,
        "model": TIMES,
        "common": TIMES,
        "own": st.lists(TIMES, min_size=N, max_size=N),
        "uses": st.lists(st.booleans(), min_size=N, max_size=N),
        "nested": st.booleans(),
        "model fails": st.sampled_from([False, False, True]),
        "ends": st.lists(st.sampled_from(["", "", "raise", "nothing", "break"]), min_size=N, max_size=N),
        "stages": st.sets(st.sampled_from(["pre_execute", "post_execute"])).map(sorted),
        "passes": st.integers(1, 3),
        "fails in": st.sampled_from(["", "", *STAGES]),
    }
)
WORST = {
    "grid": 7, "model": 10**9 + 1, "common": 11, "own": [1, 10, 100, 1000], "uses": [True] * N,
    "nested": True,
    "model fails": False, "ends": ["", "raise", "break", ""], "stages": ["post_execute", "pre_execute"],
    "passes": 2, "fails in": "post_execute",
}  # fmt: skip


def check(rows: list[Times], wall: int, cpu: int) -> None:
    assert sum(r.time_total for r in rows) == pytest.approx(wall / 1e9, abs=1e-8, rel=1e-12)
    assert sum(r.cpu_total for r in rows) == pytest.approx(cpu / 1e9, abs=1e-8, rel=1e-12)
    for r in rows:
        said = r.to_dict()
        for stage in STAGES:
            own, shared = said[f"time_{stage}_task"], said[f"time_{stage}_bundle_overhead"]
            assert said[f"time_{stage}"] == own + shared
            assert own >= -1e-8
            assert shared >= 0
        assert r.cpu_task >= -1e-8


@settings(max_examples=30, deadline=None)
@given(SCRIPTS, st.sampled_from([FitTask, TogetherTask, HoldingTask]), st.integers(1, N))
@example(WORST, TogetherTask, N)
@example(WORST, HoldingTask, N)
@example(WORST, FitTask, 2)
@example({**WORST, "model fails": True}, HoldingTask, 3)
def test_sums_over_quanta_are_what_was_spent(butler, script, task, size):
    """Failures, early ends, several passes and stages, nested overheads, retries, runs that go on."""
    run = f"u/me/{time.time_ns()}"
    pipeline = Pipeline().add("fit", task, {"script": json.dumps(script)})
    dag = QuantumBatcher(size).batch(GraphBuilder(pipeline, butler, output_run=run).makeGraph())
    begin = CLOCK.wall, CLOCK.cpu
    sessions = []
    for _ in range(2):  # what failed runs again
        with CLOCK.shown():
            InProcessFramework().execute(dag, butler, policies={"fit": {"retries.error": 1, "delay": 0.0}})
        rows = times_of(butler.root, run)
        check(rows, CLOCK.wall - begin[0], CLOCK.cpu - begin[1])
        sessions.append(len(rows))
    assert len({(r.index, r.number) for r in rows}) == len(rows)
    assert sessions[0] >= N
    begin = CLOCK.wall, CLOCK.cpu
    work = recreate(butler, dag, bundle=0)
    with CLOCK.shown():
        work.run()
    check(work.times(), CLOCK.wall - begin[0], CLOCK.cpu - begin[1])
    work.close()


class KilledTask(SuperTask):
    ConfigClass = FitConfig
    _DefaultName = "killed"

    @overhead
    def model(self) -> str:
        time.sleep(0.1)
        return str(self.config.library)

    def run(self, star: int) -> Struct:
        self.model()
        time.sleep(0.05)
        if star == 2:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return Struct(labels=star)


class KilledTogetherTask(KilledTask):
    def runBundle(self, bundle: Any, butler: Any) -> None:
        time.sleep(0.05)
        self.execute(bundle, butler)


@pytest.mark.parametrize("task", [KilledTask, KilledTogetherTask])
def test_of_a_process_that_was_killed_no_time_is_lost_or_counted_twice(butler, task):
    run = f"u/me/{time.time_ns()}"
    pipeline = Pipeline().add("fit", task, {})
    dag = QuantumBatcher(N).batch(GraphBuilder(pipeline, butler, output_run=run).makeGraph())
    begin = time.perf_counter()
    report = MultiprocessFramework(1).execute(
        dag, butler, policies={"fit": {"retries.killed": 1, "delay": 0.0}}
    )
    spent = time.perf_counter() - begin
    assert report.exit_code == 1
    rows = times_of(butler.root, run)
    killed = [r for r in rows if r.status == "failed"]
    assert {r.index for r in killed} == {1}
    # The model is made once by each process; what is killed has the time until its end.
    assert all(r.time_total >= 0.25 for r in killed)
    least = (N - 1) * 0.05 + len(killed) * 0.25 + 0.1
    assert least <= sum(r.time_total for r in rows) <= spent


class ChildTask(SuperTask):
    ConfigClass = FitConfig
    _DefaultName = "child"

    @overhead
    def model(self) -> str:
        code = "import time\nwhile time.process_time() < 0.3: pass"
        subprocess.run([sys.executable, "-c", code], check=True)
        return str(self.config.library)

    def run(self, star: int) -> Struct:
        self.model()
        return Struct(labels=star)

    def preExecute(self, bundle: Any, butler: Any) -> None:
        if self.config.script == "before":
            self.model()


@pytest.mark.parametrize("when", ["", "before"])
def test_cpu_time_of_children_counts_to_the_overhead_that_started_them(butler, when):
    run = f"u/me/{time.time_ns()}"
    pipeline = Pipeline().add("fit", ChildTask, {"script": when})
    dag = QuantumBatcher(N).batch(GraphBuilder(pipeline, butler, output_run=run).makeGraph())
    assert InProcessFramework().execute(dag, butler).exit_code == 0
    rows = times_of(butler.root, run)
    assert sum(r.cpu_bundle_overhead for r in rows) >= 0.3
    assert all(r.cpu_task < 0.3 for r in rows)
