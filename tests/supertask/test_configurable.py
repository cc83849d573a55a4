from __future__ import annotations

import json

import pytest

from supertask.configs.config import Config, field
from supertask.errors import ConfigError
from supertask.tasks.configurable import Configurable, ConfigurableField
from supertask.tasks.task import Task


class DetectConfig(Config):
    threshold: float = field(5.0, doc="Sigma.", min=0)


class DetectTask(Task):
    ConfigClass = DetectConfig
    _DefaultName = "detect"


class DeepConfig(DetectConfig):
    depth: int = field(3, doc="Depth.")

    def validate(self):
        if self.depth > self.threshold:
            yield "depth is beyond threshold"


class DeepDetectTask(DetectTask):
    ConfigClass = DeepConfig


class OtherTask(Task):
    ConfigClass = DetectConfig
    _DefaultName = "other"


class NeedyConfig(Config):
    x: int = field(doc="X.")


class NeedyTask(DetectTask):
    ConfigClass = NeedyConfig


class CalibrateConfig(Config):
    detect = ConfigurableField(DetectTask, doc="Finds stars.", base=DetectTask)
    second = ConfigurableField(DetectTask, doc="Finds more.", config=DetectConfig(threshold=3))


DEEP = f"{__name__}:DeepDetectTask"


@pytest.fixture(autouse=True)
def _findable(monkeypatch):
    # Tests are not a package: make the classes here findable by their path.
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or type(sys)("here"))
    for cls in (DetectTask, DeepDetectTask, OtherTask, NeedyTask):
        monkeypatch.setattr(sys.modules[__name__], cls.__name__, cls, raising=False)


def test_the_default_is_the_target_with_its_configuration():
    config = CalibrateConfig()
    assert config.detect == Configurable(DetectTask, DetectConfig())
    assert config.second.config.threshold == 3.0


@pytest.mark.parametrize(
    "value",
    [
        DeepDetectTask,
        DEEP,
        Configurable(DeepDetectTask, DeepConfig()),
        {"target": DEEP},
        {"target": DeepDetectTask, "config": {"depth": 3}},
    ],
)
def test_it_can_be_given_another_target(value):
    assert CalibrateConfig(detect=value).detect == Configurable(DeepDetectTask, DeepConfig())


def test_its_configuration_can_be_set_in_part():
    config = CalibrateConfig(second={"threshold": 1}).replace(detect={"config": {"threshold": 2}})
    assert (config.detect.config.threshold, config.second.config.threshold) == (2.0, 1.0)
    config = config.apply_override("detect.threshold", "7").replace(second=DetectConfig(threshold=8))
    assert (config.detect.config.threshold, config.second.config.threshold) == (7.0, 8.0)


def test_it_can_be_retargeted_and_set_by_overrides():
    config = (
        CalibrateConfig().apply_override("detect", DEEP, "one").apply_override("detect.depth", "4", "two")
    )
    assert config.detect == Configurable(DeepDetectTask, DeepConfig(depth=4))
    assert [(s.value, s.source) for s in config.history["detect"]] == [
        (DetectTask, "default"),
        (DeepDetectTask, "one"),
    ]
    assert [(s.value, s.source) for s in config.history["detect.depth"]] == [(3, "default"), (4, "two")]


def test_it_survives_json_and_yaml(tmp_path):
    config = CalibrateConfig(detect=DeepDetectTask).replace(**{"detect.depth": 5})
    assert CalibrateConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    config.save(tmp_path / "c.yaml")
    assert CalibrateConfig.load(tmp_path / "c.yaml") == config
    assert config.changes_from() == {"detect": {"target": DEEP, "config": config.detect.config.to_dict()}}
    assert CalibrateConfig(second={"threshold": 9}).changes_from() == {
        "second": {"config": {"threshold": 9.0}}
    }


def test_differences_name_the_target():
    assert CalibrateConfig(detect=DeepDetectTask).diff(CalibrateConfig())["detect"] == (
        DeepDetectTask,
        DetectTask,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detect": OtherTask}, "detect: must be a task class derived from DetectTask, got OtherTask"),
        ({"detect": dict}, "detect: dict is no task class: it has no ConfigClass"),
        ({"detect": "nowhere_x:Task"}, "detect: cannot import 'nowhere_x:Task'"),
        ({"detect": 3}, r"detect: must be a task class derived from DetectTask, got 3 \(int\)"),
        (
            {"detect": Configurable(DetectTask, NeedyConfig(x=1))},
            "DetectTask is configured by a DetectConfig",
        ),
        ({"detect": NeedyTask}, "detect.x: a value is required"),
        ({"detect": {"threshold": -1}}, "detect.threshold: must be at least 0"),
        ({"detect": {"target": DEEP, "extra": 1}}, "detect.extra: unknown key; known are target and config"),
        (
            {"detect": Configurable(DeepDetectTask, DeepConfig(threshold=9, depth=8)), "detect.threshold": 1},
            "detect: depth is beyond threshold",
        ),
        ({"second": NeedyConfig(x=1)}, "DetectTask is configured by a DetectConfig, got a NeedyConfig"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(changes, message):
    with pytest.raises(ConfigError, match=message):
        CalibrateConfig().replace(**changes)


def test_text_is_a_class_path_and_no_more():
    with pytest.raises(ConfigError, match="name a class as package"):
        CalibrateConfig().apply_override("detect", "{target: x}")


def test_it_needs_a_doc():
    with pytest.raises(ConfigError, match="it has no doc"):

        class Bad(Config):
            detect = ConfigurableField(DetectTask, doc="")
