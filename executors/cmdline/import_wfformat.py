"""``supertask import-wfformat``: a workflow of others as a plan with simulated work."""

from __future__ import annotations

from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.options import command as define

__all__ = ["command"]


@define("import-wfformat", short_help="Make a plan with simulated work of a workflow in WfFormat.")
@click.argument("instance", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--repo", type=click.Path(path_type=Path), required=True, metavar="REPO",
              help="Folder for a new data repository.")  # fmt: skip
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, metavar="PLAN",
              help="Where to write the plan.")  # fmt: skip
@click.option("--output-run", default="u/workflow/run", show_default=True, metavar="RUN",
              help="RUN collection that its tasks write to.")  # fmt: skip
@click.option("--time-scale", type=click.FloatRange(min=0), default=0.01, show_default=True, metavar="X",
              help="Seconds to sleep for each second that a task ran.")  # fmt: skip
@click.option("--size-scale", type=click.FloatRange(min=0), default=1e-6, show_default=True, metavar="X",
              help="Bytes to write for each byte of a file.")  # fmt: skip
@click.option("--memory-scale", type=click.FloatRange(min=0), default=0.0, show_default=True, metavar="X",
              help="Bytes to hold for each byte that a task held.")  # fmt: skip
def command(
    *,
    instance: Path,
    repo: Path,
    output: Path,
    output_run: str,
    time_scale: float,
    size_scale: float,
    memory_scale: float,
) -> None:
    """Read a workflow from the WfFormat instance in FILE, and plan it: one quantum for each of its tasks.

    Tasks read, sleep, and write as much as theirs did, scaled down. The plan runs like any other, may be
    simulated, and exports as WfFormat again.
    """
    from graphbuilder.workflows.importing import Scales, import_instance
    from graphbuilder.workflows.instance import read_instance

    read = read_instance(instance)
    for note in read.notes:
        terminal.note(f"{instance}: {note}")
    scales = Scales(time=time_scale, size=size_scale, memory=memory_scale)
    dag, pipeline = import_instance(read, repo, output_run, scales=scales)
    dag.save(output)
    terminal.table(["step", "quanta"], [[node.label, node.count] for node in dag.tasks])
    terminal.line(
        f"{output}: {terminal.counted(dag.n_quanta, 'quantum')}, {terminal.counted(len(pipeline), 'step')}, "
        f"{terminal.counted(len(read.sizes), 'file')}"
    )
