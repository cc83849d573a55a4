"""``supertask shell``: a bundle or a quantum recreated, at a Python prompt, or run again aside."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.bundles import find_plan
from executors.cmdline.finding import in_repository
from executors.cmdline.options import command as define
from executors.cmdline.options import see_local_modules

if TYPE_CHECKING:
    from executors.outcome import Attempt
    from executors.quanta.recreation import Recreated

__all__ = ["command"]

_HINT = """\
work                              {work}
work.quanta[0]                    a quantum; its parameters are attributes of .parameters
work.butler(0).get(dataset)       read what it reads
work.task(0).runQuantum(work.quanta[0], work.butler(0))   raises what the task raises
work.run()                        run all as their run does; what is written stays in work.folder
work.times()                      where the time went
plan, butler                      the plan, and the repository (read only)"""


@define("shell", short_help="Recreate a bundle or a quantum, to look into it or run it again aside.")
@click.argument("which", metavar="PLAN | RUN")
@in_repository
@click.option("--bundle", type=click.IntRange(min=0), default=None, metavar="B", help="Which bundle.")
@click.option("--quantum", type=click.IntRange(min=0), default=None, metavar="Q", help="Or which quantum.")
@click.option("--bundling", default=None, metavar="NAME", help="Which of the plan's; the last one made.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Write outputs there; a new temporary folder unless given.",
)
@click.option("--run", "at_once", is_flag=True, help="Run them and say what came of each, without a prompt.")
def command(
    *,
    which: str,
    repo: Path | None,
    bundle: int | None,
    quantum: int | None,
    bundling: str | None,
    folder: Path | None,
    at_once: bool,
) -> int:
    """Recreate a bundle (or a quantum) of the plan in the file PLAN, or of the plan that RUN was made by.

    It can be looked into at a Python prompt, and run again: repository and run are only read.
    """  # fmt: skip
    if (bundle is None) == (quantum is None):
        raise click.UsageError("give --bundle B or --quantum Q: what is to be recreated")
    see_local_modules()
    from executors.quanta.recreation import recreate
    from supertask.butler.repository import Butler

    root, plan = find_plan(which, repo)
    with Butler(root, writeable=False) as butler:
        work = recreate(butler, plan, bundle=bundle, quantum=quantum, bundling=bundling, folder=folder)
        try:
            if at_once:
                return _run(work)
            _interact({"work": work, "plan": plan, "butler": butler})
        finally:
            work.close()
    return 0


def _run(work: Recreated) -> int:
    attempts = work.run()
    terminal.table(
        ["quantum", "task", "data ID", "status", "wall s", "why"],
        [
            [a.index, a.label, ", ".join(f"{k}={v}" for k, v in (a.dataId or {}).items()),
             a.status.value, round(a.wall, 3), _why(a)]
            for a in attempts
        ],
    )  # fmt: skip
    left_out = len(work.indices) - len(attempts)
    if left_out:
        terminal.line(f"{left_out} were left out: what they wait for failed")
    for text in dict.fromkeys(a.failure.traceback for a in attempts if a.failure is not None):
        terminal.line(text.rstrip())
    terminal.line(f"outputs in {work.folder}")
    return int(left_out > 0 or any(not a.status.finished for a in attempts))


def _why(attempt: Attempt) -> str:
    return str(attempt.failure) if attempt.failure is not None else attempt.reason


def _interact(names: dict[str, Any]) -> None:
    banner = _HINT.format(work=names["work"])
    try:
        ipython: Any = importlib.import_module("IPython")
    except ImportError:
        import code

        code.interact(banner, local=names, exitmsg="")
    else:
        terminal.line(banner)
        ipython.start_ipython(argv=["--no-banner"], user_ns=names)
