"""Plain data and text: JSON, YAML, and text itself."""

from __future__ import annotations

import abc
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supertask.errors import StorageError
from supertask.formats.port import StorageFormat

__all__ = ["Json", "Text", "Yaml"]

_PLAIN = (str, int, float, bool, type(None))


def _plain(value: Any, where: str, name: str) -> Any:
    """Return a value as plain data; NumPy's scalars and arrays become numbers and lists."""
    if isinstance(value, _PLAIN) and type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                # JSON would make it a str without a word, and reading would not give it back.
                raise StorageError(f"{name} keeps mappings with str keys only: {where} has {key!r}")
        return {k: _plain(v, f"{where}[{k!r}]", name) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{where}[{i}]", name) for i, v in enumerate(value)]
    if hasattr(value, "to_dict") and not isinstance(value, type):
        return _plain(value.to_dict(), where, name)
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), where, name)
    for base in (bool, int, float, str):
        if isinstance(value, base):
            return base(value)
    raise StorageError(
        f"{name} keeps None, bool, int, float, str, lists and dicts; "
        f"{where} is {type(value).__module__}.{type(value).__qualname__}"
    )


class _TextFormat(StorageFormat):
    """A format whose files are UTF-8 text, read and written whole."""

    @abc.abstractmethod
    def encode(self, value: Any) -> bytes:
        """Return the bytes of the file."""

    def write(self, value: Any, path: str) -> None:
        """Write the value."""
        Path(path).write_bytes(self.encode(value))

    def _text(self, path: str) -> str:
        try:
            with open(path, "rb") as file:  # not Path: to take a path apart costs more than to read it
                return file.read().decode()
        except UnicodeDecodeError as error:
            raise StorageError(f"{path} is not {self.name}: {error}") from None


class Json(_TextFormat):
    """Plain data as JSON. Tuples come back as lists, NumPy's numbers as Python's; NaN is kept."""

    name = "json"
    extension = ".json"

    def encode(self, value: Any) -> bytes:
        """Return the value as JSON."""
        plain = _plain(value, "value", self.name)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read the value."""
        try:
            return json.loads(self._text(path))
        except ValueError as error:
            raise StorageError(f"{path} is not JSON, or truncated: {error}") from None


class Yaml(_TextFormat):
    """Plain data as YAML, for files that people read."""

    name = "yaml"
    extension = ".yaml"

    def encode(self, value: Any) -> bytes:
        """Return the value as YAML."""
        from supertask.yamlfiles.text import dump

        return dump(_plain(value, "value", self.name)).encode()

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read the value."""
        from supertask.yamlfiles.text import YamlError, load

        try:
            return load(self._text(path), path).value
        except YamlError as error:
            raise StorageError(f"{path} is not YAML: {error}") from None


class Text(_TextFormat):
    """A str, in UTF-8."""

    name = "text"
    extension = ".txt"

    def encode(self, value: Any) -> bytes:
        """Return the text's bytes."""
        if not isinstance(value, str):
            raise StorageError(f"text keeps a str, not {type(value).__qualname__}")
        return value.encode()

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read the value."""
        return self._text(path)
