"""How one job of HTCondor's stands, as the events in its log say, and what its end means."""

from __future__ import annotations

import re

import attrs

from executors.batch import JobState
from executors.condor.joblog import Happened, Kind
from supertask.configs.policy import FailureClass

__all__ = ["Standing"]

_CODE = re.compile(r"Code (\d+) Subcode (-?\d+)")
_RETURNED = re.compile(r"\(return value (\d+)\)")
_SIGNAL = re.compile(r"\(signal (\d+)\)")
_BY_USER = {1, 15}
"""Held by who owns it, or submitted so: it waits for a human."""
_HOLDS = {
    34: ("its job used more memory than it had asked for", FailureClass.OUT_OF_MEMORY),
    46: ("its job ran out of time", FailureClass.TIMEOUT),
    47: ("its job ran out of time", FailureClass.TIMEOUT),
    12: ("files of its job could not be brought back", FailureClass.TRANSIENT),
    13: ("files of its job could not be sent", FailureClass.TRANSIENT),
}
_KILLED = ("its job was ended from outside", FailureClass.KILLED)


@attrs.define
class Standing:
    """How a job stands."""

    state: JobState = JobState.WAITING
    id: str = ""
    """As HTCondor's programs take it, ``cluster.process``; empty until it is known."""
    held: bool = False
    """Whether it is held by HTCondor; it never runs again by itself, and is given up."""
    removed: bool = False
    """Whether it was taken out of the queue."""
    by_user: bool = False
    """Whether it is held by who owns it."""
    why: str = ""
    """In HTCondor's words, what happened last."""
    kind: FailureClass = FailureClass.KILLED
    ours: str = ""
    """In ours."""

    @property
    def is_held(self) -> bool:
        """Whether it is in the queue and does not run until it is released."""
        return self.by_user or (self.held and not self.removed)

    def take(self, event: Happened) -> None:
        """Take note of an event."""
        first = event.text.partition("\n")[0]
        match event.kind:
            case Kind.SUBMITTED:
                self.id = f"{event.cluster}.{event.process}"
            case Kind.BEGUN:
                self.state = JobState.RUNNING
            case Kind.EVICTED | Kind.SHADOW | Kind.RELEASED:
                self.state, self.held, self.by_user = JobState.WAITING, False, False
                self.why = _said(event) or first
            case Kind.ENDED:
                self.state = JobState.GONE
                self._ended(event.text)
            case Kind.REMOVED:
                # What it was held for says more than that it was removed then.
                self.state, self.by_user, self.removed = JobState.GONE, False, True
                if not self.held:
                    self.ours, self.kind = _KILLED
                    self.why = f"{first.rstrip('.')}: {_said(event)}".rstrip(": ")
            case Kind.HELD:
                self._hold(event)

    def _ended(self, text: str) -> None:
        self.ours, self.kind = _KILLED
        if (returned := _RETURNED.search(text)) is not None:
            self.why = f"exit code {returned[1]}"
        elif (signal := _SIGNAL.search(text)) is not None:
            self.why = f"signal {signal[1]}"

    def _hold(self, event: Happened) -> None:
        found = _CODE.search(event.text)
        code = int(found[1]) if found is not None else 0
        self.why = f"held: {_said(event)}"
        if code in _BY_USER:
            self.hold_by_user(self.why)
            return
        self.held, self.state = True, JobState.GONE
        self.ours, self.kind = _HOLDS.get(code, ("its job was held", FailureClass.TRANSIENT))
        if "memory" in self.why.lower() and code in {3, 26, 34}:
            # By an expression of the site's own, or of the job's.
            self.ours, self.kind = _HOLDS[34]

    def hold_by_user(self, why: str = "held") -> None:
        """Take note that it waits for a human."""
        self.state, self.by_user, self.why = JobState.WAITING, True, why

    def lost(self) -> None:
        """Take note that the queue does not have it any more."""
        self.by_user, self.removed = False, True
        if self.state is not JobState.GONE:
            self.state = JobState.GONE
            self.ours, self.kind, self.why = *_KILLED, "it is not in the queue any more"


def _said(event: Happened) -> str:
    """Return the lines that say why."""
    lines = [line for line in event.text.splitlines()[1:] if line and not _CODE.fullmatch(line)]
    return lines[0] if lines else ""
