"""The program of a pilot: ``python -m executors.pilots.pilot QUEUE NAME --workers N …``.

It imports little: tasks and what they need are its children's. It ends when nothing more comes, when it has
been idle for long, when its time is nearly over, when it is asked to (SIGTERM), and when the queue is gone.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from executors.pilots.queue import ENDED, Order, Queue, Worker
from executors.warm.child import WarmChild

__all__ = ["Pilot", "main"]

_LOOK = 0.05
_BEAT = 5.0
_LONGEST = 0.3
_FRESH = 5.0
"""Seconds without orders in which a worker looks for more as often as at first."""
_SHARE = 0.1
"""Of a pilot's time that is left for what runs to end."""
_SPARE = 60.0


class Pilot:
    """Runs orders in warm children.

    Parameters
    ----------
    queue : Queue
        Where orders are.
    name : str
        The pilot's; no other has it.
    workers : int
        How many orders run at once.
    child : Mapping, optional
        Options of `WarmChild`.
    idle : float
        Seconds without orders after which it ends.
    seconds : float
        How long it may take in all.
    """

    def __init__(
        self,
        queue: Queue,
        name: str,
        *,
        workers: int = 1,
        child: Mapping[str, Any] | None = None,
        idle: float = math.inf,
        seconds: float = math.inf,
    ) -> None:
        self._queue = queue
        self._name = name
        self._idle = idle
        now = time.monotonic()
        self._end = now + seconds - min(_SPARE, _SHARE * seconds) if seconds < math.inf else math.inf
        self._busy = now
        self._stopping = False
        self._workers = [Worker(queue, f"{name}.{i}") for i in range(workers)]
        self._children = [WarmChild(**(child or {})) for _ in range(workers)]
        self._orders: list[Order | None] = [None] * workers

    def run(self) -> None:
        """Run until there is nothing more to do."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        for child in self._children:
            child.start()  # here, in the main thread, so that the kernel ends them with it
        threads = [threading.Thread(target=self._work, args=(i,)) for i in range(len(self._workers))]
        for thread in threads:
            thread.start()
        beat, n = 0.0, 0
        while any(thread.is_alive() for thread in threads):
            self._heed()
            if time.monotonic() > beat:
                beat, n = time.monotonic() + _BEAT, n + 1
                self._beat(f"{socket.gethostname()} {os.getpid()} {n}")
            time.sleep(_LOOK)
        for child, worker in zip(self._children, self._workers, strict=True):
            child.stop()
            worker.close()
        self._beat(ENDED)

    def stop(self) -> None:
        """End in order: what is under way may finish within the grace."""
        self._stopping = True

    def _beat(self, text: str) -> None:
        try:
            (self._queue.pilots / self._name).write_text(text, encoding="utf-8")
        except FileNotFoundError:
            self.stop()  # somebody has deleted the run

    def _heed(self) -> None:
        """Do as is asked about single orders, and about time."""
        if time.monotonic() > self._end:
            self.stop()
        for child, worker, order in zip(self._children, self._workers, self._orders, strict=True):
            how = worker.asked(order) if order is not None else ""
            if how == "at once":
                child.kill()
            elif how or (order is not None and self._stopping):
                child.ask()  # again and again: it may not have begun yet

    def _work(self, i: int) -> None:
        worker, child, pause = self._workers[i], self._children[i], _LOOK
        while not self._stopping:
            order = worker.take(self._end - time.monotonic())
            if order is None:
                if self._queue.is_over or time.monotonic() - self._busy > self._idle:
                    return
                time.sleep(pause)
                if time.monotonic() - self._busy > _FRESH:
                    pause = min(_LONGEST, 1.2 * pause)
                continue
            self._orders[i] = order
            try:
                ran = child.run(order.folder, seconds=order.seconds)
                worker.end(order, ran.code, ran.why, died=ran.died)
            except OSError as error:
                worker.end(order, -1, str(error), died=True)
            self._orders[i], self._busy, pause = None, time.monotonic(), _LOOK


def main(words: list[str] | None = None) -> None:
    """Run a pilot."""
    parser = argparse.ArgumentParser(prog="pilot", description="Runs bundles that wait in a queue.")
    parser.add_argument("queue", type=Path)
    parser.add_argument("name", help="{} stands for the host and this process")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--idle", type=float, default=math.inf)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--grace", type=float, default=20.0)
    parser.add_argument("--late", type=float, default=30.0)
    parser.add_argument("--scratch", default="")
    parser.add_argument("--memory", type=int, default=None)
    said = parser.parse_args(words)
    name = said.name.replace("{}", f"{socket.gethostname()}-{os.getpid()}")
    child = {"grace": said.grace, "late": said.late, "scratch": said.scratch, "memory": said.memory}
    pilot = Pilot(
        Queue(said.queue), name, workers=said.workers, child=child, idle=said.idle, seconds=said.seconds
    )
    pilot.run()


if __name__ == "__main__":
    main(sys.argv[1:])
