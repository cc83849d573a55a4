"""What jobs have beside inputs and outputs: folders of quanta, what tasks cached, and their own folders.

A job that cannot see the repository has the same below its own folder as there is in the repository. What
its quanta left there before, or others cached, is sent along; what it leaves is brought home: the folder of a
quantum with the end of each attempt, the rest with the end of the job, however that came.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from executors.jobs.folder import JobFolder
from executors.journal.runfolder import RunFolder
from executors.quanta.surroundings import SurroundingsSpec, cache_folder, quantum_folder
from graphbuilder.dag.values import QuantumRecord
from supertask.tasks.caching import is_result

__all__ = ["bring_all_home", "bring_quantum_home", "send_along"]


def send_along(folder: Path, spec: SurroundingsSpec, records: Sequence[QuantumRecord]) -> None:
    """Put what quanta of a job may find into its folder.

    Parameters
    ----------
    folder : Path
        Of the job.
    spec : SurroundingsSpec
        What surrounds the calls of the run.
    records : sequence of QuantumRecord
        The quanta.

    Raises
    ------
    OSError
        It cannot be read or written.
    """
    for record in records:
        there = quantum_folder(spec.root, spec.run, record.label, record.identity)
        if there.is_dir():
            here = quantum_folder(str(folder), spec.run, record.label, record.identity)
            _copy_tree(there, here)
    labels = {record.label for record in records}
    for name in {n for label in labels for n in spec.caches.get(label, ())}:
        _bring_results(cache_folder(spec.root) / name, cache_folder(str(folder)) / name)


def bring_quantum_home(job: JobFolder, root: str, run: str, label: str, identity: bytes) -> None:
    """Bring home the folder of a quantum, if it has any.

    Raises
    ------
    OSError
        It cannot be read or written.
    """
    here = quantum_folder(str(job.path), run, label, identity)
    if here.is_dir():
        _copy_tree(here, quantum_folder(root, run, label, identity))


def bring_all_home(job: JobFolder, root: str, run: str) -> None:
    """Bring home all that a job has beside its outputs; doing it again does no harm.

    Raises
    ------
    OSError
        It cannot be read or written.
    """
    here, there = RunFolder(str(job.path), run).path, RunFolder(root, run).path
    for name in ("quanta", "jobs"):
        if (here / name).is_dir():
            _copy_tree(here / name, there / name)
    cached = cache_folder(str(job.path))
    if cached.is_dir():
        _bring_results(cached, cache_folder(root))


def _copy_tree(source: Path, target: Path) -> None:
    """Copy files that are others than those that are there, each at once."""
    for path in _files_in(source):
        final = target / path.relative_to(source)
        try:
            if not _is_same(path, final):
                _place(path, final)
        except FileNotFoundError:  # a task's temporary file, say, gone while this looked at it
            continue


def _bring_results(source: Path, target: Path) -> None:
    """Link or copy what was cached, unless it is there: results of one name are the same."""
    for path in _files_in(source):
        final = target / path.relative_to(source)
        if is_result(path) and not final.exists():
            try:
                _place(path, final, link=True)
            except FileNotFoundError:  # deleted meanwhile to make room
                continue


def _files_in(folder: Path) -> Iterable[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]


def _is_same(one: Path, other: Path) -> bool:
    try:
        a, b = one.stat(), other.stat()
    except FileNotFoundError:
        return False
    return (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def _place(source: Path, final: Path, *, link: bool = False) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".tmp-{os.getpid()}-{final.name}")
    try:
        if link:
            try:
                os.link(source, temporary)
            except FileNotFoundError:
                raise
            except OSError:
                shutil.copy2(source, temporary)
        else:
            shutil.copy2(source, temporary)
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
