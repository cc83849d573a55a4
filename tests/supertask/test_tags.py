"""Tags of tasks and configurations."""

from __future__ import annotations

import pytest

from supertask import Config, ConfigurableField, Task, field
from supertask.configs.identities import task_key
from supertask.errors import ConfigError
from supertask.tasks.tags import check_tags, inherited_tags, matches, parse_tag, tags_of


class FitConfig(Config):
    order: int = field(3, doc="Order.", tag=True)
    model: str = field("moffat", doc="Model.", tag="model")


class FitTask(Task):
    ConfigClass = FitConfig
    _DefaultName = "fit"


class MeasureConfig(Config):
    fit = ConfigurableField(FitTask, doc="How to fit.")
    tags: dict[str, str] = field({}, doc="Tags.", meta=True)


class MeasureTask(Task):
    ConfigClass = MeasureConfig
    _DefaultName = "measure"
    tags = {"stage": "measurement", "who": "class"}


class FasterTask(MeasureTask):
    tags = {"speed": 2}


def test_tags_come_from_the_class_its_bases_and_fields_however_deep() -> None:
    assert tags_of(FasterTask, MeasureConfig()) == {
        "stage": "measurement",
        "who": "class",
        "speed": 2,
        "fit.order": 3,
        "model": "moffat",
    }


def test_tags_that_a_configuration_is_given_come_first() -> None:
    assert tags_of(MeasureTask, MeasureConfig(tags={"who": "me"}))["who"] == "me"


def test_tags_never_enter_identity() -> None:
    plain, tagged = MeasureConfig(), MeasureConfig(tags={"who": "me"})
    assert task_key("a:B", "1", plain) == task_key("a:B", "1", tagged)


def test_outputs_inherit_the_tags_of_what_they_were_made_from() -> None:
    own = {"a": {"x": 1, "y": 1}, "b": {"y": 2}, "c": {}, "d": {"x": 9}}
    upstream = {"b": ["a"], "c": ["a", "b"], "d": ["c"]}
    found = inherited_tags(own, upstream)
    assert found["b"] == {"x": 1, "y": 2}
    assert found["c"] == {"x": 1, "y": [1, 2]}
    assert found["d"] == {"x": 9, "y": [1, 2]}


def test_a_tag_matches_by_its_text_and_an_empty_value_stands_for_any() -> None:
    tags = {"order": 3, "both": [1, 2], "flag": True}
    assert matches(tags, {"order": "3", "flag": "true", "both": "2"})
    assert matches(tags, {"both": ""})
    assert not matches(tags, {"order": "4"})
    assert not matches(tags, {"missing": ""})


def test_bad_tags_are_named_all_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)'a=b' is not a name.*'c' must be text"):
        check_tags({"a=b": 1, "c": [1]}, "this run")
    with pytest.raises(ConfigError, match="write name=value"):
        parse_tag("=x")
    assert parse_tag("paper = 2 ") == ("paper", "2")
