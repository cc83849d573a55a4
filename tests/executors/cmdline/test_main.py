from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from executors.cmdline import main as program
from executors.cmdline.main import COMMANDS, main, supertask
from executors.cmdline.options import command as define
from supertask.errors import RepositoryError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """A program with one command, `fail`, which raises what it is told to."""

    def install(error: BaseException) -> None:
        @define("fail")
        def command() -> None:
            raise error

        monkeypatch.setitem(COMMANDS, "fail", ("fail", "Fail."))
        monkeypatch.setattr(
            program.importlib, "import_module", lambda name: type("module", (), {"command": command})
        )

    return install


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_the_program_and_of_a_command_say_the_same(name: str) -> None:
    command = supertask.get_command(click.Context(supertask), name)
    assert command.name == name
    assert command.short_help == COMMANDS[name][1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert "-h, --help" in capsys.readouterr().out


def test_mistyped_command_is_bad_usage_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["qury"]) == 2
    assert "did you mean 'query'?" in capsys.readouterr().err


def test_missing_argument_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 2
    assert "REPO" in capsys.readouterr().err


def test_error_of_ours_is_told_without_a_traceback(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(RepositoryError("there is no repository at x; make one with supertask init x"))
    assert main(["fail"]) == 2
    said = capsys.readouterr()
    assert said.err == "error: there is no repository at x; make one with supertask init x\n"
    assert said.out == ""


def test_debug_shows_the_traceback(failing) -> None:
    failing(RepositoryError("broken"))
    with pytest.raises(RepositoryError, match="broken"):
        main(["fail", "--debug"])


def test_full_disk_is_told_with_its_file(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(OSError(errno.ENOSPC, "No space left on device", "/data/coadd.fits"))
    assert main(["fail"]) == 2
    assert "/data/coadd.fits: No space left on device" in capsys.readouterr().err


def test_unexpected_error_keeps_its_traceback_in_a_file(
    failing, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(ZeroDivisionError("division by zero"))
    assert main(["fail"]) == 1
    said = capsys.readouterr().err
    (kept,) = tmp_path.glob("supertask-*.txt")
    assert "ZeroDivisionError: division by zero" in said
    assert str(kept) in said
    assert "Traceback" not in said
    assert "Traceback" in kept.read_text()


def test_interrupt_ends_cleanly(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(KeyboardInterrupt())
    assert main(["fail"]) == 130
    assert capsys.readouterr().err.strip().endswith("interrupted")


def run(*arguments: str, **settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, **settings
    )


def test_reader_that_goes_away_does_no_harm() -> None:
    script = "from executors.cmdline.main import main; import sys; sys.exit(main(['--help']))"
    done = subprocess.run(
        f'"{sys.executable}" -c "{script}" | true; exit ${{PIPESTATUS[0]}}',
        shell=True, executable="/bin/bash", cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode in {0, 141}  # the pipe may take it all before it closes


def test_a_terminal_without_unicode_gets_what_it_can_show(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("tasks: {isr: 'examples.isr.tasks:IsrTask'}")
    done = run(
        "-m", "executors.cmdline", "pipeline", "graph", str(tmp_path / "pipeline.yaml"),
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\\u" in done.stdout


def test_a_path_that_is_no_utf8_is_refused_without_a_traceback(tmp_path: Path) -> None:
    done = run("-m", "executors.cmdline", "init", os.fsdecode(os.fsencode(tmp_path) + b"/r\xff"))
    assert (done.returncode, "the path is not valid UTF-8" in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_interrupted_while_it_starts_it_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    done = run("-m", "executors.cmdline", "--help", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_python_dash_m_is_the_same_program() -> None:
    done = run("-m", "executors.cmdline", "nonsense")
    assert done.returncode == 2
    assert "there is no command 'nonsense'" in done.stderr


def test_help_needs_none_of_the_heavy_packages() -> None:
    script = (
        "import sys; from executors.cmdline.main import main; main(['--help'])\n"
        "print([m for m in ('numpy', 'astropy', 'sqlalchemy', 'rich', 'h5py', 'attrs') if m in sys.modules])"
    )
    assert run("-c", script).stdout.splitlines()[-1] in {"[]", "['attrs']"}
