"""Workplace: a repository's files as quanta see them that work on scratch, or whose outputs go no further.

It is a `Datastore`, so that runner and tasks know nothing of it:

- *Staging*: an input is read from a copy on scratch, which other quanta of the process share. An output is
  written on scratch and copied to where it belongs, under a temporary name first.
- *Eliding*: outputs that only quanta of the same bundle read, and that nobody wants to keep, are held in
  memory: as the file that their storage format writes, read by it again, so that what a task gets is by
  construction what it would get from the repository.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import attrs

from executors.workplaces.scratch import ScratchFolder, memory_folder, sweep_scratch
from supertask.butler.content import checksum_file
from supertask.butler.datastore import TEMPORARY_PREFIX, Datastore, WrittenFile
from supertask.datasets import Dataset
from supertask.errors import StorageError

__all__ = ["Workplace", "WorkplaceSpec", "sweep_left_over"]

_HDU = "#hdu="
_HELD_LIMIT = 1 << 30


@attrs.frozen(kw_only=True)
class WorkplaceSpec:
    """Where quanta work."""

    scratch: str = ""
    """Folder for scratch; empty to work in the repository itself."""
    scratch_size: int | None = None
    """Bytes that copies of inputs may take there, for each process."""
    elide: tuple[str, ...] = ()
    """Names of dataset types that need not be written where all who read them are in one bundle."""
    held_size: int = _HELD_LIMIT
    """Bytes of outputs that a process holds in memory at most; what is beyond is written."""
    overhead_memory: int | None = None
    """Bytes of overheads that a process keeps between bundles; half of the machine's memory, shared evenly by
    its processes, unless given."""


def sweep_left_over(spec: WorkplaceSpec) -> None:
    """Delete what processes that are gone left on scratch and in memory."""
    if spec.scratch:
        sweep_scratch(spec.scratch)
    if spec.elide:
        sweep_scratch(memory_folder())


class Workplace(Datastore):
    """Files of a repository; to be closed, or used as a context manager.

    Parameters
    ----------
    home : Datastore
        The repository's files.
    spec : WorkplaceSpec
        Where to work.
    """

    def __init__(self, home: Datastore, spec: WorkplaceSpec) -> None:
        super().__init__(home.root, home.templates)
        self._home = home
        self.spec = spec
        self._scratch = ScratchFolder(spec.scratch, spec.scratch_size) if spec.scratch else None
        self._memory = ScratchFolder(memory_folder()) if spec.elide else None
        self._wanted: frozenset[str] = frozenset()
        self._held: dict[str, tuple[str, int, str]] = {}
        """Location → file in memory, its size and checksum."""
        self._held_size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete what is on scratch and in memory."""
        for folder in (self._scratch, self._memory):
            if folder is not None:
                folder.close()
        self._held.clear()
        self._held_size = 0

    # -- outputs that go no further -----------------------------------------------------------

    def hold(self, locations: Iterable[str]) -> None:
        """Hold what is written to these locations from now on in memory, as long as there is room."""
        self._wanted = frozenset(locations)

    def is_holding(self, location: str) -> bool:
        """Tell whether the file of a location is held in memory."""
        return location in self._held

    def drop(self, location: str) -> None:
        """Forget a file that is held."""
        found = self._held.pop(location, None)
        if found is not None:
            self._held_size -= found[1]
            with contextlib.suppress(OSError):
                os.unlink(found[0])

    def write_back(self, location: str) -> None:
        """Write a file that is held to the repository after all, as if it had been written there.

        Raises
        ------
        StorageError
            It cannot be written; nothing is left behind.
        """
        path, size, checksum = self._held[location]
        written = self._bring(path, location, size, checksum)
        try:
            written.publish(durable=False)
        finally:
            written.drop()
        self.drop(location)

    # -- what a Datastore does ----------------------------------------------------------------

    def path(self, location: str) -> str:
        """Return the absolute path of a location's file."""
        held = self._held.get(location)
        return held[0] if held is not None else self._home.path(location)

    def remove(self, location: str) -> bool:
        """Delete a file if it is ours; see `Datastore.remove`."""
        if location in self._held:
            self.drop(location)
            return True
        return super().remove(location)

    def write(
        self, value: Any, dataset_type: type[Dataset], location: str, *, what: object = ""
    ) -> WrittenFile:
        """Write a value; see `Datastore.write`."""
        if self._memory is not None and location in self._wanted and self._held_size < self.spec.held_size:
            with contextlib.suppress(
                StorageError
            ):  # no room, say; what is wrong with the value is said below
                return self._write_held(value, dataset_type, location, what, self._memory)
        if self._scratch is None:
            return super().write(value, dataset_type, location, what=what)
        return self._write_staged(value, dataset_type, location, what, self._scratch)

    def _write_held(
        self, value: Any, dataset_type: type[Dataset], location: str, what: object, memory: ScratchFolder
    ) -> WrittenFile:
        place = memory.place("held", os.path.basename(location))
        written = super().write(value, dataset_type, place, what=what)

        def publish() -> None:
            self._held[location] = (place, written.size, written.checksum)
            self._held_size += written.size

        return _Held(written, publish)

    def _write_staged(
        self, value: Any, dataset_type: type[Dataset], location: str, what: object, scratch: ScratchFolder
    ) -> WrittenFile:
        place = scratch.place("out", os.path.basename(location))
        try:
            written = super().write(value, dataset_type, place, what=what)
        except StorageError as error:
            if not os.path.isdir(scratch.base):
                raise StorageError(f"{what} cannot be written: scratch {scratch.base} is gone") from error
            if not scratch.make_room():
                raise
            written = super().write(value, dataset_type, place, what=what)
        try:
            written.publish(durable=False)
            return self._bring(place, location, written.size, written.checksum)
        finally:
            written.drop()
            with contextlib.suppress(OSError):
                os.unlink(place)

    def _bring(self, source: str, location: str, size: int, checksum: str) -> WrittenFile:
        """Copy a whole file beside where it belongs."""
        final = self._home.path(location)
        folder, _, name = final.rpartition("/")
        temporary = f"{folder}/{TEMPORARY_PREFIX}{os.getpid()}-staged-{name}"
        try:
            self._home.make_folder(folder)
            shutil.copyfile(source, temporary)
            arrived = checksum_file(temporary)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise StorageError(f"{final} cannot be written: {error}") from error
        if arrived != checksum:
            os.unlink(temporary)
            raise StorageError(f"{final} cannot be written: what arrived is not what {source} holds")
        return WrittenFile(temporary, final, size, checksum)

    def read(
        self,
        dataset_type: type[Dataset],
        location: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        what: object = "",
    ) -> Any:
        """Read a value; see `Datastore.read`."""
        if self._scratch is not None and location not in self._held:
            plain, mark, hdu = location.partition(_HDU)
            with contextlib.suppress(FileNotFoundError):  # which is better said below
                copy = self._scratch.fetch(self.path(plain))
                return super().read(dataset_type, f"{copy}{mark}{hdu}", parameters, what=what)
        return super().read(dataset_type, location, parameters, what=what)


class _Held(WrittenFile):
    """A file in memory that waits to be known."""

    __slots__ = ("_file", "_known")

    def __init__(self, file: WrittenFile, known: Any) -> None:
        super().__init__("", "", file.size, file.checksum)
        self._file = file
        self._known = known

    def publish(self, *, durable: bool = True) -> None:
        """Give the file its name."""
        self._file.publish(durable=False)
        self._known()

    def drop(self) -> None:
        """Delete the file if it was not published."""
        self._file.drop()
