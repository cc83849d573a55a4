"""What is read from YAML: values with the places they came from, and words whose type is not decided yet.

Apart from `supertask.yamlfiles.text`, which reads and writes: a task's configuration knows these values, and
most processes that run one never see YAML.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import attrs

from supertask.errors import SuperTaskError

__all__ = ["Document", "Node", "Place", "Scalar", "YamlError"]


class YamlError(SuperTaskError):
    """Text is not YAML, or not plain data."""


@attrs.frozen
class Place:
    """A line and column, both counted from 1."""

    line: int
    column: int


@attrs.frozen
class Document:
    """A value read from YAML, and where each part of it stands."""

    value: Any
    source: str
    """Name of the file, or what the text is."""
    places: dict[tuple[Hashable, ...], Place]
    """Keys and indices that lead to a value → where it (or the key that names it) begins."""
    folder: str = ""
    """Folder of the file, to which paths in it are relative; empty for what is no file."""

    def place(self, *path: Hashable) -> Place:
        """Return where the value at `path` begins, or the nearest value around it that is known."""
        for length in range(len(path), -1, -1):
            found = self.places.get(path[:length])
            if found is not None:
                return found
        return Place(1, 1)

    def at(self, *path: Hashable) -> str:
        """Return ``file:line:column`` of the value at `path`."""
        place = self.place(*path)
        return f"{self.source}:{place.line}:{place.column}"


@attrs.frozen
class Scalar:
    """A word of YAML before its type is decided."""

    text: str
    quoted: bool = False


Node = Scalar | list[Any] | dict[str, Any]
"""YAML whose words have no type yet: whoever knows the type wanted decides."""
