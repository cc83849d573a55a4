"""The lease of a run: one driver at a time, on whatever machine, and no doubt about who it is.

Two things hold it. A lock of the kernel (``flock``) ends with the process that holds it, so that one that
died leaves nothing stale behind; on this machine, and wherever the file system carries locks across machines,
it decides alone. Where it does not, a heartbeat does: the holder counts up a number in the lock's file, and
who finds the name of another machine there watches whether the number still moves. Only the watcher's own
monotonic clock is asked for how long that is; no clock of one machine is held against another's, and none
that can be set back.

A holder that was stopped for so long that another took over finds the other's name at its next beat, and
ends.
"""

from __future__ import annotations

import enum
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import attrs

from executors.host.processes import holders, is_alive
from executors.journal.locks import hold, knows_locks
from supertask.errors import ExecutionError

__all__ = ["Holder", "Lease", "Standing", "Watch"]

_log = logging.getLogger(__name__)
INTERVAL = 5.0
"""Seconds between two beats."""
PATIENCE = 30.0
"""Seconds without a beat after which a holder on another machine is taken for dead."""


class Standing(enum.Enum):
    """What a watcher knows of a holder."""

    UNKNOWN = "unknown"
    ALIVE = "alive"
    STALE = "stale"


@attrs.frozen
class Holder:
    """Who holds a lease."""

    host: str
    pid: int
    since: str
    """Local time, for people."""
    token: str
    """Of this holder alone."""
    beat: int = 0

    @classmethod
    def me(cls) -> Holder:
        """Return this process as a holder."""
        host, pid = socket.gethostname(), os.getpid()
        since = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        return cls(host, pid, since, f"{host}:{pid}:{os.urandom(8).hex()}")

    @classmethod
    def from_bytes(cls, data: bytes) -> Holder | None:
        """Read back what `to_bytes` gave; None where nobody is named, or the name is just being written."""
        try:
            said: dict[str, Any] = json.loads(data.rstrip(b"\0"))
            return cls(said["host"], said["pid"], said["since"], said.get("token", ""), said.get("beat", 0))
        except (ValueError, KeyError, TypeError):
            return None

    def to_bytes(self) -> bytes:
        """Return it as JSON of constant length, so that one write replaces another whole."""
        return json.dumps(attrs.asdict(self)).encode().ljust(512)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class Watch:
    """Tells from outside whether a holder lives: a decision without I/O.

    Parameters
    ----------
    patience : float
        Seconds without a beat after which it is taken for dead.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._first: tuple[str, int] | None = None
        self._began = 0.0

    def saw(self, token: str, beat: int, now: float) -> Standing:
        """Take note of what the file says at a time of the watcher's own monotonic clock."""
        if self._first is None:
            self._first, self._began = (token, beat), now
            return Standing.UNKNOWN
        if (token, beat) != self._first:
            return Standing.ALIVE
        return Standing.STALE if now - self._began >= self._patience else Standing.UNKNOWN


class Lease:
    """The right to drive a run: held from construction until `release`, or the end of the process.

    Parameters
    ----------
    path : path
        The lock file.
    run : str
        The run, for messages.
    interval, patience : float, optional
        Seconds between two beats, and without one before a holder on another machine is taken for dead.

    Raises
    ------
    ExecutionError
        Another driver has it; says which.
    """

    def __init__(
        self, path: Path, run: str, *, interval: float = INTERVAL, patience: float = PATIENCE
    ) -> None:
        self._path = path
        self._run = run
        self._interval = interval
        self._me = Holder.me()
        self._beaten = time.monotonic()
        self._guard = threading.Lock()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ExecutionError(f"run {run!r} cannot be locked: {path}: {error.strerror}") from error
        try:
            self._take(patience)
        except BaseException:
            os.close(self._fd)
            self._fd = -1
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _take(self, patience: float) -> None:
        if not hold(self._fd):
            raise ExecutionError(self._refusal(self._read()))
        self._watch(patience)
        self._write()

    def _read(self) -> Holder | None:
        return Holder.from_bytes(os.pread(self._fd, 4096, 0))

    def _write(self) -> None:
        data = self._me.to_bytes()
        os.pwrite(self._fd, data, 0)
        os.ftruncate(self._fd, len(data))

    def _refusal(self, holder: Holder | None) -> str:
        said = f"run {self._run!r} is being executed already, by {holder or 'another process'}"
        if holder is not None and holder.host == socket.gethostname() and not is_alive(holder.pid):
            left = sorted(holders([self._path]))
            names = f"process {', '.join(map(str, left))}" if left else "a process"
            return (
                f"{said}: that has ended, but {names}, which its tasks started, is still at work; end it, "
                "and run the same again"
            )
        return f"{said}; wait until it ends, or stop it. What it has finished is not run again"

    def _watch(self, patience: float) -> None:
        """Make sure that who did not release the lease is dead, where the lock cannot tell.

        Raises
        ------
        ExecutionError
            It lives.
        """
        holder = self._read()
        if holder is None:
            return
        if holder.host == socket.gethostname():
            # The lock tells, unless the file system has none.
            if not knows_locks(self._fd) and holder.pid != os.getpid() and is_alive(holder.pid):
                raise ExecutionError(self._refusal(holder))
            return
        _log.warning(
            "run %r was driven by %s, which did not end in order; for up to %.0f s it is watched for life",
            self._run, holder, patience,
        )  # fmt: skip
        watch = Watch(patience)
        standing = Standing.UNKNOWN
        while standing is not Standing.STALE:
            seen = self._read() or holder
            standing = watch.saw(seen.token, seen.beat, time.monotonic())
            if standing is Standing.ALIVE:
                raise ExecutionError(self._refusal(seen))
            time.sleep(min(0.1, patience / 10))

    def beat(self) -> None:
        """Say that the holder lives, if it is time to.

        Raises
        ------
        ExecutionError
            Another driver has taken over.
        """
        if time.monotonic() - self._beaten < self._interval:
            return
        with self._guard:
            if self._fd < 0:
                return
            self._beaten = time.monotonic()
            holder = self._read()
            if holder is not None and holder.token != self._me.token:
                raise ExecutionError(
                    f"run {self._run!r} was taken over by {holder}, since this process was not heard of for "
                    "too long; this one ends. What it has finished is in the journal"
                )
            self._me = attrs.evolve(self._me, beat=self._me.beat + 1)
            self._write()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Let a thread beat during a block that may not come to call `beat` for long.

        What it finds is raised by the next `beat` of the caller's own.
        """
        over = threading.Event()

        def keep() -> None:
            while not over.wait(self._interval):
                try:
                    self.beat()
                except (ExecutionError, OSError):
                    self._beaten = 0.0  # so that the caller's own finds it too
                    return

        thread = threading.Thread(target=keep, name="supertask-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def fileno(self) -> int:
        """Return the open file that holds the lock."""
        return self._fd

    def release(self) -> None:
        """Let another driver have the run."""
        with self._guard:
            if self._fd >= 0:
                holder = self._read()
                if holder is None or holder.token == self._me.token:
                    os.ftruncate(self._fd, 0)
                os.close(self._fd)
                self._fd = -1
