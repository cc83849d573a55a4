"""What it costs to start: the command line's help, package roots, and a job, packed alone or with many."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import harness

__all__ = ["SIZES", "figures"]

SIZES = (1,)
LIMIT_MS = 150.0
JOB_LIMIT_MS = 400.0
MANY = 1000
"""Bundles in one file, of which each job reads its own."""


def _cpu_ms(repeat: int, *command: str, more: Callable[[], Sequence[str]] = tuple) -> float:
    # What is installed is compiled: where Python is told not to keep that, each start would compile anew.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    costs = []
    for _ in range(repeat + 1):
        words = [sys.executable, *command, *more()]
        with harness.measured() as cost:
            subprocess.run(words, cwd=harness.ROOT, env=env, stdout=subprocess.DEVNULL, check=True)
        costs.append(cost.cpu * 1e3)
    # The first one also compiles what was never imported before.
    return statistics.median(costs[1:])


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield CPU milliseconds of fresh processes, Python's own start included."""
    help_ms = _cpu_ms(repeat, "-m", "executors.cmdline", "--help")
    yield harness.Figure("startup.help_cpu_ms", size, help_ms, "ms", LIMIT_MS)
    roots_ms = _cpu_ms(repeat, "-c", "import supertask, graphbuilder, executors")
    yield harness.Figure("startup.import_cpu_ms", size, roots_ms, "ms", LIMIT_MS)
    for name, count in (("bundle_job", 0), ("job_of_many", MANY)):
        with tempfile.TemporaryDirectory(prefix="startup-") as folder:
            jobs = ([job] for job in _packed(Path(folder), count or repeat + 1, together=bool(count)))
            job_ms = _cpu_ms(repeat, "-m", "executors.cmdline", "run-bundle", more=jobs.__next__)
        yield harness.Figure(f"startup.{name}_cpu_ms", size, job_ms, "ms", JOB_LIMIT_MS)


def _packed(folder: Path, count: int, *, together: bool) -> list[str]:
    """Pack so many bundles of seven quanta each: together, or for jobs that see no repository."""
    import numpy as np

    from executors.jobs.planning import HandPacker
    from executors.testing.survey import Survey
    from graphbuilder.dag.values import Bundling
    from supertask.butler.repository import Butler

    survey = Survey(folder / "survey", visits=count)
    with Butler(survey.root) as butler:
        plan = survey.plan(butler)
        visits = [dict(q.dataId or ()).get("visit", count) for q in plan.quanta]
        order = np.argsort(visits, kind="stable").astype(np.int32)
        ends = np.concatenate([[0], np.cumsum(np.bincount(visits))]).astype(np.int64)
        plan = plan.with_bundling(Bundling("by visit", ends, order))
        packer = HandPacker(plan, butler, folder / "plan.h5", staged=not together)
        if together:
            return [str(job.path) for job in packer.pack_together(packer.home)]
        return [str(job.path) for _, job in packer.pack(folder / "jobs")]


harness.run(__name__)
