"""`defineQuanta` for a task whose config declares inputs, outputs and the quantum's units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from supertask.connections.fields import DatasetField, FieldRole
from supertask.connections.inputlookups import When
from supertask.errors import PreflightError
from supertask.repograph.graph import RepoGraph
from supertask.repograph.grouped import GroupedQuanta
from supertask.repograph.relate import deciders
from supertask.units import UnitModel

__all__ = ["DeclaredConfig", "define_declared", "leading"]


class DeclaredConfig(Protocol):
    """The part of a SuperTaskConfig that this module reads."""

    @property
    def quantum_units(self) -> tuple[str, ...]:
        """Units of the quantum."""

    @property
    def dataset_fields(self) -> Mapping[str, DatasetField]:
        """Inputs and outputs by attribute."""


def define_declared(repoGraph: RepoGraph, config: DeclaredConfig) -> GroupedQuanta:
    """Group the first fitting input by the quantum's units, join the others, produce the outputs.

    The input that is grouped is the first required one that fits best: one whose units determine
    those of the quantum, else one from which a relation leads to them. Without any there is a
    quantum for each combination of the instances of its units.

    Raises
    ------
    PreflightError
        The config declares no quantum units or no outputs, or inputs cannot be related.
    """
    fields = config.dataset_fields.values()
    units = config.quantum_units
    outputs = [f for f in fields if f.role is FieldRole.OUTPUT]
    if not outputs:
        raise PreflightError(
            f"{type(config).__name__} declares no OutputField: declare what the task writes, "
            "or write defineQuanta by hand"
        )
    inputs = [f for f in fields if f.role in (FieldRole.INPUT, FieldRole.CALIBRATION)]
    first = leading(repoGraph.model, repoGraph.relations, units, inputs)
    if first is None:
        quanta = repoGraph.quanta(units)
    else:
        quanta = repoGraph.group(first.dataset_type, units, select=first.select, whole=first.untrimmed)
        if first.minimum > 1:
            quanta = quanta.require(first.dataset_type, first.minimum)
    for field in inputs:
        if field is not first:
            quanta = quanta.join(
                field.dataset_type, minimum=field.minimum, select=field.select, whole=field.untrimmed,
                when=field.when, max_gap=field.max_gap, alike=field.alike, find=field.find,
            )  # fmt: skip
    for field in outputs:
        quanta = quanta.produce(field.dataset_type)
    return quanta


def leading(
    model: UnitModel, relations: Iterable[str], units: Iterable[str], inputs: Iterable[DatasetField]
) -> DatasetField | None:
    """Choose the input whose datasets say which quanta there are."""
    wanted = set(deciders(model, model.closure(units)))
    reached = None
    for field in inputs:
        if field.minimum < 1 or field.role is FieldRole.CALIBRATION or field.prerequisite:
            continue
        if field.find is not None or field.when is not When.VALID:
            continue
        have = set(model.determined(model.closure(field.dataset_type.units)))
        if wanted <= have:
            return field
        for name in relations:
            relation = model.relation(name)
            for side, other in ((relation.left, relation.right), (relation.right, relation.left)):
                if set(side) <= have and wanted <= have | set(model.determined(other)):
                    reached = reached or field
    return reached
