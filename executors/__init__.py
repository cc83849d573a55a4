"""Run the plan: the last of the three floors.

Of the planner only the plan is known here (`graphbuilder.dag`): a plan runs where it was not built. From the
ground up:

- *Values*: `outcome` (statuses, attempts), `events` (what listeners are told).
- *Decisions*: `schedule`, which quantum may run next, without I/O.
- *Memory*: `runfolder` (where a run keeps things, and its lock), `journal` (what came of every attempt,
  written before it counts), `replay` (reading it back), `report`, `leftovers` (what a killed process leaves).
- *Work*: `taskset` (constructs tasks), `runner` (the one place that calls ``runQuantum``) with `logs` and
  `resources` (what it used), `performer` (start, run, end, one quantum after another).
- *Driving*: `driver` (what all frameworks do alike: journal, tell, register, report) with `opening` (of a
  run, new or resumed) and `collect` (registers outputs in bulk).
- *Frameworks*: `port` (what an ExecutionFramework promises), `inprocess`, `multiprocess` with `crew` (the
  workers, as the driver sees them) and `worker` (the process).
- `cmdline`: the command line, which alone sees all floors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from executors.inprocess import InProcessFramework
    from executors.multiprocess import MultiprocessFramework
    from executors.outcome import Attempt, QuantumStatus
    from executors.port import ExecutionFramework
    from executors.report import Report, status

_HOME = {
    "Attempt": "outcome",
    "ExecutionFramework": "port",
    "InProcessFramework": "inprocess",
    "MultiprocessFramework": "multiprocess",
    "QuantumStatus": "outcome",
    "Report": "report",
    "status": "report",
}

__all__ = [
    "Attempt",
    "ExecutionFramework",
    "InProcessFramework",
    "MultiprocessFramework",
    "QuantumStatus",
    "Report",
    "status",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
