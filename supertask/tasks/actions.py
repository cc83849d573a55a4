"""Actions: what one may do with a run after it, offered by its tasks.

    class LearnTask(SuperTask):
        @action("Write the weights as a table.")
        def export(self, butler, run, path: str, digits: int = 3): ...

``supertask act REPO RUN`` lists what the tasks of a run offer, and
``supertask act REPO RUN learn.export --set path=weights.csv`` does it: the task is made with the
configuration that the run had, and gets a Butler that reads the run first. The arguments that follow are the
action's own.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from supertask.butler.port import AbstractButler
from supertask.errors import ConfigError, Problems, did_you_mean
from supertask.tasks.task import Task

__all__ = ["Action", "act", "action", "actions_of"]

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__supertask_action__"
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@attrs.frozen
class Action:
    """What a task offers."""

    name: str
    doc: str
    parameters: Mapping[str, inspect.Parameter]
    """Its own arguments, those after Butler and run."""


def action(doc: str) -> Callable[[F], F]:
    """Decorate a method ``(self, butler, run, …)`` of a task: it is an action.

    Parameters
    ----------
    doc : str
        What it does, in a line.

    Raises
    ------
    ConfigError
        It has no doc, or not these parameters.
    """

    def mark(method: F) -> F:
        names = list(inspect.signature(method).parameters)
        if not doc or names[1:3] != ["butler", "run"]:
            raise ConfigError(
                f"action {method.__qualname__}: write @action('what it does') over a method "
                "(self, butler, run, …)"
            )
        setattr(method, _MARK, doc)
        return method

    return mark


def actions_of(task: type[Task]) -> dict[str, Action]:
    """Return the actions of a class of task by name, inherited ones too."""
    found: dict[str, Action] = {}
    for name, method in inspect.getmembers(task, callable):
        doc = getattr(method, _MARK, None)
        if doc is not None:
            parameters = list(inspect.signature(method).parameters.items())[3:]
            found[name] = Action(name, doc, dict(parameters))
    return found


def act(task: Task, name: str, butler: AbstractButler, run: str, given: Mapping[str, str]) -> Any:
    """Do what a task offers, with arguments as text, and return what it returns.

    Raises
    ------
    ConfigError
        There is no such action; or names every argument that is missing, unknown, or not of its type.
    """
    known = actions_of(type(task))
    if name not in known:
        raise ConfigError(
            f"task {task.name!r} has no action {name!r}{did_you_mean(name, known)}; it has "
            f"{', '.join(known) or 'none'}"
        )
    wanted = known[name].parameters
    problems = Problems(f"action {task.name}.{name}")
    method = getattr(task, name)
    types = typing.get_type_hints(method)
    arguments: dict[str, Any] = {}
    for word, text in given.items():
        if word not in wanted:
            known_words = ", ".join(wanted) or "nothing"
            problems.add(f"it takes no {word!r}{did_you_mean(word, wanted)}; it takes {known_words}")
            continue
        try:
            arguments[word] = _value(text, types.get(word, str))
        except ValueError as error:
            problems.add(f"{word}: {error}")
    for word, parameter in wanted.items():
        if parameter.default is parameter.empty and word not in given:
            problems.add(f"{word} is needed: give {word}=VALUE")
    problems.raise_if_any(ConfigError)
    return method(butler, run, **arguments)


def _value(text: str, kind: Any) -> Any:
    if kind is bool:
        if text.lower() not in _WORDS:
            raise ValueError(f"{text!r} is neither true nor false")
        return _WORDS[text.lower()]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"{text!r} is no {kind.__name__}") from None
    return text
