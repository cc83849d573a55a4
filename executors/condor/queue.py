"""HTCondor's queue as its command line shows it: that is there wherever jobs are submitted."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from executors.jobs.enginecommands import EngineCommands
from supertask.errors import ExecutionError

__all__ = ["HELD", "CondorRefusedError", "Queue", "is_unreachable"]

_UNREACHABLE = (
    "Failed to connect", "Can't find address", "communication error", "Failed to fetch ads",
    "unable to connect", "Unable to locate", "Unable to find", "Can't connect", "Unable to connect",
    "Failed to end classad message", "Failed communication", "timed out",
)  # fmt: skip
HELD = 5
"""HTCondor's number of the state of a job that does not run until it is released."""
_CLUSTER = re.compile(r"(\d+)\.\d+ - (\d+)\.\d+")
_SUBMITTED_DAG = re.compile(r"submitted to cluster (\d+)")
_MOST = 500
"""Jobs named on one command line."""


def is_unreachable(said: str) -> bool:
    """Tell whether what HTCondor says is that it cannot be reached."""
    return any(word in said for word in _UNREACHABLE)


class CondorRefusedError(ExecutionError):
    """HTCondor is there and does not want it: a quota, a request that no machine can meet, an odd command."""


@attrs.frozen
class Queue(EngineCommands):
    """Asks and tells the queue of this host.

    Parameters
    ----------
    env : Mapping, optional
        Further environment variables, such as ``CONDOR_CONFIG``.
    patience : float, optional
        Seconds to wait for a queue that does not answer.
    """

    ENGINE = "HTCondor"
    ASKED = "queue"
    ELSEWHERE = "where jobs are submitted (an access point)"

    def submit(self, description: Path) -> int:
        """Submit the jobs of a file; return the number of their cluster.

        Raises
        ------
        CondorRefusedError
            HTCondor does not take it; says why.
        ExecutionError
            It is not installed here, or cannot be reached.
        """
        said = self._run(["condor_submit", "-terse", str(description)])
        found = _CLUSTER.search(said)
        if found is None:
            raise CondorRefusedError(f"HTCondor took no job of {description}: {' '.join(said.split())}")
        return int(found[1])

    def submit_dag(self, file: Path, words: Mapping[str, int] | None = None) -> int:
        """Submit a DAG; return the number of the cluster of its DAGMan.

        Parameters
        ----------
        file : Path
            The DAG's file.
        words : Mapping, optional
            Options of ``condor_submit_dag`` with their values, such as ``{"MaxIdle": 100}``.

        Raises
        ------
        CondorRefusedError
            HTCondor does not take it; says why.
        ExecutionError
            It is not installed here, or cannot be reached.
        """
        options = [str(w) for name, value in (words or {}).items() for w in (f"-{name.lower()}", value)]
        said = self._run(["condor_submit_dag", *options, str(file)])
        found = _SUBMITTED_DAG.search(said)
        if found is None:
            raise CondorRefusedError(f"HTCondor did not take {file}: {' '.join(said.split())}")
        return int(found[1])

    def standing(self, constraint: str) -> dict[str, int]:
        """Return which jobs are in the queue: id, ``cluster.process`` → HTCondor's number of their state."""
        said = self._run(["condor_q", "-allusers", "-constraint", constraint, "-af:j", "JobStatus"])
        pairs = (line.split() for line in said.splitlines())
        return {words[0]: int(words[1]) for words in pairs if len(words) == 2 and words[1].isdigit()}

    def remove(self, ids: Sequence[str], *, at_once: bool = False) -> None:
        """Take jobs out of the queue; those that are not in it are passed over."""
        for begin in range(0, len(ids), _MOST):
            some = ids[begin : begin + _MOST]
            if at_once:
                self._run(["condor_vacate_job", "-fast", *some], passing=True)
            self._run(["condor_rm", *some], passing=True)

    def machines(self) -> list[tuple[int, int]]:
        """Return megabytes and CPUs of each machine that is there now."""
        said = self._run(["condor_status", "-af", "TotalSlotMemory", "TotalSlotCpus"], passing=True)
        slots = [line.split() for line in said.splitlines()]
        return [(int(s[0]), int(s[1])) for s in slots if len(s) == 2 and s[0].isdigit() and s[1].isdigit()]

    @staticmethod
    def said(done: subprocess.CompletedProcess[str]) -> str:
        """Return what a command said that failed; some say it where others give their answer."""
        return " ".join(f"{done.stderr} {done.stdout}".split()) or f"exit code {done.returncode}"

    @staticmethod
    def is_away(said: str) -> bool:
        """Tell whether what HTCondor says is that it cannot be reached."""
        return is_unreachable(said)

    def _run(self, command: Sequence[str], *, passing: bool = False) -> str:
        done = self.ask(command)
        if done.returncode and not passing:
            raise CondorRefusedError(f"HTCondor refuses: {self.said(done)}")
        return done.stdout
