"""How everything is measured: CPU time first, medians, and memory in processes of their own.

Wall time on a shared machine says more of its neighbours than of the program, so figures are CPU seconds of
the process and all its children, unless their name says otherwise. What allocates is measured in a fresh
process: `fresh` starts one, calls one function there, and gives back what it returned with what it cost.
Since the kernel hands a parent's peak memory down through fork and exec, the child reads its own mark.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

__all__ = [
    "Cost",
    "Figure",
    "Fresh",
    "cpu_seconds",
    "fresh",
    "measured",
    "median_cpu",
    "peak_bytes",
    "run",
    "show",
]

ROOT = Path(__file__).resolve().parent.parent


@attrs.frozen
class Figure:
    """One measured figure."""

    name: str
    """As ``benchmark.what_unit``, for example ``preflight.us_per_quantum``."""
    size: int
    value: float
    unit: str
    reference: float | None = None
    """What it is held against, in the same unit: a limit that was set, or a peer measured in the same run."""

    @property
    def ratio(self) -> float | None:
        """Value over reference: below one is less than the limit, or than the peer needs."""
        return self.value / self.reference if self.reference else None

    def to_json(self) -> dict[str, Any]:
        """Return it as one flat object; reference and ratio only where it compares."""
        row: dict[str, Any] = {"name": self.name, "size": self.size, "value": self.value, "unit": self.unit}
        if self.reference is not None:
            row |= {"reference": self.reference, "ratio": self.ratio}
        return row


@attrs.define
class Cost:
    """What a block cost; filled in when it ends."""

    cpu: float = 0.0
    """Seconds, of this process and of children that ended meanwhile."""
    wall: float = 0.0
    """Seconds."""


@attrs.frozen
class Fresh:
    """What a function returned in a process of its own, and what that process cost."""

    value: Any
    cpu: float
    """Seconds of the whole process, its start and imports included, and of its children."""
    wall: float
    peak: int
    """Bytes of resident memory at most, imports included."""
    before: int
    """Bytes of resident memory at most before the function was called, its module imported."""


def cpu_seconds() -> float:
    """Return CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def peak_bytes() -> int:
    """Return the most resident memory that this process ever had, in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux; macOS counts in bytes and keeps no memory of the parent
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure a block; the garbage of what came before is collected first."""
    gc.collect()
    cost = Cost()
    wall, cpu = time.perf_counter(), cpu_seconds()
    try:
        yield cost
    finally:
        cost.cpu, cost.wall = cpu_seconds() - cpu, time.perf_counter() - wall


def median_cpu(function: Callable[[], object], repeat: int) -> float:
    """Return the median CPU seconds of `repeat` calls."""
    costs = []
    for _ in range(repeat):
        with measured() as cost:
            function()
        costs.append(cost.cpu)
    return statistics.median(costs)


def fresh(function: Callable[..., Any], *arguments: Any, env: dict[str, str] | None = None) -> Fresh:
    """Call a function of a module in a process of its own.

    Parameters
    ----------
    function : callable
        At the top level of a module that can be imported.
    *arguments
        Whatever JSON can carry.
    env : dict, optional
        Further environment variables.

    Returns
    -------
    Fresh
        Its value (as JSON carries it) and costs.

    Raises
    ------
    RuntimeError
        The process failed; with what it wrote to stderr.
    """
    call = json.dumps([function.__module__, function.__qualname__, arguments])
    wall, cpu = time.perf_counter(), cpu_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.harness", call],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    if done.returncode:
        raise RuntimeError(f"{function.__qualname__}{arguments} failed in its own process:\n{done.stderr}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Fresh(answer["value"], cpu, wall, answer["peak"], answer["before"])


def _answer(call: str) -> None:
    """Be the process of `fresh`."""
    module, name, arguments = json.loads(call)
    function = getattr(importlib.import_module(module), name)
    before = peak_bytes()
    value = function(*arguments)
    print(json.dumps({"value": value, "peak": peak_bytes(), "before": before}))


def run(name: str, arguments: Sequence[str] | None = None) -> None:
    """Be the command line of the benchmark module `name`, if it is the program that was started.

    Parameters
    ----------
    name : str
        The module's ``__name__``; anything but ``"__main__"`` does nothing.
    arguments : sequence of str, optional
        The command line.
    """
    if name != "__main__":
        return
    spec = sys.modules["__main__"].__spec__
    if spec is None:
        raise SystemExit("run it as python -m benchmarks.NAME")
    # The module is imported once more under its own name, so that `fresh` can find its functions.
    module = importlib.import_module(spec.name)
    parser = argparse.ArgumentParser(
        prog=f"python -m {spec.name}", description=(module.__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--size", type=int, action="append", help=f"may be given again; default {module.SIZES}"
    )
    parser.add_argument("--repeat", type=int, default=5, help="medians of so many rounds (default 5)")
    parser.add_argument("--json", action="store_true", help="one object per line")
    options = parser.parse_args(arguments)
    found: list[Figure] = []
    for size in options.size or module.SIZES:
        for figure in module.figures(size, options.repeat):
            found.append(figure)
            if options.json:
                print(json.dumps(figure.to_json()), flush=True)
    if not options.json:
        show(found)


def show(found: Iterable[Figure]) -> None:
    """Print figures as a table, with what the machine was like meanwhile."""
    rows = [("figure", "size", "value", "unit", "reference", "ratio")]
    for figure in found:
        reference = "" if figure.reference is None else f"{figure.reference:.4g}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.3g}"
        rows.append((figure.name, f"{figure.size:,}", f"{figure.value:.4g}", figure.unit, reference, ratio))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    for row in rows:
        name, size, value, unit, reference, ratio = (
            cell.ljust(width) if i in (0, 3) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print(f"{name}  {size}  {value} {unit}  {reference}  {ratio}".rstrip())
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"CPU time, medians; {machine}")


if __name__ == "__main__":
    _answer(sys.argv[1])
