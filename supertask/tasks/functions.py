"""A function with type hints as a SuperTask.

    @supertask_of(quantum_units=("exposure", "detector"))
    def flat_fielded(
        raw: Annotated[CCDData, InputField(("exposure", "detector"), "fits_image", doc="Frame.")],
        level: Annotated[float, "Level that counts as one."] = 1.0,
    ) -> Annotated[CCDData, OutputField(("exposure", "detector"), "fits_image", doc="Flat-fielded frame.")]:
        ...

What is annotated with an input field is read, everything else is a field of the configuration (annotated
with its doc or a `field`), and what is returned is written under the function's name. The name that the
function had is then a SuperTask, which pipelines name as they do any other; the function is its `function`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from supertask.configs.fields import Declaration, field
from supertask.connections.fields import CalibrationField, InputField, OutputField, SuperTaskConfig
from supertask.errors import ConfigError, Problems
from supertask.kinds.base import MISSING
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

__all__ = ["supertask_of"]


def supertask_of(
    *,
    quantum_units: tuple[str, ...] | str,
    outputs: Mapping[str, OutputField] | None = None,
    version: str = "1",
) -> Callable[[Callable[..., Any]], type[SuperTask]]:
    """Return a decorator that makes a SuperTask of a function.

    Parameters
    ----------
    quantum_units : tuple of str
        Units of one quantum.
    outputs : Mapping, optional
        Name → output field, for a function that returns a Struct or dict of several.
    version : str, optional
        To be changed when results of equal inputs and configuration change.

    Raises
    ------
    ConfigError
        Names every parameter without a type hint, and what is missing of outputs.
    """

    def decorate(function: Callable[..., Any]) -> type[SuperTask]:
        return _made(function, quantum_units, outputs, version)

    return decorate


def _made(
    function: Callable[..., Any],
    quantum_units: tuple[str, ...] | str,
    outputs: Mapping[str, OutputField] | None,
    version: str,
) -> type[SuperTask]:
    name = function.__name__
    problems = Problems(f"function {name!r} as a SuperTask")
    hints = typing.get_type_hints(function, include_extras=True)
    body: dict[str, Any] = {"quantum_units": quantum_units, "__module__": function.__module__}
    types: dict[str, Any] = {}
    inputs: list[str] = []
    values: list[str] = []
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        hint = hints.get(parameter.name, MISSING)
        if parameter.name == "dataId":
            continue
        if hint is MISSING:
            problems.add(f"parameter {parameter.name!r} has no type hint")
            continue
        declared = _marked(hint)
        if isinstance(declared, InputField | CalibrationField):
            body[parameter.name] = declared
            inputs.append(parameter.name)
            continue
        body[parameter.name] = declared if isinstance(declared, Declaration) else _field(parameter, declared)
        types[parameter.name] = typing.get_args(hint)[0] if declared is not None else hint
        values.append(parameter.name)
    body.update(_outputs(name, outputs, _marked(hints.get("return")), problems))
    problems.raise_if_any(ConfigError)
    config_class = type(f"{name}_config", (SuperTaskConfig,), {**body, "__annotations__": types})

    def run(self: SuperTask, **given: Any) -> Any:
        result = function(**given, **{key: getattr(self.config, key) for key in values})
        return result if outputs else Struct(**{name: result})

    # By its parameters a task says what it reads, and whether it wants the data ID.
    reads = [signature.parameters[key] for key in (*inputs, "dataId") if key in signature.parameters]
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [this, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in reads)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__doc__ = function.__doc__
    return type(
        name,
        (SuperTask,),
        {
            "ConfigClass": config_class,
            "_DefaultName": name,
            "version": version,
            "run": run,
            "function": staticmethod(function),
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "__qualname__": function.__qualname__,
        },
    )


def _marked(hint: Any) -> Any:
    """Return what an annotation is marked with: a declaration, a doc, or None."""
    if typing.get_origin(hint) is not typing.Annotated:
        return None
    marks = typing.get_args(hint)[1:]
    return next((m for m in marks if isinstance(m, Declaration | str)), None)


def _field(parameter: inspect.Parameter, doc: Any) -> Any:
    default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
    return field(default, doc=doc or f"Parameter {parameter.name}.")


def _outputs(
    name: str, outputs: Mapping[str, OutputField] | None, returned: Any, problems: Problems
) -> dict[str, OutputField]:
    if outputs:
        return dict(outputs)
    if isinstance(returned, OutputField):
        return {name: returned}
    problems.add(
        "it does not say what it writes: annotate what it returns, -> Annotated[type, OutputField(…)], "
        "or give outputs={name: OutputField(…)}"
    )
    return {}
