"""The call under way: what a task may ask for while one quantum of it runs.

Who runs a quantum opens a `Call` around ``runQuantum``; the task finds it as ``self.call``. A task that is
called by hand, in a notebook or a test, finds one of nobody's: it has a folder that goes with the process,
tells its progress to nobody, and has the tags that the task itself declares.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path, PurePath
from typing import Any

import attrs

from supertask.errors import ConfigError, ExecutionError

__all__ = ["Call", "check_inner_path", "current_call", "opened_call"]


def _no_progress(fraction: float, message: str) -> None:
    """Tell nobody."""


@attrs.define(eq=False)
class Call:
    """What surrounds one call of ``runQuantum``."""

    find_folder: Callable[[], Path]
    """Makes the quantum's folder, when it is first asked for."""
    tell: Callable[[float, str], None] = _no_progress
    """Takes the fraction that is done, 0 to 1, and what is being done."""
    find_tags: Callable[[], Mapping[str, Any]] = dict
    """Gives the tags of run and task."""
    cache: Path | None = None
    """Folder for what tasks cache; None for the user's own."""
    restored: Mapping[str, Any] | None = None
    """Init step's field → what it restored; None where nobody ran them."""
    number: int = 1
    """Of the attempt."""

    @property
    def folder(self) -> Path:
        """The quantum's own folder. It outlives attempts, so that the next finds what one left there."""
        return self.find_folder()

    @property
    def tags(self) -> Mapping[str, Any]:
        """Tags of run and task."""
        return self.find_tags()

    def path(self, inner: str | PurePath) -> Path:
        """Return a path in the quantum's folder; folders on the way to it are made.

        Raises
        ------
        ExecutionError
            It leads out of the folder.
        """
        try:
            check_inner_path(PurePath(inner))
        except ConfigError as error:
            raise ExecutionError(str(error)) from None
        found = self.folder / inner
        found.parent.mkdir(parents=True, exist_ok=True)
        return found


def check_inner_path(path: PurePath) -> None:
    """Make sure that a path leads nowhere but into the folder that it is taken in.

    Raises
    ------
    ConfigError
        It is absolute, empty, or leads out.
    """
    if path.is_absolute() or ".." in path.parts or path == PurePath():
        raise ConfigError(
            f"{str(path)!r} is not inside of the quantum's folder: give a relative path without '..', such "
            "as 'model.npz'"
        )


_call: ContextVar[Call | None] = ContextVar("supertask_call", default=None)


def current_call() -> Call:
    """Return the call under way; where there is none, one of nobody's."""
    found = _call.get()
    return found if found is not None else _NOBODYS


class opened_call:  # noqa: N801 - a block, entered once for every quantum, so not a generator
    """Make `call` the one under way within the block."""

    __slots__ = ("_call", "_token")

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> Call:
        self._token = _call.set(self._call)
        return self._call

    def __exit__(self, *_: object) -> None:
        _call.reset(self._token)


_folders: dict[int, Path] = {}


def _folder_of_process() -> Path:
    pid = os.getpid()
    if pid not in _folders:
        import shutil
        import tempfile

        made = _folders[pid] = Path(tempfile.mkdtemp(prefix="supertask-quantum-"))

        def remove() -> None:
            if os.getpid() == pid:
                shutil.rmtree(made, ignore_errors=True)

        atexit.register(remove)
    return _folders[pid]


_NOBODYS = Call(_folder_of_process)
