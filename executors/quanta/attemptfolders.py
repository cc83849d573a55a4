"""What is kept in the folder of a job while it runs: its streams, and who runs it since when."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from executors.outcome import Attempt

__all__ = ["AttemptKeeper", "write_json"]

Ended = Callable[[Attempt, bytes], object]


class AttemptKeeper:
    """Keeps the folders of the jobs of one process, one after another.

    Parameters
    ----------
    own_process : bool
        Whether all that this process writes is of its job; if not, only what Python prints in this thread is.
    """

    def __init__(self, *, own_process: bool) -> None:
        self._own_process = own_process
        self._statuses: dict[str, str] = {}

    def noting(self, ended: Ended) -> Ended:
        """Return what takes note of attempts that ended, before `ended` does."""

        def note(attempt: Attempt, line: bytes) -> object:
            self._statuses[str(attempt.index)] = attempt.status.value
            return ended(attempt, line)

        return note

    @contextlib.contextmanager
    def keeping(self, folder: Path) -> Iterator[None]:
        """Keep the folder of one job within the block."""
        began = {"host": socket.gethostname(), "pid": os.getpid(), "began": _now()}
        self._statuses.clear()
        write_json(folder / "status.json", {"state": "running", **began})
        try:
            with _files(folder) if self._own_process else _prints(folder):
                yield
        finally:
            ended = {"state": "ended", **began, "ended": _now(), "quanta": dict(self._statuses)}
            write_json(folder / "status.json", ended)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole, or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextlib.contextmanager
def _files(folder: Path) -> Iterator[None]:
    """Let the process's own output, and that of all it starts, go to the folder."""
    kept = []
    for fd, stream, name in ((1, sys.stdout, "stdout"), (2, sys.stderr, "stderr")):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
        kept.append((fd, stream, os.dup(fd)))
        opened = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        os.dup2(opened, fd)
        os.close(opened)
    try:
        yield
    finally:
        for fd, stream, before in kept:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            os.dup2(before, fd)
            os.close(before)


@contextlib.contextmanager
def _prints(folder: Path) -> Iterator[None]:
    """Let what this thread prints go to the folder; others, such as progress bars, keep their streams."""
    before = sys.stdout, sys.stderr
    with (
        (folder / "stdout").open("a", encoding="utf-8") as out,
        (folder / "stderr").open("a", encoding="utf-8") as err,
    ):
        streams: tuple[Any, Any] = (_OfThread(out, before[0]), _OfThread(err, before[1]))
        sys.stdout, sys.stderr = streams
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class _OfThread:
    """A stream that is one file for the thread that made it, and another for all else."""

    def __init__(self, own: Any, others: Any) -> None:
        self._own = own
        self._others = others
        self._thread = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own if threading.get_ident() == self._thread else self._others, name)
