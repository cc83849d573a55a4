"""``supertask run-capsule``: run a capsule, and compare what comes out with what came out then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from executors.capsule.running import CapsuleRun, OutputResult

__all__ = ["command"]


@define("run-capsule", short_help="Run a capsule, and compare what comes out with what came out then.")
@click.argument("capsule", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Folder to make, to run it in; beside the capsule unless given.")  # fmt: skip
@click.option("--absolute", "-a", "absolute", type=click.FloatRange(0), default=0.0, metavar="X",
              help="Numbers that are no further apart count as equal.")  # fmt: skip
@click.option("--relative", "-r", "relative", type=click.FloatRange(0), default=0.0, metavar="X",
              help="The same, as a fraction of the larger of the two.")  # fmt: skip
@click.option("--log", is_flag=True, help="Show what the task logged.")
@as_json
def command(
    *, capsule: Path, output: Path | None, absolute: float, relative: float, log: bool, as_json: bool
) -> int:
    """Run the quantum of a capsule: a folder, or a zip file. It holds code: run those whom you trust wrote.

    Exits with 0 if the same comes out as then (byte by byte, or within the tolerance where the capsule has
    what came out then), with 1 if not, with 2 if the capsule is damaged or is none.
    """
    from executors.capsule.running import run_capsule
    from supertask.formats.differences import Tolerance

    found = run_capsule(capsule, output or _beside(capsule), tolerance=Tolerance(absolute, relative))
    if as_json:
        terminal.objects([found.to_dict()])
    else:
        _show(found, log=log)
    return 0 if found.is_close else 1


def _beside(capsule: Path) -> Path:
    """Return the name of a folder that is not there yet."""
    whole = Path(os.path.abspath(capsule))  # '.' has no name
    stem = whole.with_suffix("") if whole.suffix == ".zip" else whole
    number = 1
    while (found := stem.with_name(f"{stem.name}-run{number}")).exists():
        number += 1
    return found


def _show(found: CapsuleRun, *, log: bool) -> None:
    said = f": {found.why}" if found.why else ""
    terminal.line(f"{found.manifest.quantum}: {found.status}{said}")
    if found.status != found.manifest.status:
        terminal.line(f"  and came to {found.manifest.status!r} then")
    for note in found.notes:
        terminal.line(f"  note: {note}")
    for output in found.outputs:
        terminal.line(f"  {output.then.dataset}: {_verdict(output)}")
        for part in output.difference.parts if output.difference is not None else ():
            if part.unequal:
                note = f" ({part.note})" if part.note else ""
                terminal.line(
                    f"    {part.what}: {part.differing:,} of {part.n:,} differ, {part.most:.3g} at most, "
                    f"{part.mean:.3g} on average{note}"
                )
    if log and found.log:
        for line in found.log.rstrip().split("\n"):
            terminal.line(f"  | {line}")
    terminal.line(f"it is in {found.folder}")


def _verdict(output: OutputResult) -> str:
    if output.same_bytes:
        return "the same, byte by byte"
    if output.problem:
        return output.problem
    if output.difference is None:
        return "other bytes than then (what there was then is not in the capsule: see --outputs of capsule)"
    if output.difference.is_equal:
        return "the same values in other bytes"
    return "the same within the tolerance" if output.difference.is_close else "differs"
