"""``supertask demo``: a survey from raw frames to coadds and a catalogue, simulated or real."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from examples.demo.stage import Stage
from executors.events import Listener
from supertask.errors import RepositoryError

__all__ = ["demo"]

_MARK = ".supertask-demo"


def demo(
    out: str | Path = "demo",
    data: str | Path | None = None,
    *,
    processes: int | None = None,
    say: Callable[[str], None] = print,
    listeners: Iterable[Listener] = (),
) -> int:
    """Run the demonstration.

    Parameters
    ----------
    out : path, optional
        Folder for what comes out; what an earlier demonstration left there is replaced.
    data : path, optional
        Folder with real frames that the examples know: of Kast blue, or of HAT-P-32 by MicroObservatory.
        A survey is simulated unless it is given.
    processes : int, optional
        Worker processes; one for each core unless given.
    say : callable, optional
        Called with each line to print.
    listeners : iterable of callable, optional
        Called with every event of the run, see `executors.events`.

    Returns
    -------
    int
        0 if everything succeeded, else 1.

    Raises
    ------
    RepositoryError
        The folder holds something else, or `data` no frames that are known.
    """
    stage = Stage(_vacate(Path(out)), say, processes, tuple(listeners))
    if data is None:
        from examples.demo.simulated import run_simulated

        code = run_simulated(stage)
    else:
        from examples.demo.real import run_real

        code = run_real(stage, Path(data))
    say(f"all in {stage.out}/, in {time.monotonic() - stage.began:.0f} s")
    for plan in stage.plans:
        say(f"what each step used, and what failed: supertask report {shlex.quote(str(plan))}")
    return code


def _vacate(out: Path) -> Path:
    """Return a folder that is empty but for the mark that says that it is ours."""
    mark = out / _MARK
    if out.exists() and not mark.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RepositoryError(f"{out} is there and no demonstration made it: give another folder with --out")
    if mark.exists():
        for entry in out.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != mark:
                entry.unlink()
    out.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return out
