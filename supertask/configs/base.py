"""How configurations are made: values checked, laid over each other, compared, remembered.

`supertask.configs.config` has what users see; this is what it is built of.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import attrs

from supertask.configs.fields import ConfigField, Configurable
from supertask.configs.overrides import parse_path, put_value
from supertask.errors import ConfigError, did_you_mean
from supertask.kinds.base import INVALID, MISSING, At, Kind, Origin, Put

__all__ = ["ConfigBase", "ConfigKind", "Setting", "assemble", "equal", "leaves", "puts_of", "validate_all"]


class Setting(NamedTuple):
    """One value that a field had, and what set it."""

    value: Any
    source: str
    """``default``, ``file:line`` of code, ``file:line:column`` of YAML, or the override's own source."""


class ConfigBase:
    """What every configuration has."""

    config_fields: ClassVar[Mapping[str, ConfigField]] = MappingProxyType({})
    """Field name → what is known of the field."""
    renamed_fields: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Former name of a field → its name now; whoever uses the former is warned."""
    _history: dict[str, tuple[Setting, ...]]

    def validate(self) -> Iterable[str] | str | None:
        """Check fields against each other; a hook for subclasses.

        Returns
        -------
        iterable of str, or str, or None
            What is wrong. It may also be a generator, or raise `ConfigError` or ValueError.
        """
        return None

    def _own_problems(self) -> Iterable[str]:
        """Return what a base class finds wrong, whatever `validate` of a subclass looks at."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Return all values as plain data, fit for JSON."""
        return {name: f.kind.plain(getattr(self, name)) for name, f in self.config_fields.items()}


class ConfigKind(Kind):
    """A nested configuration."""

    def __init__(self, cls: type[ConfigBase]) -> None:
        self.cls = cls

    def say(self) -> str:
        return f"a {self.cls.__name__}"

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        # A subclass would be lost on the way through a file, which does not name the class.
        if type(value) is self.cls:
            return value
        if not isinstance(value, Mapping):
            return self.refuse(value, at)
        return self._over(current, puts_of(value, put_value, at), at)

    def parse(self, node: Any, at: At, current: Any = MISSING) -> Any:
        if not isinstance(node, dict):
            return at.note(f"must be {self.say()}; write it as {{field: value}}, or set one of its fields")
        return self._over(current, puts_of(node, _put_node, at), at)

    def _over(self, current: Any, puts: Mapping[str, Put], at: At) -> Any:
        return assemble(self.cls, current if isinstance(current, ConfigBase) else None, puts, at)

    def plain(self, value: Any) -> Any:
        return value.to_dict()

    def change(self, current: Any, steps: tuple[str, ...], put: Put, at: At) -> Any:
        if not steps:
            return put(self, current, at)
        return self._over(current, {steps[0]: _at_steps(steps[1:], put)}, at)


def _put_node(node: Any) -> Put:
    return lambda kind, current, at: kind.parse(node, at, current)


def puts_of(values: Mapping[Any, Any], put_of: Callable[[Any], Put], at: At) -> dict[str, Put]:
    """Return what sets each field, from values by path: several paths may lead into one field."""
    puts: dict[str, Put] = {}
    for path, value in values.items():
        try:
            first, *rest = parse_path(str(path))
        except ConfigError as error:
            at.inside(str(path)).note(str(error))
            continue
        put = _at_steps(tuple(rest), put_of(value))
        if rest and at.origin.document:
            put = _placed(put, at.inside(path).source)
        puts[first] = _both(puts[first], put) if first in puts else put
    return puts


def _placed(put: Put, place: str) -> Put:
    def placed(kind: Kind, current: Any, at: At) -> Any:
        return put(kind, current, attrs.evolve(at, origin=attrs.evolve(at.origin, place=place)))

    return placed


def _both(first: Put, second: Put) -> Put:
    def both(kind: Kind, current: Any, at: At) -> Any:
        made = first(kind, current, at)
        other = second(kind, current if made is INVALID else made, at)
        return INVALID if made is INVALID else other

    return both


def _at_steps(steps: tuple[str, ...], put: Put) -> Put:
    return lambda kind, current, at: kind.change(current, steps, put, at)


