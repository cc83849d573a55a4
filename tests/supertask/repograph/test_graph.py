"""The RepoGraph's grouping and joining, against plain Python over dictionaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_surveys import MODEL, Survey, graph, surveys

from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import PreflightError
from supertask.quanta import Quantum
from supertask.repograph.absorb import absorb
from supertask.repograph.graph import RepoGraph

UNITS = [
    ("exposure", "detector"),
    ("visit", "detector"),
    ("visit",),
    ("detector",),
    ("detector", "physical_filter"),
    ("visit", "patch"),
    ("patch", "band"),
    ("patch",),
    ("band",),
]


def belongs(survey: Survey, a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Tell by the definition whether two data IDs belong together."""
    full_a, full_b = survey.full(a), survey.full(b)
    shared = {u for u in full_a if u in full_b}
    possible = set(MODEL.determined(MODEL.closure(a))) & set(MODEL.determined(MODEL.closure(b)))
    for unit in possible - {"instrument", "skymap", "tract"}:
        if unit not in shared:
            # Null belongs to nothing, unless a unit nearer by decides for both: two frames of one
            # exposure belong together although it has no visit.
            if any(unit in MODEL.determined((u,)) and full_a[u] == full_b[u] for u in shared - {unit}):
                continue
            return False
        if full_a[unit] != full_b[unit]:
            return False
    both = {**full_a, **full_b}
    needed = {"visit", "detector", "patch"}
    stated = [needed <= set(MODEL.determined(MODEL.closure(d))) for d in (a, b)]
    together = set(MODEL.determined(MODEL.closure(a))) | set(MODEL.determined(MODEL.closure(b)))
    if needed <= together and not any(stated):
        if not needed <= set(both):
            return False
        return (both["visit"], both["detector"], both["patch"]) in survey.overlap
    return True


