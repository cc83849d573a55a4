"""What is written: tables and colour for a person, plain lines for a pipe, JSON for a program."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from unicodedata import combining, east_asian_width

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "console",
    "counted",
    "error",
    "is_terminal",
    "keep_traceback",
    "line",
    "note",
    "objects",
    "pairs",
    "printable",
    "show_warning",
    "size",
    "spinner",
    "table",
]


_SHORT = 12


def is_terminal(stream: TextIO | None = None) -> bool:
    """Tell whether a person is likely to read `stream` (stdout unless given)."""
    stream = stream or sys.stdout
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def console(*, stderr: bool = False) -> Console:
    """Return a rich console that takes words as they are: data may hold square brackets."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False)


def printable(text: str, keep: str = "\n\t") -> str:
    r"""Return text without what a terminal would obey: control characters as ``\x1b``, but for those kept.

    Names come from headers, files and databases of others.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def line(text: str = "") -> None:
    """Write one line of the answer."""
    print(printable(text))  # noqa: T201 - this is where the program prints


def note(text: str) -> None:
    """Write something beside the answer, to stderr."""
    print(printable(text), file=sys.stderr)  # noqa: T201


def error(text: str) -> None:
    """Say on stderr what went wrong."""
    head = (
        "\x1b[1;31merror:\x1b[0m" if is_terminal(sys.stderr) and not os.environ.get("NO_COLOR") else "error:"
    )
    print(f"{head} {printable(text)}", file=sys.stderr)  # noqa: T201


def objects(rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON, one object per line."""
    import json

    for row in rows:
        line(json.dumps(row, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    for convert in ("isoformat", "tolist"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    return str(value)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "", caption: str = ""
) -> None:
    """Write a table: ruled on a terminal, aligned plain lines otherwise. Numbers stand to the right.

    Parameters
    ----------
    columns : sequence of str
        Heads.
    rows : iterable of sequence
        Cells; None is shown as an empty cell.
    title : str, optional
        A line above.
    caption : str, optional
        A line below, on a terminal only.
    """
    kept = [list(row) for row in rows]
    right = [
        any(isinstance(row[i], int | float) for row in kept)
        and all(row[i] is None or isinstance(row[i], int | float) for row in kept)
        for i in range(len(columns))
    ]
    cells = [[_cell(value) for value in row] for row in kept]
    if is_terminal():
        _ruled(columns, cells, right, title, caption)
    else:
        if title:
            line(f"{title}:")
        _aligned(columns, cells, right)
        if title:
            line()


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Write a warning in the place of Python's own: what is deprecated names its place itself."""
    if issubclass(category, FutureWarning):
        note(f"warning: {message}")
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def pairs(values: Mapping[str, str]) -> None:
    """Write names with their values, one to a line; what is empty is left out."""
    shown = {name: value for name, value in values.items() if value}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        line(f"{name.ljust(width)}  {value}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(str(value), keep="")


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _ruled(
    columns: Sequence[str], cells: list[list[str]], right: list[bool], title: str, caption: str
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        title=Text(title, style="bold") if title else None, caption=Text(caption) if caption else None,
        box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left",
    )  # fmt: skip
    for i, (name, to_right) in enumerate(zip(columns, right, strict=True)):
        # What is short stays on one line; where room is scarce, long cells give it.
        short = max((len(row[i]) for row in cells), default=0) <= _SHORT
        shown.add_column(Text(name), justify="right" if to_right else "left", overflow="fold", no_wrap=short)
    for row in cells:
        shown.add_row(*(Text(cell) for cell in row))
    console().print(shown)


def _aligned(columns: Sequence[str], cells: list[list[str]], right: list[bool]) -> None:
    everything = [list(columns), *cells]
    widths = [max(_width(row[i]) for row in everything) for i in range(len(columns))]
    for row in everything:
        padded = []
        for cell, width, to_right in zip(row, widths, right, strict=True):
            room = " " * (width - _width(cell))
            padded.append(room + cell if to_right else cell + room)
        line("  ".join(padded).rstrip())


def counted(n: int, what: str) -> str:
    """Return a number with its noun: ``1 quantum``, ``2,000 quanta``, ``3 tasks``."""
    several = {"quantum": "quanta"}.get(what, f"{what}s")
    return f"{n:,} {what if n == 1 else several}"


def size(n_bytes: float) -> str:
    """Return a number of bytes for people: ``12.3 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(n_bytes) < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """Show on a terminal that something is going on whose length is not known."""
    if not is_terminal(sys.stderr):
        yield
        return
    with console(stderr=True).status(text):
        yield


def keep_traceback(failure: BaseException) -> Path:
    """Write the traceback of an error to a new file and return where."""
    import tempfile
    import traceback

    handle, name = tempfile.mkstemp(prefix="supertask-", suffix=".traceback.txt", text=True)
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{' '.join(sys.argv)}\n\n")
        file.writelines(traceback.format_exception(failure))
    return Path(name)
