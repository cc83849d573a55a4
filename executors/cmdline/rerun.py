"""``supertask rerun``: run the quanta of a job's folder again; what its ``job.sh`` calls."""

from __future__ import annotations

import json
from pathlib import Path

import click

from executors.cmdline.options import command as define
from executors.cmdline.options import see_local_modules
from supertask.errors import ExecutionError

__all__ = ["command"]


@define("rerun", short_help="Run the quanta of a job's folder again.")
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
def command(*, folder: Path) -> int:
    """Run the quanta of the job whose folder is FOLDER again in this process, unless they are finished.

    Exits with 0 if everything succeeded, with 1 if not.
    """
    from executors.cmdline.shown import show_report
    from executors.inprocess import InProcessFramework
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.repository import Butler

    try:
        told = json.loads((folder / "parameters.json").read_text(encoding="utf-8"))
        plan, root = told["plan"], told["repository"]
        identities = [quantum["identity"] for quantum in told["quanta"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExecutionError(f"{folder} is not the folder of a job: {error}") from error
    see_local_modules()
    with Butler(root) as butler:
        report = InProcessFramework().execute(ScienceDag.load(plan).subset(identities=identities), butler)
    show_report(report, "", tracebacks=True)
    return report.exit_code
