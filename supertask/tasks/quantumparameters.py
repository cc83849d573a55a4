"""Parameters of quanta: values that one quantum of a task has and another has not.

    class FitParameters(Parameters):
        initial_guess: tuple[float, float, float] = parameter(doc="Teff in K, log g, [M/H].")
        grid: str = parameter("main", overhead=True, doc="Which grid of models is fitted.")

A task names the class in `SuperTask.ParametersClass`; its quanta carry instances of it, whose values are
attributes: ``quantum.parameters.initial_guess``. Values are checked as those of a configuration are, and
typed by the annotation: where a float is declared, 1 and 1.0 are one value, and ``"1"`` is refused.
"""

from __future__ import annotations

import typing
from typing import Any, dataclass_transform

import attrs

from supertask.errors import ConfigError, Problems
from supertask.kinds.annotations import kind_of
from supertask.kinds.base import INVALID, At, Kind, Origin

__all__ = ["Parameters", "meta_names", "overhead_parameters", "parameter"]

_DOC, _OVERHEAD, _META, _UNIT = (f"supertask.{word}" for word in ("doc", "overhead", "meta", "unit"))


def parameter(
    default: Any = attrs.NOTHING, *, doc: str, overhead: bool = False, meta: bool = False, unit: str = ""
) -> Any:
    """Declare a parameter of quanta.

    Parameters
    ----------
    default : object, optional
        Value where none is given; without it the parameter is required.
    doc : str
        What it is.
    overhead : bool, optional
        It affects only what quanta share, see `supertask.tasks.overheads`.
    meta : bool, optional
        It changes no result: it enters no identity, and never splits a bundle.
    unit : str, optional
        Unit of measurement, in which a Quantity is kept.

    Raises
    ------
    ConfigError
        It has no doc, or is both overhead and meta.
    """
    if not doc:
        raise ConfigError("a parameter has no doc: say in a line what it is, parameter(…, doc='…')")
    if overhead and meta:
        raise ConfigError(
            "a parameter is overhead or meta: what changes no result need not tell overheads apart"
        )
    said = {_DOC: doc, _OVERHEAD: overhead, _META: meta, _UNIT: unit}
    return attrs.field(default=default, metadata=said, kw_only=True)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(parameter,))
class Parameters:
    """Base of the parameters of quanta; a subclass is frozen, typed and compared by its values.

    Raises
    ------
    ConfigError
        Values do not fit what is declared; all problems at once.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # In place, so that the class that Python has just made is the one that gets its methods.
        attrs.frozen(cls, slots=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        kinds = _kinds_of(type(self))
        problems = Problems(f"{type(self).__name__}")
        for name, kind in kinds.items():
            value = getattr(self, name)
            kept = kind.accept(value, At(problems, Origin("a quantum"), (name,)))
            if kept is not INVALID and kept is not value:
                object.__setattr__(self, name, kept)
        problems.raise_if_any(ConfigError)


def _kinds_of(cls: type[Parameters]) -> dict[str, Kind]:
    """Return the kind of each parameter; found when the first instance is made, as annotations are text."""
    found: dict[str, Kind] | None = cls.__dict__.get("_kinds")
    if found is None:
        problems = Problems(f"parameters {cls.__name__}")
        found = {}
        try:
            hints = typing.get_type_hints(cls)
        except NameError as error:
            raise ConfigError(f"parameters {cls.__name__}: cannot resolve a type: {error}") from error
        for each in attrs.fields(cls):  # type: ignore[arg-type]
            try:
                found[each.name] = kind_of(hints[each.name], lambda _: None, each.metadata.get(_UNIT, ""))
            except ConfigError as error:
                problems.add(f"{each.name}: {error}")
        problems.raise_if_any(ConfigError)
        cls._kinds = found  # type: ignore[attr-defined]
    return found


def overhead_parameters(cls: type[Any] | None) -> tuple[str, ...]:
    """Return the names of parameters that are overhead, inherited ones too."""
    return _named(cls, _OVERHEAD)


def meta_names(cls: type[Any] | None) -> tuple[str, ...]:
    """Return the names of parameters that change no result."""
    return _named(cls, _META)


def _named(cls: type[Any] | None, mark: str) -> tuple[str, ...]:
    if cls is None or not attrs.has(cls):
        return ()
    return tuple(each.name for each in attrs.fields(cls) if each.metadata.get(mark))
