"""What happens during a run, told to whoever listens.

A listener is called with each event, in the driver's process and in the order of happening. Each start and
end of an attempt is told exactly once. A listener that raises is reported once and not called again; it
hurts neither the run nor other listeners. One that is slow makes the driver slow: hand long work to a thread.
"""

from __future__ import annotations

import logging
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
    "QuantumStarted",
    "Registered",
    "RunFinished",
    "RunStarted",
]

_log = logging.getLogger(__name__)


@attrs.frozen
class RunStarted:
    """The run is open: what was finished before is known, nothing has begun."""

    run: str
    """The RUN collection."""
    counts: dict[str, int]
    """Task label → number of quanta, in the plan's order."""
    finished: dict[str, int]
    """Task label → how many of them earlier sessions of the run finished; they are skipped."""


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
class QuantumEnded:
    """An attempt ended: succeeded, failed, without work, or cancelled. It is in the journal already."""

    attempt: Attempt


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
    """The `executors.report.Report`."""


Event = (
    RunStarted
    | QuantumStarted
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
        Called in this order.
    """

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._listeners = list(listeners)
        self.broken: list[str] = []
        """What was said of each listener that raised."""

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def emit(self, event: Event) -> None:
        """Tell one event."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - whatever a listener does must not hurt the run
                self._listeners.remove(listener)
                name = getattr(listener, "__qualname__", None) or type(listener).__qualname__
                said = f"listener {name} raised {type(error).__name__}: {error}; it is not called again"
                self.broken.append(said)
                _log.warning(said, exc_info=error)
