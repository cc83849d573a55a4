"""Butlers filled with the small survey, and plans made of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from surveys import fill, pipeline

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.memory import InMemoryButler
from supertask.butler.port import AbstractButler
from supertask.butler.repository import Butler


@pytest.fixture(params=["memory", "sqlite"])
def butler(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AbstractButler]:
    """Yield the survey in each kind of Butler."""
    made: Any = InMemoryButler("imaging") if request.param == "memory" else Butler.create(tmp_path / "repo")
    with made:
        yield fill(made)


@pytest.fixture
def make(butler: AbstractButler) -> Callable[..., ScienceDag]:
    """Plan the whole pipeline, or what `where` leaves of it."""

    def plan(where: str = "", *leave_out: str, **options: Any) -> ScienceDag:
        return GraphBuilder(pipeline(*leave_out), butler, "u/test/run").makeGraph(where, **options)

    return plan
