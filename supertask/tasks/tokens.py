"""Tokens: how much of a scarce resource one quantum of a task uses while it runs.

    class DownloadTask(SuperTask):
        tokens = {"archive": 1}

or in a configuration ``tokens: dict[str, int] = field({"gpu": 1}, doc="…", meta=True)``, which comes
first. How many there are is said where a plan is run. Tokens bound how much runs at once and enter no
identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supertask.configs.config import Config
from supertask.errors import ConfigError, Problems

__all__ = ["check_tokens", "parse_tokens", "tokens_of"]


def tokens_of(task: type, config: Config) -> dict[str, int]:
    """Return what one quantum of a task uses: name → how many; of the class, its bases and its configuration.

    Raises
    ------
    ConfigError
        Something is no count.
    """
    found: dict[str, Any] = {}
    for cls in reversed(task.__mro__):
        found.update(vars(cls).get("tokens", {}))
    if "tokens" in config.config_fields:
        given = config.to_dict()["tokens"]
        found.update(given if isinstance(given, Mapping) else {})
    return {name: n for name, n in check_tokens(found, f"task {task.__name__}").items() if n}


def check_tokens(tokens: Mapping[Any, Any], whose: str) -> dict[str, int]:
    """Return tokens, all of them checked.

    Raises
    ------
    ConfigError
        Names every one that has no name, or is no count.
    """
    problems = Problems(f"tokens of {whose}")
    for name, count in tokens.items():
        if not isinstance(name, str) or not name or any(c in name for c in "/\\=\0") or name[0] == ".":
            problems.add(f"{name!r} is not a name: use a word without '/', '=' or a dot before it")
        if type(count) is not int or count < 0:
            problems.add(f"{name!r} must be a count, 0 or more, got {count!r}")
    problems.raise_if_any(ConfigError)
    return dict(tokens)


def parse_tokens(text: str) -> tuple[str, int]:
    """Return name and count of ``name=count``.

    Raises
    ------
    ConfigError
        It is something else.
    """
    name, _, count = text.partition("=")
    if not name or not count.strip().isdecimal():
        raise ConfigError(f"{text!r} does not say how many tokens there are: write name=count, such as gpu=2")
    return name.strip(), int(count)
