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
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from executors.decisions.work import Work
from executors.journal.runfolder import RunFolder
from executors.quanta.attemptfolders import AttemptKeeper, Ended, write_json
from executors.quanta.performer import Performer
from executors.quanta.surroundings import SurroundingsSpec
from graphbuilder.dag.dag import ScienceDag
from supertask.errors import ExecutionError

__all__ = ["FoldedPerformer", "JobFolders", "folded", "job_folders"]


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
        self._keeper = AttemptKeeper(own_process=own_process)

    def noting(self, ended: Ended) -> Ended:
        """Return what takes note of attempts that ended, before `ended` does."""
        return self._keeper.noting(ended)

    @contextlib.contextmanager
    def job(self, work: Work, numbers: Mapping[int, int]) -> Iterator[Path]:
        """Keep the folder of one job within the block.

        Raises
        ------
        ExecutionError
            It cannot be made.
        """
        folder = self.reserve(work, numbers)
        with self._keeper.keeping(folder):
            yield folder

    def reserve(self, work: Work, numbers: Mapping[int, int]) -> Path:
        """Make the folder of one job that nobody runs yet.

        Raises
        ------
        ExecutionError
            It cannot be made.
        """
        try:
            folder = self._make(work)
            self._describe(folder, work, numbers)
            write_json(folder / "status.json", {"state": "waiting"})
        except OSError as error:
            raise ExecutionError(f"the folder of a job cannot be made: {error}") from error
        return folder

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
            environ |= spec.variables(q["label"], q["variant"])
        described = {
            "run": spec.run,
            "repository": spec.root,
            "plan": str(self._plan_file),
            "bundle": work.bundle if work.bundle >= 0 else None,
            "quanta": quanta,
            "tags": {label: dict(spec.tags.get(label, {})) for label in sorted(labels)},
            "environ": environ,
            "tokens": dict(spec.tokens),
            "token_folder": spec.token_folder,
        }
        write_json(folder / "parameters.json", described)
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
