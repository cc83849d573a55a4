"""What the job of a bundle asks of its engine: memory, time, cores and precedence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from executors.decisions.work import Work
from executors.driving.jobrequests import JobRequests
from executors.driving.retrying import Retrying
from executors.host.limits import Limits
from executors.jobs.enginejobs import Job, Measured
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.requests import Need
from supertask.tasks.hooks import JobRequest

__all__ = ["Requesting"]

_TIME = 2.0
_MEMORY = 1.5
"""What is asked for, over what was measured: a node may be slower, a field more crowded."""
_STEP = 600.0
"""Seconds to which times are rounded up: jobs that ask for the same are submitted together."""
_GRAIN = 1 << 28
"""Bytes, likewise."""


class Requesting:
    """Asks for jobs of one run.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    retrying : Retrying
        Knows what quanta may use.
    hooked : Mapping
        What submit hooks ask for.
    """

    def __init__(self, plan: ScienceDag, retrying: Retrying, hooked: JobRequests) -> None:
        self._plan = plan
        self._retrying = retrying
        self._hooked = hooked
        self._needs = {
            label: Need.from_plain(said)
            for bundling in plan.bundlings.values()
            for label, said in bundling.about.get("needs", {}).items()
        }
        self._firsts = np.array([node.first for node in plan.tasks])
        self._greatest = max((r.priority for r in self._requests(t.label for t in plan.tasks)), default=0)

    def job(
        self,
        work: Work,
        folder: Path,
        command: tuple[str, ...],
        labels: tuple[str, ...],
        granted: Mapping[int, int],
    ) -> Job:
        """Return the job of a bundle.

        Parameters
        ----------
        work : Work
            What it runs.
        folder : Path
            Its folder.
        command : tuple of str
            Program and arguments.
        labels : tuple of str
            Of its tasks.
        granted : Mapping
            Quantum → bytes that it may hold in the place of its task's limit.
        """
        limits = self._limits(work, labels, granted)
        requests = self._requests(labels)
        memory = [one.memory for one in limits if one.memory is not None]
        seconds = [one.timeout for one in limits if one.timeout is not None]
        return Job(
            name=folder.name,
            folder=folder,
            command=command,
            quanta=len(work.quanta),
            labels=labels,
            memory=max(memory, default=None),
            seconds=math.fsum(seconds) if len(seconds) == len(limits) else None,
            measured=self._measured(work, labels),
            cores=max(r.cores for r in requests),
            precedence=max(r.priority for r in requests) - self._greatest,
        )

    def _measured(self, work: Work, labels: Sequence[str]) -> Measured | None:
        """Return what a bundle is taken to need, where its tasks were measured."""
        if any(label not in self._needs for label in labels):
            return None
        counts = [len(work.quanta)]
        if len(labels) > 1:
            of_task = np.searchsorted(self._firsts, work.quanta, side="right") - 1
            numbers = np.bincount(of_task, minlength=len(self._firsts)).tolist()
            by_label = {node.label: n for node, n in zip(self._plan.tasks, numbers, strict=True)}
            counts = [by_label[label] for label in labels]
        needs = [self._needs[label] for label in labels]
        seconds = _TIME * math.fsum(need.seconds(n) for need, n in zip(needs, counts, strict=True))
        memory = _MEMORY * max(need.memory for need in needs)
        return Measured(
            memory=math.ceil(memory / _GRAIN) * _GRAIN, seconds=math.ceil(seconds / _STEP) * _STEP
        )

    def _limits(self, work: Work, labels: Sequence[str], granted: Mapping[int, int]) -> Sequence[Limits]:
        """Return what the quanta of a bundle may use."""
        retrying = self._retrying
        if len(labels) == 1 and len(retrying.limits[labels[0]]) == 1 and not granted:
            return [retrying.limits[labels[0]][0]] * len(work.quanta)
        return [retrying.limits_of(q, self._plan.task_of(q).label) for q in work.quanta]

    def _requests(self, labels: Iterable[str]) -> list[JobRequest]:
        """Return what submit hooks ask for, of tasks with all of their variants."""
        return [r for label in labels for r in self._hooked.get(label) or [JobRequest(label=label)]]
