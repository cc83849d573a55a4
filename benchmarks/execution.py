"""Execution: steps that do nothing, with small file outputs, registered and durable.

Each round is a process of its own with a repository of its own. CPU is counted from opening the repository
to the report, of the driver and its workers; the driver's start and imports are apart, those of workers are
not.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

from benchmarks import harness

__all__ = ["SIZES", "figures"]

SIZES = (1_000, 10_000)
PROCESSES = 2


def execute(root: str, plan: str, processes: int) -> dict[str, float]:
    """Run a plan; return how many quanta it had and the CPU seconds they took."""
    from executors.inprocess import InProcessFramework
    from executors.multiprocess import MultiprocessFramework
    from supertask.butler.repository import Butler

    framework = InProcessFramework() if processes == 1 else MultiprocessFramework(processes=processes)
    with harness.measured() as cost, Butler(root) as butler:
        report = framework.execute(plan, butler)
        # Workers are counted once their parent, the fork server, has ended and been waited for.
        forkserver._forkserver._stop()  # type: ignore[attr-defined]
    assert report.exit_code == 0, str(report)
    return {"quanta": report.n_quanta, "cpu": cost.cpu}


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield cost per quantum of running about `size` quanta."""
    from benchmarks.preflight import build
    from benchmarks.workload import make_repository, visits_for

    with tempfile.TemporaryDirectory(prefix="execution-") as folder:
        fresh, root, plan = (str(Path(folder) / name) for name in ("fresh", "repo", "plan.h5"))
        make_repository(fresh, visits_for(size)).close()
        harness.fresh(build, fresh, plan, False)
        for name, processes, limit in (("inprocess", 1, 1.5), ("pool", PROCESSES, 2.0)):
            rounds = []
            for _ in range(repeat):
                shutil.copytree(fresh, root)
                rounds.append(harness.fresh(execute, root, plan, processes).value)
                shutil.rmtree(root)
            quanta = int(rounds[0]["quanta"])
            cpu = statistics.median(r["cpu"] for r in rounds)
            yield harness.Figure(f"execution.{name}_ms_per_quantum", quanta, cpu / quanta * 1e3, "ms", limit)


harness.run(__name__)
