"""Slurm as its command line shows it: nothing else is installed everywhere, and its output is stable."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs

from executors.jobs.enginecommands import EngineCommands, NotInstalledError
from supertask.errors import ExecutionError

__all__ = ["Controller", "Known", "SlurmRefusedError"]

_UNREACHABLE = ("Unable to contact", "onnection refused", "ommunication", "Socket timed out", "timed out")
_LARGEST = re.compile(r"^MaxArraySize\s*=\s*(\d+)", re.MULTILINE)
_ASSUMED = 1000
_ARRAY = re.compile(r"(\d+)(?:_(\d+))?")


class SlurmRefusedError(ExecutionError):
    """Slurm is there and does not want it: quota, account, partition, or a request that no node can meet."""


@attrs.frozen
class Known:
    """What Slurm knows of one job of an array."""

    name: str
    """Of the array."""
    index: int
    id: str
    """As ``scancel`` takes it."""
    state: str
    """In its words, such as ``PENDING``."""
    reason: str = ""


@attrs.frozen
class Controller(EngineCommands):
    """Asks and tells the controller of a cluster.

    Parameters
    ----------
    env : Mapping, optional
        Further environment variables, such as ``SLURM_CONF``.
    patience : float, optional
        Seconds to wait for a controller that does not answer.
    """

    ENGINE = "Slurm"
    ASKED = "controller"
    ELSEWHERE = "on a login node"
    _limits: list[int] = attrs.field(factory=list, init=False, eq=False, repr=False)

    def submit(self, arguments: Sequence[str], script: str) -> str:
        """Submit a script; return the number of its job.

        Raises
        ------
        SlurmRefusedError
            Slurm does not take it; says why.
        ExecutionError
            Slurm is not installed here, or cannot be reached.
        """
        said = self._run(["sbatch", "--parsable", *arguments], script)
        return said.strip().partition(";")[0]

    def known(self, names: Iterable[str]) -> list[Known]:
        """Return what is known of the jobs of arrays of these names, also of those that ended lately."""
        wanted = ",".join(names)
        if not wanted:
            return []
        said = self._run(
            ["squeue", "--noheader", "--array", "--states=all", "--format=%j|%i|%T|%r", f"--name={wanted}"]
        )
        found = []
        for line in said.splitlines():
            name, _, rest = line.partition("|")
            job, state, reason = rest.split("|", 2)
            match = _ARRAY.fullmatch(job)
            if match is not None:
                found.append(Known(name, int(match[2] or 0), job, state, reason))
        return found

    def cancel(self, ids: Sequence[str], *, at_once: bool = False) -> None:
        """End jobs; those that have ended already are passed over."""
        how = ["--signal=KILL", "--full"] if at_once else []
        for begin in range(0, len(ids), 500):  # a command line has its limits
            self._run(["scancel", "--quiet", *how, *ids[begin : begin + 500]])

    def why(self, job: str) -> dict[str, str]:
        """Return what is known of a job that ended: ``JobState``, ``Reason``, ``ExitCode`` and more."""
        try:
            said = self._run(["scontrol", "--oneliner", "show", "job", job])
        except ExecutionError:  # it is forgotten after a while
            return self.accounted([job]).get(job, {})
        pairs = (word.partition("=") for word in said.split())
        return {name: value for name, equals, value in pairs if equals}

    def accounted(self, jobs: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return what the accounting keeps of jobs, where the site has one: ``JobState`` and more.

        Parameters
        ----------
        jobs : sequence of str
            Numbers, of arrays too.

        Returns
        -------
        dict
            Number, ``12_3`` for one of an array → ``JobState``, ``ExitCode``, ``Elapsed`` and ``MaxRSS`` (as
            Slurm writes these), ``NodeList``.
        """
        try:
            said = self._run(
                ["sacct", "--noheader", "--parsable2", f"--jobs={','.join(jobs)}",
                 "--format=JobID,State,ExitCode,Elapsed,MaxRSS,NodeList"]
            )  # fmt: skip
        except ExecutionError:  # there is none
            return {}
        found: dict[str, dict[str, str]] = {}
        for line in said.splitlines():
            number, state, code, elapsed, memory, nodes = line.split("|", 5)
            job, dot, _ = number.partition(".")
            if not dot:
                # "CANCELLED by 1000"
                found[job] = {"JobState": state.split()[0], "ExitCode": code, "Elapsed": elapsed,
                              "NodeList": nodes}  # fmt: skip
            elif memory and job in found:  # of a step: the job itself uses none
                found[job]["MaxRSS"] = memory
        return found

    @property
    def largest_array(self) -> int:
        """How many jobs an array may have at most."""
        if not self._limits:
            try:
                said = self._run(["scontrol", "show", "config"])
            except (SlurmRefusedError, NotInstalledError):  # of which `sbatch` tells, if it is so
                said = ""
            match = _LARGEST.search(said)
            self._limits.append(max(1, int(match[1])) if match is not None else _ASSUMED)
        return self._limits[0]

    @staticmethod
    def is_away(said: str) -> bool:
        """Tell whether what Slurm says is that it cannot be reached."""
        return any(word in said for word in _UNREACHABLE)

    def _run(self, command: Sequence[str], text: str = "") -> str:
        done = self.ask(command, text)
        if done.returncode:
            raise SlurmRefusedError(f"Slurm refuses: {self.said(done)}")
        return done.stdout
