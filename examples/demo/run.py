"""``supertask demo``: a survey from raw frames to coadds and a catalogue, simulated or real."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from executors.events import Listener
from executors.multiprocess import MultiprocessFramework
from executors.report import Report
from graphbuilder.builder import GraphBuilder
from supertask.butler.repository import Butler
from supertask.errors import RepositoryError
from supertask.pipeline import Pipeline

__all__ = ["Stage", "demo"]

_MARK = ".supertask-demo"


@attrs.define
class Stage:
    """What all demonstrations do alike: a folder for what comes out, a repository, planning and running."""

    out: Path
    say: Callable[[str], None]
    processes: int | None = None
    listeners: Iterable[Listener] = ()
    began: float = attrs.field(factory=time.monotonic)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Say what is done, and how long it took."""
        start = time.monotonic()
        yield
        self.say(f"{what} ({time.monotonic() - start:.1f} s)")

    def repository(self, name: str = "repo") -> Butler:
        """Make the repository."""
        return Butler.create(self.out / name, "imaging")

    def run(
        self, butler: Butler, pipeline: Path, name: str, *, where: str = "", plan: str = "plan.h5"
    ) -> Report:
        """Plan a pipeline and run it, telling what was planned and what was done."""
        path = self.out / plan
        with self.step(f"planned, see: supertask dag show {path}"):
            builder = GraphBuilder(
                Pipeline.load(pipeline), butler, name, collections=("raw/all", "reference")
            )
            dag = builder.makeGraph(where=where)
            dag.save(path)
        for task in dag.tasks:
            self.say(f"  {task.count:5d}  {task.label}  ({', '.join(task.quantum_units)})")
        framework = MultiprocessFramework(processes=self.processes)
        with self.step(f"run {name!r}: {dag.n_quanta} quanta"):
            report = framework.execute(path, butler, listeners=self.listeners)
        self.say("  " + ", ".join(f"{n} {status.value}" for status, n in report.counts.items()))
        for failure in report.failures:
            self.say(f"  {failure.label}: {failure.count} × {failure.exception}: {failure.message}")
        butler.collections = (name, "reference", "raw/all")
        return report

    def table(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Say a table."""
        rows = list(rows)
        shown = [list(rows[0])] + [[_text(v) for v in row.values()] for row in rows] if rows else []
        widths = [max(len(line[i]) for line in shown) for i in range(len(shown[0]))] if shown else []
        for line in shown:
            self.say("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


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


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
