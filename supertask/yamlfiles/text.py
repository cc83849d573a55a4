"""YAML read safely and with places: every value knows the line and column it came from.

Only plain data is read (no tags that make objects). Words are taken as YAML 1.2's core schema takes
them, so that ``no`` is a word, ``12:30:45`` is not a number in base sixty, ``2026-01-05`` is not a
date and ``1e-3`` is a number; what `dump` writes reads back equal.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import attrs
import yaml

from supertask.yamlfiles.nodes import Document, Node, Place, Scalar, YamlError

__all__ = ["Document", "Node", "Place", "Scalar", "YamlError", "dump", "load", "load_file", "load_untyped"]

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_TAG = "tag:yaml.org,2002:"
_MOST = 2_000_000
"""Values that a document may have once its aliases are written out; a few lines can stand for billions."""
_DIGITS = 4000
"""Of a whole number; Python reads no more than 4300, and no setting is that long."""
_WORDS: tuple[tuple[str, str, str], ...] = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("merge", r"<<", "<"),
)


Path_ = tuple[Hashable, ...]


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Safe loader with the core schema's words."""


class _Dumper(_SafeDumper):  # type: ignore[misc]
    """Safe dumper that quotes what `_Loader` would not read as a string."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _core_schema(cls: Any) -> None:
    cls.yaml_implicit_resolvers = {}
    for kind, pattern, first in _WORDS:
        letters = [*first, ""] if kind == "null" else list(first)
        cls.add_implicit_resolver(f"{_TAG}{kind}", re.compile(rf"(?:{pattern})\Z"), letters)


def _int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    if len(text) > _DIGITS:
        raise yaml.MarkedYAMLError(problem=f"a number of {len(text)} digits", problem_mark=node.start_mark)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _float(loader: Any, node: Any) -> float:
    text = loader.construct_scalar(node).lower()
    # YAML writes a point before the words that Python writes without one.
    return float(text.replace(".", "") if text.endswith(("inf", "nan")) else text)


_core_schema(_Loader)
_core_schema(_Dumper)
_Loader.add_constructor(f"{_TAG}int", _int)
_Loader.add_constructor(f"{_TAG}float", _float)
_Dumper.add_representer(tuple, lambda dumper, data: dumper.represent_list(data))


def load(text: str, source: str = "text") -> Document:
    """Read one YAML document.

    Parameters
    ----------
    text : str
        The YAML.
    source : str, optional
        Where it is from, for messages.

    Raises
    ------
    YamlError
        It is not YAML, not plain data, names a key twice, holds itself, or grows beyond measure by
        its aliases. Gives line and column.
    """
    loader = _Loader(text)
    places: dict[Path_, Place] = {}
    try:
        node = loader.get_single_node()
        if node is None:
            return Document(None, source, places)
        _note_places(node, source, places)
        value = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        line = "" if mark is None else "".join(text.split("\n")[mark.line : mark.line + 1])
        tab = mark is not None and line[mark.column : mark.column + 1] == "\t"
        hint = "; a tab stands there: write spaces" if tab else ""
        raise YamlError(f"{where}: this is not plain YAML: {error.problem or error.context}{hint}") from None
    except yaml.YAMLError as error:
        said = str(error).partition("\n")[0]
        raise YamlError(f"{source}: this is not plain YAML: {said}") from None
    except RecursionError:
        raise YamlError(f"{source}: this is nested too deeply") from None
    finally:
        loader.dispose()
    return Document(value, source, places)


def load_untyped(text: str) -> Node:
    """Read one YAML value and leave its words untyped; keys of mappings are their text.

    Raises
    ------
    YamlError
        It is not YAML.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Scalar("")
        _note_places(node, "text", {})
        return _untyped(node)
    except (yaml.YAMLError, RecursionError) as error:
        problem = getattr(error, "problem", None) or error
        raise YamlError(f"{text!r} cannot be read: {problem}") from None
    finally:
        loader.dispose()


def _untyped(node: Any) -> Node:
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError("a key must be a word")
        return {key.value: _untyped(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_untyped(value) for value in node.value]
    return Scalar(node.value, node.style in ("'", '"'))


def _note_places(root: Any, source: str, places: dict[Path_, Place]) -> None:
    """Note where each node begins. A node that is used twice (an alias) is noted once."""
    done: dict[int, int] = {}
    inside: list[int] = []

    def walk(node: Any, path: Path_, mark: Any) -> int:
        places.setdefault(path, Place(mark.line + 1, mark.column + 1))
        if id(node) in inside:
            raise YamlError(f"{_say(source, node)}: this anchor holds itself")
        if id(node) in done:
            return done[id(node)]
        size = 1
        inside.append(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: set[Any] = set()
            for key, value in node.value:
                name = _key(key)
                if name is not None and (key.tag, name) in seen:
                    raise YamlError(f"{_say(source, key)}: the key {name!r} is here a second time")
                seen.add((key.tag, name))
                size += walk(value, (*path, name), key.start_mark)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                size += walk(value, (*path, i), value.start_mark)
        if size > _MOST:
            raise YamlError(
                f"{_say(source, node)}: with its aliases written out this has over {_MOST:,} values"
            )
        inside.pop()
        done[id(node)] = size
        return size

    walk(root, (), root.start_mark)


def _key(node: Any) -> Hashable:
    """Return what a key will be, as far as places need to know."""
    if not isinstance(node, yaml.ScalarNode):
        return None
    return int(node.value) if node.tag == f"{_TAG}int" and node.value.isdigit() else node.value


def _say(source: str, node: Any) -> str:
    return f"{source}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def load_file(path: str | Path) -> Document:
    """Read a YAML file.

    Raises
    ------
    YamlError
        As `load`, or the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise YamlError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise YamlError(
            f"cannot read {path}: it is no text in UTF-8 ({error.reason} at byte {error.start})"
        ) from error
    return attrs.evolve(load(text, str(path)), folder=str(Path(path).absolute().parent))


def dump(value: Any) -> str:
    """Write plain data as YAML that `load` reads back equal; mappings keep their order."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100
    )
    return text
