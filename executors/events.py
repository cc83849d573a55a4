"""What happens during a run, told to whoever listens.

A listener is called with each event, in the driver's process and in the order of happening. Each start and
end of an attempt is told exactly once. Listeners hurt neither the run nor each other:

- One that raises is reported once and not called again.
- Each has a thread of its own, so that a slow one holds up nobody. One that falls behind by 100,000 events
  is not told further ones until it has caught up; how many these were is among the report's problems.
- One that never returns is left behind when the run ends, after ten seconds.

A listener that says ``inline = True`` is called in the driver's own thread: for those that only count.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

import attrs

from executors.outcome import Attempt

__all__ = [
    "BundleEnded",
    "BundleStarted",
    "Event",
    "EventStream",
    "Listener",
    "QuantaBlocked",
    "QuantumEnded",
    "QuantumProgressed",
    "QuantumStarted",
    "Registered",
    "RunFinished",
    "RunStarted",
]

_log = logging.getLogger(__name__)
_MOST = 100_000
"""Events that a listener may be behind."""
_PAUSE = 0.02
"""Seconds between looks at what happened."""
_PATIENCE = 10.0
"""Seconds for which listeners are waited for at the end of a run."""


@attrs.frozen
class RunStarted:
    """The run is open: what was finished before is known, nothing has begun."""

    run: str
    """The RUN collection."""
    counts: dict[str, int]
    """Task label → number of quanta, in the plan's order."""
    finished: dict[str, int]
    """Task label → how many of them earlier sessions of the run finished; they are skipped."""
    root: str = ""
    """Folder of the repository."""


@attrs.frozen
class QuantumStarted:
    """A process began an attempt."""

    index: int
    label: str
    number: int
    """Of the attempt."""
    host: str
    pid: int
    time: int
    """UTC, ns since 1970."""


@attrs.frozen
class QuantumProgressed:
    """A task said how far it is; told now and then, not each time."""

    index: int
    label: str
    fraction: float
    """0 to 1."""
    message: str
    """What is being done; may be empty."""


@attrs.frozen
class QuantumEnded:
    """An attempt ended: succeeded, failed, without work, or cancelled. It is in the journal already."""

    attempt: Attempt
    retry_in: float | None = None
    """Of one that failed and is tried again: after how many seconds. None where the end is final."""


@attrs.frozen
class QuantaBlocked:
    """Quanta will not run because one failed."""

    by: int
    """Index of the one that failed."""
    quanta: tuple[int, ...]
    """Indices of those newly blocked: its descendants, however far."""
    counts: dict[str, int]
    """Task label → how many of them."""


@attrs.frozen
class BundleStarted:
    """A bundle was handed out."""

    bundle: int
    quanta: tuple[int, ...]


@attrs.frozen
class BundleEnded:
    """Every quantum of a bundle that was handed out has ended or was given back."""

    bundle: int


@attrs.frozen
class Registered:
    """Outputs became visible in the repository."""

    datasets: int


@attrs.frozen
class RunFinished:
    """Nothing more will happen."""

    report: Any
    """The `executors.journal.report.Report`."""


Event = (
    RunStarted
    | QuantumStarted
    | QuantumProgressed
    | QuantumEnded
    | QuantaBlocked
    | BundleStarted
    | BundleEnded
    | Registered
    | RunFinished
)


class Listener(Protocol):
    """Whatever can be called with an event."""

    def __call__(self, event: Event, /) -> object:
        """Take note of an event."""


class EventStream:
    """Tells events to listeners.

    Parameters
    ----------
    listeners : iterable of Listener
        Who is told.
    """

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self.broken: list[str] = []
        """What was said of each listener that raised, or fell behind."""
        self._hearers = [_Hearer(each, self.broken) for each in listeners]

    def __bool__(self) -> bool:
        return bool(self._hearers)

    def emit(self, event: Event) -> None:
        """Tell one event; nobody is waited for but those who only count."""
        for hearer in self._hearers:
            hearer.tell(event)

    def settle(self, patience: float = _PATIENCE, *, last: bool = True) -> None:
        """Wait until all have heard all, or for so many seconds.

        Parameters
        ----------
        patience : float, optional
            Seconds.
        last : bool, optional
            Whether who has not heard all by then is named in `broken` and told nothing more.
        """
        until = time.monotonic() + patience
        for hearer in self._hearers:
            hearer.settle(until)
            if last:
                hearer.give_up()

    def close(self) -> None:
        """Let go of listeners: nothing more happens."""
        for hearer in self._hearers:
            hearer.close()


class _Hearer:
    """One listener, with its thread and what it has not heard yet."""

    def __init__(self, listener: Listener, broken: list[str]) -> None:
        self._listener = listener
        self._broken = broken
        self._inline = bool(getattr(listener, "inline", False))
        self._waiting: deque[Event] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._gone = False
        self._untold = 0

    @property
    def name(self) -> str:
        return getattr(self._listener, "__qualname__", None) or type(self._listener).__qualname__

    def tell(self, event: Event) -> None:
        if self._gone:
            return
        if self._inline:
            self._call(event)
            return
        if len(self._waiting) >= _MOST:
            self._untold += 1
            return
        self._waiting.append(event)
        if not self._wake.is_set():
            self._wake.set()
        if self._thread is None:
            name = f"listener {self.name}"
            self._thread = threading.Thread(target=self._listen, name=name, daemon=True)
            self._thread.start()

    def _listen(self) -> None:
        waiting = self._waiting
        while not self._gone:
            self._wake.wait()
            # Taken one by one, events would cost the driver more in switches than in listening.
            self._hurry.wait(_PAUSE)
            self._wake.clear()
            while waiting and not self._gone:
                self._call(waiting[0])
                waiting.popleft()

    def _call(self, event: Event) -> None:
        try:
            self._listener(event)
        except BaseException as error:  # whatever it does must not hurt the run
            if self._inline and isinstance(error, KeyboardInterrupt):
                raise
            self._gone = True
            said = f"listener {self.name} raised {type(error).__name__}: {error}; it is not called again"
            self._broken.append(said)
            _log.warning(said, exc_info=error)

    def settle(self, until: float) -> None:
        self._hurry.set()
        while self._waiting and not self._gone and time.monotonic() < until:
            time.sleep(0.001)
        if not self._gone:
            self._hurry.clear()

    def give_up(self) -> None:
        untold = self._untold + len(self._waiting)
        if untold and not self._gone:
            self._untold, self._gone = 0, bool(self._waiting)
            said = f"listener {self.name} was too slow: {untold:,} events were not told to it"
            self._broken.append(said)
            _log.warning(said)

    def close(self) -> None:
        self._gone = True
        self._hurry.set()
        self._wake.set()
