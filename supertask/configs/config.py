"""Config: the typed, documented, immutable configuration of a task.

All problems of one construction are reported in one error, each with the path of its field. Every
value remembers what set it, in order: the default, a line of code, a line of a file, an option of a
command. Two configurations are equal if their values are, whatever their history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from supertask.configs.base import (
    ConfigBase,
    ConfigKind,
    Setting,
    assemble,
    equal,
    leaves,
    puts_of,
    validate_all,
)
from supertask.configs.callers import calling_line
from supertask.configs.classes import declare_fields
from supertask.configs.fields import Configurable, field
from supertask.configs.grids import combinations
from supertask.configs.overrides import Override, put_text, put_value
from supertask.errors import ConfigError, Problems, did_you_mean
from supertask.kinds.base import INVALID, MISSING, At, Kind, Origin, Put
from supertask.yamlfiles.nodes import Document, YamlError

__all__ = ["Config", "Setting", "field"]


class Config(ConfigBase):
    """Base of all configurations.

    A subclass declares fields with `field`, nested configurations by their class, and replaceable
    subtasks with `ConfigurableField`. It may define `validate` to check fields against each other, and
    `renamed_fields` for names that fields had before.

    There is no `freeze`: a configuration is immutable from the moment it is made, with all that it
    holds. `replace`, `apply_override` and `over` give another one. So a task may keep it, a plan may share it
    among a million quanta, and a hash of it stays true. A path in a file that begins with
    ``./`` or ``../`` is relative to that file; any other stays as it is given.

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declare_fields(cls, _RESERVED, _special)

    def __init__(self, /, **values: Any) -> None:
        problems = Problems(type(self).__name__)
        at = At(problems, Origin(calling_line()))
        made = assemble(type(self), None, puts_of(values, put_value, at), at)
        problems.raise_if_any(ConfigError)
        self.__dict__.update(made.__dict__)
        validate_all(self, at)
        problems.raise_if_any(ConfigError)

    # -- values -------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise ConfigError(
            f"a {type(self).__name__} cannot be changed: take config.replace({name}=…), which is a new one"
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise ConfigError(f"a {type(self).__name__} cannot be changed, so {name!r} cannot be deleted")

    if not TYPE_CHECKING:  # so that a type checker sees what is misspelt

        def __getattr__(self, name: str) -> NoReturn:
            known = self.config_fields
            raise AttributeError(
                f"{type(self).__name__} has no field {name!r}{did_you_mean(name, known)}; "
                f"it has {', '.join(known)}"
            )

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(equal(getattr(self, name), getattr(other, name)) for name in self.config_fields)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.config_fields))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.config_fields)
        return f"{type(self).__name__}({values})"

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
        origin = Origin(calling_line())
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

    def _changed(self, changes: Iterable[tuple[str, Put, Origin]]) -> Self:
        problems = Problems(type(self).__name__)
        new = self
        for path, put, origin in changes:
            at = At(problems, origin)
            made = assemble(type(self), new, puts_of({path: put}, lambda given: given, at), at)
            new = new if made is INVALID else made
        problems.raise_if_any(ConfigError)
        validate_all(new, At(problems, Origin("")))
        problems.raise_if_any(ConfigError)
        return new

    def grid(self, axes: Mapping[str, Sequence[Any]]) -> dict[str, Self]:
        """Return tag → configuration for every combination of values, such as ``{"order": [1, 2]}``.

        Raises
        ------
        ConfigError
            A field is unknown, or a value is not allowed.
        """
        return {tag: self.over(chosen, f"grid {tag}") for tag, chosen in combinations(axes)}

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
                f"a {type(self).__name__} and a {type(other).__name__} cannot be compared: "
                "they have other fields"
            )
        mine, theirs = dict(leaves(self, "")), dict(leaves(other, ""))
        return {
            path: (mine.get(path, MISSING), theirs.get(path, MISSING))
            for path in {**mine, **theirs}
            if not equal(mine.get(path, MISSING), theirs.get(path, MISSING))
        }

    # -- plain data and files -----------------------------------------------------------------

    def changes_from(self, base: Config | None = None) -> dict[str, Any]:
        """Return as plain data what differs from `base`, or from the defaults.

        Laid over `base` it gives this configuration again.
        """
        changes: dict[str, Any] = {}
        for name, declared in self.config_fields.items():
            value = getattr(self, name)
            old = declared.default if base is None else getattr(base, name)
            if equal(value, old):
                continue
            nested = isinstance(value, Config) and (type(value) is type(old) or old is MISSING)
            if nested:
                inner = value.changes_from(None if old is MISSING else old)
                if inner:
                    changes[name] = inner
            elif isinstance(value, Configurable) and value.target is old.target:
                changes[name] = {"config": value.config.changes_from(old.config)}
            else:
                changes[name] = declared.kind.plain(value)
        return changes

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "") -> Self:
        """Return the configuration that plain data describes: the inverse of `to_dict`.

        Raises
        ------
        ConfigError
            Names every value that is missing, unknown or not allowed.
        """
        return cls._from(values, Origin(source or calling_line()))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a configuration from a YAML file; what it does not name has its default.

        Raises
        ------
        ConfigError
            Names everything that is wrong, with file, line and column.
        """
        from supertask.yamlfiles.text import load_file

        try:
            document = load_file(path)
        except YamlError as error:
            raise ConfigError(str(error)) from None
        return cls.overlaid({} if document.value is None else document.value, document)

    @classmethod
    def overlaid(
        cls,
        values: Any,
        document: Document,
        root: tuple[str | int, ...] = (),
        base: Self | None = None,
    ) -> Self:
        """Return `base` or the defaults, with values laid over that stand at `root` in a YAML document.

        Raises
        ------
        ConfigError
            Names everything that is wrong, with file, line and column.
        """
        return cls._from(values, Origin(document.source, document, root), base)

    def over(self, values: Mapping[str, Any], source: str) -> Self:
        """Return a copy with values laid over it that `source` sets, for the history.

        Raises
        ------
        ConfigError
            Names every value that is unknown or not allowed.
        """
        return type(self)._from(values, Origin(source), self)

    @classmethod
    def _from(cls, values: Any, origin: Origin, base: Self | None = None) -> Self:
        problems = Problems(cls.__name__)
        at = At(problems, origin)
        new = ConfigKind(cls).accept(values, at, MISSING if base is None else base)
        problems.raise_if_any(ConfigError)
        validate_all(new, at)
        problems.raise_if_any(ConfigError)
        made: Self = new
        return made

    def save(self, path: str | Path) -> None:
        """Write all values to a YAML file that `load` reads back equal."""
        from supertask.yamlfiles.text import dump

        Path(path).write_text(dump(self.to_dict()), encoding="utf-8")


_RESERVED = frozenset(name for name in dir(Config) if not name.startswith("__"))


def _special(annotation: Any) -> Kind | None:
    is_config = isinstance(annotation, type) and issubclass(annotation, Config)
    return ConfigKind(annotation) if is_config else None
