"""The whole way of a plan on PostgreSQL, and a server that goes away at each step of it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from graphbuilder.builder import GraphBuilder
from supertask.butler import upkeep
from supertask.butler.port import CollectionKind
from supertask.butler.registry.postgres import PostgresBackend
from supertask.butler.repository import Butler
from supertask.pipelines.pipeline import Pipeline
from supertask.testing import postgres

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("postgres")]

PREFLIGHT = ("preflight", "repo", "-p", "pipeline.yaml", "--output-run", "u/me/run1", "-o", "plan.h5")
TRANSLATOR = r"""
name: tiny
values:
  instrument: Cam
  detector: {card: CCD}
  exposure: {file: 'f(\d+)'}
  exposure.obs_type: science
datasets:
  - {type: raw, units: [exposure, detector], storage: fits_image}
"""


@pytest.fixture(scope="module")
def server():
    """A server that may be stopped."""
    reason = postgres.why_not()
    if reason or os.environ.get("SUPERTASK_POSTGRES"):
        pytest.skip(reason or "a server that is given is not stopped")
    with postgres.server() as server:
        yield server


@pytest.fixture
def on_server(survey: Path, server) -> Path:
    """The small survey with its registry on the server."""
    upkeep.copy_registry("repo", server.url)
    Path("repo/registry.sqlite3").unlink()
    return survey


@pytest.fixture
def stop_at(server):
    """Stop the server when the program is about to do something the n-th time; start it again after."""

    patch = pytest.MonkeyPatch()

    def at(method: str, n: int) -> None:
        real, calls = getattr(PostgresBackend, method), []

        def stopping(self, *args, **kwargs):
            calls.append(method)
            if len(calls) == n:
                server.stop("immediate")
            return real(self, *args, **kwargs)

        patch.setattr(PostgresBackend, method, stopping)

    def over() -> None:
        patch.undo()
        server.start()

    at.over = over
    yield at
    patch.undo()


def test_a_plan_is_made_and_run_as_on_sqlite(call, on_server: Path) -> None:
    assert call(*PREFLIGHT).code == 0
    assert call("run", "plan.h5", "-j", 2).code == 0
    assert len(call("query", "repo", "night", "--json").rows) == 6
    assert call("registry", "check", "repo", "--checksums").code == 0


@pytest.mark.parametrize(("method", "n"), [("begin", 1), ("read", 1), ("read", 4)])
def test_preflight_without_its_database_says_so_and_leaves_nothing(
    call, on_server: Path, stop_at, method: str, n: int
) -> None:
    words = PREFLIGHT
    stop_at(method, n)
    said = call(*words)
    assert said.code == 2
    assert "lost half-way" in said.err or "no server answers" in said.err
    assert "Traceback" not in said.err
    assert not Path("plan.h5").exists()
    stop_at.over()
    assert call(*words).code == 0


@pytest.mark.parametrize("n", [1, 3, 5])
def test_an_ingest_whose_database_goes_away_is_finished_by_the_next(
    call, server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at, n: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TRANSLATOR)
    Path("night").mkdir()
    for number in range(1, 5):
        header = fits.Header({"CCD": number % 2})
        fits.PrimaryHDU(np.zeros((4, 4), "float32"), header).writeto(f"night/f{number}.fits")
    assert call("init", "new", "--registry", server.url).code == 0
    stop_at("insert", n)
    said = call("ingest", "new", "night", "--translator", "tiny.yaml", "-j", 1)
    assert said.code in (1, 2)
    assert "lost half-way" in said.err + said.out or "no server answers" in said.err + said.out
    assert "Traceback" not in said.err
    stop_at.over()
    assert call("registry", "check", "new").code == 0
    assert call("ingest", "new", "night", "--translator", "tiny.yaml", "-j", 1).code == 0
    assert len(call("query", "new", "raw", "--json").rows) == 4
    assert call("registry", "check", "new").code == 0


@pytest.mark.parametrize("n", [1, 2])
def test_outputs_that_could_not_be_registered_are_by_the_next_run(
    call, on_server: Path, stop_at, n: int
) -> None:
    assert call(*PREFLIGHT).code == 0
    stop_at("insert", n)
    said = call("run", "plan.h5")
    assert said.code in (1, 2)
    assert "Traceback" not in said.err
    stop_at.over()
    assert call("run", "plan.h5").code == 0
    assert len(call("query", "repo", "night", "--json").rows) == 6
    assert call("registry", "check", "repo", "--checksums").code == 0


@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_two_planners_at_once_make_one_and_the_same_plan(
    request: pytest.FixtureRequest, survey: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.syspath_prepend(survey)
    if where == "postgres":
        request.getfixturevalue("on_server")
    pipeline = Pipeline.load("pipeline.yaml")

    def plan(i: int) -> list[bytes]:
        with Butler("repo") as butler:
            dag = GraphBuilder(pipeline, butler, output_run="u/me/run1").makeGraph()
            butler.create_collection("seen", CollectionKind.RUN)
            return [bytes(row) for row in dag.identities]

    with ThreadPoolExecutor(2) as pool:
        first, *others = pool.map(plan, range(4))
    assert len(first) == 18
    assert all(other == first for other in others)
