"""``supertask export``: a plan for those who run it by other means."""

from __future__ import annotations

from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.options import command as define

__all__ = ["command"]

_HOW = {
    "makefile": "make -C {0} -j 2",
    "snakemake": "snakemake --directory {0} --snakefile {0}/Snakefile --cores 2",
    "cwl": "cwltool --preserve-environment PYTHONPATH --outdir {0} {0}/workflow.cwl {0}/inputs.json",
    "wfformat": "",
}


@define("export", short_help="Write a plan for make, Snakemake or a CWL runner, or as WfFormat.")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--format", "form", required=True, metavar="FORMAT",
              help="makefile, snakemake, cwl or wfformat.")  # fmt: skip
@click.option("--output", "-o", "folder", type=click.Path(path_type=Path, file_okay=False), required=True,
              metavar="FOLDER", help="Where to write; made if it is not there.")  # fmt: skip
def command(*, plan: Path, form: str, folder: Path) -> None:
    """Write the plan in the file PLAN for another tool: each bundle is a node.

    Nodes call supertask run-bundle, and the last one supertask collect, so that the repository ends as after
    supertask run. They see the repository under the path that it has now.
    """
    import shlex

    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.exports.export import export

    written = export(ScienceDag.load(plan), form, folder)
    for path in written:
        terminal.line(str(path))
    if _HOW[form]:
        terminal.note(f"next: {_HOW[form].format(shlex.quote(str(folder)))}")
