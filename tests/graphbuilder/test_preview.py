"""The preflight report: sizes, costs, warnings, and the plan drawn."""

from __future__ import annotations

import builtins
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shortages import DeepTask
from surveys import fill, pipeline

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.preview.cautions import Kind, cautions_of
from graphbuilder.preview.costs import TaskCost, merged, read_costs, write_costs
from graphbuilder.preview.figures import figure
from graphbuilder.preview.graph import Node, PlanGraph, dot, graph_of, mermaid
from graphbuilder.preview.layout import place
from graphbuilder.preview.pictures import draw_graph
from graphbuilder.preview.report import preflight_report
from graphbuilder.preview.sizes import sizes_of
from graphbuilder.preview.skypictures import draw_sky
from graphbuilder.preview.skyview import panels_of
from supertask.butler.memory import InMemoryButler
from supertask.butler.port import AbstractButler
from supertask.butler.repository import Butler
from supertask.errors import PreflightError
from supertask.sky.footprints import Footprints, FootprintStore
from supertask.sky.skymap import SkyMap

CAM = {"instrument": "Cam"}
PNG = b"\x89PNG\r\n\x1a\n"


def plan(butler: AbstractButler, *leave_out: str, where: str = "", **replaced: type) -> ScienceDag:
    tasks = pipeline(*leave_out)
    for label, task in replaced.items():
        tasks = tasks.replace(label, task)
    return GraphBuilder(tasks, butler, "u/run").makeGraph(where)


# -- sizes and costs --------------------------------------------------------------------------------


def test_what_is_there_has_the_bytes_that_are_registered_and_what_is_made_is_unknown(tmp_path: Path) -> None:
    with Butler.create(tmp_path / "repo") as butler:
        fill(butler)
        dag = plan(butler)
        sizes = {t.name: s for t, s in sizes_of(dag, butler).items()}
    files = list((tmp_path / "repo" / "raw/all").rglob("*.json"))
    assert sizes["raw"].total == sum(f.stat().st_size for f in files)
    assert sizes["raw"].source == "as registered"
    assert sizes["warp"].total is None
    assert "none was made before" in sizes["warp"].source


def test_what_was_made_before_says_how_large_it_will_be(butler: AbstractButler) -> None:
    dag = plan(butler)
    warp = dag.dataset_type("warp")
    for patch in (0, 1):
        butler.put({"sum": 0}, warp(visit=1, patch=patch, skymap="sky", tract=0, **CAM), run="u/earlier")
    report = preflight_report(dag, butler=butler)
    (found,) = [t for t in report.types if t.name == "warp"]
    assert found.source == "by the mean of 2 made before"
    coadd = next(t for t in report.tasks if t.label == "coadd")
    assert coadd.bytes_read == found.bytes
    assert coadd.bytes_written is None


def test_sizes_that_are_not_registered_are_asked_of_the_file_system(tmp_path: Path) -> None:
    with Butler.create(tmp_path / "repo") as butler:
        fill(butler)
        dag = plan(butler)
        raw = dag.dataset_type("raw")
        known = sizes_of(dag, butler)[raw].total
        dag.datasets[raw].sizes[:] = -1
        found = sizes_of(dag, butler)[raw]
    assert found.total == known
    assert "by the mean of" in found.source


def test_costs_are_scaled_to_the_plan(butler: AbstractButler) -> None:
    cost = TaskCost("warp", 3, cpu=6.0, wall=9.0, peak_memory=1000, source="u/old")
    report = preflight_report(plan(butler), costs=[cost])
    warp = next(t for t in report.tasks if t.label == "warp")
    assert (warp.quanta, warp.cpu, warp.wall, warp.memory) == (6, 12.0, 18.0, 1000)
    assert (warp.measured, warp.source) == (3, "u/old")
    isr = next(t for t in report.tasks if t.label == "isr")
    assert (isr.cpu, isr.measured, isr.source) == (None, 0, "")
    assert report.total("cpu") == (12.0, 5)


def test_costs_of_several_runs_are_added_up() -> None:
    one, other = TaskCost("isr", 2, 4.0, 5.0, 10, source="a"), TaskCost("isr", 3, 6.0, 5.0, 30, source="b")
    assert merged([one, other, TaskCost("isr", 0, 0, 0, 0)])["isr"] == TaskCost(
        "isr", 5, 10.0, 10.0, 30, source="a, b"
    )


