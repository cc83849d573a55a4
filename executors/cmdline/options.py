"""What several commands take alike, and how the words of a command line become values."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from supertask.errors import ConfigError

__all__ = [
    "Session",
    "as_json",
    "bind",
    "collections",
    "command",
    "drawn_as",
    "moved",
    "overrides",
    "parse_binds",
    "planning",
    "refuse_idle",
    "repository",
    "retention",
    "see_local_modules",
    "together",
    "where",
    "words",
]

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """What one call of the program was told about itself (no attrs class: help must be quick)."""

    def __init__(self) -> None:
        self.debug = False
        """Whether errors show their traceback."""
        self.words: list[str] = []
        """The command line, without the program's name."""


def _set_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().obj.debug = True
        _log(logging.DEBUG)


def _set_verbose(_: click.Context, __: click.Parameter, value: int) -> None:
    if value:
        _log(logging.INFO if value == 1 else logging.DEBUG)


def _log(level: int) -> None:
    handler = logging.StreamHandler()
    # What a task logs comes with the data ID of its quantum.
    words = "%(asctime)s %(levelname)s %(name)s%(dataId)s: %(message)s"
    handler.setFormatter(logging.Formatter(words, defaults={"dataId": ""}))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger().setLevel(level)


def command(name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Return a decorator that makes a command with the options that every command has."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        settings.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        options: tuple[Callable[[Any], Any], ...] = (
            click.option("--debug", is_flag=True, expose_value=False, callback=_set_debug,
                         help="Show tracebacks and debugging messages."),
            click.option("-v", "--verbose", count=True, expose_value=False, callback=_set_verbose,
                         help="Show what is being done; twice shows more."),
        )  # fmt: skip
        for option in options:
            function = option(function)
        made: click.Command = click.command(name, click.Command, **settings)(function)
        return made

    return decorate


def together(*options: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put options before a command; its help has them in this order."""

    def put(called: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            called = option(called)
        return called

    return put


def refuse_idle(*names: str, unless: bool, words: str) -> None:
    """Refuse options that would be taken and do nothing.

    Parameters
    ----------
    *names : str
        Names of their parameters.
    unless : bool
        Whether they do something.
    words : str
        When they do not, such as ``without --auto``.

    Raises
    ------
    click.UsageError
        The command line has some of them; names all.
    """
    context = click.get_current_context()
    told = {n for n in names if context.get_parameter_source(n) is click.core.ParameterSource.COMMANDLINE}
    if told and not unless:
        options = [p.opts[0] for p in context.command.params if p.name in told]
        does = "does" if len(options) == 1 else "do"
        raise click.UsageError(f"{' and '.join(options)} {does} nothing {words}")


def repository(function: F) -> F:
    """Add the argument REPO."""
    return click.argument("repo", type=click.Path(path_type=Path))(function)


def moved(function: F) -> F:
    """Take the place of a plan's repository that was moved."""
    return click.option(
        "--repo",
        type=click.Path(path_type=Path),
        default=None,
        metavar="REPO",
        help="Where the plan's repository is now, if it was moved.",
    )(function)


def as_json(function: F) -> F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")(function)


def where(function: F) -> F:
    """Add ``--where``."""
    return click.option(
        "--where", "-d", default="", metavar="EXPR",
        help="Data-ID expression, such as \"visit IN (1..10) AND band = 'r'\".",
    )(function)  # fmt: skip


def bind(function: F) -> F:
    """Add ``--bind``."""
    return click.option(
        "--bind", "binds", multiple=True, metavar="NAME=VALUE",
        help="Value for :NAME in the expression; may be given again.",
    )(function)  # fmt: skip


def collections(function: F) -> F:
    """Add ``--collections``."""
    return click.option(
        "--collections", "-i", multiple=True, metavar="A,B,…",
        callback=lambda _context, _option, value: words(",".join(value)) if value else None,
        help="Collections to search, in order; may be given again. The repository's own order unless given.",
    )(function)  # fmt: skip


def overrides(function: F) -> F:
    """Add ``--config``."""
    return click.option(
        "--config", "-c", "overrides", multiple=True, metavar="LABEL:FIELD=VALUE",
        help="Set a config field of one task; may be given again.",
    )(function)  # fmt: skip


def drawn_as(function: F) -> F:
    """Add ``--as``, the form of a drawing, as `form`."""
    return click.option(
        "--as", "form", type=click.Choice(["mermaid", "dot"]), default=None,
        help="Only the drawing, as a Mermaid flowchart or for Graphviz.",
    )(function)  # fmt: skip


def retention(function: F) -> F:
    """Add ``--retain``, as a dict: name or pattern → policy."""
    return click.option(
        "--retain", multiple=True, metavar="TYPE=POLICY",
        callback=lambda _context, _option, value: _policies(value),
        help="How long intermediates of a type (or a pattern such as '*_image') stay: keep, until-used or "
        "on-failure; may be given again.",
    )(function)  # fmt: skip


def _policies(words: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, policy = word.partition("=")
        if not equals or not name.strip() or not policy.strip():
            raise click.BadParameter(f"{word!r}: write TYPE=POLICY, such as --retain warp=until-used")
        found[name.strip()] = policy.strip()
    return found


def planning(*, required: bool = True) -> Callable[[F], F]:
    """Return a decorator that adds all that preflight needs to know, as one argument `planning`.

    Parameters
    ----------
    required : bool, optional
        Whether the pipeline and the output run must be given; else `planning` is None without them.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def called(**given: Any) -> Any:
            file, run = given.pop("pipeline_file"), given.pop("output_run")
            told = {name: given.pop(name) for name in ("where", "binds", "overrides", "collections")}
            if file is None and run is None and not any(told.values()):
                return function(planning=None, **given)
            if file is None or run is None:
                raise click.UsageError("to plan, give both --pipeline FILE and --output-run RUN")
            see_local_modules(file.parent)
            from executors.cmdline.framework import Planning

            made = Planning(
                file, run, told["where"], parse_binds(told["binds"]), told["overrides"], told["collections"]
            )
            return function(planning=made, **given)

        options: tuple[Callable[[Any], Any], ...] = (
            click.option(
                "--pipeline", "-p", "pipeline_file", type=click.Path(path_type=Path), required=required,
                metavar="FILE", help="The pipeline, a YAML file.",
            ),
            click.option(
                "--output-run", required=required, metavar="RUN",
                help="RUN collection that outputs are written to, such as u/me/run1.",
            ),
            where, bind, overrides, collections,
        )  # fmt: skip
        return cast("F", together(*options)(called))

    return decorate


def see_local_modules(*folders: Path) -> None:
    """Let class paths name modules in the current folder and in these, after all that is installed."""
    for folder in (Path.cwd(), *(f.absolute() for f in folders)):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def words(text: str | None) -> tuple[str, ...] | None:
    """Return the words of ``a,b,c``."""
    if text is None:
        return None
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def parse_binds(words: Iterable[str]) -> dict[str, int | float | str]:
    """Return the values of ``name=value`` words: int and float where they read as one, else str.

    Raises
    ------
    ConfigError
        A word has no ``=`` or no name, or a name is given twice.
    """
    values: dict[str, int | float | str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise ConfigError(f"--bind {word!r}: write NAME=VALUE, such as --bind night=20260105")
        if name in values:
            raise ConfigError(f"--bind {word!r}: {name!r} is given twice")
        values[name] = _scalar(text)
    return values


def _scalar(text: str) -> int | float | str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
