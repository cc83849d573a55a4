"""Options that say what is done about failures, in another way than the plan does."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import click

from executors.cmdline.options import together

__all__ = ["FailureOptions", "failure_options", "parse_failures", "parse_seconds"]

F = TypeVar("F", bound=Callable[..., Any])

_ALL = "*"
_SECONDS = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(s|m|min|h|d)?\s*\Z")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS = ("retries", "timeout", "memory", "quorum")


class FailureOptions:
    """What `ExecutionFramework.execute` is told (no attrs class: help must be quick)."""

    def __init__(
        self, max_failures: float | None, policies: dict[str, dict[str, Any]], *, retry_failed: bool
    ) -> None:
        self.max_failures = max_failures
        self.policies = policies
        self.retry_failed = retry_failed


def failure_options(function: F) -> F:
    """Add the options; the command gets them as one argument `failures`."""

    @functools.wraps(function)
    def called(**given: Any) -> Any:
        fail_fast, retry_failed = given.pop("fail_fast"), given.pop("retry_failed")
        words = {name: given.pop(name) for name in ("max_failures", *_WORDS)}
        failures = parse_failures(words, fail_fast=fail_fast, retry_failed=retry_failed)
        return function(failures=failures, **given)

    options: tuple[Callable[[Any], Any], ...] = (
        click.option("--fail-fast", is_flag=True, help="Begin nothing more once a quantum has failed."),
        click.option("--max-failures", multiple=True, metavar="[LABEL=]N|N%",
                     help="Begin nothing more once so many failed, in all or of the task LABEL."),
        click.option("--retries", multiple=True, metavar="[LABEL[:CLASS]=]N",
                     help="Try a quantum again so often. CLASS is transient, out_of_memory, timeout, killed "
                          "or error; all of them unless given. Bad input is never tried again."),
        click.option("--timeout", multiple=True, metavar="[LABEL=]TIME",
                     help="End an attempt that takes longer, such as 90, 5m or 2h."),
        click.option("--memory", multiple=True, metavar="[LABEL=]SIZE",
                     help="End an attempt that holds more, such as 2GB; tried again it may hold more."),
        click.option("--quorum", multiple=True, metavar="[LABEL=]N|N%",
                     help="So many planned inputs, or such a share, are enough where others failed."),
        click.option("--retry-failed/--no-retry-failed", default=True, show_default=True,
                     help="Try again what failed before, or leave it failed."),
    )  # fmt: skip
    return cast("F", together(*options)(called))


def parse_failures(
    words: dict[str, tuple[str, ...]], *, fail_fast: bool = False, retry_failed: bool = True
) -> FailureOptions:
    """Return what the options say.

    Parameters
    ----------
    words : dict
        Option name → its words.
    fail_fast, retry_failed : bool, optional
        The flags.

    Raises
    ------
    click.UsageError
        Names the first word that says nothing, and how to write it.
    """
    policies: dict[str, dict[str, Any]] = {}
    most: float | None = 1 if fail_fast else None
    for label, text, word in _split("max-failures", words["max_failures"]):
        share = _share("max-failures", word, text)
        if label != _ALL:
            policies.setdefault(label, {})["max_failures"] = text
        elif not fail_fast:
            most = share
    for label, text, word in _split("retries", words["retries"]):
        policies.setdefault(label.partition(":")[0] or _ALL, {}).update(_retries(label, text, word))
    for label, text, word in _split("timeout", words["timeout"]):
        policies.setdefault(label, {})["timeout"] = parse_seconds(text, word)
    for label, text, word in _split("memory", words["memory"]):
        _size(word, text)
        policies.setdefault(label, {})["memory"] = text
    for label, text, word in _split("quorum", words["quorum"]):
        _share("quorum", word, text)
        policies.setdefault(label, {})["quorum"] = text
    return FailureOptions(most, policies, retry_failed=retry_failed)


def _split(option: str, words: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return label (``*`` for all), value, and the word; all tasks first: labels have the last say."""
    found = []
    for word in words:
        label, equals, text = word.rpartition("=")
        if equals and not label:
            raise click.UsageError(f"--{option} {word!r}: there is no label before '='")
        found.append((label.strip() if equals else _ALL, text.strip(), word))
    return sorted(found, key=lambda each: each[0].partition(":")[0] != _ALL)


def _retries(label: str, text: str, word: str) -> dict[str, int]:
    from supertask.configs.policy import Retries
    from supertask.errors import did_you_mean

    _, colon, kind = label.partition(":")
    kinds = list(Retries.config_fields)
    if colon and kind not in kinds:
        raise click.UsageError(
            f"--retries {word!r}: {kind!r} is no class of failure{did_you_mean(kind, kinds)}; "
            f"these are {', '.join(kinds)}"
        )
    if not text.isdecimal():
        raise click.UsageError(f"--retries {word!r}: {text!r} is not a number of retries, such as 2")
    return {f"retries.{each}": int(text) for each in ([kind] if colon else kinds)}


def parse_seconds(text: str, word: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``5m``, ``2h`` or ``1d``.

    Raises
    ------
    click.UsageError
        It is not a time.
    """
    found = _SECONDS.match(text)
    if found is None or not float(found[1]):
        raise click.UsageError(f"--timeout {word!r}: {text!r} is not a time: write 90, 5m or 2h")
    return float(found[1]) * _UNITS[found[2] or ""]


def _share(option: str, word: str, text: str) -> float:
    from supertask.configs.policy import parse_share
    from supertask.errors import ConfigError

    try:
        return parse_share(text)
    except ConfigError as error:
        raise click.UsageError(f"--{option} {word!r}: {error}") from None


def _size(word: str, text: str) -> int:
    from supertask.configs.policy import parse_size
    from supertask.errors import ConfigError

    try:
        return parse_size(text)
    except ConfigError as error:
        raise click.UsageError(f"--memory {word!r}: {error}") from None
