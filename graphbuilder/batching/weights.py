"""What quanta weigh: seconds by a cost model, bytes of input, bytes of memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import TaskNode
from supertask.errors import PreflightError, Problems, did_you_mean
from supertask.repograph.tables import QuantumTable

__all__ = [
    "ByBytes",
    "ByFunction",
    "ByInputs",
    "Constant",
    "CostModel",
    "costs",
    "input_bytes",
    "input_counts",
]

Floats = npt.NDArray[np.float64]


class CostModel(Protocol):
    """Says what each quantum of a task costs."""

    def costs(self, dag: ScienceDag, node: TaskNode) -> Floats:
        """Return seconds, or what else is counted, of each quantum of a task, shape (count,)."""


@attrs.frozen
class Constant:
    """The same for every quantum."""

    each: float = 1.0

    def costs(self, dag: ScienceDag, node: TaskNode) -> Floats:
        """Return the cost of each quantum."""
        return np.full(node.count, float(self.each))

    def __str__(self) -> str:
        return f"{self.each:g} each"


@attrs.frozen
class ByBytes:
    """In proportion to bytes of input, above a base."""

    per_byte: float
    base: float = 0.0

    def costs(self, dag: ScienceDag, node: TaskNode) -> Floats:
        """Return the cost of each quantum."""
        return self.base + self.per_byte * input_bytes(dag, node)

    def __str__(self) -> str:
        return f"{self.base:g} + {self.per_byte:g} for each byte of input"


@attrs.frozen
class ByInputs:
    """In proportion to the number of inputs, above a base."""

    per_input: float
    base: float = 0.0

    def costs(self, dag: ScienceDag, node: TaskNode) -> Floats:
        """Return the cost of each quantum."""
        return self.base + self.per_input * input_counts(dag, node)

    def __str__(self) -> str:
        return f"{self.base:g} + {self.per_input:g} for each input"


@attrs.frozen
class ByFunction:
    """By a user's function of a task's quanta, which gives the cost of each, shape (count,)."""

    function: Callable[[QuantumTable], Any]

    def costs(self, dag: ScienceDag, node: TaskNode) -> Floats:
        """Return the cost of each quantum."""
        table = dag.quantum_tables[dag.tasks.index(node)]
        given = np.asarray(self.function(table), float)
        name = getattr(self.function, "__qualname__", repr(self.function))
        if given.shape != (node.count,):
            raise PreflightError(
                f"{name} must give the cost of each of {node.count} quanta of {node.label!r}, "
                f"and gave an array of shape {given.shape}"
            )
        if not bool(np.isfinite(given).all()) or bool((given < 0).any()):
            bad = given[~(np.isfinite(given) & (given >= 0))][0]
            raise PreflightError(f"{name} gave {bad} as the cost of a quantum of {node.label!r}")
        return given

    def __str__(self) -> str:
        return f"by {getattr(self.function, '__qualname__', 'a function')}"


def costs(dag: ScienceDag, models: Mapping[str, CostModel]) -> Floats:
    """Return the cost of every quantum of a plan, shape (quanta,); 1 where there is no model for its task.

    Raises
    ------
    PreflightError
        A model is for a task that the plan has not, or gives what is no cost.
    """
    problems = Problems("cost models")
    labels = [node.label for node in dag.tasks]
    for label in models:
        if label not in labels:
            problems.add(f"the plan has no task {label!r}{did_you_mean(label, labels)}")
    problems.raise_if_any(PreflightError)
    found = np.ones(dag.n_quanta)
    for node in dag.tasks:
        if node.label in models:
            found[node.first : node.first + node.count] = models[node.label].costs(dag, node)
    if not math.isfinite(float(found.sum())) or bool((found < 0).any()):
        raise PreflightError("what quanta cost must be numbers of 0 or more")
    return found


def input_counts(dag: ScienceDag, node: TaskNode) -> Floats:
    """Return how many datasets each quantum of a task reads, shape (count,)."""
    table = dag.quantum_tables[dag.tasks.index(node)]
    found = np.zeros(node.count)
    for edges in table.inputs.values():
        found += edges.counts()
    return found


def input_bytes(dag: ScienceDag, node: TaskNode, made: Mapping[str, float] | None = None) -> Floats:
    """Return how many bytes each quantum of a task reads, shape (count,).

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    node : TaskNode
        The task.
    made : Mapping, optional
        Name of a dataset type → bytes of one, for those that the plan makes; nothing unless given, as for
        those of which the repository does not know it.
    """
    table = dag.quantum_tables[dag.tasks.index(node)]
    found = np.zeros(node.count)
    for dataset_type, edges in table.inputs.items():
        datasets = dag.datasets[dataset_type]
        each = np.full(datasets.n, float((made or {}).get(dataset_type.name, 0.0)))
        if datasets.sizes is not None:
            sizes = np.asarray(datasets.sizes[:])
            each = np.where(sizes >= 0, sizes, each)
        weights = each[edges.all_rows()]
        if edges.indptr is None:
            found += weights
        else:
            sums = np.concatenate([[0.0], np.cumsum(weights)])
            found += np.diff(sums[np.asarray(edges.indptr)])
    return found
