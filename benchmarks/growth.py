"""Growth: what planning one and the same selection costs when a repository grows a hundredfold around it.

``--size`` is the number of visits that are planned, in a repository of so many and in one of a hundred
times as many, on each database. What counts is CPU of this process on SQLite; on PostgreSQL the server works
as well, and what counts is the time that passes (the shortest of all rounds, as its neighbours do not pay).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import harness

__all__ = ["SIZES", "figures"]

SIZES = (60,)
FACTOR = 100
MOST = 1.5
_FIRST = 1000
_SMALL, _PICKED = "raw/few", "raw/picked"


def plan(root: str, plan: str, where: str, collections: list[str], repeat: int) -> dict[str, float]:
    """Plan a selection several times; return quanta, and medians of CPU and the least of wall seconds."""
    from benchmarks.workload import pipeline
    from graphbuilder.builder import GraphBuilder
    from supertask.butler.repository import Butler

    cpu, wall, quanta = [], [], 0
    for _ in range(repeat + 1):
        begin, at = time.process_time(), time.perf_counter()
        with Butler(root, collections=collections) as butler:
            dag = GraphBuilder(pipeline(), butler, output_run="u/bench/run").makeGraph(where=where)
            dag.save(plan)
            quanta = dag.n_quanta
        cpu.append(time.process_time() - begin)
        wall.append(time.perf_counter() - at)
    # The first round imports.
    return {"quanta": quanta, "cpu": statistics.median(cpu[1:]), "wall": min(wall[1:])}


def make(root: str, visits: int, picked: int, url: str | None) -> None:
    """Make a repository, with the raws of its first visits in a run and a tagged collection of their own."""
    from benchmarks.workload import DETECTORS, make_repository
    from supertask.butler.port import CollectionKind
    from supertask.datasets import Dataset
    from supertask.rows import FileRecord

    raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
    with make_repository(root, visits, registry=url) as butler:
        handles = [
            raw(instrument="Cam", exposure=_FIRST + v, detector=d)
            for v in range(picked)
            for d in range(DETECTORS)
        ]
        butler.register(_SMALL, [FileRecord(h, "shared.json", 1, "", bytes(16)) for h in handles])
        butler.create_collection(_PICKED, CollectionKind.TAGGED)
        butler.tag(_PICKED, handles, run=_SMALL)


@contextmanager
def databases() -> Iterator[dict[str, str | None]]:
    """Give the databases that can be had here: name, and URL if it is not SQLite."""
    from supertask.testing import postgres

    if postgres.why_not():
        yield {"sqlite": None}
        return
    with postgres.server() as server:
        yield {"sqlite": None, "postgres": server.url}


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield how much longer planning takes in the larger repository, for each database and way to select."""
    visits = f"visit IN ({_FIRST}..{_FIRST + size - 1})"
    ways = {
        "where": (visits, ["raw/all", "calib"]),
        "range": (f"visit >= {_FIRST} AND visit < {_FIRST + size}", ["raw/all", "calib"]),
        "run": (visits, [_SMALL, "calib"]),
        "tagged": (visits, [_PICKED, "calib"]),
        "run_alone": ("", [_SMALL, "calib"]),
        "tagged_alone": ("", [_PICKED, "calib"]),
    }
    with databases() as known:
        for name, url in known.items():
            with tempfile.TemporaryDirectory(prefix="growth-") as folder:
                roots = [str(Path(folder) / f"repo-{visits}") for visits in (size, FACTOR * size)]
                make(roots[0], size, size, url)
                make(roots[1], FACTOR * size, size, url)
                # One after the other, so that both meet the machine as busy as it is just then.
                took = {
                    way: [
                        harness.fresh(
                            plan, root, str(Path(folder) / "plan.h5"), where, collections, repeat
                        ).value
                        for root in roots
                    ]
                    for way, (where, collections) in ways.items()
                }
            for way, (small, large) in took.items():
                # Dithers differ a little from one size to the other.
                assert abs(small["quanta"] / large["quanta"] - 1) < 0.01, f"{way}: {small} and {large}"
                what = "cpu" if url is None else "wall"
                ratio = large[what] / large["quanta"] / (small[what] / small["quanta"])
                yield harness.Figure(f"growth.{name}_{way}_ratio", int(small["quanta"]), ratio, "×", MOST)


harness.run(__name__)
