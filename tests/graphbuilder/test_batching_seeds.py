"""What bundles were first described with, and what earlier software did wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from plans import layered

from graphbuilder.batcher import QuantumBatcher
from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.columns import StringColumn
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.parameters import ParameterColumn
from supertask.butler.memory import InMemoryButler
from supertask.butler.port import CollectionKind
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import PreflightError
from supertask.pipelines.pipeline import Pipeline
from supertask.quanta import Quantum
from supertask.spreading import spread
from supertask.tasks.overheads import OverheadNames, overhead
from supertask.tasks.quantumparameters import Parameters, parameter
from supertask.tasks.supertask import SuperTask
from supertask.unitmodels import unit_model_from_dict

MODEL = {
    "name": "stars",
    "version": 1,
    "doc": "Stars, analysed more than once.",
    "units": {
        "field": {"key": "str", "doc": "A pointing."},
        "star": {"key": "str", "doc": "A star."},
        "trial": {"key": "int", "doc": "One of several analyses of a star."},
    },
}
STARS = {
    "2M123456+123456": "250+00",
    "2M003341+289732": "omegaCen",
    "2M004562-1234872": "250+00",
    "sun": "sky",
    "star": "sky",
}
SPECTRUM = Dataset.subclass("spectrum", ("star",), "json")


class AnalysisParameters(Parameters):
    a: int = parameter(doc="A number.")
    order: int = parameter(5, doc="Order of the normalisation.")
    threads: int = parameter(1, meta=True, doc="How many to use: changes no result.")


class AnalysisConfig(SuperTaskConfig):
    quantum_units = ("star", "trial")
    spectrum = InputField(units=("star",), storage="json", doc="Spectrum of a star.")
    labels = OutputField(units=("star", "trial"), storage="json", doc="What was found.")


TASKS: list[dict[str, Any]] = []
"""What the tasks below make quanta of; set by each test."""


class Analysis(SuperTask):
    ConfigClass = AnalysisConfig
    ParametersClass = AnalysisParameters
    _DefaultName = "analysis"

    def defineQuanta(self, repoGraph: Any) -> list[Quantum]:
        spectra = {d["star"]: d for d in repoGraph.datasets[self.config.spectrum]}
        names = {name for t in TASKS for name in t} - {"star"}
        return spread(
            {self.config.spectrum: [spectra[t["star"]] for t in TASKS]},
            {
                self.config.labels: [
                    repoGraph.addDataset(self.config.labels(star=t["star"], trial=i))
                    for i, t in enumerate(TASKS)
                ]
            },
            self.ParametersClass,
            **{name: [t.get(name, DEFAULTS.get(name)) for t in TASKS] for name in sorted(names)},
        )


DEFAULTS = {"minimum_snr": 1.0}


class StellarParameters(Parameters):
    model_path: str = parameter(overhead=True, doc="The model.")
    initial_guess: tuple[float, ...] = parameter(doc="Where to begin.")
    minimum_snr: float = parameter(1.0, doc="Less is not fitted.")


class Stellar(Analysis):
    ParametersClass = StellarParameters
    _DefaultName = "stellar"

    @overhead
    def model(self, model_path: str) -> str:
        return model_path


class InheritedStellar(Stellar):
    """Declares nothing itself."""

    _DefaultName = "inherited"


@pytest.fixture
def plan() -> Iterator[Callable[..., ScienceDag]]:
    butler = InMemoryButler(unit_model_from_dict(MODEL))
    butler.insert_units("star", [{"star": s} for s in STARS])
    butler.insert_units("trial", [{"trial": i} for i in range(8)])
    butler.create_collection("stars", CollectionKind.RUN)
    butler.register_type(SPECTRUM)
    for star in STARS:
        butler.put(1, SPECTRUM(star=star), run="stars")

    def make(task: type[SuperTask], tasks: list[dict[str, Any]]) -> ScienceDag:
        TASKS[:] = tasks
        pipeline = Pipeline(description="One task.")
        pipeline.add(task._DefaultName, task)
        return GraphBuilder(pipeline, butler, "u/test/run").makeGraph()

    with butler:
        yield make


def bundles(dag: ScienceDag, **limits: Any) -> set[frozenset[tuple[str, Any]]]:
    """Return what is together: star and parameters of each quantum."""
    found = QuantumBatcher(**limits).bundles(dag)
    return {
        frozenset((dag.quanta[q].dataId["star"], dag.quanta[q].parameters) for q in found[b].tolist())
        for b in range(len(found))
    }


@pytest.fixture(params=["made", "saved"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[ScienceDag], ScienceDag]:
    """Batch a plan as it was made, and as it comes out of its file."""

    def through(dag: ScienceDag) -> ScienceDag:
        if request.param == "made":
            return dag
        dag.save(tmp_path / "plan.h5")
        return ScienceDag.load(tmp_path / "plan.h5")

    return through


def test_the_five_tasks_of_the_first_example_make_its_three_batches(plan, stored):
    one, two, three = "2M123456+123456", "2M003341+289732", "2M004562-1234872"
    dag = plan(
        Analysis,
        [
            {"star": one, "a": 3, "order": 5},
            {"star": one, "a": 3, "order": 10},
            {"star": two, "a": 3, "order": 5},
            {"star": two, "a": 3, "order": 10},
            {"star": three, "a": -1, "order": 5},
        ],
    )
    P = AnalysisParameters
    assert bundles(stored(dag)) == {
        frozenset({(one, P(a=3, order=5)), (two, P(a=3, order=5))}),
        frozenset({(one, P(a=3, order=10)), (two, P(a=3, order=10))}),
        frozenset({(three, P(a=-1, order=5))}),
    }


SUN = {"star": "sun", "model_path": "my_model.pkl", "initial_guess": (5777.0, 4.0, 0.0)}
STAR = {"star": "star", "model_path": "my_model.pkl", "initial_guess": (4000.0, 5.0, 0.0), "minimum_snr": 3.0}
OTHER = {"star": "sun", "model_path": "my_alternative_model.pkl", "initial_guess": (5777.0, 4.0, 0.0)}


@pytest.mark.parametrize("task", [Stellar, InheritedStellar], ids=["declared", "inherited"])
def test_the_three_tasks_of_the_second_example_make_its_two_bundles(plan, stored, task):
    dag = stored(plan(task, [SUN, STAR, OTHER]))
    found = {frozenset((s, p.model_path) for s, p in b) for b in bundles(dag)}
    assert found == {
        frozenset({("sun", "my_model.pkl"), ("star", "my_model.pkl")}),
        frozenset({("sun", "my_alternative_model.pkl")}),
    }


def test_parameters_that_change_no_result_do_not_split_a_bundle(plan, stored):
    dag = plan(Analysis, [{"star": s, "a": 1, "threads": i} for i, s in enumerate(STARS)])
    assert len(bundles(stored(dag))) == 1


def test_values_of_different_types_or_with_bars_in_them_are_never_taken_for_each_other():
    """A key made of joined texts takes 1 for "1", and ("a|b", "c") for ("a", "b|c")."""

    @attrs.frozen
    class Two:
        m1: Any = 0
        m2: Any = 0

    values = [
        Two(1), Two("1"), Two(1.0), Two(True), Two("a|b", "c"), Two("a", "b|c"), Two(None), Two("None"),
    ]  # fmt: skip
    for names in (OverheadNames(), OverheadNames((), ("m1", "m2"), (), True)):
        dag = layered([len(values)], [], parameters=[values], overhead=names)
        assert len(QuantumBatcher().bundles(dag)) == len(values)


def test_the_order_of_keys_in_a_mapping_does_not_matter():
    @attrs.frozen
    class One:
        grid: dict[str, int]

    dag = layered(
        [2], [], parameters=[[One({"a": 1, "b": 2}), One({"b": 2, "a": 1})]],
        overhead=OverheadNames((), ("grid",), (), True),
    )  # fmt: skip
    assert len(QuantumBatcher().bundles(dag)) == 1


def test_another_version_of_a_task_is_another_key():
    dag = layered([2], [], variants=[[0, 1]], keys=[[b"1" * 16, b"2" * 16]])
    nodes = dag.tasks[0]
    versions = [attrs.evolve(v, version=n) for v, n in zip(nodes.variants, "12", strict=True)]
    dag.tasks = (attrs.evolve(nodes, variants=tuple(versions), overhead=OverheadNames((), (), (), True)),)
    assert len(QuantumBatcher().bundles(dag)) == 2


def test_overhead_fields_of_the_configuration_decide_where_variants_share_a_bundle():
    configs = [
        {"model": {"path": "a"}, "order": 1},
        {"model": {"path": "a"}, "order": 2},
        {"model": {"path": "b"}},
    ]
    dag = layered([6], [], variants=[[0, 1, 2] * 2], keys=[[bytes([k]) * 16 for k in range(3)]])
    node = dag.tasks[0]
    variants = [attrs.evolve(v, config=c) for v, c in zip(node.variants, configs, strict=True)]
    declared = OverheadNames(("model.path",), (), (), True)
    dag.tasks = (attrs.evolve(node, variants=tuple(variants), overhead=declared),)
    found = QuantumBatcher().bundles(dag)
    assert [found[b].tolist() for b in range(len(found))] == [[0, 1, 3, 4], [2, 5]]


def test_quanta_that_read_the_same_overhead_input_are_together():
    waits = [[{0}, {1}, {0}, {1}, {0, 1}]]
    dag = layered([2, 5], waits, overhead=OverheadNames((), (), ("d0",), True))
    found = QuantumBatcher().bundles(dag)
    assert [found[b].tolist() for b in range(len(found))] == [[0, 1], [2, 4], [3, 5], [6]]


def test_four_split_by_four_are_four_and_none_is_empty():
    dag = layered([4], [])
    assert np.diff(QuantumBatcher(slots=4).bundles(dag).indptr).tolist() == [1, 1, 1, 1]
    assert np.diff(QuantumBatcher(slots=9).bundles(dag).indptr).tolist() == [1, 1, 1, 1]


def test_seven_split_by_three_are_spread_evenly():
    assert np.diff(QuantumBatcher(slots=3).bundles(layered([7], [])).indptr).tolist() in (
        [2, 2, 3],
        [3, 2, 2],
    )


def test_a_bundle_has_a_size_limit_where_one_is_given():
    assert np.diff(QuantumBatcher(100).bundles(layered([301], [])).indptr).max() <= 76


def test_lists_of_inputs_and_parameters_are_taken_item_by_item(plan):
    dag = plan(Stellar, [SUN, STAR])
    told = {q.dataId["star"]: q.parameters.initial_guess for q in dag.quanta}
    assert told == {"sun": (5777.0, 4.0, 0.0), "star": (4000.0, 5.0, 0.0)}  # not spread, and not cut
    assert all(len(s) == 1 for q in dag.quanta for s in q.inputs.values())


def test_what_is_no_list_is_for_all_quanta():
    spectra = [SPECTRUM(star=s) for s in ("sun", "star")]
    quanta = spread({SPECTRUM: spectra}, {}, StellarParameters, model_path="m", initial_guess=(1.0, 2.0))
    assert [q.parameters.model_path for q in quanta] == ["m", "m"]
    assert [q.parameters.initial_guess for q in quanta] == [(1.0, 2.0)] * 2


def test_lists_of_different_lengths_are_refused_and_not_cut_to_the_shortest():
    spectra = [SPECTRUM(star=s) for s in STARS]
    with pytest.raises(PreflightError, match=r"'spectrum' \(read\) has 5, a has 2, order has 1"):
        spread({SPECTRUM: spectra}, {}, AnalysisParameters, a=[1, 2], order=[5])


def test_values_that_a_class_refuses_are_all_named():
    with pytest.raises(PreflightError, match="item 1(.|\n)*item 2"):
        spread({SPECTRUM: SPECTRUM(star="sun")}, {}, AnalysisParameters, a=[1, "x", "y"])


def test_limits_that_make_no_sense_are_all_named():
    with pytest.raises(PreflightError, match="max_quanta(.|\n)*max_cost(.|\n)*largest-first"):
        QuantumBatcher(0, max_cost=-1.0, packing="largest-frist")


def test_names_that_stand_in_values_are_not_taken_for_fields(tmp_path):
    @attrs.frozen
    class Fit:
        note: Any
        model: Any

    values = [
        Fit('"model": "b"', "a"), Fit({"model": "a"}, "b"), Fit("model", "a"), Fit("\\", "b"), Fit(None, 1),
        Fit(None, "1"), Fit("x", 1), Fit("y", [1, 2]), Fit("z", [1, 2]), Fit('\\"model": 1', 1.0),
    ]  # fmt: skip
    for some, count in ((values, 6), (values[:1] + values[2:7], 4), (values[2:7], 4)):
        dag = layered([len(some)], [], overhead=OverheadNames((), ("model",), (), True))
        said = [json.dumps({"class": "m:Fit", "values": attrs.asdict(v)}) for v in some]
        stored = ParameterColumn(StringColumn.from_strings(said))
        dag.quantum_tables = (attrs.evolve(dag.quantum_tables[0], parameters=stored),)
        assert len(QuantumBatcher().bundles(dag)) == count
