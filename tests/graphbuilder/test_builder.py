"""From a pipeline and a repository to a plan."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.time import Time
from surveys import RAW, TASKS, CalibrateTask, CoaddTask, IsrConfig, IsrTask, MergeTask, WarpTask, pipeline

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.expressions.language import parse
from supertask.butler.port import AbstractButler
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import EmptyPlanError, ExpressionError, PipelineError, PreflightError
from supertask.pipelines.pipeline import Pipeline
from supertask.quanta import Quantum
from supertask.tasks.supertask import SuperTask

Make = Callable[..., ScienceDag]


def counts(dag: ScienceDag) -> dict[str, int]:
    return {t.label: t.count for t in dag.tasks}


def test_the_whole_survey_is_planned(make: Make) -> None:
    dag = make()
    assert counts(dag) == {"bias": 2, "isr": 8, "calibrate": 8, "warp": 6, "coadd": 5, "merge": 3}
    assert len(dag) == dag.n_quanta == 32
    warp = next(
        q for q in dag.quanta if q.label == "warp" and q.dataId["visit"] == 1 and q.dataId["patch"] == 0
    )
    calexp = dag.dataset_type("calexp")
    assert {d["detector"] for d in warp.inputs[calexp]} == {0, 1}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        # Biases have neither visit nor band, so nothing narrows them.
        ("visit IN (1..2)", {"bias": 2, "isr": 4, "calibrate": 4, "warp": 4, "coadd": 4, "merge": 2}),
        ("band = 'r'", {"bias": 2, "isr": 4, "calibrate": 4, "warp": 4, "coadd": 3, "merge": 3}),
        ("detector = 0", {"bias": 1, "isr": 4, "calibrate": 4, "warp": 3, "coadd": 3, "merge": 2}),
        (
            "visit.exposure_time > 25",
            {"bias": 2, "isr": 4, "calibrate": 4, "warp": 2, "coadd": 2, "merge": 2},
        ),
        # Through the overlap: only detectors that lie on patch 2, and their biases.
        ("patch = 2", {"bias": 1, "isr": 1, "calibrate": 1, "warp": 1, "coadd": 1, "merge": 1}),
        (
            "patch IN (0, 2) AND band = 'g'",
            {"bias": 2, "isr": 2, "calibrate": 2, "warp": 1, "coadd": 1, "merge": 1},
        ),
        ("NOT visit = 4", {"bias": 2, "isr": 6, "calibrate": 6, "warp": 6, "coadd": 5, "merge": 3}),
    ],
)
def test_an_expression_narrows_all_that_is_related_and_nothing_else(
    make: Make, where: str, expected: dict[str, int]
) -> None:
    dag = make(where)
    assert counts(dag) == expected
    assert dag.meta.where == where


def test_a_bound_value_stands_for_a_name(make: Make) -> None:
    assert counts(make("visit = :v", bind={"v": 3}))["isr"] == 2


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        ("visit IN :v", np.array([1, 2]), 4),
        ("visit IN :v", {1, 2}, 4),
        ("visit IN :v", range(4, 0, -2), 4),
        ("visit IN :v", range(1, 10**9, 2), 4),
        ("visit IN :v", range(0), 0),
        ("visit = :v", np.int64(3), 2),
        ("visit.exposure_time < :v", np.float32(25), 4),
        ("visit.obs_time < :v", Time("2026-01-05T06:00:00.123456789", scale="tdb"), 8),
        ("visit.obs_time IN :v", Time(["2026-01-05"]), 8),
        ("visit.obs_time < :v", dt.datetime(2026, 1, 5), 8),
        ("visit.obs_time < :v", dt.date(2026, 1, 5), 8),
    ],
)
def test_a_saved_plan_keeps_bind_values_with_their_meaning(
    make: Make, tmp_path: Path, where: str, value: Any, expected: int
) -> None:
    bind = {"v": value, "unused": object()}
    dag = make(where, bind=bind)
    assert counts(dag)["isr"] == expected
    dag.save(tmp_path / "plan.h5")
    kept = ScienceDag.load(tmp_path / "plan.h5").meta.bind
    assert parse(where, dag.model, bind=kept) == parse(where, dag.model, bind=bind)


def test_an_empty_plan_says_which_step_left_nothing(make: Make) -> None:
    with pytest.raises(EmptyPlanError) as caught:
        make("visit = 77 AND detector = 9")
    assert "first step that left nothing was values of unit 'visit' selected" in str(caught.value)
    assert "visit = 77" in str(caught.value)


def test_a_typo_in_the_expression_is_pointed_at(make: Make) -> None:
    with pytest.raises(ExpressionError, match="did you mean 'visit'"):
        make("vist = 1")


def test_inputs_that_nobody_makes_are_named_with_the_nearest(butler: AbstractButler) -> None:
    tasks = Pipeline()
    tasks.add("isr", IsrTask, IsrConfig(raw="rawe"))
    with pytest.raises(PreflightError) as caught:
        GraphBuilder(tasks, butler, "u/run").makeGraph()
    assert "isr.raw: dataset type 'rawe' (did you mean 'raw'?)" in str(caught.value)
    assert "isr.bias: dataset type 'bias'" in str(caught.value)


def test_a_pipeline_without_tasks_is_refused(butler: AbstractButler) -> None:
    with pytest.raises(PreflightError, match="no tasks"):
        GraphBuilder(Pipeline(), butler, "u/run").makeGraph()


def test_two_producers_of_one_type_are_refused(butler: AbstractButler) -> None:
    tasks = pipeline()
    tasks.add("again", IsrTask)
    with pytest.raises(PipelineError, match="postisr"):
        GraphBuilder(tasks, butler, "u/run").makeGraph()


def test_a_type_that_the_repository_knows_otherwise_is_refused(butler: AbstractButler) -> None:
    butler.register_type(Dataset.subclass("postisr", ("detector",), "json"))
    with pytest.raises(PreflightError, match="postisr"):
        GraphBuilder(pipeline(), butler, "u/run").makeGraph()


def test_order_of_tasks_in_the_pipeline_does_not_matter(butler: AbstractButler) -> None:
    shuffled = Pipeline()
    for task in (MergeTask, WarpTask, IsrTask, CoaddTask, CalibrateTask):
        shuffled.add(task._DefaultName, task)
    shuffled.add("bias", pipeline()["bias"].task_class)
    one = GraphBuilder(shuffled, butler, "u/run").makeGraph()
    two = GraphBuilder(pipeline(), butler, "u/run").makeGraph()
    assert sorted(map(bytes, one.identities)) == sorted(map(bytes, two.identities))


class _Total(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(units=("exposure", "detector"), storage="json", doc="Raw.")
    out = OutputField(units=("exposure", "detector"), storage="json", doc="Out.")


class Declared(SuperTask):
    ConfigClass = _Total
    _DefaultName = "t"


class Grouped(Declared):
    def defineQuanta(self, repoGraph: Any) -> Any:
        units = self.config.quantum_units
        return repoGraph.group(self.config.raw, units).produce(self.config.out)


class ByHand(Declared):
    def defineQuanta(self, repoGraph: Any) -> list[Quantum]:
        raw, out = self.config.raw, self.config.out
        return [
            Quantum({raw: {d}}, {out: {repoGraph.addDataset(out(d.dataId))}})
            for d in reversed(list(repoGraph.datasets[raw]))
        ]


class Forgetful(Declared):
    def defineQuanta(self, repoGraph: Any) -> list[Quantum]:
        raw, out = self.config.raw, self.config.out
        return [Quantum({raw: {d}}, {out: {out(d.dataId)}}) for d in repoGraph.datasets[raw]]


class Greedy(Declared):
    def defineQuanta(self, repoGraph: Any) -> list[Quantum]:
        raw, out = self.config.raw, self.config.out
        return [
            Quantum({raw: {d}}, {out: {repoGraph.addDataset(out(d.dataId))}})
            for d in [*repoGraph.datasets[raw], *repoGraph.datasets[raw]]
        ]


def plan_of(butler: AbstractButler, task: type[SuperTask], label: str = "t") -> ScienceDag:
    tasks = Pipeline()
    tasks.add(label, task)
    return GraphBuilder(tasks, butler, "u/run").makeGraph()


def test_the_three_levels_of_writing_give_identical_plans(butler: AbstractButler) -> None:
    plans = [plan_of(butler, task) for task in (Declared, Grouped, ByHand)]
    for other in plans[1:]:
        assert list(other.quanta) == list(plans[0].quanta)
        assert [q.dataId for q in other.quanta] == [q.dataId for q in plans[0].quanta]
        assert np.array_equal(other.successors()[1], plans[0].successors()[1])
        for one, two in zip(other.quantum_tables, plans[0].quantum_tables, strict=True):
            for unit in one.columns:
                assert np.array_equal(one.columns[unit], two.columns[unit])


def test_an_output_that_was_not_added_is_named(butler: AbstractButler) -> None:
    with pytest.raises(PreflightError, match=r"output datasets not added; call repoGraph\.addDataset"):
        plan_of(butler, Forgetful)


def test_one_dataset_of_two_quanta_is_named(butler: AbstractButler) -> None:
    with pytest.raises(PreflightError, match="made by two quanta"):
        plan_of(butler, Greedy)


class Choosy(Declared):
    def adjustQuanta(self, quanta: Any, repoGraph: Any) -> Any:
        return quanta.where(quanta.column("detector") == 0, "quanta of detector 0")


class ChoosyByHand(ByHand):
    adjustQuanta = Choosy.adjustQuanta


class Inventive(Grouped):
    def defineQuanta(self, repoGraph: Any) -> Any:
        quanta = repoGraph.group(self.config.raw, self.config.quantum_units)
        return quanta.where(quanta.column("detector") == 0, "quanta of detector 0").produce(self.config.out)

    def adjustQuanta(self, quanta: Any, repoGraph: Any) -> Any:
        return repoGraph.group(self.config.raw, self.config.quantum_units)


class Trimming(IsrTask):
    """Of two biases, keeps the first."""

    _DefaultName = "bias"
    ConfigClass = TASKS[0].ConfigClass

    def adjustQuanta(self, quanta: Any, repoGraph: Any) -> Any:
        raws = self.config.raws
        first = quanta.input_column(raws, "exposure") == 901
        return quanta.trim(raws, first, "of exposure 901")


@pytest.mark.parametrize("task", [Choosy, ChoosyByHand])
def test_a_task_may_leave_out_quanta_and_the_plan_says_why(
    butler: AbstractButler, task: type[SuperTask], tmp_path: Path
) -> None:
    dag = plan_of(butler, task)
    assert {q.dataId["detector"] for q in dag.quanta} == {0}
    assert dag.n_datasets == 2 * dag.n_quanta + 6
    dag.save(tmp_path / "plan.h5")
    (part,) = ScienceDag.load(tmp_path / "plan.h5").left_out
    assert (part.label, part.why, len(part)) == ("t", "quanta of detector 0", 6)


def test_a_task_may_trim_the_inputs_of_its_quanta(butler: AbstractButler) -> None:
    dag = plan_of(butler, Trimming)
    assert [{d["exposure"] for d in q.inputs[RAW]} for q in dag.quanta] == [{901}, {901}]


def test_quanta_that_adjust_quanta_did_not_get_are_refused(butler: AbstractButler) -> None:
    with pytest.raises(PreflightError, match="did not get"):
        plan_of(butler, Inventive)


def test_identities_change_with_config_and_inputs_alone(butler: AbstractButler) -> None:
    first, again = plan_of(butler, Declared), plan_of(butler, Declared, label="other")
    assert np.array_equal(first.identities, again.identities)
    assert len({bytes(i) for i in first.identities}) == first.n_quanta


def test_nothing_of_a_plan_depends_on_what_else_is_in_the_repository(
    butler: AbstractButler, make: Make
) -> None:
    before = make("visit IN (1..2)")
    butler.insert_units("visit", [{"instrument": "Cam", "visit": 0, "physical_filter": "G1"}])
    butler.insert_units(
        "exposure",
        [{"instrument": "Cam", "exposure": 5, "visit": 0, "physical_filter": "G1", "obs_type": "science"}],
    )
    raw = butler.dataset_types()["raw"]
    butler.put({"sum": 0}, raw(instrument="Cam", exposure=5, detector=0), run="raw/all")
    after = make("visit IN (1..2)")
    assert np.array_equal(before.identities, after.identities)


@pytest.mark.parametrize("method", ["defineQuanta", "adjustQuanta"])
def test_what_goes_wrong_in_an_authors_method_is_told_with_task_and_place(butler, method: str) -> None:
    def fails(*_: Any) -> None:
        raise KeyError("night")

    broken = type("BrokenTask", (IsrTask,), {method: fails})
    steps = Pipeline().add("bias", TASKS[0]).add("isr", broken, IsrConfig())
    with pytest.raises(
        PreflightError, match=rf"{method} of 'isr' failed: KeyError: 'night' \(.*test_builder.py, line"
    ):
        GraphBuilder(steps, butler, "u/me/run").makeGraph()


@pytest.mark.parametrize("keep", [[0, 1], [1.0, float("nan")], ["yes", "no"]])
def test_which_quanta_stay_is_said_by_true_and_false_alone(butler, keep: list[Any]) -> None:
    def adjust(self: Any, quanta: Any, repoGraph: Any) -> Any:
        return quanta.where((keep * len(quanta))[: len(quanta)], "those that I like")

    picky = type("PickyTask", (IsrTask,), {"adjustQuanta": adjust})
    steps = Pipeline().add("bias", TASKS[0]).add("isr", picky, IsrConfig())
    with pytest.raises(PreflightError, match="task 'isr': which quanta to keep is said by true and false"):
        GraphBuilder(steps, butler, "u/me/run").makeGraph()


def test_values_to_select_by_are_of_the_kind_of_their_field(butler) -> None:
    class OddConfig(SuperTaskConfig):
        quantum_units = ("exposure", "detector")
        raw = InputField(
            ("exposure", "detector"), "json", select={"exposure.obs_type": 3, "exposure": "x"}, doc="Frame."
        )
        out = OutputField(("exposure", "detector"), "json", doc="Nothing.")

    odd = type("OddTask", (SuperTask,), {"ConfigClass": OddConfig, "_DefaultName": "odd"})
    with pytest.raises(PipelineError) as caught:
        GraphBuilder(Pipeline().add("odd", odd), butler, "u/me/run").makeGraph()
    assert "odd.raw, select: exposure.obs_type is of kind 'str', and 3 is not" in str(caught.value)
    assert "odd.raw, select: exposure is of kind 'int', and 'x' is not" in str(caught.value)


@pytest.mark.parametrize("where", [None, 3])
def test_an_expression_is_text(make: Make, where: Any) -> None:
    with pytest.raises(PreflightError, match="must be text"):
        make(where)


@pytest.mark.parametrize("where", ["", "visit IN (1, 3) AND detector = 0", "patch = 2"])
def test_a_plan_like_another_has_its_quanta_and_all_that_they_gather(make: Make, where: str) -> None:
    earlier = make(where)
    again = make(like=earlier)
    assert counts(again) == counts(earlier)
    assert np.array_equal(again.identities, earlier.identities)
