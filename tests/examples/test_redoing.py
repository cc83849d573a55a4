"""The coadd example after a change: what runs again, in numbers of quanta."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from examples.demo import simulated
from examples.demo.simulate import simulate
from examples.demo.stage import Stage
from graphbuilder.builder import GraphBuilder
from graphbuilder.comparing.plandiff import plan_diff
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.reuse.planning import Check, Reuse
from supertask import Butler, Pipeline
from supertask.ingest.ingestion import ingest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"visits": 2, "biases": 2, "darks": 2, "flats": 2}


@attrs.define
class Done:
    """A small survey that was run, but for one exposure that came late."""

    butler: Butler
    whole: dict[str, int]
    late: Path
    visit: int


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redoing")
    survey = simulate(folder / "raw", **SMALL)
    visit = max(e.number for e in survey.exposures if e.obs_type == "science")
    late = folder / "late"
    late.mkdir()
    for path in survey.files:
        if f"_{visit:04d}_" in path.name:
            shutil.move(path, late)
    stage = Stage(folder, lambda _: None, processes=2)
    butler = stage.repository()
    simulated.fill(butler, survey, simulated.survey_sky_map(survey))
    report = stage.run(butler, simulated.PIPELINE, simulated.RUN)
    assert report.exit_code == 0, report.failures
    whole = counts(ScienceDag.load(folder / "plan.h5"))
    with butler:
        yield Done(butler, whole, late, visit)


def counts(dag):
    return {t.label: t.count for t in dag.tasks if t.count}


def again(done, *overrides, check=Check.FILES):
    pipeline = Pipeline.load(simulated.PIPELINE, overrides)
    builder = GraphBuilder(pipeline, done.butler, "demo/run2", collections=("raw/all", "reference"))
    return builder.makeGraph(reuse=Reuse(check=check))


def test_nothing_changed_and_nothing_runs(done):
    assert counts(again(done)) == {}


def test_another_kernel_of_the_warp_runs_warp_coadd_and_catalogue(done):
    dag = again(done, "warp:order=bicubic")
    after = ("warp", "coadd", "catalogue", "merge")
    assert counts(dag) == {label: done.whole[label] for label in after}
    told = {t.label: t for t in dag.meta.reused.tasks}
    assert told["warp"].differs == {"config order: 'bilinear' → 'bicubic'": done.whole["warp"]}
    assert told["isr"].reused == done.whole["isr"]


def file_of(done, name, **units):
    (dataset,) = done.butler.query(name, collections=[simulated.RUN], **units)
    return Path(done.butler.root) / done.butler.locate(dataset, collections=[simulated.RUN]).location


def test_a_coadd_deleted_by_hand_is_made_again_alone(done, tmp_path):
    path = file_of(done, "coadd", patch=4, band="g")
    shutil.move(path, tmp_path)
    try:
        dag = again(done)
        assert counts(dag) == {"coadd": 1}
        assert {t.label: t.reused for t in dag.meta.reused.tasks} == {
            **done.whole,
            "coadd": done.whole["coadd"] - 1,
        }
    finally:
        shutil.move(tmp_path / path.name, path)


def test_what_a_deleted_coadd_is_made_of_is_made_again_with_it(done, tmp_path):
    coadd = file_of(done, "coadd", patch=4, band="g")
    warps = [
        Path(done.butler.root) / done.butler.locate(d, collections=[simulated.RUN]).location
        for d in done.butler.query("warp", collections=[simulated.RUN], patch=4)
    ]
    for path in (coadd, *warps):
        path.rename(tmp_path / path.name)
    try:
        assert counts(again(done)) == {"warp": len(warps), "coadd": 1}
    finally:
        for path in (coadd, *warps):
            (tmp_path / path.name).rename(path)


def test_a_coadd_altered_behind_the_registry_is_found_by_its_checksum_and_made_again(done):
    path = file_of(done, "coadd", patch=4, band="g")
    was = path.read_bytes()
    altered = bytearray(was)
    altered[len(was) // 2] ^= 1
    path.write_bytes(altered)
    try:
        assert counts(again(done)) == {}, "its size is what it was"
        assert counts(again(done, check=Check.CONTENT)) == {"coadd": 1}
    finally:
        path.write_bytes(was)


def planned_from(folder: Path, root: str, by: str, plan: Path) -> dict[str, int]:
    """Plan with the examples in a folder, in a process of its own; return counts of what would run."""
    program = """
import json, sys
import examples
assert examples.__file__.startswith(sys.argv[1]), examples.__file__
from graphbuilder.builder import GraphBuilder
from graphbuilder.reuse.planning import Reuse
from supertask import Butler, Pipeline
folder, root, by, plan = sys.argv[1:]
with Butler(root) as butler:
    pipeline = Pipeline.load(f"{folder}/examples/demo/pipeline.yaml")
    builder = GraphBuilder(pipeline, butler, "demo/run2", collections=("raw/all", "reference"), identity=by)
    builder.makeGraph().save(plan)
    dag = builder.makeGraph(reuse=Reuse())
print(json.dumps({t.label: t.count for t in dag.tasks if t.count}))
"""
    found = subprocess.run(
        [sys.executable, "-c", program, folder, root, by, plan], check=True, capture_output=True, text=True,
        cwd=folder, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
    )  # fmt: skip
    return json.loads(found.stdout)


def test_a_comment_in_the_code_of_the_isr_runs_nothing_unless_its_source_counts(done, tmp_path):
    folder = tmp_path / "edited"
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    root, plans = done.butler.root, [tmp_path / "before.h5", tmp_path / "after.h5"]
    assert planned_from(folder, root, "declared", tmp_path / "declared.h5") == {}
    planned_from(folder, root, "source", plans[0])
    edited = folder / "examples" / "isr" / "tasks.py"
    edited.write_text(edited.read_text() + "\n# A word on the overscan.\n")
    assert planned_from(folder, root, "declared", tmp_path / "declared.h5") == {}
    assert planned_from(folder, root, "source", plans[1]) == done.whole
    differing = {t.label: sum(t.changed.values()) for t in plan_diff(*map(ScienceDag.load, plans)).tasks}
    assert {label: n for label, n in differing.items() if n} == done.whole


def test_one_exposure_more_runs_its_chain_and_the_patches_it_touches(done):
    ingest(done.butler, [done.late], simulated.HEADERS, run="raw/all")
    dag = again(done)
    found = counts(dag)
    warps = [q.dataId for q in dag.subset(["warp"]).quanta]
    patches = {d["patch"] for d in warps}
    assert {d["visit"] for d in warps} == {done.visit}
    assert 0 < len(patches) <= 9
    assert found == {
        "isr": 4,
        "calibrate": 4,
        "visit_summary": 1,
        "warp": len(patches),
        "coadd": len(patches),
        "catalogue": len(patches),
        "merge": 1,
    }
    assert {q.dataId["patch"] for q in dag.subset(["coadd"]).quanta} == patches
