"""Who planned what, when and with which software."""

from __future__ import annotations

import datetime as dt
import getpass
import os
import shlex
import sys
from collections.abc import Iterable
from typing import Any

from supertask.butler.port import AbstractButler
from supertask.pipelines.pipeline import Pipeline
from supertask.unitmodels import unit_model_to_dict

__all__ = ["describe", "package_versions"]

_ALWAYS = ("supertask", "numpy", "h5py", "astropy", "sqlalchemy")


def describe(butler: AbstractButler, pipeline: Pipeline) -> dict[str, Any]:
    """Return the provenance of a plan, as keywords for `DagMeta`."""
    modules = {d.task_class.__module__.partition(".")[0] for d in pipeline.values()}
    return {
        "repository": butler.repository_id,
        "butler_root": str(butler.root),
        "pipeline": pipeline.to_dict(),
        "unit_model": unit_model_to_dict(butler.model),
        "versions": package_versions(modules),
        "command": shlex.join(sys.argv),
        "user": _user(),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def package_versions(modules: Iterable[str]) -> dict[str, str]:
    """Return Python's version and those of our dependencies and of the tasks' own packages."""
    names = sorted({*_ALWAYS, *modules})
    # What a loaded module says of itself costs nothing.
    said = {name: getattr(sys.modules.get(name), "__version__", None) for name in names}
    installed = _installed(name for name in names if said[name] is None)
    stated = {name: said[name] if said[name] is not None else installed.get(name) for name in names}
    return {
        "python": sys.version.split()[0],
        **{name: str(version) for name, version in stated.items() if version is not None},
    }


def _installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages that are not loaded, or do not say them.

    Folders of metadata bear them in their names, so a look at what there is does; `importlib.metadata` takes
    milliseconds for each, most of all for one that was never installed.
    """
    wanted = {name.lower(): name for name in names}
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            there = os.listdir(folder or ".")
        except OSError:  # sys.path may name what is not there, or is no folder
            continue
        for entry in there:
            stem, _, kind = entry.rpartition(".")
            if kind in ("dist-info", "egg-info"):
                package, version, *_ = [*stem.split("-"), ""]
                name = wanted.get(package.lower().replace(".", "_"))
                if name is not None and version:
                    found.setdefault(name, version)
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user ID that the system has no name for
        return ""
