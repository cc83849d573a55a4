"""How a class body becomes the fields of a configuration class."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import attrs

from supertask.configs.callers import calling_frame
from supertask.configs.fields import ConfigField, Declaration, Special, with_default
from supertask.errors import ConfigError, Problems
from supertask.kinds.base import INVALID, MISSING

__all__ = ["declare_fields"]


def declare_fields(cls: type[Any], reserved: Container[str], special: Special) -> None:
    """Find the fields that a class body declares, and make the class an attrs class of them.

    Parameters
    ----------
    cls : type
        The class.
    reserved : container of str
        Names that no field can have.
    special : callable
        Gives the kind of configuration classes.

    Raises
    ------
    ConfigError
        Names every declaration that makes no sense.
    """
    problems = Problems(f"configuration class {cls.__name__}")
    inherited: dict[str, ConfigField] = {}
    for base in reversed(cls.__mro__[1:]):
        inherited.update(vars(base).get("config_fields", {}))
    own: dict[str, ConfigField] = {}
    annotations = _annotations(cls, problems)
    for name in [*vars(cls), *(n for n in annotations if n not in vars(cls))]:
        value = vars(cls).get(name, MISSING)
        if annotations.get(name) is INVALID:
            continue
        try:
            declared = _declared(
                name,
                value,
                annotations.get(name, MISSING),
                inherited=inherited,
                reserved=reserved,
                special=special,
            )
        except ConfigError as error:
            problems.add(f"field {name!r}: {error}")
            continue
        if declared is not None:
            own[name] = declared
    problems.raise_if_any(ConfigError)
    for name in own:
        if name in vars(cls):
            delattr(cls, name)
    cls.config_fields = MappingProxyType({**inherited, **own})
    these = {
        name: attrs.field(
            default=attrs.NOTHING if f.default is MISSING else f.default,
            metadata={"config_field": f},
            kw_only=True,
        )
        for name, f in own.items()
    }
    # attrs describes the class to tools that know attrs; values are set by `_assemble` alone.
    attrs.define(cls, these=these, init=False, repr=False, eq=False, slots=False)


def _declared(
    name: str,
    value: Any,
    annotation: Any,
    *,
    inherited: Mapping[str, ConfigField],
    reserved: Container[str],
    special: Special,
) -> ConfigField | None:
    """Return the field that a name in a class body declares, or None if it declares none."""
    base = inherited.get(name)
    if isinstance(value, Declaration):
        if name in reserved or name.startswith("_"):
            raise ConfigError("the name is taken by Config itself, or begins with '_'; choose another")
        if annotation is MISSING and base is not None and value.typed:
            annotation = base.annotation
        return value.bind(name, annotation, special)
    if base is not None and value is not MISSING and annotation is MISSING:
        # A plain value in a subclass is a new default.
        return with_default(base, value)
    if annotation is MISSING or typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
        return None
    raise ConfigError("say what it is: write `name: type = field(default, doc='…')`")


def _annotations(cls: type[Any], problems: Problems) -> dict[str, Any]:
    """Return the class body's annotations with their names resolved, also those local to a function."""
    raw = inspect.get_annotations(cls)
    if not raw:
        return {}
    module = vars(sys.modules.get(cls.__module__, sys))
    frame = calling_frame()
    local = {**(frame.f_locals if frame else {}), cls.__name__: cls}
    found: dict[str, Any] = dict.fromkeys(raw, INVALID)
    for name, annotation in raw.items():
        holder = type("holder", (), {"__annotations__": {name: annotation}})
        try:
            found[name] = typing.get_type_hints(holder, module, local, include_extras=True)[name]
        except NameError as error:
            problems.add(f"field {name!r}: its type {annotation!r} cannot be resolved: {error}")
        except (TypeError, SyntaxError) as error:
            problems.add(f"field {name!r}: {annotation!r} is no type: {error}")
    return found
