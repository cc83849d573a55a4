"""Who planned what, when and with which software."""

from __future__ import annotations

import datetime as dt
import getpass
import re
import shlex
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from supertask.butler.port import AbstractButler
from supertask.pipeline import Pipeline
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
    versions = {"python": sys.version.split()[0]}
    for name in sorted({*_ALWAYS, *modules}):
        # What a loaded module says of itself costs nothing; metadata is a file to find and parse.
        found = getattr(sys.modules.get(name), "__version__", None)
        try:
            versions[name] = str(found) if found is not None else _installed(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _installed(name: str) -> str:
    """Return the version of a package that is not loaded, or does not say it."""
    found = metadata.distribution(name)
    # `found.version` parses all there is as e-mail, descriptions of many pages among it.
    stated = re.search(r"^Version: (.+)$", found.read_text("METADATA") or "", re.MULTILINE)
    return stated[1].strip() if stated else found.version


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user ID that the system has no name for
        return ""
