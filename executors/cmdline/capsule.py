"""``supertask capsule``: one quantum of a run with all that it takes to run it elsewhere."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.finding import find_run, in_repository, unit_values
from executors.cmdline.options import command as define
from executors.cmdline.options import see_local_modules

__all__ = ["command"]


@define("capsule", short_help="Write one quantum of a run with all that it takes to run it elsewhere.")
@click.argument("run")
@click.argument("quantum")
@click.argument("units", nargs=-1, metavar="[UNIT=VALUE…]")
@in_repository
@click.option("--output", "-o", type=click.Path(path_type=Path), default=None, metavar="DIR|FILE.zip",
              help="Where to write it; a zip file named after the quantum unless given.")  # fmt: skip
@click.option("--outputs", is_flag=True,
              help="Take along what was made, to say how far something else differs from it.")  # fmt: skip
def command(
    *, run: str, quantum: str, units: tuple[str, ...], repo: Path | None, output: Path | None, outputs: bool
) -> None:
    """Write one quantum with inputs, configuration, versions and log, to run it again elsewhere.

    RUN is a RUN collection, or the file of its plan. QUANTUM is the label of a task with UNIT=VALUE, or an
    identity (its beginning). For example:

    supertask capsule u/me/run1 warp visit=42 patch=3 -o warp.zip
    """
    from executors.capsule.writing import find_quantum, write_capsule
    from supertask.butler.repository import Butler

    root, name = find_run(run, repo)
    see_local_modules(Path.cwd())
    with Butler(root, writeable=False) as butler:
        dataId = unit_values(units, butler.model)
        if output is None:
            place = find_quantum(butler, name, quantum, dataId)
            found = place.plan.quanta[place.row]
            words = "-".join([found.label, *(str(v) for v in (found.dataId or {}).values())])
            output = Path("".join(c if c.isalnum() or c in "._-" else "_" for c in words) + ".zip")
        manifest = write_capsule(butler, name, quantum, dataId, to=output, outputs=outputs)
    size = sum(n for n, _ in manifest.files.values())
    terminal.line(
        f"{manifest.quantum}: {terminal.counted(len(manifest.files), 'file')}, {terminal.size(size)}"
    )
    for note in manifest.notes:
        terminal.note(f"note: {note}")
    terminal.line(f"run it with: supertask run-capsule {shlex.quote(str(output))}")
