"""Locks of the kernel on open files: who has one lives."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path

__all__ = ["hold", "is_held", "knows_locks"]

_log = logging.getLogger(__name__)
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


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


def knows_locks(fd: int) -> bool:
    """Tell whether the file system of an open file, of which this process has the lock, knows locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_LOCKS
    return True
