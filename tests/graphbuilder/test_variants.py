"""Overrides on units of data: which quanta they reach, and what a plan keeps of it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphbuilder import GraphBuilder, QuantumBatcher, ScienceDag
from graphbuilder.dag.merge import merge
from graphbuilder.explain import explain
from graphbuilder.shards import Shard
from supertask.butler.memory import InMemoryButler
from supertask.configs.config import field
from supertask.configs.identities import task_key
from supertask.connections.fields import OutputField
from supertask.errors import EmptyPlanError, PipelineError
from supertask.pipelines.dataoverrides import combined, drops
from supertask.pipelines.pipeline import Pipeline
from tests.graphbuilder import surveys

ISR = "isr"


class LevelConfig(surveys.IsrConfig):
    level: float = field(1.0, doc="Level.", min=0)
    order: int = field(1, doc="Order.")


class LevelTask(surveys.IsrTask):
    ConfigClass = LevelConfig


class AgainConfig(LevelConfig):
    postisr = OutputField(("exposure", "detector"), "json", doc="Reduced again.", name="again")


class AgainTask(LevelTask):
    ConfigClass = AgainConfig


class CarefulTask(LevelTask):
    version = "2"


@pytest.fixture(scope="module")
def survey():
    with InMemoryButler("imaging") as butler:
        yield surveys.fill(butler)


@pytest.fixture
def pipeline():
    return surveys.pipeline().replace("isr", LevelTask)


def plan(survey, pipeline, where="", **options):
    return GraphBuilder(pipeline, survey, "u/test/run").makeGraph(where, **options)


def levels(dag, label=ISR, name="level"):
    node = dag.task(label)
    records = dag.records(range(node.first, node.first + node.count))
    return {
        (r.quantum.dataId["exposure"], r.quantum.dataId["detector"]): node.variant(r.variant).config[name]
        for r in records
    }


def test_without_overrides_a_plan_has_no_variants(survey, pipeline):
    dag = plan(survey, pipeline)
    assert all(not node.variants for node in dag.tasks)
    assert all(table.variants is None for table in dag.quantum_tables)


def test_quanta_get_what_their_data_select_implied_units_too(survey, pipeline):
    pipeline.add_override("isr", {"band": "r"}, {"level": 5})
    pipeline.add_override("isr", "exposure = 101 AND detector = 1", {"order": 3})
    dag = plan(survey, pipeline)
    found = levels(dag)
    assert {e for (e, _), level in found.items() if level == 5} == {102, 103}
    assert [key for key, order in levels(dag, name="order").items() if order == 3] == [(101, 1)]
    assert len(dag.task("isr").variants) == 3
    assert dag.quantum_tables[1].variants.dtype == np.uint8


def test_fields_of_units_and_expressions_choose_too(survey, pipeline):
    pipeline.replace("calibrate", surveys.CalibrateTask)
    pipeline.add_override("isr", "visit.exposure_time > 25 AND NOT detector = 0", {"level": 5})
    assert [k for k, v in levels(plan(survey, pipeline)).items() if v == 5] == [(103, 1), (104, 1)]


def test_the_identity_is_that_of_the_configuration_however_it_came_about(survey, pipeline):
    everywhere = plan(survey, pipeline.copy().applyConfigOverrides(["isr:level=5"]))
    dag = plan(survey, pipeline.copy().add_override("isr", {"band": "r"}, {"level": 5}))
    plain = plan(survey, pipeline)
    for i in range(dag.n_quanta):
        if dag.task_of(i).label != "isr":
            continue
        changed = dag.record(i).quantum.dataId["exposure"] in (102, 103)
        other = everywhere if changed else plain
        assert bytes(dag.identities[i]) == bytes(other.identities[i])
    one = plan(survey, pipeline.copy().add_override("isr", {}, {"level": 5}))
    assert bytes(one.identities.tobytes()) == bytes(everywhere.identities.tobytes())
    assert len(one.task("isr").variants) == 1
    assert one.quantum_tables[1].variants is None


def test_what_an_override_drops_is_left_out_with_all_that_hangs_on_it(survey, pipeline):
    pipeline.add_override("isr", {"exposure": [101, 102, 103, 104], "detector": 1}, drop=True)
    pipeline.add_override("isr", {"exposure": 104, "detector": 1}, drop=False, rank=11)
    dag = plan(survey, pipeline)
    assert set(levels(dag)) == {(101, 0), (102, 0), (103, 0), (104, 0), (104, 1)}
    calibrated = [dag.quanta[i].dataId for i in range(dag.n_quanta) if dag.task_of(i).label == "calibrate"]
    assert {(d["visit"], d["detector"]) for d in calibrated} == {(1, 0), (2, 0), (3, 0), (4, 0), (4, 1)}
    told = str(explain(dag, "isr", {"exposure": 101, "detector": 1}, survey))
    assert "left out" in told
    assert "test_variants.py" in told
    assert "detector = 1" in told
    assert "left out" in str(explain(dag, "calibrate", {"visit": 1, "detector": 1}, survey))


def test_another_class_may_do_the_work_where_data_match(survey, pipeline):
    pipeline.add_override("isr", {"band": "g"}, task_class=CarefulTask)
    dag = plan(survey, pipeline)
    node = dag.task("isr")
    careful = next(v for v in node.variants if v.overrides)
    assert careful.class_path.endswith(":CarefulTask")
    assert careful.version == "2"
    assert careful.key == task_key(careful.class_path, "2", LevelConfig())


def test_two_of_equal_rank_that_disagree_are_named_with_an_example(survey, pipeline):
    pipeline.add_override("isr", {"band": "r"}, {"level": 5}, source="one.yaml:3:5")
    pipeline.add_override("isr", {"detector": 1}, {"level": 6}, source="two.yaml:4:5")
    with pytest.raises(PipelineError) as error:
        plan(survey, pipeline)
    said = str(error.value)
    assert "one.yaml:3:5 (when band = 'r') and two.yaml:4:5 (when detector = 1) both match" in said
    assert "exposure=102" in said
    assert "level: 5.0 and 6.0" in said or "level: 6.0 and 5.0" in said
    pipeline.remove_override(pipeline.overrides[1])
    pipeline.add_override("isr", {"detector": 1}, {"level": 6}, rank=11)
    assert levels(plan(survey, pipeline))[102, 1] == 6


def test_two_that_disagree_but_never_meet_are_no_error(survey, pipeline):
    pipeline.add_override("isr", {"band": "r"}, {"level": 5}).add_override("isr", {"band": "g"}, {"level": 6})
    assert set(levels(plan(survey, pipeline)).values()) == {5, 6}


def test_a_null_matches_nothing(survey):
    class BiasConfig(surveys.BiasConfig):
        quantum_units = ("exposure", "detector")
        raws = surveys.InputField(("exposure", "detector"), "json", name="raw", multiple=True, doc="Raws.")
        bias = surveys.OutputField(("exposure", "detector"), "json", name="own_bias", doc="Bias.")

    class BiasTask(surveys.SuperTask):
        ConfigClass = BiasConfig
        _DefaultName = "bias"

    pipeline = Pipeline().add("bias", BiasTask)
    pipeline.add_override("bias", {"band": "r"}, drop=True)
    dag = plan(survey, pipeline)
    assert {q.dataId["exposure"] for q in dag.quanta} == {101, 104, 901, 902}


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("bnd = 'r'", "did you mean"),
        ("patch = 1", "does not tell its patch"),
        ("band = ", "override of 'isr'"),
        ("EXISTS(flat)", "say it in the plan's own expression"),
        ({"exposure": "many"}, "override of 'isr'"),
    ],
)
def test_conditions_that_cannot_be_decided_are_refused(survey, pipeline, when, words):
    pipeline.add_override("isr", when, {"level": 5})
    with pytest.raises(PipelineError) as error:
        plan(survey, pipeline)
    assert words in str(error.value)
    assert "test_variants.py:" in str(error.value)


def test_variants_stand_in_the_plan_file_and_in_its_parts(survey, pipeline, tmp_path):
    pipeline.add_override("isr", {"band": "r"}, {"level": 5})
    dag = plan(survey, pipeline)
    dag.save(tmp_path / "plan.h5")
    for again in (ScienceDag.load(tmp_path / "plan.h5"), ScienceDag.open(tmp_path / "plan.h5")):
        assert levels(again) == levels(dag)
        assert again.task("isr").variants == dag.task("isr").variants
        part = again.subset(["isr"], dataId={"detector": 1})
        assert levels(part) == {k: v for k, v in levels(dag).items() if k[1] == 1}


def test_bundles_never_mix_variants(survey, pipeline):
    pipeline.add_override("isr", {"band": "r"}, {"level": 5}).add_override(
        "isr", {"detector": 1}, {"order": 2}
    )
    dag = plan(survey, pipeline)
    bundling = QuantumBatcher(max_quanta=3).bundles(dag)
    assert sorted(bundling.indices.tolist()) == list(range(dag.n_quanta))
    for b in range(len(bundling)):
        records = dag.records(bundling[b].tolist())
        assert len({(r.label, r.variant) for r in records}) == 1


def test_explain_names_the_override(survey, pipeline):
    pipeline.add_override("isr", {"band": "r"}, {"level": 5}, source="camera.yaml:3:9")
    dag = plan(survey, pipeline)
    told = str(explain(dag, "isr", {"exposure": 102, "detector": 0}))
    assert "camera.yaml:3:9 (when band = 'r')" in told
    assert "level = 5.0 (elsewhere 1.0)" in told
    assert "camera.yaml" not in str(explain(dag, "isr", {"exposure": 101, "detector": 0}))


overrides = st.lists(
    st.tuples(
        st.one_of(
            st.fixed_dictionaries(
                {},
                optional={
                    "band": st.sampled_from(["g", "r", ["g", "r"]]),
                    "detector": st.sampled_from([0, 1, [0, 1]]),
                    "exposure": st.lists(st.integers(101, 104), min_size=1, max_size=3),
                },
            ),
        ),
        st.one_of(
            st.just("drop"),
            st.fixed_dictionaries({"level": st.integers(2, 5)}),
            st.fixed_dictionaries({"order": st.integers(2, 5), "level": st.integers(2, 5)}),
        ),
    ),
    max_size=4,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(overrides)
def test_the_variant_of_each_quantum_is_what_a_loop_finds(survey, said):
    pipeline = surveys.pipeline().replace("isr", LevelTask)
    for rank, (when, what) in enumerate(said):
        if what == "drop":
            pipeline.add_override("isr", when, drop=True, rank=rank)
        else:
            pipeline.add_override("isr", when, what, rank=rank)
    expected = {}
    for visit, name in surveys.VISITS.items():
        for detector in surveys.DETECTORS:
            told = {"band": surveys.FILTERS[name], "detector": detector, "exposure": 100 + visit}
            matching = [
                o
                for o in pipeline.overrides
                if all(told[u] in (v if isinstance(v, list) else [v]) for u, v in o.when.items())
            ]
            if drops(matching) is None:
                config = combined(pipeline["isr"], matching, {}).config
                expected[100 + visit, detector] = (config.level, config.order)
    dag = plan(survey, pipeline)
    found = (
        {k: (v, levels(dag, name="order")[k]) for k, v in levels(dag).items()}
        if "isr" in [t.label for t in dag.tasks if t.count]
        else {}
    )
    assert found == expected


def test_many_overrides_on_many_quanta_are_told_apart(survey, pipeline):
    chance = random.Random(1)
    for k in range(70):
        pipeline.add_override(
            "isr", {"exposure": chance.sample([101, 102, 103, 104], 2)}, {"order": k}, rank=k
        )
    dag = plan(survey, pipeline)
    for (exposure, _), order in levels(dag, name="order").items():
        assert order == max(o.config["order"] for o in pipeline.overrides if exposure in o.when["exposure"])


def test_by_source_a_variant_of_another_class_has_that_ones_code(survey, pipeline):
    pipeline.add_override("isr", {"band": "g"}, task_class=CarefulTask)
    dag = GraphBuilder(pipeline, survey, "u/test/run", identity="source").makeGraph()
    everywhere = surveys.pipeline().replace("isr", CarefulTask)
    other = GraphBuilder(everywhere, survey, "u/test/run", identity="source").makeGraph()
    careful = next(v for v in dag.task("isr").variants if v.overrides)
    assert careful.key == other.task("isr").key


def test_shards_put_together_have_the_variants_of_the_whole(survey, pipeline, tmp_path):
    pipeline.add_override("isr", {"band": "r"}, {"level": 5}).add_override(
        "isr", {"detector": 1}, {"order": 2}
    )
    whole = plan(survey, pipeline)
    paths = []
    for i in range(2):
        path = tmp_path / f"{i}.h5"
        try:
            plan(survey, pipeline, shard=Shard("patch", i, 2)).save(path)
        except EmptyPlanError:
            continue
        paths.append(path)
    folder = tmp_path / "columns"
    folder.mkdir()
    merged = merge(paths, folder)
    for name in ("level", "order"):
        expected = {k: v for k, v in levels(whole, name=name).items() if k in levels(merged)}
        assert levels(merged, name=name) == expected
    assert {2, 5} <= {*levels(merged).values(), *levels(merged, name="order").values()}


# -- contracts -------------------------------------------------------------------------------------


def test_a_contract_that_an_override_breaks_is_named_with_it_and_an_example(survey, pipeline):
    pipeline.add_contract("isr.level < 4", "more saturates")
    pipeline.add_override("isr", {"band": "r"}, {"level": 5})
    pipeline.add_override("isr", {"detector": 1}, {"order": 3})
    pipeline.check()
    with pytest.raises(PipelineError) as caught:
        plan(survey, pipeline)
    first, second = caught.value.problems
    for problem in (first, second):
        assert "contract 'isr.level < 4' does not hold: more saturates (isr.level is 5.0, " in problem
        assert "exposure=102" in problem
        assert "(when band = 'r')" in problem
    assert ("detector = 1" in first) != ("detector = 1" in second)
    assert plan(survey, pipeline, "exposure != 102 AND exposure != 103").n_quanta


def test_a_contract_between_tasks_is_held_against_variants_whose_data_meet(survey, pipeline):
    made = pipeline.insert("again", AgainTask, after="isr").add_contract("isr.level == again.level")
    made.add_override("isr", {"band": "r"}, {"level": 5})
    made.add_override("again", {"band": "r"}, {"level": 5})
    assert len(plan(survey, made).task("again").variants) == 2
    made.add_override("again", "exposure = 102 AND detector = 0", {"level": 6}, rank=12)
    with pytest.raises(PipelineError) as caught:
        plan(survey, made)
    (problem,) = caught.value.problems
    assert "isr.level is 5.0" in problem
    assert "again.level is 6.0" in problem
    assert "exposure=102" in problem
    assert "exposure = 102 AND detector = 0" in problem


def test_contracts_do_not_speak_of_quanta_that_are_dropped(survey, pipeline):
    pipeline.add_contract("isr.level < 4")
    pipeline.add_override("isr", {"band": "r"}, {"level": 5})
    pipeline.add_override("isr", {"band": "r"}, drop=True)
    assert plan(survey, pipeline).n_quanta


def test_an_empty_value_can_be_seen(survey, pipeline):
    dag = plan(survey, pipeline.add_override("isr", {"band": "r"}, {"policy.memory": "2 GB"}))
    changes = [v.changes for v in dag.task("isr").variants if v.changes]
    assert [c["policy.memory"][:2] for c in changes] == [("''", "2 GB")]
