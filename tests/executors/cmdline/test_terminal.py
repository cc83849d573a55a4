from __future__ import annotations

import json

import numpy as np
import pytest

from executors.cmdline import terminal


def test_plain_tables_are_aligned_with_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table(["visit", "band"], [[1, "r"], [1200, None]], title="visits")
    assert capsys.readouterr().out == "visits:\nvisit  band\n    1  r\n 1200\n\n"


def test_terminal_tables_take_data_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "is_terminal", lambda stream=None: True)
    terminal.table(["name"], [["[red]x[/red]"]], title="[bold]")
    shown = capsys.readouterr().out
    assert "[red]x[/red]" in shown
    assert "[bold]" in shown


def test_json_is_one_object_per_line_of_plain_values(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.objects([{"a": np.int64(3), "b": b"\x01\xff", "c": {1}}, {"a": np.arange(2), "b": "µ"}])
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"a": 3, "b": "01ff", "c": [1]}
    assert json.loads(second) == {"a": [0, 1], "b": "µ"}


@pytest.mark.parametrize(
    ("n", "words"), [(3, "3 B"), (2048, "2.0 KiB"), (5 * 2**30, "5.0 GiB"), (2**45, "32.0 TiB")]
)
def test_sizes_are_told_for_people(n: int, words: str) -> None:
    assert terminal.size(n) == words


@pytest.mark.parametrize(
    ("n", "what", "words"),
    [(1, "quantum", "1 quantum"), (2000, "quantum", "2,000 quanta"), (0, "task", "0 tasks")],
)
def test_numbers_agree_with_their_nouns(n: int, what: str, words: str) -> None:
    assert terminal.counted(n, what) == words


def test_what_a_terminal_would_obey_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table(["name", "n"], [["\x1b[31mred", 1], ["two\nlines", 2], ["\u202eback", 3], ["\udcff", 4]])
    terminal.note("\x1b]0;title\x07")
    terminal.line("kept\nas\tit is")
    out, err = capsys.readouterr()
    assert out.splitlines()[1:5] == [
        r"\x1b[31mred  1",
        r"two\nlines   2",
        r"\u202eback   3",
        r"\udcff       4",
    ]
    assert out.endswith("kept\nas\tit is\n")
    assert err == "\\x1b]0;title\\x07\n"


def test_columns_are_aligned_by_the_room_that_letters_take(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table(["name", "n"], [["日本", 1], ["e\u0301e", 2], ["abcd", 3]])
    assert capsys.readouterr().out.splitlines()[1:] == ["日本  1", "e\u0301e    2", "abcd  3"]
