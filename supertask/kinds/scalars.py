"""Kinds of single values."""

from __future__ import annotations

import enum
import numbers
import os
from pathlib import Path
from typing import Any

from supertask.errors import did_you_mean
from supertask.kinds.base import INVALID, MISSING, At, Kind
from supertask.yamlfiles.nodes import Node, Scalar, YamlError

__all__ = [
    "BoolKind",
    "EnumKind",
    "FloatKind",
    "IntKind",
    "LiteralKind",
    "NoneKind",
    "PathKind",
    "QuantityKind",
    "StrKind",
    "parse_text",
    "shown",
]


def parse_text(kind: Kind, text: str, at: At, current: Any = MISSING) -> Any:
    """Return the value that the text of an override means for `kind`.

    Text for a string is taken as it stands, unless it is in quotes; for all else it is YAML.
    """
    from supertask.yamlfiles.text import load_untyped

    unquoted = len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]
    if kind.verbatim and unquoted:
        return kind.parse(Scalar(text), at)
    try:
        return kind.parse(load_untyped(text), at, current)
    except YamlError as error:
        # What is no YAML may still be a good string, where one is among the choices.
        result = kind.parse(Scalar(text), trial := at.trial())
        return at.note(str(error)) if trial.problems else result


class _Simple(Kind):
    """A kind whose values are words."""

    noun = ""
    hint = ""

    def say(self) -> str:
        return self.noun

    def parse(self, node: Node, at: At, current: Any = MISSING) -> Any:
        if not isinstance(node, Scalar):
            return self.refuse(shown(node), at)
        value = self.read(node)
        return self.refuse(node.text, at, self.hint) if value is INVALID else self.accept(value, at)

    def read(self, scalar: Scalar) -> Any:
        """Return what the word means, or INVALID."""
        raise NotImplementedError

    def plain(self, value: Any) -> Any:
        return value


def shown(node: Node) -> Any:
    """Return what was written, without types, for messages."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, list):
        return [shown(n) for n in node]
    return {k: shown(n) for k, n in node.items()}


class NoneKind(_Simple):
    """None."""

    noun = "None"

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        return None if value is None else self.refuse(value, at)

    def read(self, scalar: Scalar) -> Any:
        return None if not scalar.quoted and scalar.text.lower() in ("null", "none", "~") else INVALID


class BoolKind(_Simple):
    """True or False, nothing else that has a truth."""

    noun = "a bool"
    hint = "; write true or false"

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        if isinstance(value, bool):
            return value
        if type(value).__module__ == "numpy" and type(value).__name__.startswith("bool"):
            return bool(value)
        return self.refuse(value, at, self.hint)

    def read(self, scalar: Scalar) -> Any:
        return INVALID if scalar.quoted else {"true": True, "false": False}.get(scalar.text.lower(), INVALID)


class IntKind(_Simple):
    """An int; a bool is none, nor is 5.0."""

    noun = "an int"

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        # numpy registers its scalars as numbers; bool is an int in Python, and none here.
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            return self.refuse(value, at)
        return int(value)

    def read(self, scalar: Scalar) -> Any:
        try:
            return INVALID if scalar.quoted else int(scalar.text, 0)
        except ValueError:
            return INVALID


class FloatKind(_Simple):
    """A float; an int is taken as one."""

    noun = "a float"

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return self.refuse(value, at)
        try:
            return float(value)
        except OverflowError:
            return at.note(f"{value!r} is too large for a float")

    def read(self, scalar: Scalar) -> Any:
        text = scalar.text.lower()
        try:
            return INVALID if scalar.quoted else float(text.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            return INVALID


class StrKind(_Simple):
    """Text."""

    noun = "a str"
    verbatim = True

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        return str(value) if isinstance(value, str) else self.refuse(value, at)

    def read(self, scalar: Scalar) -> Any:
        return scalar.text


class PathKind(_Simple):
    """A path of a file or folder."""

    noun = "a path"
    verbatim = True

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        if not isinstance(value, str | Path):
            return self.refuse(value, at)
        # Said by its dots: any other path means in a file what it means in code, so that it can be saved.
        document = at.origin.document
        if document and document.folder and isinstance(value, str) and value.startswith(("./", "../")):
            return Path(os.path.normpath(os.path.join(document.folder, value)))
        return Path(value)

    def read(self, scalar: Scalar) -> Any:
        return Path(scalar.text)

    def plain(self, value: Any) -> Any:
        return str(value)


class LiteralKind(Kind):
    """One of a few values."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values

    def say(self) -> str:
        return "one of " + ", ".join(repr(v) for v in self.values)

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        for known in self.values:
            # 1 == True == 1.0, but they are not one choice.
            if type(known) is type(value) and known == value:
                return known
        words = [v for v in self.values if isinstance(v, str)]
        return self.refuse(value, at, did_you_mean(value, words) if isinstance(value, str) else "")

    def parse(self, node: Node, at: At, current: Any = MISSING) -> Any:
        if isinstance(node, Scalar):
            for known in self.values:
                if isinstance(known, str) and known == node.text:
                    return known
            if not node.quoted:
                from supertask.yamlfiles.text import load

                return self.accept(load(node.text).value, at)
        return self.accept(shown(node), at)

    def plain(self, value: Any) -> Any:
        return value


class EnumKind(Kind):
    """A member of an enum, also by its value or its name."""

    def __init__(self, cls: type[enum.Enum]) -> None:
        self.cls = cls
        self._by_value = all(isinstance(m.value, str) for m in cls)

    def _word(self, member: enum.Enum) -> str:
        return str(member.value) if self._by_value else member.name

    def say(self) -> str:
        return "one of " + ", ".join(self._word(m) for m in self.cls)

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        if isinstance(value, self.cls):
            return value
        for member in self.cls:
            if type(member.value) is type(value) and member.value == value:
                return member
        if isinstance(value, str) and value in self.cls.__members__:
            return self.cls[value]
        words = [self._word(m) for m in self.cls]
        return self.refuse(value, at, did_you_mean(value, words) if isinstance(value, str) else "")

    def parse(self, node: Node, at: At, current: Any = MISSING) -> Any:
        if isinstance(node, Scalar):
            for member in self.cls:
                if node.text in (str(member.value), member.name):
                    return member
        return self.accept(shown(node), at)

    def plain(self, value: Any) -> Any:
        return self._word(value)


class QuantityKind(Kind):
    """An astropy Quantity, a single number, kept in the field's unit."""

    def __init__(self, unit: str) -> None:
        self.unit = unit

    def say(self) -> str:
        return f"a quantity in {self.unit} or a unit that converts to it"

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        from astropy.units import Quantity, UnitsError

        if isinstance(value, str):
            try:
                value = Quantity(value)
            except (TypeError, ValueError):
                return self.refuse(value, at, "; write it as '3 arcsec'")
        if not isinstance(value, Quantity) or not value.isscalar:
            return self.refuse(value, at)
        try:
            return Quantity(float(value.to_value(self.unit)), self.unit)
        except UnitsError:
            return self.refuse(str(value), at)

    def parse(self, node: Node, at: At, current: Any = MISSING) -> Any:
        if not isinstance(node, Scalar):
            return self.refuse(shown(node), at)
        bare = FloatKind().read(node)
        return self.accept(node.text if bare is INVALID else f"{node.text} {self.unit}", at)

    def plain(self, value: Any) -> Any:
        return f"{float(value.value)!r} {self.unit}"
