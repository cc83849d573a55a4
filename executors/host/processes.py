"""Processes and all that they started: how much memory they hold, and ending them.

A worker is made the one to whom orphans below it are given (a "child subreaper"), and marks its environment.
So whatever a task starts is found: as a descendant of the worker as long as that lives, even what began a
session of its own or whose parent is gone; by the mark after that.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = [
    "become_reaper",
    "children",
    "end_children",
    "end_holders",
    "end_left_behind",
    "end_tree",
    "holders",
    "is_alive",
    "keep_files",
    "machine_memory",
    "mark",
    "memory_of",
]

_MARK = "SUPERTASK_WORKER"
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 5.0


def become_reaper(folder: Path) -> None:
    """Let this process be found as the one that started whatever is started below it.

    Parameters
    ----------
    folder : Path
        Of the run that it works for.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    os.environ[_MARK] = mark(folder, os.getpid())


def keep_files() -> None:
    """Let programs that this process starts have none of its files: they would keep pipes and locks alive."""
    for name in os.listdir("/dev/fd"):
        if int(name) > 2:
            with suppress(OSError):  # that of the listing itself
                os.set_inheritable(int(name), False)


def mark(folder: Path, pid: int | None = None) -> str:
    """Return what marks the descendants of one worker of a run; without `pid`, how that begins for all."""
    return f"{folder}:{'' if pid is None else pid}"


def is_alive(pid: int) -> bool:
    """Tell whether a process runs on this machine; one that only waits to be collected does not."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def children() -> set[int]:
    """Return the processes that this one started itself and that have not been collected."""
    found: set[int] = set()
    try:
        # Of each thread; a hundred times as fast as looking at all processes of the machine.
        for path in Path("/proc/self/task").glob("*/children"):
            found.update(map(int, path.read_text().split()))
    except (OSError, ValueError):
        pass
    else:
        if sys.platform == "linux":
            return found
    import psutil

    return {p.pid for p in psutil.Process().children()}


def _only_alive(pid: int) -> list[Any]:
    import psutil

    try:
        return [psutil.Process(pid)] if is_alive(pid) else []
    except psutil.Error:
        return []


def _descendants(pid: int) -> list[Any]:
    import psutil

    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    return [p for p in below if is_alive(p.pid)]


def memory_of(pid: int, limit: int) -> int:
    """Return how many bytes a process and its descendants hold in memory.

    Pages that they share are counted once where that decides whether they are within `limit`.
    """
    import psutil

    try:
        tree = [psutil.Process(pid), *_descendants(pid)]
        resident = 0
        for process in tree:
            with suppress(psutil.Error):
                resident += process.memory_info().rss
        if len(tree) == 1 or resident <= limit:
            return resident
        shared_once = 0
        for process in tree:
            with suppress(psutil.Error):
                full = process.memory_full_info()
                shared_once += getattr(full, "pss", full.rss)
    except psutil.Error:
        return 0
    return shared_once


def machine_memory() -> int:
    """Return how many bytes of memory the machine has."""
    import psutil

    return int(psutil.virtual_memory().total)


def end_tree(pid: int) -> None:
    """End a process and all below it, so that none of them starts another in the meantime."""
    import psutil

    with suppress(psutil.Error):
        psutil.Process(pid).suspend()
    _end_all(lambda: _descendants(pid))
    with suppress(psutil.Error):
        psutil.Process(pid).kill()


def end_children(*, but: Collection[int] = ()) -> None:
    """End what this process started, with all below, but for some and what these started."""

    def find() -> list[Any]:
        found = []
        for pid in children():
            if pid not in but:
                found += _descendants(pid)
                found += _only_alive(pid)
        return found

    _end_all(find)


def end_left_behind(folder: Path, pid: int | None = None) -> list[int]:
    """End what dead workers of a run left behind on this machine; return which processes these were.

    Parameters
    ----------
    folder : Path
        Of the run.
    pid : int, optional
        One worker; all of them unless given.
    """
    import psutil

    wanted = mark(folder, pid)
    # Whoever works in a terminal that a task once opened is no remainder of it.
    ours = {os.getpid(), *(p.pid for p in psutil.Process().parents())}

    def find() -> list[Any]:
        found = []
        for process in psutil.process_iter():
            try:
                said = process.environ().get(_MARK, "") if process.pid not in ours else ""
            except (psutil.Error, OSError):
                continue  # another user's, or gone
            if (said == wanted or (pid is None and said.startswith(wanted))) and is_alive(process.pid):
                found.append(process)
        return found

    return _end_all(find)


def holders(paths: Iterable[Path]) -> dict[int, Path]:
    """Return the processes of this machine that can write to one of some files, as far as one may see."""
    import psutil

    names = {os.path.realpath(p): p for p in paths}
    found: dict[int, Path] = {}
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with suppress(psutil.Error, OSError):
            for file in process.open_files():
                if file.path in names and getattr(file, "mode", "r") != "r":
                    found[process.pid] = names[file.path]
    return found


def end_holders(paths: Sequence[Path]) -> None:
    """End what still has files of processes that have ended: what they forked and did not wait for."""
    import psutil

    for pid in holders(paths) if paths else ():
        with suppress(psutil.Error):
            psutil.Process(pid).kill()


def _end_all(find: Callable[[], list[Any]]) -> list[int]:
    """Kill what `find` gives until it gives nothing more."""
    import psutil

    ended: set[int] = set()
    until = time.monotonic() + _PATIENCE
    while (left := find()) and time.monotonic() < until:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
                ended.add(process.pid)
        time.sleep(0.002)
    return sorted(ended)
