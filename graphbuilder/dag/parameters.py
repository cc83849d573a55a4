"""Per-quantum parameters in a plan file: JSON, one string for each quantum, typed again when read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

from graphbuilder.dag.columns import StringColumn
from supertask.classpath import class_path, load_class
from supertask.errors import PreflightError
from supertask.tasks.quantumparameters import meta_names

__all__ = ["ParameterColumn", "parameter_values"]


def parameter_values(parameters: Any, *, meta: bool = True) -> dict[str, Any] | None:
    """Return one quantum's parameters as plain values: class and values.

    Parameters
    ----------
    parameters : object
        An attrs object.
    meta : bool, optional
        Whether with those that change no result, which do not identify a quantum.

    Raises
    ------
    PreflightError
        They are not an attrs object of plain values.
    """
    if parameters is None:
        return None
    if not attrs.has(type(parameters)):
        raise PreflightError(
            f"parameters of a quantum must be an attrs object, got {parameters!r} "
            f"({type(parameters).__name__}): write a class under @attrs.frozen"
        )
    values = attrs.asdict(parameters)
    if not meta:
        for name in meta_names(type(parameters)):
            del values[name]
    return {"class": class_path(type(parameters)), "values": values}


class ParameterColumn(Sequence[Any]):
    """Parameters of each quantum of a task, made from their JSON on demand.

    Parameters
    ----------
    strings : StringColumn
        What `pack` made, perhaps still in a file.
    """

    def __init__(self, strings: StringColumn) -> None:
        self.strings = strings
        """JSON of each quantum's."""

    @staticmethod
    def pack(parameters: Sequence[Any]) -> StringColumn:
        """Turn parameters to strings.

        Raises
        ------
        PreflightError
            A value has no JSON.
        """
        try:
            return StringColumn.from_strings(json.dumps(parameter_values(p)) for p in parameters)
        except (TypeError, ValueError) as error:
            raise PreflightError(
                f"parameters of a quantum must be plain values (numbers, text, lists of them): {error}"
            ) from error

    def __len__(self) -> int:
        return len(self.strings)

    def plain(self, index: int) -> Any:
        """Return the values of one quantum as JSON has them, whether or not their class can be imported."""
        said = json.loads(self.strings[index])
        return None if said is None else said["values"]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        said = json.loads(self.strings[index])
        if said is None:
            return None
        cls = load_class(said["class"])
        if not attrs.has(cls):
            raise PreflightError(f"{said['class']} is not an attrs class")
        # JSON knows no tuples; a frozen value's sequences were tuples.
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in said["values"].items()}
        return cls(**values)
