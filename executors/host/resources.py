"""What running a quantum used: time, memory; and on which machine and software a run took place."""

from __future__ import annotations

import os
import platform
import re
import resource
import socket
import sys
import time
from functools import cache
from typing import Any

import attrs

__all__ = ["Meter", "Usage", "environment", "own_cpu", "own_cpu_ns"]

_FIELD = re.compile(r"^(Name|Version):[ \t]*(.+?)[ \t]*$", re.MULTILINE)


@attrs.frozen
class Usage:
    """What a block used."""

    start: int
    """UTC, ns since 1970."""
    end: int
    wall: float
    """Seconds."""
    cpu: float
    """Seconds, all threads and ended child processes."""
    peak_memory: int
    """Bytes resident at most."""


class Meter:
    """Measures one block after another in this process.

    Notes
    -----
    The kernel keeps one high-water mark of memory for a process. On Linux it is set back at each start, so
    that the peak is the block's own (with what the process held before); elsewhere it only grows.
    """

    _scale = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere

    def __init__(self) -> None:
        try:
            self._marks = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            self._marks = -1
        self._pid = os.getpid()
        self.start()

    def start(self) -> int:
        """Begin to measure; return the time, UTC in ns since 1970."""
        if self._marks >= 0 and self._pid == os.getpid():
            try:
                os.pwrite(self._marks, b"5", 0)
            except OSError:
                os.close(self._marks)
                self._marks = -1
        self._children = _children_cpu()
        self._start = time.time_ns()
        self._cpu = time.process_time()
        self._wall = time.perf_counter()
        return self._start

    def stop(self) -> Usage:
        """Return what was used since `start`."""
        wall = time.perf_counter() - self._wall
        cpu = time.process_time() - self._cpu + _children_cpu() - self._children
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * self._scale
        return Usage(self._start, time.time_ns(), wall, cpu, peak)


def own_cpu() -> float:
    """Return CPU seconds of this process and of its children that have ended."""
    return time.process_time() + _children_cpu()


def own_cpu_ns() -> int:
    """Return the same in nanoseconds."""
    return time.process_time_ns() + round(_children_cpu() * 1e9)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def environment() -> dict[str, Any]:
    """Return on what a run takes place: machine, user, command, Python and the versions of all packages."""
    from getpass import getuser

    try:
        user = getuser()
    except (KeyError, OSError):  # no such user in the password file, as in some containers
        user = str(os.getuid())
    return {
        "host": socket.gethostname(),
        "user": user,
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
    }


@cache
def _packages() -> dict[str, str]:
    """Return name and version of every distribution; looked up once, since it reads a file for each.

    What else stands there (and it may be a book) is not parsed: of a few hundred packages that took 0.1 s.
    """
    import importlib.metadata

    found = {}
    for distribution in importlib.metadata.distributions():
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        said = dict(_FIELD.findall(text.partition("\n\n")[0]))
        if "Name" in said and "Version" in said:
            found[said["Name"]] = said["Version"]
    return dict(sorted(found.items()))
