"""Options about who watches a run, where it works, and what stays of it; on the command line or in a profile.

A profile is a YAML file with any of::

    metrics: /var/lib/node_exporter/supertask.prom
    notify:
      command: [mail, -s, SuperTask, me@example.org]
      url: https://hooks.example.org/supertask
      failures: 3
    retain:
      warp: until-used
      "*_mask": on-failure
    scratch: /scratch
    scratch_size: 20e9        # bytes for copies of inputs, for each process

What the command line says comes before what a profile says.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import click

from executors.cmdline.options import refuse_idle, retention, together
from supertask.errors import ConfigError, Problems, did_you_mean

if TYPE_CHECKING:
    from executors.listeners.metrics import MetricsFile
    from executors.listeners.notify import Notifier

__all__ = ["Watching", "read_profile", "watching"]

F = TypeVar("F", bound=Callable[..., Any])
_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@attrs.frozen(kw_only=True)
class Watching:
    """Who watches a run, where it works, and what stays of it."""

    metrics: str = ""
    """File for metrics."""
    commands: tuple[tuple[str, ...], ...] = ()
    """Programs to notify, as lists of words."""
    urls: tuple[str, ...] = ()
    """Web addresses to notify."""
    failures: int = 3
    """How many failures are told one by one."""
    retain: Mapping[str, str] = attrs.field(factory=dict)
    """Dataset type or pattern → how long such stay."""
    scratch: str = ""
    """Folder for scratch."""
    scratch_size: int | None = None
    """Bytes of copies of inputs there, for each process."""
    overhead_memory: int | None = None
    """Bytes of overheads that each process keeps."""

    def listeners(self) -> list[MetricsFile | Notifier]:
        """Return the listeners that were asked for; each is to be entered around the run.

        Raises
        ------
        ExecutionError
            One cannot do its work: a folder is missing, an address is none.
        """
        found: list[MetricsFile | Notifier] = []
        if self.metrics:
            from executors.listeners.metrics import MetricsFile

            found.append(MetricsFile(self.metrics))
        if self.commands or self.urls:
            from executors.listeners.notify import CommandTarget, Notifier, Target, UrlTarget

            targets: list[Target] = [CommandTarget(words) for words in self.commands]
            targets += [UrlTarget(url) for url in self.urls]
            found.append(Notifier(targets, failures=self.failures))
        return found


def watching(function: F) -> F:
    """Add these options, as one argument `watch`; a `Watching`."""

    @functools.wraps(function)
    def called(**given: Any) -> Any:
        profile = given.pop("profile")
        base = read_profile(profile) if profile is not None else Watching()
        told: dict[str, Any] = {
            "metrics": str(given.pop("metrics") or ""),
            "commands": tuple(given.pop("notify_command")),
            "urls": tuple(given.pop("notify_url")),
            "scratch": str(given.pop("scratch") or ""),
            "scratch_size": given.pop("scratch_size"),
            "overhead_memory": given.pop("overhead_memory"),
        }
        changes = {name: value for name, value in told.items() if value}
        refuse_idle("scratch_size", unless=bool(told["scratch"] or base.scratch), words="without --scratch")
        retain = {**base.retain, **given.pop("retain")}
        return function(watch=attrs.evolve(base, retain=retain, **changes), **given)

    options: tuple[Callable[[Any], Any], ...] = (
        retention,
        click.option("--scratch", type=click.Path(path_type=Path), default=None, metavar="DIR",
                     help="Work in this folder, on a local disk: inputs are copied there, outputs back."),
        click.option("--scratch-size", default=None, metavar="BYTES", callback=_size,
                     help="How much room copies of inputs may take there for each process, such as 20G."),
        click.option("--overhead-memory", default=None, metavar="BYTES", callback=_size,
                     help="Memory for models and other overheads that each process keeps from one "
                     "bundle to the next, such as 4G; half of the machine's unless given."),
        click.option("--metrics", type=click.Path(path_type=Path), default=None, metavar="FILE",
                     help="Keep metrics in this file (.prom) for Prometheus' node exporter."),
        click.option("--notify-command", multiple=True, metavar="WORDS", callback=_commands,
                     help="Start this program, without a shell, with JSON on its input when quanta fail and "
                     "when the run ends; may be given again."),
        click.option("--notify-url", multiple=True, metavar="URL",
                     help="Post the same JSON to this address; may be given again."),
        click.option("--profile", type=click.Path(path_type=Path), default=None, metavar="FILE",
                     help="YAML file with such options: metrics, notify, retain, scratch, scratch_size."),
    )  # fmt: skip
    return cast("F", together(*options)(called))


def _commands(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> list[tuple[str, ...]]:
    found = []
    for text in value:
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise click.BadParameter(f"{text!r}: {error}") from None
        if not words:
            raise click.BadParameter("it names no program")
        found.append(tuple(words))
    return found


def _size(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    text = value.strip().upper().removesuffix("B")
    factor = _SIZES.get(text[-1:] if text[-1:].isalpha() else "")
    try:
        size = int(float(text.rstrip("KMGT")) * (factor or 0))
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise click.BadParameter(f"{value!r}: write bytes, such as 500M or 20G")
    return size


def read_profile(path: Path) -> Watching:
    """Read a profile.

    Raises
    ------
    ConfigError
        It cannot be read, or is not valid; names every mistake.
    """
    from supertask.yamlfiles.text import YamlError, load_file

    try:
        value = load_file(path).value
    except (YamlError, OSError) as error:
        raise ConfigError(f"profile {path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"profile {path} must map names to values, such as 'metrics: run.prom'")
    problems = Problems(f"profile {path}")
    made = Watching()
    for key, each in value.items():
        if key not in _READERS:
            problems.add(f"unknown key {key!r}{did_you_mean(str(key), _READERS)}; it may have {_KNOWN}")
            continue
        try:
            made = attrs.evolve(made, **_READERS[key](each))
        except ConfigError as error:
            problems.add(f"{key}: {error}")
    problems.raise_if_any(ConfigError)
    return made


def _text(name: str) -> Callable[[Any], dict[str, Any]]:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, str) or not value:
            raise ConfigError(f"it must be text, not {value!r}")
        return {name: value}

    return read


def _read_size(value: Any) -> dict[str, Any]:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e18:
        raise ConfigError(f"it must be a number of bytes, not {value!r}")
    return {"scratch_size": int(value)}


def _read_retain(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(w, str) for w in (*value, *value.values())):
        raise ConfigError("it must map dataset types to keep, until-used or on-failure")
    return {"retain": value}


def _read_notify(value: Any) -> dict[str, Any]:
    known = ("command", "url", "failures")
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"it must have some of {', '.join(known)}")
    for key in value:
        if key not in known:
            raise ConfigError(f"unknown key {key!r}{did_you_mean(str(key), known)}")
    found: dict[str, Any] = {}
    words = value.get("command")
    if words is not None:
        if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
            raise ConfigError(
                "command must be a list of words, such as [mail, -s, SuperTask, me@example.org]"
            )
        found["commands"] = (tuple(words),)
    url = value.get("url")
    if url is not None:
        found["urls"] = (_text("url")(url)["url"],)
    failures = value.get("failures")
    if failures is not None:
        if isinstance(failures, bool) or not isinstance(failures, int) or failures < 0:
            raise ConfigError(f"failures must be a number, 0 or more, not {failures!r}")
        found["failures"] = failures
    return found


_READERS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "metrics": _text("metrics"),
    "notify": _read_notify,
    "retain": _read_retain,
    "scratch": _text("scratch"),
    "scratch_size": _read_size,
}
_KNOWN = ", ".join(_READERS)
