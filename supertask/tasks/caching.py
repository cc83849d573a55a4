"""`cache`: what a method of a task computes, kept on disk.

    class Terms(Task):
        @cache("numpy")
        def weights(self, order: int) -> np.ndarray: ...

One file is kept for each identity of what goes in: the task's class, declared version and configuration
(without meta fields), the method, and its arguments. It is written by a storage format, so nothing is
unpickled; the format follows from the return annotation where it is not named. What is computed in one
process is waited for by others that want the same. A file is written whole under another name first and
then renamed, so that whoever is killed leaves nothing that could be taken for a result; one that does not
read any more is computed anew.

Results lie in the repository's ``.supertask/cache`` while a run goes on, else in ``$SUPERTASK_CACHE`` or
``~/.cache/supertask``. What has not been used for longest goes first where they take more than the size
that the decorator says.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import inspect
import os
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import attrs

from supertask.canonical import canonical as canonical_plain
from supertask.classpath import class_path
from supertask.configs.config import Config
from supertask.configs.fields import Configurable
from supertask.configs.identities import canonical, digest, identity_path, task_key
from supertask.configs.policy import parse_size
from supertask.errors import ConfigError, StorageError
from supertask.formats.find import find_format
from supertask.formats.port import StorageFormat
from supertask.tasks.calls import current_call
from supertask.tasks.task import Task

__all__ = ["cache", "cache_folders", "clear_cache", "is_result"]

P = ParamSpec("P")
R = TypeVar("R")
_FORMATS = {"ndarray": "numpy", "Table": "ecsv", "str": "text"}
_JSON = ("bool", "int", "float", "dict", "list", "None", "NoneType")
_TEMPORARY = ".new-"
_MARK = "supertask_cached"


def cache(format: str = "", *, size: str = "1 GB") -> Callable[[Callable[P, R]], Callable[P, R]]:  # noqa: A002 - as elsewhere
    """Decorate a method of a task: its results are kept on disk.

    Parameters
    ----------
    format : str, optional
        Storage format of the results, such as ``numpy`` or ``json``; unless given it follows from the
        return annotation: an array, an astropy Table, str, or plain values for JSON.
    size : str, optional
        How much room results of this method may take.

    Raises
    ------
    ConfigError
        The format does not follow from the annotation, or the size is none.
    StorageError
        There is no such format, or the result is of a kind that it does not keep.
    """
    room = parse_size(size)

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(method)
        kept = find_format(format or _format_of(method))

        @functools.wraps(method)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            task, *rest = args
            if not isinstance(task, Task):
                raise ConfigError(f"{method.__qualname__} is cached, so it must be a method of a Task")
            given = signature.bind(task, *rest, **kwargs)
            given.apply_defaults()
            arguments = dict(list(given.arguments.items())[1:])
            entry = _Entry.of(task, method, arguments, kept)
            return cast("R", entry.get(lambda: method(*args, **kwargs), room))

        vars(wrapper)[_MARK] = True
        return wrapper

    return decorate


def _format_of(method: Callable[..., Any]) -> str:
    try:
        annotation = typing.get_type_hints(method).get("return")
    except NameError:  # of a type that is imported for type checkers alone
        annotation = inspect.get_annotations(method).get("return")
    if annotation is not None:
        origin = typing.get_origin(annotation) or annotation
        name = origin if isinstance(origin, str) else getattr(origin, "__name__", "")
        name = name.partition("[")[0].rpartition(".")[2]
        name = "ndarray" if name == "NDArray" else name
        found = _FORMATS.get(name) or ("json" if name in _JSON else "")
        if found:
            return found
    raise ConfigError(
        f"{method.__qualname__}: its return annotation does not say how to keep results; name a storage "
        "format, as in @cache('hdf5')"
    )


def cache_root() -> Path:
    """Return the folder for results of the call under way."""
    told = current_call().cache
    if told is not None:
        return told
    given = os.environ.get("SUPERTASK_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "supertask"


def clear_cache(root: str | Path) -> int:
    """Delete all results under a folder that nobody is using; return how many."""
    count = 0
    for path in Path(root).rglob("*"):
        if path.is_file() and path.suffix != ".lock" and _unused(path):
            path.unlink(missing_ok=True)
            count += not path.name.startswith(_TEMPORARY)
    return count


def cache_folders(task: type, config: Config) -> list[str]:
    """Return the folders, below the root of caches, of what a task and its subtasks keep; for most, none."""
    found = [_folder_of(task)] if _has_cached(task) else []
    for name in config.config_fields:
        value = getattr(config, name)
        if isinstance(value, Configurable):
            found += cache_folders(value.target, value.config)
    return list(dict.fromkeys(found))


def _has_cached(kind: type) -> bool:
    return any(hasattr(method, _MARK) for base in kind.__mro__ for method in vars(base).values())


def _folder_of(kind: type) -> str:
    return class_path(kind).replace(":", ".").replace("<", "").replace(">", "")


def is_result(path: Path) -> bool:
    """Tell whether a file under the root of caches is a result, and whole."""
    return path.suffix != ".lock" and not path.name.startswith((_TEMPORARY, "."))


@attrs.frozen
class _Entry:
    """One result."""

    path: Path
    format: StorageFormat
    what: str

    @classmethod
    def of(
        cls, task: Task, method: Callable[..., Any], arguments: dict[str, Any], kept: StorageFormat
    ) -> _Entry:
        kind = type(task)
        key = digest(
            b"cached",
            task_key(identity_path(kind), str(kind.version), task.config),
            canonical_plain(method.__qualname__),
            canonical(arguments),
            kept.name.encode(),
        )
        path = cache_root() / _folder_of(kind) / method.__name__ / f"{key.hex()}{kept.extension}"
        return cls(path, kept, f"cached {method.__qualname__}")

    def get(self, compute: Callable[[], Any], room: int) -> Any:
        found, value = self._read()
        if found:
            return value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path.with_suffix(".lock")):
            found, value = self._read()  # another process may have computed it meanwhile
            if found:
                return value
            value = compute()
            self._write(value)
            found, kept = self._read()
            _make_room(self.path.parent, room, self.path)
        # As it will be read from now on, so that first and later calls give the same.
        return kept if found else value

    def _read(self) -> tuple[bool, Any]:
        try:
            value = self.format.read(str(self.path), {})
            os.utime(self.path)
        except FileNotFoundError:
            return False, None
        except (StorageError, OSError):
            return False, None
        return True, value

    def _write(self, value: Any) -> None:
        # The lock makes the name ours; what a killed process left under it is overwritten.
        temporary = self.path.with_name(f"{_TEMPORARY}{self.path.name}")
        temporary.unlink(missing_ok=True)
        try:
            self.format.write(value, str(temporary))
            fd = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(temporary, self.path)
        except OSError as error:
            raise StorageError(f"{self.what} cannot be kept in {self.path}: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however that ends."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(fd, fcntl.LOCK_EX)
        # Who made room may have deleted the file while this waited for it.
        try:
            if os.stat(path).st_ino == os.fstat(fd).st_ino:
                break
        except FileNotFoundError:
            pass
        os.close(fd)
    try:
        yield
    finally:
        os.close(fd)


def _unused(path: Path) -> bool:
    """Tell whether nobody computes a result."""
    name = path.name.removeprefix(_TEMPORARY)
    try:
        fd = os.open(path.with_name(name).with_suffix(".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _make_room(folder: Path, room: int, newest: Path) -> None:
    """Delete what was not used for longest until the rest has room; never what was just made."""
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.suffix != ".lock":
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
    used = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if used <= room:
            break
        if path == newest or not _unused(path):
            continue
        path.unlink(missing_ok=True)
        path.with_name(path.name.removeprefix(_TEMPORARY)).with_suffix(".lock").unlink(missing_ok=True)
        used -= size
