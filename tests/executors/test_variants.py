"""Quanta run with the variant of their task that their data select, whatever walks the plan."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from executors.driving.retrying import Retrying, policies_of
from executors.outcome import QuantumStatus
from executors.quanta.taskset import TaskSet
from graphbuilder import GraphBuilder, QuantumBatcher
from supertask.butler.repository import Butler
from supertask.configs.config import field
from supertask.connections.fields import InputField, MetadataField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import ExecutionError, PipelineError
from supertask.pipelines.pipeline import Pipeline
from supertask.tasks.overheads import overhead
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

FRAME = Dataset.subclass("frame", ("visit", "detector"), "json")


class SkyConfig(SuperTaskConfig):
    quantum_units = ("visit", "detector")
    frame = InputField(("visit", "detector"), "json", doc="A frame.")
    sky = OutputField(("visit", "detector"), "json", doc="Its sky.")
    sky_metadata = MetadataField(("visit", "detector"), doc="What was noted.")
    factor: float = field(1.0, doc="Factor.")
    pause: float = field(0.0, doc="Sleep for so long.", unit="s", meta=True)


class SkyTask(SuperTask):
    ConfigClass = SkyConfig
    _DefaultName = "sky"

    def run(self, frame):
        time.sleep(self.config.pause)
        self.metadata["factor"] = self.config.factor
        return Struct(sky=[type(self).__name__, frame * self.config.factor])


class CarefulTask(SkyTask):
    pass


@pytest.fixture
def butler(tmp_path):
    with Butler.create(tmp_path / "repo", unit_model="imaging") as made:
        made.insert_units("instrument", [{"instrument": "Cam"}])
        made.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in range(2)])
        made.insert_units("band", [{"band": b} for b in "gr"])
        filters = [{"instrument": "Cam", "physical_filter": b.upper(), "band": b} for b in "gr"]
        made.insert_units("physical_filter", filters)
        visits = [{"instrument": "Cam", "visit": v, "physical_filter": "GR"[v > 2]} for v in range(1, 5)]
        made.insert_units("visit", visits)
        made.register_type(FRAME)
        for visit in range(1, 5):
            for detector in range(2):
                made.put(visit, FRAME(instrument="Cam", visit=visit, detector=detector), run="raw/all")
        yield made


def pipeline():
    made = Pipeline().add("sky", SkyTask, {"factor": 2.0})
    made.add_override("sky", {"band": "r"}, {"factor": 10.0})
    return made.add_override("sky", {"detector": 1, "visit": [1, 4]}, task_class=CarefulTask)


def plan(butler, made, run="u/me/run", where=""):
    return GraphBuilder(made, butler, output_run=run).makeGraph(where)


def test_each_quantum_runs_with_its_variant(framework, butler):
    dag = QuantumBatcher(max_quanta=3).batch(plan(butler, pipeline()))
    assert framework.execute(dag, butler).exit_code == 0
    made = Butler(butler.root, collections=("u/me/run",))
    for visit in range(1, 5):
        for detector in range(2):
            dataId = {"instrument": "Cam", "visit": visit, "detector": detector}
            name = "CarefulTask" if detector and visit in (1, 4) else "SkyTask"
            factor = 10.0 if visit > 2 else 2.0
            assert made.get("sky", **dataId) == [name, visit * factor]
            noted = made.get("sky_metadata", **dataId)
            assert noted["factor"] == factor
            assert noted["timers"]["run"]["count"] == 1
    made.close()


def test_what_made_variants_is_recorded(here, butler):
    here.execute(plan(butler, pipeline()), butler)
    variants = butler.run_provenance("u/me/run")["tasks"]["sky"]["variants"]
    assert sum(v["quanta"] for v in variants) == 8
    assert {v["config"]["factor"] for v in variants} == {2.0, 10.0}
    assert all("test_variants.py" in o["source"] for v in variants for o in v["overrides"])
    with Butler(butler.root, collections=("u/me/run",)) as made:
        assert made.get("sky_config")["factor"] == 2.0
        conditions = [o["when"] for o in made.get("sky_overrides")]
    assert conditions == [{"band": "r"}, {"detector": 1, "visit": [1, 4]}]


def test_a_run_is_not_gone_on_with_under_other_overrides(here, butler):
    assert here.execute(plan(butler, pipeline(), where="visit < 3"), butler).exit_code == 0
    other = pipeline().add_override("sky", {"visit": 3}, {"factor": 5.0}, rank=11)
    with pytest.raises(ExecutionError, match="sky_overrides"):
        here.execute(plan(butler, other, where="visit = 3"), butler)


def test_a_crowded_field_may_take_longer_than_others(framework, butler):
    made = Pipeline().add("sky", SkyTask, {"policy.timeout": 5.0, "pause": 60.0, "policy.delay": 0.0})
    made.add_override("sky", {"band": "r"}, {"policy.timeout": 600.0, "pause": 6.0})
    made.add_override("sky", {"visit": 1}, {"pause": 0.0})
    dag = plan(butler, made, where="visit > 0 AND detector = 0")
    report = framework.execute(dag, butler)
    (group,) = report.failures
    assert group.kind == "timeout"
    assert [dataId["visit"] for dataId in group.dataIds] == [2]
    assert report.counts[QuantumStatus.SUCCEEDED] == 3


def test_how_much_memory_data_may_take_and_how_often_they_are_tried_is_told_by_overrides(here, butler):
    made = Pipeline().add("sky", SkyTask, {"policy.memory": "1 GB"})
    made.add_override("sky", {"band": "r"}, {"policy": {"memory": "2 GB", "retries": {"error": 3}}})
    dag = plan(butler, made)
    tasks = TaskSet(dag.tasks)
    policies = policies_of(dag.tasks, tasks, {})
    retrying = Retrying(dag, policies, {0: 1_500_000_000, 7: 1_500_000_000})
    held = {dag.quanta[i].dataId["visit"]: retrying.limits_of(i, "sky").memory for i in range(1, 7)}
    assert held == {1: 10**9, 2: 10**9, 3: 2 * 10**9, 4: 2 * 10**9}
    assert retrying.granted(range(8)) == {0: 1_500_000_000}
    assert [p.retries.error for p in policies["sky"]] == [0, 3]
    told = policies_of(dag.tasks, tasks, {"sky": {"memory": "3 GB", "retries.error": 3}})
    assert [p.memory for p in told["sky"]] == ["3 GB"]
    assert here.execute(dag, butler).exit_code == 0


def test_a_policy_that_data_select_needs_nothing_run_again(butler):
    was = plan(butler, Pipeline().add("sky", SkyTask))
    made = (
        Pipeline()
        .add("sky", SkyTask)
        .add_override("sky", {"band": "r"}, {"policy.timeout": 600.0, "pause": 6.0})
    )
    now = plan(butler, made)
    assert [now.record(i).identity for i in range(8)] == [was.record(i).identity for i in range(8)]


def test_what_is_counted_over_all_quanta_is_not_for_data_to_say(butler):
    made = Pipeline().add("sky", SkyTask).add_override("sky", {"band": "r"}, {"policy.max_failures": "3"})
    with pytest.raises(PipelineError, match="it is of all quanta of the task together"):
        plan(butler, made)


class LibraryConfig(SuperTaskConfig):
    quantum_units = ("visit", "detector")
    frame = InputField(("visit", "detector"), "json", doc="A frame.")
    sky = OutputField(("visit", "detector"), "json", doc="Its sky.")
    factor: float = field(1.0, doc="Factor.")
    pause: float = field(0.0, doc="Fail if it is any.", meta=True)
    library: str = field("main", doc="Which library.", overhead=True)
    folder: str = field("", doc="Where calls are noted.", meta=True)


class LibraryTask(SuperTask):
    ConfigClass = LibraryConfig
    _DefaultName = "sky"

    @overhead(config=("library", "folder"))
    def shared(self):
        with (Path(self.config.folder) / "calls").open("a") as file:
            file.write(f"{self.config.library} {os.getpid()}\n")
        return self.config.library

    def run(self, frame):
        if self.config.pause:
            raise ValueError("as its variant says")
        return Struct(sky=[self.shared(), frame * self.config.factor])


class TogetherTask(LibraryTask):
    def runBundle(self, bundle, butler):
        frames = bundle.stack("frame")
        for item, frame in zip(bundle, frames.tolist(), strict=True):
            with item:
                if self.config.pause:
                    raise ValueError("as its variant says")
                (out,) = item.quantum.outputs[self.config.sky]
                item.butler.put([self.shared(), frame * self.config.factor], out)


@pytest.mark.parametrize("task", [LibraryTask, TogetherTask])
def test_variants_of_equal_overheads_share_a_bundle_and_each_runs_as_it_is(framework, butler, tmp_path, task):
    """They differ in what is no overhead; one of them fails, and a third has an overhead of its own."""
    made = Pipeline().add("sky", task, {"factor": 2.0, "folder": str(tmp_path)})
    made.add_override("sky", {"band": "r"}, {"factor": 10.0})
    made.add_override("sky", {"visit": 2}, {"pause": 1.0})
    made.add_override("sky", {"visit": 4}, {"library": "other"})
    dag = QuantumBatcher(max_quanta=100).batch(plan(butler, made))
    assert len(dag.tasks[0].variants) == 4
    bundling = dag.bundling()
    visits = [
        sorted({dag.quanta[q].dataId["visit"] for q in bundling[b].tolist()}) for b in range(len(bundling))
    ]
    assert visits == [[1, 2, 3], [4]]
    report = framework.execute(dag, butler)
    assert report.counts == {QuantumStatus.SUCCEEDED: 6, QuantumStatus.FAILED: 2}
    with Butler(butler.root, collections=("u/me/run",)) as found:
        for visit, factor, library in ((1, 2.0, "main"), (3, 10.0, "main"), (4, 10.0, "other")):
            for detector in range(2):
                dataId = {"instrument": "Cam", "visit": visit, "detector": detector}
                assert found.get("sky", **dataId) == [library, visit * factor]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == len(set(calls))  # made once in each process, for all variants together
    assert {line.split()[0] for line in calls} == {"main", "other"}
