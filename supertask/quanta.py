"""Quantum: one piece of work, its inputs and its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from supertask.dataids import DataId
from supertask.datasets import Dataset

__all__ = ["Quantum"]

Datasets = dict[type[Dataset], set[Dataset]]


class Quantum:
    """An independent unit of work.

    Parameters
    ----------
    inputs, outputs : Mapping
        Dataset class → set of Datasets. Any iterable of Datasets does for the set.
    label : str, optional
        Label of the task in its pipeline. A quantum holds the label, never the task.
    parameters : object, optional
        Per-quantum values, a frozen typed attrs object.
    dataId : DataId, optional
        The quantum's own data ID. Where it is not given, preflight takes it from the task's
        quantum units.
    """

    __slots__ = ("dataId", "inputs", "label", "outputs", "parameters")

    inputs: Datasets
    outputs: Datasets
    label: str
    parameters: Any
    dataId: DataId | None

    def __init__(
        self,
        inputs: Mapping[type[Dataset], Iterable[Dataset]],
        outputs: Mapping[type[Dataset], Iterable[Dataset]],
        label: str = "",
        parameters: Any = None,
        dataId: DataId | None = None,
    ) -> None:
        self.inputs = _sets(inputs)
        self.outputs = _sets(outputs)
        self.label = label
        self.parameters = parameters
        self.dataId = dataId

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantum):
            return NotImplemented
        return (
            self.inputs == other.inputs
            and self.outputs == other.outputs
            and self.label == other.label
            and self.parameters == other.parameters
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        def say(datasets: Datasets) -> str:
            return ", ".join(f"{len(v)} {t.name}" for t, v in datasets.items()) or "nothing"

        return f"<Quantum {self.label}{self.dataId or ''}: {say(self.inputs)} -> {say(self.outputs)}>"


def _sets(side: Mapping[type[Dataset], Iterable[Dataset]]) -> Datasets:
    # Copying a dict is cheap, making it anew hashes every type again.
    made: Any = dict(side)
    for dataset_type, datasets in side.items():
        if type(datasets) is not set:
            made[dataset_type] = set(datasets)
    return made  # type: ignore[no-any-return]
