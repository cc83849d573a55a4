"""The shape of a YAML document held against a JSON Schema, with every mistake at its place.

Of JSON Schema it knows what the schemas here say: ``type``, ``properties``, ``additionalProperties``,
``required``, ``items``, ``anyOf`` and ``$ref`` to ``$defs``. Editors that know the whole of it take the same
files for completion.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from supertask.errors import Problems, did_you_mean
from supertask.kinds.base import INVALID
from supertask.yamlfiles.text import Document

__all__ = ["load_schema", "numbered", "shown", "well_formed"]

Schema = Mapping[str, Any]
Path_ = tuple[Hashable, ...]

_LONG = 80

_WORDS = {
    "object": "a mapping", "array": "a list", "string": "text", "number": "a number",
    "boolean": "true or false", "null": "nothing",
}  # fmt: skip


@cache
def load_schema(name: str) -> Schema:
    """Return a schema that comes with the package, such as ``pipeline``."""
    text = resources.files("supertask").joinpath("models", f"{name}.schema.json").read_text("utf-8")
    schema: Schema = json.loads(text)
    return schema


def well_formed(document: Document, schema: Schema, problems: Problems) -> Any:
    """Return the parts of a document that have the shape which a schema wants.

    Parameters
    ----------
    document : Document
        The document.
    schema : Mapping
        The schema.
    problems : Problems
        Where each part that has not is noted, with file, line and column.

    Returns
    -------
    object
        The document's value without those parts; INVALID if nothing is left.
    """
    return _Shape(document, schema, problems).check(document.value, schema, ())


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, Mapping):
        return "object"
    if isinstance(value, list | tuple):
        return "array"
    return "null" if value is None else "string"


class _Parts(list[Any]):
    """Of a list, the parts that have the shape, and which they were."""

    def __init__(self, parts: Iterable[Any]) -> None:
        kept = [(i, part) for i, part in enumerate(parts) if part is not INVALID]
        super().__init__(part for _, part in kept)
        self.indices = [i for i, _ in kept]


def numbered(values: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Yield each part of a list that `well_formed` returned, after its index in the document."""
    return zip(values.indices, values, strict=True) if isinstance(values, _Parts) else enumerate(values)


def shown(value: Any) -> str:
    """Return a value as a message shows it, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


class _Shape:
    """One check of one document."""

    def __init__(self, document: Document, root: Schema, problems: Problems) -> None:
        self.document = document
        self.root = root
        self.problems = problems

    def note(self, path: Path_, message: str) -> Any:
        """Note a mistake; gives INVALID."""
        self.problems.add(f"{self.document.at(*path)}: {message}")
        return INVALID

    def resolved(self, schema: Schema) -> Schema:
        """Return the schema that a reference means, or itself."""
        if "$ref" not in schema:
            return schema
        found: Schema = self.root["$defs"][schema["$ref"].rpartition("/")[2]]
        return found

    def types(self, schema: Schema) -> tuple[str, ...]:
        """Return the types that a schema allows; none for all."""
        found = self.resolved(schema).get("type", ())
        return (found,) if isinstance(found, str) else tuple(found)

    def check(self, value: Any, schema: Schema, path: Path_) -> Any:
        """Return what of a value has the shape."""
        branches = [self.resolved(b) for b in schema.get("anyOf", ()) if "type" in self.resolved(b)]
        choices = branches or [self.resolved(schema)]
        kind = _type_of(value)
        for choice in choices:
            if not self.types(choice) or kind in self.types(choice):
                return self._inside(value, kind, choice, path)
        allowed = list(dict.fromkeys(t for c in choices for t in self.types(c)))
        words = " or ".join(_WORDS[t] for t in allowed if t != "null")
        what = f"{path[-1]!r}" if path and isinstance(path[-1], str) else "it"
        if path and isinstance(path[-1], int):
            what = f"{path[-2]}[{path[-1]}]"
        return self.note(path, f"{what} must be {words}, got {shown(value)}")

    def _inside(self, value: Any, kind: str, schema: Schema, path: Path_) -> Any:
        if kind == "array" and "items" in schema:
            return _Parts(self.check(v, schema["items"], (*path, i)) for i, v in enumerate(value))
        if kind != "object":
            return value
        known = schema.get("properties", {})
        further = schema.get("additionalProperties", {})
        made: dict[Any, Any] = {}
        named = bool(known or further or further is False)
        for key, part in value.items():
            if named and not isinstance(key, str):
                found = self.note((*path, key), f"the key {key!r} must be text: put it in quotes")
            elif key in known:
                found = self.check(part, known[key], (*path, key))
            elif further is False:
                found = self.note(
                    (*path, key),
                    f"unknown key {key!r}{did_you_mean(str(key), known)}; known are {', '.join(known)}",
                )
            else:
                found = self.check(part, further or {}, (*path, key))
            if found is not INVALID:
                made[key] = found
        missing = [key for key in schema.get("required", ()) if key not in value]
        for key in missing:
            self.note(path, f"{key!r} is missing")
        either = [b["required"][0] for b in schema.get("anyOf", ()) if list(b) == ["required"]]
        if either and not any(key in value for key in either):
            self.note(path, f"{' or '.join(map(repr, either))} is missing")
        return made if all(key in made for key in schema.get("required", ())) else INVALID
