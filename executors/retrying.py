"""What a run knows of failures: each task's policy, what was tried, and what quanta were granted since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import attrs

from executors.limits import Limits
from executors.outcome import Attempt
from executors.policy import Retry, Tried, decide, failures_allowed, grown
from executors.processes import machine_memory
from executors.quorum import quorums_of
from executors.schedule import Budget
from executors.taskset import TaskSet
from graphbuilder.dag.values import TaskNode
from supertask.errors import ConfigError, ExecutionError, Problems, did_you_mean
from supertask.fields import SuperTaskConfig
from supertask.policy import FailureClass, FailurePolicy, parse_share

__all__ = ["ALL", "PolicyChanges", "Retrying", "Verdict", "policies_of"]

ALL = "*"
"""In the place of a label: all tasks."""

PolicyChanges = Mapping[str, Mapping[str, Any]]
"""Task label, or ``*`` for all → field of the `FailurePolicy`, such as ``retries.error`` → value."""


@attrs.frozen
class Verdict:
    """What becomes of a quantum whose attempt failed."""

    retry: Retry | None
    """How it is tried again, None where the failure is final."""
    memory: int | None
    """Bytes that whoever tries it again is to grant, where it ran out of what it had."""


def policies_of(
    nodes: Iterable[TaskNode], tasks: TaskSet, changes: PolicyChanges
) -> dict[str, FailurePolicy]:
    """Return the policy of each task: what the plan says, and over it what this run is told.

    Raises
    ------
    ExecutionError
        Names every change that is of no task, of no field, or not allowed.
    """
    labels = [node.label for node in nodes]
    problems = Problems("failure policies of this run")
    for label in changes:
        if label != ALL and label not in labels:
            problems.add(f"the plan has no task {label!r}{did_you_mean(label, labels)}")
    found: dict[str, FailurePolicy] = {}
    said: set[str] = set()
    for label in labels:
        config = tasks[label].config
        policy = config.policy if isinstance(config, SuperTaskConfig) else FailurePolicy()
        for which in (ALL, label):
            try:
                policy = policy.replace(**changes.get(which, {}))
            except ConfigError as error:
                if which not in said:
                    problems.take(error, "" if which == ALL else f"{which}: ")
                said.add(which)
        found[label] = policy
    problems.raise_if_any(ExecutionError)
    return found


class Retrying:
    """Decides what becomes of quanta that fail; see `executors.policy`.

    Parameters
    ----------
    nodes : sequence of TaskNode
        The plan's tasks.
    policies : Mapping
        Task label → its policy.
    granted : Mapping, optional
        Quantum → bytes, from earlier sessions: what it asked for beyond its task's limit.
    """

    def __init__(
        self,
        nodes: Iterable[TaskNode],
        policies: Mapping[str, FailurePolicy],
        granted: Mapping[int, int] | None = None,
    ) -> None:
        self._nodes = {node.label: node for node in nodes}
        self.policies = policies
        self.limits = {label: Limits(p.timeout, p.memory_bytes) for label, p in policies.items()}
        self._granted: dict[int, int] = {}
        for node in self._nodes.values():
            limit = self.limits[node.label].memory
            if limit is not None and granted:
                stop = node.first + node.count
                more = {q: m for q, m in granted.items() if node.first <= q < stop and m > limit}
                self._granted.update(more)
        self._tried: dict[int, list[Tried]] = {}

    @cached_property
    def _machine(self) -> int:
        return machine_memory()

    def granted(self, quanta: Iterable[int]) -> dict[int, int]:
        """Return, of some quanta, which may hold how many bytes in the place of their task's limit."""
        known = self._granted
        return {q: known[q] for q in quanta if q in known} if known else {}

    def limits_of(self, quantum: int, label: str) -> Limits:
        """Return what the next attempt of a quantum may use."""
        limits = self.limits[label]
        memory = self._granted.get(quantum)
        return limits if memory is None else attrs.evolve(limits, memory=memory)

    def budgets(self) -> list[Budget]:
        """Return how many quanta of each task may fail, where its policy says so."""
        found = []
        for label, node in self._nodes.items():
            share = self.policies[label].max_failures
            if share and node.count:
                allowed = failures_allowed(parse_share(share), node.count)
                found.append(Budget(label, node.first, node.first + node.count, allowed))
        return found

    def quorums(self, label: str, tasks: TaskSet) -> dict[str, float]:
        """Return the quorums of a task's inputs, see `quorums_of`."""
        return quorums_of(tasks[label].config, self.policies[label])

    def failed(self, attempt: Attempt) -> Verdict:
        """Say what becomes of a quantum whose attempt failed."""
        index, label = attempt.index, attempt.label
        policy = self.policies[label]
        kind = attempt.failure.kind if attempt.failure is not None else FailureClass.ERROR
        held = self.limits_of(index, label).memory
        tried = [*self._tried.get(index, ()), Tried(kind, held)]
        ran_out = kind is FailureClass.OUT_OF_MEMORY and held is not None
        machine = self._machine if ran_out else None
        retry = decide(policy, tried, attempt.identity, machine=machine)
        memory = grown(policy, held, machine=machine) if ran_out else None
        if memory is not None:
            self._granted[index] = memory
        if retry is None:
            self._tried.pop(index, None)
        else:
            self._tried[index] = tried
        return Verdict(retry, memory)
