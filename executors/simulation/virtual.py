"""Slots and a driver with a clock of their own: what they decide, real runs decide by the same code.

The driver does one thing after another: it hands out jobs, and hears of quanta that ended. A job waits in
line until a slot is free. Times between these are a framework's `Latencies`. Events are taken in order of
when quanta end; since the driver hears of all equally late and in this order, nothing is decided before what
it follows from.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable

import attrs
import numpy as np

from executors.decisions.schedule import Schedule
from executors.decisions.work import Work
from executors.outcome import QuantumStatus
from executors.simulation.latencies import Latencies
from executors.simulation.workload import Workload
from supertask.configs.policy import FailureClass

__all__ = ["Retry", "Spent", "VirtualRun"]

Retry = Callable[[int, int, FailureClass], float | None]
"""Given a quantum, the number of its attempt and how that failed: after how long it is tried again."""

_SUCCEEDED = QuantumStatus.SUCCEEDED
_FAILED = QuantumStatus.FAILED


@attrs.define
class Spent:
    """Seconds of slots, and what they were spent for."""

    work: float = 0.0
    overhead: float = 0.0
    retries: float = 0.0
    latency: float = 0.0
    driver: float = 0.0
    jobs: int = 0
    attempts: int = 0


@attrs.define(eq=False)
class _Job:
    """What runs in a slot."""

    quanta: tuple[int, ...]
    slot: int
    shared: set[int]
    """Keys of what is there of what quanta share."""
    dies: int
    """At which of its quanta it is killed; -1 for never."""
    at: int = 0
    seconds: float = 0.0
    """Of the quantum that runs, with what it makes for others."""
    made: float = 0.0
    """That part of it."""
    fails: FailureClass | None = None
    skipped: set[int] = attrs.field(factory=set)
    """What it leaves out behind failures."""


class VirtualRun:
    """One run in virtual time.

    Parameters
    ----------
    schedule : Schedule
        Says what may run next; new.
    workload : Workload
        What quanta need.
    latencies : Latencies
        What the framework adds.
    slots : int
        How many jobs run at once.
    ahead : int
        How many jobs are handed out at most and have not ended; at least as many as slots.
    retry : callable
        See `Retry`.
    seed : int
        Of failures. Whether an attempt fails depends on it and on the attempt alone, so that runs with other
        bundles meet the same failures.
    """

    def __init__(
        self,
        schedule: Schedule,
        workload: Workload,
        latencies: Latencies,
        *,
        slots: int,
        ahead: int,
        retry: Retry,
        seed: int = 0,
    ) -> None:
        self.spent = Spent()
        self.clock = latencies.startup
        """Until when the driver is busy."""
        # As if a job had ended in each slot, so that the next can begin once the slot is there.
        self._opened = (latencies.startup + latencies.warmup if latencies.warmup else 0.0) - latencies.between
        self._schedule = schedule
        self._latencies = latencies
        self._retry = retry
        self._seed = seed
        self._ahead = max(ahead, slots)
        self._active = 0
        """Jobs that were handed out and have not ended."""
        self._begun = 0
        self._seconds = memoryview(workload.seconds)
        shared = workload.overhead
        self._overhead = memoryview(shared) if shared is not None and shared.any() else None
        keys = np.zeros(len(workload), np.int64) if workload.keys is None else workload.keys
        self._keys = memoryview(keys)
        self._failing = None if workload.failing is None else memoryview(workload.failing)
        self._dying = workload.dying
        self._deaths = random.Random(f"{seed}/jobs")  # noqa: S311 - not for secrets
        drawn = np.random.default_rng(seed).random(len(workload)) if workload.failing is not None else None
        self._drawn = None if drawn is None else memoryview(drawn)
        self._numbers: dict[int, int] = {}
        """Quanta that were tried → how often, where that is not once."""
        self._free: list[tuple[float, int]] = [(self._opened, slot) for slot in range(slots)]
        """A heap: since when each idle slot is free. One that never ran anything can begin at once."""
        self._kept: dict[int, set[int]] = {}
        self._waiting: deque[tuple[float, Work]] = deque()
        """Jobs that were handed out, when, and that have no slot yet."""
        self._ends: list[tuple[float, int, _Job]] = []
        """A heap: when the quantum that each job runs ends."""

    def run(self) -> float:
        """Run everything; return when the call would return.

        Raises
        ------
        ExecutionError
            Quanta wait for each other.
        """
        ends, schedule, latencies, spent = self._ends, self._schedule, self._latencies, self.spent
        pause, notice, per_end = latencies.per_quantum, latencies.notice, latencies.per_end
        plain = self._failing is None and not self._dying and self._overhead is None
        seconds, finish = self._seconds, schedule.finish
        n_ended = n_pauses = 0
        while True:
            due = schedule.wake(self.clock) if schedule.n_postponed else None
            if self._active < self._ahead:
                self._hand_out()
            if due is not None and (not ends or due < ends[0][0]) and self._active < self._ahead:
                self.clock = max(self.clock, due)
                continue
            if not ends:
                if schedule.over:
                    break
                continue
            now, number, job = ends[0]
            clock = self.clock
            self.clock = max(clock, now + notice) + per_end
            n_ended += 1
            if plain:
                finish(job.quanta[job.at], _SUCCEEDED)
                spent.work += job.seconds
                job.at += 1
                if job.at < len(job.quanta):
                    # The common case: the next quantum of the same job, all of whose quanta succeed.
                    n_pauses += 1
                    job.seconds = seconds[job.quanta[job.at]]
                    heapq.heapreplace(ends, (now + pause + job.seconds, number, job))
                    continue
                begun = False
            else:
                begun = self._note(job) and self._begin(job, now + pause)
                n_pauses += begun
            if begun:
                heapq.heapreplace(ends, (now + pause + job.seconds, number, job))
            else:
                heapq.heappop(ends)
                self._active -= 1
                heapq.heappush(self._free, (now, job.slot))
                self._match()
        spent.attempts = n_ended
        spent.latency += n_pauses * pause
        spent.driver += n_ended * per_end
        return self.clock + latencies.ending

    # -- the driver ---------------------------------------------------------------------------

    def _hand_out(self) -> None:
        schedule, latencies = self._schedule, self._latencies
        while self._active < self._ahead:
            work = schedule.take(max(1, min(latencies.chunk, schedule.margin)))
            if work is None:
                break
            self.clock += latencies.per_job
            self.spent.driver += latencies.per_job
            self.spent.jobs += 1
            self._active += 1
            self._waiting.append((self.clock, work))
        self._match()

    def _match(self) -> None:
        """Give waiting jobs to free slots."""
        latencies = self._latencies
        while self._waiting and self._free:
            since, slot = heapq.heappop(self._free)
            at, work = self._waiting.popleft()
            begin = max(at + latencies.delay, since + latencies.between)
            self.spent.latency += begin - max(at, since)
            kept = self._kept.setdefault(slot, set()) if latencies.keeps else set()
            dies = -1
            if self._dying and self._deaths.random() < self._dying:
                dies = self._deaths.randrange(len(work.quanta))
            job = _Job(work.quanta, slot, kept, dies)
            self._begin(job, begin)
            self._begun += 1
            heapq.heappush(self._ends, (begin + job.seconds, self._begun, job))

    # -- slots --------------------------------------------------------------------------------

    def _begin(self, job: _Job, now: float) -> bool:
        """Begin the next quantum of a job; return whether there is one."""
        while job.at < len(job.quanta) and job.quanta[job.at] in job.skipped:
            job.at += 1
        if job.at == len(job.quanta):
            return False
        q = job.quanta[job.at]
        job.made = 0.0
        if self._overhead is not None and (own := self._overhead[q]):
            key = self._keys[q]
            if key not in job.shared:
                job.shared.add(key)
                job.made = own
        job.seconds = self._seconds[q] + job.made
        job.fails = FailureClass.ERROR if self._fails(q) else None
        if job.at == job.dies:
            job.fails = FailureClass.KILLED
            job.seconds *= self._deaths.random()
            job.shared.clear()
        return True

    def _fails(self, quantum: int) -> bool:
        if self._failing is None or self._drawn is None:
            return False
        number = self._numbers.get(quantum, 0) + 1
        if number == 1:
            return self._drawn[quantum] < self._failing[quantum]
        again = random.Random(f"{self._seed}/{quantum}/{number}")  # noqa: S311 - not for secrets
        return again.random() < self._failing[quantum]

    def _note(self, job: _Job) -> bool:
        """Tell the schedule how a quantum ended; return whether its job goes on."""
        schedule, spent = self._schedule, self.spent
        q = job.quanta[job.at]
        job.at += 1
        if job.fails is None:
            schedule.finish(q, _SUCCEEDED)
            spent.work += job.seconds - job.made
            spent.overhead += job.made
            return True
        spent.retries += job.seconds
        number = self._numbers[q] = self._numbers.get(q, 0) + 1
        delay = None if schedule.stopped else self._retry(q, number, job.fails)
        if delay is None:
            schedule.finish(q, _FAILED)
        else:
            schedule.postpone(q, self.clock + delay if delay else 0.0)
        rest = job.quanta[job.at :]
        if schedule.stopped:
            # As real ones do: what runs finishes, what waits in a job or in line never begins.
            self._call_off()
        if schedule.stopped or job.fails is FailureClass.KILLED:
            schedule.give_back(rest)
            return False
        job.skipped.update(schedule.not_running(rest))
        return True

    def _call_off(self) -> None:
        """Take back all that was handed out and has not begun."""
        for _, work in self._waiting:
            self._schedule.give_back(work.quanta)
            self._active -= 1
        self._waiting.clear()
        for _, _, job in self._ends:
            self._schedule.give_back(job.quanta[job.at + 1 :])
            job.skipped.update(job.quanta[job.at + 1 :])
