"""Which variant of its task each quantum gets: overrides on units of data, evaluated on columns.

The condition of every override becomes a mask over the quanta of its task; quanta that the same overrides
match share one configuration, made and checked once. The cost is linear in quanta times overrides, and
nothing where there are no overrides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.identity import Digests, FieldInput, quantum_identities
from graphbuilder.dag.values import AppliedOverride, LeftOut, TaskNode, Variant
from graphbuilder.expressions.language import parse
from graphbuilder.tasks.variantcontracts import MadeVariant
from supertask.conditions import And, Condition, Exists, Not, Or, Overlaps, names
from supertask.configs.identities import identity_path, task_key
from supertask.errors import ExpressionError, PipelineError, Problems, SuperTaskError
from supertask.pipelines.dataoverrides import (
    DataOverride,
    combined,
    disagreement,
    drops,
    expression,
    resolved,
    say_when,
)
from supertask.pipelines.overridechecks import incompatible, undetermined
from supertask.pipelines.pipeline import Pipeline, TaskDef
from supertask.repograph.columns import Ints
from supertask.repograph.tables import QuantumTable
from supertask.units import UnitModel

__all__ = ["Chosen", "Overrides", "identities_of"]

_BITS = 60


@attrs.frozen(eq=False)
class Chosen:
    """What overrides make of the quanta of one task."""

    keep: npt.NDArray[np.int64] | None
    """Rows of the quanta that are not dropped; None for all."""
    left_out: tuple[LeftOut, ...]
    variants: tuple[Variant, ...] = ()
    """Configurations that some of the quanta kept have; none where all have the task's own."""
    column: npt.NDArray[Any] | None = None
    """Shape (n kept,): the variant of each; None where there is one or none."""


@attrs.frozen
class _Conditional:
    """An override and what its condition means; None for all data."""

    override: DataOverride
    condition: Condition | None


class Overrides:
    """The overrides of a pipeline, their conditions read.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline, checked.
    model : UnitModel
        Units of the data.

    Raises
    ------
    PipelineError
        Names every condition that cannot be understood, or that the quanta of its task do not decide.
    """

    def __init__(self, pipeline: Pipeline, model: UnitModel) -> None:
        self._parameters = pipeline.parameters
        self._by_label: dict[str, list[_Conditional]] = {}
        self.made: dict[str, list[MadeVariant]] = {}
        """Label → the variants that `choose` found, in the order of their numbers."""
        problems = Problems("overrides")
        for raw in pipeline.overrides:
            try:
                override = resolved(raw, pipeline.parameters)
                condition = parse(expression(override.when), model)
            except ExpressionError as error:
                problems.take(error, f"{raw.source}: override of {raw.label!r}: when: ")
                continue
            at = f"{override.source}: override of {override.label!r}: "
            for part in _looked_up(condition):
                problems.add(
                    f"{at}when: {part} is not told by a data ID; say it in the plan's own expression"
                )
            units = sorted({n.unit for n in names(condition)}) if condition is not None else []
            if what := undetermined(pipeline[override.label], units, model):
                problems.add(at + what)
            self._by_label.setdefault(override.label, []).append(_Conditional(override, condition))
        problems.raise_if_any(PipelineError)

    def choose(self, taskdef: TaskDef, table: QuantumTable) -> Chosen | None:
        """Return what overrides make of the quanta of a task; None where it has none.

        Raises
        ------
        PipelineError
            Two overrides of equal rank match one quantum and disagree, or a configuration that several make
            together is not valid.
        """
        mine = self._by_label.get(taskdef.label)
        if not mine:
            return None
        masks = [_mask(table, conditional) for conditional in mine]
        combos, of = _combinations(masks, table.n)
        first = np.full(len(combos), table.n, np.int64)
        np.minimum.at(first, of, np.arange(table.n))
        problems = Problems(f"overrides of {taskdef.label!r}")
        made: list[MadeVariant | DataOverride] = []
        for combo, row in zip(combos, first.tolist(), strict=True):
            matching = [c.override for c, there in zip(mine, combo, strict=True) if there]
            try:
                made.append(self._made(taskdef, matching, table, row, problems))
            except SuperTaskError as error:
                problems.take(error, f"{table.space.data_ids(table.columns, np.array([row]))[0]}: ")
        problems.raise_if_any(PipelineError)
        self.made[taskdef.label] = [m for m in made if isinstance(m, MadeVariant)]
        variants = [variant_of(taskdef, m) if isinstance(m, MadeVariant) else m for m in made]
        return _chosen(taskdef.label, table, variants, of)

    def _made(
        self,
        taskdef: TaskDef,
        matching: Sequence[DataOverride],
        table: QuantumTable,
        row: int,
        problems: Problems,
    ) -> MadeVariant | DataOverride:
        """Return the variant that some overrides make together, or the one that drops what they match."""
        if found := disagreement(taskdef, matching, self._parameters):
            one, other, what = found
            example = table.space.data_ids(table.columns, np.array([row]), n=1)[0]
            problems.add(
                f"{one} and {other} both match {example} and disagree at rank {one.rank} on {what}; let "
                "their conditions exclude each other, or give one of them a higher rank"
            )
        dropped = drops(matching)
        if dropped is not None:
            return dropped
        variant = combined(taskdef, matching, self._parameters)
        for what in incompatible(taskdef, variant):
            problems.add(what)
        return MadeVariant(variant, tuple(matching))


