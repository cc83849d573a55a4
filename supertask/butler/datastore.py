"""Datastore: the files of a repository, without its database.

A file is written once and whole: to a temporary file ``.tmp-…`` in the folder where it will lie, on
to the disk, then renamed. Whatever is killed when, there is a complete file or none; what is left
over begins with ``.tmp-`` and may be deleted.

A location is a path, relative to the root or absolute, or a ``file:`` URI; ``#hdu=2`` at its end
names one HDU of a FITS file that holds several datasets, and is that parameter of a read.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from supertask.butler.content import checksum_bytes, checksum_file
from supertask.butler.layout import ROOT_FILE, Layout
from supertask.butler.templates import PathTemplate
from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import StorageError, SuperTaskError
from supertask.formats.find import find_format
from supertask.formats.port import StorageFormat

__all__ = ["TEMPORARY_PREFIX", "Datastore", "WrittenFile"]

TEMPORARY_PREFIX = ".tmp-"

_HDU = "#hdu="
_ROOM = 1 << 16
"""Bytes; with fewer free a disk is full."""
_FEW = 4
_AT_ONCE = 16
"""Files that are seen to at the same time, where there are more than a few."""
_counter = itertools.count()
_REASONS = {
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "the quota is used up: make room",
    errno.EROFS: "the file system is mounted read-only",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.ENOTDIR: "a file is in the way of a folder",
    errno.EIO: "the disk reports an error",
}


class WrittenFile:
    """A complete file that waits under its temporary name to be published, or is then dropped."""

    __slots__ = ("_final", "_temporary", "checksum", "size")

    def __init__(self, temporary: str, final: str, size: int, checksum: str) -> None:
        self._temporary = temporary
        self._final = final
        self.size = size
        self.checksum = checksum

    def publish(self, *, durable: bool = True) -> None:
        """Give the file its name, for good: after a crash of the machine it is there, whole.

        Whatever had the name is replaced at once; that nothing of value has it is the caller's care.

        Parameters
        ----------
        durable : bool, optional
            Whether to see to the "for good" now. If not, `Datastore.sync` does so for many files at a
            fraction of the cost, and must before they are registered.

        Raises
        ------
        StorageError
            The disk does not take it, or it cannot be renamed.
        """
        try:
            if durable:
                _sync(self._temporary)
            os.replace(self._temporary, self._final)
            self._temporary = ""
            if durable:
                _sync(os.path.dirname(self._final))
        except OSError as error:
            raise StorageError(f"{self._final} cannot be written: {_why(error)}") from error

    def drop(self) -> None:
        """Delete the file if it was not published."""
        if self._temporary:
            _unlink_quietly(self._temporary)
            self._temporary = ""


class Datastore:
    """Files under a root, and files elsewhere that were ingested in place.

    Parameters
    ----------
    root : path
        Folder of the repository.
    templates : Mapping, optional
        Dataset type, or ``default`` → path template. Needed only to make up locations.
    """

    def __init__(self, root: str | Path, templates: Mapping[str, PathTemplate] | None = None) -> None:
        self.root = os.path.abspath(root)
        self.templates = dict(templates or {})
        self._folders: set[str] = set()
        self._mark = os.path.join(self.root, ROOT_FILE)
        """What is there as long as the repository is, where it was at first."""
        self._is_marked = os.path.exists(self._mark)
        self._fitted: dict[tuple[str, str, tuple[str, ...]], tuple[PathTemplate, str]] = {}

    @classmethod
    def open(cls, root: str | Path) -> Datastore:
        """Open the files of a repository.

        Raises
        ------
        RepositoryError
            There is no repository at `root`.
        """
        return cls(root, Layout.read(root).templates)

    def location_for(self, dataset_type: type[Dataset], dataId: DataId, run: str) -> str:
        """Return where a dataset's file belongs, relative to the root.

        Parameters
        ----------
        dataset_type : dataset type
            Its type.
        dataId : DataId
            Complete, in the unit model's order.
        run : str
            RUN collection.

        Raises
        ------
        RepositoryError
            The template for the type does not tell all its datasets apart.
        """
        name = dataset_type.name
        key = (name, dataset_type.storage, tuple(dataId))
        fitted = self._fitted.get(key)
        if fitted is None:
            text = (self.templates.get(name) or self.templates["default"]).text
            template = PathTemplate.parse(text, key[2], what=f"dataset type {name!r}")
            fitted = self._fitted[key] = (template, find_format(dataset_type.storage).extension)
        return fitted[0].fill(run=run, type_name=name, dataId=dataId, extension=fitted[1])

    def path(self, location: str) -> str:
        """Return the absolute path of a location's file."""
        location = location.partition(_HDU)[0]
        if location.startswith("file:"):
            return urllib.parse.unquote(urllib.parse.urlsplit(location).path)
        return os.path.join(self.root, location)

    @staticmethod
    def is_ours(location: str) -> bool:
        """Tell whether a location is under the root, so that its file is the repository's to delete."""
        return not (location.startswith(("/", "file:")) or os.path.isabs(location))

    def write(
        self, value: Any, dataset_type: type[Dataset], location: str, *, what: object = ""
    ) -> WrittenFile:
        """Write a value to a temporary file beside where it belongs.

        Parameters
        ----------
        value : object
            What to write.
        dataset_type : dataset type
            Gives the storage format.
        location : str
            Where it belongs.
        what : object, optional
            The dataset, for messages.

        Raises
        ------
        StorageError
            It cannot be written; nothing is left behind.
        """
        final = self.path(location)
        what = what or dataset_type.name
        folder, _, name = final.rpartition("/")
        temporary = f"{folder}/{TEMPORARY_PREFIX}{os.getpid()}-{next(_counter)}-{name}"
        storage = find_format(dataset_type.storage)
        try:
            try:
                if folder not in self._folders:
                    self.make_folder(folder)
                return self._write(value, storage, temporary, final)
            except StorageError as error:
                raise StorageError(f"{what} cannot be written as {storage.name}: {error}") from error
            except FileNotFoundError:
                # Somebody removed the last file of the folder, and the folder with it, since it was made.
                self.make_folder(folder)
                return self._write(value, storage, temporary, final)
        except BaseException as error:
            # Asked while what was written still takes its place.
            full = _is_full(folder)
            _unlink_quietly(temporary)
            if isinstance(error, OSError) or (full and isinstance(error, Exception)):
                why = f"{error} ({_REASONS[errno.ENOSPC]})" if full else _why(error)
                raise StorageError(f"{what} cannot be written to {final}: {why}") from error
            if isinstance(error, SuperTaskError) or not isinstance(error, Exception):
                raise
            said = f"{type(error).__name__}: {error}"
            raise StorageError(f"{what} cannot be written as {storage.name}: {said}") from error

    def make_folder(self, folder: str) -> None:
        """Make a folder for files; raise OSError if it cannot be, or the repository is not there any more."""
        if folder.startswith(f"{self.root}/"):
            # Below a mount point whose file system is gone, files could be made, to be hidden later.
            self._check_there()
        missing = []
        head = folder
        while head and not os.path.isdir(head):
            missing.append(head)
            head = os.path.dirname(head)
        os.makedirs(folder, exist_ok=True)
        for made in missing:
            # The new folder's name must be on the disk, too, before a file in it counts as written.
            _sync(os.path.dirname(made))
        self._folders.add(folder)

    def _check_there(self) -> None:
        if self._is_marked and not os.path.exists(self._mark):
            why = "the repository is gone; is its file system mounted?"
            raise FileNotFoundError(errno.ENOENT, why, self.root)

    @staticmethod
    def _write(value: Any, storage: StorageFormat, temporary: str, final: str) -> WrittenFile:
        data = storage.encode(value)
        if data is not None:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
            return WrittenFile(temporary, final, len(data), checksum_bytes(data))
        storage.write(value, temporary)
        return WrittenFile(temporary, final, os.stat(temporary).st_size, checksum_file(temporary))

    def read(
        self,
        dataset_type: type[Dataset],
        location: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        what: object = "",
    ) -> Any:
        """Read a value.

        Raises
        ------
        StorageError
            The file is not there, or cannot be read as the type's storage format.
        """
        storage = find_format(dataset_type.storage)
        path = self.path(location)
        what = what or dataset_type.name
        _, shared, hdu = location.partition(_HDU)
        if shared and "hdu" not in (parameters or {}):
            parameters = {**(parameters or {}), "hdu": int(hdu)}
        parameters = storage.check_parameters(parameters)
        try:
            return storage.read(path, parameters)
        except FileNotFoundError as error:
            if os.path.exists(path):
                raise StorageError(f"{what} cannot be read from {path}: {error}") from error
            raise StorageError(
                f"{what} is registered, but its file {path} is gone; bring it back, or remove the dataset "
                "and make it again"
            ) from None
        except OSError as error:
            raise StorageError(f"{what} cannot be read from {path}: {error}") from error
        except StorageError as error:
            raise StorageError(f"{what} cannot be read: {error}") from error

    def exists(self, location: str) -> bool:
        """Tell whether the file of a location is there."""
        return os.path.exists(self.path(location))

    def checksum(self, location: str) -> str:
        """Return the checksum of a file's bytes as they are now.

        Raises
        ------
        StorageError
            The file cannot be read.
        """
        path = self.path(location)
        try:
            return checksum_file(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {_why(error)}") from error

    def remove(self, location: str) -> bool:
        """Delete a file if it is ours, and folders that are empty then.

        A file that holds several datasets stays, as others may be in use.

        Returns
        -------
        bool
            Whether there was one.
        """
        if not self.is_ours(location) or _HDU in location:
            return False
        path = self.path(location)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"{path} cannot be deleted: {_why(error)}") from error
        folder = os.path.dirname(path)
        while folder.startswith(self.root + os.sep):
            self._folders.discard(folder)
            try:
                os.rmdir(folder)
            except OSError:
                break
            folder = os.path.dirname(folder)
        return True

    def sync(self, locations: Iterable[str]) -> None:
        """See to it that files that were published, and their names, outlive the machine.

        Several at a time: a disk writes down at once what is asked of it at once.

        Raises
        ------
        StorageError
            The disk does not take it, or the repository is not there any more.
        """
        files = [self.path(location) for location in locations]
        folders = list({os.path.dirname(file) for file in files})
        if len(files) <= _FEW:
            _sync_all((*files, *folders))
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="supertask-sync") as pool:
                for paths in (files, folders):
                    # To hand files over one by one would take as much as seeing to them.
                    shares = [paths[i::_AT_ONCE] for i in range(min(_AT_ONCE, len(paths)))]
                    for _ in pool.map(_sync_all, shares):
                        pass
        try:
            self._check_there()  # else files that were not found may only be out of sight
        except FileNotFoundError as error:
            raise StorageError(str(error)) from None

    def temporary_files(self) -> Iterator[str]:
        """Find what interrupted writes left over, anywhere under the root; absolute paths."""
        for folder, _, names in os.walk(self.root):
            yield from (os.path.join(folder, n) for n in names if n.startswith(TEMPORARY_PREFIX))


def _is_full(folder: str) -> bool:
    """Tell whether a disk has no room to speak of: not every library passes on that this is what failed."""
    try:
        state = os.statvfs(folder)
    except OSError:
        return False
    return state.f_bavail * state.f_frsize < _ROOM


def _why(error: BaseException) -> str:
    reason = _REASONS.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"{error} ({reason})" if reason else str(error)


def _sync_all(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            _sync(path)
        except FileNotFoundError:  # removed meanwhile, perhaps with all of its folder
            continue
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {_why(error)}") from error


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink_quietly(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
