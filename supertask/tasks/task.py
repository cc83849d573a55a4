"""Task: a configurable callable with a name, a log, subtasks, and notes of what it did."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, ClassVar, ParamSpec, TypeVar, cast

from supertask.configs.config import Config
from supertask.configs.fields import Configurable
from supertask.errors import ConfigError, did_you_mean
from supertask.tasks.calls import Call, current_call
from supertask.tasks.metadata import Metadata, current_metadata

__all__ = ["Task", "timed"]

P = ParamSpec("P")
R = TypeVar("R")


class Task:
    """Base of all tasks.

    A subclass sets `ConfigClass` and `_DefaultName`, and writes `run`, which works on objects in
    memory, does no I/O and returns a `Struct` of named results. No call changes a task.

    Parameters
    ----------
    config : Config, optional
        Its configuration, an instance of `ConfigClass`; the defaults unless given.
    name : str, optional
        Its name; `_DefaultName` unless given.
    parent : Task, optional
        The task that it is a part of.
    log : logging.Logger, optional
        Where it logs; the logger named by its full name unless given.

    Raises
    ------
    ConfigError
        The class lacks `ConfigClass` or `_DefaultName`, or `config` is not one of its class.
    """

    ConfigClass: ClassVar[type[Config]]
    """Class of its configuration."""
    _DefaultName: ClassVar[str]
    """Name of the task where none is given."""
    version: ClassVar[str] = "1"
    """Declared by the author, who changes it when results of equal inputs and configuration change."""
    identity: ClassVar[str] = "declared"
    """What stands for its code in identities: ``declared``, the version; ``source``, its source code too."""
    tags: ClassVar[Mapping[str, str | int | float | bool]] = {}
    """Words to find its outputs by, with those of its base classes; see `supertask.tasks.tags`."""
    former_names: ClassVar[tuple[str, ...]] = ()
    """Paths (``package.module:Class``) that this very class had before, the oldest first."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        name: str | None = None,
        parent: Task | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        cls = type(self)
        self.name: str = name if name is not None else getattr(cls, "_DefaultName", "")
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"task class {cls.__name__} has no name: set _DefaultName = 'my_task' in it")
        config_class = getattr(cls, "ConfigClass", None)
        if not (isinstance(config_class, type) and issubclass(config_class, Config)):
            raise ConfigError(
                f"task class {cls.__name__} has no configuration: set ConfigClass = MyConfig in it, "
                "with MyConfig derived from Config"
            )
        if config is None:
            config = config_class()
        elif not isinstance(config, config_class):
            raise ConfigError(
                f"task {self.name!r} ({cls.__name__}) is configured by a {config_class.__name__}, "
                f"got {config!r} ({type(config).__name__})"
            )
        self.config: Any = config
        self.full_name: str = self.name if parent is None else f"{parent.full_name}.{self.name}"
        self.log = log if log is not None else logging.getLogger(self.full_name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.full_name!r}>"

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work on objects in memory; to be written by subclasses."""
        raise NotImplementedError(f"{type(self).__name__} does not define run")

    def makeSubtask(self, name: str, **kwargs: Any) -> Any:
        """Make the subtask that a `ConfigurableField` holds; for the constructor of a task.

        Parameters
        ----------
        name : str
            Name of the field, which becomes the subtask's name and the attribute that holds it.
        **kwargs
            Further arguments for the constructor of the subtask.

        Returns
        -------
        Task
            The subtask, which is ``self.detect`` after ``self.makeSubtask("detect")``.

        Raises
        ------
        ConfigError
            There is no such field.
        """
        fields = self.config.config_fields
        value = getattr(self.config, name) if name in fields else None
        if not isinstance(value, Configurable):
            known = [n for n in fields if isinstance(getattr(self.config, n), Configurable)]
            raise ConfigError(
                f"{type(self.config).__name__} has no ConfigurableField {name!r}{did_you_mean(name, known)}; "
                f"it has {', '.join(known) or 'none'}"
            )
        subtask = value.target(config=value.config, name=name, parent=self, **kwargs)
        setattr(self, name, subtask)
        return subtask

    @property
    def call(self) -> Call:
        """What surrounds the call under way: its folder, its tags, what was restored for it."""
        return current_call()

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the call under way is.

        Parameters
        ----------
        fraction : float
            0 to 1; what is beyond is taken for the nearest of them.
        message : str, optional
            What is being done, in a few words.
        """
        current_call().tell(min(1.0, max(0.0, float(fraction))), message)

    def path(self, name: str) -> Path:
        """Return where a file of the quantum lies: that of a `PathField`, or any path inside of its folder.

        Parameters
        ----------
        name : str
            Name of the field, or a relative path.

        Raises
        ------
        ExecutionError
            The path leads out of the folder.
        """
        value = getattr(self.config, name) if name in self.config.config_fields else name
        return current_call().path(value if isinstance(value, PurePath) else name)

    @property
    def metadata(self) -> Metadata:
        """What this task notes about the call under way, see `collect_metadata`."""
        found = current_metadata()
        for name in self.full_name.split("."):
            found = found.child(name)
        return found

    @contextmanager
    def timer(self, name: str) -> Iterator[None]:
        """Note the time spent in a block, or in a function that this decorates.

        The metadata then have ``timers.NAME`` with `wall_s` and `cpu_s` (seconds, of this process)
        and `count`; times of one name add up. Time until an exception counts.

        Parameters
        ----------
        name : str
            What is timed.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            noted = self.metadata.child("timers").child(name)
            noted["wall_s"] = noted.get("wall_s", 0.0) + time.perf_counter() - wall
            noted["cpu_s"] = noted.get("cpu_s", 0.0) + time.process_time() - cpu
            noted["count"] = noted.get("count", 0) + 1


def timed(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a method of a task: the time of each call is noted under the method's name."""

    @functools.wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with cast("Task", args[0]).timer(method.__name__):
            return method(*args, **kwargs)

    return wrapper
