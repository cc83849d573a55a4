"""Real science is the same, to the byte, wherever it is made: the demonstration, and coadds of HAT-P-32.

Of both a part that has every step: one visit in each band, seen by two detectors, and a patch of the sky; six
frames of an hour and a half each, and all that they cover.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.demo import simulated
from examples.demo.simulate import simulate
from examples.hatp32 import repository as hatp32
from executors import InProcessFramework
from executors.jobs.collecting import collect
from executors.slurm.framework import SlurmFramework
from graphbuilder import GraphBuilder, QuantumBatcher
from supertask import Butler, Pipeline
from tests.executors.test_engines_agree import ENGINES, engines, why_not

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.xdist_group("engines agree")]
__all__ = ["engines"]  # a fixture

VISITS = (171220013343, 171220024512, 171220035712, 171220050912, 171220062112, 171220073312)
"""Every fourth frame of the night."""


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository of a small simulated survey."""
    survey = simulate(tmp_path_factory.mktemp("survey"), visits=1, biases=2, darks=2, flats=2)
    root = tmp_path_factory.mktemp("demo") / "repo"
    with Butler.create(root, "imaging") as butler:
        simulated.fill(butler, survey, simulated.survey_sky_map(survey))
    return root


@pytest.fixture(scope="module")
def hat_p_32(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository of 24 real frames."""
    root = tmp_path_factory.mktemp("hatp32") / "repo"
    with Butler.create(root, "imaging") as butler:
        assert len(hatp32.fill(butler, shared_data / "coadd" / "hatp32_microobs").ingested) == 24
    return root


def planned(fresh: Path, root: Path, science: str) -> Path:
    """Return the file of a plan in a repository of its own."""
    shutil.copytree(fresh, root)
    file = root.with_suffix(".h5")
    with Butler(root) as butler:
        if science == "demonstration":
            builder, where = (
                GraphBuilder(Pipeline.load(simulated.PIPELINE), butler, "made"),
                "patch = 4 AND detector IN (1, 2)",
            )
        else:
            collections = ("raw/all", "reference")
            builder = GraphBuilder(Pipeline.load(hatp32.PIPELINE), butler, "made", collections=collections)
            where = f"visit IN ({', '.join(map(str, VISITS))})"
        QuantumBatcher(max_quanta=20).batch(builder.makeGraph(where=where)).save(file)
    return file


def made(root: Path) -> dict[str, bytes]:
    """Return all that the run wrote."""
    folder = root / "made"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def in_process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, bytes]]:
    """Call it for what this very process makes; it is made once."""
    found: dict[str, dict[str, bytes]] = {}

    def make(science: str) -> dict[str, bytes]:
        if science not in found:
            root = tmp_path_factory.mktemp("here") / "repo"
            file = planned(request.getfixturevalue(science), root, science)
            with Butler(root) as butler:
                report = InProcessFramework().execute(file, butler)
                assert report.exit_code == 0, report.failures
            found[science] = made(root)
        return found[science]

    return make


@pytest.mark.parametrize("engine", [*(name for name in ENGINES if name != "in-process"), "slurm, no driver"])
@pytest.mark.parametrize("science", ["demonstration", "hat_p_32"])
def test_science_is_the_same_to_the_byte(
    request: pytest.FixtureRequest,
    engines: None,
    in_process: Callable[[str], dict[str, bytes]],
    tmp_path: Path,
    science: str,
    engine: str,
) -> None:
    if reason := why_not(engine.partition(",")[0]):
        pytest.skip(reason)
    root = tmp_path / "repo"
    file = planned(request.getfixturevalue(science), root, science)
    with Butler(root) as butler:
        if engine in ENGINES:
            report = ENGINES[engine]().execute(file, butler)
        else:
            from graphbuilder import ScienceDag

            framework = SlurmFramework(late=5.0, detached=True)
            plan = ScienceDag.load(file)
            framework.execute(plan, butler)
            names = list(framework._places)
            report = collect(
                plan, butler, follow=True, seconds=0.5, late=5.0,
                lives=lambda _: any(s.value != "gone" for s in framework.states(names).values()),
            ).report  # fmt: skip
        assert report.exit_code == 0, report.failures
    there, here = made(root), in_process(science)
    assert set(there) == set(here)
    assert [name for name in there if there[name] != here[name]] == []
    assert len(here) > 40
