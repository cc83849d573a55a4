"""A plan as one DAG of HTCondor's DAGMan: writing its file, and packing the folders of its jobs.

The file is of so many nodes, four fifths of which begin at once and are gathered in fours, these once more in
tens, and all by one. Folders are packed of a plan of as many quanta in bundles of 100; the opening of the run
is part of that.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import harness

__all__ = ["SIZES", "figures", "nodes_of"]

SIZES = (20_000,)
MOST = 100


def nodes_of(size: int) -> list[Any]:
    """Return so many nodes."""
    from executors.condor.dagfile import Node

    names = [f"b{i}-18ea135cee69bad9-{i}" for i in range(size)]
    first = size * 4 // 5
    nodes: list[Any] = [Node(name, "/run/jobs/node-0.sub") for name in names[:first]]
    begin, at, step = 0, first, 4
    while at < size - 1:
        end = at
        for before in range(begin, end, step):
            if at == size - 1:
                break
            nodes.append(
                Node(names[at], "/run/jobs/node-1.sub", tuple(names[before : min(before + step, end)]))
            )
            at += 1
        begin, step = end, 10
    nodes.append(Node(names[-1], "/run/jobs/node-2.sub", tuple(names[begin:-1])))
    return nodes


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield figures of so many nodes, and of packing a plan of so many quanta."""
    from executors.condor.dagfile import dag_text

    nodes = nodes_of(size)
    with tempfile.TemporaryDirectory(prefix="dagman-") as folder:
        file = Path(folder, "plan.dag")

        def write() -> None:
            file.write_text(dag_text(nodes, "/run/jobs/collect.sub", retries=5))

        yield harness.Figure("dagman.file_s", len(nodes), harness.median_cpu(write, repeat), "s", 2.0)
        yield harness.Figure(
            "dagman.file_bytes_per_node", len(nodes), file.stat().st_size / len(nodes), "bytes"
        )
        bundles, cpu = _pack(Path(folder), size)
        yield harness.Figure("dagman.pack_ms_per_bundle", bundles, cpu / bundles * 1e3, "ms")


def _pack(folder: Path, size: int) -> tuple[int, float]:
    """Write a plan as a DAG; return how many bundles it has, and what that took."""
    from benchmarks.preflight import build
    from benchmarks.workload import make_repository, visits_for
    from executors.condor.framework import CondorFramework
    from graphbuilder.batcher import QuantumBatcher
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.repository import Butler

    root, file = str(folder / "repo"), str(folder / "plan.h5")
    make_repository(root, visits_for(size)).close()
    build(root, file, False)
    dag = QuantumBatcher(max_quanta=MOST).batch(ScienceDag.load(file))
    dag.save(file)
    framework = CondorFramework(detached=True, submits=False)
    with Butler(root) as butler:
        begun = time.process_time()
        framework.execute(file, butler)
        cpu = time.process_time() - begun
    assert framework.dag is not None
    return framework.dag.nodes, cpu


harness.run(__name__)
