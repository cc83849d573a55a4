"""Quanta run with the variant of their task that their data select, whatever walks the plan."""

from __future__ import annotations

import pytest

from graphbuilder import GraphBuilder, QuantumBatcher
from supertask.butler.repository import Butler
from supertask.config import field
from supertask.datasets import Dataset
from supertask.errors import ExecutionError
from supertask.fields import InputField, MetadataField, OutputField, SuperTaskConfig
from supertask.pipeline import Pipeline
from supertask.struct import Struct
from supertask.supertask import SuperTask

FRAME = Dataset.subclass("frame", ("visit", "detector"), "json")


class SkyConfig(SuperTaskConfig):
    quantum_units = ("visit", "detector")
    frame = InputField(("visit", "detector"), "json", doc="A frame.")
    sky = OutputField(("visit", "detector"), "json", doc="Its sky.")
    sky_metadata = MetadataField(("visit", "detector"), doc="What was noted.")
    factor: float = field(1.0, doc="Factor.")


class SkyTask(SuperTask):
    ConfigClass = SkyConfig
    _DefaultName = "sky"

    def run(self, frame):
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
