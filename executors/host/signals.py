"""SIGINT and SIGTERM: the first asks for an end in order, the second for one at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["heeding"]


@contextmanager
def heeding(stop: Callable[[], None], stopped: Callable[[], bool]) -> Iterator[None]:
    """Heed signals within a block.

    Outside of the main thread, where Python takes no signals, this does nothing.

    Parameters
    ----------
    stop : callable
        Called at the first.
    stopped : callable
        Tells whether it was stopped already: then KeyboardInterrupt is raised.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heed(_: int, __: FrameType | None) -> None:
        if stopped():
            raise KeyboardInterrupt
        stop()

    before = {s: signal.signal(s, heed) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
