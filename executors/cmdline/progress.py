"""Showing what goes on, on stderr: bars on a terminal, a line now and then otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import attrs

from executors.cmdline import terminal
from executors.events import Event, QuantaBlocked, QuantumEnded, QuantumProgressed, RunFinished, RunStarted
from executors.outcome import Attempt, QuantumStatus

__all__ = ["Progress", "Stages"]

_SECONDS = 10.0
_FAILURES_SHOWN = 10
_BAR = 30
_WORDS = 40


@attrs.define
class _Task:
    """How far one task is."""

    total: int
    done: int = 0
    failed: int = 0
    blocked: int = 0
    cpu: float = 0.0
    said: dict[int, tuple[float, str]] = attrs.field(factory=dict)
    """Quantum under way → how far it says to be, and what it does."""

    @property
    def left(self) -> int:
        return self.total - self.done - self.failed - self.blocked


class Progress:
    """Shows a run on stderr; to be entered around it.

    Parameters
    ----------
    live : bool, optional
        Whether to draw bars; unless given, where stderr is a terminal.
    clock : callable, optional
        Seconds that only grow.
    """

    def __init__(self, live: bool | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._live = terminal.is_terminal(sys.stderr) if live is None else live
        self._clock = clock
        self._tasks: dict[str, _Task] = {}
        self._began = self._told = clock()
        self._failures = 0
        self._retries = 0
        self._screen: Any = None

    def __enter__(self) -> Self:
        if self._live:
            from rich.live import Live

            self._screen = Live(
                get_renderable=self._bars,
                console=terminal.console(stderr=True),
                refresh_per_second=8,
                transient=True,
            )
            self._screen.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._screen is not None:
            self._screen.stop()

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""
        if isinstance(event, QuantumEnded):
            self._ended(event.attempt, event.retry_in)
        elif isinstance(event, QuantumProgressed):
            self._tasks[event.label].said[event.index] = (event.fraction, event.message)
        elif isinstance(event, QuantaBlocked):
            for label, count in event.counts.items():
                self._tasks[label].blocked += count
        elif isinstance(event, RunStarted):
            self._began = self._told = self._clock()
            self._tasks = {
                label: _Task(count, event.finished.get(label, 0)) for label, count in event.counts.items()
            }
            before = sum(event.finished.values())
            if before:
                self._say(f"{terminal.counted(before, 'quantum')} finished before, skipped")
        elif isinstance(event, RunFinished):
            self._tasks = {}
        if not self._live and self._tasks and self._clock() - self._told >= _SECONDS:
            self._told = self._clock()
            terminal.note(self._line())

    def _ended(self, attempt: Attempt, retry_in: float | None) -> None:
        task = self._tasks[attempt.label]
        task.cpu += attempt.cpu
        if task.said:
            task.said.pop(attempt.index, None)
        if retry_in is not None:
            self._retries += 1
            if self._retries <= _FAILURES_SHOWN:
                when = f"in {retry_in:.1f} s" if retry_in else "at once"
                self._say(f"again {when}: {attempt.label} {_data_id(attempt)}: {attempt.failure}")
        elif attempt.status.finished:
            task.done += 1
        elif attempt.status is QuantumStatus.FAILED:
            task.failed += 1
            self._failures += 1
            if self._failures <= _FAILURES_SHOWN:
                self._say(f"failed: {attempt.label} {_data_id(attempt)}: {attempt.failure}")
            if self._failures == _FAILURES_SHOWN:
                self._say("further failures are in the report")

    def _say(self, text: str) -> None:
        if self._screen is None:
            terminal.note(text)
        else:
            from rich.text import Text

            self._screen.console.print(Text(text))

    def _line(self) -> str:
        done, failed, blocked, total = self._sums()
        text = f"{done:,} of {total:,} quanta done"
        if failed or blocked:
            text += f", {failed:,} failed, {blocked:,} blocked"
        return f"{text} after {self._clock() - self._began:.0f} s"

    def _sums(self) -> tuple[int, int, int, int]:
        tasks = self._tasks.values()
        return (
            sum(t.done for t in tasks),
            sum(t.failed for t in tasks),
            sum(t.blocked for t in tasks),
            sum(t.total for t in tasks),
        )

    def _bars(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1))
        for justify in ("left", "left", "right", "left"):
            grid.add_column(justify=justify)
        for label, task in self._tasks.items():
            grid.add_row(
                Text(label),
                ProgressBar(total=max(task.total, 1), completed=task.total - task.left, width=_BAR),
                Text(f"{task.done:,}/{task.total:,}"),
                _troubles(task),
            )
        if not self._tasks:
            return grid
        done, failed, blocked, total = self._sums()
        seconds = self._clock() - self._began
        ended = done + failed + blocked
        rest = f", about {seconds * (total - ended) / ended:.0f} s left" if ended and ended < total else ""
        grid.add_row(
            Text("all", style="bold"), Text(f"{seconds:.0f} s{rest}"), Text(f"{done:,}/{total:,}"), ""
        )
        return grid


class Stages:
    """Shows how far each stage of an ingest is; to be called with its name, what is done, and of how much."""

    def __init__(self, live: bool | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._live = terminal.is_terminal(sys.stderr) if live is None else live
        self._clock = clock
        self._told = clock()
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if self._live:
            from rich import progress as bars

            self._bars = bars.Progress(
                bars.TextColumn("{task.description}", markup=False),
                bars.BarColumn(_BAR),
                bars.MofNCompleteColumn(),
                bars.TimeRemainingColumn(),
                console=terminal.console(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of how far a stage is."""
        if self._bars is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total)
            self._bars.update(self._tasks[stage], completed=done, total=total)
        elif self._clock() - self._told >= _SECONDS:
            self._told = self._clock()
            terminal.note(f"{stage}: {done:,} of {total:,}")


def _troubles(task: _Task) -> Any:
    from rich.text import Text

    text = Text()
    if task.failed:
        text.append(f"{task.failed:,} failed ", style="bold red")
    if task.blocked:
        text.append(f"{task.blocked:,} blocked ", style="yellow")
    if task.said:
        # The one that is farthest; of many at once nobody reads more.
        fraction, message = max(task.said.values())
        more = f" (and {len(task.said) - 1} more)" if len(task.said) > 1 else ""
        text.append(f"{fraction:.0%} {message[:_WORDS]}{more}", style="dim")
    return text


def _data_id(attempt: Attempt) -> str:
    values = attempt.dataId or {}
    return "{" + ", ".join(f"{k}={v}" for k, v in values.items()) + "}"
