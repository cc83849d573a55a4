"""Options about what a run is called, what it may use at once, and what it leaves to look at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs
import click

from executors.cmdline.options import together
from supertask.errors import ConfigError
from supertask.tasks.tags import parse_tag
from supertask.tasks.tokens import parse_tokens

__all__ = ["Asking", "asking", "tag_option"]

F = TypeVar("F", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class Asking:
    """What a run is told about itself; arguments of ``execute``."""

    tags: Mapping[str, str]
    tokens: Mapping[str, int]
    token_folder: Path | None
    job_folders: bool

    def arguments(self) -> dict[str, Any]:
        """Return them as arguments."""
        return attrs.asdict(self, recurse=False)


def _pairs(parse: Callable[[str], tuple[str, Any]]) -> Callable[..., dict[str, Any]]:
    def read(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> dict[str, Any]:
        try:
            return dict(parse(text) for text in value)
        except ConfigError as error:
            raise click.BadParameter(str(error)) from None

    return read


def tag_option(words: str) -> Callable[[F], F]:
    """Return the option ``--tag``, whose value is a dict; `words` say what it does."""
    return click.option(
        "--tag", "tags", multiple=True, metavar="NAME=VALUE", callback=_pairs(parse_tag), help=words
    )


def asking(function: F) -> F:
    """Add these options, as one argument `asked`; an `Asking`."""

    @functools.wraps(function)
    def called(**given: Any) -> Any:
        asked = Asking(**{f.name: given.pop(f.name) for f in attrs.fields(Asking)})
        return function(asked=asked, **given)

    options: tuple[Callable[[Any], Any], ...] = (
        tag_option("Tag the run, so that its outputs can be found by that; may be given again."),
        click.option("--tokens", multiple=True, metavar="NAME=N", callback=_pairs(parse_tokens),
                     help="So many quanta at once may use what tasks need tokens of; may be given again."),
        click.option("--token-folder", type=click.Path(path_type=Path), default=None, metavar="DIR",
                     help="Share tokens with all runs of this machine that name this folder."),
        click.option("--job-folders", is_flag=True,
                     help="Keep a folder for each job: script, parameters, status, stdout and stderr."),
    )  # fmt: skip
    return cast("F", together(*options)(called))
