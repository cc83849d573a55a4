"""Quorum: whether a quantum may run although some of its inputs failed to be made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from graphbuilder.dag.dag import ScienceDag
from supertask.configs.policy import FailurePolicy, parse_share
from supertask.connections.fields import FieldRole, SuperTaskConfig
from supertask.datasets import Dataset

__all__ = ["Quorums", "quorums_of"]

_KEPT = 1024


def quorums_of(config: object, policy: FailurePolicy) -> dict[str, float]:
    """Return, for a task, input dataset type → number or share of the planned ones that is enough.

    What the policy says holds for all inputs; without it, what each field says.
    """
    if not isinstance(config, SuperTaskConfig):
        return {}
    fields = config.fields_of(FieldRole.INPUT, FieldRole.CALIBRATION).values()
    if policy.quorum:
        share = parse_share(policy.quorum)
        return {f.dataset_type.name: share for f in fields}
    return {f.dataset_type.name: f.quorum for f in fields if f.quorum is not None}


class Quorums:
    """Decides for the quanta of a plan; `executors.decisions.schedule.Quorum` is what it can be called as.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    of_label : callable
        Returns what `quorums_of` gives for a task; asked once for each, when something before it failed.
    """

    def __init__(self, plan: ScienceDag, of_label: Callable[[str], Mapping[str, float]]) -> None:
        self._plan = plan
        self._of_label = of_label
        self._rules: dict[str, Mapping[str, float]] = {}
        self._inputs: dict[int, Mapping[type[Dataset], frozenset[Dataset] | set[Dataset]]] = {}

    def __call__(self, quantum: int, lost: Sequence[int]) -> bool:
        """Tell whether a quantum may run without what these others were to make for it."""
        task = self._plan.task_of(quantum)
        rules = self._rules.get(task.label)
        if rules is None:
            rules = self._rules[task.label] = self._of_label(task.label)
        if not rules:
            return False
        planned = self._planned(quantum)
        gone: dict[type[Dataset], set[Dataset]] = {}
        for producer in lost:
            for dataset_type, made in self._plan.quanta[producer].outputs.items():
                if dataset_type in planned:
                    gone.setdefault(dataset_type, set()).update(made & planned[dataset_type])
        for dataset_type, without in gone.items():
            share = rules.get(dataset_type.name)
            count = len(planned[dataset_type])
            if without and (share is None or count - len(without) < enough(share, count)):
                return False
            if count - len(without) < task.minimums.get(dataset_type.name, 1):
                return False
        return True

    def _planned(self, quantum: int) -> Mapping[type[Dataset], frozenset[Dataset] | set[Dataset]]:
        found = self._inputs.get(quantum)
        if found is None:
            if len(self._inputs) >= _KEPT:
                self._inputs.clear()
            found = self._inputs[quantum] = self._plan.quanta[quantum].inputs
        return found


def enough(share: float, planned: int) -> int:
    """Return how many of some planned inputs a quorum asks for."""
    return share if isinstance(share, int) else math.ceil(share * planned - 1e-9)
