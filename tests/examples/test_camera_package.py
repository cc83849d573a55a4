"""A camera's package overrides one field for one filter, and everything that is asked shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.demo import simulated
from examples.demo.simulate import simulate
from examples.demo.stage import Stage
from executors.cmdline.main import main
from supertask import Butler, Pipeline, PipelineError
from supertask.pipelines.cameraoverrides import camera_overrides

PACKAGE = Path(simulated.__file__).parents[1] / "camera_package"
PIPELINE = PACKAGE / "pipeline.yaml"
CONDITION = "instrument = 'SimCam' AND physical_filter = 'g'"


def installed(folder, entry):
    """Do what an installer does: write down what the distribution offers."""
    info = folder / "simcam_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: simcam-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[supertask.overrides]\n{entry}\n")
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    offered = (PACKAGE / "pyproject.toml").read_text().partition('"supertask.overrides"]\n')[2].strip()
    monkeypatch.syspath_prepend(PACKAGE)
    monkeypatch.syspath_prepend(installed(tmp_path / "site", offered.replace('"', "")))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survey")
    survey = simulate(folder / "raw", visits=1, biases=1, darks=1, flats=1)
    with Stage(folder, lambda _: None, 1, ()).repository() as butler:
        simulated.fill(butler, survey, simulated.survey_sky_map(survey))
    return folder / "repo"


@pytest.fixture
def supertask(capsys):
    def call(*words):
        code = main([str(w) for w in words])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return call


@pytest.mark.slow
def test_one_field_for_one_filter_is_told_everywhere(package, repository, supertask, tmp_path):
    plan = tmp_path / "plan.h5"
    [row] = [
        row
        for row in map(json.loads, supertask("config", "history", PIPELINE, "isr", "--json").splitlines())
        if row["when"]
    ]
    assert (row["field"], row["value"], row["when"]) == ("flat_minimum", "0.05", CONDITION)
    assert row["set by"].endswith("overrides.yaml:8:16")
    selected = f"{PIPELINE}#bias,dark,flat,isr"
    supertask(
        "preflight", repository, "-p", selected, "--output-run", "u/me/run", "-o", plan, "-d", "detector = 1"
    )
    shown = json.loads(supertask("dag", "show", plan, "--json"))
    variants = next(t for t in shown["tasks"] if t["label"] == "isr")["variants"]
    assert [(v["quanta"], v["changes"]) for v in variants] == [(1, {}), (1, {"flat_minimum": "0.05"})]
    told = {
        exposure: supertask("explain", plan, "isr", f"exposure={exposure}", "detector=1")
        for exposure in (1001, 1101)
    }
    assert "flat_minimum = 0.05 (elsewhere 0.1)" in told[1001]
    assert "of camera SimCam" in told[1001]
    assert "no override on data matches it" in told[1101]
    supertask("run", plan)
    with Butler(repository, collections=("u/me/run",)) as butler:
        recorded = butler.run_provenance("u/me/run")["tasks"]["isr"]["variants"]
        assert butler.get("isr_overrides")[0]["config"] == {"flat_minimum": 0.05}
        masked = [
            int((butler.get("isr_image", instrument="SimCam", exposure=e, detector=1).mask != 0).sum())
            for e in (1001, 1101)
        ]
    assert [v["config"]["flat_minimum"] for v in recorded] == [0.1, 0.05]
    assert recorded[1]["overrides"][0]["when"] == CONDITION
    assert recorded[1]["overrides"][0]["camera"] == "SimCam"
    assert all(masked)


def test_what_a_pipeline_takes_in_stays_where_it_is_shipped(package, tmp_path):
    pipeline = Pipeline.load(PIPELINE)
    path = tmp_path / "mine.yaml"
    pipeline.save(path)
    assert "flat_minimum" not in path.read_text()
    assert Pipeline.load(path) == pipeline
    merged = Pipeline().merge(pipeline, rename={"isr": "reduce"})
    assert merged.overrides[0].label == "reduce"
    merged.save(path)
    assert Pipeline.load(path).overrides == merged.overrides


def test_nothing_is_taken_in_that_no_pipeline_names(package):
    assert not Pipeline.load(simulated.PIPELINE).overrides
    added = Pipeline.load(simulated.PIPELINE).add_camera("SimCam").add_camera("SimCam")
    assert added.overrides == Pipeline.load(PIPELINE).overrides
    assert added.cameras == ("SimCam",)


def test_a_camera_without_a_package_is_named_with_the_nearest(package, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(f"imports: [{simulated.PIPELINE}]\ncameras: [SimCm]\n")
    with pytest.raises(PipelineError, match=r"p\.yaml:2:11: .*did you mean 'SimCam'"):
        Pipeline.load(path)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("Odd = no_such_module:OVERRIDES", "cannot be loaded"),
        ("Odd = math:pi", "must give a path of a YAML file"),
    ],
)
def test_what_a_package_ships_amiss_is_said(tmp_path, monkeypatch, entry, words):
    monkeypatch.syspath_prepend(installed(tmp_path, entry))
    with pytest.raises(PipelineError, match=words):
        camera_overrides("Odd")
