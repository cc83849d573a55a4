"""Engines: what we add to what an engine itself costs, for steps that do nothing, in bundles of 100.

Packing, running (in a process that is warm) and gathering are measured apart, without any engine: they are
ours. Beside them stand the driver's CPU on a real Slurm, in both modes, and walls against the process pool's,
where Slurm is installed. Submission is measured with jobs that are held.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import harness

__all__ = ["SIZES", "figures"]

SIZES = (10_000,)
PROCESSES = 2
OURS_US = 300.0
"""Limit of our CPU for each quantum: packing, running and gathering together."""
SUBMITTED = 20_000
_COUNTER = itertools.count()


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
            jobs = [job.path for _, job in packer.pack(packer.home)]
        warmth = Warmth()
        with harness.measured() as running:
            codes = {int(run_job(job, warmth=warmth).code) for job in jobs}
        assert codes == {0}, codes
        with harness.measured() as gathering:
            settled = settle(plan, butler, [packer.home])
    assert settled.attempts == plan.n_quanta
    return {"pack": packing.cpu, "run": running.cpu, "gather": gathering.cpu}


def execute(root: str, plan: str, engine: str) -> dict[str, float]:
    """Run a plan; return its wall in seconds and the CPU seconds of this process alone."""
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
    framework: ExecutionFramework = made[engine]()
    begin, own = time.perf_counter(), time.process_time()
    with Butler(root) as butler:
        report = framework.execute(plan, butler)
    assert report.exit_code == 0, str(report)
    return {"wall": time.perf_counter() - begin, "cpu": time.process_time() - own, "quanta": report.n_quanta}


def submit(folder: str, bundles: int) -> dict[str, float]:
    """Submit so many jobs that are held, each with a folder that is there; return the wall in seconds."""
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
    from benchmarks.execution import build_idle
    from benchmarks.workload import DETECTORS, make_repository

    with tempfile.TemporaryDirectory(prefix="engines-") as folder, ExitStack() as stack:
        fresh, plan = (str(Path(folder) / name) for name in ("fresh", "plan.h5"))
        make_repository(fresh, max(1, size // DETECTORS)).close()
        quanta = int(harness.fresh(build_idle, fresh, plan).value)

        def each_time(function: Any, *more: Any) -> list[Any]:
            import shutil

            found = []
            for _ in range(repeat):
                root = str(Path(folder) / f"repo{next(_COUNTER)}")
                shutil.copytree(fresh, root)
                found.append(harness.fresh(function, root, plan, *more).value)
                shutil.rmtree(root)
            return found

        found = each_time(parts)
        ours = {name: statistics.median(f[name] for f in found) / quanta * 1e6 for name in found[0]}
        for name, us in ours.items():
            yield harness.Figure(f"engines.{name}_us_per_quantum", quanta, us, "us")
        yield harness.Figure("engines.ours_us_per_quantum", quanta, sum(ours.values()), "us", OURS_US)
        from executors.testing import slurm

        if slurm.why_not():
            return
        os.environ.update(stack.enter_context(slurm.cluster(cpus=PROCESSES)).env)
        walls = {}
        for engine in ("pool", "pilots", "slurm"):
            found = each_time(execute, engine)
            walls[engine] = statistics.median(f["wall"] for f in found)
            yield harness.Figure(f"engines.{engine}_wall_s", quanta, walls[engine], "s")
            if engine != "pool":
                us = statistics.median(f["cpu"] for f in found) / quanta * 1e6
                yield harness.Figure(f"engines.{engine}_driver_us_per_quantum", quanta, us, "us", OURS_US)
        yield harness.Figure("engines.pilots_to_pool", quanta, walls["pilots"] / walls["pool"], "", 1.3)
        held = harness.fresh(submit, str(Path(folder) / "held"), SUBMITTED).value
        yield harness.Figure("engines.submit_20k_s", SUBMITTED, held["wall"], "s", 30.0)
        yield harness.Figure("engines.look_at_20k_s", SUBMITTED, held["look"], "s")


harness.run(__name__)
