"""Overheads that the processes of a machine hold once, in memory that the kernel frees with the last of them.

An object lies in anonymous memory (``memfd_create``), sealed against changes, and is mapped by each process
that uses it. It has no name in ``/dev/shm`` and no owner: however processes end, SIGKILL included, it is gone
with the last that maps it, and nothing needs to be cleaned up. (A segment of `multiprocessing.shared_memory`
has a name that stays when its owner is killed, and is taken away from others when a resource tracker ends.)

How processes find it: each that maps one says so in a folder of its user's, by the name of an empty file
``<key>.<process>.<descriptor>``; others open ``/proc/<process>/fd/<descriptor>``. What a name says is
believed only if that is the object of the key. Who finds none makes it, holding a lock, on which the others
wait; the lock ends with its holder.

Where the system has no such memory (it is Linux's), each process makes its own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import stat
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supertask.configs.identities import digest
from supertask.errors import ExecutionError

if TYPE_CHECKING:
    from executors.overheads.layout import Layout

__all__ = ["SharedObjects"]


class SharedObjects:
    """Objects that processes of this machine have in common.

    Parameters
    ----------
    *scope : str
        Who shares with each other: root of the repository, run, and identity of the plan, say.
    folder : path, optional
        Where processes tell each other of what they have; one of the user's unless given.
    """

    def __init__(self, *scope: str, folder: Path | None = None) -> None:
        self._scope = [part.encode() for part in scope]
        self._folder = folder
        self._known = False

    def get(self, key: bytes, what: str, make: Callable[[], Any]) -> Any:
        """Return the object of a key: one that another process has, or made now and had by all from then on.

        Parameters
        ----------
        key : bytes
            Equal for equal objects alone.
        what : str
            What makes it, for messages.
        make : callable
            Makes it.

        Raises
        ------
        ExecutionError
            It was made, and cannot be shared.
        """
        folder = self._ready()
        if folder is None:
            return make()
        from executors.overheads.layout import Layout, built

        name = digest(b"shared object", *self._scope, key).hex()
        found = self._attached(folder, name)
        if found is not None:
            return built(found)
        with _alone(folder / f"{name}.lock"):
            found = self._attached(folder, name)
            if found is not None:
                return built(found)
            layout = Layout(make(), what)
            fd = _memory(name, layout)
            return built(_mapped(folder, name, fd))

    def _attached(self, folder: Path, name: str) -> mmap.mmap | None:
        """Map what another process has; None where none has it."""
        for entry in folder.glob(f"{name}.*.*"):
            fd = _opened(entry)
            if fd is not None:
                return _mapped(folder, name, fd)
            entry.unlink(missing_ok=True)
        return None

    def _ready(self) -> Path | None:
        """Return the folder, None where nothing can be shared; what the killed left there is taken away."""
        folder = _user_folder() if self._folder is None else self._folder
        if folder is None or not hasattr(os, "memfd_create") or not os.path.isdir("/proc/self/fd"):
            return None
        if not self._known:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                said = folder.lstat()
            except OSError:
                return None
            if not stat.S_ISDIR(said.st_mode) or said.st_uid != os.getuid() or said.st_mode & 0o077:
                return None  # it is not ours alone: what it says cannot be believed
            _sweep(folder)
            self._known = True
        return folder


def _user_folder() -> Path | None:
    if not hasattr(os, "getuid"):
        return None
    import tempfile

    return Path(tempfile.gettempdir()) / f"supertask-shared-{os.getuid()}"


def _memory(name: str, layout: Layout) -> int:
    """Return a descriptor of sealed memory with an object in it."""
    fd = os.memfd_create(f"supertask-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, layout.size)
        with mmap.mmap(fd, layout.size) as written:
            layout.write(written)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError):
            raise ExecutionError(f"no memory to share: {layout.size:,} bytes: {error.strerror}") from error
        raise
    return fd


def _mapped(folder: Path, name: str, fd: int) -> mmap.mmap:
    """Map an object, and tell others that it is here, as long as something of it is in use."""
    found = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    pid = os.getpid()
    entry = folder / f"{name}.{pid}.{fd}"

    def gone() -> None:
        os.close(fd)
        if os.getpid() == pid:  # not a child that was forked
            entry.unlink(missing_ok=True)

    weakref.finalize(found, gone)
    with contextlib.suppress(OSError):  # then others make their own
        entry.touch(mode=0o600)
    return found


def _opened(entry: Path) -> int | None:
    """Open what an entry tells of; None where that is not so, or not any more."""
    name, pid, number = entry.name.split(".")
    path = f"/proc/{pid}/fd/{number}"
    try:
        if os.readlink(path) != f"/memfd:supertask-{name} (deleted)":
            return None
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE:
        return fd
    os.close(fd)
    return None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only one in the block; waits until another has left it, or has ended."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, path):
                break
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # who had it before took the file away
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        # Children that were forked meanwhile have the lock, too: closing alone would leave it to them.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _sweep(folder: Path) -> None:
    """Take away what processes left that were killed: names of what is gone, and locks."""
    for entry in folder.iterdir():
        if entry.suffix == ".lock":
            _sweep_lock(entry)
        elif entry.name.count(".") == 2:
            fd = _opened(entry)
            if fd is None:
                entry.unlink(missing_ok=True)
            else:
                os.close(fd)


def _sweep_lock(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(fd, path):
            path.unlink()
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
    finally:
        os.close(fd)
