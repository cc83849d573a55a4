"""What makes two values, configurations or tasks the same: a canonical encoding, and digests of it.

The encoding is versioned, and every part has its kind and its length before it, so that no two
different values have one encoding: 1, 1.0, "1" and True all differ, and so do ``("ab", "c")`` and
``("a", "bc")``. What means nothing does not show: the order of a dict or set, the payload of a nan,
list or tuple, a numpy scalar or its Python value. A Quantity is encoded in the base units of its unit
rounded to 15 digits, so that 1 km and 1000 m are one.

What enters a task's identity (`task_key`) are the path of its class, its declared version, and those
fields of its configuration that

- are not `meta`: those change no result;
- are not names of dataset types: what is read enters by its own identity, what is written by the
  type that is written;
- differ from their default: so a field that is added with a default keeps identities. The other side
  of this: *whoever changes a default changes results, and must change the class's `version` with it.*

A subtask enters by the path of its class, its version and its configuration, likewise.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from pathlib import PurePath
from typing import Any

from supertask.classpath import class_path
from supertask.config import Config
from supertask.configfields import Configurable
from supertask.errors import SuperTaskError
from supertask.kinds.base import MISSING

__all__ = ["IdentityError", "canonical", "digest", "task_key"]

_VERSION = b"supertask 1"
_WIDTH = 16


class IdentityError(SuperTaskError):
    """A value has no identity, because nobody has said what makes two of its kind the same."""


def _part(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<Q", len(body)) + body


def canonical(value: Any) -> bytes:
    """Return the canonical encoding of a value.

    Parameters
    ----------
    value : object
        None, bool, int, float, str, bytes, list, tuple, dict, set, enum, path, `Config`, numpy
        scalar or array of numbers, Quantity, or anything made of them.

    Raises
    ------
    IdentityError
        It is, or has in it, something else; the message gives its place.
    """
    return _VERSION + _encode(value, "value")


def digest(*parts: bytes) -> bytes:
    """Return 16 bytes that tell `parts` from all others; how they are divided counts too."""
    state = blake2b(digest_size=_WIDTH)
    for part in parts:
        state.update(struct.pack("<Q", len(part)))
        state.update(part)
    return state.digest()


def task_key(task_class_path: str, version: str, config: Config) -> bytes:
    """Return the identity of a task, 16 bytes; see the module's docstring for what enters.

    Parameters
    ----------
    task_class_path : str
        ``package.module:Class``.
    version : str
        Version that the class declares.
    config : Config
        Its configuration.
    """
    return digest(
        b"task", canonical(task_class_path), canonical(version), _VERSION + _encode(config, "config")
    )


def _encode(value: Any, place: str) -> bytes:
    simple = _simple(value)
    if simple is not None:
        return simple
    if isinstance(value, enum.Enum):
        return _part(b"e", _encode(class_path(type(value)), place) + _encode(value.name, place))
    if isinstance(value, Mapping):
        items = sorted(
            (_encode(k, f"a key of {place}"), _encode(v, f"{place}[{k!r}]")) for k, v in value.items()
        )
        return _part(b"d", b"".join(k + v for k, v in items))
    if isinstance(value, list | tuple):
        return _part(b"l", b"".join(_encode(v, f"{place}[{i}]") for i, v in enumerate(value)))
    if isinstance(value, AbstractSet):
        return _part(b"S", b"".join(sorted(_encode(v, f"an element of {place}") for v in value)))
    if isinstance(value, PurePath):
        return _part(b"p", value.as_posix().encode())
    if isinstance(value, Config):
        return _part(b"c", _config(value, place))
    if isinstance(value, Configurable):
        version = str(getattr(value.target, "version", ""))
        inner = _encode(value.config, f"{place}.config")
        return _part(b"t", _encode(class_path(value.target), place) + _encode(version, place) + inner)
    found = _foreign(value, place)
    if found is not None:
        return found
    raise IdentityError(
        f"{place} has no identity: {value!r} is a {type(value).__module__}.{type(value).__qualname__}, and "
        "only plain values, enums, paths, quantities, configurations, and containers of them have one"
    )


def _simple(value: Any) -> bytes | None:
    """Encode plain values, which nearly all are; by exact type, for enums may be ints too."""
    kind = type(value)
    if value is None:
        return _part(b"n", b"")
    if kind is bool:
        return _part(b"b", b"\1" if value else b"\0")
    if kind is int:
        return _part(b"i", str(value).encode() if abs(value) < 1 << 63 else hex(value).encode())
    if kind is float:
        # One nan for all; -0.0 and 0.0 keep their signs.
        return _part(b"f", struct.pack("<d", math.nan if math.isnan(value) else value))
    if kind is str:
        return _part(b"s", value.encode("utf-8", "surrogatepass"))
    if kind is bytes:
        return _part(b"y", value)
    return None


def _config(config: Config, place: str) -> bytes:
    """Encode the fields that enter identity and are not at their default."""
    parts = []
    for name, field in sorted(config.config_fields.items()):
        if not field.identity:
            continue
        encoded = _encode(getattr(config, name), f"{place}.{name}")
        if field.default is MISSING or encoded != _encode(field.default, f"the default of {place}.{name}"):
            parts.append(_encode(name, place) + encoded)
    return b"".join(parts)


def _foreign(value: Any, place: str) -> bytes | None:
    """Encode values of numpy and astropy, known by their attributes so that neither is imported."""
    if hasattr(value, "unit") and hasattr(value, "to") and hasattr(value, "value"):
        base = value.decompose() if hasattr(value, "decompose") else value
        return _part(b"q", _encode(str(base.unit), place) + _encode(_rounded(base.value), place))
    dtype = getattr(value, "dtype", None)
    if dtype is not None and dtype.kind in "biufUS":
        if value.shape == ():
            return _encode(value.item(), place)
        return _part(b"a", _encode(list(value.shape), place) + _encode(value.ravel().tolist(), place))
    # Subclasses of plain types (a str with a method more) are what they derive from.
    kinds: tuple[type[Any], ...] = (int, float, str, bytes)
    kind = next((k for k in kinds if isinstance(value, k)), None)
    return _simple(kind(value)) if kind is not None else None


def _rounded(value: Any) -> Any:
    """Round to 15 digits, which a conversion of units keeps."""
    if getattr(value, "shape", ()) == ():
        return float(f"{float(value):.15g}") + 0.0
    return [_rounded(v) for v in value]
