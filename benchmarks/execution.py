"""Execution: steps that do nothing, with small file outputs, registered and durable.

Each round is a process of its own with a repository of its own. CPU is counted from opening the repository
to the report, of the driver and its workers; the driver's start and imports are apart, those of workers are
not.

Repositories of earlier rounds stay until the last is over. Linux's ext4 does not use again what was deleted
in the last minutes, and looks through all of it for every file that is made: after the deletion of 10,000
files a new one takes twice the CPU.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import tempfile
from collections.abc import Iterable, Iterator
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


def note(root: str, plan_file: str) -> dict[str, float]:
    """Let each quantum of a plan start and end, with nothing in between and no outputs.

    What is left is what the journal, the events and the decisions cost. Returns the number of quanta and the
    CPU seconds they took.
    """
    import attrs

    from executors.driving.driver import Driver, Options
    from executors.events import Event
    from executors.journal.journal import encode_attempt, encode_start
    from executors.outcome import Attempt, QuantumStatus
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.repository import Butler

    plan = ScienceDag.load(plan_file)
    heard: dict[type[Event], int] = {}

    def listen(event: Event) -> None:
        heard[type(event)] = heard.get(type(event), 0) + 1

    digests = plan.identities.tobytes()
    identities = [digests[i : i + 16] for i in range(0, len(digests), 16)]
    blank = Attempt(
        index=0, identity=b"", label="isr", status=QuantumStatus.SUCCEEDED, host="here", pid=1, start=1, end=2
    )
    with (
        Butler(root) as butler,
        Driver(plan, butler, listeners=[listen], options=Options(bundles=False)) as driver,
    ):
        attempts = [attrs.evolve(blank, index=i, identity=q) for i, q in enumerate(identities)]
        with harness.measured() as cost:
            while not driver.over:
                work = driver.take(32)
                assert work is not None
                for q in work.quanta:
                    driver.journal.write(encode_start(q, identities[q].hex(), 1, 1))
                    driver.started(q, 1, "here", 1, 1)
                    driver.journal.write(encode_attempt(attempts[q], driver.header))
                    driver.ended(attempts[q])
                    driver.pulse()
        driver.end()
    assert sum(heard.values()) >= 2 * plan.n_quanta
    return {"quanta": plan.n_quanta, "cpu": cost.cpu}


def resume(root: str, plan: str) -> dict[str, float]:
    """Run a plan that is finished; return the CPU seconds that it took to find that out."""
    from executors.inprocess import InProcessFramework
    from supertask.butler.repository import Butler

    with harness.measured() as cost, Butler(root) as butler:
        report = InProcessFramework().execute(plan, butler)
    assert report.finished_before == report.n_quanta
    return {"quanta": report.n_quanta, "cpu": cost.cpu}


def build_idle(root: str, plan_file: str, writes: bool = False) -> int:
    """Plan a step that does nothing for every frame, in bundles of 100; return how many quanta that is.

    It finds no work, or writes a small file.
    """
    import numpy as np

    from benchmarks.workload import IdleTask, IsrTask
    from graphbuilder.builder import GraphBuilder
    from graphbuilder.dag.values import Bundling
    from supertask.butler.repository import Butler
    from supertask.pipelines.pipeline import Pipeline

    pipeline = Pipeline("Nothing.")
    pipeline.add("idle", IsrTask if writes else IdleTask)
    with Butler(root) as butler:
        plan = GraphBuilder(pipeline, butler, output_run="u/bench/idle").makeGraph()
    ends = np.append(np.arange(0, plan.n_quanta, 100), plan.n_quanta).astype(np.int64)
    plan.with_bundling(Bundling("hundreds", ends, np.arange(plan.n_quanta, dtype=np.int32))).save(plan_file)
    return plan.n_quanta


def copies(fresh: str) -> Iterator[str]:
    """Copy a repository as often as asked, each beside it; nothing is deleted before all of them are."""
    for number in itertools.count():
        root = f"{fresh}-{number}"
        shutil.copytree(fresh, root)
        yield root


def _bundle_figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield what a pool costs for quanta in bundles that write nothing; its start and imports are counted."""
    from benchmarks.workload import DETECTORS, make_repository

    with tempfile.TemporaryDirectory(prefix="execution-") as folder:
        fresh, plan = (str(Path(folder) / name) for name in ("fresh", "plan.h5"))
        make_repository(fresh, max(1, size // DETECTORS)).close()
        harness.fresh(build_idle, fresh, plan)
        roots = itertools.islice(copies(fresh), repeat)
        rounds = [harness.fresh(execute, root, plan, PROCESSES).value for root in roots]
    quanta = int(rounds[0]["quanta"])
    cpu = statistics.median(r["cpu"] for r in rounds)
    yield harness.Figure("execution.pool_bundles_us_per_quantum", quanta, cpu / quanta * 1e6, "us", 150.0)


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield cost per quantum of running about `size` quanta."""
    from benchmarks.preflight import build
    from benchmarks.workload import make_repository, visits_for

    with tempfile.TemporaryDirectory(prefix="execution-") as folder:
        fresh, plan = (str(Path(folder) / name) for name in ("fresh", "plan.h5"))
        make_repository(fresh, visits_for(size)).close()
        harness.fresh(build, fresh, plan, False)
        roots = copies(fresh)
        for name, processes, limit in (("inprocess", 1, 0.7), ("pool", PROCESSES, 2.0)):
            rounds, again = [], []
            for root in itertools.islice(roots, repeat):
                rounds.append(harness.fresh(execute, root, plan, processes).value)
                again.append(harness.fresh(resume, root, plan).value)
            quanta = int(rounds[0]["quanta"])
            cpu = statistics.median(r["cpu"] for r in rounds)
            yield harness.Figure(f"execution.{name}_ms_per_quantum", quanta, cpu / quanta * 1e3, "ms", limit)
        cpu = statistics.median(r["cpu"] for r in again)
        yield harness.Figure("execution.resume_us_per_quantum", quanta, cpu / quanta * 1e6, "us")
        yield from _journal_figures(itertools.islice(roots, repeat), plan)
    yield from _bundle_figures(size, repeat)


def _journal_figures(roots: Iterable[str], plan: str) -> Iterator[harness.Figure]:
    """Yield what remembering costs, and going on with what is finished, without any files of outputs."""
    notes, again = [], []
    for root in roots:
        notes.append(harness.fresh(note, root, plan))
        again.append(harness.fresh(resume, root, plan))
    quanta = int(notes[0].value["quanta"])
    cpu = statistics.median(r.value["cpu"] for r in notes)
    yield harness.Figure("execution.journal_us_per_quantum", quanta, cpu / quanta * 1e6, "us", 60.0)
    cpu = statistics.median(r.value["cpu"] for r in again)
    yield harness.Figure("execution.resume_finished_s", quanta, cpu, "s", 10.0)
    peak = statistics.median(r.peak for r in notes)
    yield harness.Figure("execution.driver_memory_mib", quanta, peak / 2**20, "MiB", 1024.0)


harness.run(__name__)
