"""Run the plan: the last of the three floors.

Of the planner only the plan is known here (`graphbuilder.dag`): a plan runs where it was not built. From the
ground up:

- *Values*: `outcome` (statuses, attempts), `events` (what listeners are told).
- *Decisions*, without I/O: `schedule` (which quantum may run next) with `bundles` and `bundlewalk`, `quorum`
  (whether it may run without inputs that failed), `policy` (whether one that failed is tried again).
- *Memory*: `runfolder` (where a run keeps things), `lease` and `locks` (who may drive it), `journal` (what
  came of every attempt, written before it counts), `replay` (reading it back), `report`, `leftovers` (what a
  killed process leaves).
- *What stays*: `retention` (what may go, and what is remade), `deletion`, `cleaning` (after a run).
- *Where it runs*: `scratch` (folders on a local disk), `workplace` (the repository's files as seen there),
  `fusion` (what a bundle need not write).
- *What a call has around it*: `surroundings`, `jobrequests` (submit hooks and tags), `tokens` (bound what
  runs at once), `jobfolders` with `attemptfolders` (what is kept while one runs),
  `callbacks` (delivered once).
- `listeners`: metrics and notifications.
- *Work*: `taskset` (constructs tasks), `runner` (the one place that calls ``runQuantum``) with `logs` and
  `resources` (what it used), `limits` (what it may use), `trial` (an attempt under way),
  `places` (of its datasets), `overheads` with `overheadstore` (what quanta share), `bundlerun` (tasks that
  take a bundle),
  `performer` (start, run, end, one quantum after another), `lines` (what is written and told of that),
  `processes` (all that tasks started).
- *Driving*: `driver` (what all frameworks do alike: journal, tell, register, report) with `opening` (of a
  run, new or resumed), `collect` (registers outputs in bulk), `provenance`, `retrying` (what is known of
  failures), `options`, `openbundles` and `signals`.
- *Frameworks*: `port` (what an ExecutionFramework promises), `inprocess`, `multiprocess` with `crew` (the
  workers, as the driver sees them) and `worker` (the process).
- *Batch systems*: `batch` (what all of them share), `jobs` (a bundle in a folder of its own), `slurm`;
  `futures` (Dask and Parsl).
- `simulation`: a run in virtual time, through the same decisions.
- `cmdline`: the command line, which alone sees all floors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from executors.futures.dask import DaskFramework
    from executors.futures.parsl import ParslFramework
    from executors.inprocess import InProcessFramework
    from executors.multiprocess import MultiprocessFramework
    from executors.outcome import Attempt, QuantumStatus
    from executors.port import ExecutionFramework
    from executors.report import Report, status
    from executors.slurm.framework import SlurmFramework

_HOME = {
    "Attempt": "outcome",
    "DaskFramework": "futures.dask",
    "ExecutionFramework": "port",
    "InProcessFramework": "inprocess",
    "MultiprocessFramework": "multiprocess",
    "ParslFramework": "futures.parsl",
    "QuantumStatus": "outcome",
    "Report": "report",
    "SlurmFramework": "slurm.framework",
    "status": "report",
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
