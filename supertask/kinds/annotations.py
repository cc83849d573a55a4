"""From a type annotation to the kind of field that it means."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from supertask.errors import ConfigError
from supertask.kinds.base import Kind
from supertask.kinds.containers import DictKind, ListKind, PlainKind, SetKind, TupleKind, UnionKind
from supertask.kinds.scalars import (
    BoolKind,
    EnumKind,
    FloatKind,
    IntKind,
    LiteralKind,
    NoneKind,
    PathKind,
    QuantityKind,
    StrKind,
)

__all__ = ["kind_of"]

_SIMPLE: dict[Any, Callable[[], Kind]] = {
    bool: BoolKind,
    int: IntKind,
    float: FloatKind,
    str: StrKind,
    Path: PathKind,
    None: NoneKind,
    type(None): NoneKind,
    Any: PlainKind,
}


def kind_of(annotation: Any, special: Callable[[Any], Kind | None], unit: str = "") -> Kind:
    """Return the kind that an annotation means.

    Parameters
    ----------
    annotation : type
        The annotation, with no names left to resolve.
    special : callable
        Gives the kind of classes that are not known here (configurations), or None.
    unit : str, optional
        Unit of measurement, for quantities.

    Raises
    ------
    ConfigError
        No field can be of that type; says which types there are.
    """
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]()
    if (found := special(annotation)) is not None:
        return found
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return EnumKind(annotation)
    if isinstance(annotation, type) and annotation.__module__.startswith("astropy.units"):
        if not unit:
            raise ConfigError("a Quantity field needs unit='…', the unit that its value is kept in")
        return QuantityKind(unit)
    return _generic(annotation, lambda part: kind_of(part, special, unit))


def _generic(annotation: Any, inner: Callable[[Any], Kind]) -> Kind:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return inner(args[0])
    if origin is typing.Literal:
        return LiteralKind(args)
    if origin in (typing.Union, types.UnionType):
        return UnionKind(tuple(inner(a) for a in args))
    if origin in (list, Sequence) and len(args) == 1:
        return ListKind(inner(args[0]))
    if origin in (set, frozenset, AbstractSet) and len(args) == 1:
        return SetKind(inner(args[0]))
    if origin in (dict, Mapping) and len(args) == 2:
        return DictKind(inner(args[0]), inner(args[1]))
    if origin is tuple and args:
        repeated = len(args) == 2 and args[1] is Ellipsis
        return TupleKind(tuple(inner(a) for a in (args[:1] if repeated else args)), repeated=repeated)
    raise ConfigError(
        f"{annotation!r} is no type for a field; known are bool, int, float, str, Path, enums, Literal, "
        "Quantity, Config classes, X | None, list[X], tuple[X, …], set[X], dict[K, V], and Any for plain data"
    )
