"""Measures what a framework adds: from when things were handed out, began, ended and were heard of."""

from __future__ import annotations

import os
import statistics
import time
from itertools import pairwise
from pathlib import Path

import attrs

from executors.events import BundleStarted, Event, QuantumEnded
from executors.journal.report import Report
from executors.port import ExecutionFramework
from executors.simulation.latencies import Latencies
from supertask.butler.port import AbstractButler
from supertask.errors import ExecutionError

__all__ = ["LatencyRecorder", "measured_latencies"]

_NANO = 1e-9


@attrs.define(eq=False)
class _Seen:
    """One bundle as it was run."""

    handed: float
    spans: list[tuple[float, float, float]] = attrs.field(factory=list)
    """Of each quantum: when it began and ended by the clock of who ran it, and when the driver heard."""


class LatencyRecorder:
    """A listener that notes when the driver did and heard what; for one run of a plan with bundles."""

    inline = True

    def __init__(self) -> None:
        self.called = time.time()
        self.cpu = _cpu()
        self._bundles: dict[int, _Seen] = {}
        self._last = 0.0
        self._burst: list[float] = []
        """Seconds between jobs that were handed out with nothing heard in between."""
        self._of: dict[int, int] = {}

    def __call__(self, event: Event) -> None:
        """Hear of an event."""
        now = time.time()
        if isinstance(event, BundleStarted):
            self._bundles[event.bundle] = _Seen(now)
            if self._last:
                self._burst.append(now - self._last)
            self._last = now
            self._of.update(dict.fromkeys(event.quanta, event.bundle))
        elif isinstance(event, QuantumEnded):
            attempt = event.attempt
            seen = self._bundles[self._of[attempt.index]]
            seen.spans.append((attempt.start * _NANO, attempt.end * _NANO, now))
            self._last = 0.0

    def latencies(self, framework: str, slots: int, like: Latencies) -> Latencies:
        """Return what was seen, once the run has returned.

        Parameters
        ----------
        framework : str
            What to call it.
        slots : int
            How many jobs ran at once.
        like : Latencies
            For what is no time.

        Raises
        ------
        ExecutionError
            The run had no more bundles than slots, so that none waited for another.
        """
        ended, cpu = time.time(), _cpu() - self.cpu
        jobs = sorted((b for b in self._bundles.values() if b.spans), key=lambda b: b.spans[0][0])
        if len(jobs) <= slots:
            raise ExecutionError(f"{len(jobs)} bundles on {slots} slots: more are needed than slots")
        for job in jobs:
            job.spans.sort()
        free = sorted(job.spans[-1][1] for job in jobs)
        n = sum(len(job.spans) for job in jobs)
        gaps = [b[0] - a[1] for job in jobs for a, b in pairwise(job.spans)]
        handed = sorted(job.handed for job in jobs)
        # The shortest: in the others the driver may have waited for workers to be ready.
        per_job = min(self._burst, default=0.0)
        waits = [job.spans[0][0] - job.handed for job in jobs]
        # Of those that found an idle slot, once slots were there; the others waited in line.
        delay = _middle(sorted(waits[slots:])[:slots])
        return attrs.evolve(
            like,
            framework=framework,
            startup=handed[0] - self.called,
            per_job=per_job,
            delay=max(0.0, delay - per_job),
            warmup=max(0.0, _middle(waits[:slots]) - delay),
            # Batch systems look for free slots in rounds of their own: what counts is how long that takes on
            # average, and not what it takes where every job ends as long after a round as every other one.
            between=_mean(
                [
                    job.spans[0][0] - end
                    for job, end in zip(jobs[slots:], free, strict=False)
                    if job.handed < end  # else the slot waited for the job
                ]
            ),
            per_quantum=_middle(gaps),
            notice=_middle([heard - end for job in jobs for _, end, heard in job.spans]),
            # In process the driver's time is that between quanta, and is not to be counted twice.
            per_end=0.0 if like.slots == 1 else cpu / n,
            ending=ended - max(heard for job in jobs for _, _, heard in job.spans),
        )


def measured_latencies(
    framework: ExecutionFramework,
    plan: str | Path,
    butler: AbstractButler,
    *,
    name: str,
    slots: int,
    like: Latencies,
) -> tuple[Latencies, Report]:
    """Run a plan and return what the framework added; see `LatencyRecorder.latencies`.

    Parameters
    ----------
    framework : ExecutionFramework
        What is measured.
    plan : path
        A plan with more bundles than slots, whose quanta all succeed and need little CPU.
    butler : AbstractButler
        Its repository.
    name : str
        What to call the framework.
    slots : int
        How many jobs it runs at once.
    like : Latencies
        For what is no time.
    """
    recorder = LatencyRecorder()
    report = framework.execute(plan, butler, listeners=[recorder])
    return recorder.latencies(name, slots, like), report


def _middle(values: list[float]) -> float:
    return max(0.0, statistics.median(values)) if values else 0.0


def _mean(values: list[float]) -> float:
    return max(0.0, statistics.fmean(values)) if values else 0.0


def _cpu() -> float:
    times = os.times()
    return times.user + times.system
