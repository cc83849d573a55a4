"""What a site wants said with each job of HTCondor."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from executors.jobs.enginejobs import Job, Measured
from supertask.configs.config import Config, field
from supertask.errors import ConfigError, Problems

__all__ = ["CondorSite"]

_COMMAND = re.compile(r"(\+|MY\.)?[A-Za-z_][A-Za-z0-9_.]*\s*=\s*\S[^\n]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\n]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")
_OURS = {
    "arguments", "error", "executable", "initialdir", "log", "output", "queue", "should_transfer_files",
    "transfer_executable", "transfer_input_files", "transfer_output_files", "universe", "request_memory",
    "request_cpus", "getenv", "environment", "priority", "allowed_execute_duration",
}  # fmt: skip


class CondorSite(Config):
    """How jobs are submitted at one site; `load` reads it from a YAML file."""

    accounting_group: str = field("", doc="Accounting group that is charged.")
    accounting_user: str = field("", doc="Who is charged in it, if not who submits.")
    requirements: str = field("", doc="ClassAd expression that a machine has to fulfil.")
    priority: int = field(0, doc="Of the run's jobs among those of the same user; more comes first.")
    minutes: int = field(
        0, doc="Time limit of a job where the plan knows none; 0 for none. HTCondor itself needs none.", min=0
    )
    spare: float = field(1.2, doc="Time granted, over the sum of what a job's quanta may take.", min=1)
    overhead: int = field(5, doc="Minutes beside: to start, to fetch inputs, to bring outputs back.", min=0)
    memory: int = field(2048, doc="Megabytes of a job where the plan knows no limit.", min=1)
    base_memory: int = field(
        200, doc="Megabytes beside what quanta may use: Python and its libraries.", min=0
    )
    growth: float = field(
        2.0, doc="How many times the memory a node of a DAG gets that is tried again.", min=1, max=16
    )
    disk: int = field(0, doc="Megabytes of disk to ask for; 0 leaves it to HTCondor.", min=0)
    cpus: int = field(1, doc="CPUs of a job; more where a submit hook asks for more.", min=1)
    throttle: int = field(
        0, doc="Jobs of one cluster that may be in the queue at once; 0 for as many as the site lets.", min=0
    )
    keep_claim: int = field(
        20, doc="Seconds that a machine is kept for the next job of the run when one has ended.", min=0
    )
    vacate: int = field(30, doc="Seconds that a job may take to end in order.", min=1)
    transfer: bool = field(
        False, doc="Whether HTCondor carries folders of jobs there and back: no shared file system is needed."
    )
    python: str = field("", doc="The interpreter on the machines; this one unless given.")
    inherit: list[str] = field(
        ["PYTHONPATH"], doc="Environment variables that jobs take over from who submits."
    )
    environment: list[str] = field([], doc="Further ones, each NAME=value.")
    setup: list[str] = field(
        [], doc="Lines of shell before the job, such as module load …: the site's own, run as they are."
    )
    options: list[str] = field(
        [], doc='Further commands of a submit description, such as +ProjectName = "survey".'
    )
    elastic: bool = field(
        False, doc="Whether machines come as they are asked for, so that those there now say nothing."
    )

    def validate(self) -> None:
        """Check what single fields cannot say of themselves."""
        problems = Problems("site of HTCondor")
        for option in self.options:
            name = option.partition("=")[0].strip()
            if not _COMMAND.fullmatch(option):
                problems.add(f"options: {option!r} is no command of a submit description: write name = value")
            elif name.lower() in _OURS:
                problems.add(f"options: {name} is said by SuperTask itself")
        for each in self.environment:
            if not _VARIABLE.fullmatch(each):
                problems.add(f"environment: {each!r} is not NAME=value")
        for each in self.inherit:
            if not _NAME.fullmatch(each):
                problems.add(f"inherit: {each!r} is no name of an environment variable")
        for name in ("requirements", "accounting_group", "accounting_user"):
            if "\n" in getattr(self, name):
                problems.add(f"{name}: has more than one line")
        problems.raise_if_any(ConfigError)

    def megabytes(self, memory: int | None, measured: Measured | None = None) -> int:
        """Return how much memory to ask for.

        Parameters
        ----------
        memory : int or None
            Bytes that one quantum may use, as far as that is known.
        measured : Measured, optional
            What all are taken to need, where no limit is known.
        """
        if memory is not None:
            return math.ceil(memory / 2**20) + self.base_memory
        return self.memory if measured is None else max(self.memory, math.ceil(measured.memory / 2**20))

    def seconds(self, seconds: float | None, measured: Measured | None = None) -> int | None:
        """Return how long a job may run, None for as long as it takes.

        Parameters
        ----------
        seconds : float or None
            That all quanta together may take.
        measured : Measured, optional
            What they are taken to need, where no limit is known.
        """
        minutes = float(self.minutes) if seconds is None else self.spare * seconds / 60
        if minutes and seconds is None and measured is not None:
            minutes = max(minutes, measured.seconds / 60)
        return math.ceil(minutes + self.overhead) * 60 if minutes else None

    def cores(self, job: Job) -> int:
        """Return how many CPUs to ask for."""
        return max(self.cpus, job.cores)

    def asked(self, job: Job) -> list[str]:
        """Return what is said of what a job may use, in the language of submit descriptions."""
        seconds, priority = self.seconds(job.seconds, job.measured), self.priority + job.precedence
        said = [
            f"request_memory = {self.megabytes(job.memory, job.measured)}",
            f"request_cpus = {self.cores(job)}",
        ]
        said += [] if seconds is None else [f"allowed_execute_duration = {seconds}"]
        return said + ([f"priority = {priority}"] if priority else [])

    def lines(self) -> list[str]:
        """Return what is said with every job, in the language of submit descriptions."""
        named = [
            ("accounting_group", self.accounting_group),
            ("accounting_group_user", self.accounting_user),
            ("requirements", self.requirements),
            ("request_disk", f"{self.disk}MB" if self.disk else ""),
            ("max_materialize", self.throttle),
            ("keep_claim_idle", self.keep_claim),
            ("job_max_vacate_time", self.vacate),
            ("getenv", ", ".join(self.inherit)),
            ("environment", quoted(self.environment) if self.environment else ""),
        ]
        said = [f"{name} = {value}" for name, value in named if value]
        return [*said, "kill_sig = SIGTERM", *self.options]


def quoted(words: Iterable[str]) -> str:
    """Return words as one value of a submit description: arguments, or variables of an environment."""
    each = ["'" + word.replace("'", "''").replace('"', '""') + "'" for word in words]
    return f'"{" ".join(each)}"'
