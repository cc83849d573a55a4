"""``supertask run-bundle``: what a batch system calls to run one bundle."""

from __future__ import annotations

from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.options import command as define
from executors.cmdline.options import see_local_modules

__all__ = ["command"]


@define("run-bundle", short_help="Run one bundle of a plan, as a job of a batch system does.")
@click.argument("target", metavar="PLAN | FOLDER", type=click.Path(path_type=Path))
@click.option("--bundle", type=click.IntRange(min=0), default=None, metavar="N",
              help="Which bundle of the plan, or of the bundles that were packed in FOLDER.")  # fmt: skip
@click.option("--attempt", type=click.IntRange(min=1), default=1, show_default=True, metavar="K",
              help="Which attempt at this bundle it is; each has a folder of its own.")  # fmt: skip
@click.option("--next", "whichever", is_flag=True,
              help="Go on with the last attempt at it, or begin another if that failed.")  # fmt: skip
@click.option("--grace", type=click.FloatRange(min=0), default=20.0, show_default=True, metavar="SECONDS",
              help="How long what runs may take to finish after SIGTERM.")  # fmt: skip
@click.option("--late", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="SECONDS",
              help="How long to wait for inputs that a shared file system shows late.")  # fmt: skip
@click.option("--chained", is_flag=True,
              help="Exit with 0 if anything succeeded, so that jobs behind this one begin.")  # fmt: skip
@click.option("--scratch", type=click.Path(path_type=Path), default=None, metavar="FOLDER",
              help="Folder on a local disk: copies of inputs, and outputs first.")  # fmt: skip
def command(
    *,
    target: Path,
    bundle: int | None,
    attempt: int,
    whichever: bool,
    grace: float,
    late: float,
    chained: bool,
    scratch: Path | None,
) -> int:
    """Run one bundle, without database and driver: what came of it is found by supertask collect.

    FOLDER is a bundle that supertask pack made, or with --bundle the folder with many of them. With a PLAN,
    its repository must be seen from here; the bundle is packed and run at once.

    Exits with 0 if all quanta ended well, 1 if some failed, 2 if nothing could be begun, and 75 if the same
    is to be run again: it was stopped, or its inputs are not there yet.
    """  # fmt: skip
    see_local_modules()
    from executors.jobs.folder import ExitCode
    from executors.jobs.running import run_job
    from executors.jobs.slots import slot_of

    if target.is_dir() or slot_of(target.absolute()) is not None:
        # A job of a sheaf makes its folder itself.
        folder = target if bundle is None else target / f"b{bundle}-{attempt}"
    elif bundle is None:
        raise click.UsageError(f"say which bundle of {target} is to be run: --bundle N")
    else:
        from executors.cmdline.pack import pack_one

        packed = pack_one(target, bundle, None if whichever else attempt)
        if packed is None:
            terminal.line(f"bundle {bundle}: nothing of it is left to run")
            return 0
        if isinstance(packed, str):
            terminal.error(packed)
            return 75
        folder = packed
    at = ""
    if scratch is not None:
        from executors.workplaces.scratch import check_scratch

        at = check_scratch(scratch)
    end = run_job(folder.absolute(), grace=grace, late=late, scratch=at)
    said = ", ".join(f"{n} {status}" for status, n in end.counts.items())
    terminal.line(f"{folder.name}: {said or 'nothing ran'}{f' ({end.why})' if end.why else ''}")
    if chained and end.code is ExitCode.FAILED and set(end.counts) & {"succeeded", "no work"}:
        return 0
    return int(end.code)
