"""Engines by name: those shipped, and those of other packages.

An engine is an ExecutionFramework class with a class method that makes one of it from what a command line
says::

    class OurFramework(BatchFramework):
        @classmethod
        def from_options(cls, options: EngineOptions) -> Self:
            return cls(options.jobs, slots=options.slots, site=options.site_as(OurSite))

Other packages name theirs by the entry point group ``supertask.frameworks``. Nothing of an engine is imported
before it is asked for by its name.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, TypeVar

import attrs

from executors.jobs.enginejobs import SLOTS
from executors.port import ExecutionFramework
from supertask.configs.config import Config
from supertask.errors import ConfigError, ExecutionError, did_you_mean

__all__ = ["ENTRY_POINT_GROUP", "EngineOptions", "find_engine", "known_engines", "make_framework"]

ENTRY_POINT_GROUP = "supertask.frameworks"
"""Each entry point is an ExecutionFramework with `from_options`; its name is the engine's."""

S = TypeVar("S", bound=Config)


@attrs.frozen(kw_only=True)
class EngineOptions:
    """What a command line says of where a plan is to run."""

    engine: str
    """Its name."""
    site: Path | None = None
    """YAML file that says what the site wants."""
    jobs: Path | None = None
    """Folder for the folders of jobs."""
    staged: bool = False
    """Whether jobs cannot see the repository."""
    slots: int = SLOTS
    """How many jobs are submitted at most at once."""
    pilots: int | None = None
    """How many long jobs with warm workers; None where that is not said."""
    detached: bool = False
    """Whether all is submitted at once, to run without a driver."""
    processes: int = 1
    """How many processes run quanta, for an engine that is started for this run alone."""

    def site_as(self, kind: type[S]) -> S:
        """Return what the site's file says, or what holds where there is none.

        Raises
        ------
        ConfigError
            It is not valid.
        """
        return kind() if self.site is None else kind.load(self.site)


@attrs.frozen
class _Shipped:
    home: str
    """Module and class."""
    package: str = ""
    """What has to be imported, beside ours."""
    extra: str = ""
    """What to install for that."""


# Not entry points, so that they need no look-up in the metadata of everything installed.
_SHIPPED = {
    "condor": _Shipped("executors.condor.framework:CondorFramework"),
    "dask": _Shipped("executors.futures.dask:DaskFramework", "distributed", "dask"),
    "parsl": _Shipped("executors.futures.parsl:ParslFramework", "parsl", "parsl"),
    "slurm": _Shipped("executors.slurm.framework:SlurmFramework"),
    "slurm-pilot": _Shipped("executors.slurm.pilots:SlurmPilotFramework"),
}
_DETACHED = ("condor", "slurm")
_WITH_PILOTS = {"slurm": "slurm-pilot"}


def known_engines() -> tuple[str, ...]:
    """Return the names of all engines, whether what they need is installed or not."""
    from importlib.metadata import entry_points

    return tuple(sorted({*_SHIPPED, *(e.name for e in entry_points(group=ENTRY_POINT_GROUP))}))


def find_engine(name: str) -> type[ExecutionFramework]:
    """Return the framework of an engine.

    Raises
    ------
    ExecutionError
        There is none of that name, or what it needs is not installed; says what that is.
    """
    if name in _SHIPPED:
        shipped = _SHIPPED[name]
        module, _, cls = shipped.home.partition(":")
        try:
            if shipped.package:
                importlib.import_module(shipped.package)
            found: Any = getattr(importlib.import_module(module), cls)
        except ModuleNotFoundError as error:
            if not shipped.extra or (error.name or "").partition(".")[0] != shipped.package:
                raise
            raise ExecutionError(
                f"engine {name!r} needs the package {shipped.package!r}, which is not installed here: "
                f"pip install 'supertask[{shipped.extra}]'"
            ) from None
        return _checked(name, shipped.home, found)
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINT_GROUP, name=name):
        try:
            return _checked(name, entry.value, entry.load())
        except (ImportError, AttributeError) as error:
            raise ExecutionError(f"engine {name!r} ({entry.value}) cannot be imported: {error}") from error
    known = known_engines()
    raise ExecutionError(
        f"there is no engine {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}"
    )


def _checked(name: str, where: str, found: Any) -> type[ExecutionFramework]:
    if not isinstance(found, type) or not issubclass(found, ExecutionFramework):
        raise ExecutionError(f"engine {name!r} ({where}) is no subclass of ExecutionFramework")
    return found


def make_framework(options: EngineOptions) -> ExecutionFramework:
    """Return a framework as a command line says it.

    Raises
    ------
    ExecutionError
        There is no such engine, or what it needs is not installed.
    ConfigError
        The site's file is not valid, or the engine has no such options.
    """
    name = options.engine
    if options.pilots is not None:
        name = _WITH_PILOTS.get(name, name)
        if name not in _WITH_PILOTS.values():
            having = ", ".join(_WITH_PILOTS)
            raise ConfigError(f"engine {name!r} has no pilots: --pilots is for {having}")
    if options.detached and name not in _DETACHED:
        raise ConfigError(
            f"engine {name!r} needs a driver that stays: --detach is for {', '.join(_DETACHED)}"
        )
    make = getattr(find_engine(name), "from_options", None)
    if make is None:
        raise ConfigError(
            f"engine {name!r} cannot be made from a command line: its class has no from_options"
        )
    framework: ExecutionFramework = make(options)
    return framework