def linked(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Tell whether units or the overlap relation link two unit groups."""
    one, two = set(MODEL.determined(MODEL.closure(a))), set(MODEL.determined(MODEL.closure(b)))
    return bool(one & two) or {"visit", "detector", "patch"} <= one | two


def short(dataId: DataId) -> dict[str, Any]:
    return {k: v for k, v in dataId.items() if k not in ("instrument", "skymap", "tract")}


@given(surveys(), st.sampled_from(UNITS), st.sampled_from(UNITS), st.data())
def test_join_gives_each_quantum_what_belongs_to_it(
    survey: Survey, units: tuple[str, ...], other: tuple[str, ...], data: st.DataObject
) -> None:
    left, right = (
        data.draw(st.lists(st.sampled_from(survey.all_data_ids(u)), unique_by=str, max_size=8))
        for u in (units, other)
    )
    a, b = Dataset.subclass("a", units, "json"), Dataset.subclass("b", other, "json")
    repoGraph = graph(survey, {a: left, b: right})
    grouped = repoGraph.group(a, units)
    if not linked(units, other):
        with pytest.raises(PreflightError, match="nothing relates"):
            grouped.join(b, minimum=0)
        return
    quanta = grouped.join(b, minimum=0)
    assert len(quanta) == len(left)
    for quantum in quanta:
        mine = short(quantum.dataId)
        got = sorted(str(short(d.dataId)) for d in quantum.inputs[b])
        want = sorted(str(r) for r in _ordered(right, quantum.inputs[b]) if belongs(survey, mine, r))
        assert got == want


def _ordered(rows: list[dict[str, Any]], like: Any) -> list[dict[str, Any]]:
    """Rows with their keys in the model's order, as data IDs show them."""
    return [{u: r[u] for u in MODEL.sort(r)} for r in rows]


@given(surveys(), st.data())
def test_grouping_through_a_relation_reaches_each_patch_once(survey: Survey, data: st.DataObject) -> None:
    calexp = Dataset.subclass("calexp", ("visit", "detector"), "json")
    rows = data.draw(
        st.lists(st.sampled_from(survey.all_data_ids(("visit", "detector"))), unique_by=str, max_size=9)
    )
    quanta = graph(survey, {calexp: rows}).group(calexp, ("visit", "patch"))
    there = {(r["visit"], r["detector"]) for r in rows}
    expected: dict[tuple[int, int], set[int]] = {}
    for visit, detector, patch in survey.overlap:
        if (visit, detector) in there:
            expected.setdefault((visit, patch), set()).add(detector)
    got = {(q.dataId["visit"], q.dataId["patch"]): {d["detector"] for d in q.inputs[calexp]} for q in quanta}
    assert got == expected
    by_tract = graph(survey, {calexp: rows}).group(calexp, ("tract",))
    assert sum(len(q.inputs[calexp]) for q in by_tract) == len({(v, d) for v, d, _ in survey.overlap} & there)


@given(surveys(), st.randoms())
def test_the_three_ways_of_defining_quanta_give_identical_tables(survey: Survey, random: Any) -> None:
    raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
    calexp = Dataset.subclass("calexp", ("visit", "detector"), "json")
    rows = survey.all_data_ids(("exposure", "detector"))

    def by_hand(repoGraph: RepoGraph) -> list[Quantum]:
        groups: dict[tuple[int, int], set[Dataset]] = {}
        for dataset in repoGraph.datasets[raw]:
            visit = survey.exposure_visit[dataset["exposure"]]
            if visit is not None:
                groups.setdefault((visit, dataset["detector"]), set()).add(dataset)
        quanta = []
        for (visit, detector), inputs in groups.items():
            output = repoGraph.addDataset(calexp(instrument="Cam", visit=visit, detector=detector))
            quanta.append(Quantum({raw: inputs}, {calexp: {output}}))
        random.shuffle(quanta)
        return quanta

    one, two = graph(survey, {raw: rows}), graph(survey, {raw: rows})
    grouped = absorb(one, "t", one.group(raw, ("visit", "detector")).produce(calexp), ("visit", "detector"))
    made = absorb(two, "t", by_hand(two), ("visit", "detector"))
    assert grouped.n == made.n
    assert list(grouped) == list(made)
    for dataset_type in (raw, calexp):
        side = "inputs" if dataset_type is raw else "outputs"
        a, b = getattr(grouped, side)[dataset_type], getattr(made, side).get(dataset_type)
        if b is not None:
            assert a.all_rows().tolist() == b.all_rows().tolist()
            assert a.counts().tolist() == b.counts().tolist()


SURVEY = Survey(2, ("G", "R"), (0, 1, 1), (0, 1, 2, None), 2, frozenset({(0, 0, 0), (1, 0, 0), (1, 1, 1)}))
RAW = Dataset.subclass("raw", ("exposure", "detector"), "json")


def test_selecting_an_input_by_a_field_leaves_the_others_out() -> None:
    repoGraph = graph(SURVEY, {RAW: SURVEY.all_data_ids(("exposure", "detector"))})
    biases = repoGraph.group(RAW, "detector", select={"exposure.obs_type": "bias"})
    assert [{d["exposure"] for d in q.inputs[RAW]} for q in biases] == [{3}, {3}]
    assert any("obs_type" in s.what for s in biases.steps)


def test_quanta_short_of_inputs_are_left_out_and_counted() -> None:
    flat = Dataset.subclass("flat", ("detector", "physical_filter"), "json")
    rows = {
        RAW: SURVEY.all_data_ids(("exposure", "detector")),
        flat: [{"detector": 0, "physical_filter": "G"}],
    }
    quanta = graph(SURVEY, rows).group(RAW, ("exposure", "detector")).join(flat)
    assert [dict(q.dataId) for q in quanta] == [{"instrument": "Cam", "exposure": 0, "detector": 0}]
    assert quanta.steps[-1].count == 1


def test_an_output_with_more_units_than_the_quantum_follows_an_input() -> None:
    piece = Dataset.subclass("piece", ("exposure", "detector"), "json")
    repoGraph = graph(SURVEY, {RAW: SURVEY.all_data_ids(("exposure", "detector"))})
    quanta = repoGraph.group(RAW, ("exposure",)).produce(piece)
    assert all({d.dataId for d in q.inputs[RAW]} == {d.dataId for d in q.outputs[piece]} for q in quanta)
    assert len(repoGraph.datasets[piece]) == 8


def test_two_quanta_for_one_output_are_refused() -> None:
    total = Dataset.subclass("total", ("exposure",), "json")
    quanta = graph(SURVEY, {RAW: SURVEY.all_data_ids(("exposure", "detector"))}).group(
        RAW, ("exposure", "detector")
    )
    with pytest.raises(PreflightError, match=r"would each produce the same 'total'"):
        quanta.produce(total)


def test_an_input_that_is_nowhere_and_an_output_not_added_are_both_named() -> None:
    out = Dataset.subclass("out", ("exposure",), "json")
    repoGraph = graph(SURVEY, {RAW: []})
    lost = RAW(instrument="Cam", exposure=0, detector=0)
    quantum = Quantum({RAW: {lost}}, {out: {out(instrument="Cam", exposure=0)}})
    with pytest.raises(PreflightError) as caught:
        absorb(repoGraph, "t", [quantum], ("exposure",))
    assert "raw{instrument=Cam, exposure=0, detector=0}" in str(caught.value)
    assert "addDataset" in str(caught.value)


def test_units_and_datasets_are_sets_of_objects() -> None:
    repoGraph = graph(SURVEY, {RAW: SURVEY.all_data_ids(("exposure", "detector"))})
    assert len(repoGraph.units["visit"]) == 3
    assert DataId(instrument="Cam", visit=2) in repoGraph.units["visit"]
    assert DataId(instrument="Cam", visit=9) not in repoGraph.units["visit"]
    raws = repoGraph.datasets[RAW]
    assert RAW(instrument="Cam", exposure=3, detector=1) in raws
    assert raws == set(raws)
    assert {d for d in raws if d["detector"] == 0} <= raws
    assert repoGraph.column(RAW, "band") == ["g", "g", "r", "r", "r", "r", None, None]


def test_combinations_of_units_respect_a_relation() -> None:
    repoGraph = graph(SURVEY, {})
    quanta = repoGraph.quanta(("visit", "detector", "patch"))
    assert {(d["visit"], d["detector"], d["patch"]) for d in quanta.table.data_ids()} == SURVEY.overlap
    assert len(repoGraph.quanta(("visit", "detector"))) == 6


def test_a_hook_can_leave_quanta_out_and_says_why() -> None:
    repoGraph = graph(SURVEY, {RAW: SURVEY.all_data_ids(("exposure", "detector"))})
    quanta = repoGraph.group(RAW, ("visit",))
    kept = quanta.where(quanta.counts(RAW) > 1, "visits with more than one frame")
    assert kept.steps[-1].what == "visits with more than one frame"
    assert np.array_equal(quanta.column("physical_filter"), np.array(["G", "R", "R"], object))
