"""Workers of Parsl on this machine, in processes of their own: as on a site, but without its batch system."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parsl import Config

__all__ = ["high_throughput"]

_PACKAGE = "parsl.executors.high_throughput"


def high_throughput(folder: Path, workers: int = 2) -> Config:
    """Return a configuration of Parsl's `HighThroughputExecutor`: an interchange, a pool, and its workers.

    Parameters
    ----------
    folder : Path
        Where Parsl writes.
    workers : int, optional
        How many jobs run at once.

    Returns
    -------
    Config
        For one kernel. Interchange and pool end when this process does, however it ends.
    """
    parsl = importlib.import_module("parsl")
    htex = importlib.import_module(f"{_PACKAGE}.executor")
    # Installed programs need not be on the path.
    leash = [sys.executable, "-m", "executors.testing.leash", str(os.getpid()), sys.executable, "-m"]
    pool = htex.DEFAULT_LAUNCH_CMD.partition(" ")[2]
    executor = htex.HighThroughputExecutor(
        label="pool",
        address="127.0.0.1",
        max_workers_per_node=workers,
        cores_per_worker=1e-3,
        launch_cmd=f"{shlex.join([*leash, f'{_PACKAGE}.process_worker_pool'])} {pool}",
        interchange_launch_cmd=[*leash, f"{_PACKAGE}.interchange"],
        heartbeat_period=10,
        heartbeat_threshold=60,
    )
    made: Config = parsl.Config(
        executors=[executor],
        run_dir=str(folder / "parsl"),
        strategy="none",
        strategy_period=0.5,  # the first workers are started with the first look
        initialize_logging=False,
    )
    return made
