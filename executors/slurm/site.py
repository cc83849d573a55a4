"""What a site wants said with each job."""

from __future__ import annotations

import math
import re

from executors.jobs.enginejobs import Job, Measured
from supertask.configs.config import Config, field
from supertask.errors import ConfigError

__all__ = ["SlurmSite"]

_OPTION = re.compile(r"--[a-z][a-z0-9-]*(=[^\n]*)?")


class SlurmSite(Config):
    """How jobs are submitted at one site; `load` reads it from a YAML file."""

    partition: str = field("", doc="Partition; the site's default unless given.")
    account: str = field("", doc="Account that is charged.")
    qos: str = field("", doc="Quality of service.")
    minutes: int = field(60, doc="Time limit of a job where the plan knows none.", min=1)
    spare: float = field(1.2, doc="Time asked for, over the sum of what a job's quanta may take.", min=1)
    overhead: int = field(5, doc="Minutes beside: to start, to fetch inputs, to bring outputs back.", min=0)
    memory: int = field(2048, doc="Megabytes of a job where the plan knows no limit.", min=1)
    base_memory: int = field(
        200, doc="Megabytes beside what quanta may use: Python and its libraries.", min=0
    )
    cpus: int = field(1, doc="CPUs of a job; more where a submit hook asks for more.", min=1)
    throttle: int = field(
        0, doc="Jobs of one array that may run at once; 0 for as many as the site lets.", min=0
    )
    workers: int = field(1, doc="Warm workers of a pilot, each with these CPUs and this memory.", min=1)
    pilot_minutes: int = field(240, doc="Time limit of a pilot.", min=1)
    pilot_idle: float = field(120.0, doc="Seconds without work after which a pilot ends by itself.", min=0)
    setup: list[str] = field(
        [],
        doc="Lines of shell before the job, such as module load …: the site's own, run as they are.",
    )
    options: list[str] = field([], doc="Further options of sbatch, such as --constraint=amd.")

    def validate(self) -> None:
        """Check what single fields cannot say of themselves."""
        for option in self.options:
            if not _OPTION.fullmatch(option):
                raise ConfigError(
                    f"options: {option!r} is no option of sbatch: write --name=value, one item for each"
                )

    def request(
        self, memory: int | None, seconds: float | None, measured: Measured | None = None
    ) -> tuple[int, int]:
        """Return what to ask for: megabytes and minutes.

        Parameters
        ----------
        memory : int or None
            Bytes that one quantum may use, as far as that is known.
        seconds : float or None
            That all quanta together may take.
        measured : Measured, optional
            What they are taken to need: more is asked for where that is more than this says.
        """
        megabytes, minutes = self.memory, self.minutes
        if memory is not None:
            megabytes = math.ceil(memory / 2**20) + self.base_memory
        elif measured is not None:
            megabytes = max(megabytes, math.ceil(measured.memory / 2**20))
        if seconds is not None:
            minutes = math.ceil(self.spare * seconds / 60)
        elif measured is not None:
            minutes = max(minutes, math.ceil(measured.seconds / 60))
        return megabytes, minutes + self.overhead

    def asked(self, job: Job) -> list[str]:
        """Return the options of sbatch that say what a job may use."""
        megabytes, minutes = self.request(job.memory, job.seconds, job.measured)
        cores = max(self.cpus, job.cores)
        # Whoever is not an administrator can lower priorities, and no more.
        nice = [f"--nice={-job.precedence}"] if job.precedence else []
        return [f"--mem={megabytes}M", f"--time={minutes}", f"--cpus-per-task={cores}", *nice]

    def asked_by_pilot(self) -> list[str]:
        """Return the options of sbatch that say what a pilot may use."""
        megabytes, cores = self.memory * self.workers, self.cpus * self.workers
        return [f"--mem={megabytes}M", f"--time={self.pilot_minutes}", f"--cpus-per-task={cores}"]

    def fits_a_pilot(self, job: Job) -> bool:
        """Tell whether a job needs no more than a pilot has for each of its workers."""
        megabytes, minutes = self.request(job.memory, job.seconds, job.measured)
        known = job.seconds is not None or (
            job.measured is not None and minutes > self.minutes + self.overhead
        )
        short = not known or minutes <= self.pilot_minutes
        return short and megabytes <= self.memory and job.cores <= self.cpus

    def arguments(self) -> list[str]:
        """Return options of sbatch."""
        named = [("partition", self.partition), ("account", self.account), ("qos", self.qos)]
        said = [f"--{name}={value}" for name, value in named if value]
        return [*said, *self.options]
