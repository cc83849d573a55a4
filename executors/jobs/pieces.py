"""Reads the piece of the journal that a job writes, also while it is written, line by line.

A shared file system may show the folder late, a file shorter than it is, or the end before what came before
it. So a line counts once it is whole, and the job's end once all the lines have been seen that it speaks of.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from executors.jobs.folder import ExitCode, JobFolder
from executors.journal.journal import Header
from executors.journal.locks import is_held
from executors.journal.runfolder import RunFolder

__all__ = ["Line", "Piece"]

_BODY = 9
_START = re.compile(rb'{"event":"start","quantum":"([0-9a-f]+)","index":(\d+),"attempt":(\d+),"time":(\d+)}')
"""What every other line looks like: JSON takes three times as long."""


@attrs.frozen
class Line:
    """One line of a job's journal."""

    said: Mapping[str, Any]
    header: Header
    path: Path
    """The file that it stands in."""
    text: bytes
    """As it stands there: JSON."""
    process: bytes
    """How such a line ends in another file, which has to say whose it is."""


@attrs.define(eq=False)
class _File:
    header: Header | None = None
    process: bytes = b""
    seen: int = 0


class Piece:
    """What one job wrote.

    Parameters
    ----------
    job : JobFolder
        Its folder.
    """

    def __init__(self, job: JobFolder) -> None:
        self.job = job
        self.problems: list[str] = []
        self.n_ended = 0
        """How many attempts it has been seen to end."""
        self._files: dict[Path, _File] = {}
        self._home = str(job.path)
        self._folder = ""
        """Of its journals, once there is one; names are made paths but once."""
        self._paths: dict[str, Path] = {}
        self._folders: dict[str, bool] = {}
        self._tops: dict[str, bool] = {}

    def read(self) -> Iterator[Line]:
        """Give the lines that are new since it was read last, but for headers."""
        for path in self._journals():
            known = self._files.setdefault(path, _File())
            try:
                with path.open("rb") as file:
                    file.seek(known.seen)
                    data = file.read()
            except OSError:  # seen in the folder and not yet there: next time
                continue
            for raw in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
                line = self._line(raw, known, path)
                known.seen += len(raw)
                if line is not None:
                    self.n_ended += line.said["event"] == "end"
                    yield line

    def _journals(self) -> list[Path]:
        """Return the same as its folder does, without looking for them anew."""
        if not self._folder:
            found = self.job.journals()
            self._paths = {path.name: path for path in found}
            self._folder = str(found[0].parent) if found else ""
            return found
        try:
            names = sorted(name for name in os.listdir(self._folder) if name.endswith(".jsonl"))
        except OSError:  # the job was cleared away
            return []
        for name in names:
            if name not in self._paths:
                self._paths[name] = Path(self._folder, name)
        return [self._paths[name] for name in names]

    def _line(self, raw: bytes, known: _File, path: Path) -> Line | None:
        text = raw[_BODY:-1]
        if raw[:8] != b"%08x" % zlib.crc32(text):
            if raw != b"\n":
                self.problems.append(f"{path}: {len(raw)} bytes at {known.seen} are altered and are left out")
            return None
        start = _START.fullmatch(text)
        if start is not None and known.header is not None:
            quantum, index, number, at = start.groups()
            said: dict[str, Any] = {
                "event": "start",
                "quantum": quantum.decode(),
                "index": int(index),
                "attempt": int(number),
                "time": int(at),
            }
            return Line(said, known.header, path, text, known.process)
        said = json.loads(text.decode())  # of bytes it would find out the encoding first
        if said["event"] == "header":
            header = known.header = Header.from_line(said)
            process = json.dumps([header.host, header.pid], separators=(",", ":"))
            known.process = f',"process":{process}}}'.encode()
            return None
        return None if known.header is None else Line(said, known.header, path, text, known.process)

    def look_for_folders(self) -> None:
        """Look anew what folders there are: a quantum that ended before a look had made its own by then."""
        self._folders.clear()
        self._tops.clear()

    def path_of(self, location: str) -> str:
        """Return where an output lies as long as it is in the job's folder; nothing where it never was."""
        top = location.partition("/")[0]
        there = self._tops.get(top)
        if there is None:
            there = self._tops[top] = os.path.exists(f"{self._home}/{top}")
        return f"{self._home}/{location}" if there else ""

    def has_folders(self, run: str) -> bool:
        """Tell whether any quantum has a folder of its own."""
        if run not in self._folders:
            self._folders[run] = (RunFolder(str(self.job.path), run).path / "quanta").is_dir()
        return self._folders[run]

    @property
    def is_running(self) -> bool:
        """Whether a process is seen to work on it; on another host that may not be seen."""
        return any(map(is_held, self._journals()))

    def ending(self) -> ExitCode | None:
        """Return how the job ended once all that it ended has been read; None before."""
        said = self.job.ending()
        if said is None or self.is_running or self.n_ended < sum(said["counts"].values()):
            return None
        return ExitCode(said["exit"])
