"""Runs a capsule, and says whether what comes out is what came out then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from executors.capsule.contents import Manifest, Output, open_capsule
from executors.capsule.inside import SAID
from executors.jobs.bundlefile import read_bundle
from executors.jobs.folder import ExitCode, JobFolder
from executors.journal.index import JournalIndex
from executors.journal.runfolder import RunFolder
from executors.lineage.archive import Archive
from executors.outcome import Attempt, QuantumStatus
from supertask.errors import ExecutionError, SuperTaskError
from supertask.formats.differences import Difference, Tolerance
from supertask.formats.find import find_format

__all__ = ["CapsuleRun", "OutputResult", "run_capsule"]


@attrs.frozen
class OutputResult:
    """One output, as it was and as it is."""

    then: Output
    path: str = ""
    """Where it is now; empty where it was not made."""
    same_bytes: bool = False
    difference: Difference | None = None
    """How far the values differ, where the capsule has those of then."""
    problem: str = ""
    """Why they cannot be compared."""


@attrs.frozen(kw_only=True)
class CapsuleRun:
    """What came of running a capsule."""

    manifest: Manifest
    folder: str
    """Where it ran."""
    status: str
    why: str = ""
    """Of what did not begin, or failed."""
    notes: tuple[str, ...] = ()
    """What is not as it was: code, versions."""
    outputs: tuple[OutputResult, ...] = ()
    log: str = ""

    @property
    def is_same(self) -> bool:
        """Whether it came to the same as then, byte by byte."""
        return self.status == self.manifest.status and all(o.same_bytes for o in self.outputs)

    @property
    def is_close(self) -> bool:
        """Whether it came to the same as then, within the tolerance."""
        good = (o.same_bytes or (o.difference is not None and o.difference.is_close) for o in self.outputs)
        return self.status == self.manifest.status and all(good)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        plain = attrs.asdict(self)
        del plain["manifest"]["files"]
        return {"same": self.is_same, "close": self.is_close, **plain}


def run_capsule(capsule: str | Path, into: str | Path, *, tolerance: Tolerance | None = None) -> CapsuleRun:
    """Run a capsule in a folder of its own, in a process of its own.

    Parameters
    ----------
    capsule : path
        Folder or zip file; nothing in it is changed.
    into : path
        Folder to make, for what comes out.
    tolerance : Tolerance, optional
        How far numbers may be apart.

    Raises
    ------
    ExecutionError
        It is no capsule, or damaged; the folder is there already.
    """
    target = Path(into).absolute()
    try:
        target.mkdir(parents=True)
    except FileExistsError:
        raise ExecutionError(f"{target} is there already: say where else to run the capsule") from None
    try:
        manifest = open_capsule(Path(capsule), target)
        job = JobFolder(target / "job")
        command = [sys.executable, "-P", "-m", "executors.capsule.inside", str(job.path)]
        command += [str(target / "code"), os.getcwd()]
        done = subprocess.run(command, check=False, cwd=target, capture_output=True, text=True)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    said = _said(job, done)
    attempt, log = _attempt(job, manifest)
    status = attempt.status if attempt is not None else QuantumStatus.PLANNED
    why = (
        str(attempt.failure) if attempt is not None and attempt.failure else attempt.reason if attempt else ""
    )
    if done.returncode == ExitCode.BAD_INPUT or attempt is None:
        why = said["why"] or why
    return CapsuleRun(
        manifest=manifest,
        folder=str(target),
        status=status.value,
        why=why,
        notes=tuple(_notes(manifest, said)),
        outputs=tuple(_outcome(o, attempt, target, tolerance) for o in manifest.outputs),
        log=log,
    )


def _said(job: JobFolder, done: subprocess.CompletedProcess[str]) -> Mapping[str, Any]:
    try:
        said: dict[str, Any] = json.loads((job.path / SAID).read_text("utf-8"))
    except (OSError, ValueError):
        return {
            "source": "",
            "versions": {},
            "why": f"its process ended with {done.returncode}: {done.stderr[-2000:]}",
        }
    return said


def _attempt(job: JobFolder, manifest: Manifest) -> tuple[Attempt | None, str]:
    plan = read_bundle(job.bundle)
    index = JournalIndex(RunFolder(str(job.path), manifest.run))
    attempts = index.attempts(bytes.fromhex(manifest.identity), plan.types)
    if not attempts:
        return None, ""
    return attempts[-1][0], Archive.log(*attempts[-1])


def _notes(manifest: Manifest, said: Mapping[str, Any]) -> Iterator[str]:
    if said["source"] and manifest.source and said["source"] != manifest.source:
        yield (
            f"the source code of {manifest.class_path} is not that of then "
            f"({manifest.source[:12]}… then, {said['source'][:12]}… now)"
        )
    others = [name for name in said.get("changed", ()) if name != manifest.class_path.partition(":")[0]]
    if others:
        yield f"the code of {', '.join(others)} is not that of then"
    now = {_normal(name): version for name, version in said["versions"].items()}
    for name, version in manifest.versions.items():
        here = now.get(_normal(name))
        if now and here != version:
            yield f"{name} is {here or 'not installed'}, and was {version}"
    yield from manifest.notes


def _normal(name: str) -> str:
    """Return the one form of a distribution's name: some spell it with capitals and underscores."""
    return name.lower().replace("_", "-")


def _outcome(
    then: Output, attempt: Attempt | None, target: Path, tolerance: Tolerance | None
) -> OutputResult:
    record = next((r for r in (attempt.records if attempt else ()) if r.location == then.location), None)
    if record is None:
        return OutputResult(then, problem="it was not made")
    path = target / "job" / record.location.partition("#")[0]
    same = bool(then.checksum) and record.checksum == then.checksum
    difference, problem = None, ""
    if not same and then.kept:
        storage = find_format(then.storage)
        try:
            difference = storage.compare(
                storage.read(str(target / then.kept), {}), storage.read(str(path), {}), tolerance
            )
        except (SuperTaskError, OSError, TypeError, ValueError) as error:
            problem = f"it cannot be compared: {error}"
    return OutputResult(then, str(path), same, difference, problem)