def variant_of(taskdef: TaskDef, made: MadeVariant) -> Variant:
    """Return what a plan keeps of a task as some overrides make it."""
    variant, config = made.task, made.task.config
    sources = {path: settings[-1].source for path, settings in config.history.items() if settings}
    changes = {}
    if type(config) is type(taskdef.config):
        changes = {
            path: (_shown(a), _shown(b), sources.get(path, ""))
            for path, (a, b) in taskdef.config.diff(config).items()
        }
    version = variant.task_class.version
    return Variant(
        variant.class_path,
        config.to_dict(),
        version,
        task_key(identity_path(variant.task_class), version, config),
        tuple(AppliedOverride(say_when(o.when), o.source, o.rank, o.camera) for o in made.overrides),
        changes,
    )


def _shown(value: object) -> str:
    return str(getattr(value, "name", value)) or "''"


def _looked_up(condition: Condition | None) -> list[Condition]:
    """Return the parts of a condition that only the repository could answer."""
    if isinstance(condition, And | Or):
        return [found for part in condition.parts for found in _looked_up(part)]
    if isinstance(condition, Not):
        return _looked_up(condition.part)
    return [condition] if isinstance(condition, Overlaps | Exists) else []


def _mask(table: QuantumTable, conditional: _Conditional) -> npt.NDArray[np.bool_]:
    """Return which quanta an override matches: where its condition is true, so not where it is null."""
    condition = conditional.condition
    if condition is None:
        return np.ones(table.n, bool)
    space = table.space
    strange = [n.unit for n in names(condition) if not space.determines(table.columns, n.unit)]
    if strange:
        raise PipelineError(
            f"{conditional.override}: a quantum of {table.label!r} is for each ({', '.join(table.columns)}), "
            f"which does not tell its {', '.join(sorted(strange))}"
        )
    matched: npt.NDArray[np.bool_] = ~space.mask(Not(condition), table.columns, table.n)
    return matched


def _combinations(
    masks: Sequence[npt.NDArray[np.bool_]], n: int
) -> tuple[list[tuple[bool, ...]], npt.NDArray[np.intp]]:
    """Return which overrides match together somewhere, and of each quantum which of these it is."""
    key = np.zeros(n, np.int64)
    bits = 0
    for mask in masks:
        if bits == _BITS:
            # Ranked, so that any number of overrides fits in 64 bits.
            distinct, ranks = np.unique(key, return_inverse=True)
            key, bits = ranks.astype(np.int64), max(len(distinct) - 1, 1).bit_length()
        key <<= 1
        key |= mask
        bits += 1
    _, first, of = np.unique(key, return_index=True, return_inverse=True)
    return [tuple(bool(mask[row]) for mask in masks) for row in first.tolist()], of


def _chosen(
    label: str, table: QuantumTable, made: Sequence[Variant | DataOverride], of: npt.NDArray[np.intp]
) -> Chosen:
    """Sort quanta into those that are dropped and those of each variant, equal variants as one."""
    left_out = []
    drop = np.array([isinstance(m, DataOverride) for m in made], bool)
    keep = None
    if drop.any():
        for k in np.flatnonzero(drop).tolist():
            rows = np.flatnonzero(of == k)
            why = f"quanta that no override drops; {made[k]} does"
            left_out.append(LeftOut(label, why, {u: c[rows] for u, c in table.columns.items()}))
        keep = np.flatnonzero(~drop[of])
        of = of[keep]
    kept = [m for m in made if isinstance(m, Variant)]
    place = np.cumsum(~drop) - 1
    variants = tuple(kept)
    if all(not v.overrides for v in variants):
        return Chosen(keep, tuple(left_out))
    if len(variants) == 1:
        return Chosen(keep, tuple(left_out), variants)
    width = np.min_scalar_type(len(variants) - 1)
    return Chosen(keep, tuple(left_out), variants, place[of].astype(width))


def identities_of(
    node: TaskNode, table: QuantumTable, inputs: Sequence[FieldInput], units: Callable[[str], Digests]
) -> Digests:
    """Return the identity of every quantum of a task, each by the key of its variant; shape (n, 16)."""
    if table.variants is None:
        key = node.variants[0].key if node.variants else node.key
        return quantum_identities(key, table, inputs, units)
    found = np.empty((table.n, 16), np.uint8)
    for v, variant in enumerate(node.variants):
        rows: Ints = np.flatnonzero(table.variants == v)
        parts = [attrs.evolve(f, edges=f.edges.take(rows)) for f in inputs]
        found[rows] = quantum_identities(variant.key, table.take(rows), parts, units)
    return found
