"""Reasons: what it costs to keep why quanta were left out, and to tell two plans apart.

A tenth of the frames has no dark, so that a tenth of the reduced frames and whatever rests on them alone are
left out. The same plan is made with its reasons and without them: "without" takes away only the keeping of
what was left out, in a process of its own. Then the plan is compared with one of another config.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from benchmarks import harness
from benchmarks.preflight import import_late

__all__ = ["SIZES", "figures"]

SIZES = (10_000, 100_000, 1_000_000)
_WHERE = "visit > 0 AND band IN ('u', 'g', 'r', 'i', 'z', 'y')"
"""True of all: what counts is that there is an expression whose effect is to be stated."""


def build(root: str, plan: str, kept: bool, where: str) -> dict[str, float]:
    """Plan a repository; return quanta, left out, and CPU seconds."""
    from benchmarks.workload import pipeline
    from graphbuilder.builder import GraphBuilder
    from supertask.butler.repository import Butler

    if not kept:
        _keep_no_reasons()
    import_late()
    begin = time.process_time()
    dag = GraphBuilder(pipeline(), Butler(root), output_run="u/bench/run").makeGraph(where)
    dag.save(plan)
    return {
        "quanta": dag.n_quanta,
        "left_out": sum(map(len, dag.left_out)),
        "cpu": time.process_time() - begin,
        "bytes": Path(plan).stat().st_size,
    }


def _keep_no_reasons() -> None:
    """Leave quanta out as planning does, but forget which, and what was taken from gathers.

    This is what the benchmark is held against.
    """
    from graphbuilder.builder import GraphBuilder
    from supertask.repograph.grouped import GroupedQuanta

    def forget(self: Any, keep: Any, why: str) -> Any:
        del why
        keep = np.asarray(keep, bool)
        return self if keep.all() else attrs.evolve(self, table=self.table.take(np.flatnonzero(keep)))

    GraphBuilder._trimmed = lambda *_: []  # type: ignore[method-assign, assignment]
    GroupedQuanta.where = forget  # type: ignore[method-assign]


def compare(a: str, b: str) -> dict[str, float]:
    """Compare two plans; return CPU seconds, loading apart."""
    from graphbuilder.comparing.plandiff import plan_diff
    from graphbuilder.dag.dag import ScienceDag

    plans = [ScienceDag.load(p) for p in (a, b)]
    begin = time.process_time()
    found = plan_diff(*plans)
    return {"cpu": time.process_time() - begin, "same": sum(t.same for t in found.tasks)}


def _without_darks(root: str) -> None:
    from supertask.butler.repository import Butler

    with Butler(root) as butler:
        darks = [d for d in butler.query("dark") if d.dataId["detector"] % 10 == 3]
        butler.remove(darks, run="calib")


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield what reasons cost in per cent, and seconds to compare two plans."""
    from benchmarks.workload import make_repository, visits_for

    with tempfile.TemporaryDirectory(prefix="reasons-") as folder:
        root, plan, other = (str(Path(folder) / name) for name in ("repo", "plan.h5", "other.h5"))
        make_repository(root, visits_for(size)).close()
        _without_darks(root)
        runs: dict[bool, list[harness.Fresh]] = {True: [], False: []}
        for _ in range(repeat):
            for kept in (True, False):
                runs[kept].append(harness.fresh(build, root, plan if kept else other, kept, _WHERE))
        quanta = runs[True][0].value["quanta"]
        assert runs[True][0].value["left_out"], "nothing was left out"

        def more(what: Any) -> float:
            kept, forgotten = (float(statistics.median(map(what, runs[k]))) for k in (True, False))
            return (kept / forgotten - 1) * 100

        yield harness.Figure("reasons.left_out", quanta, runs[True][0].value["left_out"], "quanta")
        yield harness.Figure("reasons.time_percent", quanta, more(lambda r: r.value["cpu"]), "%", 10.0)
        yield harness.Figure("reasons.memory_percent", quanta, more(lambda r: r.peak), "%", 20.0)
        yield harness.Figure("reasons.file_percent", quanta, more(lambda r: r.value["bytes"]), "%")
        harness.fresh(build, root, other, True, "visit > 1000 AND band IN ('g', 'r', 'i', 'z', 'y')")
        found = [harness.fresh(compare, plan, other) for _ in range(repeat)]
        assert found[0].value["same"], "nothing is the same"
        cpu = statistics.median(r.value["cpu"] for r in found)
        yield harness.Figure("reasons.plan_diff_s", quanta, cpu, "s")


harness.run(__name__)
