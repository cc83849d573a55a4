"""A warm child, as its parent sees it.

Parent and child talk over two pipes, a line of JSON each: the parent says which folder is to be run, or that
what runs is to stop; the child says what came of it. A child whose parent is gone ends at once, with all that
its tasks have started. One that ended itself (a task killed it, it ran out of memory) is replaced at the next
call; what it left behind is ended before.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from executors.host.processes import end_left_behind, end_tree

__all__ = ["Ran", "WarmChild"]

_START = 120.0
"""Seconds in which a child must have made its imports, also on a slow file system."""
_LOOK = 0.25
_END = 5.0


class Ran:
    """What came of a job (no attrs class: a parent need not import more than it has).

    Parameters
    ----------
    code : int
        As of `executors.jobs.folder.ExitCode`; of a child that did not live to say so, as of its process:
        less than 0 for a signal.
    why : str
        In words.
    died : bool
        Whether the child ended before the job did.
    """

    __slots__ = ("code", "died", "why")

    def __init__(self, code: int, why: str = "", *, died: bool = False) -> None:
        self.code = code
        self.why = why
        self.died = died

    def __repr__(self) -> str:
        return f"Ran({self.code}, {self.why!r}{', died=True' if self.died else ''})"


class WarmChild:
    """Runs jobs in a process that stays; to be stopped, or used as a context manager.

    One thread calls `run`; others may call `ask`, `kill` and `stop` meanwhile.

    Parameters
    ----------
    python : str, optional
        Its interpreter; this process's own unless given.
    grace : float, optional
        Seconds that what runs may take to finish once it is asked to stop.
    late : float, optional
        Seconds to wait for inputs that a shared file system may show late.
    scratch : str, optional
        Folder on a local disk, as for `ExecutionFramework.execute`.
    memory : int, optional
        Bytes of overheads that it keeps; half of the machine's memory unless given.
    cwd : path, optional
        Folder to run in, from which tasks may be found.
    """

    def __init__(
        self,
        python: str = "",
        *,
        grace: float = 20.0,
        late: float = 30.0,
        scratch: str = "",
        memory: int | None = None,
        cwd: str | Path | None = None,
    ) -> None:
        self._python = python or sys.executable
        self._said = {"grace": grace, "late": late, "scratch": scratch}
        self._memory = memory
        self._cwd = cwd
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._up_by = math.inf
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Its process, None where none was started."""
        return None if self._process is None else self._process.pid

    def start(self, modules: Sequence[str] = ()) -> None:
        """Start its process, which makes its imports while others go on; `run` does so itself.

        Parameters
        ----------
        modules : sequence of str, optional
            Modules that its jobs will need, to be imported, too.

        Raises
        ------
        OSError
            The interpreter cannot be started.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self._close()
        # The kernel ends a tied child with the *thread* that started it, so only the main one may tie.
        tied = "tied" if threading.current_thread() is threading.main_thread() else "free"
        words = ["-m", "executors.warm.process", tied, str(os.getpid()), str(self._memory or 0)]
        self._process = subprocess.Popen(
            [self._python, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._cwd,
            start_new_session=True,  # a terminal's Ctrl-C is for the parent to heed
        )
        self._up_by = time.monotonic() + _START
        self._read = b""
        if modules:
            self._say({"import": list(modules)})

    def run(self, folder: str | Path, *, seconds: float | None = None, output: str | Path = "") -> Ran:
        """Run a job, or what is left of it; return when that has ended.

        Parameters
        ----------
        folder : path
            The job's.
        seconds : float, optional
            How long it may take: after that its process is ended, with all that it started.
        output : path, optional
            File for what it prints; else that goes where the parent's stderr goes.

        Raises
        ------
        OSError
            The interpreter cannot be started.
        """
        self.start()
        process = self._process
        assert process is not None  # noqa: S101 - just started
        self._say({"run": str(folder), "output": str(output), **self._said})
        until = math.inf if seconds is None else time.monotonic() + seconds
        why = ""
        while True:
            answer = self._answer(process)
            if answer is not None and "code" in answer:
                return Ran(answer["code"], answer["why"])
            if answer is not None:
                self._up_by = math.inf
                continue
            now = time.monotonic()
            if process.poll() is not None:
                why = why or self._death(process)
                end_left_behind(Path(folder), process.pid)
                return Ran(process.returncode, why, died=True)
            if not why and now > until:
                why = f"it took longer than the {seconds:g} s that it may take"
                end_tree(process.pid)
            elif not why and now > self._up_by:
                why = f"its process was not up within {_START:g} s"
                end_tree(process.pid)

    def ask(self) -> None:
        """Ask what runs to end: what is under way may finish within the grace."""
        self._say({"stop": True})

    def kill(self) -> None:
        """End its process at once, with all that it started."""
        process = self._process
        if process is not None and process.poll() is None:
            end_tree(process.pid)

    def stop(self) -> None:
        """End its process: what still runs is broken off."""
        self._close()

    # -- the pipes ----------------------------------------------------------------------------

    def _say(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        # One that is gone, or going, is found out by who waits for its answer.
        with self._lock, contextlib.suppress(OSError, ValueError):
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()

    def _answer(self, process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
        """Return the next thing that it says, None where it says nothing for a moment."""
        assert process.stdout is not None  # noqa: S101 - it was started with a pipe
        if b"\n" not in self._read:
            # Programs that its tasks forked may keep the pipe open after it: its end is no sign of life.
            if not select.select([process.stdout], [], [], _LOOK)[0]:
                return None
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK)
                return None
            self._read += data
        line, newline, rest = self._read.partition(b"\n")
        if not newline:
            return None
        self._read = rest
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _death(self, process: subprocess.Popen[bytes]) -> str:
        code = process.returncode
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        return f"its process ended with {how}{'' if self._up_by == math.inf else ' before it was up'}"

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with self._lock, contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            end_tree(process.pid)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
