"""Overrides: ``field.sub[0]=value`` as text, with the typed value that it means."""

from __future__ import annotations

import re
from typing import Any

import attrs

from supertask.errors import ConfigError
from supertask.kinds.base import At, Kind, Put
from supertask.kinds.scalars import parse_text

__all__ = ["Override", "parse_override", "parse_path", "put_text", "put_value"]

_STEP = re.compile(r"(?:^|\.)(?P<name>[A-Za-z_][A-Za-z0-9_]*)|\[(?P<key>[^\]]*)\]")


@attrs.frozen
class Override:
    """A value for one field, and where it came from."""

    path: str
    value: Any
    """A str is text, whose meaning the field's type decides."""
    source: str = "override"


def parse_path(path: str) -> tuple[str, ...]:
    """Return the steps of ``field.sub[0]``: names, and what stands in brackets without quotes.

    Raises
    ------
    ConfigError
        It is no such path.
    """
    steps: list[str] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or (not steps and (match["name"] is None or path.startswith("."))):
            raise ConfigError(f"{path!r} is no path of a field: write it as field.sub or field[0]")
        key = match["key"]
        if key is not None and len(key) > 1 and key[0] == key[-1] and key[0] in "'\"":
            key = key[1:-1]
        steps.append(match["name"] if key is None else key)
        position = match.end()
    if not steps:
        raise ConfigError("the path of a field is missing: write it as field.sub=value")
    return tuple(steps)


def parse_override(text: str, source: str = "") -> Override:
    """Return the override that ``field.sub=value`` says.

    Raises
    ------
    ConfigError
        There is no ``=`` or no path before it.
    """
    path, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"override {text!r} has no '=': write it as field=value")
    parse_path(path.strip())
    return Override(path.strip(), value.strip(), source or text)


def put_value(value: Any) -> Put:
    """Return what sets a value given in Python or in a file."""

    def put(kind: Kind, current: Any, at: At) -> Any:
        return kind.accept(value, at, current)

    return put


def put_text(text: str) -> Put:
    """Return what sets a value given as text."""

    def put(kind: Kind, current: Any, at: At) -> Any:
        return parse_text(kind, text, at, current)

    return put
