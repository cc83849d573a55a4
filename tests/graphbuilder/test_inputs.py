"""Input semantics: whole gathers, prerequisites, look-ups by time and of one's own, adjusted quanta."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from surveys import RAW

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.explain import explain
from supertask.butler.memory import InMemoryButler
from supertask.butler.port import AbstractButler, CollectionKind
from supertask.butler.repository import Butler
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.connections.inputlookups import When
from supertask.datasets import Dataset
from supertask.errors import ConfigError, EmptyPlanError, PreflightError
from supertask.pipelines.pipeline import Pipeline
from supertask.quanta import Quantum
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

WARP = Dataset.subclass("warp", ("visit", "patch"), "json")


def task(config: type[SuperTaskConfig], adjust: Any = None, define: Any = None) -> type[SuperTask]:
    body: dict[str, Any] = {"ConfigClass": config, "_DefaultName": "one", "run": lambda self, **k: Struct()}
    if adjust is not None:
        body["adjustQuanta"] = adjust
    if define is not None:
        body["defineQuanta"] = define
    return type("One", (SuperTask,), body)


def of(**tasks: type[SuperTask]) -> Pipeline:
    pipeline = Pipeline()
    for label, which in tasks.items():
        pipeline.add(label, which)
    return pipeline


def plan(butler: AbstractButler, which: type[SuperTask], where: str = "", **options) -> ScienceDag:
    return GraphBuilder(of(one=which), butler, "u/x", **options).makeGraph(where)


def inputs(dag: ScienceDag, name: str, unit: str, of: str) -> dict[Any, list[Any]]:
    """Return for each quantum, by its value of a unit, the values of a unit of its inputs."""
    dataset_type = dag.dataset_type(name)
    return {q.dataId[of]: sorted(d[unit] for d in q.inputs.get(dataset_type, ())) for q in dag.quanta}


@pytest.fixture
def warps(butler):
    butler.register_type(WARP)
    butler.create_collection("u/warps", CollectionKind.RUN)
    for visit, patch in ((1, 0), (1, 1), (2, 0), (2, 1), (3, 1), (3, 2)):
        dataId = {"instrument": "Cam", "visit": visit, "skymap": "sky", "tract": 0, "patch": patch}
        butler.put({"sum": 0}, WARP(dataId), run="u/warps")
    return butler


# -- whole --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["declared", "grouped", "by hand"])
def test_an_expression_selects_the_quanta_and_leaves_a_whole_gather_whole(warps, level):
    class Config(SuperTaskConfig):
        quantum_units = ("patch", "band")
        warps = InputField(("visit", "patch"), "json", name="warp", multiple=True, whole=True, doc="Warps.")
        coadd = OutputField(("patch", "band"), "json", doc="Coadd.")

    def grouped(self: Any, repoGraph: Any) -> Any:
        quanta = repoGraph.group(self.config.warps, by=("patch", "band"), whole=True)
        return quanta.produce(self.config.coadd)

    def by_hand(self: Any, repoGraph: Any) -> Any:
        warp, coadd = self.config.warps, self.config.coadd
        groups: dict[Any, set[Any]] = {}
        selected = set()
        rows = zip(
            repoGraph.datasets[warp], repoGraph.column(warp, "band"), repoGraph.is_selected(warp), strict=True
        )
        for dataset, band, here in rows:
            key = (dataset["patch"], band)
            groups.setdefault(key, set()).add(dataset)
            if here:
                selected.add(key)
        quanta = []
        for patch, band in sorted(selected):
            made = repoGraph.addDataset(coadd(skymap="sky", tract=0, patch=patch, band=band))
            quanta.append(Quantum({warp: groups[patch, band]}, {coadd: {made}}))
        return quanta

    define = {"declared": None, "grouped": grouped, "by hand": by_hand}[level]
    dag = plan(warps, task(Config, define=define), "visit = 2")
    # Visit 2 lies on patches 0 and 1 in r, and of patch 1 visit 3 is in r, too.
    assert inputs(dag, "warp", "visit", "patch") == {0: [2], 1: [2, 3]}
    assert dag.meta.trimmed == ()
    assert any("beyond the expression" in what for _, what, _ in dag.meta.steps)


def test_without_it_the_gather_is_trimmed_and_the_plan_says_so(warps):
    class Config(SuperTaskConfig):
        quantum_units = ("patch", "band")
        warps = InputField(("visit", "patch"), "json", name="warp", multiple=True, doc="Warps.")
        coadd = OutputField(("patch", "band"), "json", doc="Coadd.")

    dag = plan(warps, task(Config), "visit = 2")
    assert inputs(dag, "warp", "visit", "patch") == {0: [2], 1: [2]}
    assert [t.fewer for t in dag.meta.trimmed] == [1]


def test_a_whole_gather_through_a_relation(butler):
    class Config(SuperTaskConfig):
        quantum_units = ("patch",)
        raws = InputField(
            ("exposure", "detector"), "json", name="raw", multiple=True, whole=True, doc="Raw frames."
        )
        deep = OutputField(("patch",), "json", doc="All of them.")

    dag = plan(butler, task(Config), "visit = 1")
    assert inputs(dag, "raw", "exposure", "patch") == {0: [101, 101, 102], 1: [101, 102, 103]}
    alone = plan(butler, task(Config), "visit = 1 AND patch = 0")
    assert inputs(alone, "raw", "exposure", "patch") == {0: [101, 101, 102]}


def test_a_whole_plan_is_that_of_everything_where_the_quanta_are_the_same(warps, tmp_path):
    class Config(SuperTaskConfig):
        quantum_units = ("patch", "band")
        warps = InputField(("visit", "patch"), "json", name="warp", multiple=True, whole=True, doc="Warps.")
        coadd = OutputField(("patch", "band"), "json", doc="Coadd.")

    whole = plan(warps, task(Config))
    everything = {q.dataId: r for q, r in zip(whole.quanta, whole.identities, strict=True)}
    part = plan(warps, task(Config), "visit = 2")
    part.save(tmp_path / "plan.h5")
    loaded = ScienceDag.load(tmp_path / "plan.h5")
    for quantum, identity in zip(loaded.quanta, loaded.identities, strict=True):
        assert bytes(everything[quantum.dataId]) == bytes(identity)


# -- prerequisites ------------------------------------------------------------------------------------


def test_an_expression_does_not_narrow_a_prerequisite(warps):
    class Config(SuperTaskConfig):
        quantum_units = ("visit", "detector")
        raws = InputField(("exposure", "detector"), "json", name="raw", multiple=True, doc="Raw frames.")
        warps = InputField(
            ("visit", "patch"), "json", name="warp", multiple=True, prerequisite=True, doc="What was there."
        )
        out = OutputField(("visit", "detector"), "json", doc="Out.")

    dag = plan(warps, task(Config), "patch = 0")
    assert {(q.dataId["visit"], q.dataId["detector"]) for q in dag.quanta} == {(1, 0), (1, 1), (2, 0)}
    found = {
        (q.dataId["visit"], q.dataId["detector"]): sorted(
            d["patch"] for d in q.inputs[dag.dataset_type("warp")]
        )
        for q in dag.quanta
    }
    # By the overlap: detector 1 of visit 1 lies on both patches, the others on patch 0 alone.
    assert found[1, 1] == [0, 1]


def test_what_the_pipeline_makes_is_no_prerequisite(butler):
    class First(SuperTaskConfig):
        quantum_units = ("exposure", "detector")
        raw = InputField(("exposure", "detector"), "json", doc="Raw frame.")
        out = OutputField(("exposure", "detector"), "json", doc="Out.")

    class Second(SuperTaskConfig):
        quantum_units = ("exposure", "detector")
        raw = InputField(("exposure", "detector"), "json", doc="Raw frame.")
        out = InputField(("exposure", "detector"), "json", prerequisite=True, doc="Out.")
        last = OutputField(("exposure", "detector"), "json", doc="Last.")

    pipeline = of(first=task(First), second=task(Second))
    with pytest.raises(PreflightError, match=r"second\.out: 'out' is made by 'first'"):
        GraphBuilder(pipeline, butler, "u/x").makeGraph()


# -- by time ------------------------------------------------------------------------------------------

HOURS = {1: 0.0, 2: 2.0, 3: 5.0, 4: 30.0}
ARCS = {11: -1.0, 12: 2.5, 13: 4.0, 14: 6.0}


@pytest.fixture(params=["memory", "sqlite"])
def night(request, tmp_path):
    """Yield exposures of a night, science and arcs, each with its time and one detector of two."""
    made: Any = InMemoryButler("imaging") if request.param == "memory" else Butler.create(tmp_path / "repo")
    with made as butler:
        butler.insert_units("instrument", [{"instrument": "Cam"}])
        butler.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in (0, 1)])
        start = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
        butler.insert_units(
            "exposure",
            [
                {
                    "instrument": "Cam",
                    "exposure": e,
                    "obs_type": kind,
                    "obs_time": start + dt.timedelta(hours=h),
                }
                for kind, times in (("science", HOURS), ("arc", ARCS))
                for e, h in times.items()
            ],
        )
        butler.register_type(RAW)
        butler.create_collection("raw/all", CollectionKind.RUN)
        arc = Dataset.subclass("arc", ("exposure", "detector"), "json")
        butler.register_type(arc)
        for e in HOURS:
            for d in (0, 1):
                butler.put({"sum": 0}, RAW(instrument="Cam", exposure=e, detector=d), run="raw/all")
        for e in ARCS:
            for d in (0, 1) if e != 13 else (0,):
                butler.put({"sum": 0}, arc(instrument="Cam", exposure=e, detector=d), run="raw/all")
        yield butler


def looked_up(**options: Any) -> type[SuperTask]:
    class Config(SuperTaskConfig):
        quantum_units = ("exposure", "detector")
        raw = InputField(("exposure", "detector"), "json", doc="Raw frame.")
        arc = InputField(("exposure", "detector"), "json", doc="Arc.", **options)
        out = OutputField(("exposure", "detector"), "json", doc="Out.")

    return task(Config)


def found(dag: ScienceDag) -> dict[tuple[int, int], int]:
    arc = dag.dataset_type("arc")
    return {
        (q.dataId["exposure"], q.dataId["detector"]): d["exposure"]
        for q in dag.quanta
        for d in q.inputs.get(arc, ())
    }


def test_the_nearest_in_time_of_the_same_detector(night):
    dag = plan(night, looked_up(when=When.NEAREST))
    assert found(dag) == {
        (1, 0): 11, (2, 0): 12, (3, 0): 13, (4, 0): 14,
        (1, 1): 11, (2, 1): 12, (3, 1): 14, (4, 1): 14,
    }  # fmt: skip


def test_the_latest_before(night):
    dag = plan(night, looked_up(when="latest before", minimum=0))
    assert {k: v for k, v in found(dag).items() if k[1] == 0} == {
        (1, 0): 11,
        (2, 0): 11,
        (3, 0): 13,
        (4, 0): 14,
    }


@pytest.mark.parametrize("gap", [dt.timedelta(hours=3), 3 * u.hour])
def test_one_too_far_away_is_none_and_its_quanta_are_left_out_with_the_reason(night, gap):
    dag = plan(night, looked_up(when=When.NEAREST, max_gap=gap))
    assert {e for e, _ in found(dag)} == {1, 2, 3}
    (part,) = dag.left_out
    assert len(part) == 2
    said = explain(dag, "one", {"instrument": "Cam", "exposure": 4, "detector": 0})
    assert "'arc'" in str(said)


def test_the_expression_does_not_take_away_what_is_nearest(night):
    dag = plan(night, looked_up(when=When.NEAREST), "exposure = 3 AND detector = 0")
    assert found(dag) == {(3, 0): 13}
    assert dag.n_quanta == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"when": "nearst"}, "'nearest'"),
        ({"when": When.NEAREST, "max_gap": 3}, "timedelta or a Quantity"),
        ({"when": When.NEAREST, "max_gap": 3 * u.m}, "span of time"),
        ({"when": When.NEAREST, "max_gap": dt.timedelta(-1)}, "not be negative"),
        ({"max_gap": dt.timedelta(1)}, "when=When.NEAREST"),
        ({"find": 3}, "must be a function"),
        ({"find": print, "when": When.NEAREST}, "no room"),
    ],
)
def test_a_look_up_that_makes_no_sense_is_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        looked_up(**options)


def test_what_must_be_alike_must_follow_from_both(night):
    with pytest.raises(PreflightError, match=r"one\.arc: 'patch' cannot be alike"):
        plan(night, looked_up(when=When.NEAREST, alike="patch"))


# -- a look-up of one's own ---------------------------------------------------------------------------


def last_arcs(quanta: Any, repoGraph: Any) -> tuple[Any, Any]:
    """Give each quantum the two arcs of detector 0 with the highest numbers."""
    arc = next(t for t in repoGraph.datasets if t.name == "arc")
    of_detector = np.array(repoGraph.column(arc, "detector")) == 0
    rows = np.flatnonzero(of_detector)[-2:]
    return np.repeat(np.arange(len(quanta)), len(rows)), np.tile(rows, len(quanta))


def test_a_function_says_which_inputs_belong_together(night):
    which = looked_up(find=last_arcs, multiple=True)
    dag = plan(night, which, "exposure = 1 AND detector = 1")
    (quantum,) = dag.quanta
    assert {(d["exposure"], d["detector"]) for d in quantum.inputs[dag.dataset_type("arc")]} == {
        (13, 0),
        (14, 0),
    }


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (None, "must return two columns"),
        (([0], [0, 1]), "shapes"),
        (([0], [99]), "positions from 99 to 99"),
        (([-1], [0]), "positions from -1"),
        (([0.5], [0.5]), "whole numbers"),
    ],
)
def test_a_function_that_returns_nonsense_is_told(night, returned, says):
    with pytest.raises(PreflightError, match=says):
        plan(night, looked_up(find=lambda quanta, repoGraph: returned))


def test_quanta_for_which_nothing_is_found_are_left_out(night):
    with pytest.raises(EmptyPlanError, match="at least 1 'arc'"):
        plan(night, looked_up(find=lambda quanta, repoGraph: ([], [])))


# -- adjustQuanta -------------------------------------------------------------------------------------


def test_a_hook_can_extend_the_inputs(night):
    def adjust(self: Any, quanta: Any, repoGraph: Any) -> Any:
        return quanta.extend(self.config.arc, *last_arcs(quanta, repoGraph), why="the last arcs, too")

    class Config(SuperTaskConfig):
        quantum_units = ("exposure", "detector")
        raw = InputField(("exposure", "detector"), "json", doc="Raw frame.")
        arc = InputField(("exposure", "detector"), "json", multiple=True, minimum=0, doc="Arcs.")
        out = OutputField(("exposure", "detector"), "json", doc="Out.")

    dag = plan(night, task(Config, adjust=adjust))
    assert inputs(dag, "arc", "exposure", "exposure") == {e: [13, 14] for e in HOURS}
    assert ("one", "inputs 'arc': the last arcs, too", 16) in dag.meta.steps


def test_a_hook_can_join_what_was_not_joined(night):
    def adjust(self: Any, quanta: Any, repoGraph: Any) -> Any:
        return quanta.join(self.config.arc, minimum=0, when=When.NEAREST)

    class Config(SuperTaskConfig):
        quantum_units = ("exposure", "detector")
        raw = InputField(("exposure", "detector"), "json", doc="Raw frame.")
        arc = InputField(("exposure", "detector"), "json", minimum=0, doc="Arcs.")
        out = OutputField(("exposure", "detector"), "json", doc="Out.")

    assert found(plan(night, task(Config, adjust=adjust)))[3, 0] == 13


def test_a_hook_cannot_extend_with_what_is_not_there(night):
    def adjust(self: Any, quanta: Any, repoGraph: Any) -> Any:
        return quanta.extend(self.config.arc, [0], [99], why="nonsense")

    class Config(SuperTaskConfig):
        quantum_units = ("exposure", "detector")
        raw = InputField(("exposure", "detector"), "json", doc="Raw frame.")
        arc = InputField(("exposure", "detector"), "json", multiple=True, minimum=0, doc="Arcs.")
        out = OutputField(("exposure", "detector"), "json", doc="Out.")

    with pytest.raises(PreflightError, match="positions from 99"):
        plan(night, task(Config, adjust=adjust))
