"""Replays a plan in virtual time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from executors.decisions.policy import failures_allowed
from executors.decisions.quorum import Quorums, quorums_of
from executors.decisions.schedule import Schedule
from executors.driving.retrying import Retrying
from executors.jobs.enginejobs import SLOTS
from executors.outcome import Attempt, Failure, QuantumStatus
from executors.simulation.latencies import Latencies
from executors.simulation.outcome import Simulated
from executors.simulation.virtual import VirtualRun
from executors.simulation.workload import Workload, critical_path
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Bundling, TaskNode
from supertask.classpath import load_class
from supertask.configs.policy import FailureClass, FailurePolicy
from supertask.errors import ExecutionError, SuperTaskError
from supertask.tasks.supertask import SuperTask

__all__ = ["simulate"]


def simulate(
    plan: ScienceDag,
    workload: Workload,
    latencies: Latencies,
    *,
    slots: int,
    bundling: Bundling | None = None,
    ahead: int | None = None,
    max_failures: float | None = None,
    seed: int = 0,
    path: float | None = None,
) -> Simulated:
    """Replay a whole plan in virtual time; nothing is run, read or written.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    workload : Workload
        What its quanta need.
    latencies : Latencies
        What the framework adds.
    slots : int
        How many jobs run at once.
    bundling : Bundling, optional
        What runs together; none unless given.
    ahead : int, optional
        How many jobs are handed out at most that have not ended; 1000, or twice the slots if that is more,
        unless given.
    max_failures : int or float, optional
        As for `ExecutionFramework.execute`.
    seed : int, optional
        Of failures.
    path : float, optional
        What `critical_path` gave; found out unless given.

    Raises
    ------
    ExecutionError
        There are no slots, or more than the framework can have; the workload is of another plan; the bundles
        do not fit the plan.
    """
    if slots < 1:
        raise ExecutionError(f"a run needs 1 slot or more, not {slots}")
    if latencies.slots and slots > latencies.slots:
        raise ExecutionError(
            f"{latencies.framework} has {latencies.slots} slot{'s' * (latencies.slots > 1)}, not {slots}"
        )
    if len(workload) != plan.n_quanta:
        raise ExecutionError(
            f"the workload is of {len(workload):,} quanta, and the plan has {plan.n_quanta:,}"
        )
    failures = _Failures(plan)
    schedule = Schedule(
        plan.successors(),
        bundling,
        quorum=failures.quorum,
        max_failures=None if max_failures is None else failures_allowed(max_failures, plan.n_quanta),
        budgets=failures.retrying.budgets(),
    )
    run = VirtualRun(
        schedule,
        workload,
        latencies,
        slots=slots,
        ahead=max(SLOTS, 2 * slots) if ahead is None else ahead,
        retry=failures.retry,
        seed=seed,
    )
    makespan = run.run()
    if schedule.n_open:
        schedule.cancel()
    counts = np.bincount(schedule.statuses, minlength=len(QuantumStatus))
    spent = run.spent
    return Simulated(
        slots=slots,
        makespan=makespan,
        work=spent.work,
        overhead=spent.overhead,
        retries=spent.retries,
        latency=spent.latency,
        critical_path=critical_path(plan.successors(), workload.seconds) if path is None else path,
        driver=spent.driver,
        jobs=spent.jobs,
        attempts=spent.attempts,
        counts={s.value: int(counts[s.code]) for s in QuantumStatus if counts[s.code]},
        stopped=schedule.why_stopped,
    )


class _Failures:
    """What the plan says of failures, for those who cannot import its tasks too."""

    def __init__(self, plan: ScienceDag) -> None:
        self._plan = plan
        self._policies = {node.label: _policies(node) for node in plan.tasks}
        self.retrying = Retrying(plan, self._policies)
        self.quorum = Quorums(plan, self._quorums)

    def retry(self, quantum: int, number: int, kind: FailureClass) -> float | None:
        """Say after how many seconds a quantum is tried again, None for never."""
        attempt = Attempt(
            index=quantum,
            identity=self._plan.identities[quantum].tobytes(),
            label=self._plan.task_of(quantum).label,
            status=QuantumStatus.FAILED,
            number=number,
            failure=Failure("Simulated", "", kind=kind),
        )
        retry = self.retrying.failed(attempt).retry
        return None if retry is None else retry.delay

    def _quorums(self, label: str) -> Mapping[str, float]:
        node = self._plan.task(label)
        try:
            config = load_class(node.class_path, SuperTask).ConfigClass.from_dict(node.config, "the plan")
        except SuperTaskError:
            return {}  # of a task that is not installed here it is not known what it could do without
        return quorums_of(config, self._policies[label][0])


def _policies(node: TaskNode) -> tuple[FailurePolicy, ...]:
    configs = [v.config for v in node.variants] or [node.config]
    found = [
        FailurePolicy.from_dict(config["policy"], "the plan") if "policy" in config else FailurePolicy()
        for config in configs
    ]
    return tuple(found[:1] if all(each == found[0] for each in found) else found)
