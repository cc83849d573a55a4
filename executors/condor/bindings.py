"""HTCondor's queue through its own Python bindings, ``htcondor2``, where these are installed.

They spare a process for each question; they say and are told the same as the command line.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from executors.condor.queue import CondorRefusedError, Queue, is_unreachable
from executors.jobs.enginecommands import NotInstalledError
from supertask.errors import ExecutionError

__all__ = ["BoundQueue", "queue_of_host"]

T = TypeVar("T")

_MODULE = "htcondor2"
_NOT_SET_UP = "Unable to determine collector host"


def _bindings() -> Any:
    with warnings.catch_warnings():
        # That there is no configuration is told by what fails then.
        warnings.simplefilter("ignore", UserWarning)
        return importlib.import_module(_MODULE)


def queue_of_host(patience: float = 60.0) -> Queue:
    """Return the queue of this host: through bindings where there are any, by command line else.

    Parameters
    ----------
    patience : float, optional
        Seconds to wait for a queue that does not answer.
    """
    kind = BoundQueue if importlib.util.find_spec(_MODULE) is not None else Queue
    return kind(patience=patience)


@attrs.frozen
class BoundQueue(Queue):
    """The queue of this host through bindings; what these read in the environment is this process's.

    A DAG is submitted by command line all the same: bindings would look for DAGMan among the commands of
    this host, which it needs not be.
    """

    def submit(self, description: Path) -> int:
        """Submit the jobs of a file; return the number of their cluster."""
        text = description.read_text(encoding="utf-8")
        return int(self._ask(lambda h: h.Schedd().submit(h.Submit(text)).cluster()))

    def standing(self, constraint: str) -> dict[str, int]:
        """Return which jobs are in the queue: id, ``cluster.process`` → HTCondor's number of their state."""
        wanted = ["ClusterId", "ProcId", "JobStatus"]
        ads = self._ask(lambda h: h.Schedd().query(constraint=constraint, projection=wanted))
        return {f"{ad['ClusterId']}.{ad['ProcId']}": int(ad["JobStatus"]) for ad in ads}

    def remove(self, ids: Sequence[str], *, at_once: bool = False) -> None:
        """Take jobs out of the queue; those that are not in it are passed over."""
        if not ids:
            return
        if at_once:
            self._ask(lambda h: h.Schedd().act(h.JobAction.VacateFast, list(ids)))
        self._ask(lambda h: h.Schedd().act(h.JobAction.Remove, list(ids)))

    def machines(self) -> list[tuple[int, int]]:
        """Return megabytes and CPUs of each machine that is there now."""
        wanted = ["TotalSlotMemory", "TotalSlotCpus"]
        ads = self._ask(lambda h: h.Collector().query(h.AdType.Startd, projection=wanted))
        return [(int(ad[wanted[0]]), int(ad[wanted[1]])) for ad in ads if all(name in ad for name in wanted)]

    def _ask(self, question: Callable[[Any], T]) -> T:
        until, pause = time.monotonic() + self.patience, 0.1
        while True:
            try:
                return question(_bindings())
            except ImportError as error:
                raise ExecutionError(
                    f"HTCondor's bindings cannot be imported ({error}): install those of its version, or none"
                ) from error
            except Exception as error:  # they have errors of many kinds
                said = " ".join(str(error).split()) or type(error).__name__
                if _NOT_SET_UP in said:
                    raise NotInstalledError(
                        f"HTCondor is not set up on this host ({said} CONDOR_CONFIG is to say where its "
                        f"configuration is); run the plan {self.ELSEWHERE}, or in this process or a pool"
                    ) from error
                if not is_unreachable(said):
                    raise CondorRefusedError(f"HTCondor refuses: {said}") from error
                if time.monotonic() + pause > until:
                    raise self._silent(said) from error
                _bindings().reload_config()  # the pool may have moved since it was read
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
