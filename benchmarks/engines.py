"""Engines: what we add to what an engine itself costs, for steps that do nothing, in bundles of 100.

Packing, running (in a process that is warm) and gathering are measured apart, without any engine: they are
ours. Beside them stand the driver's CPU on a real Slurm, in both modes, and walls against the process pool's,
where Slurm is installed. Submission is measured with jobs that are held. Of Dask and Parsl, which start here
with the run or are there before it, what they cost themselves is measured with calls that do nothing.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import harness

__all__ = ["SIZES", "figures"]

SIZES = (10_000,)
PROCESSES = 2
OURS_US = 300.0
"""Limit of our CPU for each quantum: packing, running and gathering together."""
SUBMITTED = 20_000
FEW = 10
"""Quanta of a bundle, where so many are submitted."""
FUTURES = ("dask", "parsl")
BUNDLES = (5_000, 20_000)
"""Of one quantum each, for the driver's memory."""
MANY = 100_000


def parts(root: str, plan_file: str) -> dict[str, float]:
    """Pack, run and gather all bundles of a plan; return CPU seconds of each."""
    from executors.jobs.planning import HandPacker
    from executors.jobs.running import run_job
    from executors.jobs.settling import settle
    from executors.jobs.warmth import Warmth
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.repository import Butler

    plan = ScienceDag.load(plan_file)
    with Butler(root) as butler:
        packer = HandPacker(plan, butler, Path(plan_file))
        with harness.measured() as packing:
            jobs = [job.path for job in packer.pack_together(packer.home)]
        warmth = Warmth()
        with harness.measured() as running:
            codes = {int(run_job(job, warmth=warmth).code) for job in jobs}
        assert codes == {0}, codes
        with harness.measured() as gathering:
            settled = settle(plan, butler, [packer.home])
    assert settled.attempts == plan.n_quanta
    return {"pack": packing.cpu, "run": running.cpu, "gather": gathering.cpu}


def execute(root: str, plan: str, engine: str) -> dict[str, float]:
    """Run a plan; return its wall in seconds, and CPU seconds of this process alone and with its children."""
    from executors.futures.dask import DaskFramework
    from executors.futures.parsl import ParslFramework
    from executors.multiprocess import MultiprocessFramework
    from executors.port import ExecutionFramework
    from executors.slurm.framework import SlurmFramework
    from executors.slurm.pilots import SlurmPilotFramework
    from executors.slurm.site import SlurmSite
    from supertask.butler.repository import Butler

    site = SlurmSite(memory=512)
    made: dict[str, Any] = {
        "pool": lambda: MultiprocessFramework(processes=PROCESSES),
        "slurm": lambda: SlurmFramework(site=site),
        "pilots": lambda: SlurmPilotFramework(pilots=PROCESSES, site=site),
        "dask": lambda: DaskFramework(processes=PROCESSES),
        "parsl": lambda: ParslFramework(processes=PROCESSES),
    }
    with ExitStack() as stack:
        name, _, there = engine.partition(" ")
        framework: ExecutionFramework
        if there:
            opened: Any = {"dask": DaskFramework, "parsl": ParslFramework}[name](
                stack.enter_context(there_already(name, Path(root).parent))
            )
            framework = opened
        else:
            framework = made[name]()
        begin, own, everything = time.perf_counter(), time.process_time(), harness.cpu_seconds()
        with Butler(root) as butler:
            report = framework.execute(plan, butler)
        found = {
            "wall": time.perf_counter() - begin,
            "cpu": time.process_time() - own,
            "all": harness.cpu_seconds() - everything,
            "quanta": report.n_quanta,
        }
    assert report.exit_code == 0, str(report)
    return found


@contextmanager
def there_already(engine: str, folder: Path) -> Iterator[Any]:
    """Start Dask or Parsl as its framework does, with workers that are threads; give a client or a kernel."""
    if engine == "dask":
        import distributed

        made: Any = distributed
        cluster = made.LocalCluster(
            n_workers=1,
            threads_per_worker=PROCESSES,
            processes=False,
            memory_limit=None,
            dashboard_address="127.0.0.1:0",
        )
        with cluster, made.Client(cluster, set_as_default=False) as client:
            yield client
        return
    from parsl import Config
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.executors.threads import ThreadPoolExecutor

    config = Config(
        executors=[ThreadPoolExecutor(max_threads=PROCESSES)],
        run_dir=str(folder / "parsl"),
        strategy="none",
        initialize_logging=False,
    )
    kernel = DataFlowKernel(config)
    try:
        yield kernel
    finally:
        kernel.cleanup()


def nothing(_: str) -> str:
    """Do nothing."""
    return ""


