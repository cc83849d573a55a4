"""The preflight report: what a plan will read, write and cost, and what in it looks amiss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.preview.cautions import Caution, Kind, cautions_of
from graphbuilder.preview.costs import TaskCost, merged
from graphbuilder.preview.sizes import sizes_of
from graphbuilder.reasons.course import explain_plan
from supertask.butler.port import AbstractButler

__all__ = ["PreflightReport", "TaskPreview", "TypePreview", "preflight_report"]


@attrs.frozen
class TaskPreview:
    """What one task will do."""

    label: str
    units: tuple[str, ...]
    quanta: int
    reads: int
    """Datasets, each counted as often as it is read."""
    bytes_read: int | None
    """None where the size of one of its inputs is unknown."""
    writes: int
    bytes_written: int | None
    cpu: float | None
    """Seconds, all quanta together; None where no earlier run says."""
    wall: float | None
    """Seconds, one quantum after the other."""
    memory: int | None
    """Bytes: the most that one quantum used before."""
    measured: int
    """How many quanta of earlier runs the costs are estimated from."""
    source: str
    """Which runs these were; empty without any."""


@attrs.frozen
class TypePreview:
    """The datasets of one type."""

    name: str
    units: tuple[str, ...]
    storage: str
    datasets: int
    made: bool
    bytes: int | None
    source: str
    """Where the bytes are from."""


@attrs.frozen
class PreflightReport:
    """What a plan will read, write and cost, and what in it looks amiss."""

    output_run: str
    tasks: tuple[TaskPreview, ...]
    types: tuple[TypePreview, ...]
    cautions: tuple[Caution, ...]

    @property
    def quanta(self) -> int:
        """All quanta."""
        return sum(t.quanta for t in self.tasks)

    def total(self, what: str) -> tuple[float, int]:
        """Return the sum of a figure over the tasks that have it, and of how many it is not known."""
        values = [getattr(t, what) for t in self.tasks if t.quanta]
        return sum(v for v in values if v is not None), sum(v is None for v in values)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON; null is unknown."""
        return {
            "output_run": self.output_run,
            "quanta": self.quanta,
            "datasets": sum(t.datasets for t in self.types),
            "totals": {
                what: {"known": self.total(what)[0], "tasks_unknown": self.total(what)[1]}
                for what in ("bytes_read", "bytes_written", "cpu", "wall")
            },
            "tasks": [attrs.asdict(t) for t in self.tasks],
            "dataset_types": [attrs.asdict(t) for t in self.types],
            "warnings": [{**attrs.asdict(c), "kind": c.kind.value} for c in self.cautions],
        }


def preflight_report(
    dag: ScienceDag, *, butler: AbstractButler | None = None, costs: Iterable[TaskCost] = ()
) -> PreflightReport:
    """Report on a plan before it is run.

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    butler : AbstractButler, optional
        Its repository: sizes of outputs are estimated from what it has of the same types, and the
        expression is held against what it has.
    costs : iterable of TaskCost, optional
        What quanta cost in earlier runs; see `graphbuilder.preview.costs`.
    """
    sizes = sizes_of(dag, butler)
    known = merged(costs)
    tasks = []
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        sides = []
        for edges_of in (table.inputs, table.outputs):
            taken = [sizes[t].of(e.all_rows()) for t, e in edges_of.items() if e.count]
            whole = None if None in taken else round(sum(b for b in taken if b is not None))
            sides.append((sum(e.count for e in edges_of.values()), whole))
        (reads, bytes_read), (writes, bytes_written) = sides
        cost = known.get(node.label)
        scale = None if cost is None else node.count / cost.quanta
        tasks.append(
            TaskPreview(
                node.label, node.quantum_units, node.count, reads, bytes_read, writes, bytes_written,
                None if cost is None or scale is None else cost.cpu * scale,
                None if cost is None or scale is None else cost.wall * scale,
                None if cost is None else cost.peak_memory,
                0 if cost is None else cost.quanta,
                "" if cost is None else cost.source or "an earlier run",
            )
        )  # fmt: skip
    types = tuple(
        TypePreview(t.name, t.units, t.storage, s.n, s.made, s.total, s.source) for t, s in sizes.items()
    )
    cautions = cautions_of(dag)
    if butler is not None:
        chosen = explain_plan(dag, butler).selection
        if chosen is not None:
            found = [Caution(Kind.EXPRESSION, "", c.together, str(c)) for c in chosen.suspects()]
            cautions = found + cautions
    return PreflightReport(dag.meta.output_run, tuple(tasks), types, tuple(cautions))
