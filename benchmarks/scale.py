"""Scale: plans of millions of quanta, made in one piece and in shards by tract.

A plan in one piece is made by one process; shards are made two at a time, merged and saved. Peak memory is
that of the largest process. With several tracts, visits at their borders belong to two shards and are
planned in both, so shards cost more CPU in all and less memory and time each.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import harness
from benchmarks.preflight import build

__all__ = ["SIZES", "figures"]

SIZES = (1_000_000, 5_000_000, 10_000_000)
PROCESSES = 2
SHARDS = 8
TRACT_SIDE = 25
"""Patches; a pointing covers 14, so a good part of all visits lies at a border."""
MOST_MEMORY = 24 * 2**30


def build_in_shards(root: str, plan: str, shards: int, processes: int) -> dict[str, float]:
    """Plan everything in shards; return quanta, CPU and wall seconds, and the peak of the children."""
    import resource

    from benchmarks.workload import pipeline
    from graphbuilder.builder import GraphBuilder
    from graphbuilder.sharding import plan_in_shards
    from supertask.butler.repository import Butler

    cpu, wall = harness.cpu_seconds(), time.perf_counter()
    with Butler(root) as butler:
        builder = GraphBuilder(pipeline(), butler, output_run="u/bench/run")
        dag = plan_in_shards(builder, plan, by="tract", shards=shards, processes=processes)
    return {
        "quanta": dag.n_quanta,
        "cpu": harness.cpu_seconds() - cpu,
        "wall": time.perf_counter() - wall,
        "child": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    }


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield what a plan of about `size` quanta costs, whole and in shards."""
    from benchmarks.workload import make_repository, visits_for

    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        root, plan = str(Path(folder) / "repo"), str(Path(folder) / "plan.h5")
        make_repository(root, visits_for(size), tract_side=TRACT_SIDE).close()
        whole = [harness.fresh(build, root, plan, False) for _ in range(repeat)]
        quanta = whole[0].value["quanta"]
        cpu = statistics.median(r.value["cpu"] for r in whole)
        peak = statistics.median(r.peak for r in whole)
        yield harness.Figure("scale.whole_us_per_quantum", quanta, cpu / quanta * 1e6, "us")
        yield harness.Figure("scale.whole_wall_s", quanta, statistics.median(r.wall for r in whole), "s")
        yield harness.Figure("scale.whole_peak_bytes", quanta, peak, "bytes", MOST_MEMORY)
        yield harness.Figure(
            "scale.file_bytes_per_quantum", quanta, Path(plan).stat().st_size / quanta, "bytes"
        )
        parts = [harness.fresh(build_in_shards, root, plan, SHARDS, PROCESSES) for _ in range(repeat)]
        assert parts[0].value["quanta"] == quanta, "shards give another plan"
        cpu = statistics.median(r.value["cpu"] for r in parts)
        yield harness.Figure("scale.shards_us_per_quantum", quanta, cpu / quanta * 1e6, "us")
        wall = statistics.median(r.value["wall"] for r in parts)
        yield harness.Figure("scale.shards_wall_s", quanta, wall, "s")
        merging = statistics.median(r.peak for r in parts)
        yield harness.Figure("scale.shards_merge_peak_bytes", quanta, merging, "bytes", peak)
        child = statistics.median(r.value["child"] for r in parts)
        yield harness.Figure("scale.shards_one_peak_bytes", quanta, child, "bytes", peak)


harness.run(__name__)
