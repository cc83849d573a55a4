"""Collects, without a driver, what jobs made: merges their pieces of the journal, and registers outputs.

It may be killed at any moment and called again; it may go on beside the jobs for as long as they take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from executors.driving.driver import Driver, Options
from executors.jobs.settling import Settled, folder_for, settle
from executors.journal.report import Report
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler

__all__ = ["Collected", "collect"]


@attrs.frozen
class Collected:
    """What was collected, and how the run stands after."""

    report: Report
    settled: Settled

    @property
    def complete(self) -> bool:
        """Whether no job is left that has not ended."""
        return not self.settled.open


def collect(
    plan: ScienceDag,
    butler: AbstractButler,
    homes: Sequence[Path] = (),
    *,
    plan_file: Path | None = None,
    follow: bool = False,
    seconds: float = 10.0,
    late: float = 0.0,
    told: Callable[[Settled], object] = lambda _: None,
    lives: Callable[[Sequence[str]], bool] = lambda _: True,
) -> Collected:
    """Take what jobs made and register it.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    butler : AbstractButler
        Its repository.
    homes : sequence of Path, optional
        Folders of jobs, or folders that hold such; the run's own unless given.
    plan_file : Path, optional
        Where the plan is.
    follow : bool, optional
        Whether to go on until every job has ended.
    seconds : float, optional
        Time between two looks.
    late : float, optional
        Seconds to wait for outputs that a shared file system may show late.
    told : callable, optional
        Called after each look.
    lives : callable, optional
        Tells whether any of some jobs may still come to its end, as their engine says. A job that was killed,
        or never began, is not followed for ever.

    Raises
    ------
    ExecutionError
        Another driver works on the run, or the plan is of another repository.
    """
    where = [*homes] or [folder_for(plan, butler)]
    registered = 0
    problems: list[str] = []
    report: Report | None = None
    over = False
    while True:
        settled = settle(plan, butler, where, late=late)
        told(settled)
        problems += [p for p in settled.problems if p not in problems]
        if report is None or settled.attempts:
            # What is in the journal and not registered, the driver registers when it opens the run.
            options = Options(retry_failed=False, bundles=False, tokens=None, retention=None)
            with Driver(plan, butler, plan_file=plan_file, options=options, framework="collect") as driver:
                report = driver.end()
            registered += report.registered
        if not follow or not settled.open or over:
            break
        over = not lives(settled.names)  # then it is looked once more
        time.sleep(seconds)
    settled.problems = problems
    return Collected(attrs.evolve(report, registered=registered), settled)
