"""Replaceable subtasks: a config field whose value is a class of task and its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from supertask.classpath import ClassPathError, class_path, load_class
from supertask.configs.base import ConfigKind
from supertask.configs.config import Config
from supertask.configs.fields import ConfigField, Configurable, Declaration, Special, with_default
from supertask.errors import ConfigError, did_you_mean
from supertask.kinds.base import INVALID, MISSING, At, Kind, Put
from supertask.kinds.scalars import StrKind

__all__ = ["Configurable", "ConfigurableField", "Registry"]


T = TypeVar("T")


class ConfigurableKind(Kind):
    """A class of task that derives from `base`, with its configuration."""

    def __init__(self, base: type, registry: Mapping[str, type[Any] | str] | None = None) -> None:
        self.base = base
        self.registry = registry

    def say(self) -> str:
        if self.registry is not None:
            return f"one of {', '.join(self.registry)}, or the path of a task class"
        return (
            f"a task class derived from {self.base.__name__}" if self.base is not object else "a task class"
        )

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        if isinstance(value, Configurable):
            return self._of(value.target, value.config, at)
        if isinstance(value, type):
            return self._of(value, MISSING, at)
        if isinstance(value, str):
            known = self.registry or {}
            if self.registry is not None and value not in known and ":" not in value:
                return at.note(f"must be {self.say()}, got {value!r}{did_you_mean(value, known)}")
            named = known.get(value, value)
            try:
                return self._of(load_class(named) if isinstance(named, str) else named, MISSING, at)
            except ClassPathError as error:
                return at.note(str(error))
        if isinstance(value, Mapping):
            return self._from_mapping(value, at, current)
        if isinstance(value, Config) and current is not MISSING:
            return self._of(current.target, value, at)
        return self.refuse(value, at)

    def _from_mapping(self, value: Mapping[Any, Any], at: At, current: Any) -> Any:
        """Take ``{target: …, config: {…}}``, or else fields of the current target's configuration."""
        if "target" in value or set(value) == {"config"}:
            for key in value:
                if key not in ("target", "config"):
                    at.inside(str(key)).note("unknown key; known are target and config")
            target = self.accept(value["target"], at) if "target" in value else current
            if target in (MISSING, INVALID):
                return INVALID if target is INVALID else at.note("it has no target yet: name a class")
            return self._with(target, value.get("config", {}), at.inside("config"))
        if current is MISSING:
            return at.note("it has no target yet: name a class")
        return self._with(current, value, at)

    def _with(self, current: Configurable, config: Any, at: At) -> Any:
        made = ConfigKind(type(current.config)).accept(config, at, current.config)
        return INVALID if made is INVALID else Configurable(current.target, made)

    def _of(self, target: type[Any], config: Any, at: At) -> Any:
        wanted = getattr(target, "ConfigClass", None)
        if not (isinstance(wanted, type) and issubclass(wanted, Config)):
            return at.note(f"{target.__name__} is no task class: it has no ConfigClass derived from Config")
        if not issubclass(target, self.base):
            return at.note(f"must be {self.say()}, got {target.__name__}")
        if config is MISSING:
            config = ConfigKind(wanted).accept({}, at)
            return INVALID if config is INVALID else Configurable(target, config)
        if type(config) is not wanted:
            return at.note(
                f"{target.__name__} is configured by a {wanted.__name__}, got a {type(config).__name__}"
            )
        return Configurable(target, config)

    def parse(self, node: Any, at: At, current: Any = MISSING) -> Any:
        if isinstance(node, dict):
            return at.note("name a class as package.module:Class, and set fields of its config one by one")
        text = StrKind().parse(node, at)
        return INVALID if text is INVALID else self.accept(text, at, current)

    def plain(self, value: Any) -> Any:
        return {"target": class_path(value.target), "config": value.config.to_dict()}

    def change(self, current: Any, steps: tuple[str, ...], put: Put, at: At) -> Any:
        if not steps:
            return put(self, current, at)
        if current is MISSING:
            return at.note("it has no target yet: name a class")
        made = ConfigKind(type(current.config)).change(current.config, steps, put, at)
        return INVALID if made is INVALID else Configurable(current.target, made)


class Registry(dict[str, type[Any] | str]):
    """Classes of task by name, for a `ConfigurableField` to choose from.

    Examples
    --------
    >>> fitters = Registry()
    >>> @fitters.register("moffat")
    ... class MoffatTask(Task): ...
    """

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Return a decorator that gives a class a name here.

        Raises
        ------
        ConfigError
            Another class has that name.
        """

        def decorate(cls: type[T]) -> type[T]:
            if self.setdefault(name, cls) is not cls:
                raise ConfigError(f"{name!r} is registered already, for {self[name]!r}: choose another name")
            return cls

        return decorate


@attrs.frozen
class ConfigurableField(Declaration):
    """Declare a replaceable subtask.

    The field's value has a `target` (a class of task) and its `config`; `Task.makeSubtask` makes the
    subtask. It is given another target by its class or class path, and ``field.sub`` in an override
    sets a field of the target's configuration.

    Parameters
    ----------
    target : type
        Default class of task.
    doc : str
        What the subtask does.
    config : Config, optional
        Configuration for the default class; its defaults unless given.
    base : type, optional
        What every target must derive from.
    registry : Mapping, optional
        Name → class of task or path of one: those to choose from by name, as in ``psf.fit=moffat``. A
        `Registry`, or any mapping.
    """

    target: type[Any]
    doc: str = attrs.field(kw_only=True)
    config: Config | None = attrs.field(default=None, kw_only=True)
    base: type = attrs.field(default=object, kw_only=True)
    registry: Mapping[str, type[Any] | str] | None = attrs.field(default=None, kw_only=True)
    overhead: bool = attrs.field(default=False, kw_only=True)

    if TYPE_CHECKING:  # what it is on instances of the configuration

        def __get__(self, instance: object, owner: type | None = None) -> Configurable:
            raise NotImplementedError

    def bind(self, name: str, annotation: Any, special: Special) -> ConfigField:
        """Return the field that this declares."""
        if not self.doc:
            raise ConfigError("it has no doc: say in a line what the subtask does")
        kind = ConfigurableKind(self.base, self.registry)
        default: Any = self.target if self.config is None else Configurable(self.target, self.config)
        declared = ConfigField(name, kind, Configurable, doc=self.doc, overhead=self.overhead)
        return with_default(declared, default)
