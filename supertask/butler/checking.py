"""A repository's registry against its files, both ways: what is missing, left over or altered, and repair.

Nothing that may be data is deleted unless that is asked for by its own name: repair alone removes what
interrupted writes left behind and rows that refer to nothing.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Iterable, Iterator, Sequence

import attrs

from supertask.butler.datastore import TEMPORARY_PREFIX
from supertask.butler.layout import ROOT_FILE
from supertask.butler.registry.inspection import OrphanRows, Stored
from supertask.butler.repository import Butler
from supertask.errors import StorageError

__all__ = ["Checked", "Finding", "Kind", "check"]

_OURS = (".supertask",)
"""Folders at the root that hold journals of runs and the like, not datasets."""


class Kind(enum.Enum):
    """What can be wrong."""

    MISSING_FILE = "missing file"
    """A dataset is registered and its file is not there."""
    WRONG_SIZE = "wrong size"
    """A file has not as many bytes as when it was registered."""
    WRONG_BYTES = "wrong checksum"
    """A file has not the bytes that were registered."""
    UNKNOWN_FILE = "unknown file"
    """A file in the repository is registered as nothing."""
    UNREGISTERED = "not registered yet"
    """A run whose journal is there made a file: unless the run is finished it will register it."""
    TEMPORARY = "temporary file"
    """An interrupted write left a file behind."""
    ORPHAN = "orphan rows"
    """Rows of the registry refer to what is not there, or are not found as they should be."""


@attrs.frozen
class Finding:
    """One thing that is not in order."""

    kind: Kind
    what: str
    """Dataset type, location or table."""
    detail: str
    repaired: bool = False


@attrs.frozen
class Checked:
    """What a check looked at and found."""

    datasets: int
    files: int
    """Of the repository's own, temporary ones and its administration left out."""
    findings: tuple[Finding, ...]

    @property
    def left(self) -> tuple[Finding, ...]:
        """What is not in order still."""
        return tuple(f for f in self.findings if not f.repaired and f.kind is not Kind.UNREGISTERED)


def check(
    butler: Butler,
    *,
    checksums: bool = False,
    repair: bool = False,
    forget_missing: bool = False,
    delete_unknown: bool = False,
    age: float = 3600.0,
) -> Checked:
    """Compare the registry of a repository with its files.

    Parameters
    ----------
    butler : Butler
        The repository.
    checksums : bool, optional
        Whether to read every file and compare its bytes, too.
    repair : bool, optional
        Whether to delete temporary files and to put right rows that refer to nothing.
    forget_missing : bool, optional
        Whether to remove datasets whose files are gone.
    delete_unknown : bool, optional
        Whether to delete files that are registered as nothing. Those of runs whose journal is there stay.
    age : float, optional
        Seconds for which a temporary or unknown file must have lain there: a younger one may be on its way.

    Returns
    -------
    Checked
        Everything found. The same check once more finds what could not be repaired.

    Raises
    ------
    RepositoryError
        Something is to be repaired and the repository is read-only; or it cannot be read.
    """
    if repair or forget_missing or delete_unknown:
        butler.registry.check_writeable("repairing")
    inspection = butler.registry.inspection()
    # Orphans first: what they hide from a search is not missing.
    orphans = inspection.orphans()
    if orphans and repair:
        inspection.repair(orphans)
    findings = [_of_orphans(o, repaired=repair) for o in orphans]
    # Files before rows: a file that is being put meanwhile is registered by the time that rows are read.
    now = time.time()
    files = dict(_files(butler.root))
    names = _Names(butler, files, checksums=checksums)
    n, missing = 0, []
    for row in inspection.stored():
        n += 1
        problem = names.problem(row)
        if problem is None:
            continue
        kind, detail = problem
        if kind is Kind.MISSING_FILE:
            missing.append((row, detail))
        else:
            findings.append(Finding(kind, row.location, detail))
    if missing and forget_missing:
        inspection.forget([row for row, _ in missing])
    findings += [Finding(Kind.MISSING_FILE, r.location, d, repaired=forget_missing) for r, d in missing]
    ours, runs = _administration(butler), _runs_with_journals(butler.root)
    count = 0
    for location, (_, changed) in sorted(files.items()):
        if location in ours:
            continue
        temporary = os.path.basename(location).startswith(TEMPORARY_PREFIX)
        count += not temporary
        if location in names.seen or now - changed < age:
            continue
        detail = f"from {time.strftime('%Y-%m-%d %H:%M', time.localtime(changed))}"
        run = next((r for r in runs if location.startswith(f"{r}/")), None)
        if temporary:
            kind, wanted = Kind.TEMPORARY, repair
        elif run is not None:
            kind, wanted = Kind.UNREGISTERED, False
            detail += (
                f", of run {run!r}: to be registered by supertask run, or left by an attempt that failed"
            )
        else:
            kind, wanted = Kind.UNKNOWN_FILE, delete_unknown
        gone = wanted and butler.datastore.remove(location)
        findings.append(Finding(kind, location, detail, repaired=gone))
    return Checked(n, count, tuple(findings))


