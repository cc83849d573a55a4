"""What a kind of config field is, and how a problem knows its place."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Final

import attrs

from supertask.errors import Problems
from supertask.yamlfiles.nodes import Document, Node

__all__ = ["INVALID", "MISSING", "At", "Kind", "Origin", "Put", "Step", "say_path"]


class _Mark:
    """A value that stands for the lack of one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __reduce__(self) -> str:
        return self._name


MISSING: Final = _Mark("MISSING")
"""No value was given."""
INVALID: Final = _Mark("INVALID")
"""A value was given and refused; the problem has been noted."""

Step = str | int
"""A field's name or a key, or an index."""


def say_path(steps: tuple[Step, ...]) -> str:
    """Return a path as it is written in overrides: ``field.sub[0]``."""
    text = ""
    for step in steps:
        if isinstance(step, str) and step.isidentifier():
            text += f".{step}" if text else step
        else:
            text += f"[{step}]"
    return text


@attrs.frozen
class Origin:
    """What sets values: a line of code, a command line, or a file whose values each have a place."""

    source: str
    document: Document | None = None
    root: tuple[Step, ...] = ()
    """Where in the document the values begin."""
    place: str = ""
    """The one place that all come from, where the document has not one for each."""

    def source_at(self, steps: tuple[Step, ...]) -> str:
        """Return the source of the value at a path, with line and column if it is from a file."""
        if self.place or self.document is None:
            return self.place or self.source
        return self.document.at(*self.root, *steps)


@attrs.frozen
class At:
    """A place in a configuration that is being made, where values are set and problems noted."""

    problems: Problems
    origin: Origin
    steps: tuple[Step, ...] = ()

    def inside(self, step: Step) -> At:
        """Return the place one step further in."""
        return At(self.problems, self.origin, (*self.steps, step))

    def note(self, message: str) -> Any:
        """Note a problem here; gives INVALID, to return in place of a value."""
        where = f"{self.source}: " if self.origin.document else ""
        path = say_path(self.steps)
        self.problems.add(f"{where}{path}: {message}" if path else f"{where}{message}")
        return INVALID

    def trial(self) -> At:
        """Return the same place with problems of its own, to try what may not fit."""
        return At(Problems(self.problems.subject), self.origin, self.steps)

    @property
    def source(self) -> str:
        """What sets the value here."""
        return self.origin.source_at(self.steps)


class Kind(abc.ABC):
    """What values a field may have."""

    identity: bool = True
    """Whether the value is part of a task's identity."""
    verbatim: bool = False
    """Whether text is taken as it stands."""

    @abc.abstractmethod
    def say(self) -> str:
        """Return the kind in words, such as ``a float``."""

    @abc.abstractmethod
    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        """Return `value` as the field keeps it, or note the problem and return INVALID.

        Parameters
        ----------
        value : object
            From Python, or from a file. No text is taken for a number.
        at : At
            The place.
        current : object
            The value before, over which a mapping is laid where the kind is a configuration.
        """

    @abc.abstractmethod
    def parse(self, node: Node, at: At, current: Any = MISSING) -> Any:
        """Return the value that text means for this kind, or note the problem and return INVALID."""

    @abc.abstractmethod
    def plain(self, value: Any) -> Any:
        """Return a value as plain data, fit for JSON, that `accept` takes back."""

    def change(self, current: Any, steps: tuple[str, ...], put: Put, at: At) -> Any:
        """Return `current` with the part at `steps` replaced by what `put` gives."""
        if not steps:
            return put(self, current, at)
        return at.note(f"it is {self.say()} and has nothing inside that {steps[0]!r} could name")

    def refuse(self, value: Any, at: At, hint: str = "") -> Any:
        """Note that `value` is not of this kind."""
        return at.note(f"must be {self.say()}, got {value!r} ({type(value).__name__}){hint}")


Put = Callable[[Kind, Any, At], Any]
"""Gives the new value for a field of some kind, from the current one, at a place."""