def engine_alone(engine: str, calls: int) -> float:
    """Start an engine, call a function that does nothing so many times, end it; return CPU seconds."""
    words = [(str(i),) for i in range(calls)]
    with (
        harness.measured() as cost,
        tempfile.TemporaryDirectory() as folder,
        there_already(engine, Path(folder)) as started,
    ):
        if engine == "dask":
            futures = [started.submit(nothing, *each, pure=False) for each in words]
        else:
            more: dict[str, Any] = {"executors": "all", "cache": False, "ignore_for_cache": []}
            futures = [started.submit(nothing, app_args=each, app_kwargs={}, **more) for each in words]
        assert all(future.result() == "" for future in futures)
    return cost.cpu


def singles(root: str, plan_file: str) -> int:
    """Plan a step that finds no work for every frame, each a bundle; return how many there are."""
    import numpy as np

    from benchmarks.execution import build_idle
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.dag.values import Bundling

    n = build_idle(root, plan_file)
    bundling = Bundling("singles", np.arange(n + 1, dtype=np.int64), np.arange(n, dtype=np.int32))
    ScienceDag.load(plan_file).with_bundling(bundling).save(plan_file)
    return n


def bundled(root: str, plan_file: str, bundles: int) -> int:
    """Plan about so many bundles of the workload, each of ten quanta; return how many there are."""
    from benchmarks.preflight import build
    from benchmarks.workload import make_repository, visits_for
    from graphbuilder.batcher import QuantumBatcher
    from graphbuilder.dag.dag import ScienceDag

    make_repository(root, visits_for(FEW * bundles)).close()
    build(root, plan_file, False)
    plan = QuantumBatcher(max_quanta=FEW).batch(ScienceDag.load(plan_file))
    plan.save(plan_file)
    bundling = plan.bundling()
    assert bundling is not None
    return len(bundling)


def submit_plan(root: str, plan: str) -> dict[str, float]:
    """Pack all of a plan and submit it, held, with what its jobs wait for; return wall and CPU seconds."""
    from executors.slurm.framework import SlurmFramework
    from executors.slurm.site import SlurmSite
    from supertask.butler.repository import Butler

    site = SlurmSite(memory=512, options=["--hold"])
    framework = SlurmFramework(site=site, detached=True)
    with Butler(root) as butler, harness.measured() as cost:
        framework.execute(plan, butler)
    names = framework.submitted
    framework.cancel(names)
    return {"wall": cost.wall, "cpu": cost.cpu, "jobs": len(names)}


