"""Run ours and theirs in one go and print the ratios."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs

from benchmarks import harness
from benchmarks.peers import lsst

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
# The benchmark of ours, and whether it executes (its size is then --executed).
OURS = (("preflight", False), ("dagfile", False), ("execution", True))


def ours(name: str, size: int, repeat: int) -> list[harness.Figure]:
    """Return the figures of one benchmark of ours, run in a process of its own."""
    print(f"ours: {name} --size {size} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", f"--size={size}", f"--repeat={repeat}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"our own benchmark {name} failed")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [harness.Figure(row["name"], row["size"], row["value"], row["unit"]) for row in rows]


def main() -> None:
    """Be the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--size", type=int, default=10_000, help="quanta to plan (default 10000)")
    parser.add_argument("--executed", type=int, default=1_000, help="quanta to execute (default 1000)")
    parser.add_argument("--repeat", type=int, default=5, help="medians of so many rounds of ours (default 5)")
    parser.add_argument("--json", action="store_true", help="one object per line")
    options = parser.parse_args()
    lsst.programs()
    measured = [
        figure
        for name, executes in OURS
        for figure in ours(name, options.executed if executes else options.size, options.repeat)
    ]
    with tempfile.TemporaryDirectory(prefix="peers-") as work:
        theirs = {name: value for name, _, value in lsst.figures(options.size, options.executed, Path(work))}
    found = [attrs.evolve(f, reference=theirs[f.name]) for f in measured if f.name in theirs]
    if options.json:
        for figure in found:
            print(json.dumps(figure.to_json()))
        return
    print("\nreference: LSST's middleware on a workload of the same kind, measured just now")
    harness.show(found)
    for figure in found:
        if figure.ratio:
            print(f"{figure.name}: 1/{1 / figure.ratio:.3g} of what LSST's middleware needs")


if __name__ == "__main__":
    main()
