"""Holding what runs in this process to its limits of time and memory.

Memory: while a limited quantum runs, the kernel lets the process's data (``RLIMIT_DATA``) grow by the limit
at most, so that a request beyond it raises MemoryError at once, before the machine swaps. What counts for the
limit, memory that is resident, children included, can only be looked at from outside: `crew` does so for
workers, several times a second. One without the other would miss sudden or shared use. (``RLIMIT_AS`` would
count address space that is never used, of which numerical libraries reserve gigabytes.)

Time: in a pool the driver ends the process. Within one process an alarm interrupts the task in the main
thread. It cannot interrupt compiled code that does not return to Python, nor a task that catches
BaseException and goes on, nor anything outside of the main thread.
"""

from __future__ import annotations

import logging
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import attrs

from executors.decisions.policy import QuantumTimeout
from executors.host.processes import children, end_children

__all__ = ["Guard", "Limits", "LimitsOfTask"]

_log = logging.getLogger(__name__)
_AGAIN = 5.0
"""Seconds after which a task that let the alarm pass is interrupted again."""


@attrs.frozen
class Limits:
    """What an attempt may use."""

    timeout: float | None = None
    """Seconds."""
    memory: int | None = None
    """Bytes."""

    def __bool__(self) -> bool:
        return self.timeout is not None or self.memory is not None


LimitsOfTask = tuple[Limits, ...]
"""Those of all of a task's quanta, or one for each of its variants where these differ."""


class Guard:
    """Holds quanta in this process to their limits.

    Parameters
    ----------
    limits : Mapping
        Task label → limits of its quanta, one for all or one for each of its variants; tasks without any need
        not be named.
    alarm : bool, optional
        Whether to see to the time too, which in a worker is the driver's business.
    """

    def __init__(self, limits: Mapping[str, LimitsOfTask], *, alarm: bool = False) -> None:
        self._limits = {label: each for label, each in limits.items() if any(each)}
        self._alarm = alarm
        self._armed = False
        self._warned = False

    def limits(self, label: str, variant: int = 0, memory: int | None = None) -> Limits | None:
        """Return the limits of a quantum, None for none; `memory` is what it has been granted since."""
        of_task = self._limits.get(label)
        if of_task is None:
            return None
        found = of_task[variant if len(of_task) > 1 else 0]
        if memory is not None:
            return attrs.evolve(found, memory=memory)
        return found or None

    @contextmanager
    def holding(self, limits: Limits) -> Iterator[None]:
        """Hold what runs in the block to its limits.

        Raises
        ------
        QuantumTimeout
            It took too long.
        MemoryError
            It asked for too much.
        """
        before = resource.getrlimit(resource.RLIMIT_DATA)
        held = _data() if limits.memory is not None else None
        timeout = limits.timeout if self._may_alarm(limits) else None
        try:
            if held is not None and limits.memory is not None:
                soft = held + limits.memory
                if before[1] != resource.RLIM_INFINITY:
                    soft = min(soft, before[1])
                resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
            if timeout is None:
                yield
            else:
                with self._alarmed(timeout):
                    yield
        finally:
            if held is not None:
                resource.setrlimit(resource.RLIMIT_DATA, before)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold nothing to limits within the block: what is made there is for more than one quantum."""
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        held = _data() if self._limits and soft != hard else None
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0) if self._armed else (0.0, 0.0)
        if held is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        try:
            yield
        finally:
            if held is not None:
                more = max(0, (_data() or 0) - held)
                soft = soft + more if hard == resource.RLIM_INFINITY else min(soft + more, hard)
                resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
            if self._armed:
                signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3), _AGAIN)

    def _may_alarm(self, limits: Limits) -> bool:
        if not self._alarm or limits.timeout is None:
            return False
        if threading.current_thread() is threading.main_thread():
            return True
        if not self._warned:
            self._warned = True
            _log.warning("timeouts are not kept: in one process they need the main thread; use a pool")
        return False

    @contextmanager
    def _alarmed(self, timeout: float) -> Iterator[None]:
        before = children()

        def ring(_: int, __: FrameType | None) -> None:
            if self._armed:
                _raise(timeout)

        handler = signal.signal(signal.SIGALRM, ring)
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, timeout, _AGAIN)
        try:
            yield
        except QuantumTimeout:
            self._armed = False
            end_children(but=before)
            raise
        finally:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)


def _raise(timeout: float) -> NoReturn:
    raise QuantumTimeout(f"it took longer than the {timeout:g} s that it may take")


def _data() -> int | None:
    """Return how many bytes of data this process has, None where the kernel does not say."""
    if sys.platform != "linux":
        return None
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"VmData:"):
                return int(line.split()[1]) * 1024
    return None
