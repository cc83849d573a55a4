"""Preflight: from a SQLite repository to a saved plan, identities and checks included.

Every measurement is a process of its own, on a repository made beforehand. CPU is counted from opening
the repository to the saved file; what starting Python and importing costs is a figure of its own. Peak
memory is that of the whole process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import harness

__all__ = ["SIZES", "figures"]

SIZES = (10_000, 100_000, 1_000_000)
# A Python object for each dataset is dear; past this size the loops are measured no further.
BY_HAND_AT_MOST = 100_000


def build(root: str, plan: str, by_hand: bool) -> dict[str, float]:
    """Plan everything in a repository; return how many quanta that is and the CPU seconds it took."""
    from benchmarks.workload import pipeline
    from graphbuilder.builder import GraphBuilder
    from supertask.butler.repository import Butler

    begin = time.process_time()
    butler = Butler(root)
    dag = GraphBuilder(pipeline(by_hand=by_hand), butler, output_run="u/bench/run").makeGraph()
    dag.save(plan)
    return {"quanta": dag.n_quanta, "cpu": time.process_time() - begin}


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield cost per quantum of planning `size` quanta or about as many."""
    from benchmarks.workload import make_repository, visits_for

    with tempfile.TemporaryDirectory(prefix="preflight-") as folder:
        root, plan = str(Path(folder) / "repo"), str(Path(folder) / "plan.h5")
        make_repository(root, visits_for(size)).close()
        runs = [harness.fresh(build, root, plan, False) for _ in range(repeat)]
        quanta = runs[0].value["quanta"]
        cpu = statistics.median(r.value["cpu"] for r in runs)
        startup = statistics.median(r.cpu - r.value["cpu"] for r in runs)
        peak = statistics.median(r.peak for r in runs)
        yield harness.Figure("preflight.us_per_quantum", quanta, cpu / quanta * 1e6, "us", 4.0)
        yield harness.Figure("preflight.peak_bytes_per_quantum", quanta, peak / quanta, "bytes", 250.0)
        yield harness.Figure("preflight.startup_cpu_s", quanta, startup, "s")
        if size <= BY_HAND_AT_MOST:
            loops = [harness.fresh(build, root, plan, True) for _ in range(repeat)]
            cpu = statistics.median(r.value["cpu"] for r in loops)
            yield harness.Figure("preflight.by_hand_us_per_quantum", quanta, cpu / quanta * 1e6, "us", 15.0)


harness.run(__name__)
