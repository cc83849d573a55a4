"""Tags: words about a run, a task or a configuration, to find outputs by. They never enter identity.

A task has the tags

- that its configuration is given in a field ``tags``, where it declares one:
  ``tags: dict[str, str] = field({}, doc="…", meta=True)``;
- of its configuration: the values of fields declared with ``field(…, tag=True)``, also in nested
  configurations
  and subtasks, by their path (``fit.order``) or by the name that is given (``tag="order"``);
- of its class: ``tags = {"stage": "reduction"}``, and of the classes that this derives from;
- of the tasks whose outputs it reads, however far up.

What stands earlier in this list comes first; where two tasks upstream differ, both values are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from supertask.configs.config import Config
from supertask.configs.fields import Configurable
from supertask.errors import ConfigError, Problems

__all__ = ["check_tags", "inherited_tags", "matches", "parse_tag", "tags_of"]

Tag = str | int | float | bool


def check_tags(tags: Mapping[Any, Any], whose: str) -> dict[str, Tag]:
    """Return tags, all of them checked.

    Raises
    ------
    ConfigError
        Names every one that is no word with a plain value.
    """
    problems = Problems(f"tags of {whose}")
    for name, value in tags.items():
        if not isinstance(name, str) or not name or "=" in name or name != name.strip():
            problems.add(f"{name!r} is not a name: use words without '=' or blanks around them")
        if not isinstance(value, str | int | float | bool):
            problems.add(f"{name!r} must be text, a number or a bool, got {value!r}")
    problems.raise_if_any(ConfigError)
    return dict(tags)


def parse_tag(text: str) -> tuple[str, str]:
    """Return name and value of ``name=value``; of ``name`` alone the value is empty.

    Raises
    ------
    ConfigError
        It has no name.
    """
    name, _, value = text.partition("=")
    if not name.strip():
        raise ConfigError(f"{text!r} is no tag: write name=value")
    return name.strip(), value.strip()


def tags_of(task: type, config: Config) -> dict[str, Tag]:
    """Return the tags of a task, without inherited ones.

    Parameters
    ----------
    task : type
        Its class.
    config : Config
        Its configuration.

    Raises
    ------
    ConfigError
        A tag is no word with a plain value.
    """
    found = dict(_of_config(config, ""))
    own: dict[str, Any] = {}
    for cls in reversed(task.__mro__):
        own.update(vars(cls).get("tags", {}))
    given = config.to_dict()["tags"] if "tags" in config.config_fields else {}
    return check_tags({**own, **found, **(given if isinstance(given, Mapping) else {})}, task.__name__)


def _of_config(config: Config, prefix: str) -> Iterable[tuple[str, Any]]:
    for name, declared in config.config_fields.items():
        value = getattr(config, name)
        inner = value.config if isinstance(value, Configurable) else value
        if isinstance(inner, Config):
            yield from _of_config(inner, f"{prefix}{name}.")
        if declared.tag and value is not None:
            word = declared.tag if isinstance(declared.tag, str) else f"{prefix}{name}"
            plain = declared.kind.plain(value)
            yield word, plain if isinstance(plain, str | int | float | bool) else str(plain)


def inherited_tags(
    own: Mapping[str, Mapping[str, Any]], upstream: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, Any]]:
    """Return the tags of each task with those that it inherits.

    Parameters
    ----------
    own : Mapping
        Task label → its tags, in an order in which tasks come after those that they read from.
    upstream : Mapping
        Task label → labels of the tasks that it reads from.

    Returns
    -------
    dict
        Task label → tags. A value on which tasks upstream differ is a list of theirs.
    """
    found: dict[str, dict[str, Any]] = {}
    for label, tags in own.items():
        above: dict[str, list[Any]] = {}
        for other in upstream.get(label, ()):
            for name, value in found.get(other, {}).items():
                values = above.setdefault(name, [])
                values += [v for v in (value if isinstance(value, list) else [value]) if v not in values]
        merged = {name: values[0] if len(values) == 1 else values for name, values in above.items()}
        found[label] = {**merged, **tags}
    return found


def matches(tags: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Tell whether tags are as wanted; an empty value stands for any."""
    for name, value in wanted.items():
        if name not in tags:
            return False
        there = tags[name] if isinstance(tags[name], list) else [tags[name]]
        if value and not any(_said(v) == value for v in there):
            return False
    return True


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
