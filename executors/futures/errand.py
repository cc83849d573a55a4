"""What an engine's worker is called for: to run one job, in a warm child of its own, and to watch over it.

The function, its arguments and what it returns are found by name or are strings, so no engine has anything of
a user's to pickle. A job is claimed before it begins: an engine that calls twice (it thinks a worker dead, or
tries again on its own) runs it once, since trying again is for the policy of the task to decide. A job that
is cancelled, or whose driver went away and another took over, finds so in its folder.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from executors.futures.children import Children, Manner
from executors.jobs.folder import JobFolder
from executors.warm.child import WarmChild

__all__ = ["Ended", "claim", "dismiss", "prepare", "run", "tell"]

_CLAIM = "claim"
_CANCEL = "cancel"
_OUTPUT = "output.txt"
_AT_ONCE = "at once"
_LOOK = 0.25
_TAKEN_BACK = 5.0
"""Seconds to end in order for a job that another driver has taken back; it waits for that."""
_END = 10.0
"""Seconds to end after the grace, before a child is killed."""
_SEEN_LATE = 2.0
_TEXT = 2000

_children = Children()
"""Of this process: an engine calls a function, again and again, and there is no other place to keep them."""


@attrs.frozen
class Ended:
    """What came of a call."""

    code: int | None = None
    """How the job ended, see `executors.warm.child.Ran`; None where it did not begin."""
    said: str = ""
    """Why, and the end of what it printed where it did not live to say."""
    died: bool = False
    """Whether the job's process ended before the job did."""
    begun_before: bool = False
    """Whether the job was claimed already: its first worker is gone, or its driver withdrew it."""

    def to_text(self) -> str:
        """Return it as `from_text` reads it."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Ended:
        """Read what `to_text` returned."""
        return cls(**json.loads(text))


def claim(folder: Path) -> bool:
    """Make a job one's own, to run it or to withdraw it; return whether nobody had done so."""
    try:
        fd = os.open(folder / _CLAIM, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except (FileExistsError, FileNotFoundError):
        return False
    with open(fd, "w", encoding="utf-8") as file:
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
    return True


def tell(folder: Path, *, at_once: bool) -> None:
    """Ask whoever runs a job to end it."""
    with contextlib.suppress(FileNotFoundError):  # it is over
        (folder / _CANCEL).write_text(_AT_ONCE if at_once else "in order", encoding="utf-8")


def prepare(manner: Manner, count: int, modules: Sequence[str] = ()) -> None:
    """Start so many children of this process, for the jobs that will run on its threads, and need modules."""
    _children.prepare(manner, count, modules)


def dismiss(session: str) -> None:
    """End the children that this process has for a session."""
    _children.dismiss(session)


def run(folder: str, manner: str) -> str:
    """Run a job.

    Parameters
    ----------
    folder : str
        Its folder.
    manner : str
        `Manner`, as text.

    Returns
    -------
    str
        `Ended`, as text.
    """
    return _run(Path(folder), Manner.from_text(manner)).to_text()


def _run(folder: Path, manner: Manner) -> Ended:
    until = time.monotonic() + _SEEN_LATE
    while not folder.is_dir():
        # It was taken back, most likely; if nothing is seen at all, waiting is of no use.
        if time.monotonic() > until or not folder.parent.is_dir():
            return Ended(said=f"{folder} is not seen on {socket.gethostname()}")
        time.sleep(_LOOK)
    if not claim(folder):
        with contextlib.suppress(OSError):
            return Ended(said=(folder / _CLAIM).read_text(encoding="utf-8"), begun_before=True)
        return Ended(begun_before=True)
    over = threading.Event()
    with _children.lent(manner) as child:
        watch = threading.Thread(target=_watch, args=(child, folder, over, manner.grace + _END), daemon=True)
        watch.start()
        try:
            ran = child.run(folder, output=folder / _OUTPUT)
        except OSError as error:
            return Ended(said=f"{manner.python} cannot be started on {socket.gethostname()}: {error}")
        finally:
            over.set()
            watch.join()
    if not ran.died:
        return Ended(ran.code, ran.why)
    why = f"{ran.why} {_end_of(folder / _OUTPUT)}".strip()
    if not JobFolder(folder).journals():
        return Ended(
            said=f"{why} (on {socket.gethostname()}; does {manner.python or 'its Python'} have SuperTask?)"
        )
    return Ended(ran.code, why, died=True)


def _watch(child: WarmChild, folder: Path, over: threading.Event, most: float) -> None:
    """End a job where that is asked for."""
    last = math.inf
    while not over.wait(_LOOK):
        if last == math.inf and (grace := _asked(folder, most)) is not None:
            last = time.monotonic() + grace
            if grace:
                child.ask()
        if time.monotonic() >= last:
            child.kill()


def _asked(folder: Path, most: float) -> float | None:
    """Return within how many seconds a job is to end; None if it may go on."""
    try:
        return 0.0 if (folder / _CANCEL).read_text(encoding="utf-8") == _AT_ONCE else most
    except OSError:
        return None if JobFolder(folder).is_wanted else _TAKEN_BACK


def _end_of(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_bytes()[-_TEXT:].decode(errors="replace").strip()
    return ""
