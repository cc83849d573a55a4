"""Benchmarks: one module each, run as ``python -m benchmarks.NAME [--size N] [--repeat 5] [--json]``.

A benchmark is a module with a function `figures(size, repeat)` that yields `harness.Figure`, a tuple
`SIZES` of the sizes that it runs when none is given, and ``harness.run(__name__)`` at its end.
``python -m benchmarks`` runs them all. `harness` measures (CPU time of the process and its children, peak
memory, medians), `peers` sets our figures beside those of other software.
"""

from __future__ import annotations

__all__: list[str] = []
