"""What a process keeps from one job to the next: tasks that are made, and the overheads that these share."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext

from executors.host.limits import Guard
from executors.jobs.bundlefile import BundlePlan
from executors.overheads.making import Overheads
from executors.overheads.store import OverheadStore
from executors.quanta.taskset import TaskSet
from supertask.butler.datastore import Datastore
from supertask.butler.limited import LimitedButler
from supertask.configs.identities import digest
from supertask.datasets import Dataset

__all__ = ["Warmth"]

_MOST = 16
"""Sets of tasks: bundles of different steps of a plan take turns."""


class Warmth:
    """Keeps tasks and overheads.

    Parameters
    ----------
    memory : int, optional
        Bytes for overheads; half of the machine's memory unless given.
    """

    def __init__(self, memory: int | None = None) -> None:
        self._tasks: dict[bytes, TaskSet] = {}
        self._guard: Guard | None = None
        self._overheads = Overheads(OverheadStore(memory), self._paused)

    def tasks(self, plan: BundlePlan, store: Datastore) -> TaskSet:
        """Return the tasks of a job: those of an earlier one, if they are the same."""
        # Init inputs that came along in a job's folder are gone with it.
        where = store.root if plan.said["init"] else ""
        key = digest(json.dumps([plan.said["tasks"], plan.said["init"], where]).encode())
        found = self._tasks.get(key)
        if found is None:
            inputs = {
                Dataset.subclass(name, (), storage)(): location
                for name, storage, location in plan.said["init"]
            }
            if len(self._tasks) >= _MOST:
                self._tasks.clear()
            found = TaskSet(plan.tasks, LimitedButler(store, plan.model, inputs, {}))
            self._tasks[key] = found
        return found

    def overheads(self, guard: Guard) -> Overheads:
        """Return the overheads, whose making does not count for the limits that `guard` holds."""
        self._guard = guard
        return self._overheads

    def _paused(self) -> AbstractContextManager[object]:
        return nullcontext() if self._guard is None else self._guard.paused()
