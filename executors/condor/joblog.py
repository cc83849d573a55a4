"""The log in which HTCondor writes what happens to jobs: read while it grows, it costs nobody a question.

One event is some lines, of which the first names it, its job and its time, and a line of dots after it::

    012 (031.002.000) 2026-11-21 13:11:35 Job was held.
        Error from slot1_3@node7: memory usage exceeded request_memory
        Code 34 Subcode 102
    ...
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = ["Happened", "JobLog", "Kind"]

_END = b"...\n"
_FIRST = re.compile(r"(\d{3}) \((\d+)\.(\d+)\.\d+\) \S+ \S+ ?(.*)")


class Kind(enum.IntEnum):
    """What may happen to a job, as HTCondor numbers it, and says where it stands; there is more."""

    SUBMITTED = 0
    BEGUN = 1
    EVICTED = 4
    ENDED = 5
    SHADOW = 7
    """The process that watches it has died; it is begun anew."""
    REMOVED = 9
    HELD = 12
    RELEASED = 13


@attrs.frozen
class Happened:
    """One event of a job."""

    kind: int
    """A `Kind`, or another that HTCondor has."""
    cluster: int
    process: int
    text: str
    """What the event says, line by line."""


class JobLog:
    """Reads one log as it grows.

    Parameters
    ----------
    path : Path
        Its file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = 0

    @property
    def has_grown(self) -> bool:
        """Whether there may be events that have not been read."""
        try:
            return self.path.stat().st_size > self._seen
        except OSError:
            return False

    def read(self) -> Iterator[Happened]:
        """Give the events that are new since it was read last."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._seen)
                data = file.read()
        except OSError:
            return
        at = 0
        while (end := data.find(_END, at)) >= 0:
            event = _event(data[at:end].decode(errors="replace"))
            at = end + len(_END)
            if event is not None:
                yield event
        self._seen += at


def _event(text: str) -> Happened | None:
    first, *rest = text.strip().splitlines() or [""]
    match = _FIRST.match(first)
    if match is None:
        return None
    return Happened(
        int(match[1]), int(match[2]), int(match[3]), "\n".join([match[4], *(line.strip() for line in rest)])
    )
