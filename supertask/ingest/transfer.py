"""Bringing files into a repository: left where they are, linked, copied or moved."""

from __future__ import annotations

import enum
import itertools
import os
import shutil
from pathlib import Path

from supertask.butler.content import checksum_file
from supertask.errors import IngestError

__all__ = ["Transfer", "place", "target_name"]

_counter = itertools.count()


class Transfer(enum.Enum):
    """What becomes of a file that is ingested."""

    DIRECT = "direct"
    """It stays where it is, and the repository points at it."""
    LINK = "link"
    """It gets a second name in the repository: a hard link, or a symbolic one across file systems."""
    COPY = "copy"
    MOVE = "move"
    """It is copied or renamed, and its old name removed once it is registered."""


def target_name(location: str, source: str) -> str:
    """Return where a file belongs: the template's location, with the file's own compression."""
    suffix = Path(source).suffix.lower()
    return location + suffix if suffix in (".gz", ".fz") and not location.endswith(suffix) else location


def place(source: str, target: str, transfer: Transfer, checksum: str) -> str:
    """Give a file its place in the repository, whole or not at all.

    Parameters
    ----------
    source : str
        The file.
    target : str
        Where it belongs, absolute.
    transfer : Transfer
        Not DIRECT.
    checksum : str
        Of the file's bytes. If another file is at `target`, left by an ingest that was
        interrupted or is under way, then this one gets a name with its checksum in it.

    Returns
    -------
    str
        Where it is now; for MOVE, its old name is still there.

    Raises
    ------
    IngestError
        It cannot be put there, or changed since it was read.
    """
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        for there in (target, _with_checksum(target, checksum)):
            try:
                _put(source, there, transfer)
            except FileExistsError:
                if checksum_file(there) == checksum:
                    return there
                continue
            if transfer is not Transfer.LINK and checksum_file(there) != checksum:
                os.unlink(there)
                raise IngestError("the file changed while it was ingested: try again when it is at rest")
            return there
    except OSError as error:
        raise IngestError(f"it cannot be put at {target}: {error.strerror or error}") from None
    raise IngestError(f"another file is at {target}, and at the same name with its checksum")


def _with_checksum(target: str, checksum: str) -> str:
    folder, _, name = target.rpartition("/")
    stem, dot, suffixes = name.partition(".fits")
    return f"{folder}/{stem}_{checksum.rpartition(':')[2][:16]}{dot}{suffixes}"


def _put(source: str, target: str, transfer: Transfer) -> None:
    """Link or copy so that the target appears at once and never replaces another."""
    if transfer is not Transfer.COPY:
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError:
            # Another file system, or one without hard links.
            if transfer is Transfer.LINK:
                os.symlink(source, target)
                return
        else:
            return
    folder, _, name = target.rpartition("/")
    temporary = f"{folder}/.tmp-{os.getpid()}-{next(_counter)}-{name}"
    try:
        shutil.copyfile(source, temporary)
        fd = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        os.link(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)
