"""What is to be done when quanta of a task fail, as data: part of each SuperTask's configuration.

Nothing here changes what a task makes of its inputs, so it enters no identity; whoever runs a plan may say
otherwise for that run. `executors.decisions.policy` decides by it.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable

from supertask.configs.config import Config, field
from supertask.errors import ConfigError

__all__ = ["FailureClass", "FailurePolicy", "Retries", "parse_share", "parse_size", "say_share", "say_size"]

_SIZE = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][0-9]+)?)\s*([kKMGT]?)(i?)[bB]?\s*\Z")
_SHARE = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(%?)\s*\Z")
_STEPS = "kMGT"


class FailureClass(enum.Enum):
    """Why an attempt failed, as far as it matters for what to do next."""

    TRANSIENT = "transient"
    """A disturbance from outside that may be over: a connection, a mount, a `TransientError`."""
    OUT_OF_MEMORY = "out of memory"
    """It asked for more memory than it may have; tried again it may have more."""
    TIMEOUT = "timeout"
    """It took longer than it may."""
    KILLED = "killed"
    """Its process ended under it: by a signal, or by a call that ends processes."""
    BAD_INPUT = "bad input"
    """Its inputs cannot be worked on. Trying again is no use and is never done."""
    ERROR = "error"
    """Any other exception."""


class Retries(Config):
    """How often a quantum is tried again in one run, by what it failed of."""

    transient: int = field(
        2, doc="After disturbances from outside: connections, mounts, TransientError.", min=0
    )
    out_of_memory: int = field(
        2, doc="After too little memory, each time with a greater limit; never without a limit.", min=0
    )
    timeout: int = field(0, doc="After it took too long.", min=0)
    killed: int = field(0, doc="After its process ended under it.", min=0)
    error: int = field(0, doc="After any other exception.", min=0)

    def of(self, kind: FailureClass) -> int:
        """Return how often for one class of failure."""
        if kind is FailureClass.BAD_INPUT:
            return 0
        count: int = getattr(self, kind.name.lower())
        return count


class FailurePolicy(Config):
    """What a quantum may use, what is done when it fails, and how many failures are borne."""

    retries: Retries = field(Retries(), doc="How often it is tried again, by what it failed of.")
    delay: float = field(1.0, doc="Before a first retry; twice as long before each further.", unit="s", min=0)
    max_delay: float = field(60.0, doc="The longest that a retry waits.", unit="s", min=0)
    timeout: float | None = field(
        None, doc="How long an attempt may take; None for as long as it likes.", unit="s"
    )
    memory: str = field("", doc="How much an attempt may hold in memory, such as '2 GB'; empty for no limit.")
    memory_growth: float = field(
        2.0, doc="How many times as much it may have after it ran out of memory.", min=1
    )
    memory_cap: str = field("", doc="The most that it may have then; empty for the machine's memory.")
    quorum: str = field(
        "",
        doc="Share ('80%') or number ('12') of planned inputs that is enough where others failed; "
        "empty for what its input fields say.",
    )
    max_failures: str = field(
        "",
        doc="Number ('3') or share ('5%') of its quanta that may fail before the run stops; empty for all.",
    )

    def validate(self) -> Iterable[str]:
        """Check what is written as text."""
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            yield f"timeout: must be more than 0 s, got {self.timeout!r}"
        for name, parse in (
            ("memory", parse_size),
            ("memory_cap", parse_size),
            ("quorum", parse_share),
            ("max_failures", parse_share),
        ):
            text = getattr(self, name)
            if text:
                try:
                    parse(text)
                except ConfigError as error:
                    yield f"{name}: {error}"

    @property
    def memory_bytes(self) -> int | None:
        """The limit of memory in bytes, None for none."""
        return parse_size(self.memory) if self.memory else None

    @property
    def memory_cap_bytes(self) -> int | None:
        """The most that a retry may have in bytes, None where only the machine limits it."""
        return parse_size(self.memory_cap) if self.memory_cap else None


def parse_size(text: str) -> int:
    """Return bytes of ``2 GB``, ``500M``, ``1.5 GiB`` or a plain number.

    Raises
    ------
    ConfigError
        It is not a size.
    """
    found = _SIZE.match(text)
    if found is None or not float(found[1]):
        raise ConfigError(f"{text!r} is not a size: write 2 GB, 500 MB, 1.5 GiB or a number of bytes")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** ("kMGT".index(found[2].replace("K", "k")) + 1 if found[2] else 0))


def say_size(size: float) -> str:
    """Return bytes in words, such as ``1.50 GB``."""
    for power in range(len(_STEPS), 0, -1):
        if size >= 1000**power:
            return f"{size / 1000**power:.3g} {_STEPS[power - 1]}B"
    return f"{size:.0f} B"


def parse_share(text: str) -> int | float:
    """Return what ``12`` (a number: int) or ``80%`` (a share of all: float, 0.8) says.

    Raises
    ------
    ConfigError
        It is neither.
    """
    found = _SHARE.match(text)
    if found is not None:
        number = float(found[1])
        if found[2] and 0 < number <= 100:
            return number / 100
        if not found[2] and number >= 1 and number.is_integer():
            return int(number)
    raise ConfigError(f"{text!r} is neither a number nor a share: write 12 or 80%")


def say_share(share: float) -> str:
    """Return a number or a share in words."""
    return f"{share:.4g}" if isinstance(share, int) else f"{100 * share:.4g}%"
