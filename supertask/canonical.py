"""The canonical encoding of values, and digests of it.

The encoding is versioned, and every part has its kind and its length before it, so that no two
different values have one encoding: 1, 1.0, "1" and True all differ, and so do ``("ab", "c")`` and
``("a", "bc")``. What means nothing does not show: the order of a dict or set, the payload of a nan,
list or tuple, a numpy scalar or its Python value. A Quantity is encoded in the base units of its unit
(angles in degrees) rounded to 15 digits, so that 1 km and 1000 m are one. Of a value that has
all of a float's digits a conversion may change the last that counts; it is another then, since to make
something again is better than to take one thing for another.

Configurations are encoded by `supertask.configs.identities`, which knows them; for reading a plan this does.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from pathlib import PurePath
from typing import Any

from supertask.classpath import class_path
from supertask.errors import SuperTaskError

__all__ = ["IdentityError", "canonical", "digest", "encode", "part"]

VERSION = b"supertask 1"
_WIDTH = 16

Further = Callable[[Any, str], bytes | None]
"""Encodes a kind of value more, given it and its place; None for what it does not know."""


class IdentityError(SuperTaskError):
    """A value has no identity, because nobody has said what makes two of its kind the same."""


def part(kind: bytes, body: bytes) -> bytes:
    """Return an encoded part: its kind, its length and its body."""
    return kind + struct.pack("<Q", len(body)) + body


def canonical(value: Any, further: Further | None = None) -> bytes:
    """Return the canonical encoding of a value.

    Parameters
    ----------
    value : object
        None, bool, int, float, str, bytes, list, tuple, dict, set, enum, path, numpy scalar or
        array of numbers, Quantity, or anything made of them.
    further : callable, optional
        Encodes a kind of value more.

    Raises
    ------
    IdentityError
        It is, or has in it, something else; the message gives its place.
    """
    try:
        return VERSION + encode(value, "value", further)
    except RecursionError:
        raise IdentityError("value has no identity: it holds itself, or is nested too deep") from None


def digest(*parts: bytes) -> bytes:
    """Return 16 bytes that tell `parts` from all others; how they are divided counts too."""
    state = blake2b(digest_size=_WIDTH)
    for part in parts:
        state.update(struct.pack("<Q", len(part)))
        state.update(part)
    return state.digest()


def encode(value: Any, place: str, further: Further | None = None) -> bytes:
    """Encode a value without the version; `place` says in messages where it stands."""
    simple = _simple(value)
    if simple is not None:
        return simple
    # First what the caller knows, as abstract classes take long to say that a class is none of theirs.
    found = further(value, place) if further is not None else None
    if found is not None:
        return found
    if isinstance(value, enum.Enum):
        return part(b"e", encode(class_path(type(value)), place) + encode(value.name, place))
    if isinstance(value, Mapping):
        items = sorted(
            (encode(k, f"a key of {place}", further), encode(v, f"{place}[{k!r}]", further))
            for k, v in value.items()
        )
        return part(b"d", b"".join(k + v for k, v in items))
    if isinstance(value, list | tuple):
        return part(b"l", b"".join(encode(v, f"{place}[{i}]", further) for i, v in enumerate(value)))
    if isinstance(value, AbstractSet):
        return part(b"S", b"".join(sorted(encode(v, f"an element of {place}", further) for v in value)))
    if isinstance(value, PurePath):
        return part(b"p", value.as_posix().encode())
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
        return part(b"n", b"")
    if kind is bool:
        return part(b"b", b"\1" if value else b"\0")
    if kind is int:
        return part(b"i", str(value).encode() if abs(value) < 1 << 63 else hex(value).encode())
    if kind is float:
        # One nan for all; -0.0 and 0.0 keep their signs.
        return part(b"f", struct.pack("<d", math.nan if math.isnan(value) else value))
    if kind is str:
        return part(b"s", value.encode("utf-8", "surrogatepass"))
    if kind is bytes:
        return part(b"y", value)
    return None


def _foreign(value: Any, place: str) -> bytes | None:
    """Encode values of numpy and astropy, known by their attributes so that neither is imported."""
    if hasattr(value, "unit") and hasattr(value, "to") and hasattr(value, "value"):
        base = _in_base_units(value)
        return part(b"q", encode(str(base.unit), place) + encode(_rounded(base.value), place))
    dtype = getattr(value, "dtype", None)
    if dtype is not None and dtype.kind in "biufUS":
        if value.shape == ():
            return encode(value.item(), place)
        return part(b"a", encode(list(value.shape), place) + encode(value.ravel().tolist(), place))
    # Subclasses of plain types (a str with a method more) are what they derive from.
    kinds: tuple[type[Any], ...] = (int, float, str, bytes)
    kind = next((k for k in kinds if isinstance(value, k)), None)
    return _simple(kind(value)) if kind is not None else None


def _in_base_units(value: Any) -> Any:
    """Return a Quantity in base units: of angles degrees, since radians make all numbers irrational."""
    if not hasattr(value, "decompose"):
        return value
    from astropy.units import UnitConversionError, deg, rad, si

    try:
        return value.decompose(bases=(si.bases - {rad}) | {deg})
    except UnitConversionError:  # counts, pixels and the like are of no system
        return value.decompose()


def _rounded(value: Any) -> Any:
    """Round to 15 digits, which a conversion of units keeps."""
    if getattr(value, "shape", ()) == ():
        return float(f"{float(value):.15g}") + 0.0
    return [_rounded(v) for v in value]
