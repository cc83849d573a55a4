"""What stands in ``supertask.yaml`` at the root of a repository.

::

    repository: 1                       # version of this layout
    unit_model: imaging
    registry: sqlite:registry.sqlite3   # or the URL of a database
    templates:
      default: "{run}/{type}/{folders}/{type}_{dataId}{ext}"
      raw: "{run}/raw/{exposure}/{detector}{ext}"
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from supertask.butler.templates import DEFAULT_TEMPLATE, PathTemplate
from supertask.errors import Problems, RepositoryError, RepositoryVersionError, did_you_mean
from supertask.yamlfiles.nodes import YamlError

__all__ = ["LAYOUT_VERSION", "ROOT_FILE", "SQLITE_FILE", "Layout"]

LAYOUT_VERSION = 1
ROOT_FILE = "supertask.yaml"
SQLITE_FILE = "registry.sqlite3"

_KEYS = ("repository", "id", "unit_model", "registry", "templates")


@attrs.frozen
class Layout:
    """Where a repository keeps what."""

    unit_model: str
    """Name of its unit model; the model itself is kept in the registry."""
    registry: str = f"sqlite:{SQLITE_FILE}"
    """``sqlite:`` and a path, relative to the root or absolute; or a database's URL."""
    templates: Mapping[str, PathTemplate] = attrs.field(
        factory=lambda: {"default": PathTemplate.parse(DEFAULT_TEMPLATE)}
    )
    """Dataset type, or ``default`` → path template."""
    id: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    """32 hexadecimal digits that this repository alone has."""

    @classmethod
    def read(cls, root: str | Path) -> Layout:
        """Read the layout of a repository.

        Raises
        ------
        RepositoryError
            There is no repository, or its file is not valid; names every mistake found.
        RepositoryVersionError
            It is of a newer version.
        """
        from supertask.yamlfiles.text import load

        path = Path(root) / ROOT_FILE
        try:
            value = load(path.read_text("utf-8"), str(path)).value
        except FileNotFoundError:
            raise RepositoryError(
                f"{root} is not a data repository: it has no {ROOT_FILE}; "
                "make one with Butler.create(path) or `supertask init`"
            ) from None
        except (OSError, UnicodeDecodeError, YamlError) as error:
            why = (isinstance(error, OSError) and error.strerror) or str(error)
            raise RepositoryError(f"the repository's file {path} cannot be read: {why}") from None
        return cls._from_value(value, path)

    @classmethod
    def _from_value(cls, value: Any, path: Path) -> Layout:
        problems = Problems(str(path))
        if not isinstance(value, dict) or not isinstance(value.get("repository"), int):
            raise RepositoryError(f"{path} is not a repository's file: 'repository: <version>' is missing")
        version = value["repository"]
        if version > LAYOUT_VERSION:
            raise RepositoryVersionError(
                f"{path}: the repository is of layout version {version}, and this SuperTask knows versions "
                f"up to {LAYOUT_VERSION}; install a newer SuperTask to use it"
            )
        for key in value:
            if key not in _KEYS:
                problems.add(f"unknown key {key!r}{did_you_mean(str(key), _KEYS)}")
        for key in ("id", "unit_model", "registry"):
            if not isinstance(value.get(key), str):
                problems.add(f"{key!r} must be text")
        templates = value.get("templates") or {}
        if not isinstance(templates, dict):
            problems.add("'templates' must map dataset types to path templates")
            templates = {}
        parsed = {"default": PathTemplate.parse(DEFAULT_TEMPLATE)}
        for name, text in templates.items():
            try:
                parsed[str(name)] = PathTemplate.parse(str(text))
            except RepositoryError as error:
                problems.add(str(error))
        problems.raise_if_any(RepositoryError)
        return cls(value["unit_model"], value["registry"], parsed, value["id"])

    @staticmethod
    def check_vacant(root: str | Path) -> None:
        """Raise a `RepositoryError` if there is a repository already."""
        if (Path(root) / ROOT_FILE).exists():
            raise RepositoryError(
                f"there is a repository at {root} already: use that, or give another folder"
            )

    def write(self, root: str | Path) -> None:
        """Write the layout of a new repository.

        Raises
        ------
        RepositoryError
            There is a repository already.
        """
        path = Path(root) / ROOT_FILE
        temporary = self._write_beside(path)
        try:
            # A link refuses to replace: of two that create one repository, one wins.
            os.link(temporary, path)
        except FileExistsError:
            raise RepositoryError(
                f"there is a repository at {root} already: use that, or give another folder"
            ) from None
        finally:
            temporary.unlink(missing_ok=True)

    def rewrite(self, root: str | Path) -> None:
        """Write the layout in place of what a repository had, at once."""
        path = Path(root) / ROOT_FILE
        temporary = self._write_beside(path)
        try:
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _write_beside(self, path: Path) -> Path:
        value = {
            "repository": LAYOUT_VERSION,
            "id": self.id,
            "unit_model": self.unit_model,
            "registry": self.registry,
            "templates": {name: template.text for name, template in self.templates.items()},
        }
        from supertask.yamlfiles.text import dump

        temporary = path.with_name(f".tmp-{os.getpid()}-{ROOT_FILE}")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(dump(value))
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary
