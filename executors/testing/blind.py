"""A batch framework whose jobs are processes of this machine that cannot open anything of the repository.

It is the smallest engine that there can be, and an example of what the batch port asks for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from executors.batch import BatchFramework, Job, JobState
from executors.driving.driver import Driver
from executors.host.processes import end_tree, is_alive
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler

__all__ = ["BlindFramework"]

_PATIENCE = 10.0

_BLINDED = """
import os, sys
root = sys.argv[1] + os.sep
def refuse(event, arguments):
    if event in {"open", "os.listdir", "os.scandir"} and isinstance(arguments[0], str):
        if os.path.abspath(arguments[0]).startswith(root):
            raise PermissionError(f"a blind job opens {arguments[0]}")
sys.addaudithook(refuse)
from executors.cmdline.main import main
sys.exit(main(sys.argv[2:]))
"""


class BlindFramework(BatchFramework):
    """Runs bundles as processes without a home folder, that find the door of the repository locked.

    Parameters
    ----------
    jobs : path
        Folder outside of the repository.
    slots : int, optional
        How many processes run at once.
    late : float, optional
        As for `BatchFramework`.
    """

    def __init__(self, jobs: str | Path, *, slots: int = 2, late: float = 5.0) -> None:
        super().__init__(jobs, staged=True, slots=slots, late=late)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._root = ""

    def prepare(self, plan: ScienceDag, butler: AbstractButler) -> None:
        """Learn what jobs must not see."""
        self._root = os.path.abspath(getattr(butler, "root", ""))
        super().prepare(plan, butler)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Start a process for each job."""
        for job in jobs:
            words = [sys.executable, "-c", _BLINDED, self._root, *job.command[3:]]
            known: dict[str, Any] = {k: v for k, v in os.environ.items() if k != "HOME"}
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=known, start_new_session=True
            )
            self._processes[job.name] = process
            self._note(job.name).write_text(str(process.pid))

    def walk(self, driver: Driver) -> None:
        """Run all that the driver hands out; no process outlives it."""
        try:
            super().walk(driver)
        finally:
            for name, process in self._processes.items():
                self._note(name).unlink(missing_ok=True)
                try:
                    process.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    end_tree(process.pid)
                    process.wait()
            self._processes.clear()

    def _note(self, name: str) -> Path:
        assert self.jobs is not None
        folder = self.jobs.with_name(f"{self.jobs.name}-engine")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def states(self, names: Sequence[str]) -> Mapping[str, JobState]:
        """Say which processes live, those of earlier drivers included."""
        return {name: JobState.RUNNING if self._lives(name) else JobState.GONE for name in names}

    def _lives(self, name: str) -> bool:
        process = self._processes.get(name)
        if process is not None:
            return process.poll() is None
        pid = self._pid(name)
        return pid is not None and is_alive(pid)

    def _pid(self, name: str) -> int | None:
        with suppress(OSError, ValueError):
            return int(self._note(name).read_text())
        return None

    def cancel(self, names: Sequence[str], *, at_once: bool = False) -> None:
        """End processes."""
        for name in names:
            pid = self._pid(name)
            if pid is None or not self._lives(name):
                continue
            if at_once:
                end_tree(pid)
            else:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + (5.0 if at_once else 0.0)
        while time.monotonic() < until and any(map(self._lives, names)):
            time.sleep(0.01)
