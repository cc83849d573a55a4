"""What a configuration needs in order to be used for years: former names, files that move, choices, grids."""

from __future__ import annotations

from pathlib import Path

import pytest

from supertask.configs.config import Config, field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.errors import ConfigError
from supertask.pipelines.pipeline import Pipeline
from supertask.tasks.configurable import ConfigurableField, Registry
from supertask.tasks.supertask import SuperTask
from supertask.tasks.task import Task

fitters = Registry()


class GaussConfig(Config):
    width: float = field(1.0, doc="Width.")


@fitters.register("gauss")
class GaussTask(Task):
    ConfigClass = GaussConfig
    _DefaultName = "gauss"


@fitters.register("moffat")
class MoffatTask(GaussTask):
    _DefaultName = "moffat"


class StarsConfig(SuperTaskConfig):
    quantum_units = ("exposure",)
    renamed_fields = {"thresh": "threshold"}
    image = InputField("exposure", "fits_image", doc="Image.")
    stars = OutputField("exposure", "fits_table", doc="Stars.")
    threshold: float = field(5.0, doc="Threshold.", min=0)
    boxes: int = field(1, doc="Boxes.", deprecated="use threshold")
    mask: Path = field(Path("mask.fits"), doc="Mask.")
    masks: list[Path] = field([], doc="More masks.")
    fit = ConfigurableField(GaussTask, doc="Fit.", registry=fitters)


class StarsTask(SuperTask):
    ConfigClass = StarsConfig
    _DefaultName = "stars"


def test_a_former_name_still_works_and_warns_of_the_new_one(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("thresh: 7\n")
    with pytest.warns(FutureWarning, match=r"c\.yaml:1:1: StarsConfig\.thresh is called 'threshold' now"):
        config = StarsConfig.load(path)
    assert config.threshold == 7.0
    assert config.history["threshold"][-1].source == f"{path}:1:1"
    with pytest.warns(FutureWarning, match="is called 'threshold' now"):
        assert config.apply_override("thresh", "8").threshold == 8.0
    with (
        pytest.warns(FutureWarning),
        pytest.raises(ConfigError, match="which is given too: leave out 'thresh'"),
    ):
        StarsConfig(thresh=1, threshold=2)


def test_a_deprecated_field_warns_with_what_to_do():
    with pytest.warns(
        FutureWarning, match=rf"{__file__}:\d+: StarsConfig\.boxes is deprecated: use threshold"
    ):
        assert StarsConfig(boxes=3).boxes == 3
    StarsConfig()


def test_paths_that_begin_with_dots_are_relative_to_the_file_that_names_them(tmp_path):
    path = tmp_path / "deep" / "c.yaml"
    path.parent.mkdir()
    path.write_text("mask: ../m.fits\nmasks: [./a.fits, b.fits]\n")
    config = StarsConfig.load(path)
    assert config.mask == tmp_path / "m.fits"
    assert list(config.masks) == [tmp_path / "deep" / "a.fits", Path("b.fits")]
    assert StarsConfig(mask="m.fits").mask == Path("m.fits")
    assert config.apply_override("mask", "x.fits").mask == Path("x.fits")
    assert StarsConfig.from_dict(StarsConfig().to_dict()) == StarsConfig()


def test_subtasks_are_chosen_from_a_registry_by_name():
    config = StarsConfig().apply_override("fit", "moffat").apply_override("fit.width", "2")
    assert config.fit.target is MoffatTask
    assert config.fit.config.width == 2.0
    with pytest.raises(
        ConfigError, match=r"must be one of gauss, moffat, or .* got 'mofat' \(did you mean 'moffat'"
    ):
        config.apply_override("fit", "mofat")
    with pytest.raises(ConfigError, match="'gauss' is registered already"):
        fitters.register("gauss")(MoffatTask)


def test_a_grid_gives_one_configuration_for_each_combination():
    grid = StarsConfig().grid({"threshold": [3, 5], "fit.width": [1.0, 2.0]})
    assert list(grid) == [
        "threshold=3,width=1.0", "threshold=3,width=2.0", "threshold=5,width=1.0", "threshold=5,width=2.0",
    ]  # fmt: skip
    assert grid["threshold=5,width=2.0"].fit.config.width == 2.0
    assert grid["threshold=3,width=1.0"].history["threshold"][-1].source == "grid threshold=3,width=1.0"


def test_a_grid_of_pipelines_knows_fields_and_parameters():
    pipeline = (
        Pipeline()
        .add_parameter("width", 1.0)
        .add("a", StarsTask)
        .add("b", StarsTask, {"fit.width": "$width"})
    )
    grid = pipeline.grid({"a:threshold": [3, 4], "parameters:width": [2.0, 3.0]})
    assert list(grid)[-1] == "threshold=4,width=3.0"
    last = grid["threshold=4,width=3.0"]
    assert (last["a"].config.threshold, last["b"].config.fit.config.width) == (4.0, 3.0)
    assert pipeline["a"].config.threshold == 5.0
    assert list(pipeline.grid({"a:threshold": [1], "b:threshold": [2]})) == ["a:threshold=1,b:threshold=2"]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"threshold": 3}, "give a list of values"),
        ({"threshold": []}, "has no values"),
        ({"threshold": [1, 1]}, "has a value twice"),
        ({"treshold": [1]}, "did you mean 'threshold'"),
        ({"threshold": [-1]}, "must be at least 0"),
    ],
)
def test_grids_that_make_no_sense_are_refused(axes, message):
    with pytest.raises(ConfigError, match=message):
        StarsConfig().grid(axes)