@given(
    st.lists(
        st.builds(
            TaskCost,
            label=st.text(max_size=20),
            quanta=st.integers(0, 10**9),
            cpu=st.floats(0, 1e12),
            wall=st.floats(0, 1e12),
            peak_memory=st.integers(0, 2**60),
            source=st.text(max_size=20),
        )
    )
)
def test_costs_come_back_from_their_file(tmp_path_factory: pytest.TempPathFactory, costs: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "costs.json"
    write_costs(path, costs)
    assert read_costs(path) == costs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "is not a costs file"),
        ("[1]", "is not a costs file"),
        ('{"format": "supertask-costs", "version": 7}', "version 7"),
        ('{"format": "supertask-costs", "version": 1, "tasks": [{"cpu": 1}]}', "record 0 has no label"),
        (
            '{"format": "supertask-costs", "version": 1, "tasks": [{"label": "isr", "cpu": -1}]}',
            "cpu is -1, not a number of 0 or more",
        ),
        (
            '{"format": "supertask-costs", "version": 1, "tasks": [{"label": "isr", "cpu": NaN}]}',
            "cpu is nan",
        ),
    ],
)
def test_files_that_hold_no_costs_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "costs.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(PreflightError, match=re.escape(message)):
        read_costs(path)


# -- warnings ---------------------------------------------------------------------------------------


def test_footprints_without_patches_are_pointed_out(butler: AbstractButler) -> None:
    found = [c for c in cautions_of(plan(butler)) if c.kind is Kind.UNRELATED]
    assert [(c.label, c.count) for c in found] == [("warp", 2)]
    assert "relation 'overlap' leads from them to no quantum" in str(found[0])
    assert "visit=4" in str(found[0])


def test_quanta_that_were_left_out_are_pointed_out_with_the_reason(butler: AbstractButler) -> None:
    found = [c for c in cautions_of(plan(butler, "merge", coadd=DeepTask)) if c.kind is Kind.LEFT_OUT]
    assert [(c.label, c.count) for c in found] == [("coadd", 4)]
    assert "coadds of two warps or more" in str(found[0])


def test_tasks_without_quanta_are_pointed_out(butler: AbstractButler) -> None:
    found = [c for c in cautions_of(plan(butler, where="band = 'R'")) if c.kind is Kind.EMPTY_TASK]
    assert {c.label for c in found} == {"isr", "calibrate", "warp", "coadd", "merge"}
    report = preflight_report(plan(butler, where="band = 'R'"), butler=butler)
    assert "the nearest: 'r'" in str(report.cautions[0])


def test_gathers_far_from_the_median_are_pointed_out() -> None:
    butler: Any = fill(InMemoryButler("imaging"))
    raws = plan(butler).dataset_type("raw")
    for detector, n in {2: 1, 3: 40, **dict.fromkeys(range(4, 12), 6)}.items():
        butler.insert_units("detector", [{**CAM, "detector": detector}])
        for i in range(n):
            exposure = 1000 + 100 * detector + i
            butler.insert_units("exposure", [{**CAM, "exposure": exposure, "obs_type": "bias"}])
            butler.put({"sum": 0}, raws(exposure=exposure, detector=detector, **CAM), run="raw/all")
    found = {c.kind: c for c in cautions_of(plan(butler)) if c.label == "bias"}
    assert found[Kind.SMALL_GATHER].count == 1
    assert "detector=2" in str(found[Kind.SMALL_GATHER])
    assert "as many as 40" in str(found[Kind.LARGE_GATHER])


def test_the_report_is_fit_for_json(butler: AbstractButler) -> None:
    told = json.loads(json.dumps(preflight_report(plan(butler), butler=butler).to_dict()))
    assert told["quanta"] == 32
    assert {t["label"] for t in told["tasks"]} >= {"isr", "warp"}
    assert {w["kind"] for w in told["warnings"]} >= {"unrelated"}


# -- the graph --------------------------------------------------------------------------------------


def test_the_graph_has_tasks_and_types_with_their_numbers(butler: AbstractButler) -> None:
    graph = graph_of(plan(butler))
    names = {(n.name, n.is_task): n for n in graph.nodes}
    assert names["warp", True].counted == "6 quanta"
    assert names["warp", False].counted == "6 datasets"
    assert not names["raw", False].made
    joined = {(graph.nodes[a].name, graph.nodes[b].name): n for a, b, n in graph.edges}
    assert joined["calexp", "warp"] == 7


NASTY = 'a"]; click x href "javascript:alert(1)"\n<script>&#quot;\\'


