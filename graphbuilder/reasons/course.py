"""Where the quanta of a plan came from and went, step by step."""

from __future__ import annotations

from typing import Any

import attrs

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.loading.lookups import condition_for
from graphbuilder.reasons.links import linking_relations
from graphbuilder.reasons.lookup import check_same, pipeline_of
from graphbuilder.reasons.selection import Selection, select_step_by_step
from supertask.butler.port import AbstractButler
from supertask.connections.fields import FieldRole

__all__ = ["PlanExplanation", "explain_plan"]

_LAST = "quanta planned"
"""The last step of every task."""


@attrs.frozen
class PlanExplanation:
    """Where the quanta of a plan came from and went, step by step."""

    steps: tuple[tuple[str, str, int], ...]
    """Task label or empty, step, how many it left."""
    left_out: tuple[tuple[str, str, int], ...]
    """Task label, what those that stayed have, how many have it not."""
    selection: Selection | None = None
    """What each condition of the expression leaves; None where the repository is not at hand."""
    trimmed: tuple[str, ...] = ()
    """What the expression took from inputs that quanta gather."""

    @property
    def findings(self) -> tuple[str, ...]:
        """What is most likely amiss, first things first."""
        found = [] if self.selection is None else list(self.selection.findings())
        for label in dict.fromkeys(t for t, what, n in self.steps if t and not n and what == _LAST):
            first = next(
                (w for t, w, n in self.steps if t == label and not n and w != _LAST),
                "its defineQuanta, which made none",
            )
            found.append(f"{label} has no quanta; the first step that left none: {first}")
        found += self.trimmed
        found += [f"{n:,} of {label} left out: not among the {why}" for label, why, n in self.left_out]
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        chosen = self.selection
        return {
            "findings": list(self.findings),
            "conditions": [] if chosen is None else [attrs.asdict(c) for c in chosen.conditions],
            "relations": [] if chosen is None else [attrs.asdict(r) for r in chosen.relations],
            "inputs": [] if chosen is None else [attrs.asdict(i) for i in chosen.inputs],
            "steps": [{"task": t, "step": what, "left": n} for t, what, n in self.steps],
            "trimmed": list(self.trimmed),
            "left_out": [{"task": t, "why": why, "quanta": n} for t, why, n in self.left_out],
        }


def explain_plan(dag: ScienceDag, butler: AbstractButler | None = None) -> PlanExplanation:
    """Say how a plan came about, and which conditions and inputs it owes its size to.

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    butler : AbstractButler, optional
        Its repository, for what each condition leaves and which values it has that come nearest.
    """
    left_out = tuple((p.label, p.why, len(p)) for p in dag.left_out)
    trimmed = tuple(map(str, dag.meta.trimmed))
    if butler is None:
        return PlanExplanation(dag.meta.steps, left_out, trimmed=trimmed)
    check_same(dag, butler)
    pipeline = pipeline_of(dag)
    given = {} if pipeline is None else {
        n: u.dataset_type for n, u in pipeline.dataset_types().items() if u.producer is None
    }  # fmt: skip
    certified = {
        f.dataset_type
        for task in (pipeline or {}).values()
        for f in task.config.dataset_fields.values()
        if f.role is FieldRole.CALIBRATION
    }
    where = condition_for(
        dag.meta.where, butler, bind=dag.meta.bind, collections=dag.meta.collections, planned=dag.datasets
    )
    chosen = select_step_by_step(
        butler,
        where,
        tuple(given.values()),
        collections=dag.meta.collections,
        certified=certified,
        relations=_followed(dag),
    )
    return PlanExplanation(dag.meta.steps, left_out, chosen, trimmed)


def _followed(dag: ScienceDag) -> set[str]:
    """Return the relations that join quanta of some task to what it reads."""
    return {
        name
        for table in dag.quantum_tables
        for dataset_type in table.tables
        for name in linking_relations(dag.model, table.columns, dataset_type.units)
    }
