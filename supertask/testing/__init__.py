"""Contract suites and helpers for those who write Butlers, storage formats and tasks of their own.

Each suite is a pytest class to derive from: `butler.ButlerContract`, `formats.FormatContract`.
They need the packages of the extra ``dev`` (pytest, hypothesis), and nothing else here imports them.
`runQuantum` (of `quanta`) runs one quantum of a task on a Butler in memory, in one line; `lint` (of
`linting`) names what is doubtful in a task.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supertask.testing.linting import lint
    from supertask.testing.quanta import runQuantum

__all__ = ["lint", "runQuantum"]

_HOME = {"lint": "linting", "runQuantum": "quanta"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
