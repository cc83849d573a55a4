from __future__ import annotations

from typing import Annotated, Any

import pytest

from supertask.connections.fields import InputField, OutputField
from supertask.errors import ConfigError
from supertask.pipelines.pipeline import Pipeline
from supertask.tasks.functions import supertask_of
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask
from supertask.testing.linting import lint
from supertask.testing.quanta import runQuantum


@supertask_of(quantum_units=("exposure",))
def scaled(
    number: Annotated[Any, InputField("exposure", "json", doc="A number.")],
    factor: Annotated[float, "What it is multiplied by."] = 2.0,
) -> Annotated[Any, OutputField("exposure", "json", doc="The product.")]:
    """A number times another."""
    return number * factor


@supertask_of(
    quantum_units=("exposure",),
    outputs={"a": OutputField("exposure", "json", doc="A."), "b": OutputField("exposure", "json", doc="B.")},
)
def split(number: Annotated[Any, InputField("exposure", "json", doc="A number.")], dataId: Any, n: int = 1):
    return Struct(a=number + n, b=dataId["exposure"])


def test_a_function_is_a_supertask():
    assert issubclass(scaled, SuperTask)
    assert runQuantum(scaled, {"number": 4}).scaled == 8.0
    config = scaled.ConfigClass(factor=3)
    assert runQuantum(scaled(config=config), {"number": 4}).scaled == 12.0
    assert scaled.ConfigClass.config_fields["factor"].doc == "What it is multiplied by."
    assert scaled.function(4, 5) == 20
    assert scaled.__doc__ == "A number times another."
    assert lint(scaled) == ()


def test_a_function_may_return_several_and_know_its_data_id():
    result = runQuantum(split, {"number": 4}, {"exposure": 7})
    assert (result.a, result.b) == (5, 7)


def test_a_function_stands_in_a_pipeline():
    pipeline = Pipeline().add("scaled", scaled).applyConfigOverrides(["scaled:factor=4"])
    pipeline.check()
    assert pipeline["scaled"].config.factor == 4.0
    assert pipeline["scaled"].class_path == f"{__name__}:scaled"


def test_what_is_missing_is_named_at_once():
    with pytest.raises(ConfigError) as caught:

        @supertask_of(quantum_units=("exposure",))
        def bad(x, y: int = 1):
            return x

    assert [p.split(":")[0] for p in caught.value.problems] == [
        "parameter 'x' has no type hint", "it does not say what it writes",
    ]  # fmt: skip
