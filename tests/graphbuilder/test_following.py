"""What a collection holds narrows what is read of units and relations, and no plan is another for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from surveys import RAW, fill, pipeline

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.memory import InMemoryButler
from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.pipelines.pipeline import Pipeline

BY_AUTHOR = ("coadd", "merge")


@pytest.fixture(params=["memory", "sqlite"])
def survey(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A survey of which one visit of four is tagged, with the bias exposures."""
    butler = InMemoryButler() if request.param == "memory" else Butler.create(tmp_path / "repo")
    fill(butler)
    butler.create_collection("picked", CollectionKind.TAGGED)
    some = [RAW(instrument="Cam", exposure=e, detector=d) for e in (101, 901, 902) for d in (0, 1)]
    butler.tag("picked", some, run="raw/all")
    return butler


def plan(butler: Any, made: Pipeline, where: str = "", first: str = "picked") -> ScienceDag:
    return GraphBuilder(made, butler, "u/test/run", collections=[first, "calib"]).makeGraph(where)


def selected(dag: ScienceDag, what: str) -> int | None:
    return next((count for label, step, count in dag.meta.steps if not label and step == what), None)


def identities(dag: ScienceDag) -> set[bytes]:
    return {record.identity for record in dag.records(range(dag.n_quanta))}


def test_a_collection_of_few_narrows_relations_and_units(survey):
    dag = plan(survey, pipeline(*BY_AUTHOR))
    assert selected(dag, "rows of relation 'overlap' selected") == 3  # those of visit 1, of seven
    assert dag.space.size("visit") == 1
    whole = plan(survey, pipeline(*BY_AUTHOR), "visit = 1", first="raw/all")
    assert identities(dag) == identities(whole)


def test_where_a_task_says_itself_which_quanta_there_are_everything_is_read(survey):
    dag = plan(survey, pipeline())
    assert dag.space.size("visit") == 4
    assert identities(dag) >= identities(plan(survey, pipeline(*BY_AUTHOR)))


def test_an_expression_that_leads_through_a_relation_is_followed_instead(survey):
    some = identities(plan(survey, pipeline(*BY_AUTHOR), "patch = 0"))
    assert some
    assert some <= identities(plan(survey, pipeline(*BY_AUTHOR)))


def test_a_collection_of_all_is_not_narrowed(survey):
    dag = plan(survey, pipeline(*BY_AUTHOR), first="raw/all")
    assert dag.space.size("visit") == 4
    assert dag.space.size("patch") == 3
