"""What runs in a warm child: ``python -m executors.warm.process tied|free PARENT MEMORY``.

A thread reads what the parent says while a job runs in the main thread, so that its time limits hold. When
the pipe ends, the parent is gone: everything ends.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from executors.host.processes import end_children
from executors.jobs.folder import ExitCode
from executors.jobs.running import JobEnd, Stop, run_job
from executors.jobs.warmth import Warmth
from supertask.errors import SuperTaskError

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def main(words: list[str]) -> None:
    """Run jobs until the parent is gone."""
    tied, parent, memory = words
    if tied == "tied" and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        os._exit(1)  # it ended before it was asked
    # What tasks print must not get between our words. These two are not inherited.
    said, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    # The parent heeds signals for all. Not SIG_IGN, which a task's own children would inherit.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    Process(said, answers, Warmth(int(memory) or None)).run()


class Process:
    """The child's side of the pipes.

    Parameters
    ----------
    said, answers : int
        File descriptors, to read from and to write to.
    warmth : Warmth
        What is kept from one job to the next.
    """

    def __init__(self, said: int, answers: int, warmth: Warmth) -> None:
        self._said = os.fdopen(said, "rb")
        self._answers = answers
        self._warmth = warmth
        self._orders: queue.SimpleQueue[tuple[Mapping[str, Any], Stop | None]] = queue.SimpleQueue()
        self._last: Stop | None = None

    def run(self) -> None:
        """Run one job after another; ends with the process."""
        threading.Thread(target=self._listen, daemon=True).start()
        self._answer({"up": os.getpid()})
        while True:
            order, stop = self._orders.get()
            if stop is None:
                _import_all(order["import"])
                continue
            with _printing_to(order["output"]):
                end = self._perform(order, stop)
            self._answer({"code": int(end.code), "why": end.why})

    def _perform(self, order: Mapping[str, Any], stop: Stop) -> JobEnd:
        try:
            return run_job(
                Path(order["run"]),
                late=order["late"],
                scratch=order["scratch"],
                stop=stop,
                warmth=self._warmth,
            )
        except SuperTaskError as error:
            return JobEnd(ExitCode.BAD_INPUT, str(error))
        except OSError as error:  # a disk that is full, say: another process will not fare better
            return JobEnd(ExitCode.BAD_INPUT, f"{type(error).__name__}: {error}")
        except KeyboardInterrupt:
            return JobEnd(ExitCode.AGAIN, "it was broken off")

    def _listen(self) -> None:
        for line in self._said:
            order = json.loads(line)
            if "run" in order:
                self._last = Stop(order["grace"], patient=True)
                self._orders.put((order, self._last))
            elif "import" in order:
                self._orders.put((order, None))
            elif self._last is not None:
                self._last.ask()
        end_children()
        os._exit(0)

    def _answer(self, message: Mapping[str, Any]) -> None:
        try:
            os.write(self._answers, json.dumps(message).encode() + b"\n")
        except OSError:
            os._exit(1)


def _import_all(names: Iterable[str]) -> None:
    """Import modules before the first job needs them; it says what is wrong with one that cannot be."""
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)


@contextmanager
def _printing_to(path: str) -> Iterator[None]:
    """Have what is printed in the block, also by programs, in a file, if one is named."""
    if not path:
        yield
        return
    kept = os.dup(1), os.dup(2)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, target in zip(kept, (1, 2), strict=True):
            os.dup2(fd, target)
            os.close(fd)


if __name__ == "__main__":
    main(sys.argv[1:])
