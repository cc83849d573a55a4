"""What an expression takes from gathers is stated in the plan."""

from __future__ import annotations

from collections import Counter

import pytest
from surveys import WarpTask, pipeline

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.loading import trimming
from graphbuilder.preview.cautions import Kind, cautions_of
from graphbuilder.reasons.course import explain_plan

WHERES = [
    "visit IN (1..2)",
    "band = 'r'",
    "detector = 0",
    "visit.exposure_time > 25",
    "patch = 2",
    "patch IN (0, 2) AND band = 'g'",
    "exposure < 103 OR exposure > 900",
    "visit = 4",
    "visit = 2 AND patch = 1",
    "visit > 0 AND detector >= 0",
]


def members(dag: ScienceDag) -> dict[tuple, Counter]:
    """Return (label, dataset type) → data ID of each quantum → how many inputs of that type it has."""
    found: dict[tuple, Counter] = {}
    for quantum in dag.quanta:
        for dataset_type, datasets in quantum.inputs.items():
            if dataset_type.name not in ("bias", "flat"):
                found.setdefault((quantum.label, dataset_type.name), Counter())[quantum.dataId] = len(
                    datasets
                )
    return found


@pytest.mark.parametrize("where", WHERES)
def test_what_was_trimmed_is_what_a_plan_of_everything_has_more(make, where):
    whole, part = members(make()), members(make(where))
    expected = {}
    for gather, counts in part.items():
        fewer = [d for d, n in counts.items() if n < whole[gather][d]]
        if fewer:
            have = sum(counts[d] for d in fewer)
            expected[gather] = (len(counts), len(fewer), have, sum(whole[gather][d] for d in fewer))
    stated = {
        (t.label, t.dataset_type): (t.looked_at, t.fewer, t.have, t.would_have)
        for t in make(where).meta.trimmed
    }
    assert stated == expected


def test_a_plan_without_expression_was_not_trimmed(make):
    assert make().meta.trimmed == ()


def test_trimming_is_kept_in_the_file_and_shown(make, tmp_path):
    dag = make("visit IN (1..2)")
    (trimmed,) = dag.meta.trimmed
    assert str(trimmed) == (
        "coadd: the condition visit IN (1..2) leaves 1 of 4 quanta with fewer 'warp' than there are: 1 of 2"
    )
    dag.save(tmp_path / "plan.h5")
    loaded = ScienceDag.load(tmp_path / "plan.h5")
    assert loaded.meta.trimmed == dag.meta.trimmed
    assert str(trimmed) in [str(c) for c in cautions_of(loaded) if c.kind is Kind.TRIMMED]
    assert str(trimmed) in explain_plan(loaded).findings


def test_of_many_quanta_some_are_looked_at(make, monkeypatch):
    monkeypatch.setattr(trimming, "LOOKED_AT", 4)
    (trimmed,) = make("visit IN (1..2)", "merge").meta.trimmed
    assert (trimmed.quanta, trimmed.looked_at) == (4, 4)
    monkeypatch.setattr(trimming, "LOOKED_AT", 3)
    monkeypatch.setattr(trimming, "_STRETCHES", 3)
    stated = make("visit IN (1..2)", "merge").meta.trimmed
    assert all(t.quanta == 4 and t.looked_at == 3 and "looked at (of 4)" in str(t) for t in stated)


def test_only_the_expression_is_blamed_for_what_it_took(butler):
    from supertask.butler.memory import InMemoryButler
    from supertask.datasets import Dataset

    def best(self, quanta, repoGraph):
        calexp = self.config.calexps
        trimmed = quanta.trim(calexp, quanta.input_column(calexp, "detector") == 0, "detector 0")
        return trimmed.where(trimmed.counts(calexp) > 0, "quanta with detector 0")

    class Picky(WarpTask):
        adjustQuanta = best

    own = pipeline("merge", "coadd", "warp").add("warp", Picky)
    assert GraphBuilder(own, butler, "u/x").makeGraph("visit > 0").meta.trimmed == ()
    # A flat that is missing leaves out quanta of isr, and with them what visit 1 gives to patches.
    if isinstance(butler, InMemoryButler):
        flat = Dataset.subclass("flat", ("detector", "physical_filter"), "json")
        butler.remove([flat(instrument="Cam", detector=1, physical_filter="G1")], run="calib")
        assert GraphBuilder(pipeline(), butler, "u/x").makeGraph("visit > 0").meta.trimmed == ()


def test_a_survey_planned_from_a_later_step_counts_what_is_there(butler):
    from supertask.butler.port import CollectionKind
    from supertask.datasets import Dataset

    warp = Dataset.subclass("warp", ("visit", "patch"), "json")
    butler.register_type(warp)
    butler.create_collection("u/warps", CollectionKind.RUN)
    for visit, patch in ((1, 0), (1, 1), (2, 0), (2, 1), (3, 1)):
        dataId = {"instrument": "Cam", "visit": visit, "skymap": "sky", "tract": 0, "patch": patch}
        butler.put({"sum": 0}, warp(dataId), run="u/warps")
    later = pipeline("bias", "isr", "calibrate", "warp", "merge")
    dag = GraphBuilder(later, butler, "u/x").makeGraph("visit = 2")
    (trimmed,) = dag.meta.trimmed
    assert (trimmed.fewer, trimmed.have, trimmed.would_have) == (1, 1, 2)
