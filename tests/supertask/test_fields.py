from __future__ import annotations

import pytest

from supertask.configs.config import field
from supertask.connections.fields import (
    CalibrationField,
    FieldRole,
    InitInputField,
    InitOutputField,
    InputField,
    OutputField,
    SuperTaskConfig,
)
from supertask.datasets import Dataset
from supertask.errors import ConfigError


class IsrConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(
        ("exposure", "detector"),
        "fits_image",
        doc="Raw.",
        select={"exposure.obs_type": "science", "band": ["g", "r"]},
    )
    flat = CalibrationField(
        ("detector", "physical_filter"), "fits_image", doc="Flat.", minimum=0, overhead=True
    )
    others = InputField(
        "exposure", "json", doc="Others.", multiple=True, deferred=True, prerequisite=True, name="o"
    )
    image = OutputField(("exposure", "detector"), "fits_image", doc="Reduced.")
    model = InitInputField("yaml", doc="Model.")
    schema = InitOutputField(doc="Schema.")
    level: float = field(1.0, doc="Level.")


def test_a_dataset_field_is_a_dataset_type_on_instances():
    config = IsrConfig()
    assert config.raw == Dataset.subclass("raw", ("exposure", "detector"), "fits_image")
    assert config.raw.doc == "Raw."
    assert config.others.name == "o"
    assert config.schema.units == ()


def test_its_name_is_configurable_in_every_way_and_nothing_else_is():
    config = IsrConfig(raw="my_raw").apply_override("flat", "my_flat").replace(image="my_image")
    assert (config.raw.name, config.flat.name, config.image.name) == ("my_raw", "my_flat", "my_image")
    assert config.raw.units == ("exposure", "detector")
    assert config.to_dict()["raw"] == "my_raw"
    assert IsrConfig.from_dict(config.to_dict()) == config
    same_kind = Dataset.subclass("given", ("detector", "exposure"), "fits_image")
    assert IsrConfig(raw=same_kind).raw is same_kind
    with pytest.raises(
        ConfigError, match=r"raw: must have units \(exposure, detector\) and storage fits_image"
    ):
        IsrConfig(raw=Dataset.subclass("given", ("exposure",), "fits_image"))
    with pytest.raises(ConfigError, match="'a b' is no name for a dataset type"):
        IsrConfig(raw="a b")
    with pytest.raises(ConfigError, match=r"raw: must be the name of a dataset type \(exposure, detector\)"):
        IsrConfig(raw=3)
    with pytest.raises(ConfigError, match="must be the name"):
        IsrConfig().apply_override("raw", 3)


def test_dataset_fields_say_what_was_declared():
    fields = IsrConfig(raw="my_raw").dataset_fields
    assert {n: f.role for n, f in fields.items()} == {
        "raw": FieldRole.INPUT,
        "flat": FieldRole.CALIBRATION,
        "others": FieldRole.INPUT,
        "image": FieldRole.OUTPUT,
        "model": FieldRole.INIT_INPUT,
        "schema": FieldRole.INIT_OUTPUT,
    }
    assert fields["raw"].dataset_type.name == "my_raw"
    assert fields["raw"].select == {"exposure.obs_type": ("science",), "band": ("g", "r")}
    assert (fields["raw"].multiple, fields["raw"].minimum, fields["raw"].attribute) == (None, 1, "raw")
    assert (fields["flat"].minimum, fields["flat"].overhead, fields["flat"].is_input) == (0, True, True)
    others = fields["others"]
    assert (others.multiple, others.deferred, others.prerequisite) == (True, True, True)
    assert not fields["image"].is_input
    assert set(IsrConfig().fields_of(FieldRole.INPUT)) == {"raw", "others"}


