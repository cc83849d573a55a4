"""Planning over what the output run holds already: what exactly would be replaced.

Nothing is removed while planning. The plan says that it replaces, and how much; whoever runs it writes what
is to go in the run's journal, removes it, and then makes it anew.
"""

from __future__ import annotations

import uuid

import attrs
import numpy as np

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.reused import Replaced
from graphbuilder.reuse.matching import Match, matched
from supertask.butler.port import AbstractButler, CollectionKind
from supertask.datasets import Dataset
from supertask.errors import PreflightError, Problems

__all__ = ["clobbering", "replaced_datasets"]


def clobbering(dag: ScienceDag, butler: AbstractButler) -> ScienceDag:
    """Return a plan that replaces what its output run holds of what it makes.

    Parameters
    ----------
    dag : ScienceDag
        A plan as it was just made from the repository.
    butler : AbstractButler
        The repository.

    Returns
    -------
    ScienceDag
        The same with `meta.replaces`.

    Raises
    ------
    PreflightError
        A part only of what a task made there would be replaced, and by another config: a run has one
        config of each task.
    """
    counts: dict[str, int] = {}
    size = 0
    left: dict[str, int] = {}
    for dataset_type, (match, total) in _matches(dag, butler).items():
        rows = _made_again(dag, dataset_type, match)
        if len(rows):
            counts[dataset_type.name] = len(rows)
            size += int(np.maximum(match.sizes[match.found[rows]], 0).sum())
        left[dataset_type.name] = total - len(rows)
    _refuse_mixture(dag, butler, left)
    replaces = Replaced(uuid.uuid4().hex, counts, size)
    return dag.with_meta(attrs.evolve(dag.meta, replaces=replaces))


def replaced_datasets(dag: ScienceDag, butler: AbstractButler) -> list[Dataset]:
    """Return every dataset of the output run that a plan makes again, types in the plan's order."""
    found: list[Dataset] = []
    for dataset_type, (match, _) in _matches(dag, butler).items():
        found += dag.datasets[dataset_type].at(_made_again(dag, dataset_type, match))
    return found


def _matches(dag: ScienceDag, butler: AbstractButler) -> dict[type[Dataset], tuple[Match, int]]:
    """Return what the output run holds of the data IDs of each type, and how many it holds of it in all."""
    run = dag.meta.output_run
    if not any(c.name == run and c.kind is CollectionKind.RUN for c in butler.collection_infos()):
        return {}
    with butler.reader(collections=[run]) as reader:
        totals = {t: len(reader.made(t).datasets.ids) for t in dag.producers}
    with butler.reader(collections=[run]) as reader:
        for unit in sorted({u for t in dag.producers for u in dag.datasets[t].columns}):
            ids = dag.space.tables[unit].ids
            if ids is not None:
                reader.restrict(unit, np.sort(ids))
        return {t: (matched(dag, reader.made(t), by_identity=False), totals[t]) for t in dag.producers}


def _made_again(dag: ScienceDag, dataset_type: type[Dataset], match: Match) -> np.ndarray:
    makers = dag.producers[dataset_type].table(dag.datasets[dataset_type].n)
    return np.flatnonzero((makers >= 0) & (match.found >= 0))


def _refuse_mixture(dag: ScienceDag, butler: AbstractButler, left: dict[str, int]) -> None:
    if not left:
        return
    run = dag.meta.output_run
    tasks = butler.run_provenance(run).get("tasks", {})
    problems = Problems(f"what would be left in run {run!r}, which has one config of each task")
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        before = tasks.get(node.label, {}).get("key", node.key.hex())
        rest = {t.name: left.get(t.name, 0) for t in table.outputs}
        if node.count and before != node.key.hex() and any(rest.values()):
            said = ", ".join(f"{n:,} {name!r}" for name, n in rest.items() if n)
            problems.add(
                f"{node.label}: {said} made with another config or version; plan their data IDs too, or into "
                "another run"
            )
    problems.raise_if_any(PreflightError)
