"""The folder of a job: what lies where, and what its process says by its exit code."""

from __future__ import annotations

import enum
import json
import os
from pathlib import Path
from typing import Any

import attrs

from executors.jobs.slots import Slot, slot_of
from supertask.errors import ExecutionError

__all__ = ["ExitCode", "JobFolder", "write_whole"]


class ExitCode(enum.IntEnum):
    """What the process of a job says when it ends."""

    SUCCEEDED = 0
    """All of its quanta ended well, with or without work."""
    FAILED = 1
    """Some failed; the piece of the journal says why, and whoever drives decides about trying again."""
    BAD_INPUT = 2
    """Nothing was begun: the job is not one, is damaged, or was taken back."""
    AGAIN = 75
    """Not at its end, and the same may be run again as it is: it was stopped (preempted, out of time), or
    what it reads is not there yet, or another process works on it. What finished stays finished."""

    @property
    def again(self) -> bool:
        """Whether the same may be run again as it is."""
        return self is ExitCode.AGAIN


@attrs.frozen
class JobFolder:
    """One job's folder."""

    path: Path = attrs.field(converter=Path)

    @property
    def bundle(self) -> Path:
        """What is to be done, for a job that has a file of its own: it may be carried to another machine."""
        return self.path / "bundle.json"

    @property
    def again(self) -> Path:
        """What of it is to be tried again, where there is no driver to make another job of that."""
        return self.path / "again.json"

    @property
    def slot(self) -> Slot | None:
        """Where it is in a sheaf, for a job that has no file of its own."""
        return slot_of(self.path)

    @property
    def is_wanted(self) -> bool:
        """Whether it may begin, or go on: it was packed, and not taken back."""
        slot = self.slot
        return (slot is not None and slot.is_open) or self.bundle.exists()

    def take_back(self) -> None:
        """See to it that it does not begin any more; one that has begun is seen by its lock."""
        self.bundle.unlink(missing_ok=True)
        slot = self.slot
        if slot is not None:
            slot.close()

    @property
    def done(self) -> Path:
        """Written last."""
        return self.path / "done.json"

    def journals(self) -> list[Path]:
        """Return the files of its journal, oldest first."""
        found = []
        for folder, below, names in os.walk(self.path / ".supertask" / "runs"):
            if "journal" in below:
                below[:] = ["journal"]  # beside it are the folders of quanta
            elif folder.endswith("/journal"):
                found += [Path(folder, name) for name in names if name.endswith(".jsonl")]
        return sorted(found)

    def ending(self) -> dict[str, Any] | None:
        """Return what ``done.json`` says; None before the job's end, or while it is not seen yet."""
        try:
            said = json.loads(self.done.read_bytes())
        except (OSError, ValueError):
            return None
        return said if isinstance(said, dict) and isinstance(said.get("exit"), int) else None


def write_whole(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Write a file at once: whoever reads it finds all of it or none.

    Parameters
    ----------
    path : Path
        The file.
    data : bytes
        All of it.
    lasting : bool, optional
        Whether it must outlive the machine, which takes milliseconds.

    Raises
    ------
    ExecutionError
        It cannot be written.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ExecutionError(f"{path} cannot be written: {error.strerror or error}") from error