def test_dataset_fields_are_inherited_and_can_be_renamed_in_a_subclass():
    class Mine(IsrConfig):
        raw = "my_raw"
        extra = InputField("visit", "json", doc="Extra.")

    assert Mine().raw.name == "my_raw"
    assert list(Mine().dataset_fields)[:2] == ["raw", "flat"]
    assert Mine.quantum_units == ("exposure", "detector")


def test_one_unit_may_be_a_word():
    class One(SuperTaskConfig):
        quantum_units = "visit"
        x = InputField("visit", "json", doc="X.")

    assert One.quantum_units == ("visit",)
    assert One().x.units == ("visit",)


def declare(**body):
    return type("Made", (SuperTaskConfig,), body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"x": InputField("visit", "json", doc="")}, "field 'x': it has no doc"),
        ({"x": InputField("visit", doc="X.")}, "field 'x': dataset type 'x' has no storage format"),
        ({"x": InputField("visit", "json", doc="X.", name="a b")}, "'a b' is no name"),
        ({"x": InputField(("visit", "visit"), "json", doc="X.")}, "must be distinct unit names"),
        (
            {"x": InputField("visit", "json", doc="X.", minimum=-1)},
            "minimum must be a count, 0 or more, got -1",
        ),
        ({"x": InputField("visit", "json", doc="X.", minimum=True)}, "minimum must be a count"),
        ({"x": InputField("visit", "json", doc="X.", multiple=False, minimum=2)}, "contradict each other"),
        (
            {"x": InputField("visit", "json", doc="X.", select={"a.b.c": 1})},
            "'a.b.c' must be a unit or unit.field",
        ),
        ({"x": InputField("visit", "json", doc="X.", select={"visit": []})}, "needs one or more values"),
        (
            {"x": InputField("visit", "json", doc="X.", select={"visit": [object()]})},
            "needs one or more values",
        ),
        (
            {"x": InputField("visit", "json", doc="X."), "__annotations__": {"x": str}},
            "has no type annotation",
        ),
        (
            {"x": OutputField((), "json", doc="X."), "y": OutputField((), "json", doc="Y.", name="x")},
            "'x' and 'y' both write 'x'",
        ),
        ({"quantum_units": ("visit", "visit")}, "quantum_units names a unit twice"),
    ],
)
def test_declarations_that_make_no_sense_are_refused(body, message):
    with pytest.raises(ConfigError, match=message):
        declare(**body)


def test_one_dataset_type_is_read_and_written_through_one_field_each():
    class Pair(SuperTaskConfig):
        first = InputField("visit", "json", doc="First.")
        second = InputField("visit", "json", doc="Second.")
        out = OutputField("visit", "json", doc="Out.")
        more = OutputField("visit", "json", doc="More.")

    with pytest.raises(ConfigError) as caught:
        Pair(first="second", out="more")
    assert caught.value.problems == (
        (
            "'first' and 'second' both read 'second': a quantum keeps its inputs by dataset type, so read it "
            "through one field with multiple=True"
        ),
        "'out' and 'more' both write 'more': give one of them another name",
    )


def test_a_config_checks_its_datasets_whatever_its_own_validate_looks_at():
    class Checked(SuperTaskConfig):
        out = OutputField("visit", "json", doc="Out.")
        more = OutputField("visit", "json", doc="More.")

        def validate(self):
            return "never content"

    with pytest.raises(ConfigError, match="2 problems"):
        Checked(out="more")


def test_a_subclass_declares_a_dataset_field_anew():
    class Visits(SuperTaskConfig):
        quantum_units = ("visit",)
        image = InputField("visit", "fits_image", doc="Image.")
        out = OutputField("visit", "json", doc="Out.")

    class Exposures(Visits):
        quantum_units = ("exposure",)
        image = InputField("exposure", "fits_image", name="raw", doc="Raw frame.")

    assert (Exposures().image.name, Exposures().image.units) == ("raw", ("exposure",))
    assert (Visits().image.name, Visits().image.units) == ("image", ("visit",))
    assert Exposures().out == Visits().out
