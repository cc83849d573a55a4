"""What all demonstrations do alike: a folder for what comes out, a repository, planning and running."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from executors.events import Listener
from executors.journal.report import Report
from executors.multiprocess import MultiprocessFramework
from graphbuilder.builder import GraphBuilder
from supertask.butler.repository import Butler
from supertask.pipelines.pipeline import Pipeline

__all__ = ["Stage"]


@attrs.define
class Stage:
    """What all demonstrations do alike: a folder for what comes out, a repository, planning and running."""

    out: Path
    say: Callable[[str], None]
    processes: int | None = None
    listeners: Iterable[Listener] = ()
    began: float = attrs.field(factory=time.monotonic)
    plans: list[Path] = attrs.field(factory=list)
    """Files of what was planned."""

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
        self.plans.append(path)
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


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
