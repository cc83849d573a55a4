"""Where a run keeps its journal, and the lock that lets one driver at a time work on it.

::

    ROOT/.supertask/runs/<run>/
        driver.lock         held by the driver; says who that is
        plan.h5             a plan that was handed over in memory, for worker processes to read
        journal/            one file for each process that ran quanta or drove the run, see `journal`

Locks are the kernel's (``flock``): they end with the process that holds them, however it ends, so that there
is never a stale one to clean up.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

import attrs

from supertask.errors import ExecutionError

__all__ = ["DriverLock", "RunFolder", "hold", "is_held"]

_log = logging.getLogger(__name__)
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


@attrs.frozen
class RunFolder:
    """The folder of one run."""

    root: str
    """Of the data repository."""
    run: str
    """The RUN collection."""

    @property
    def path(self) -> Path:
        """The folder itself."""
        return Path(self.root) / ".supertask" / "runs" / self.run

    @property
    def journal(self) -> Path:
        """Folder of the journal's files."""
        return self.path / "journal"

    @property
    def plan(self) -> Path:
        """A plan that was handed over in memory."""
        return self.path / "plan.h5"

    def make(self) -> None:
        """Make the folder.

        Raises
        ------
        ExecutionError
            It cannot be made.
        """
        try:
            self.journal.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExecutionError(
                f"run {self.run!r} cannot keep its journal in {self.journal}: {error.strerror or error}; "
                "a run writes into its repository, so that must be writable and not full"
            ) from error

    def lock(self) -> DriverLock:
        """Become the run's driver; see `DriverLock`."""
        return DriverLock(self.path / "driver.lock", self.run)


def hold(fd: int) -> bool:
    """Lock an open file for as long as it is open; return False where another process holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        # Better to run unguarded, and to say so, than not at all.
        _log.warning("this file system knows no locks: take care that only one driver works on a run")
    return True


def is_held(path: str | Path) -> bool:
    """Tell whether a living process holds the lock of a file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


class DriverLock:
    """The right to drive a run: held from construction until `release`, or the end of the process.

    Parameters
    ----------
    path : path
        The lock file.
    run : str
        The run, for messages.

    Raises
    ------
    ExecutionError
        Another driver has it; says which.
    """

    def __init__(self, path: Path, run: str) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ExecutionError(f"run {run!r} cannot be locked: {path}: {error.strerror}") from error
        if not hold(self._fd):
            holder = _read_holder(self._fd)
            os.close(self._fd)
            raise ExecutionError(
                f"run {run!r} is being executed already, by {holder}; wait until it ends, or stop it. "
                "What it has finished is not run again"
            )
        me = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(me).encode(), 0)

    def fileno(self) -> int:
        """Return the open file that holds the lock."""
        return self._fd

    def release(self) -> None:
        """Let another driver have the run."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def _read_holder(fd: int) -> str:
    try:
        said: dict[str, Any] = json.loads(os.pread(fd, 4096, 0))
        return f"process {said['pid']} on {said['host']} since {said['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