def submit(folder: str, bundles: int) -> dict[str, float]:
    """Submit so many jobs that are held and were never packed; return the wall in seconds."""
    from executors.batch import Job
    from executors.slurm.framework import SlurmFramework
    from executors.slurm.site import SlurmSite

    framework = SlurmFramework(folder, site=SlurmSite(options=["--hold"]))
    framework.open(Path(folder))
    jobs = [
        Job(
            name=f"b{i}",
            folder=Path(folder, f"b{i}"),
            command=("true", f"{folder}/b{i}"),
            quanta=1,
            labels=(),
        )
        for i in range(bundles)
    ]
    begin = time.perf_counter()
    framework.submit(jobs)
    wall = time.perf_counter() - begin
    names = [job.name for job in jobs]
    begin = time.perf_counter()
    states = framework.states(names)
    look = time.perf_counter() - begin
    assert len(states) == bundles
    assert {s.value for s in states.values()} == {"waiting"}
    framework.cancel(names)
    return {"wall": wall, "look": look}


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield what is ours, and what it comes to on a real Slurm."""
    from benchmarks.execution import build_idle, copies
    from benchmarks.workload import DETECTORS, make_repository

    with tempfile.TemporaryDirectory(prefix="engines-") as folder, ExitStack() as stack:
        fresh, idle, writing = (str(Path(folder) / name) for name in ("fresh", "idle.h5", "writing.h5"))
        make_repository(fresh, max(1, size // DETECTORS)).close()
        quanta = int(harness.fresh(build_idle, fresh, idle).value)
        harness.fresh(build_idle, fresh, writing, True)
        roots = copies(fresh)

        def each_time(function: Any, plan: str, *more: Any) -> list[Any]:
            return [
                harness.fresh(function, root, plan, *more).value for root in itertools.islice(roots, repeat)
            ]

        found = each_time(parts, idle)
        ours = {name: statistics.median(f[name] for f in found) / quanta * 1e6 for name in found[0]}
        for name, us in ours.items():
            yield harness.Figure(f"engines.{name}_us_per_quantum", quanta, us, "us")
        yield harness.Figure("engines.ours_us_per_quantum", quanta, sum(ours.values()), "us", OURS_US)
        from executors.testing import slurm

        why_not = slurm.why_not()
        if not why_not:
            os.environ.update(stack.enter_context(slurm.cluster(cpus=PROCESSES)).env)
        engines = [e for e in FUTURES if importlib.util.find_spec({"dask": "distributed"}.get(e, e))]
        all_of_them = ["pool", *engines, *(f"{engine} there" for engine in engines)]
        all_of_them += [] if why_not else ["pilots"]
        yield from _walls(_in_turns(all_of_them, roots, writing, repeat), quanta, "", 1.3)
        each = _in_turns(all_of_them, roots, idle, repeat)
        yield from _walls(each, quanta, "_idle", None)
        for engine in engines:
            yield from _futures_figures(engine, quanta, [f["all"] for f in each[engine]], repeat)
        if why_not:
            return
        us = {"pilots": statistics.median(f["cpu"] for f in each["pilots"]) / quanta * 1e6}
        us["slurm"] = statistics.median(f["cpu"] for f in each_time(execute, idle, "slurm")) / quanta * 1e6
        for engine, value in us.items():
            yield harness.Figure(f"engines.{engine}_driver_us_per_quantum", quanta, value, "us", OURS_US)
        many, tens = str(Path(folder) / "many"), str(Path(folder) / "tens.h5")
        bundles = int(harness.fresh(bundled, many, tens, SUBMITTED).value)
        packed = harness.fresh(submit_plan, many, tens).value
        assert packed["jobs"] == bundles, packed
        yield harness.Figure("engines.submit_20k_s", bundles, packed["wall"], "s", 30.0)
        yield harness.Figure("engines.submit_20k_cpu_s", bundles, packed["cpu"], "s")
        held = harness.fresh(submit, str(Path(folder) / "held"), SUBMITTED).value
        yield harness.Figure("engines.sbatch_20k_s", SUBMITTED, held["wall"], "s")
        yield harness.Figure("engines.look_at_20k_s", SUBMITTED, held["look"], "s")


def _in_turns(engines: list[str], roots: Iterator[str], plan: str, repeat: int) -> dict[str, list[Any]]:
    """Run a plan on each engine, again and again, so that neighbours on the machine meet all alike."""
    each: dict[str, list[Any]] = {engine: [] for engine in engines}
    for _ in range(repeat):
        for engine, found in each.items():
            found.append(harness.fresh(execute, next(roots), plan, engine).value)
    return each


def _walls(
    each: dict[str, list[Any]], quanta: int, what: str, limit: float | None
) -> Iterator[harness.Figure]:
    """Yield how long runs took, and how long beside those of the pool, which come first."""
    pool = 0.0
    for engine, found in each.items():
        name, wall = engine.replace(" ", "_") + what, statistics.median(f["wall"] for f in found)
        yield harness.Figure(f"engines.{name}_wall_s", quanta, wall, "s")
        pool = pool or wall
        if engine != "pool":
            yield harness.Figure(f"engines.{name}_to_pool", quanta, wall / pool, "", limit)


def _futures_figures(engine: str, quanta: int, spent: list[float], repeat: int) -> Iterator[harness.Figure]:
    """Yield what is ours of the CPU seconds that runs on Dask or Parsl took, and their driver's memory."""
    alone = statistics.median(harness.fresh(engine_alone, engine, quanta // 100).value for _ in range(repeat))
    ours = (statistics.median(spent) - alone) / quanta * 1e6
    yield harness.Figure(f"engines.{engine}_alone_cpu_s", quanta // 100, alone, "s")
    yield harness.Figure(f"engines.{engine}_ours_us_per_quantum", quanta, ours, "us", OURS_US)
    yield from _memory_figures(engine)


def _memory_figures(engine: str) -> Iterator[harness.Figure]:
    """Yield the driver's peak memory at two numbers of bundles, and what that makes for very many."""
    from benchmarks.workload import DETECTORS, make_repository

    peaks, counts = [], []
    for bundles in BUNDLES:
        with tempfile.TemporaryDirectory(prefix="engines-") as folder:
            root, plan = str(Path(folder) / "repo"), str(Path(folder) / "plan.h5")
            make_repository(root, max(1, bundles // DETECTORS)).close()
            counts.append(int(harness.fresh(singles, root, plan).value))
            peaks.append(harness.fresh(execute, root, plan, engine).peak)
        yield harness.Figure(f"engines.{engine}_driver_mib", counts[-1], peaks[-1] / 2**20, "MiB")
    each = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    yield harness.Figure(f"engines.{engine}_driver_bytes_per_bundle", counts[-1], each, "bytes")
    reckoned = (peaks[1] + max(0.0, each) * (MANY - counts[1])) / 1e6
    yield harness.Figure(f"engines.{engine}_driver_reckoned_mb", MANY, reckoned, "MB", 500.0)


harness.run(__name__)
