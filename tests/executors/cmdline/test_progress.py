from __future__ import annotations

import io

import pytest
from rich.console import Console

from executors.cmdline import terminal
from executors.cmdline.progress import Progress
from executors.events import QuantaBlocked, QuantumEnded, RunFinished, RunStarted
from executors.outcome import Attempt, Failure, QuantumStatus


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def ended(index: int, label: str, status: QuantumStatus, **more) -> QuantumEnded:
    return QuantumEnded(Attempt(index=index, identity=b"", label=label, status=status, **more))


STARTED = RunStarted("u/run", {"isr": 4, "coadd": 2}, {"isr": 1})
FAILED = ended(
    2, "isr", QuantumStatus.FAILED,
    dataId={"exposure": 3, "detector": 0}, failure=Failure("ValueError", "too [bold]bright[/bold]"),
)  # fmt: skip


def test_pipe_gets_a_line_now_and_then_and_each_failure_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress(live=False, clock=clock) as progress:
        progress(STARTED)
        progress(ended(1, "isr", QuantumStatus.SUCCEEDED))
        progress(FAILED)
        progress(QuantaBlocked(2, (4,), {"coadd": 1}))
        clock.now = 12.0
        progress(ended(3, "isr", QuantumStatus.NO_WORK))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "1 quantum finished before, skipped",
        "failed: isr {exposure=3, detector=0}: ValueError: too [bold]bright[/bold]",
        "3 of 6 quanta done, 1 failed, 1 blocked after 12 s",
    ]


def test_many_failures_do_not_flood_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(live=False, clock=Clock()) as progress:
        progress(RunStarted("u/run", {"isr": 100}, {}))
        for i in range(100):
            progress(ended(i, "isr", QuantumStatus.FAILED, failure=Failure("ValueError", "")))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "further failures are in the report"


def test_terminal_shows_a_bar_for_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, markup=False)
    monkeypatch.setattr(terminal, "console", lambda stderr=False: screen)
    with Progress(live=True, clock=Clock()) as progress:
        progress(STARTED)
        progress(FAILED)
        progress(QuantaBlocked(2, (4,), {"coadd": 1}))
        screen.print(progress._bars())
    shown = screen.file.getvalue()
    for words in ("isr", "coadd", "1/4", "0/2", "1 failed", "1 blocked", "too [bold]bright[/bold]", "1/6"):
        assert words in shown


def test_bars_go_away_when_the_run_ends() -> None:
    with Progress(live=False, clock=Clock()) as progress:
        progress(STARTED)
        assert progress._bars().row_count == 3
        progress(RunFinished(None))
        assert progress._bars().row_count == 0