def test_names_cannot_break_out_of_mermaid_or_graphviz() -> None:
    graph = PlanGraph((Node(NASTY, (NASTY,), 1, is_task=True), Node("d", (), 2, is_task=False)), ((0, 1, 2),))
    text = "\n".join(mermaid(graph))
    (label,) = re.findall(r'^  n0\["(.*)"\]$', text, re.MULTILINE)
    assert not set(label.replace("<br>", "")) & set('"<>[]&')
    assert text.count("\n") == 4
    written = "\n".join(dot(graph))
    labels = re.findall(r'label="((?:[^"\\]|\\.)*)"\];', written)
    assert len(labels) == 3
    assert "script" in labels[0]
    assert written.count("\n") == 5


@given(st.data())
def test_no_two_nodes_of_a_layer_overlap_and_edges_go_down(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 14))
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    edges = data.draw(st.lists(st.sampled_from(pairs), unique=True, max_size=25)) if pairs else []
    widths = data.draw(st.lists(st.floats(0.2, 4), min_size=n, max_size=n))
    laid = place(n, edges, widths, gap=0.3)
    for (a, b), way in zip(edges, laid.ways, strict=True):
        assert laid.layer[a] < laid.layer[b]
        assert [level for _, level in way] == list(range(laid.layer[a], laid.layer[b] + 1))
    for a in range(n):
        for b in range(a + 1, n):
            if laid.layer[a] == laid.layer[b]:
                assert abs(laid.x[a] - laid.x[b]) >= (widths[a] + widths[b]) / 2 + 0.3 - 1e-9


def test_the_graph_is_drawn_whatever_its_names_hold(butler: AbstractButler, tmp_path: Path) -> None:
    draw_graph(graph_of(plan(butler)), tmp_path / "graph.png", title="$run$ _{x}")
    assert (tmp_path / "graph.png").read_bytes()[:8] == PNG
    odd = PlanGraph((Node("$\\frac{", ("^",), 1, is_task=True),), ())
    draw_graph(odd, tmp_path / "odd.svg")
    assert (tmp_path / "odd.svg").stat().st_size


def test_pictures_say_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    graph = PlanGraph((Node("isr", (), 1, is_task=True),), ())
    with pytest.raises(PreflightError, match="cannot draw"):
        draw_graph(graph, tmp_path / "graph.nothing")
    with pytest.raises(PreflightError, match="No such file"):
        draw_graph(graph, tmp_path / "nowhere" / "graph.png")
    there = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")
        return there(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PreflightError, match=r"pip install 'supertask\[pictures\]'"):
        figure(1, 1)


# -- the sky ----------------------------------------------------------------------------------------


@pytest.fixture
def sky(tmp_path: Path) -> Any:
    """Yield the survey with a sky map of three patches by RA 0, and footprints of two of its visits."""
    with Butler.create(tmp_path / "sky") as butler:
        fill(butler)
        skymap = SkyMap.around(0.0, 0.0, name="sky", pixel_scale=1.0, patch_size=720, grid=(3, 1))
        skymap.register(butler)
        corners = np.array([[359.9, -0.1], [0.1, -0.1], [0.1, 0.1], [359.9, 0.1]])
        units = ("instrument", "visit", "detector")
        rows = [({**CAM, "visit": v, "detector": d}, corners) for v in (1, 2) for d in (0, 1)]
        FootprintStore(butler.root).add(Footprints.from_outlines(units, rows))
        yield butler


def test_quanta_are_where_their_footprints_and_patches_are(sky: Butler, tmp_path: Path) -> None:
    panels = {p.title: p for p in panels_of(plan(sky), sky)}
    assert "bias" not in panels  # a detector alone is nowhere
    assert panels["calibrate"].stacked
    assert len(panels["calibrate"].outlines) == 4
    assert panels["warp"].quanta == 6
    assert panels["warp"].counts.tolist() == [2, 3, 1]
    draw_sky(list(panels.values()), tmp_path / "sky.png", title="run")
    assert (tmp_path / "sky.png").read_bytes()[:8] == PNG


def test_bands_have_panels_of_their_own(sky: Butler, tmp_path: Path) -> None:
    panels = panels_of(plan(sky), sky, by="band")
    assert [p.title for p in panels] == ["g: detectors", "r: detectors", "g: patches", "r: patches"]
    draw_sky(panels, tmp_path / "bands.pdf")
    assert (tmp_path / "bands.pdf").stat().st_size


def test_a_plan_that_is_nowhere_on_the_sky_says_so(tmp_path: Path) -> None:
    with Butler.create(tmp_path / "repo") as butler:
        fill(butler)
        dag = plan(butler)
        with pytest.raises(PreflightError, match="needs footprints"):
            panels_of(dag, butler)
        with pytest.raises(PreflightError, match="give --repo"):
            panels_of(dag, None)
