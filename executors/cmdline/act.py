"""``supertask act``: do what the tasks of a run offer to be done after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.options import command as define
from executors.cmdline.options import repository, see_local_modules
from supertask.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from supertask.butler.port import AbstractButler
    from supertask.tasks.task import Task

__all__ = ["command"]


@define("act", short_help="Do what the tasks of a run offer to be done after it.")
@repository
@click.argument("run", metavar="RUN")
@click.argument("what", metavar="[LABEL.ACTION]", required=False)
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="An argument; may be given again.")
def command(*, repo: Path, run: str, what: str | None, given: tuple[str, ...]) -> None:
    """List what the tasks of the run RUN in the repository REPO offer, or do one of these.

    A task offers what it decorates with @action.
    """
    see_local_modules()
    from supertask.butler.repository import Butler
    from supertask.tasks.actions import act, actions_of

    with Butler(repo, collections=[run]) as butler:
        tasks = _tasks(butler, run)
        if what is None:
            offered = [
                (f"{n}.{a.name}", a.doc) for n, t in tasks.items() for a in actions_of(type(t)).values()
            ]
            if offered:
                terminal.table(["action", "what it does"], offered)
            else:
                terminal.note(f"the tasks of run {run!r} offer nothing")
            return
        label, dot, name = what.rpartition(".")
        if not dot or label not in tasks:
            raise ConfigError(
                f"{what!r} is no LABEL.ACTION of run {run!r}{did_you_mean(label or name, tasks)}; its "
                f"tasks are {', '.join(tasks)}"
            )
        words = {}
        for text in given:
            word, equals, value = text.partition("=")
            if not equals or not word:
                raise click.UsageError(f"--set {text}: write NAME=VALUE")
            words[word] = value
        result = act(tasks[label], name, butler, run, words)
    if result is not None:
        terminal.line(str(result))


def _tasks(butler: AbstractButler, run: str) -> dict[str, Task]:
    """Return the tasks of a run, as it was made with them."""
    from supertask.classpath import load_class
    from supertask.tasks.supertask import SuperTask

    told: dict[str, Any] = butler.run_provenance(run).get("tasks", {})
    if not told:
        known = [c.name for c in butler.collection_infos()]
        raise ConfigError(f"no run {run!r} was made here by tasks{did_you_mean(run, known)}")
    made: dict[str, Task] = {}
    for label, each in told.items():
        cls = load_class(each["class"], SuperTask)
        made[label] = cls(config=cls.ConfigClass.from_dict(each["config"], f"run {run}"), name=label)
    return made
