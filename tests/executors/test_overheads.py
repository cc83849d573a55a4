"""Overheads are made once for a key, whatever happens to the quanta that share them; their time is known."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from executors.inprocess import InProcessFramework
from executors.journal.report import status
from executors.journal.times import times_of
from executors.multiprocess import MultiprocessFramework
from executors.outcome import QuantumStatus
from executors.overheads.store import Kept, OverheadStore, size_of
from executors.quanta.recreation import recreate
from graphbuilder import GraphBuilder, QuantumBatcher
from supertask.butler.repository import Butler
from supertask.configs.config import field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import ConfigError, NoWork
from supertask.pipelines.pipeline import Pipeline
from supertask.tasks.bundles import Bundle
from supertask.tasks.overheads import OverheadNames, declared_overhead, overhead
from supertask.tasks.quantumparameters import Parameters, parameter
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

RUN = "u/me/run"
UNITS = ("instrument", "visit")
STAR = Dataset.subclass("star", ("visit",), "json")
MODEL = Dataset.subclass("model", ("instrument",), "json")
N = 6


class FitConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    star = InputField(("visit",), "json", doc="A star.")
    labels = OutputField(("visit",), "json", doc="Its labels.")
    library: str = field("main", doc="Which grid.", overhead=True)
    order: int = field(1, doc="Not an overhead.")
    folder: str = field("", doc="Where calls are noted.", meta=True)
    trouble: str = field("", doc="What goes wrong.", meta=True)


class FitTask(SuperTask):
    ConfigClass = FitConfig
    _DefaultName = "fit"

    @overhead(config=("library", "folder", "trouble"))
    def model(self):
        self.note("model", self.config.library)
        time.sleep(0.05)
        if self.config.trouble == "model":
            raise OSError("the grid is on tape")
        return np.arange(4.0)

    def run(self, star, dataId):
        model = self.model()
        self.note("run", dataId["visit"])
        trouble = self.config.trouble
        if trouble == f"raise {dataId['visit']}":
            raise ValueError("does not converge")
        if trouble == f"die {dataId['visit']}":
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble == f"hang {dataId['visit']}":
            time.sleep(60)
        if trouble == "change":
            model += 1
        return Struct(labels=[star, float(model.sum())])

    def note(self, *words):
        with (Path(self.config.folder) / "calls").open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")


class DerivedTask(FitTask):
    """Inherits what is declared."""


class VectorisedTask(FitTask):
    def runBundle(self, bundle, butler):
        model = self.model()
        stars = bundle.stack("star")
        self.note("bundle", len(bundle))
        for item, star in zip(bundle, stars.tolist(), strict=True):
            with item as (quantum, _inputs, _parameters):
                self.note("run", quantum.dataId["visit"])
                if self.config.trouble == f"raise {star}":
                    raise ValueError("does not converge")
                if self.config.trouble == f"die {star}":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.config.trouble == f"hang {star}":
                    time.sleep(60)
                if self.config.trouble == f"nothing {star}":
                    raise NoWork("no lines")
                if self.config.trouble == f"break {star}":
                    break
                (out,) = quantum.outputs[self.config.labels]
                item.butler.put([star, float(model.sum())], out)


class StagedTask(FitTask):
    def preExecute(self, bundle, butler):
        time.sleep(0.02)
        for item in bundle:
            with item:
                if self.config.trouble == f"pre {item.quantum.dataId['visit']}":
                    raise ValueError("is not a star")

    def postExecute(self, bundle, butler):
        time.sleep(0.03)
        if self.config.trouble == "post":
            raise ValueError("cannot be told")


@pytest.fixture
def butler(tmp_path):
    with Butler.create(tmp_path / "repo", unit_model="imaging") as made:
        made.insert_units("instrument", [{"instrument": "Cam"}])
        made.insert_units("band", [{"band": "g"}])
        made.insert_units("physical_filter", [{"instrument": "Cam", "physical_filter": "G", "band": "g"}])
        visits = [{"instrument": "Cam", "visit": v, "physical_filter": "G"} for v in range(1, N + 1)]
        made.insert_units("visit", visits)
        made.register_type(STAR)
        for v in range(1, N + 1):
            made.put(v, STAR(instrument="Cam", visit=v), run="raw/all")
        yield made


@pytest.fixture
def plan(butler, tmp_path):
    def make(task=FitTask, size=N, run=RUN, **config):
        pipeline = Pipeline().add("fit", task, {"folder": str(tmp_path), **config})
        dag = GraphBuilder(pipeline, butler, output_run=run).makeGraph()
        return QuantumBatcher(max_quanta=size).batch(dag) if size else dag

    return make


def calls(tmp_path):
    path = tmp_path / "calls"
    return Counter(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else Counter()


def counts(report):
    return {s.value: n for s, n in report.counts.items() if n}


# -- declaring --------------------------------------------------------------------------------------


def test_a_plan_says_what_is_overhead_and_keeps_it_in_its_file(plan, tmp_path):
    dag = plan(DerivedTask)
    dag.save(tmp_path / "plan.h5")
    for node in (dag.tasks[0], type(dag).load(tmp_path / "plan.h5").tasks[0]):
        assert node.overhead.declared
        assert node.overhead.config == ("library", "folder", "trouble")


def test_inherited_declarations_count():
    assert declared_overhead(DerivedTask, FitConfig()) == declared_overhead(FitTask, FitConfig())


def test_a_task_without_overheads_declares_nothing():
    class PlainConfig(SuperTaskConfig):
        number: int = field(1, doc="A number.")

    class PlainTask(SuperTask):
        ConfigClass = PlainConfig

    assert declared_overhead(PlainTask, PlainConfig()) == OverheadNames()


def test_an_overhead_method_that_names_nothing_there_is_refused(butler):
    class WrongTask(FitTask):
        @overhead(config=("libary",))
        def other(self, stars):
            return None

    with pytest.raises(ConfigError, match="did you mean 'library'") as refused:
        declared_overhead(WrongTask, FitConfig())
    assert "argument 'stars'" in str(refused.value)


class Guess(Parameters):
    initial: tuple[float, ...] = parameter((5777.0, 4.4), doc="Guess.")
    grid: str = parameter("main", doc="Grid.", overhead=True)
    verbose: int = parameter(0, doc="How much is said.", meta=True)


def test_parameters_are_typed_attributes():
    assert Guess(initial=(1, 2)) == Guess(initial=(1.0, 2.0))
    with pytest.raises(ConfigError, match="2 problems"):
        Guess(initial="abc", grid=1)
    with pytest.raises(TypeError):
        Guess(guess=1)


# -- sharing ----------------------------------------------------------------------------------------


def test_an_object_is_made_once_for_a_bundle_and_kept_for_the_next(framework, butler, plan, tmp_path):
    assert framework.execute(plan(size=2), butler).exit_code == 0
    made = calls(tmp_path)
    assert made["run"] == N
    assert made["model"] <= getattr(framework, "processes", 1)


def test_without_anything_around_it_an_overhead_method_just_makes_the_object(tmp_path):
    task = FitTask(config=FitConfig(folder=str(tmp_path)))
    assert task.run(3, {"visit": 1}).labels == [3, 6.0]


def test_what_is_shared_cannot_be_changed(butler, plan):
    report = InProcessFramework().execute(plan(trouble="change"), butler)
    assert counts(report) == {"failed": N}
    assert "read-only" in report.failures[0].message


def test_a_method_that_reads_what_it_does_not_declare_is_told_so(butler, plan):
    report = InProcessFramework().execute(plan(SlyTask), butler)
    assert counts(report) == {"failed": N}
    assert "'order'" in report.failures[0].message


class SlyTask(FitTask):
    @overhead(config=("library",))
    def model(self):
        return np.full(self.config.order, 1.0)


def test_a_failing_overhead_method_is_not_tried_for_each_quantum(framework, butler, plan, tmp_path):
    report = framework.execute(plan(trouble="model"), butler)
    assert counts(report) == {"failed": N}
    assert calls(tmp_path) == {"model": 1}
    assert report.exit_code == 1
    assert {f.message for f in report.failures} == {"the grid is on tape"}


# -- keeping neighbours -----------------------------------------------------------------------------


@pytest.mark.parametrize("task", [FitTask, VectorisedTask, StagedTask])
def test_a_failing_quantum_takes_down_neither_bundle_nor_object(framework, butler, plan, tmp_path, task):
    report = framework.execute(plan(task, trouble="raise 3"), butler)
    assert counts(report) == {"succeeded": N - 1, "failed": 1}
    assert report.exit_code == 1
    assert calls(tmp_path)["model"] == 1


@pytest.mark.parametrize("task", [FitTask, VectorisedTask])
def test_a_killed_worker_leaves_what_had_ended_and_it_is_not_redone(butler, plan, tmp_path, task):
    report = MultiprocessFramework(processes=1).execute(plan(task, trouble="die 4"), butler)
    assert counts(report) == {"succeeded": N - 1, "failed": 1}
    assert calls(tmp_path)["run"] == N
    assert "SIGKILL" in report.failures[0].message


@pytest.mark.parametrize("task", [FitTask, VectorisedTask])
def test_a_timeout_is_that_of_a_quantum_and_overheads_do_not_count(framework, butler, plan, tmp_path, task):
    policies = {"fit": {"timeout": 4.0}}
    report = framework.execute(plan(task, trouble="hang 2"), butler, policies=policies)
    assert counts(report) == {"succeeded": N - 1, "failed": 1}


def test_a_bundle_may_find_no_work_and_may_end_early(butler, plan):
    report = InProcessFramework().execute(plan(VectorisedTask, trouble="nothing 2"), butler)
    assert counts(report) == {"succeeded": N - 1, "no work": 1}
    early = InProcessFramework().execute(plan(VectorisedTask, run="u/me/early", trouble="break 3"), butler)
    assert counts(early) == {"succeeded": 2, "failed": N - 2}
    assert "without writing" in early.failures[0].message


def test_stages_fail_quanta_one_by_one_or_all(butler, plan):
    one = InProcessFramework().execute(plan(StagedTask, trouble="pre 2"), butler)
    assert counts(one) == {"succeeded": N - 1, "failed": 1}
    every = InProcessFramework().execute(plan(StagedTask, run="u/me/post", trouble="post"), butler)
    assert counts(every) == {"failed": N}
    assert status(butler.root, "u/me/post").counts[QuantumStatus.FAILED] == N


def test_a_bundle_of_a_notebook_keeps_its_errors(butler, plan):
    dag = plan(VectorisedTask, trouble="raise 3")
    quanta = list(dag.quanta)
    task = VectorisedTask(config=FitConfig(**dag.tasks[0].config | {"star": "star", "labels": "labels"}))
    bundle = Bundle(task, quanta, butler)
    assert len(bundle) == N
    with bundle.quantum(quanta[1]) as item:
        assert item.inputs.star == 2
        raise ValueError("no")
    assert list(bundle.errors) == [1]


# -- memory -----------------------------------------------------------------------------------------


def test_least_recently_used_goes_first_and_what_is_in_use_stays():
    store = OverheadStore(100)
    for n in range(3):
        store.put(bytes([n]), Kept(n, 40, n, frozenset()))
    assert store.get(b"\0") is None
    assert store.get(b"\1") is not None
    store.put(b"big", Kept("big", 500, 9, frozenset()), in_use={b"\1"})
    assert store.get(b"\1") is not None
    assert store.get(b"big") is not None
    store.trim()
    assert store.size <= 100


def test_mapped_files_take_no_memory(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(1000))
    assert size_of({"a": np.load(tmp_path / "a.npy", mmap_mode="r")}) == 0
    assert size_of((np.zeros(1000), [np.zeros(10)])) == 8080


# -- times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [FitTask, VectorisedTask, StagedTask])
@pytest.mark.parametrize("trouble", ["", "raise 3", "break 3", "model"])
def test_shares_of_overhead_add_up_to_what_was_spent(butler, plan, task, trouble):
    InProcessFramework().execute(plan(task, trouble=trouble), butler)
    rows = times_of(butler.root, RUN)
    assert len(rows) == N
    assert sum(r.time_bundle_overhead for r in rows) >= 0.05
    if trouble in {"", "raise 3"}:
        assert all(r.time_execute_bundle_overhead > 0.05 / N / 2 for r in rows)
    for r in rows:
        assert r.time_total == pytest.approx(r.time_pre_execute + r.time_execute + r.time_post_execute)
        assert r.time_execute == pytest.approx(r.time_execute_bundle_overhead + r.time_execute_task)
        assert r.time_execute_task >= -1e-6
    if task is StagedTask and not trouble:
        assert sum(r.time_pre_execute_bundle_overhead for r in rows) >= 0.02
        assert sum(r.time_post_execute_bundle_overhead for r in rows) >= 0.03


def test_no_time_is_counted_twice_or_lost(butler, plan):
    before = time.perf_counter()
    report = InProcessFramework().execute(plan(size=3), butler)
    assert report.exit_code == 0
    spent = time.perf_counter() - before
    rows = times_of(butler.root, RUN)
    assert sum(r.time_total for r in rows) <= spent
    assert {round(r.time_execute_bundle_overhead, 4) for r in rows} == {
        round(rows[0].time_execute_bundle_overhead, 4)
    }


# -- recreated --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [FitTask, VectorisedTask, StagedTask])
def test_a_recreated_bundle_runs_as_its_run_ran_it(butler, plan, tmp_path, task):
    """It has `runBundle`, stages and shared overheads there, too, and says where the time went."""
    dag = plan(task, size=3, trouble="raise 3")
    InProcessFramework().execute(dag, butler)
    before, times = calls(tmp_path), times_of(butler.root, RUN)
    for b in range(2):
        (tmp_path / "calls").unlink()
        work = recreate(butler, RUN, bundle=b)
        attempts = work.run()
        assert [a.index for a in attempts] == list(work.indices)
        assert [a.status for a in attempts] == [
            QuantumStatus.FAILED if q.dataId["visit"] == 3 else QuantumStatus.SUCCEEDED for q in work.quanta
        ]
        assert calls(tmp_path)["bundle"] == before["bundle"] / 2
        assert calls(tmp_path)["model"] == 1
        rows = work.times()
        assert sum(r.time_execute_bundle_overhead for r in rows) >= 0.05
        for name in ("time_pre_execute_bundle_overhead", "time_post_execute_bundle_overhead"):
            assert all((getattr(r, name) > 0) == (getattr(times[0], name) > 0) for r in rows)
        work.close()
    assert times_of(butler.root, RUN) == times  # the run is only read


def test_a_recreated_quantum_of_a_vectorised_task_runs_by_itself(butler, plan, tmp_path):
    dag = plan(VectorisedTask)
    InProcessFramework().execute(dag, butler)
    work = recreate(butler, dag, quantum=2)
    for _ in range(2):
        assert [a.status for a in work.run()] == [QuantumStatus.SUCCEEDED]
    assert calls(tmp_path)["model"] == 2  # by the run, and once here
    work.close()
