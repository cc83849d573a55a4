"""Real science on HTCondor: coadds of HAT-P-32 are the same, to the byte, wherever they are made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from examples.hatp32 import repository as hatp32
from executors import MultiprocessFramework
from executors.condor.dag import follow_dag
from executors.condor.framework import CondorFramework
from executors.condor.queue import Queue
from executors.condor.site import CondorSite
from executors.testing import condor
from graphbuilder import GraphBuilder, QuantumBatcher
from supertask import Butler, Pipeline
from tests.executors.test_condor import with_condor

pytestmark = with_condor


@pytest.fixture(scope="module")
def raw(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository of 24 frames of HAT-P-32."""
    root = tmp_path_factory.mktemp("raw") / "repo"
    with Butler.create(root, "imaging") as butler:
        report = hatp32.fill(butler, shared_data / "coadd" / "hatp32_microobs")
        assert len(report.ingested) == 24
    return root


def planned(raw: Path, root: Path) -> Path:
    """Return the file of a plan of all coadds, in a repository of its own."""
    shutil.copytree(raw, root)
    with Butler(root) as butler:
        builder = GraphBuilder(
            Pipeline.load(hatp32.PIPELINE), butler, "hatp32", collections=("raw/all", "reference")
        )
        file = root.with_suffix(".h5")
        QuantumBatcher(max_quanta=12).batch(builder.makeGraph()).save(file)
    return file


def made(root: Path) -> dict[str, bytes]:
    """Return all that the run wrote."""
    folder = root / "hatp32"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def pooled(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Make the coadds in a pool of processes."""
    root = tmp_path_factory.mktemp("pool") / "repo"
    file = planned(raw, root)
    with Butler(root) as butler:
        assert MultiprocessFramework(processes=2).execute(file, butler).exit_code == 0
    return made(root)


@pytest.mark.parametrize("how", ["carried", "dag"])
def test_coadds_are_the_same_to_the_byte(
    raw: Path, pooled: dict[str, bytes], shared_data: Path, tmp_path: Path, how: str
) -> None:
    root = tmp_path / "repo"
    file = planned(raw, root)
    with condor.pool(cpus=2, seen=[shared_data.resolve()]) as pool, Butler(root) as butler:
        options: dict[str, Any] = {"queue": Queue(pool.env), "site": CondorSite(transfer=how == "carried")}
        framework = CondorFramework(detached=how == "dag", **options)
        report = framework.execute(file, butler)
        if framework.dag is not None:
            assert follow_dag(framework.dag, patience=600)
        else:
            assert report.exit_code == 0
    there = made(root)
    assert set(there) == set(pooled)
    assert [name for name in there if there[name] != pooled[name]] == []
    assert len(pooled) > 100
