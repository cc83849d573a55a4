"""The plan file: its size, and what it costs to fetch one quantum out of it."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import harness

__all__ = ["SIZES", "figures"]

SIZES = (10_000, 100_000, 1_000_000)


def fetch(plan: str, index: int) -> int:
    """Read one quantum and return how many datasets it has."""
    from graphbuilder.dag.dag import ScienceDag

    record = ScienceDag.open(plan).record(index)
    return sum(len(d) for d in (*record.quantum.inputs.values(), *record.quantum.outputs.values()))


def _fetch_ms(plan: str, indices: list[int]) -> float:
    costs = []
    for index in indices:
        cpu = time.process_time()
        fetch(plan, index)
        costs.append((time.process_time() - cpu) * 1e3)
    return statistics.median(costs)


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield figures of a plan of about `size` quanta."""
    from benchmarks.preflight import build
    from benchmarks.workload import make_repository, visits_for
    from graphbuilder.dag.dag import ScienceDag

    with tempfile.TemporaryDirectory(prefix="dagfile-") as folder:
        root, plan = str(Path(folder) / "repo"), str(Path(folder) / "plan.h5")
        make_repository(root, visits_for(size)).close()
        quanta = harness.fresh(build, root, plan, False).value["quanta"]
        yield harness.Figure(
            "dagfile.bytes_per_quantum", quanta, Path(plan).stat().st_size / quanta, "bytes", 30.0
        )
        # One quantum of each task, from the middle of it; the file is opened anew each time.
        middles = [t.first + t.count // 2 for t in ScienceDag.open(plan).tasks]
        _fetch_ms(plan, middles)
        yield harness.Figure("dagfile.fetch_one_ms", quanta, _fetch_ms(plan, middles * repeat), "ms", 10.0)
        cold = [harness.fresh(fetch, plan, middles[4]).cpu for _ in range(repeat)]
        yield harness.Figure("dagfile.cold_fetch_cpu_s", quanta, statistics.median(cold), "s", 0.4)


harness.run(__name__)
