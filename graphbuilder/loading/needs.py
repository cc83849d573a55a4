"""What a pipeline needs of a repository: inputs that none of its tasks makes, units, relations."""

from __future__ import annotations

import attrs

from graphbuilder.loading.following import Leads, leads_of
from graphbuilder.loading.widening import Untrimmed
from supertask.connections.fields import DatasetField, FieldRole
from supertask.connections.inputlookups import When
from supertask.datasets import Dataset
from supertask.errors import PreflightError
from supertask.pipelines.pipeline import Pipeline, TaskDef
from supertask.repograph.timely import alike_units
from supertask.units import UnitModel

__all__ = ["Needs", "fields_of", "needs_of", "types_of"]


@attrs.frozen
class Needs:
    """What a pipeline needs of a repository."""

    inputs: tuple[type[Dataset], ...]
    """Dataset types that the pipeline reads and does not make."""
    calibrations: frozenset[type[Dataset]]
    """Those of them that may be certified for ranges of time."""
    units: tuple[frozenset[str], ...]
    """For each task, all units of its quanta, inputs and outputs."""
    untrimmed: tuple[Untrimmed, ...] = ()
    """Inputs that the expression must not narrow."""
    leads: Leads | None = None
    """Inputs that all quanta come from, where it is known."""

    def all_units(self, model: UnitModel) -> tuple[str, ...]:
        """Return every unit that follows from those of any task."""
        return model.determined({u for units in self.units for u in units})

    def relations(self, model: UnitModel) -> tuple[str, ...]:
        """Return the relations both of whose sides some task speaks of."""
        found = []
        for relation in model.relations:
            sides = set(relation.left) | set(relation.right)
            if any(sides <= set(model.determined(units)) for units in self.units):
                found.append(relation.name)
        return tuple(found)


def needs_of(pipeline: Pipeline, model: UnitModel) -> Needs:
    """Return what a pipeline needs.

    Raises
    ------
    PreflightError
        What an input says must be alike in its quantum and in it, neither determines.
    """
    made = {t for d in pipeline.values() for t in types_of(d, FieldRole.OUTPUT)}
    inputs: dict[type[Dataset], None] = {}
    calibrations: set[type[Dataset]] = set()
    units = []
    untrimmed: dict[Untrimmed, None] = {}
    for taskdef in pipeline.values():
        spoken = set(taskdef.config.quantum_units)
        for field in fields_of(taskdef):
            if field.role in (FieldRole.INIT_INPUT, FieldRole.INIT_OUTPUT):
                continue
            spoken |= set(field.dataset_type.units)
            if field.role is not FieldRole.OUTPUT and field.dataset_type not in made:
                inputs[field.dataset_type] = None
                if field.role is FieldRole.CALIBRATION:
                    calibrations.add(field.dataset_type)
                if field.untrimmed:
                    untrimmed[_untrimmed(model, taskdef, field)] = None
        units.append(frozenset(spoken))
    needs = Needs(tuple(inputs), frozenset(calibrations), tuple(units), tuple(untrimmed))
    return attrs.evolve(needs, leads=leads_of(pipeline, model, needs.relations(model)))


def _untrimmed(model: UnitModel, taskdef: TaskDef, field: DatasetField) -> Untrimmed:
    """Return which selection narrows an input that the expression as such must not narrow."""
    units: tuple[str, ...] = taskdef.config.quantum_units
    if field.find is not None:
        units = ()
    elif field.when is not When.VALID:
        try:
            units = alike_units(model, units, field.dataset_type.units, field.alike)
        except PreflightError as error:
            raise PreflightError(f"{taskdef.label}.{field.attribute}: {error}") from None
    return Untrimmed(field.dataset_type, units)


def fields_of(taskdef: TaskDef) -> list[DatasetField]:
    """Return the inputs and outputs that a task's config declares."""
    return list(taskdef.config.dataset_fields.values())


def types_of(taskdef: TaskDef, role: FieldRole) -> list[type[Dataset]]:
    """Return the dataset types that a task's config declares in one role."""
    return [f.dataset_type for f in fields_of(taskdef) if f.role is role]
