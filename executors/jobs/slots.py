"""Which jobs of a sheaf may still begin: a byte for each, in a small file beside it.

A job that was packed in a sheaf (`executors.jobs.sheaf`) has no file of its own, and its folder need not be
there before it begins. Its name says where it is, ``b<bundle>-<session>-<sheaf>-<place>``; what is to be done
lies in ``.sheaves/<session>-<sheaf>.sheaf`` beside its folder, and whether it may begin in
``.sheaves/<session>-<sheaf>.open``. Who takes a job back closes its slot first and then looks for its lock; a
job takes its lock and then looks whether its slot is open. So one of the two sees the other. A slot that was
closed stays so; with the last of them the sheaf is deleted.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import attrs

__all__ = ["FOLDER", "Slot", "Slots", "slot_of"]

FOLDER = ".sheaves"
"""Beside the folders of jobs."""
_NAME = re.compile(r"[bn]\d+-([0-9a-f]+-\d+)-(\d+)")
_OPEN, _CLOSED = b"o", b"-"


@attrs.frozen
class Slots:
    """Of one sheaf."""

    sheaf: Path
    """Its file."""

    @property
    def path(self) -> Path:
        """Where it says which are open."""
        return self.sheaf.with_suffix(".open")

    def make(self, n: int) -> None:
        """Open so many.

        Raises
        ------
        OSError
            It cannot be written.
        """
        self.path.write_bytes(_OPEN * n)

    def open(self) -> list[int]:
        """Return which are open; none where the sheaf is gone, or was never finished."""
        try:
            said = self.path.read_bytes()
        except OSError:
            return []
        return [i for i, each in enumerate(said) if each == _OPEN[0]]

    def delete(self) -> None:
        """Delete the sheaf; the folder too, where it was the last one."""
        for path in (self.path, self.sheaf):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.sheaf.parent.rmdir()


@attrs.frozen
class Slot:
    """Of one job."""

    sheaf: Path
    at: int

    @property
    def is_open(self) -> bool:
        """Whether the job may begin, or go on where it was put back in its queue."""
        # Opened anew at each look: so a shared file system shows what another host wrote.
        try:
            with Slots(self.sheaf).path.open("rb") as file:
                file.seek(self.at)
                return file.read(1) == _OPEN
        except OSError:
            return False

    def close(self) -> None:
        """See to it that the job does not begin any more."""
        slots = Slots(self.sheaf)
        try:
            fd = os.open(slots.path, os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            if self.at < os.fstat(fd).st_size:
                os.pwrite(fd, _CLOSED, self.at)
            is_last = _OPEN not in os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)
        if is_last:
            slots.delete()


def slot_of(folder: Path) -> Slot | None:
    """Return the slot of a job by its folder; None for a job with a file of its own."""
    match = _NAME.fullmatch(folder.name)
    if match is None:
        return None
    return Slot(folder.parent / FOLDER / f"{match[1]}.sheaf", int(match[2]))
