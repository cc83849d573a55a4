"""Run ours and theirs in turns, in one go, and print the ratios."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from benchmarks import harness
from benchmarks.peers import lsst

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
# Plans of ours before and after each of theirs.
ASIDE = 3


def planning(size: int, rounds: int, work: Path) -> Iterator[harness.Figure]:
    """Plan `size` quanta or about as many with each, in turns, and yield what both cost.

    Each plan is the first of a process of its own, on a repository made beforehand. Both count CPU from
    opening the repository to the saved plan, without imports, and the memory of the whole process.
    """
    from benchmarks.preflight import build
    from benchmarks.workload import make_repository, visits_for

    root, plan = str(work / f"ours-{size}"), work / f"ours-{size}.h5"
    make_repository(root, visits_for(size)).close()
    lsst.make_repository(size, work)
    ours: list[harness.Fresh] = []
    theirs: list[lsst.Built] = []

    def plan_ours() -> None:
        print(f"ours: {ASIDE} plans of {size} …", file=sys.stderr, flush=True)
        ours.extend(harness.fresh(build, root, str(plan), False) for _ in range(ASIDE))

    for _ in range(rounds):
        plan_ours()
        theirs.append(lsst.build(size, work))
    plan_ours()
    n = ours[0].value["quanta"]
    costs = {
        "us_per_quantum": (
            "us",
            [r.value["cpu"] / n * 1e6 for r in ours],
            [b.cpu / b.n * 1e6 for b in theirs],
        ),
        "startup_cpu_s": ("s", [r.cpu - r.value["cpu"] for r in ours], [b.imports for b in theirs]),
        "peak_bytes_per_quantum": ("bytes", [r.peak / n for r in ours], [b.peak / b.n for b in theirs]),
    }
    for name, (unit, mine, other) in costs.items():
        yield harness.Figure(f"preflight.{name}", n, statistics.median(mine), unit, statistics.median(other))
    both = (plan.stat().st_size / n, theirs[0].file / theirs[0].n)
    yield harness.Figure("dagfile.bytes_per_quantum", n, both[0], "bytes", both[1])


def ours(name: str, size: int, repeat: int) -> list[harness.Figure]:
    """Return the figures of one benchmark of ours, run in a process of its own."""
    print(f"ours: {name} --size {size} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", f"--size={size}", f"--repeat={repeat}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"our own benchmark {name} failed")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [harness.Figure(row["name"], row["size"], row["value"], row["unit"]) for row in rows]


def using(name: str, size: int, repeat: int, theirs: dict[str, float]) -> Iterator[harness.Figure]:
    """Yield the figures of a benchmark of ours that `theirs` has something beside."""
    for figure in ours(name, size, repeat):
        if figure.name in theirs:
            yield attrs.evolve(figure, reference=theirs[figure.name])


def main() -> None:
    """Be the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--size", type=int, action="append", help="quanta to plan (default 10000); may be given again"
    )
    parser.add_argument("--executed", type=int, default=1_000, help="quanta to execute (default 1000)")
    parser.add_argument("--planning", action="store_true", help="plan alone: nothing is fetched or executed")
    parser.add_argument(
        "--rounds", type=int, default=3, help="plans of theirs, in turns with ours (default 3)"
    )
    parser.add_argument("--repeat", type=int, default=5, help="medians of so many other rounds (default 5)")
    parser.add_argument("--json", action="store_true", help="one object per line")
    options = parser.parse_args()
    lsst.programs()
    found: list[harness.Figure] = []
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        work = Path(folder)
        for size in options.size or [10_000]:
            found += planning(size, options.rounds, work)
            if not options.planning:
                found += using("dagfile", size, options.repeat, lsst.fetching(size, work))
        if not options.planning:
            found += using(
                "execution", options.executed, options.repeat, lsst.executing(options.executed, work)
            )
    if options.json:
        for figure in found:
            print(json.dumps(figure.to_json()))
        return
    print("\nreference: LSST's middleware on a workload of the same kind, measured just now")
    harness.show(found)
    for figure in found:
        if figure.ratio:
            print(f"{figure.name}, {figure.size:,}: 1/{1 / figure.ratio:.3g} of what LSST's middleware needs")


if __name__ == "__main__":
    main()
