"""What two plans do not share, and why."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from shortages import DeepTask
from surveys import FLAT, RAW, IsrTask, MergeTask, Weights, fill, pipeline

from graphbuilder.builder import GraphBuilder
from graphbuilder.comparing.plandiff import Cause, PlanDiff, TaskDiff, plan_diff
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.memory import InMemoryButler
from supertask.butler.port import AbstractButler
from supertask.configs.config import field
from supertask.pipelines.pipeline import Pipeline
from supertask.quanta import Quantum


def plan(butler: Any, where: str = "", tasks: Pipeline | None = None, **options: Any) -> ScienceDag:
    return GraphBuilder(tasks or pipeline(), butler, "u/run", **options).makeGraph(where)


def of(found: PlanDiff, label: str) -> TaskDiff:
    (task,) = [t for t in found.tasks if t.label == label]
    # Whatever differs, every quantum is counted once.
    assert task.same + sum(task.changed.values()) + sum(task.only_a.values()) == task.a
    assert task.same + sum(task.changed.values()) + sum(task.only_b.values()) == task.b
    return task


def test_a_plan_is_the_same_as_itself_made_again(butler: AbstractButler) -> None:
    found = plan_diff(plan(butler), plan(butler))
    assert found.is_same
    assert not found.settings
    assert "the same 32 quanta" in str(found)


def test_a_condition_explains_what_only_one_plan_has(butler: AbstractButler) -> None:
    found = plan_diff(plan(butler), plan(butler, "band = 'r'"))
    assert of(found, "warp").only_a == {"band = 'r' is false": 2}
    assert [str(c) for c in found.settings] == ["expression: (not set) → band = 'r'"]


def test_a_gather_of_fewer_inputs_has_changed_by_its_inputs(butler: AbstractButler) -> None:
    found = plan_diff(plan(butler), plan(butler, "band = 'r'"))
    assert of(found, "merge").changed == {Cause.INPUTS: 2}


def test_what_a_task_left_out_is_told_with_its_reason(butler: AbstractButler) -> None:
    found = plan_diff(
        plan(butler, tasks=pipeline("merge")),
        plan(butler, tasks=pipeline("merge").replace("coadd", DeepTask)),
    )
    coadd = of(found, "coadd")
    assert coadd.only_a == {"left out: not among the coadds of two warps or more": 4}
    assert [c.what for c in coadd.changes] == ["class"]
    assert coadd.changed == {Cause.TASK: 1}


def test_a_config_field_is_told_from_and_to_and_what_follows_has_changed_upstream() -> None:
    butler = fill(InMemoryButler("imaging"))
    a, b = plan(butler), plan(butler)
    changed = attrs.evolve(b.tasks[2], config={**b.tasks[2].config, "sigma": {"clip": 3}}, key=b"x" * 16)
    c = ScienceDag(
        meta=b.meta, tasks=[*b.tasks[:2], changed, *b.tasks[3:]], quanta=b.quantum_tables, space=b.space,
        tables=b.datasets, producers=b.producers, identities=_shifted(b, 2),
    )  # fmt: skip
    found = plan_diff(a, c)
    assert [str(x) for x in of(found, "calibrate").changes] == ["config sigma: (not set) → {'clip': 3}"]
    assert of(found, "calibrate").changed == {Cause.TASK: 8}
    assert of(found, "warp").changed == {Cause.UPSTREAM: 6}


def _shifted(dag: ScienceDag, first: int) -> Any:
    """Return identities in which those of a task and all after it are others."""
    made = dag.identities.copy()
    made[dag.tasks[first].first :] ^= 1
    return made


def test_a_dataset_that_was_replaced_is_told_from_what_follows_upstream() -> None:
    def other(first: Any) -> Any:
        butler = fill(InMemoryButler("imaging"))
        old = butler.query(FLAT, detector=0, physical_filter="G1")
        butler.remove(old, run="calib")
        butler.put(first, FLAT(instrument="Cam", detector=0, physical_filter="G1"), run="calib")
        return butler

    found = plan_diff(plan(other({"sum": 1})), plan(other({"sum": 2})))
    assert of(found, "isr").changed == {Cause.REPLACED: 2}
    assert set(of(found, "calibrate").changed) == {Cause.UPSTREAM}


def test_parameters_are_compared(butler: AbstractButler) -> None:
    class Heavier(MergeTask):
        def defineQuanta(self, repoGraph: Any) -> list[Quantum]:
            return [
                Quantum(
                    q.inputs, q.outputs, parameters=Weights(q.parameters.factor + (q.parameters.factor > 1))
                )
                for q in super().defineQuanta(repoGraph)
            ]

    a = plan(butler)
    b = plan(butler, tasks=pipeline().replace("merge", Heavier))
    same_task = attrs.evolve(b.tasks[-1], key=a.tasks[-1].key)
    c = ScienceDag(
        meta=b.meta, tasks=[*b.tasks[:-1], same_task], quanta=b.quantum_tables, space=b.space,
        tables=b.datasets, producers=b.producers, identities=b.identities,
    )  # fmt: skip
    changed = of(plan_diff(a, c), "merge").changed
    assert changed[Cause.PARAMETERS] == 1


def test_tasks_of_one_plan_only(butler: AbstractButler) -> None:
    found = plan_diff(plan(butler), plan(butler, tasks=pipeline("merge")))
    assert of(found, "merge").only_a == {"the second plan has no such task": 3}
    assert of(plan_diff(plan(butler, tasks=pipeline("merge")), plan(butler)), "merge").only_b == {
        "the first plan has no such task": 3
    }


def test_plans_of_different_repositories_are_compared_by_values() -> None:
    a, b = fill(InMemoryButler("imaging")), fill(InMemoryButler("imaging"))
    b.insert_units("exposure", [{"instrument": "Cam", "exposure": 99, "visit": 1, "physical_filter": "G1",
                                 "obs_type": "science"}])  # fmt: skip
    b.put({"sum": 0}, RAW(instrument="Cam", exposure=99, detector=1), run="raw/all")
    found = plan_diff(plan(a), plan(b))
    assert found.settings[0].what == "repository"
    isr = of(found, "isr")
    assert (isr.same, isr.only_b) == (8, {"'exposure' is not there, or not selected": 1})
    assert of(found, "calibrate").changed == {Cause.INPUTS: 1}


def test_every_two_plans_of_parts_of_a_survey_are_accounted_for(butler: AbstractButler) -> None:
    parts = ["", "visit IN (1..2)", "visit IN (2..3)", "band = 'g'", "patch = 1", "detector = 0", "visit = 4"]
    plans = [plan(butler, where) for where in parts]
    for a in plans:
        for b in plans:
            found = plan_diff(a, b)
            back = plan_diff(b, a)
            for task in found.tasks:
                of(found, task.label)
                assert of(back, task.label).same == task.same
            assert found.is_same == (a is b)


def test_plans_read_from_files_compare_alike(butler: AbstractButler, tmp_path: Any) -> None:
    a, b = plan(butler), plan(butler, "band = 'r'")
    a.save(tmp_path / "a.h5")
    b.save(tmp_path / "b.h5")
    assert plan_diff(ScienceDag.load(tmp_path / "a.h5"), ScienceDag.open(tmp_path / "b.h5")) == plan_diff(
        a, b
    )


@pytest.mark.parametrize("where", ["", "band = 'r'"])
def test_json_says_the_same(butler: AbstractButler, where: str) -> None:
    told = plan_diff(plan(butler), plan(butler, where)).to_dict()
    assert told["same"] == (not where)
    assert sum(t["same"] for t in told["tasks"]) == (32 if not where else 18)


class LevelConfig(IsrTask.ConfigClass):
    level: float = field(1.0, doc="Level.")


class LevelTask(IsrTask):
    ConfigClass = LevelConfig


def test_overrides_of_some_data_change_their_quanta_alone(butler: AbstractButler) -> None:
    plain = pipeline().replace("isr", LevelTask)
    for_r = plain.copy()
    for_r.add_override("isr", {"band": "r"}, {"level": 5})
    found = plan_diff(plan(butler, tasks=plain), plan(butler, tasks=for_r))
    isr = of(found, "isr")
    assert (isr.same, isr.changed) == (4, {Cause.TASK: 4})
    assert [str(c) for c in isr.changes] == ["config level, 4 quanta: 1.0 → 5.0"]
    assert of(found, "calibrate").changed == {Cause.UPSTREAM: 4}


def test_one_value_for_all_is_told_from_and_to(butler: AbstractButler) -> None:
    plain = pipeline().replace("isr", LevelTask)
    other = plain.copy()
    other.applyConfigOverrides(["isr:level=2"])
    isr = of(plan_diff(plan(butler, tasks=plain), plan(butler, tasks=other)), "isr")
    assert [str(c) for c in isr.changes] == ["config level: 1.0 → 2.0"]
    assert isr.changed == {Cause.TASK: 8}
