"""A folder for each attempt of a bundle, or of a quantum that is in none, for people to look into.

::

    ROOT/.supertask/runs/<run>/jobs/bundle-000012/attempt-001/
        parameters.json     plan, quanta with their data IDs and parameters, tags, environment
        job.sh              runs these quanta again, unless they are finished by then
        stdout, stderr      what was written there meanwhile, also by programs that tasks start
        status.json         who runs it, since when, and what came of each quantum

Attempts are numbered by who makes their folder first, so no log is ever written over, whoever else drives
a run. They are made on demand (``execute(…, job_folders=True)``): five files for each job are a price.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from executors.outcome import Attempt
from executors.performer import Performer
from executors.runfolder import RunFolder
from executors.schedule import Work
from executors.surroundings import SurroundingsSpec
from graphbuilder.dag.dag import ScienceDag
from supertask.errors import ExecutionError

__all__ = ["FoldedPerformer", "JobFolders", "folded", "job_folders"]

Ended = Callable[[Attempt, bytes], object]


class JobFolders:
    """Makes the folders of one process's jobs.

    Parameters
    ----------
    spec : SurroundingsSpec
        Run, tags and environment.
    plan : ScienceDag
        The plan.
    plan_identity : str
        By which the run keeps it.
    own_process : bool
        Whether all that this process writes is of its job; if not, only what Python prints in this thread is.
    """

    def __init__(
        self, spec: SurroundingsSpec, plan: ScienceDag, plan_identity: str, *, own_process: bool
    ) -> None:
        self._spec = spec
        self._plan = plan
        self._folder = RunFolder(spec.root, spec.run)
        self._plan_file = self._folder.plans / f"{plan_identity}.h5"
        self._own_process = own_process
        self._statuses: dict[str, str] = {}

    def noting(self, ended: Ended) -> Ended:
        """Return what takes note of attempts that ended, before `ended` does."""

        def note(attempt: Attempt, line: bytes) -> object:
            self._statuses[str(attempt.index)] = attempt.status.value
            return ended(attempt, line)

        return note

    @contextlib.contextmanager
    def job(self, work: Work, numbers: Mapping[int, int]) -> Iterator[Path]:
        """Keep the folder of one job within the block.

        Raises
        ------
        ExecutionError
            It cannot be made.
        """
        try:
            folder = self._make(work)
            self._describe(folder, work, numbers)
        except OSError as error:
            raise ExecutionError(f"the folder of a job cannot be made: {error}") from error
        began = {"host": socket.gethostname(), "pid": os.getpid(), "began": _now()}
        self._statuses.clear()
        _write(folder / "status.json", {"state": "running", **began})
        try:
            with _files(folder) if self._own_process else _prints(folder):
                yield folder
        finally:
            ended = {"state": "ended", **began, "ended": _now(), "quanta": dict(self._statuses)}
            _write(folder / "status.json", ended)

    def _make(self, work: Work) -> Path:
        first = work.quanta[0]
        if work.bundle >= 0:
            name = f"bundle-{work.bundle:06d}"
        else:
            name = f"{self._plan.task_of(first).label}-{bytes(self._plan.identities[first]).hex()}"
        home = self._folder.path / "jobs" / name
        home.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(p.name.rpartition("-")[2]) for p in home.glob("attempt-*")), default=0)
        while True:
            with contextlib.suppress(FileExistsError):
                folder = home / f"attempt-{number:03d}"
                folder.mkdir()
                return folder
            number += 1

    def _describe(self, folder: Path, work: Work, numbers: Mapping[int, int]) -> None:
        spec, labels = self._spec, set()
        quanta: list[dict[str, Any]] = []
        for record in self._plan.records(work.quanta):
            labels.add(record.label)
            parameters = record.quantum.parameters
            quanta.append(
                {
                    "index": record.index,
                    "identity": record.identity.hex(),
                    "label": record.label,
                    "dataId": dict(record.quantum.dataId or {}),
                    "parameters": attrs.asdict(parameters) if parameters is not None else {},
                    "attempt": numbers.get(record.index, 1),
                    "variant": record.variant,
                }
            )
        environ: dict[str, str] = {}
        for q in quanta:
            if q["label"] in spec.environ:
                environ |= spec.environ[q["label"]][q["variant"]]
        described = {
            "run": spec.run,
            "repository": spec.root,
            "plan": str(self._plan_file),
            "bundle": work.bundle if work.bundle >= 0 else None,
            "quanta": quanta,
            "tags": {label: dict(spec.tags.get(label, {})) for label in sorted(labels)},
            "environ": environ,
        }
        _write(folder / "parameters.json", described)
        script = folder / "job.sh"
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environ.items())
        words = shlex.join([sys.executable, "-m", "executors.cmdline", "rerun", str(folder)])
        script.write_text(
            f"#!/bin/sh\n# Runs these quanta again, unless they are finished.\n{exports}exec {words}\n"
        )
        script.chmod(0o755)


class FoldedPerformer:
    """A `Performer` each of whose works has a folder.

    Parameters
    ----------
    performer : Performer
        Does the work.
    folders : JobFolders
        Makes folders.
    """

    def __init__(self, performer: Performer, folders: JobFolders) -> None:
        self._performer = performer
        self._folders = folders

    def perform(
        self,
        work: Work,
        quanta: Iterable[int] | None = None,
        *,
        numbers: Mapping[int, int] | None = None,
        **more: Any,
    ) -> None:
        """Run quanta; see `Performer.perform`."""
        with self._folders.job(work, numbers or {}):
            self._performer.perform(work, quanta, numbers=numbers, **more)


def job_folders(
    spec: SurroundingsSpec | None, plan: ScienceDag, plan_identity: str, *, own_process: bool
) -> JobFolders | None:
    """Return what makes the folders of jobs, where a run wants any; parameters as of `JobFolders`."""
    if spec is None or not spec.job_folders:
        return None
    return JobFolders(spec, plan, plan_identity, own_process=own_process)


def folded(performer: Performer, folders: JobFolders | None) -> Performer | FoldedPerformer:
    """Return a performer whose works have folders, where `folders` makes any."""
    return performer if folders is None else FoldedPerformer(performer, folders)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _write(path: Path, value: Any) -> None:
    """Write JSON whole, or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")
    os.replace(temporary, path)


@contextlib.contextmanager
def _files(folder: Path) -> Iterator[None]:
    """Let the process's own output, and that of all it starts, go to the folder."""
    kept = []
    for fd, stream, name in ((1, sys.stdout, "stdout"), (2, sys.stderr, "stderr")):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
        kept.append((fd, stream, os.dup(fd)))
        opened = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        os.dup2(opened, fd)
        os.close(opened)
    try:
        yield
    finally:
        for fd, stream, before in kept:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            os.dup2(before, fd)
            os.close(before)


@contextlib.contextmanager
def _prints(folder: Path) -> Iterator[None]:
    """Let what this thread prints go to the folder; others, such as progress bars, keep their streams."""
    before = sys.stdout, sys.stderr
    with (
        (folder / "stdout").open("a", encoding="utf-8") as out,
        (folder / "stderr").open("a", encoding="utf-8") as err,
    ):
        streams: tuple[Any, Any] = (_OfThread(out, before[0]), _OfThread(err, before[1]))
        sys.stdout, sys.stderr = streams
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class _OfThread:
    """A stream that is one file for the thread that made it, and another for all else."""

    def __init__(self, own: Any, others: Any) -> None:
        self._own = own
        self._others = others
        self._thread = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own if threading.get_ident() == self._thread else self._others, name)
