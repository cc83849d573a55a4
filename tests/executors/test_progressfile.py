"""What tasks say of their progress: in the file that status reads, and on the screen."""

from __future__ import annotations

from executors.cmdline.progress import Progress
from executors.events import QuantumEnded, QuantumProgressed, RunFinished, RunStarted
from executors.listeners.progressfile import ProgressFile, read_progress
from executors.outcome import Attempt, QuantumStatus


def ended(index: int) -> QuantumEnded:
    return QuantumEnded(Attempt(index=index, identity=bytes(16), label="fit", status=QuantumStatus.SUCCEEDED))


def test_status_reads_what_was_said_last_and_nothing_once_the_run_is_over(tmp_path) -> None:
    now = [0.0]
    file = ProgressFile(clock=lambda: now[0])
    (tmp_path / ".supertask/runs/r").mkdir(parents=True)
    file(RunStarted("r", {"fit": 2}, {}, str(tmp_path)))
    assert read_progress(tmp_path, "r") == {}
    file(QuantumProgressed(0, "fit", 0.4, "fitting"))
    assert read_progress(tmp_path, "r") == {0: (0.4, "fitting")}
    file(QuantumProgressed(1, "fit", 0.1, "reading"))
    assert 1 not in read_progress(tmp_path, "r")  # not each time: once a second
    now[0] = 2.0
    file(ended(0))
    file(QuantumProgressed(1, "fit", 0.2, "reading"))
    assert read_progress(tmp_path, "r") == {1: (0.2, "reading")}
    file(RunFinished(None))
    assert read_progress(tmp_path, "r") == {}


def test_a_damaged_file_says_nothing(tmp_path) -> None:
    folder = tmp_path / ".supertask/runs/r"
    folder.mkdir(parents=True)
    for text in ("", "[1]", '{"0": 3}', '{"x": [1, 2]}', '{"0": ["a", "b"]}'):
        (folder / "progress.json").write_text(text)
        assert read_progress(tmp_path, "r") == {}


def test_bars_show_the_one_that_is_farthest() -> None:
    from rich.console import Console

    progress = Progress(live=False)
    progress(RunStarted("r", {"fit": 3}, {}))
    progress(QuantumProgressed(0, "fit", 0.4, "fitting"))
    progress(QuantumProgressed(1, "fit", 0.7, "writing"))
    console = Console(width=100)
    with console.capture() as captured:
        console.print(progress._bars())
    assert "70% writing (and 1 more)" in captured.get()
    progress(ended(1))
    progress(ended(0))
    with console.capture() as captured:
        console.print(progress._bars())
    assert "%" not in captured.get()
