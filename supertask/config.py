"""Config: the typed, documented, immutable configuration of a task.

All problems of one construction are reported in one error, each with the path of its field. Every
value remembers what set it, in order: the default, a line of code, a line of a file, an option of a
command. Two configurations are equal if their values are, whatever their history.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, NoReturn, Self

import attrs

from supertask.configfields import ConfigField, Configurable, Declaration, field, with_default
from supertask.errors import ConfigError, Problems, did_you_mean
from supertask.kinds.base import INVALID, MISSING, At, Kind, Origin, Put, say_path
from supertask.overrides import Override, parse_path, put_text, put_value
from supertask.yamltext import Document, YamlError, dump, load_file

__all__ = ["Config", "ConfigKind", "Setting", "field"]


class Setting(NamedTuple):
    """One value that a field had, and what set it."""

    value: Any
    source: str
    """``default``, ``file:line`` of code, ``file:line:column`` of YAML, or the override's own source."""


class Config:
    """Base of all configurations.

    A subclass declares fields with `field`, nested configurations by their class, and replaceable
    subtasks with `ConfigurableField`. It may define `validate` to check fields against each other.

    Parameters
    ----------
    **values
        Values of fields. A mapping for a nested configuration is laid over its default.

    Raises
    ------
    ConfigError
        Names every value that is missing, unknown or not allowed.

    Examples
    --------
    >>> class WarpConfig(Config):
    ...     kernel: str = field("lanczos3", doc="Interpolation.", choices=("bilinear", "lanczos3"))
    ...     margin: int = field(10, doc="Pixels around a patch.", unit="pix", min=0)
    >>> WarpConfig(margin=20).replace(kernel="bilinear")
    WarpConfig(kernel='bilinear', margin=20)
    """

    config_fields: ClassVar[Mapping[str, ConfigField]] = MappingProxyType({})
    """Field name → what is known of the field."""
    _history: dict[str, tuple[Setting, ...]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _declare_fields(cls)

    def __init__(self, /, **values: Any) -> None:
        problems = Problems(type(self).__name__)
        at = At(problems, Origin(_caller()))
        puts = {name: put_value(value) for name, value in values.items()}
        made = _assemble(type(self), None, puts, at)
        problems.raise_if_any(ConfigError)
        self.__dict__.update(made.__dict__)
        _validate(self, at)
        problems.raise_if_any(ConfigError)

    # -- values -------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise ConfigError(
            f"a {type(self).__name__} cannot be changed: take config.replace({name}=…), which is a new one"
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise ConfigError(f"a {type(self).__name__} cannot be changed, so {name!r} cannot be deleted")

    def __getattr__(self, name: str) -> NoReturn:
        known = self.config_fields
        raise AttributeError(
            f"{type(self).__name__} has no field {name!r}{did_you_mean(name, known)}; it has {', '.join(known)}"
        )

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_equal(getattr(self, name), getattr(other, name)) for name in self.config_fields)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.config_fields))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.config_fields)
        return f"{type(self).__name__}({values})"

    def validate(self) -> Iterable[str] | str | None:
        """Check fields against each other; a hook for subclasses.

        Returns
        -------
        iterable of str, or str, or None
            What is wrong. It may also be a generator, or raise `ConfigError` or ValueError.
        """
        return None

    # -- changes ------------------------------------------------------------------------------

    def replace(self, /, **changes: Any) -> Self:
        """Return a copy with some values replaced.

        Parameters
        ----------
        **changes
            Values of fields; also of parts, as in ``replace(**{"sub.threshold": 5.0})``. A mapping
            for a nested configuration is laid over its current value.

        Raises
        ------
        ConfigError
            Names every value that is unknown or not allowed.
        """
        origin = Origin(_caller())
        return self._changed([(path, put_value(value), origin) for path, value in changes.items()])

    def apply_override(self, path: str, value: Any, source: str = "override") -> Self:
        """Return a copy with one value replaced.

        Parameters
        ----------
        path : str
            The field: ``field``, ``field.sub``, ``field[0]``.
        value : object
            Its value. A str is text whose meaning the field's type decides: ``"5"`` is 5 for an
            int, and ``"[1, 2]"`` a list. Text for a str is taken as it stands, without quotes
            around it if it has them.
        source : str, optional
            What sets it, for the history.

        Raises
        ------
        ConfigError
            There is no such field, or the value is not allowed.
        """
        return self.apply_overrides([Override(path, value, source)])

    def apply_overrides(self, overrides: Iterable[Override]) -> Self:
        """Return a copy with several values replaced in order and checked together at the end.

        Raises
        ------
        ConfigError
            Names everything that is wrong.
        """
        return self._changed(
            [
                (
                    o.path,
                    put_text(o.value) if isinstance(o.value, str) else put_value(o.value),
                    Origin(o.source),
                )
                for o in overrides
            ]
        )

    def apply_document(self, document: Document, *root: str | int) -> Self:
        """Return a copy with the values that a YAML document has, at `root` inside of it.

        Raises
        ------
        ConfigError
            Names everything that is wrong, with file, line and column.
        """
        values: Any = document.value
        for step in root:
            values = values[step]
        origin = Origin(document.source, document, root)
        at = At(Problems(type(self).__name__), origin)
        if not isinstance(values, Mapping):
            at.note(f"a configuration must be a mapping from fields to values, got {values!r}")
            at.problems.raise_if_any(ConfigError)
        return self._changed([(str(name), put_value(value), origin) for name, value in values.items()])

    def _changed(self, changes: Iterable[tuple[str, Put, Origin]]) -> Self:
        problems = Problems(type(self).__name__)
        new = self
        for path, put, origin in changes:
            at = At(problems, origin)
            try:
                steps = parse_path(path)
            except ConfigError as error:
                at.note(str(error))
                continue
            made = _assemble(type(self), new, {steps[0]: _at_steps(steps[1:], put)}, at)
            new = new if made is INVALID else made
        problems.raise_if_any(ConfigError)
        _validate(new, At(problems, Origin("")))
        problems.raise_if_any(ConfigError)
        return new

    # -- what set them, and how two differ ----------------------------------------------------

    @property
    def history(self) -> dict[str, tuple[Setting, ...]]:
        """Path of each field → the values it had, first to last, and what set each."""
        found: dict[str, tuple[Setting, ...]] = {}
        for name in self.config_fields:
            value = getattr(self, name)
            own = self._history.get(name, ())
            if not isinstance(value, Config):
                found[name] = own
            inner = value.config if isinstance(value, Configurable) else value
            if isinstance(inner, Config):
                found.update({f"{name}.{path}": settings for path, settings in inner.history.items()})
        return found

    def diff(self, other: Config) -> dict[str, tuple[Any, Any]]:
        """Return path → (value here, value there) of every field that differs.

        Raises
        ------
        ConfigError
            The other is of another class.
        """
        if type(other) is not type(self):
            raise ConfigError(
                f"a {type(self).__name__} and a {type(other).__name__} cannot be compared: they have other fields"
            )
        mine, theirs = dict(_leaves(self, "")), dict(_leaves(other, ""))
        return {
            path: (mine.get(path, MISSING), theirs.get(path, MISSING))
            for path in {**mine, **theirs}
            if not _equal(mine.get(path, MISSING), theirs.get(path, MISSING))
        }

    # -- plain data and files -----------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return all values as plain data, fit for JSON."""
        return {name: f.kind.plain(getattr(self, name)) for name, f in self.config_fields.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "") -> Self:
        """Return the configuration that plain data describes: the inverse of `to_dict`.

        Raises
        ------
        ConfigError
            Names every value that is missing, unknown or not allowed.
        """
        return cls._from(values, Origin(source or _caller()))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a configuration from a YAML file; what it does not name has its default.

        Raises
        ------
        ConfigError
            Names everything that is wrong, with file, line and column.
        """
        try:
            document = load_file(path)
        except YamlError as error:
            raise ConfigError(str(error)) from None
        values = {} if document.value is None else document.value
        return cls._from(values, Origin(document.source, document))

    @classmethod
    def _from(cls, values: Any, origin: Origin) -> Self:
        problems = Problems(cls.__name__)
        at = At(problems, origin)
        new = ConfigKind(cls).accept(values, at)
        problems.raise_if_any(ConfigError)
        _validate(new, at)
        problems.raise_if_any(ConfigError)
        made: Self = new
        return made

    def save(self, path: str | Path) -> None:
        """Write all values to a YAML file that `load` reads back equal."""
        Path(path).write_text(dump(self.to_dict()), encoding="utf-8")


class ConfigKind(Kind):
    """A nested configuration."""

    def __init__(self, cls: type[Config]) -> None:
        self.cls = cls

    def say(self) -> str:
        return f"a {self.cls.__name__}"

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        if isinstance(value, self.cls):
            return value
        if not isinstance(value, Mapping):
            return self.refuse(value, at)
        return self._over(current, {str(n): put_value(v) for n, v in value.items()}, at)

    def parse(self, node: Any, at: At, current: Any = MISSING) -> Any:
        if not isinstance(node, dict):
            return at.note(f"must be {self.say()}; write it as {{field: value}}, or set one of its fields")
        return self._over(current, {n: _put_node(v) for n, v in node.items()}, at)

    def _over(self, current: Any, puts: Mapping[str, Put], at: At) -> Any:
        base = current if isinstance(current, Config) else None
        return _assemble(type(base) if base else self.cls, base, puts, at)

    def plain(self, value: Any) -> Any:
        return value.to_dict()

    def change(self, current: Any, steps: tuple[str, ...], put: Put, at: At) -> Any:
        if not steps:
            return put(self, current, at)
        return self._over(current, {steps[0]: _at_steps(steps[1:], put)}, at)


def _put_node(node: Any) -> Put:
    return lambda kind, current, at: kind.parse(node, at, current)


def _at_steps(steps: tuple[str, ...], put: Put) -> Put:
    return lambda kind, current, at: kind.change(current, steps, put, at)


def _assemble(cls: type[Config], current: Config | None, puts: Mapping[str, Put], at: At) -> Any:
    """Return a configuration of `current` (or defaults) and changes, not yet cross-checked."""
    fields = cls.config_fields
    problems_before = len(at.problems)
    for name in puts:
        if name not in fields:
            at.inside(name).note(
                f"{cls.__name__} has no such field{did_you_mean(name, fields)}; it has {', '.join(fields) or 'none'}"
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
            value = puts[name](declared.kind, value, here)
            if value is not INVALID and (problem := declared.problem(value)):
                here.note(problem)
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


def _shown(value: Any) -> Any:
    return value.target if isinstance(value, Configurable) else value


def _validate(config: Config, at: At) -> None:
    """Run the hooks of a configuration and all inside it, innermost first."""
    for name in config.config_fields:
        value = getattr(config, name)
        for steps, inner in _inside(value):
            here = at.inside(name)
            for step in steps:
                here = here.inside(step)
            _validate(inner, here)
    try:
        found = config.validate()
        messages = [found] if isinstance(found, str) else list(found or ())
    except (ConfigError, ValueError) as error:
        messages = [str(error)]
    for message in messages:
        at.note(message)


def _inside(value: Any) -> Iterator[tuple[tuple[str | int, ...], Config]]:
    """Yield the configurations in a field's value, each with its path from the field."""
    if isinstance(value, Config):
        yield (), value
    elif isinstance(value, Configurable):
        yield (), value.config
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from (((key, *steps), inner) for steps, inner in _inside(part))
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from (((i, *steps), inner) for steps, inner in _inside(part))


