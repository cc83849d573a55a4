"""Fields of a configuration: how a class declares them, and what is known of each."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from supertask.errors import ConfigError, Problems, did_you_mean
from supertask.kinds.annotations import kind_of
from supertask.kinds.base import INVALID, MISSING, At, Kind, Origin

__all__ = ["ConfigField", "Configurable", "Declaration", "field", "with_default"]

Special = Callable[[Any], Kind | None]


@attrs.frozen
class ConfigField:
    """What is known of one field."""

    name: str
    kind: Kind
    annotation: Any
    default: Any = MISSING
    """Its default as the configuration keeps it; MISSING where a value is required."""
    doc: str = ""
    unit: str = ""
    """Unit of measurement in astropy's spelling, empty for none."""
    min: Any = None
    """Least value allowed, of each number in it."""
    max: Any = None
    """Greatest value allowed, of each number in it."""
    choices: tuple[Any, ...] = ()
    """Values allowed; empty for all."""
    meta: bool = False
    """It changes no result, so it does not enter identity nor ever splits a bundle."""
    overhead: bool = False
    """It affects only what quanta share, see the overhead methods of a SuperTask."""
    tag: bool | str = False
    """Whether its value is a tag, see `supertask.tasks.tags`; a str is the tag's name."""
    deprecated: str = ""
    """What to do instead of setting it; whoever sets it is warned with this. Empty for a field in use."""

    @property
    def identity(self) -> bool:
        """Whether its value is part of the task's identity."""
        return self.kind.identity and not self.meta

    def problem(self, value: Any) -> str:
        """Return what is wrong with a value of the right kind, or an empty string."""
        if self.choices and value not in self.choices and value is not None:
            words = [c for c in self.choices if isinstance(c, str)]
            hint = did_you_mean(value, words) if isinstance(value, str) else ""
            return f"must be one of {', '.join(map(repr, self.choices))}, got {value!r}{hint}"
        return self._range_problem(value) if self.min is not None or self.max is not None else ""

    def _range_problem(self, value: Any) -> str:
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, Sequence | frozenset) and not isinstance(value, str):
            return next((p for v in value if (p := self._range_problem(v))), "")
        if hasattr(value, "unit"):
            value = float(value.value)  # a Quantity is kept in the field's unit
        if isinstance(value, bool) or not isinstance(value, int | float):
            return ""
        unit = f" {self.unit}" if self.unit else ""
        if self.min is not None and not value >= self.min:
            return f"must be at least {self.min!r}{unit}, got {value!r}"
        if self.max is not None and not value <= self.max:
            return f"must be at most {self.max!r}{unit}, got {value!r}"
        return ""


@attrs.frozen
class Configurable:
    """The value of a `ConfigurableField`: a class of task, and the configuration to make it with."""

    target: type[Any]
    config: Any


class Declaration(abc.ABC):
    """What stands in a class body in the place of a field."""

    typed: ClassVar[bool] = True
    """Whether it has a type annotation, which a subclass need not repeat."""

    @abc.abstractmethod
    def bind(self, name: str, annotation: Any, special: Special) -> ConfigField:
        """Return the field that this declares.

        Parameters
        ----------
        name : str
            Name of the field.
        annotation : type
            Its type, MISSING where the class body gives none.
        special : callable
            Gives the kind of configuration classes.

        Raises
        ------
        ConfigError
            The declaration makes no sense.
        """


@attrs.frozen
class _Field(Declaration):
    """A field with a type."""

    values: dict[str, Any]

    def bind(self, name: str, annotation: Any, special: Special) -> ConfigField:
        if annotation is MISSING:
            raise ConfigError(f"it has no type: write `{name}: float = field(…)`")
        if not self.values["doc"]:
            raise ConfigError("it has no doc: say in a line what it is, field(…, doc='…')")
        kind = kind_of(annotation, special, self.values["unit"])
        made = ConfigField(name, kind, annotation, **{**self.values, "default": MISSING, "choices": ()})
        choices = tuple(_checked(made, c, "choice") for c in self.values["choices"])
        made = attrs.evolve(made, choices=choices)
        return with_default(made, self.values["default"])


def with_default(declared: ConfigField, default: Any) -> ConfigField:
    """Return the field with another default, checked."""
    if default is MISSING:
        return declared
    return attrs.evolve(declared, default=_checked(declared, default, "default"))


def _checked(declared: ConfigField, value: Any, what: str) -> Any:
    problems = Problems(what)
    kept = declared.kind.accept(value, At(problems, Origin("default")))
    if kept is not INVALID and (problem := declared.problem(kept)):
        problems.add(problem)
    problems.raise_if_any(ConfigError)
    return kept


def field(
    default: Any = MISSING,
    *,
    doc: str,
    unit: str = "",
    min: Any = None,  # noqa: A002 - the word that a reader of a configuration expects
    max: Any = None,  # noqa: A002 - as above
    choices: Sequence[Any] = (),
    meta: bool = False,
    overhead: bool = False,
    tag: bool | str = False,
    deprecated: str = "",
) -> Any:
    """Declare a field of a configuration.

    Parameters
    ----------
    default : object, optional
        Value where none is given; without it the field is required.
    doc : str
        What it is.
    unit : str, optional
        Unit of measurement in astropy's spelling. Of a Quantity field it is the unit kept.
    min, max : object, optional
        Least and greatest value allowed (of each number, in a list or dict).
    choices : sequence, optional
        The values allowed.
    meta : bool, optional
        The field changes no result (verbosity, number of threads): it does not enter identity.
    overhead : bool, optional
        The field affects only what quanta share.
    tag : bool or str, optional
        Its value is a tag of the task, by which outputs can be found; a str is the tag's name. That
        changes nothing else about the field.
    deprecated : str, optional
        What to do instead, such as ``use threshold``: the field still works, and whoever sets it is
        warned. A field that has only another name now stands in ``renamed_fields`` of its class.

    Examples
    --------
    >>> class IsrConfig(Config):
    ...     saturation: float = field(65535.0, doc="Level of saturation.", unit="adu", min=0)
    """
    return _Field(
        {
            "default": default,
            "doc": doc,
            "unit": unit,
            "min": min,
            "max": max,
            "choices": tuple(choices),
            "meta": meta,
            "overhead": overhead,
            "tag": tag,
            "deprecated": deprecated,
        }
    )