def _of_orphans(orphans: OrphanRows, *, repaired: bool) -> Finding:
    return Finding(Kind.ORPHAN, orphans.table, f"{orphans.count} rows: {orphans.why}", repaired=repaired)


class _Names:
    """Tells what is wrong with the file of a row, and remembers the files that rows name."""

    def __init__(self, butler: Butler, files: dict[str, tuple[int, float]], *, checksums: bool) -> None:
        self._datastore = butler.datastore
        self._files = files
        self._checksums = checksums
        self.seen: set[str] = set()
        self._sums: dict[str, str] = {}

    def problem(self, row: Stored) -> tuple[Kind, str] | None:
        """Return what is wrong with a dataset's file, if anything."""
        path = self._datastore.path(row.location)
        location = os.path.relpath(path, self._datastore.root)
        self.seen.add(location)
        size = self._size(path, location)
        what = f"{row.name} in run {row.run!r}"
        if size is None:
            return Kind.MISSING_FILE, what
        if 0 <= row.size != size:
            return Kind.WRONG_SIZE, f"{what}: {size} bytes, and had {row.size} when registered"
        if self._checksums and row.checksum:
            if row.location not in self._sums:
                try:
                    self._sums[row.location] = self._datastore.checksum(row.location)
                except StorageError as error:
                    return Kind.WRONG_BYTES, f"{what}: {error}"
            if self._sums[row.location] != row.checksum:
                return Kind.WRONG_BYTES, f"{what}: its bytes are not those that were registered"
        return None

    def _size(self, path: str, location: str) -> int | None:
        known = self._files.get(location)
        if known is not None:
            return known[0]
        # It came since the files were listed, or lies elsewhere.
        try:
            return os.stat(path).st_size
        except OSError:
            return None


def _files(root: str) -> Iterator[tuple[str, tuple[int, float]]]:
    """Go through the files of a repository: location, size, and when it was changed."""
    for folder, folders, names in os.walk(root):
        if folder == root:
            folders[:] = [f for f in folders if f not in _OURS]
        for name in names:
            path = os.path.join(folder, name)
            try:
                state = os.stat(path)
            except OSError:  # removed meanwhile, or a link to nothing, which a row may name
                continue
            yield os.path.relpath(path, root), (state.st_size, state.st_mtime)


def _administration(butler: Butler) -> set[str]:
    """Return the locations of files that are the repository's own."""
    return {ROOT_FILE, *_relative(butler.root, butler.registry.files())}


def _relative(root: str, paths: Iterable[str]) -> Sequence[str]:
    return [os.path.relpath(p, root) for p in paths]


def _runs_with_journals(root: str) -> list[str]:
    above = os.path.join(root, ".supertask", "runs")
    found = (folder for folder, folders, _ in os.walk(above) if "journal" in folders)
    return sorted(_relative(above, found), key=len, reverse=True)