def assemble(cls: type[ConfigBase], current: ConfigBase | None, puts: Mapping[str, Put], at: At) -> Any:
    """Return a configuration of `current` (or defaults) and changes, not yet cross-checked."""
    fields = cls.config_fields
    problems_before = len(at.problems)
    puts = _renamed(cls, puts, at)
    for name in puts:
        if name not in fields:
            at.inside(name).note(
                f"{cls.__name__} has no such field{did_you_mean(name, fields)}; "
                f"it has {', '.join(fields) or 'none'}"
            )
    values: dict[str, Any] = {}
    history: dict[str, tuple[Setting, ...]] = {}
    for name, declared in fields.items():
        here = at.inside(name)
        if current is not None:
            value, settings = getattr(current, name), current._history.get(name, ())
        else:
            value = declared.default
            settings = () if value is MISSING else (Setting(_shown(value), "default"),)
        if name in puts:
            try:
                value = puts[name](declared.kind, value, here)
            except RecursionError:
                here.note("holds itself, or is nested too deep")
                value = INVALID
            if value is not INVALID and (problem := declared.problem(value)):
                here.note(problem)
            if declared.deprecated and not equal(value, declared.default):
                _warn(here, f"{cls.__name__}.{name} is deprecated: {declared.deprecated}")
            # What is set inside a subtask's configuration is remembered there.
            if not (isinstance(value, Configurable) and settings and settings[-1].value is value.target):
                settings = (*settings, Setting(_shown(value), here.source))
        elif value is MISSING and isinstance(declared.kind, ConfigKind):
            value = declared.kind.accept({}, At(at.problems, Origin("default"), here.steps))
        elif value is MISSING:
            unit = f", in {declared.unit}" if declared.unit else ""
            here.note(f"a value is required: {declared.kind.say()}{unit} ({declared.doc})")
        values[name], history[name] = value, settings
    if len(at.problems) > problems_before:
        return INVALID
    new = cls.__new__(cls)
    new.__dict__.update(values, _history=history)
    return new


def _renamed(cls: type[ConfigBase], puts: Mapping[str, Put], at: At) -> Mapping[str, Put]:
    """Return what sets each field by the name that it has now."""
    former = [name for name in puts if name in cls.renamed_fields and name not in cls.config_fields]
    if not former:
        return puts
    made: dict[str, Put] = {}
    for name, put in puts.items():
        new = cls.renamed_fields[name] if name in former else name
        if name in former:
            here = at.inside(name)
            if new in puts:
                here.note(f"it is called {new!r} now, which is given too: leave out {name!r}")
            _warn(here, f"{cls.__name__}.{name} is called {new!r} now")
            put = _placed(put, here.source) if at.origin.document else put  # noqa: PLW2901 - one put
        made[new] = put
    return made


def _warn(at: At, message: str) -> None:
    """Warn of what still works, naming what uses it."""
    warnings.warn(f"{at.source}: {message}", FutureWarning, stacklevel=2)


def _shown(value: Any) -> Any:
    return value.target if isinstance(value, Configurable) else value


def validate_all(config: ConfigBase, at: At) -> None:
    """Run the hooks of a configuration and all inside it, innermost first."""
    for name in config.config_fields:
        value = getattr(config, name)
        for steps, inner in _inside(value):
            here = at.inside(name)
            for step in steps:
                here = here.inside(step)
            validate_all(inner, here)
    for message in config._own_problems():
        at.note(message)
    try:
        found = config.validate()
        messages = [found] if isinstance(found, str) else list(found or ())
    except (ConfigError, ValueError) as error:
        messages = [str(error)]
    for message in messages:
        at.note(message)


def _inside(value: Any) -> Iterator[tuple[tuple[str | int, ...], ConfigBase]]:
    """Yield the configurations in a field's value, each with its path from the field."""
    if isinstance(value, ConfigBase):
        yield (), value
    elif isinstance(value, Configurable):
        yield (), value.config
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from (((key, *steps), inner) for steps, inner in _inside(part))
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from (((i, *steps), inner) for steps, inner in _inside(part))


def leaves(config: ConfigBase, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the path and value of every field, nested configurations laid flat."""
    for name in config.config_fields:
        value = getattr(config, name)
        if isinstance(value, ConfigBase):
            yield from leaves(value, f"{prefix}{name}.")
        elif isinstance(value, Configurable):
            yield f"{prefix}{name}", value.target
            yield from leaves(value.config, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def equal(a: Any, b: Any) -> bool:
    """Equality by value in which nan is nan."""
    if a is b:
        return True
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b)  # noqa: PLR0124 - only nan differs from itself
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    return bool(type(a) is type(b) and a == b)
