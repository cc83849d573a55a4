"""Identities of long chains and wide gathers cost what their edges cost; names of old go on."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from executors.inprocess import InProcessFramework
from graphbuilder.builder import GraphBuilder
from graphbuilder.reuse.planning import Reuse
from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.configs.config import field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import PreflightError
from supertask.pipelines.pipeline import Pipeline
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

START = Dataset.subclass("start", ("instrument",), "json")


def make_repository(root, visits: int) -> Butler:
    butler = Butler.create(root)
    butler.insert_units("instrument", [{"instrument": "Cam"}])
    butler.insert_units("visit", [{"instrument": "Cam", "visit": v} for v in range(visits)])
    butler.create_collection("raw", CollectionKind.RUN)
    butler.put(1, START(instrument="Cam"), run="raw")
    return butler


class EachConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    start = InputField(units=("instrument",), storage="json", doc="Where it begins.")
    one = OutputField(units=("visit",), storage="json", doc="One of many.")
    level: float = field(1.0, doc="Level.")


class EachTask(SuperTask):
    ConfigClass = EachConfig
    _DefaultName = "each"

    def run(self, start):
        return Struct(one=start * self.config.level)


class AllConfig(SuperTaskConfig):
    quantum_units = ("instrument",)
    one = InputField(units=("visit",), storage="json", doc="Many.")
    all = OutputField(units=("instrument",), storage="json", doc="Of them all.")


class AllTask(SuperTask):
    ConfigClass = AllConfig
    _DefaultName = "all"

    def run(self, one):
        return Struct(all=sum(one))


class StepConfig(SuperTaskConfig):
    quantum_units = ("instrument",)
    before = InputField(units=("instrument",), storage="json", doc="The step before.")
    after = OutputField(units=("instrument",), storage="json", doc="This step.")


class StepTask(SuperTask):
    ConfigClass = StepConfig
    _DefaultName = "step"

    def run(self, before):
        return Struct(after=before)


def gather() -> Pipeline:
    pipeline = Pipeline("Many into one.")
    pipeline.add("each", EachTask)
    pipeline.add("all", AllTask)
    return pipeline


def identify_chain(n: int) -> float:
    """Identify a chain of n quanta by the functions that planning uses; return CPU seconds."""
    from graphbuilder.dag.identity import FieldInput, dataset_identities, quantum_identities
    from supertask.repograph.columns import Edges
    from supertask.repograph.space import UnitSpace
    from supertask.repograph.tables import QuantumTable
    from supertask.unitmodels import load_unit_model

    space = UnitSpace(load_unit_model("imaging"), {})
    table = QuantumTable("step", space, {}, 1, {START: Edges(1)}, {}, {}, None, None)
    one = np.zeros((1, 16), np.uint8)
    begin = time.process_time()
    for _ in range(n):
        made = dataset_identities(START, one, None, np.array([0]))
        one = quantum_identities(
            bytes(16), table, [FieldInput("before", Edges(1), lambda _, m=made: m)], dict
        )
    assert one.any()
    return time.process_time() - begin


def test_a_gather_of_a_hundred_thousand_costs_what_its_edges_cost(tmp_path):
    """And changes when one of them does."""
    with make_repository(tmp_path / "repo", 100_000) as butler:
        builder = GraphBuilder(gather(), butler, "u/a", collections=["raw"])
        dag = builder.makeGraph()
        assert [t.count for t in dag.tasks] == [100_000, 1]
        begin = time.process_time()
        again = builder.makeGraph()
        spent = time.process_time() - begin
        assert (again.identities == dag.identities).all()
        fewer = builder.makeGraph("visit < 99999")
        assert fewer.identities[-1].tobytes() != dag.identities[-1].tobytes()
    # Two edges for each of 100,000 quanta: 5 µs for each would do on a machine of its own.
    assert spent < 10


def test_a_chain_of_a_hundred_thousand_costs_what_its_edges_cost():
    limit = sys.getrecursionlimit()
    short, long = identify_chain(1_000), identify_chain(100_000)
    assert sys.getrecursionlimit() == limit
    assert long / 100 < 5 * max(short, 0.01)


def test_a_chain_of_tasks_is_planned_without_recursion(tmp_path):
    pipeline = Pipeline("One after another.")
    n = 300
    for i in range(n):
        names = {"before": f"step{i - 1}" if i else "start", "after": f"step{i}"}
        pipeline.add(f"s{i}", StepTask, StepConfig(**names))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(250)
    try:
        with make_repository(tmp_path / "repo", 1) as butler:
            dag = GraphBuilder(pipeline, butler, "u/a", collections=["raw"]).makeGraph()
    finally:
        sys.setrecursionlimit(limit)
    assert dag.n_quanta == n
    assert len({i.tobytes() for i in dag.identities}) == n


# -- names of old ---------------------------------------------------------------------------------


class RenamedConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    start = InputField(units=("instrument",), storage="json", doc="Where it begins.")
    one = OutputField(units=("visit",), storage="json", doc="One of many.")
    height: float = field(1.0, doc="Was level.")
    renamed_fields = {"level": "height"}


def named(name, *former, config=EachConfig):
    return type(name, (EachTask,), {"ConfigClass": config, "former_names": former, "__module__": __name__})


OLD = f"{__name__}:EachTask"


def one_task(task, **values) -> Pipeline:
    pipeline = Pipeline("One step.")
    pipeline.add("each", task, task.ConfigClass(**values))
    return pipeline


@pytest.fixture
def made(tmp_path):
    """What the old class made."""
    with make_repository(tmp_path / "repo", 3) as butler:
        dag = GraphBuilder(one_task(EachTask, level=2.0), butler, "u/old", collections=["raw"]).makeGraph()
        assert InProcessFramework().execute(dag, butler).exit_code == 0
        yield butler


def test_what_a_class_made_under_its_old_name_is_found(made):
    moved = named("MovedTask", OLD)
    dag = GraphBuilder(one_task(moved, level=2.0), made, "u/new", collections=["raw"]).makeGraph(
        reuse=Reuse()
    )
    assert dag.n_quanta == 0
    fresh = GraphBuilder(
        one_task(named("FreshTask"), level=2.0), made, "u/new", collections=["raw"]
    ).makeGraph(reuse=Reuse())
    assert fresh.n_quanta == 3


def test_two_tasks_that_claim_one_ancestor_are_refused(made):
    pipeline = one_task(named("MovedTask", OLD))
    pipeline.add("other", named("OtherTask", OLD), EachConfig(one="two"))
    with pytest.raises(PreflightError, match=r"is what both .* say they were or are"):
        GraphBuilder(pipeline, made, "u/new", collections=["raw"]).makeGraph()


def test_one_that_claims_the_name_of_another_of_today_is_refused(made):
    pipeline = one_task(EachTask)
    pipeline.add("other", named("OtherTask", OLD), EachConfig(one="two"))
    with pytest.raises(PreflightError, match="take it out of former_names"):
        GraphBuilder(pipeline, made, "u/new", collections=["raw"]).makeGraph()


def test_what_was_made_under_a_fields_old_name_is_found(made):
    task = named("MovedTask", OLD, config=RenamedConfig)
    dag = GraphBuilder(one_task(task, height=2.0), made, "u/new", collections=["raw"]).makeGraph(
        reuse=Reuse()
    )
    assert dag.n_quanta == 0
    other = GraphBuilder(one_task(task, height=3.0), made, "u/new", collections=["raw"]).makeGraph(
        reuse=Reuse()
    )
    assert other.n_quanta == 3
