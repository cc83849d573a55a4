"""Relations between units: footprints against patches, look-ups in time, tables of related data IDs.

Footprints are squares of a detector's size, anywhere on the sky; the sky map covers all of it with 2.4
million patches. Figures of memory are those of a process of its own, imports included.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import harness

if TYPE_CHECKING:
    from supertask.sky.footprints import Footprints
    from supertask.sky.skymap import SkyMap

__all__ = ["SIZES", "figures"]

SIZES = (30_000, 100_000, 300_000)
LIMIT_S = 60.0
"""For 100,000 footprints against 1M patches."""
_LIMITED = 100_000
_PATCHES = 1_000_000
_DETECTOR = 0.1
"""Degrees from the middle to the edge of a footprint."""
_DAY = 86_400 * 10**9


def sky_map() -> SkyMap:
    """Return one of the whole sky with 2.4 million patches."""
    from supertask.sky.skymap import SkyMap

    made = SkyMap.rings(name="all", n_rings=89, pixel_scale=6.0, patch_size=120, border=5)
    assert sum(t.n_patches for t in made.tracts) >= _PATCHES
    return made


def some_footprints(n: int) -> Footprints:
    """Return squares anywhere on the sky, turned anyhow."""
    from supertask.sky.footprints import Footprints
    from supertask.sky.sphere import radec_of

    rng = np.random.default_rng(20260105)
    centre = rng.normal(size=(n, 3))
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    one = np.cross(centre, rng.normal(size=(n, 3)))
    one *= np.tan(np.deg2rad(_DETECTOR)) / np.linalg.norm(one, axis=1, keepdims=True)
    two = np.cross(centre, one)
    corners = np.stack([centre + one, centre + two, centre - one, centre - two], axis=1).reshape(-1, 3)
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    radec = np.stack(radec_of(corners), axis=1)
    return Footprints({"visit": np.arange(n)}, radec, np.arange(n + 1, dtype=np.int64) * 4)


def overlap(n: int) -> dict[str, Any]:
    """Find which of n footprints overlap which patches; return CPU seconds, pairs and patches."""
    from supertask.sky.overlaps import overlaps

    skymap, footprints = sky_map(), some_footprints(n)
    begin = time.process_time()
    found = overlaps(footprints, skymap)
    cpu = time.process_time() - begin
    # Every footprint is on the sky, all of which is covered.
    assert len(np.unique(found.footprint)) == n
    return {"cpu": cpu, "pairs": len(found), "patches": sum(t.n_patches for t in skymap.tracts)}


def select(n: int) -> dict[str, Any]:
    """Find what of n footprints, and of all patches, a circle of one degree holds."""
    from supertask.sky.regions import Circle, meets, patches_in

    skymap, footprints = sky_map(), some_footprints(n)
    circle = Circle(123.0, 88.0, 1.0)
    begin = time.process_time()
    meets(circle, footprints)
    patches_in(circle, skymap)
    return {"cpu": time.process_time() - begin}


def look_up(n: int) -> dict[str, Any]:
    """Find the nearest and the latest dark of each of n visits, of 100 detectors."""
    from supertask.temporal import latest_before, nearest_in_time

    rng = np.random.default_rng(1)
    visits, darks = rng.integers(0, 3650 * _DAY, n), rng.integers(0, 3650 * _DAY, max(n // 10, 1))
    groups, dark_groups = rng.integers(0, 100, n), rng.integers(0, 100, len(darks))
    begin = time.process_time()
    for find in (nearest_in_time, latest_before):
        found = find(visits, darks, 30 * _DAY, groups=groups, candidate_groups=dark_groups)
        assert len(found) == n
    return {"cpu": (time.process_time() - begin) / 2}


def _table(folder: str, n: int) -> Path:
    path = Path(folder) / "plan.csv"
    lines = (f"C,{i},b{i % 1000}" for i in range(n))
    path.write_text("\n".join(["instrument,visit,block", *lines]) + "\n")
    return path


def load(root: str, table: str) -> dict[str, Any]:
    """Load a table of related data IDs into a repository; return CPU seconds."""
    from supertask.butler.repository import Butler
    from supertask.relations.given import load_relation

    with Butler(root) as butler:
        begin = time.process_time()
        done = load_relation(butler, "plan", table)
        cpu = time.process_time() - begin
    return {"cpu": cpu, "new": done.new}


def _repository(root: str, n: int) -> None:
    from supertask.butler.repository import Butler
    from supertask.unitmodels import unit_model_from_dict

    model = unit_model_from_dict(
        {
            "name": "planned",
            "units": {
                "instrument": {"key": "str"},
                "visit": {"parents": "instrument"},
                "block": {"key": "str"},
            },
            "relations": {"plan": {"left": "visit", "right": "block"}},
        }
    )
    with Butler.create(root, model) as butler:
        butler.insert_units("instrument", [{"instrument": "C"}])
        butler.insert_units("visit", ({"instrument": "C", "visit": i} for i in range(n)))
        butler.insert_units("block", ({"block": f"b{i}"} for i in range(1000)))


def extend(root: str, n: int) -> dict[str, Any]:
    """Keep n footprints, and n more in a repository that has these; return CPU seconds for the latter."""
    from supertask.butler.repository import Butler
    from supertask.sky.ingested import keep_footprints

    footprints = some_footprints(2 * n)
    corners = footprints.radec.reshape(-1, 4, 2)
    with Butler(root) as butler:
        butler.insert_units("visit", ({"instrument": "C", "visit": i} for i in range(2 * n)))
        cpu = []
        for part in (range(n), range(n, 2 * n)):
            ids = [({"instrument": "C", "visit": i, "detector": 0}, corners[i]) for i in part]
            begin = time.process_time()
            assert keep_footprints(butler, ids).footprints == n
            cpu.append(time.process_time() - begin)
    return {"cpu": cpu[1]}


def _surveyed(root: str) -> float:
    """Make a repository that knows the sky map; return CPU seconds of registering it."""
    from supertask.butler.repository import Butler

    with Butler.create(root) as butler:
        butler.insert_units("instrument", [{"instrument": "C"}])
        butler.insert_units("detector", [{"instrument": "C", "detector": 0}])
        with harness.measured() as cost:
            sky_map().register(butler)
    return cost.cpu


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield what relating `size` footprints, times and rows costs."""
    runs = [harness.fresh(overlap, size) for _ in range(repeat)]
    cpu = statistics.median(r.value["cpu"] for r in runs)
    reference = LIMIT_S if size == _LIMITED else None
    yield harness.Figure("relations.overlaps_cpu_s", size, cpu, "s", reference)
    yield harness.Figure("relations.overlaps_us_per_footprint", size, cpu / size * 1e6, "us")
    yield harness.Figure("relations.overlaps_patches", size, runs[0].value["patches"], "patches")
    yield harness.Figure("relations.overlaps_pairs", size, runs[0].value["pairs"], "pairs")
    peak = statistics.median(r.peak for r in runs)
    yield harness.Figure("relations.overlaps_peak_mb", size, peak / 1e6, "MB")
    for name, function in (("circle_cpu_ms", select), ("time_lookup_cpu_ms", look_up)):
        found = [harness.fresh(function, size).value["cpu"] for _ in range(repeat)]
        yield harness.Figure(f"relations.{name}", size, statistics.median(found) * 1e3, "ms")
    with tempfile.TemporaryDirectory(prefix="relations-") as folder:
        costs = []
        table = str(_table(folder, size))
        for i in range(repeat):
            root = str(Path(folder) / f"repo{i}")
            _repository(root, size)
            done = harness.fresh(load, root, table).value
            assert done["new"] == size
            costs.append(done["cpu"] / size * 1e6)
        yield harness.Figure("relations.table_us_per_row", size, statistics.median(costs), "us")
        if size == _LIMITED:
            root = str(Path(folder) / "sky")
            patches = runs[0].value["patches"]
            yield harness.Figure("relations.register_cpu_s", patches, _surveyed(root), "s")
            cost = harness.fresh(extend, root, 1000).value["cpu"]
            yield harness.Figure("relations.extend_cpu_s", 1000, cost, "s")


harness.run(__name__)
