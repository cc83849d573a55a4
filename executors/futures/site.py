"""Where clusters of Dask and Parsl are at one site, for the command line.

What starts workers there (dask-jobqueue's clusters, Parsl's providers) has its own words in each site's own
manual, which we do not repeat: a site's file names a function of Python's that makes it.
"""

from __future__ import annotations

import importlib
from typing import Any

from supertask.configs.config import Config, field
from supertask.errors import ConfigError, did_you_mean

__all__ = ["DaskSite", "ParslSite", "made_by"]


class DaskSite(Config):
    """Where Dask's workers are; `load` reads it from a YAML file."""

    scheduler: str = field("", doc="Address of a scheduler that runs, such as tcp://host:8786.")
    cluster: str = field(
        "", doc="Function that returns a cluster or client, as module:function, such as oursite:cluster."
    )
    timeout: float = field(10.0, doc="Seconds in which the scheduler must answer.", min=0)

    def validate(self) -> None:
        """Check what single fields cannot say of themselves."""
        if self.scheduler and self.cluster:
            raise ConfigError("say either the scheduler's address or what makes a cluster, not both")


class ParslSite(Config):
    """Where Parsl's workers are; `load` reads it from a YAML file."""

    config: str = field(
        "", doc="Function that returns a parsl.Config, or such a one, as module:name, such as oursite:config."
    )


def made_by(path: str) -> Any:
    """Return what a path names, or what it returns if it is a function.

    Raises
    ------
    ConfigError
        There is no such thing, or it raises.
    """
    module_name, colon, name = path.partition(":")
    if not colon or not all(part.isidentifier() for part in [*module_name.split("."), name]):
        raise ConfigError(f"{path!r} names no function: write it as module:function")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a site's own file does
        raise ConfigError(
            f"{path!r} cannot be imported: {type(error).__name__}: {error}; is its folder on the Python path "
            "(the folder that you are in is)?"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        raise ConfigError(f"module {module_name!r} has no {name!r}{did_you_mean(name, vars(module))}")
    if not callable(found):
        return found
    try:
        return found()
    except Exception as error:
        raise ConfigError(f"{path!r} raises {type(error).__name__}: {error}") from error
