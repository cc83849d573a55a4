"""What a run knows of failures: each task's policy, what was tried, and what quanta were granted since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from functools import cached_property
from typing import Any

import attrs

from executors.decisions.budget import Budget
from executors.decisions.policy import Retry, Tried, decide, failures_allowed, grown
from executors.decisions.quorum import quorums_of
from executors.driving.jobrequests import JobRequests, asked_for
from executors.host.limits import Limits, LimitsOfTask
from executors.host.processes import machine_memory
from executors.outcome import Attempt
from executors.quanta.taskset import TaskSet
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import TaskNode
from supertask.configs.policy import FailureClass, FailurePolicy, parse_share
from supertask.connections.fields import SuperTaskConfig
from supertask.errors import ConfigError, ExecutionError, Problems, did_you_mean

__all__ = ["ALL", "PolicyChanges", "Retrying", "Verdict", "policies_of"]

ALL = "*"
"""In the place of a label: all tasks."""

PoliciesOfTask = tuple[FailurePolicy, ...]
"""That of all of a task's quanta, or one for each of its variants where these differ."""

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
    nodes: Iterable[TaskNode], tasks: TaskSet, changes: PolicyChanges, jobs: JobRequests | None = None
) -> dict[str, PoliciesOfTask]:
    """Return the policies of each task: what the plan says, over it submit hooks, and then this run.

    Raises
    ------
    ExecutionError
        Names every change that is of no task, of no field, or not allowed.
    """
    by_label = {node.label: node for node in nodes}
    labels = list(by_label)
    problems = Problems("failure policies of this run")
    for label in changes:
        if label != ALL and label not in labels:
            problems.add(f"the plan has no task {label!r}{did_you_mean(label, labels)}")
    found: dict[str, PoliciesOfTask] = {}
    said: set[str] = set()
    for label, node in by_label.items():
        policies = _planned(node, tasks)
        if jobs and label in jobs:
            policies = asked_for(policies * len(jobs[label]) if len(policies) == 1 else policies, jobs[label])
        for which in (ALL, label):
            try:
                policies = [policy.replace(**changes.get(which, {})) for policy in policies]
            except ConfigError as error:
                if which not in said:
                    problems.take(error, "" if which == ALL else f"{which}: ")
                said.add(which)
        alike = all(policy == policies[0] for policy in policies)
        found[label] = tuple(policies[:1] if alike else policies)
    problems.raise_if_any(ExecutionError)
    return found


def _planned(node: TaskNode, tasks: TaskSet) -> list[FailurePolicy]:
    """Return what the plan says for each variant of a task."""
    config = tasks[node.label].config
    if not isinstance(config, SuperTaskConfig):
        return [FailurePolicy()]
    others = [FailurePolicy.from_dict(v.config["policy"], "the plan") for v in node.variants[1:]]
    return [config.policy, *others]


class Retrying:
    """Decides what becomes of quanta that fail; see `executors.decisions.policy`.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    policies : Mapping
        Task label → what `policies_of` found.
    granted : Mapping, optional
        Quantum → bytes, from earlier sessions: what it asked for beyond its task's limit.
    """

    def __init__(
        self,
        plan: ScienceDag,
        policies: Mapping[str, PoliciesOfTask],
        granted: Mapping[int, int] | None = None,
    ) -> None:
        self._plan = plan
        self.policies = policies
        self.limits: dict[str, LimitsOfTask] = {
            label: tuple(Limits(p.timeout, p.memory_bytes) for p in of_task)
            for label, of_task in policies.items()
        }
        self._granted: dict[int, int] = {}
        for quantum, memory in (granted or {}).items():
            limit = self.limits_of(quantum, plan.task_of(quantum).label).memory
            if limit is not None and memory > limit:
                self._granted[quantum] = memory
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
        limits = self.limits[label][self._number(quantum, self.limits[label])]
        memory = self._granted.get(quantum)
        return limits if memory is None else attrs.evolve(limits, memory=memory)

    def _number(self, quantum: int, of_task: Sized) -> int:
        return self._plan.variant_of(quantum) if len(of_task) > 1 else 0

    def budgets(self) -> list[Budget]:
        """Return how many quanta of each task may fail, where its policy says so."""
        found = []
        for node in self._plan.tasks:
            share = self.policies[node.label][0].max_failures
            if share and node.count:
                allowed = failures_allowed(parse_share(share), node.count)
                found.append(Budget(node.label, node.first, node.first + node.count, allowed))
        return found

    def quorums(self, label: str, tasks: TaskSet) -> dict[str, float]:
        """Return the quorums of a task's inputs, see `quorums_of`."""
        return quorums_of(tasks[label].config, self.policies[label][0])

    def failed(self, attempt: Attempt) -> Verdict:
        """Say what becomes of a quantum whose attempt failed."""
        index, label = attempt.index, attempt.label
        policies = self.policies[label]
        policy = policies[self._number(index, policies)]
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
