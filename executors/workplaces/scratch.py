"""Scratch folders: room on a local disk (or in memory) that belongs to one process.

::

    SCRATCH/supertask-<host>-<pid>-<random>/
        lock        held for as long as the process lives
        in/         copies of inputs, those used longest ago deleted first
        out/        outputs until they are in the repository
        held/       outputs that go no further

The lock is the kernel's, so whoever comes by can tell whose folder is left over: `sweep_scratch`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from executors.journal.runfolder import hold, is_held
from supertask.errors import ExecutionError, StorageError

__all__ = ["ScratchFolder", "check_scratch", "memory_folder", "sweep_scratch"]

_PREFIX = "supertask-"
_MAKING = ".making-"
_MOMENT = 60.0
"""Seconds after which a folder that has not got its name never will."""
_LOCK = "lock"
_MEMORY = "/dev/shm"  # noqa: S108 - folders in it have names that nobody can guess, and are the user's alone
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_counter = itertools.count()


def check_scratch(folder: str | Path) -> str:
    """Return the absolute path of a folder for scratch.

    Raises
    ------
    ExecutionError
        It is not a folder, or nothing can be written there.
    """
    path = os.path.abspath(folder)
    if not os.path.isdir(path):
        raise ExecutionError(f"scratch {path} is not a folder; make it, or name one that every worker has")
    if not os.access(path, os.W_OK | os.X_OK):
        raise ExecutionError(f"scratch {path} cannot be written by this user; name another folder")
    return path


def memory_folder() -> str:
    """Return a folder whose files are in memory; where the system has none, the one for temporary files."""
    if os.access(_MEMORY, os.W_OK | os.X_OK):
        return _MEMORY
    import tempfile

    return tempfile.gettempdir()


def sweep_scratch(base: str | Path, *, dry_run: bool = False) -> list[tuple[str, int]]:
    """Delete what processes that are gone left in a folder for scratch.

    Of folders of other hosts nothing is known unless the file system tells of their locks.

    Returns
    -------
    list of tuple
        Each folder and its size in bytes.
    """
    found = []
    host = socket.gethostname()
    for entry in _folders(base):
        name = os.path.basename(entry)
        if not name.removeprefix(_MAKING).startswith(f"{_PREFIX}{host}-"):
            continue
        young = name.startswith(_MAKING) and time.time() - os.stat(entry).st_mtime < _MOMENT
        if young or is_held(os.path.join(entry, _LOCK)):
            continue
        found.append((entry, _size(entry)))
        if not dry_run:
            shutil.rmtree(entry, ignore_errors=True)
    return found


def _folders(base: str | Path) -> Iterator[str]:
    try:
        with os.scandir(base) as entries:
            mine = [
                e.path
                for e in entries
                if e.name.startswith((_PREFIX, _MAKING)) and e.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return
    for path in sorted(mine):
        with contextlib.suppress(OSError):
            if os.stat(path).st_uid == os.getuid():
                yield path


def _size(folder: str) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_size
    return total


class ScratchFolder:
    """One process's part of a folder for scratch; made when it is first used, deleted when closed.

    Parameters
    ----------
    base : path
        The folder for scratch.
    limit : int, optional
        Bytes that copies of inputs may take; no limit but the disk's unless given.
    """

    def __init__(self, base: str | Path, limit: int | None = None) -> None:
        self.base = str(base)
        self._limit = limit
        self._path = ""
        self._lock = -1
        self._copies: OrderedDict[tuple[str, int, int, int], tuple[str, int]] = OrderedDict()
        """Source, inode, size and time of change → copy and its size, the one used last at the end."""
        self.used = 0
        """Bytes that copies of inputs take."""
        self.copied = 0
        """How many inputs were copied."""

    def close(self) -> None:
        """Delete the folder."""
        if self._path:
            shutil.rmtree(self._path, ignore_errors=True)
            os.close(self._lock)
            self._path, self._lock = "", -1
        self._copies.clear()
        self.used = 0

    def place(self, part: str, name: str) -> str:
        """Return where a new file of a part of the folder may be written.

        Raises
        ------
        StorageError
            The folder for scratch is gone or full.
        """
        try:
            self._open()
            folder = os.path.join(self._path, part)
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            if error.errno in _FULL and self.make_room():
                return self.place(part, name)
            raise self.failed(error) from error
        return os.path.join(folder, f"{next(_counter)}-{name}")

    def _open(self) -> None:
        if self._path and os.path.isdir(self._path):
            return
        if self._path:  # somebody deleted it: begin anew
            os.close(self._lock)
            self._path, self.used = "", 0
            self._copies.clear()
        name = f"{_PREFIX}{socket.gethostname()}-{os.getpid()}-{os.urandom(8).hex()}"
        # Whoever sweeps must not see it under its name without its lock.
        making = os.path.join(self.base, f"{_MAKING}{name}")
        os.mkdir(making, 0o700)
        lock = os.open(os.path.join(making, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            hold(lock)
            self._path = os.path.join(self.base, name)
            os.rename(making, self._path)
        except OSError:
            os.close(lock)
            self._path = ""
            shutil.rmtree(making, ignore_errors=True)
            raise
        self._lock = lock

    def fetch(self, source: str) -> str:
        """Return the path of a local copy of a file, made unless there is one.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        StorageError
            The folder for scratch is gone, or full with nothing left in it to delete.
        """
        state = os.stat(source)
        key = (source, state.st_ino, state.st_size, state.st_mtime_ns)
        known = self._copies.get(key)
        if known is not None and os.path.exists(known[0]):
            self._copies.move_to_end(key)
            return known[0]
        if known is not None:
            self._forget(key)
        if self._limit is not None:
            while self._copies and self.used + state.st_size > self._limit:
                self._forget(next(iter(self._copies)))
        copy = self.place("in", os.path.basename(source))
        while True:
            try:
                self._copy(source, copy)
                break
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.unlink(f"{copy}.part")
                if error.errno in _FULL and self.make_room():
                    continue
                raise self.failed(error) from error
        self._copies[key] = (copy, state.st_size)
        self.used += state.st_size
        self.copied += 1
        return copy

    @staticmethod
    def _copy(source: str, copy: str) -> None:
        try:
            os.link(source, copy)
        except OSError:  # on another file system, or one without links
            shutil.copyfile(source, f"{copy}.part")
            os.replace(f"{copy}.part", copy)

    def make_room(self) -> bool:
        """Delete the copies of inputs, which can be made again; return whether there were any."""
        had = bool(self._copies)
        while self._copies:
            self._forget(next(iter(self._copies)))
        return had

    def _forget(self, key: tuple[str, int, int, int]) -> None:
        copy, size = self._copies.pop(key)
        self.used -= size
        with contextlib.suppress(OSError):
            os.unlink(copy)

    def failed(self, error: OSError) -> StorageError:
        """Return what to raise when something cannot be written here."""
        if not os.path.isdir(self.base):
            why = "the folder is gone"
        elif error.errno in _FULL:
            why = "it is full: make room, or give it a smaller limit so that fewer inputs are kept"
        else:
            why = error.strerror or str(error)
        return StorageError(f"scratch {self.base} cannot be used: {why}")
