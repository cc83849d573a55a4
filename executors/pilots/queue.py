"""A queue of orders in a folder.

::

    QUEUE/
        waiting/<name>          an order: nobody has begun it
        taken/<worker>/<name>   a worker has, and alone: it moved the order here
        ended/<name>            what came of it, as far as its worker lived to say so
        cancelled/<name>        it is to be ended: in order, or at once
        pilots/<pilot>          beats as long as the pilot lives; says so if it ends in order
        over                    nothing more comes: whoever is idle ends

An order is moved by rename, which has one winner on every file system. It goes one way through the three
folders, so that who looks into them in this order sees it at least once. Nothing here reads a clock: those of
hosts differ.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["ENDED", "Order", "Queue", "Worker"]

ENDED = "ended"
_AT_ONCE = "at once"


class Order:
    """What a worker is to do (no attrs class: a pilot need not import more than it has).

    Parameters
    ----------
    name : str
        No other order has it.
    folder : str
        Of the job.
    seconds : float, optional
        How long it may take.
    """

    __slots__ = ("folder", "name", "seconds")

    def __init__(self, name: str, folder: str, seconds: float | None = None) -> None:
        self.name = name
        self.folder = folder
        self.seconds = seconds


class Queue:
    """The queue as its driver sees it.

    Parameters
    ----------
    path : Path
        Its folder; made where that is asked for by `make`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting, self.taken, self.ended = path / "waiting", path / "taken", path / "ended"
        self.cancelled, self.pilots = path / "cancelled", path / "pilots"

    def make(self) -> None:
        """Make its folders."""
        for folder in (self.waiting, self.taken, self.ended, self.cancelled, self.pilots):
            folder.mkdir(parents=True, exist_ok=True)

    def put(self, orders: Iterable[Order]) -> None:
        """Add orders, which are taken in the order of their names."""
        for order in orders:
            said = {"folder": order.folder, "seconds": order.seconds}
            _write(self.waiting, order.name, json.dumps(said))

    def withdraw(self, name: str) -> bool:
        """Take an order back; return whether nobody had begun it."""
        try:
            (self.waiting / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def cancel(self, name: str, *, at_once: bool) -> None:
        """Ask whoever has an order to end it."""
        _write(self.cancelled, name, _AT_ONCE if at_once else "in order")

    def close(self) -> None:
        """Say that nothing more comes."""
        (self.path / "over").touch()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return (self.path / "over").exists()

    def stands(self) -> dict[str, str]:
        """Return where orders are: name → worker, empty for one that waits, `ENDED` for one that ended."""
        found = dict.fromkeys(_names(self.waiting), "")
        for worker in _names(self.taken):
            found |= dict.fromkeys(_names(self.taken / worker), worker)
        # An order is in two places for a moment; where it was seen last, it is.
        return found | dict.fromkeys(_names(self.ended), ENDED)

    def endings(self) -> set[str]:
        """Return orders that have ended, as their workers say."""
        return set(_names(self.ended))

    def ending(self, name: str) -> Mapping[str, Any] | None:
        """Return what a worker says came of an order; None if it does not."""
        try:
            said = json.loads((self.ended / name).read_bytes())
        except (OSError, ValueError):
            return None
        return said if isinstance(said, dict) else None

    def forget(self, name: str) -> None:
        """Delete what is left of an order."""
        if not (self.ended / name).exists():  # of a worker that is gone
            for worker in _names(self.taken):
                (self.taken / worker / name).unlink(missing_ok=True)
        for folder in (self.waiting, self.ended, self.cancelled):
            (folder / name).unlink(missing_ok=True)

    def beats(self) -> dict[str, str]:
        """Return pilots that began: name → what changes while they live; `ENDED` after an end in order."""
        found = {}
        for name in _names(self.pilots):
            with contextlib.suppress(OSError):
                found[name] = (self.pilots / name).read_text(encoding="utf-8")
        return found


class Worker:
    """The queue as one worker sees it.

    Parameters
    ----------
    queue : Queue
        The queue.
    name : str
        The worker's; no other has it.
    """

    def __init__(self, queue: Queue, name: str) -> None:
        self._queue = queue
        self._own = queue.taken / name
        self._own.mkdir(parents=True, exist_ok=True)
        self._ahead: deque[str] = deque()

    def take(self, most: float) -> Order | None:
        """Take an order; None where there is none.

        Parameters
        ----------
        most : float
            Seconds that it may take at most; orders that may take longer are left to others.
        """
        if not self._ahead:
            self._ahead.extend(sorted(_names(self._queue.waiting)))
        while self._ahead:
            name = self._ahead.popleft()
            place = self._queue.waiting / name
            try:
                said = json.loads(place.read_bytes())
                if said["seconds"] is not None and said["seconds"] > most:
                    continue
                os.rename(place, self._own / name)
            except OSError:
                # A server that is asked again may say that it is gone because we moved it.
                if not (self._own / name).exists():
                    continue
            return Order(name, said["folder"], said["seconds"])
        return None

    def end(self, order: Order, code: int, why: str, *, died: bool) -> None:
        """Say what came of an order."""
        said = {"code": code, "why": why, "died": died}
        with contextlib.suppress(FileNotFoundError):  # the run is over, and its folders are gone
            _write(self._queue.ended, order.name, json.dumps(said))
        (self._own / order.name).unlink(missing_ok=True)

    def asked(self, order: Order) -> str:
        """Return how an order is to be ended: ``""``, ``"in order"`` or ``"at once"``."""
        try:
            return (self._queue.cancelled / order.name).read_text(encoding="utf-8")
        except OSError:
            return ""

    def close(self) -> None:
        """Delete what only this worker needs."""
        with contextlib.suppress(OSError):
            self._own.rmdir()


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except FileNotFoundError:
        return []


def _write(folder: Path, name: str, text: str) -> None:
    """Write a file at once: whoever finds it finds all of it."""
    temporary = folder / f".{name}"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, folder / name)
