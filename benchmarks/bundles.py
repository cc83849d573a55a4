"""Bundles: making them by key, limits and clusters; what sharing an overhead is worth.

Batching is measured on a plan in columns, three steps of a million quanta in all: overheads differ by variant
and by a parameter, weights by inputs, and the steps wait for each other in chains. The run is on two workers,
a task that needs so long for its overhead and for each quantum; it is scaled down unless ``--size`` is a
million. Luigi runs the same number of tasks that do nothing with ``batch_method``, in the environment that
``SUPERTASK_PEERS`` leads to, and is left out where that is not there.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import harness

__all__ = ["SIZES", "batching", "figures"]

SIZES = (100_000, 1_000_000)
KEYS = 16


def plan_of(size: int) -> Any:
    """Return a plan of three steps, one to one, of so many quanta in all, by visit and detector."""
    from graphbuilder.dag.columns import StringColumn
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.dag.parameters import ParameterColumn
    from graphbuilder.dag.topology import Producers
    from graphbuilder.dag.values import DagMeta, TaskNode, Variant
    from supertask.datasets import Dataset
    from supertask.repograph.columns import Edges
    from supertask.repograph.space import UnitSpace, UnitTable
    from supertask.repograph.tables import DatasetTable, QuantumTable
    from supertask.unitmodels import load_unit_model

    n = size // 3
    detectors = 100
    visits = -(-n // detectors)
    one = np.zeros(visits, np.int32)
    space = UnitSpace(
        load_unit_model("imaging"),
        {
            "instrument": UnitTable("instrument", np.array(["Cam"], object), {}),
            "visit": UnitTable("visit", np.arange(visits), {"instrument": one}),
            "detector": UnitTable(
                "detector", np.arange(detectors), {"instrument": one[:1].repeat(detectors)}
            ),
        },
    )
    columns = {
        "visit": np.repeat(np.arange(visits, dtype=np.int32), detectors)[:n],
        "detector": np.tile(np.arange(detectors, dtype=np.int32), visits)[:n],
    }
    types = [Dataset.subclass(f"step{k}", ("visit", "detector"), "json") for k in range(4)]
    noise = np.random.default_rng(1)
    tables = {t: DatasetTable(t, space, columns, n) for t in types}
    tables[types[0]] = DatasetTable(
        types[0], space, columns, n, np.zeros((n, 16), np.uint8), [""] * n, noise.integers(1, 1 << 24, n)
    )
    variants = tuple(Variant("bench:Task", {}, "1", bytes([k]) * 16) for k in range(4))
    texts = [
        json.dumps({"class": "bench:Fit", "values": {"grid": f"grid{k}", "order": k % 3}})
        for k in range(KEYS)
    ]
    of = noise.integers(0, KEYS, n)
    strings = StringColumn.from_strings([texts[k] for k in of.tolist()])
    nodes, quanta, producers = [], [], {}
    for k in range(3):
        made = {types[k + 1]: Edges(n)}
        own = {t: tables[t] for t in types[k : k + 2]}
        nodes.append(
            TaskNode(
                f"t{k}", "bench:Task", {}, "1", bytes(16), ("visit", "detector"), k * n, n, variants=variants
            )
        )
        parameters = ParameterColumn(strings) if k == 1 else None
        numbers = (columns["detector"] % 4).astype(np.uint8)
        quanta.append(
            QuantumTable(f"t{k}", space, columns, n, {types[k]: Edges(n)}, made, own, parameters, numbers)
        )
        producers[types[k + 1]] = Producers(k * n, Edges(n))
    identities = np.zeros((3 * n, 16), np.uint8)
    return ScienceDag(
        meta=DagMeta("u/bench/run", "0", ""), tasks=nodes, quanta=quanta, space=space, tables=tables,
        producers=producers, identities=identities,
    )  # fmt: skip


def batching(size: int) -> dict[str, float]:
    """Make bundles in several ways; return CPU seconds of each."""
    from graphbuilder.batcher import Cluster, QuantumBatcher
    from graphbuilder.batching.weights import ByBytes

    dag = plan_of(size)
    cost = {f"t{k}": ByBytes(1e-6, 0.5) for k in range(3)}
    ways: dict[str, QuantumBatcher] = {
        "count": QuantumBatcher(100),
        "limits": QuantumBatcher(
            100, max_cost=500.0, max_input_bytes=float(1 << 30), cost=cost, locality=("detector",)
        ),
        "slots": QuantumBatcher(slots=64, cost=cost),
        "largest_first": QuantumBatcher(slots=64, packing="largest-first", cost=cost),
        "clusters": QuantumBatcher(300, clusters=[Cluster(by=("visit", "detector"))]),
        "trees": QuantumBatcher(300, clusters=[Cluster(shape="trees")]),
    }
    found: dict[str, float] = {"quanta": dag.n_quanta}
    for name, batcher in ways.items():
        dag.__dict__.pop("_successors", None)  # who waits for whom is part of clustering
        begin = time.process_time()
        bundling = batcher.bundles(dag)
        found[name] = time.process_time() - begin
        assert len(bundling.indices) == dag.n_quanta
        assert name != "count" or int(np.diff(bundling.indptr).max()) <= 100
    return found


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield what bundles cost and are worth at so many quanta."""
    rounds = [harness.fresh(batching, size).value for _ in range(repeat)]
    quanta = int(rounds[0]["quanta"])
    for name, limit in (
        ("count", 0.5),
        ("limits", 0.5),
        ("slots", 0.5),
        ("largest_first", 0.5),
        ("clusters", 2.0),
        ("trees", 2.0),
    ):
        cpu = statistics.median(r[name] for r in rounds)
        yield harness.Figure(f"bundles.{name}_us_per_quantum", quanta, cpu / quanta * 1e6, "us", limit)


harness.run(__name__)
