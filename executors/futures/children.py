"""Warm children of an engine's worker: one for each job that it runs at once, kept for the next one.

They are kept for one run alone, which may have been changed by the next, and end when nothing has come for
them for a while: a worker that others share must not hold their overheads for good.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import attrs

from executors.overheads.store import default_limit
from executors.warm.child import WarmChild

__all__ = ["Children", "Manner", "cores"]

_IDLE = 60.0


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@attrs.frozen
class Manner:
    """How the jobs of one session of a run are run."""

    session: str
    """No other session has it."""
    home: str = ""
    """Folder to run in, where there is such a one; tasks may be found from there."""
    python: str = ""
    """Interpreter; the worker's own if empty."""
    scratch: str = ""
    """Folder on a local disk."""
    memory: int | None = None
    """Bytes of overheads that a child keeps; what is fair to the others on its machine if not given."""
    late: float = 30.0
    """Seconds to wait for inputs that a shared file system may show late."""
    grace: float = 20.0
    """Seconds that what runs may take to finish once it is asked to end."""

    def to_text(self) -> str:
        """Return it as `from_text` reads it."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Manner:
        """Read what `to_text` returned."""
        return cls(**json.loads(text))

    def child(self) -> WarmChild:
        """Make a child; it starts with its first job."""
        return WarmChild(
            self.python,
            grace=self.grace,
            late=self.late,
            scratch=self.scratch,
            memory=self.memory or default_limit(cores()),
            cwd=self.home if os.path.isdir(self.home) else None,
        )


class Children:
    """Children of one process.

    Parameters
    ----------
    idle : float, optional
        Seconds after which one ends that has nothing to do.
    """

    def __init__(self, idle: float = _IDLE) -> None:
        self._idle = idle
        self._lock = threading.Lock()
        self._over: set[str] = set()
        self._waiting: list[tuple[Manner, WarmChild, threading.Timer]] = []

    @contextmanager
    def lent(self, manner: Manner) -> Iterator[WarmChild]:
        """Lend a child for the block."""
        child = self._take(manner) or manner.child()
        try:
            yield child
        except BaseException:
            child.stop()
            raise
        self._give_back(manner, child)

    def prepare(self, manner: Manner, count: int, modules: Sequence[str]) -> None:
        """Start children, which make their imports, and those of modules, while others go on."""
        for _ in range(count):
            child = manner.child()
            with suppress(OSError):  # whoever runs a job there says so
                child.start(modules)
                self._give_back(manner, child)

    def dismiss(self, session: str) -> None:
        """End those of a session, now or once they have nothing to do."""
        with self._lock:
            self._over.add(session)
            ending = [each for each in self._waiting if each[0].session == session]
            for each in ending:
                self._waiting.remove(each)
        enders = [threading.Thread(target=child.stop) for _, child, _ in ending]
        for (_, _, timer), ender in zip(ending, enders, strict=True):
            timer.cancel()
            ender.start()
        for ender in enders:
            ender.join()

    def _take(self, manner: Manner) -> WarmChild | None:
        found, others = None, []
        with self._lock:
            for each in list(self._waiting):
                if each[0] != manner:
                    others.append(each)
                elif found is None:
                    found = each
                else:
                    continue
                self._waiting.remove(each)
        for _, child, timer in others:
            timer.cancel()
            child.stop()
        if found is None:
            return None
        found[2].cancel()
        return found[1]

    def _give_back(self, manner: Manner, child: WarmChild) -> None:
        timer = threading.Timer(self._idle, self._end, (child,))
        timer.daemon = True
        with self._lock:
            over = manner.session in self._over
            if not over:
                self._waiting.append((manner, child, timer))
        if over:
            child.stop()
        else:
            timer.start()

    def _end(self, child: WarmChild) -> None:
        with self._lock:
            found = [each for each in self._waiting if each[1] is child]
            for each in found:
                self._waiting.remove(each)
        if found:
            child.stop()
