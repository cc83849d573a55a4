"""Plans that a user's table of related data IDs joins."""

from __future__ import annotations

import pytest

from graphbuilder.builder import GraphBuilder
from supertask.butler.repository import Butler
from supertask.connections.fields import InputField, OutputField
from supertask.datasets import Dataset
from supertask.pipelines.pipeline import Pipeline
from supertask.relations import load_relation
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask, SuperTaskConfig
from supertask.unitmodels import unit_model_from_dict

MODEL = {
    "name": "planned",
    "units": {"instrument": {"key": "str"}, "visit": {"parents": "instrument"}, "block": {"key": "str"}},
    "relations": {"plan": {"left": "visit", "right": "block"}},
}
Frame = Dataset.subclass("frame", ("visit",), "json")


class BlockConfig(SuperTaskConfig):
    quantum_units = ("block",)
    frame = InputField(units=("visit",), storage="json", doc="Frames of a block.")
    total = OutputField(units=("block",), storage="json", doc="Their sum.")


class BlockTask(SuperTask):
    ConfigClass = BlockConfig
    _DefaultName = "block"

    def run(self, frame):
        return Struct(total=sum(frame))


@pytest.fixture
def butler(tmp_path):
    with Butler.create(tmp_path / "repo", unit_model_from_dict(MODEL)) as butler:
        butler.run = "raw"
        butler.insert_units("instrument", [{"instrument": "C"}])
        butler.insert_units("visit", [{"instrument": "C", "visit": v} for v in range(6)])
        butler.insert_units("block", [{"block": b} for b in "abc"])
        for visit in range(6):
            butler.put(visit, Frame, instrument="C", visit=visit)
        table = tmp_path / "plan.csv"
        table.write_text("visit,block\n0,a\n1,a\n2,b\n3,b\n1,b\n")
        load_relation(butler, "plan", table, constant={"instrument": "C"})
        yield butler


@pytest.mark.parametrize(
    ("where", "expected"),
    [("", {"a": [0, 1], "b": [1, 2, 3]}), ("visit > 1", {"b": [2, 3]}), ("block = 'a'", {"a": [0, 1]})],
)
def test_a_table_of_related_data_ids_says_what_a_quantum_gathers(butler, where, expected):
    dag = GraphBuilder(Pipeline().add("block", BlockTask), butler, output_run="u/r").makeGraph(where=where)
    gathered = {
        quantum.dataId["block"]: sorted(
            d.dataId["visit"] for datasets in quantum.inputs.values() for d in datasets
        )
        for quantum in dag.quanta
    }
    assert gathered == expected
