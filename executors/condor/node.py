"""What the job of a node of a DAG does: run its bundle, and decide whether DAGMan is to try it again.

There is no driver. So what one would decide after a failure is decided here, by the policies that stand
beside the DAG: a quantum that is to be tried again is put back in the job's folder, and the node fails, so
that DAGMan starts it once more, with more memory. A failure that stays does not fail the node, for it blocks
what depends on that quantum and nothing else; those who wait find it in the folder. Exit codes:

- 0: at its end, whether all succeeded or not;
- 1: to be started again;
- 2: nothing can be begun here, and nothing else will be: the software is not there, or the run went on
  without the DAG.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from executors.condor.dagfile import ABORT
from executors.decisions.policy import Tried, decide
from executors.host.processes import machine_memory
from executors.jobs.bundlefile import BundlePlan, read_job
from executors.jobs.folder import ExitCode, JobFolder, write_whole
from executors.jobs.running import run_job
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder
from executors.outcome import Attempt, QuantumStatus
from supertask.configs.policy import FailureClass, FailurePolicy
from supertask.errors import SuperTaskError

__all__ = ["main", "try_again"]

_AGAIN = 1
_GRACE = 20.0
_LATE = 30.0
_TRIED = "tried.json"


def main(words: Sequence[str]) -> int:
    """Run a bundle: ``POLICIES [--grace=SECONDS] [--late=SECONDS] [--scratch=FOLDER] FOLDER``."""
    policies, folder = Path(words[0]), Path(words[-1])
    said = dict(word.removeprefix("--").partition("=")[::2] for word in words[1:-1])
    grace, late = float(said.get("grace", _GRACE)), float(said.get("late", _LATE))
    try:
        end = run_job(folder, grace=grace, late=late, scratch=said.get("scratch", ""))
        print(f"{folder.name}: {dict(end.counts)} {end.why}", flush=True)  # noqa: T201 - for whoever looks into it
        if end.code.again:
            return _AGAIN
        if end.code is ExitCode.FAILED and try_again(JobFolder(folder), json.loads(policies.read_bytes())):
            return _AGAIN
    except (SuperTaskError, OSError) as error:
        print(f"{folder.name}: {error}", file=sys.stderr)  # noqa: T201 - likewise
        return ABORT
    return 0


def try_again(job: JobFolder, policies: Mapping[str, Sequence[Mapping[str, Any]]]) -> int:
    """Put back in a job's folder what of it failed and is to be tried again; return how many quanta.

    Parameters
    ----------
    job : JobFolder
        Its folder; it has ended.
    policies : Mapping
        Task label → the failure policy of each of its variants, or the one of all.

    Raises
    ------
    ExecutionError
        The folder is damaged, or cannot be written.
    """
    plan = read_job(job)
    tried = _Tried(job.path / _TRIED)
    again: dict[int, int] = {}
    memory = dict(plan.memory)
    for attempt in _failures(plan, job):
        of_task = policies[attempt.label]
        which = plan.record(attempt.index).variant if len(of_task) > 1 else 0
        policy = FailurePolicy.from_dict(of_task[which], "the policies beside the DAG")
        held = memory.get(attempt.index, policy.memory_bytes)
        known = tried.note(attempt, held)
        machine = machine_memory() if known[-1].kind is FailureClass.OUT_OF_MEMORY else None
        retry = decide(policy, known, attempt.identity, machine=machine)
        if retry is not None:
            again[attempt.index] = attempt.number
            if retry.memory is not None:
                memory[attempt.index] = retry.memory
    tried.save()
    if again:
        write_whole(job.again, json.dumps({"again": again, "memory": memory}).encode())
        job.done.unlink(missing_ok=True)
    return len(again)


def _failures(plan: BundlePlan, job: JobFolder) -> list[Attempt]:
    quanta = plan.said["quanta"]
    digests = b"".join(plan.identity(q) for q in quanta)
    found = replay(
        RunFolder(str(job.path), plan.meta.output_run), np.frombuffer(digests, np.uint8).reshape(-1, 16)
    )
    failed = np.flatnonzero(found.statuses == QuantumStatus.FAILED.code).tolist()
    at = {plan.identity(q): q for q in quanta}
    attempts = found.attempts(failed, plan.types)
    return [_numbered(a, at[a.identity], plan) for a in attempts]


def _numbered(attempt: Attempt, index: int, plan: BundlePlan) -> Attempt:
    import attrs

    return attrs.evolve(attempt, index=index, label=plan.record(index).label)


class _Tried:
    """Attempts that failed in one folder: kept beside them, for each is one process of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, list[Any]]] = {}
        if path.exists():
            self._known = json.loads(path.read_bytes())

    def note(self, attempt: Attempt, held: int | None) -> list[Tried]:
        """Take note of an attempt, once; return all of its quantum's."""
        kind = attempt.failure.kind if attempt.failure is not None else FailureClass.ERROR
        of_quantum = self._known.setdefault(str(attempt.index), {})
        of_quantum.setdefault(str(attempt.number), [kind.value, held])
        return [
            Tried(FailureClass(k), m) for _, (k, m) in sorted(of_quantum.items(), key=lambda i: int(i[0]))
        ]

    def save(self) -> None:
        """Write it down."""
        write_whole(self._path, json.dumps(self._known).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
