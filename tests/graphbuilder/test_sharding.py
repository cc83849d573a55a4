"""Planning in shards gives the plan that planning in one piece gives, or says why it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from surveys import CalibrateConfig, CalibrateTask, fill, pipeline

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.merge import merge
from graphbuilder.sharding import plan_in_shards
from graphbuilder.shards import Shard, check_within
from supertask.butler.memory import InMemoryButler
from supertask.butler.repository import Butler
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.errors import EmptyPlanError, ExpressionError, PreflightError
from supertask.quanta import Quantum
from supertask.tasks.supertask import SuperTask


@pytest.fixture
def survey(tmp_path: Path) -> Butler:
    with Butler.create(tmp_path / "repo") as butler:
        fill(butler)
        return butler


def planner(butler: Any, *leave_out: str) -> GraphBuilder:
    return GraphBuilder(pipeline(*leave_out), butler, "u/test/run")


def assert_same(one: ScienceDag, other: ScienceDag) -> None:
    assert [(t.label, t.key, t.count) for t in one.tasks] == [(t.label, t.key, t.count) for t in other.tasks]
    by_identity = [
        {r.identity: (r.quantum, r.locations, r.identities) for r in dag.records(range(dag.n_quanta))}
        for dag in (one, other)
    ]
    assert by_identity[0] == by_identity[1]
    assert {t.name: len(table) for t, table in one.datasets.items()} == {
        t.name: len(table) for t, table in other.datasets.items()
    }
    assert sorted(one.levels()) == sorted(other.levels())


def in_shards(planning: GraphBuilder, folder: Path, unit: str, count: int, where: str = "") -> list[Path]:
    paths = []
    for i in range(count):
        path = folder / f"shard-{i}.h5"
        try:
            planning.makeGraph(where, shard=Shard(unit, i, count)).save(path)
        except EmptyPlanError:
            continue
        paths.append(path)
    return paths


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_put_together_are_the_plan_made_in_one_piece(
    survey: Butler, tmp_path: Path, count: int
) -> None:
    paths = in_shards(planner(survey), tmp_path, "patch", count)
    assert_same(merge(paths, tmp_path), planner(survey).makeGraph())


def test_expression_narrows_shards_as_it_narrows_the_whole(survey: Butler, tmp_path: Path) -> None:
    for where in ("visit IN (1, 3)", "band = 'r'", "patch = 1"):
        folder = tmp_path / where.replace(" ", "")
        folder.mkdir()
        paths = in_shards(planner(survey), folder, "patch", 2, where)
        assert_same(merge(paths, folder), planner(survey).makeGraph(where))


def test_processes_plan_shards_and_save_one_file(survey: Butler, tmp_path: Path) -> None:
    path = tmp_path / "plan.h5"
    dag = plan_in_shards(planner(survey), path, by="patch", shards=3, processes=2)
    assert_same(dag, planner(survey).makeGraph())
    assert_same(ScienceDag.load(path), dag)
    assert not list(tmp_path.glob(".tmp-*"))


def test_merged_plan_keeps_what_was_left_out_and_says_that_counts_are_sums(
    survey: Butler, tmp_path: Path
) -> None:
    whole = planner(survey).makeGraph()
    dag = merge(in_shards(planner(survey), tmp_path, "patch", 3), tmp_path)
    assert {(part.label, part.why) for part in dag.left_out} == {(p.label, p.why) for p in whole.left_out}
    planned = {(label, n) for label, what, n in dag.meta.steps if what == "quanta planned"}
    assert planned == {(node.label, node.count) for node in whole.tasks}
    assert any("in all 3 shards together" in what for _, what, _ in dag.meta.steps)


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("patsh", "did you mean 'patch'"),
        ("band", "gathers"),
        ("telescope", "no unit 'telescope'"),
    ],
)
def test_unit_that_shards_cannot_be_made_by_is_refused(
    survey: Butler, tmp_path: Path, unit: str, said: str
) -> None:
    with pytest.raises(PreflightError, match=said):
        plan_in_shards(planner(survey), tmp_path / "plan.h5", by=unit)
    assert not (tmp_path / "plan.h5").exists()


def test_unit_that_no_task_has_is_refused(survey: Butler, tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match="no task has quanta by tract"):
        plan_in_shards(planner(survey, "warp", "coadd", "merge"), tmp_path / "plan.h5", by="tract")


def test_mistake_in_the_expression_is_told_once_before_any_process(survey: Butler, tmp_path: Path) -> None:
    with pytest.raises(ExpressionError, match="vizit"):
        plan_in_shards(planner(survey), tmp_path / "plan.h5", by="patch", where="vizit = 1")


def test_nothing_to_do_in_any_shard_is_an_empty_plan(survey: Butler, tmp_path: Path) -> None:
    with pytest.raises(EmptyPlanError, match="no shard"):
        plan_in_shards(
            planner(survey), tmp_path / "plan.h5", by="patch", where="visit = 77 AND exposure = 78"
        )


class FailingTask(CalibrateTask):
    """Cannot say what its quanta are."""

    _DefaultName = "calibrate"

    def defineQuanta(self, repoGraph: Any) -> Any:
        raise PreflightError("the table of fields is missing")


def test_shard_that_cannot_be_planned_says_which_and_why(survey: Butler, tmp_path: Path) -> None:
    planning = planner(survey)
    planning.pipeline.replace("calibrate", FailingTask)
    with pytest.raises(PreflightError, match=r"shard \d of 2 by patch: .*table of fields is missing"):
        plan_in_shards(planning, tmp_path / "plan.h5", by="patch", shards=2)
    assert not list(tmp_path.glob(".tmp-*"))


class CompareConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    calexps = InputField(
        units=("visit", "detector"), storage="json", name="calexp", multiple=True, doc="Of the night before."
    )
    compared = OutputField(units=("visit",), storage="json", doc="Comparison.")


class CompareTask(SuperTask):
    """Reads frames of the visit before its own."""

    ConfigClass = CompareConfig
    _DefaultName = "compare"

    def defineQuanta(self, repoGraph: Any) -> list[Quantum]:
        calexp, compared = self.config.calexps, self.config.compared
        by_visit: dict[int, set[Any]] = {}
        for dataset in repoGraph.datasets[calexp]:
            by_visit.setdefault(dataset["visit"], set()).add(dataset)
        return [
            Quantum(
                {calexp: by_visit[visit - 1]},
                {compared: {repoGraph.addDataset(compared(instrument="Cam", visit=visit))}},
            )
            for visit in by_visit
            if visit - 1 in by_visit
        ]


def test_task_that_reaches_across_what_shards_are_divided_by_is_refused(survey: Butler) -> None:
    planning = planner(survey)
    planning.pipeline.add("compare", CompareTask)
    shard = Shard("visit", 0, 2)
    dag = planning.makeGraph()
    with pytest.raises(PreflightError, match="task 'compare' reads 'calexp' of another visit than its own"):
        check_within(dag, planning.pipeline, shard)


def test_shards_that_disagree_are_refused(survey: Butler, tmp_path: Path) -> None:
    paths = in_shards(planner(survey), tmp_path, "patch", 2)
    dag = ScienceDag.load(paths[1])
    dag.identities = np.array(dag.identities)
    dag.identities[0] ^= 1
    dag.save(paths[1])
    with pytest.raises(PreflightError, match="planned differently in two shards"):
        merge(paths, tmp_path)


def test_plans_that_are_not_shards_of_one_are_refused(survey: Butler, tmp_path: Path) -> None:
    paths = in_shards(planner(survey), tmp_path, "patch", 2)
    dag = ScienceDag.load(paths[1])
    dag.meta = attrs.evolve(dag.meta, output_run="u/other")
    dag.save(paths[1])
    with pytest.raises(PreflightError, match="differ in output_run"):
        merge(paths, tmp_path)


def test_repository_in_memory_cannot_be_planned_by_other_processes(tmp_path: Path) -> None:
    with InMemoryButler("imaging") as butler, pytest.raises(PreflightError, match="repository on disk"):
        plan_in_shards(planner(fill(butler)), tmp_path / "plan.h5", by="patch")


class ScriptTask(CalibrateTask):
    """As if it stood in the script that was started."""

    ConfigClass = CalibrateConfig
    _DefaultName = "calibrate"


def test_task_of_the_script_itself_is_refused(survey: Butler, tmp_path: Path) -> None:
    planning = planner(survey)
    planning.pipeline.replace("calibrate", ScriptTask)
    ScriptTask.__module__ = "__main__"
    try:
        with pytest.raises(PreflightError, match="move it to a module"):
            plan_in_shards(planning, tmp_path / "plan.h5", by="patch")
    finally:
        ScriptTask.__module__ = __name__
