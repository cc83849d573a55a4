"""Run the plan: the last of the three floors.

Of the planner only the plan is known here (`graphbuilder.dag`): a plan runs where it was not built. From the
ground up:

- *Values*: `outcome` (statuses, attempts), `events` (what listeners are told); `listeners` (metrics,
  notifications).
- `decisions`: what runs next, what becomes of what failed; without I/O.
- `host`: this machine's processes, limits and signals.
- `journal`: what came of every attempt, and what can be read out of that.
- `keeping`: what a run made is registered, kept or deleted. `cleaning`: the same after the run.
- `workplaces`: where files are as quanta see them.
- `overheads`: what quanta share is made once.
- `quanta`: the runner and all that a quantum has around it.
- `driving`: the driver, which does what all frameworks do alike.
- *Frameworks*: `port` (what an ExecutionFramework promises), `inprocess`, `multiprocess` with its `pool`;
  `engines` finds them by name.
- *Batch systems*: `batch` (what all of them share), `jobs` (a bundle in a folder of its own), `warm` (a
  process that runs one after another), `pilots`; `slurm`, `condor`, `futures` (Dask and Parsl).
- Aside of runs: `simulation` (in virtual time, by the same decisions), `lineage`, `capsule`, `comparison`.
- `testing`: what tests of a framework stand on.
- `cmdline`: the command line, which alone sees all floors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from executors.futures.dask import DaskFramework
    from executors.futures.parsl import ParslFramework
    from executors.inprocess import InProcessFramework
    from executors.journal.report import Report, status
    from executors.multiprocess import MultiprocessFramework
    from executors.outcome import Attempt, QuantumStatus
    from executors.port import ExecutionFramework
    from executors.slurm.framework import SlurmFramework

_HOME = {
    "Attempt": "outcome",
    "DaskFramework": "futures.dask",
    "ExecutionFramework": "port",
    "InProcessFramework": "inprocess",
    "MultiprocessFramework": "multiprocess",
    "ParslFramework": "futures.parsl",
    "QuantumStatus": "outcome",
    "Report": "journal.report",
    "SlurmFramework": "slurm.framework",
    "status": "journal.report",
}

__all__ = [
    "Attempt",
    "DaskFramework",
    "ExecutionFramework",
    "InProcessFramework",
    "MultiprocessFramework",
    "ParslFramework",
    "QuantumStatus",
    "Report",
    "SlurmFramework",
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
