"""Simulation: what replaying a plan costs, and how far it is from runs on the engines of this machine.

Costs are of the benchmarks' plan in bundles of 50, on 5,000 slots. For the comparison, tasks of an imported
workflow sleep: two cores are enough for as many slots as one likes. The latencies that a simulation counts
with are measured first, on another plan; ``--calibrate`` writes those of every engine that is here in the
file that ships.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from benchmarks import harness

__all__ = ["ENGINES", "SIZES", "Compared", "calibrate", "compare", "figures"]

SIZES = (1_000_000,)
ENGINES = ("in-process", "pool", "slurm", "dask", "parsl")
SLOTS = {"in-process": 1, "slurm": 2}
"""Where it is not `_SLOTS`: starting jobs takes CPU, of which there is little here."""
_SLOTS = 4
LIMIT = 0.15


def sleeping_plan(folder: Path, widths: list[int], seconds: list[float], size: int) -> tuple[str, str]:
    """Make a workflow that sleeps, each level waiting for the one before; return repository and plan.

    No two tasks sleep equally long, but half to one and a half times what is said: jobs that all ended as
    long after a round of a batch system's would all wait as long for the next.
    """
    from graphbuilder.batcher import QuantumBatcher
    from graphbuilder.workflows.importing import Scales, import_instance
    from graphbuilder.workflows.instance import Instance, Job

    jobs: list[Job] = []
    before: tuple[str, ...] = ()
    levels: dict[str, int] = {}
    spread = random.Random(f"{widths} {seconds}")  # noqa: S311 - not for secrets
    for level, (width, each) in enumerate(zip(widths, seconds, strict=True)):
        own = tuple(f"l{level}-{i}" for i in range(width))
        jobs += [
            Job(id=name, name=name, parents=before, program=f"level{level}",
                seconds=each * spread.uniform(0.5, 1.5), writes=(f"{name}.out",))
            for name in own
        ]  # fmt: skip
        levels |= dict.fromkeys(own, level)
        before = own
    sizes = {f"{job.id}.out": 100 for job in jobs}
    makers = {f"{job.id}.out": job.id for job in jobs}
    instance = Instance(name="sleep", jobs=tuple(jobs), sizes=sizes, makers=makers, levels=levels)
    dag, _ = import_instance(instance, folder / "repo", "u/sleep", scales=Scales(time=1.0, size=1.0))
    QuantumBatcher(max_quanta=size).batch(dag).save(folder / "plan.h5")
    return str(folder / "repo"), str(folder / "plan.h5")


@contextlib.contextmanager
def engine(name: str, slots: int) -> Iterator[Callable[[], Any] | None]:
    """Give what makes a framework of an engine with so many slots; None where the engine is not here."""
    if name == "in-process":
        from executors.inprocess import InProcessFramework

        yield InProcessFramework
    elif name == "pool":
        from executors.multiprocess import MultiprocessFramework

        yield lambda: MultiprocessFramework(processes=slots)
    elif name == "slurm":
        from executors.slurm.controller import Controller
        from executors.slurm.framework import SlurmFramework
        from executors.testing import slurm

        if slurm.why_not():
            yield None
            return
        with slurm.cluster(cpus=slots) as cluster:
            yield lambda: SlurmFramework(controller=Controller(cluster.env))
    else:
        from executors.engines import EngineOptions, make_framework
        from supertask.errors import SuperTaskError

        try:
            make_framework(EngineOptions(engine=name, processes=slots))
        except SuperTaskError:
            yield None
            return
        yield lambda: make_framework(EngineOptions(engine=name, processes=slots))


def run_once(make: Callable[[], Any], name: str, plan: tuple[str, str], slots: int) -> tuple[float, Any]:
    """Run a plan; return how long that took, and the latencies that were seen."""
    from executors.simulation.latencies import Latencies
    from executors.simulation.measuring import measured_latencies
    from supertask.butler.repository import Butler

    like = Latencies(
        framework=name, keeps=name != "slurm", slots=1 if name == "in-process" else 0,
        chunk=100 if name in {"slurm", "dask", "parsl"} else 1,
    )  # fmt: skip
    with Butler(plan[0]) as butler:
        begin = time.perf_counter()
        latencies, report = measured_latencies(make(), plan[1], butler, name=name, slots=slots, like=like)
        wall = time.perf_counter() - begin
    assert report.exit_code == 0, str(report)
    return wall, latencies


def median_latencies(make: Callable[[], Any], name: str, slots: int, repeat: int) -> Any:
    """Measure latencies on short sleeps; return the median of each."""
    from executors.simulation.latencies import TIMES

    found = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory(prefix="simulation-") as folder:
            plan = sleeping_plan(Path(folder), [20 * slots, 5 * slots], [0.05, 0.05], 5)
            found.append(run_once(make, name, plan, slots)[1])
    changed: dict[str, Any] = {t: statistics.median(getattr(each, t) for each in found) for t in TIMES}
    return attrs.evolve(found[0], **changed)


def driver_seconds(make: Callable[[], Any], name: str, slots: int) -> float:
    """Return the CPU seconds that the driver needs for one quantum more of a bundle.

    From two runs of as many bundles, so that what the driver does for jobs, or while it waits, is not in it.
    """
    spent = []
    for size in (5, 105):
        with tempfile.TemporaryDirectory(prefix="simulation-") as folder:
            plan = sleeping_plan(Path(folder), [2 * slots * size], [0.0], size)
            n = 2 * slots * size
            spent.append((n, n * run_once(make, name, plan, slots)[1].per_end))
    (few, less), (many, more) = spent
    return float(max(0.0, (more - less) / (many - few)))


@attrs.frozen
class Compared:
    """A run on an engine, and what was said of it."""

    real: float
    before: float
    """With latencies that were measured on another plan, before and after."""
    own: float
    """With those that were seen in the run itself: what is off then is off in the simulation."""


def compare(name: str) -> Compared | None:
    """Run a plan on an engine and simulate it; None where the engine is not here."""
    slots = SLOTS.get(name, _SLOTS)
    with engine(name, slots) as make, tempfile.TemporaryDirectory(prefix="simulation-") as folder:
        if make is None:
            return None
        plan = sleeping_plan(Path(folder), [12 * slots, 6 * slots, 1], [0.5, 1.0, 1.5], 3)
        first = median_latencies(make, name, slots, 1)
        wall, seen = run_once(make, name, plan, slots)
        # What neighbours do to this machine changes by the minute.
        around = _mean([first, median_latencies(make, name, slots, 1)])
        return Compared(wall, simulated(plan[1], around, slots), simulated(plan[1], seen, slots))


def _mean(found: list[Any]) -> Any:
    from executors.simulation.latencies import TIMES

    changed: dict[str, Any] = {t: statistics.fmean(getattr(each, t) for each in found) for t in TIMES}
    return attrs.evolve(found[0], **changed)


def simulated(plan: str, latencies: Any, slots: int) -> float:
    """Return how long a plan of `sleeping_plan` would take."""
    import numpy as np

    from executors.simulation.simulate import simulate
    from executors.simulation.workload import Workload
    from graphbuilder.dag.dag import ScienceDag

    dag = ScienceDag.load(plan)
    seconds = np.array([quantum.parameters.seconds for quantum in dag.quanta])
    return simulate(dag, Workload(seconds=seconds), latencies, slots=slots, bundling=dag.bundling()).makespan


def replay(plan: str, slots: int) -> dict[str, float]:
    """Simulate the benchmarks' plan; return quanta, bundles and CPU seconds."""
    import numpy as np

    from executors.simulation.latencies import latencies_of
    from executors.simulation.simulate import simulate
    from executors.simulation.workload import Workload
    from graphbuilder.batcher import QuantumBatcher
    from graphbuilder.dag.dag import ScienceDag

    dag = ScienceDag.load(plan)
    bundling = QuantumBatcher(max_quanta=50).bundles(dag)
    seconds = np.random.default_rng(0).gamma(2.0, 30.0, dag.n_quanta)
    with harness.measured() as cost:
        found = simulate(
            dag, Workload(seconds=seconds), latencies_of("slurm"), slots=slots, bundling=bundling
        )
    assert found.counts == {"succeeded": dag.n_quanta}
    return {"quanta": dag.n_quanta, "bundles": len(bundling), "cpu": cost.cpu, "wall": cost.wall}


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield what a simulation of about `size` quanta costs, and how far simulations are from real runs."""
    from benchmarks.preflight import build
    from benchmarks.workload import make_repository, visits_for

    with tempfile.TemporaryDirectory(prefix="simulation-") as folder:
        root, plan = str(Path(folder) / "repo"), str(Path(folder) / "plan.h5")
        make_repository(root, visits_for(size)).close()
        build(root, plan, False)
        rounds = [harness.fresh(replay, plan, 5000) for _ in range(repeat)]
    quanta = int(rounds[0].value["quanta"])
    cpu = statistics.median(r.value["cpu"] for r in rounds)
    yield harness.Figure("simulation.cpu_s", quanta, cpu, "s", 60.0)
    yield harness.Figure("simulation.us_per_quantum", quanta, cpu / quanta * 1e6, "us")
    yield harness.Figure("simulation.peak_mib", quanta, max(r.peak for r in rounds) / 2**20, "MiB")
    for name in ENGINES:
        found = compare(name)
        if found is not None:
            for which, said in (("off", found.before), ("off_with_own_latencies", found.own)):
                off = abs(said / found.real - 1)
                yield harness.Figure(f"simulation.{name}_{which}", 0, off, "share", LIMIT)


def calibrate(repeat: int = 3) -> None:
    """Measure latencies of every engine that is here, and write the file that ships."""
    from executors.simulation.latencies import LATENCIES

    found = {}
    for name in ENGINES:
        slots = SLOTS.get(name, _SLOTS)
        with engine(name, slots) as make:
            if make is None:
                print(f"{name}: not here")
                continue
            latencies = attrs.evolve(
                median_latencies(make, name, slots, repeat), per_end=driver_seconds(make, name, slots)
            )
        unset = attrs.evolve(latencies, framework="", source="")
        found[name] = {
            k: round(v, 6) if isinstance(v, float) else v
            for k, v in attrs.asdict(unset).items()
            if isinstance(v, float) or v
        }
        print(name, found[name], flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    said = {"date": time.strftime("%Y-%m-%d"), "machine": machine, "frameworks": found}
    LATENCIES.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__" and "--calibrate" in sys.argv:
    calibrate()
else:
    harness.run(__name__)
