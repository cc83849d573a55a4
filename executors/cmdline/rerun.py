"""``supertask rerun``: run the quanta of a job's folder again; what its ``job.sh`` calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from executors.cmdline.options import command as define
from executors.cmdline.options import see_local_modules
from supertask.classpath import load_class
from supertask.errors import ExecutionError
from supertask.tasks.supertask import SuperTask
from supertask.tasks.tokens import tokens_of

if TYPE_CHECKING:
    from graphbuilder.dag.dag import ScienceDag

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
        tokens, shared = dict(told.get("tokens", {})), told.get("token_folder") or None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExecutionError(f"{folder} is not the folder of a job: {error}") from error
    see_local_modules()
    dag = ScienceDag.load(plan).subset(identities=identities)
    needed = _tokens_of(dag)
    counted = {name: n for name, n in tokens.items() if name in needed}
    with Butler(root) as butler:
        report = InProcessFramework().execute(dag, butler, tokens=counted, token_folder=shared)
    show_report(report, "", tracebacks=True)
    return report.exit_code


def _tokens_of(dag: ScienceDag) -> set[str]:
    found: set[str] = set()
    for node in dag.tasks:
        cls = load_class(node.class_path, SuperTask)
        found |= tokens_of(cls, cls.ConfigClass.from_dict(node.config, f"task {node.label!r}")).keys()
    return found
