"""What became of a quantum: its status, and all that is known of one attempt to run it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from supertask.configs.policy import FailureClass
from supertask.filerecords import FileRecord

__all__ = ["Attempt", "Failure", "Making", "QuantumStatus", "Stage"]


class QuantumStatus(enum.Enum):
    """Where a quantum stands."""

    PLANNED = "planned"
    """Not begun, or given back."""
    RUNNING = "running"
    """Handed out to a process."""
    SUCCEEDED = "succeeded"
    """Its outputs are there, all of them."""
    NO_WORK = "no work"
    """Ended well and without outputs: the task said so, or too few inputs were made for it to run."""
    FAILED = "failed"
    """Raised, ended its process, or left an output unwritten."""
    BLOCKED = "blocked"
    """Never begun: something that it depends on failed."""
    CANCELLED = "cancelled"
    """Broken off or never begun, because the run was stopped."""
    LOST = "lost"
    """An attempt of which nothing was heard again; the quantum is planned anew."""

    code: int
    """A small number for columns of statuses."""
    finished: bool
    """Whether it need not run again."""

    @classmethod
    def from_code(cls, code: int) -> QuantumStatus:
        """Return the status of a code."""
        return _STATUSES[code]


_STATUSES = tuple(QuantumStatus)
for _code, _status in enumerate(_STATUSES):
    # Attributes of each member: a look-up by member would hash its name each time.
    _status.code = _code
    _status.finished = _status in (QuantumStatus.SUCCEEDED, QuantumStatus.NO_WORK)


@attrs.frozen
class Failure:
    """Why an attempt failed."""

    exception: str
    """Name of the exception's class, with its module unless built in."""
    message: str
    traceback: str = ""
    """As Python prints it, from the task's code on."""
    kind: FailureClass = attrs.field(default=FailureClass.ERROR, converter=FailureClass)
    """What it means for trying again."""

    def __str__(self) -> str:
        return f"{self.exception}: {self.message}" if self.message else self.exception


class Stage(enum.Enum):
    """A part of running a bundle."""

    PRE_EXECUTE = "pre_execute"
    EXECUTE = "execute"
    POST_EXECUTE = "post_execute"


@attrs.frozen
class Making:
    """Time that was spent on what quanta share."""

    serial: int
    """Of what was made, in its process; those who use it say so. Times of one serial add up."""
    name: str
    """Of the method that made it; empty for the part of a bundle's stage that is of no quantum."""
    wall: int
    """Nanoseconds, without what other overheads within it took."""
    cpu: int
    """Nanoseconds, all threads of the process."""
    stage: Stage = Stage.EXECUTE
    inside: bool = True
    """Whether the times of the attempt that made it hold this time too."""


@attrs.frozen(kw_only=True)
class Attempt:
    """One attempt to run a quantum, from its start to its end."""

    index: int
    """Of the quantum in its plan."""
    identity: bytes
    """16 bytes."""
    label: str
    dataId: Mapping[str, Any] | None = None
    """None where it was read back from a journal, which keeps it for failures alone."""
    status: QuantumStatus
    number: int = 1
    """1 for the first attempt, whichever session of the run made it."""
    host: str = ""
    pid: int = 0
    start: int = 0
    """UTC, ns since 1970."""
    end: int = 0
    """UTC, ns since 1970; clocks may go back, so take durations from `wall`."""
    wall: float = 0.0
    """Seconds."""
    cpu: float = 0.0
    """Seconds, all threads and ended child processes."""
    peak_memory: int = 0
    """Bytes resident at most while it ran, what the process held before it included."""
    bytes_read: int = 0
    """Of input files, through the Butler."""
    bytes_written: int = 0
    """Of output files, through the Butler."""
    failure: Failure | None = None
    reason: str = ""
    """Of no work: what the task said."""
    log: str = ""
    """What the task logged, bounded; empty where it was read back from a journal (see `log_span`)."""
    log_span: tuple[int, int] | None = None
    """Where its log lies in its writer's log file: first byte and length."""
    records: tuple[FileRecord, ...] = ()
    """Its outputs."""
    elided: tuple[str, ...] = ()
    """Names of types of which outputs were made and not written: only quanta of its bundle needed them."""
    missing: tuple[bytes, ...] = ()
    """Identities of planned outputs that it left out although it succeeded, as it may."""
    unread: tuple[bytes, ...] = ()
    """Identities of inputs that it was offered and did not read."""
    short: tuple[bytes, ...] = ()
    """Identities of planned inputs that it ran without because they failed to be made."""
    caveats: tuple[str, ...] = ()
    """What is to be known of its outputs: inputs that failed, or what the task said of them."""
    whole: bool = True
    """Whether its outputs are what the plan means: made with all inputs that had something to give, which
    themselves were."""
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    """What the task noted about its work: JSON values."""
    makings: tuple[Making, ...] = ()
    """What was made while it ran, and is shared with other quanta."""
    uses: tuple[int, ...] = ()
    """Serials of all shared things that it used, its own makings included."""
    stages: Mapping[Stage, tuple[float, float]] = attrs.field(factory=dict)
    """Seconds (wall, CPU) of its time that are not of the stage `EXECUTE`."""
