"""Bundles: making them by key, limits and clusters; what sharing an overhead is worth.

Batching is measured on a plan in columns, three steps of a million quanta in all: overheads differ by variant
and by a parameter, weights by inputs, and the steps wait for each other in chains.

Keys are measured by themselves, too, on a step whose quanta have seven parameters, a guess of their own among
these: where one or four of them are overhead, where nothing is declared, and where one is meta.

What sharing is worth is measured on two workers with a step that waits 10 ms for each star, and 1 s for a
model: time over what is ideal (all fits shared by two, and one model each), and over loading the model for
every star (measured on a few of them). It is scaled down unless ``--size`` is a million. The ideal takes no
start of processes and no files.

Luigi runs 10,000 tasks that do nothing with ``batch_method``, in batches of 100 of ten groups, where
``SUPERTASK_PEERS`` names the programs of peers. Beside it stands what we need to decide the same (group, hand
out, take back), to do the same in one process (batch, run and journal a step that does nothing for a bundle
at once, or for each of its quanta, and writes no files, as Luigi's writes none; imports are counted of
neither), and to do it with files and registry, which Luigi's has not.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.peers.luigi import batched_us_per_task

__all__ = ["SIZES", "batching", "decide", "figures", "idle", "keys", "share"]

SIZES = (100_000, 1_000_000)
KEYS = 16
WORKERS = 2
TASKS, GROUPS, MOST = 10_000, 10, 100
"""What Luigi is given, too."""


def plan_of(size: int, steps: int = 3) -> Any:
    """Return a plan of steps, one to one, of so many quanta in all, by visit and detector."""
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

    n = size // steps
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
    types = [Dataset.subclass(f"step{k}", ("visit", "detector"), "json") for k in range(steps + 1)]
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
    for k in range(steps):
        made = {types[k + 1]: Edges(n)}
        own = {t: tables[t] for t in types[k : k + 2]}
        nodes.append(
            TaskNode(
                f"t{k}", "bench:Task", {}, "1", bytes(16), ("visit", "detector"), k * n, n, variants=variants
            )
        )
        parameters = ParameterColumn(strings) if k == steps // 2 else None
        numbers = (columns["detector"] % 4).astype(np.uint8)
        quanta.append(
            QuantumTable(f"t{k}", space, columns, n, {types[k]: Edges(n)}, made, own, parameters, numbers)
        )
        producers[types[k + 1]] = Producers(k * n, Edges(n))
    identities = np.zeros((steps * n, 16), np.uint8)
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


def keys(size: int) -> dict[str, float]:
    """Find keys of quanta that have many parameters, each its own; return CPU seconds of each way."""
    import attrs

    from graphbuilder.batching.keys import overhead_keys
    from supertask.tasks.overheads import OverheadNames

    dag = plan_of(size, 1)
    noise = np.random.default_rng(1)
    guesses = noise.normal(5000.0, 300.0, (size, 3)).round(3).tolist()
    columns = zip(guesses, noise.integers(0, KEYS, size).tolist(), noise.random(size).tolist(), strict=True)
    texts = [
        json.dumps(
            {
                "class": "bench:Fit",
                "values": {
                    "initial_guess": guess, "grid": f"/models/main/grid-{k:04d}.npz", "order": k % 3,
                    "minimum_snr": snr, "scale": 1.5, "threads": k, "flags": None,
                },
            }
        )
        for guess, k, snr in columns
    ]  # fmt: skip
    table = _with_parameters(dag, texts)
    ways = {
        "declared": OverheadNames((), ("grid",), (), True, ("threads",)),
        "declared_several": OverheadNames((), ("grid", "order", "scale", "flags"), (), True, ("threads",)),
        "everything": OverheadNames(),
        "but_meta": OverheadNames(meta=("threads",)),
    }
    found: dict[str, float] = {"quanta": dag.n_quanta}
    for name, names in ways.items():
        dag.tasks = (attrs.evolve(dag.tasks[0], overhead=names, variants=dag.tasks[0].variants[:1]),)
        dag.quantum_tables = (table,)
        begin = time.process_time()
        codes = overhead_keys(dag)
        found[name] = time.process_time() - begin
        assert name != "declared" or int(codes.max()) < KEYS
        assert name != "everything" or int(codes.max()) == size - 1
    return found


def decide(tasks: int, groups: int, most: int) -> float:
    """Group quanta, hand bundles out and take them back; return CPU seconds."""
    from executors.decisions.schedule import Schedule
    from executors.outcome import QuantumStatus
    from graphbuilder.batcher import QuantumBatcher

    dag = plan_of(tasks, 1)
    texts = [json.dumps({"class": "bench:Fit", "values": {"model": f"m{k % groups}"}}) for k in range(tasks)]
    dag.quantum_tables = (_with_parameters(dag, texts),)
    begin = time.process_time()
    schedule = Schedule(dag.successors(), QuantumBatcher(most).bundles(dag))
    while not schedule.over:
        work = schedule.take()
        assert work is not None
        for q in work.quanta:
            schedule.finish(q, QuantumStatus.SUCCEEDED)
    return time.process_time() - begin


def _with_parameters(dag: Any, texts: list[str]) -> Any:
    import attrs

    from graphbuilder.dag.columns import StringColumn
    from graphbuilder.dag.parameters import ParameterColumn

    parameters = ParameterColumn(StringColumn.from_strings(texts))
    return attrs.evolve(dag.quantum_tables[0], parameters=parameters, variants=None)


def share(stars: int, alone: bool, loading: float, fitting: float, processes: int) -> dict[str, float]:
    """Fit stars; return wall and CPU seconds of the run."""
    from benchmarks.fits import AloneTask, FitTask, fits
    from executors.inprocess import InProcessFramework
    from executors.multiprocess import MultiprocessFramework
    from graphbuilder.batcher import QuantumBatcher
    from supertask.butler.repository import Butler

    with tempfile.TemporaryDirectory(prefix="bundles-") as folder:
        root = f"{folder}/repo"
        dag = fits(root, stars, AloneTask if alone else FitTask, loading, fitting)
        # Several bundles for each worker, as the model is kept between bundles.
        dag = QuantumBatcher(slots=8 * processes).batch(dag)
        framework = InProcessFramework() if processes == 1 else MultiprocessFramework(processes)
        with Butler(root) as butler:
            report = framework.execute(dag, butler)
        assert report.exit_code == 0
        return {"wall": report.wall, "cpu": report.cpu}


def idle(tasks: int, most: int, each: bool) -> float:
    """Batch and run quanta that do nothing; return the CPU seconds of that, from plan to report."""
    import graphbuilder.dag.file  # noqa: F401 - imported before the clock starts, as Luigi is
    from benchmarks.fits import CountTask, EachTask, fits
    from executors.inprocess import InProcessFramework
    from graphbuilder.batcher import QuantumBatcher
    from supertask.butler.repository import Butler

    with tempfile.TemporaryDirectory(prefix="bundles-") as folder:
        root = f"{folder}/repo"
        dag = fits(root, tasks, EachTask if each else CountTask, 0.0, 0.0)
        with Butler(root) as butler, harness.measured() as cost:
            report = InProcessFramework().execute(QuantumBatcher(most).batch(dag), butler)
        assert report.exit_code == 0
        assert report.n_quanta == tasks
        return cost.cpu


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
    rounds = [harness.fresh(keys, size).value for _ in range(repeat)]
    for name in ("declared", "declared_several", "everything", "but_meta"):
        cpu = statistics.median(r[name] for r in rounds)
        yield harness.Figure(f"bundles.key_{name}_us_per_quantum", size, cpu / size * 1e6, "us", 1.0)
    whole = size >= 1_000_000
    stars, loading, fitting = (5000, 1.0, 0.01) if whole else (500, 0.4, 0.01)
    together = harness.fresh(share, stars, False, loading, fitting, WORKERS).value["wall"]
    ideal = stars * fitting / WORKERS + loading
    yield harness.Figure("bundles.ideal_ratio", stars, together / ideal, "", 1.1 if whole else None)
    few = 20
    each = harness.fresh(share, few, True, loading, fitting, WORKERS).value["wall"] / few
    yield harness.Figure("bundles.unbundled_ratio", stars, each * stars / together, "")
    decided = statistics.median(decide(TASKS, GROUPS, MOST) for _ in range(repeat)) / TASKS * 1e6
    # In turns with theirs, so that neighbours on the machine meet both alike.
    peers, ours = [], []
    for _ in range(repeat):
        peers.append(batched_us_per_task(TASKS, GROUPS, MOST))
        ours.append([harness.fresh(idle, TASKS, MOST, each).value / TASKS * 1e6 for each in (False, True)])
    known = [t for t in peers if t is not None]
    theirs = statistics.median(known) if known else None
    done = harness.fresh(share, TASKS, False, 0.0, 0.0, 1).value["cpu"] / TASKS * 1e6
    yield harness.Figure("bundles.decided_us_per_task", TASKS, decided, "us", theirs)
    for name, found in zip(("idle", "idle_each"), zip(*ours, strict=True), strict=True):
        yield harness.Figure(f"bundles.{name}_us_per_task", TASKS, statistics.median(found), "us", theirs)
    yield harness.Figure("bundles.done_us_per_task", TASKS, done, "us", theirs)


harness.run(__name__)