def _leaves(config: Config, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in config.config_fields:
        value = getattr(config, name)
        if isinstance(value, Config):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, Configurable):
            yield f"{prefix}{name}", value.target
            yield from _leaves(value.config, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _equal(a: Any, b: Any) -> bool:
    """Equality by value in which nan is nan."""
    if a is b:
        return True
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b)  # noqa: PLR0124 - only nan differs from itself
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    return bool(type(a) is type(b) and a == b)


# -- declaring classes ------------------------------------------------------------------------

_RESERVED = frozenset(name for name in dir(Config) if not name.startswith("__"))


def _special(annotation: Any) -> Kind | None:
    is_config = isinstance(annotation, type) and issubclass(annotation, Config)
    return ConfigKind(annotation) if is_config else None


def _declare_fields(cls: type[Config]) -> None:
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
            declared = _declared(name, value, annotations.get(name, MISSING), inherited)
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
    name: str, value: Any, annotation: Any, inherited: Mapping[str, ConfigField]
) -> ConfigField | None:
    """Return the field that a name in a class body declares, or None if it declares none."""
    base = inherited.get(name)
    if isinstance(value, Declaration):
        if name in _RESERVED or name.startswith("_"):
            raise ConfigError("the name is taken by Config itself, or begins with '_'; choose another")
        if annotation is MISSING and base is not None:
            annotation = base.annotation
        return value.bind(name, annotation, _special)
    if base is not None and value is not MISSING and annotation is MISSING:
        # A plain value in a subclass is a new default.
        return with_default(base, value)
    if annotation is MISSING or typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
        return None
    raise ConfigError("say what it is: write `name: type = field(default, doc='…')`")


def _annotations(cls: type[Config], problems: Problems) -> dict[str, Any]:
    """Return the class body's annotations with their names resolved, also those local to a function."""
    raw = inspect.get_annotations(cls)
    if not raw:
        return {}
    module = vars(sys.modules.get(cls.__module__, sys))
    frame = _outside()
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


def _outside() -> Any:
    """Return the frame of the code that uses configurations."""
    frame = sys._getframe(1)
    while frame is not None and (
        frame.f_code.co_filename == __file__ or frame.f_code.co_name == "__init_subclass__"
    ):
        frame = frame.f_back  # type: ignore[assignment]
    return frame


def _caller() -> str:
    frame = _outside()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "code"
