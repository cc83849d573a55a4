"""Preflight: from a SQLite repository to a saved plan, identities and checks included.

Every measurement is a process of its own, imports included, on a repository made beforehand.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import harness

__all__ = ["SIZES", "figures"]

SIZES = (10_000, 100_000, 1_000_000)
# A Python object for each dataset is dear; past this size the loops are measured no further.
BY_HAND_AT_MOST = 100_000


def build(root: str, plan: str, by_hand: bool) -> int:
    """Plan everything in a repository, and return how many quanta that is."""
    from benchmarks.workload import pipeline
    from graphbuilder.builder import GraphBuilder
    from supertask.butler.repository import Butler

    butler = Butler(root)
    dag = GraphBuilder(pipeline(by_hand=by_hand), butler, output_run="u/bench/run").makeGraph()
    dag.save(plan)
    return dag.n_quanta


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield cost per quantum of planning `size` quanta or about as many."""
    from benchmarks.workload import make_repository, visits_for

    with tempfile.TemporaryDirectory(prefix="preflight-") as folder:
        root, plan = str(Path(folder) / "repo"), str(Path(folder) / "plan.h5")
        make_repository(root, visits_for(size)).close()
        runs = [harness.fresh(build, root, plan, False) for _ in range(repeat)]
        quanta = runs[0].value
        cpu = statistics.median(r.cpu for r in runs)
        peak = statistics.median(r.peak for r in runs)
        yield harness.Figure("preflight.us_per_quantum", quanta, cpu / quanta * 1e6, "us", 4.0)
        yield harness.Figure("preflight.peak_bytes_per_quantum", quanta, peak / quanta, "bytes", 250.0)
        if size <= BY_HAND_AT_MOST:
            loops = [harness.fresh(build, root, plan, True) for _ in range(repeat)]
            cpu = statistics.median(r.cpu for r in loops)
            yield harness.Figure("preflight.by_hand_us_per_quantum", quanta, cpu / quanta * 1e6, "us", 15.0)


harness.run(__name__)
