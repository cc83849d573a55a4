"""Hashes of source code: what a plan records of its tasks, and what joins their identity if that is wanted.

Hashed are the files of the modules that define a task's class and the classes that it derives from and is
configured by, subtasks included, as they are on disk: a comment counts. Code of this package and of Python
itself does not enter; nor does what those modules import, which the declared version is for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from supertask.canonical import digest
from supertask.configs.config import Config
from supertask.configs.fields import Configurable

__all__ = ["source_hash"]

_PASSED_OVER = frozenset({__name__.partition(".")[0], *sys.stdlib_module_names}) - {"__main__"}


def source_hash(task_class: type, config: Config) -> str:
    """Return 32 hexadecimal digits of a task's source code; empty where there is none to be read.

    Parameters
    ----------
    task_class : type
        The task.
    config : Config
        Its configuration, which names its subtasks.
    """
    names = sorted({cls.__module__ for cls in _classes(task_class, config)})
    names = [n for n in names if n.partition(".")[0] not in _PASSED_OVER]
    parts = []
    for name in names:
        text = _text(getattr(sys.modules.get(name), "__file__", None) or "")
        if text is None:
            return ""
        parts += [name.encode(), text]
    return digest(b"source", *parts).hex()


def _classes(task_class: type, config: Config) -> Iterator[type]:
    yield from task_class.__mro__
    yield from _configured(config)


def _configured(value: Any) -> Iterator[type]:
    if isinstance(value, Config):
        yield from type(value).__mro__
        for name in value.config_fields:
            yield from _configured(getattr(value, name))
    elif isinstance(value, Configurable):
        yield from _classes(value.target, value.config)


def _text(path: str) -> bytes | None:
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _read(path: str, _mtime: int, _size: int) -> bytes | None:
    try:
        # Line ends differ between systems, the code does not.
        return Path(path).read_bytes().replace(b"\r\n", b"\n")
    except OSError:
        return None
