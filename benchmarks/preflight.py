"""Preflight: from a repository to a saved plan, identities and checks included.

Every measurement is a process of its own, on a repository made beforehand. CPU is counted from opening
the repository to the saved file; what starting Python and importing costs is a figure of its own. Peak
memory is that of the whole process.
"""

from __future__ import annotations

import importlib
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
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

    import_late()
    begin = time.process_time()
    butler = Butler(root)
    dag = GraphBuilder(pipeline(by_hand=by_hand), butler, output_run="u/bench/run").makeGraph()
    dag.save(plan)
    return {"quanta": dag.n_quanta, "cpu": time.process_time() - begin}


def import_late() -> None:
    """Import what is imported where it is first needed, so that imports are not counted."""
    for late in ("sqlalchemy.dialects.sqlite", "graphbuilder.dag.file", "graphbuilder.expressions.language"):
        importlib.import_module(late)


def networkx_graph(plan: str) -> float:
    """Build the bipartite graph of a plan, nodes and edges alone, in networkx; return CPU seconds.

    Integers stand for quanta and datasets, and the garbage collector is off: with it on, it takes several
    times as long.
    """
    import gc

    import networkx as nx

    from graphbuilder.dag.dag import ScienceDag

    dag = ScienceDag.load(plan)
    first = dict(zip(dag.datasets, _running(len(t) for t in dag.datasets.values()), strict=True))
    sides = []
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        for edges_of, outward in ((table.inputs, False), (table.outputs, True)):
            for dataset_type, edges in edges_of.items():
                quanta = (edges.owners() + node.first).tolist()
                datasets = (edges.all_rows() + dag.n_quanta + first[dataset_type]).tolist()
                sides.append((quanta, datasets) if outward else (datasets, quanta))
    gc.disable()
    begin = time.process_time()
    graph: nx.DiGraph[int] = nx.DiGraph()
    for begins, ends in sides:
        graph.add_edges_from(zip(begins, ends, strict=True))
    return time.process_time() - begin


def _running(counts: Iterable[int]) -> Iterator[int]:
    total = 0
    for count in counts:
        yield total
        total += count


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
        yield harness.Figure("preflight.us_per_quantum", quanta, cpu / quanta * 1e6, "us", 3.0)
        graph = statistics.median(harness.fresh(networkx_graph, plan).value for _ in range(repeat))
        yield harness.Figure(
            "preflight.us_per_quantum_beside_networkx", quanta, cpu / quanta * 1e6, "us", graph / quanta * 1e6
        )
        yield harness.Figure("preflight.peak_bytes_per_quantum", quanta, peak / quanta, "bytes", 250.0)
        yield harness.Figure("preflight.startup_cpu_s", quanta, startup, "s")
        if size <= BY_HAND_AT_MOST:
            loops = [harness.fresh(build, root, plan, True) for _ in range(repeat)]
            cpu = statistics.median(r.value["cpu"] for r in loops)
            yield harness.Figure("preflight.by_hand_us_per_quantum", quanta, cpu / quanta * 1e6, "us", 15.0)
    yield from on_postgres(size, repeat)


def on_postgres(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield what the same costs the client of a registry on PostgreSQL, if there is a server to be had."""
    from benchmarks.workload import make_repository, visits_for
    from supertask.testing import postgres

    if postgres.why_not():
        return
    with tempfile.TemporaryDirectory(prefix="preflight-") as folder, postgres.server() as server:
        root, plan = str(Path(folder) / "repo"), str(Path(folder) / "plan.h5")
        make_repository(root, visits_for(size), registry=server.url).close()
        runs = [harness.fresh(build, root, plan, False) for _ in range(repeat)]
        quanta = runs[0].value["quanta"]
        cpu = statistics.median(r.value["cpu"] for r in runs)
        yield harness.Figure("preflight.postgres_us_per_quantum", quanta, cpu / quanta * 1e6, "us", 5.0)


harness.run(__name__)
