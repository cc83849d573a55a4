"""What it costs to start: the command line's help, and the packages' roots."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import harness

__all__ = ["SIZES", "figures"]

SIZES = (1,)
LIMIT_MS = 150.0


def _cpu_ms(repeat: int, *command: str) -> float:
    costs = []
    for _ in range(repeat + 1):
        with harness.measured() as cost:
            subprocess.run(
                [sys.executable, *command], cwd=harness.ROOT, stdout=subprocess.DEVNULL, check=True
            )
        costs.append(cost.cpu * 1e3)
    # The first one also compiles what was never imported before.
    return statistics.median(costs[1:])


def figures(size: int, repeat: int) -> Iterator[harness.Figure]:
    """Yield CPU milliseconds of fresh processes, Python's own start included."""
    help_ms = _cpu_ms(repeat, "-m", "executors.cmdline", "--help")
    yield harness.Figure("startup.help_cpu_ms", size, help_ms, "ms", LIMIT_MS)
    roots_ms = _cpu_ms(repeat, "-c", "import supertask, graphbuilder, executors")
    yield harness.Figure("startup.import_cpu_ms", size, roots_ms, "ms", LIMIT_MS)


harness.run(__name__)
