"""``supertask demo``: from raw frames to coadds and a catalogue, without anything but this distribution."""

from __future__ import annotations

from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.options import command as define
from supertask.errors import ExecutionError

__all__ = ["command"]


@define("demo", short_help="Simulate a small survey, or take real frames, and do everything with it.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=None,
    metavar="DIR",
    help="Take real frames: a folder of a kind that the examples know.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    metavar="DIR",
    help="Folder for all that comes out; an earlier demonstration there is replaced.",
)
@click.option(
    "-j",
    "processes",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Run in so many processes; one for each core unless given.",
)
def command(*, data: Path | None, out: Path, processes: int | None) -> int:
    """Simulate a small survey with known truth, ingest it, plan, run from raw frames to coadds and a
    catalogue, and compare with the truth. Exits with 0 if everything succeeded.
    """  # fmt: skip # noqa: D205
    from executors.cmdline.progress import Progress

    try:
        from examples.demo.run import demo
    except ModuleNotFoundError as error:
        raise ExecutionError(
            f"the demonstration needs {error.name!r}: pip install 'supertask[examples]', or make demo in a "
            "checkout of the source"
        ) from error
    with Progress() as progress:
        return demo(out, data, processes=processes, say=terminal.line, listeners=[progress])
