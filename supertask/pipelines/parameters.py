"""Parameters of a pipeline: named, typed constants that configurations refer to as ``$name``.

In a configuration of a pipeline a value that is ``$name`` as a whole is the parameter's value, with its
type; ``${name}`` inside text is the parameter as text; ``$$`` is a dollar sign. Every other ``$`` stays
what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from supertask.configs.fields import ConfigField
from supertask.errors import PipelineError, Problems, did_you_mean
from supertask.kinds.base import INVALID, MISSING, At, Kind, Origin
from supertask.kinds.containers import ListKind, PlainKind
from supertask.kinds.scalars import (
    BoolKind,
    FloatKind,
    IntKind,
    PathKind,
    QuantityKind,
    StrKind,
    parse_text,
)

__all__ = ["Given", "Parameter", "escape", "has_references", "make_parameter", "resolve"]

_KINDS: dict[str, Callable[[], Kind]] = {
    "bool": BoolKind,
    "int": IntKind,
    "float": FloatKind,
    "str": StrKind,
    "path": PathKind,
    "list": PlainKind,
}
_WHOLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)\Z")
_INSIDE = re.compile(r"\$\$|\$\{([^}]*)\}")


@attrs.frozen
class Given:
    """A value for a parameter from outside the file that declares it."""

    value: Any
    source: str
    text: bool = False
    """Whether a str is text, whose meaning the parameter's type decides."""


@attrs.frozen
class Parameter:
    """A named constant."""

    declared: ConfigField = attrs.field(eq=lambda f: (f.name, f.doc, f.unit, f.min, f.max, f.choices))
    """Its name, type, doc, unit, range and choices."""
    type: str
    """Its type in words: bool, int, float, str, path, quantity, ``list[…]`` of these, or list."""
    value: Any
    source: str = attrs.field(default="", eq=False)
    """What set it: a line of a file or of code, or an option."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.declared.name

    @property
    def doc(self) -> str:
        """What it is."""
        return self.declared.doc

    def given(self, given: Given) -> Parameter:
        """Return the parameter with another value.

        Raises
        ------
        PipelineError
            The value is not one of its type, range or choices.
        """
        problems = Problems(f"parameter {self.name!r}")
        at = At(problems, Origin(given.source))
        value = given.value
        if given.text and isinstance(value, str):
            kept = parse_text(self.declared.kind, value, at)
        else:
            kept = self.declared.kind.accept(value, at)
        if kept is not INVALID and (problem := self.declared.problem(kept)):
            at.note(problem)
        problems.raise_if_any(PipelineError)
        return attrs.evolve(self, value=kept, source=given.source)

    def plain(self) -> Any:
        """Return what a file says of it: its value alone, where that says all."""
        f = self.declared
        value = MISSING if self.value is MISSING else f.kind.plain(self.value)
        further = {
            "doc": f.doc, "unit": f.unit, "min": f.min, "max": f.max,
            "choices": [f.kind.plain(c) for c in f.choices],
        }  # fmt: skip
        said = {key: v for key, v in further.items() if v not in ("", None, [])}
        if not said and value is not MISSING and self.type == _inferred(value):
            return value
        return {"type": self.type, **({} if value is MISSING else {"default": value}), **said}


def _inferred(value: Any) -> str:
    found = {bool: "bool", int: "int", float: "float", str: "str"}.get(type(value))
    return found or ("list" if isinstance(value, list | tuple) else "")


def _kind(words: str, unit: str) -> Kind | None:
    if words.startswith("list[") and words.endswith("]"):
        item = _kind(words[5:-1], unit)
        return None if item is None else ListKind(item)
    if words == "quantity":
        return QuantityKind(unit) if unit else None
    made = _KINDS.get(words)
    return None if made is None else made()


def make_parameter(
    name: str,
    default: Any = MISSING,
    *,
    type: str = "",  # noqa: A002 - the key that a pipeline file has
    doc: str = "",
    unit: str = "",
    min: Any = None,  # noqa: A002 - as above
    max: Any = None,  # noqa: A002 - as above
    choices: Sequence[Any] = (),
    source: str = "",
) -> Parameter:
    """Return a checked parameter.

    Parameters
    ----------
    name : str
        Its name.
    default : object, optional
        Its value; without one whoever uses the pipeline must give it.
    type : str, optional
        Its type in words; that of the default unless given.
    doc : str, optional
        What it is.
    unit : str, optional
        Unit of measurement in astropy's spelling.
    min, max : object, optional
        Least and greatest value allowed.
    choices : sequence, optional
        The values allowed.
    source : str, optional
        What sets it.

    Raises
    ------
    PipelineError
        The name, the type or the default makes no sense.
    """
    if not name.isidentifier():
        raise PipelineError(f"parameter {name!r}: use letters, digits and '_', and begin with a letter")
    words = type or _inferred(default)
    kind = _kind(words, unit) if words else None
    if kind is None:
        problem = f"{type!r} is no type{did_you_mean(type, _KINDS)}" if type else "it has no type"
        if type == "quantity":
            problem = "a quantity needs 'unit'"
        known = ", ".join([*_KINDS, "quantity", "list[float] and the like"])
        raise PipelineError(f"parameter {name!r}: {problem}; known are {known}")
    declared = ConfigField(name, kind, Any, doc=doc, unit=unit, min=min, max=max)
    made = Parameter(declared, words, MISSING, source)
    if choices:
        kept = tuple(made.given(Given(c, source)).value for c in choices)
        made = attrs.evolve(made, declared=attrs.evolve(declared, choices=kept))
    return made if default is MISSING else made.given(Given(default, source))


def has_references(value: Any) -> bool:
    """Tell whether a value refers to parameters, or has a dollar sign doubled."""
    if isinstance(value, str):
        return bool(_WHOLE.match(value) or _INSIDE.search(value))
    if isinstance(value, Mapping):
        return any(has_references(v) for v in value.values())
    return isinstance(value, list | tuple) and any(has_references(v) for v in value)


def resolve(value: Any, parameters: Mapping[str, Parameter], note: Callable[[str], None]) -> Any:
    """Return a value with parameters in the place of references.

    Parameters
    ----------
    value : object
        Plain data.
    parameters : Mapping
        The parameters by name.
    note : callable
        Takes what is wrong.
    """

    def one(name: str) -> Any:
        if name not in parameters:
            known = f"; it has {', '.join(parameters)}" if parameters else ""
            note(
                f"${name}: the pipeline has no parameter {name!r}{did_you_mean(name, parameters)}{known}; "
                "for the text itself write $$"
            )
            return INVALID
        found = parameters[name]
        if found.value is MISSING:
            return INVALID  # that it has none is said once, where it is declared
        return found.declared.kind.plain(found.value)

    def inside(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else str(one(match[1]))

    if isinstance(value, str):
        whole = _WHOLE.match(value)
        return one(whole[1]) if whole else _INSIDE.sub(inside, value)
    if isinstance(value, Mapping):
        made = {k: resolve(v, parameters, note) for k, v in value.items()}
        return INVALID if any(v is INVALID for v in made.values()) else made
    if isinstance(value, list | tuple):
        parts = [resolve(v, parameters, note) for v in value]
        return INVALID if any(v is INVALID for v in parts) else parts
    return value


def escape(value: Any) -> Any:
    """Return plain data with dollar signs doubled where they would be references."""
    if isinstance(value, str):
        return value.replace("$", "$$") if has_references(value) else value
    if isinstance(value, Mapping):
        return {k: escape(v) for k, v in value.items()}
    return [escape(v) for v in value] if isinstance(value, list | tuple) else value
