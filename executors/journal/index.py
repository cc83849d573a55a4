"""An index of a run's journal: what one quantum's attempts came to, without reading a million lines.

It lies beside the journal in ``journal.index`` and is written when a run ends. Nothing depends on it: it says
where lines begin, and each line is believed for its own checksum. What is missing in it (the run went on, or
it was deleted) is read from the journal, and what does not lead to lines of the right quantum is made anew.

::

    supertask journal index 1
    {"count":1200,"files":[["<name>.jsonl",<bytes indexed>],…]}     padded with spaces
    key     count × uint64    first eight bytes of the quantum's identity, ascending
    offset  count × int64     where an ``end`` line begins in its file
    file    count × uint32    number of the file
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from executors.journal.journal import Header, decode_attempt, unseal
from executors.journal.runfolder import RunFolder
from executors.outcome import Attempt
from supertask.datasets import Dataset

__all__ = ["JournalIndex", "index_journal"]

_MAGIC = b"supertask journal index 1\n"
_ALIGN = 64
_BODY = 9
"""A line's first eight bytes are its checksum, then comes a space."""
_LEAD = np.frombuffer(b'{"event":"end","quantum":"', np.uint8)
_BEFORE = _BODY + len(_LEAD)
_DIGITS = 16
"""Hexadecimal digits of an identity that make a key."""
_CHUNK = 1 << 24
_NIBBLE = np.zeros(256, np.uint8)
_NIBBLE[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


@attrs.frozen(eq=False)
class _Entries:
    """Lines that say how attempts ended, in order of their keys."""

    keys: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]
    files: npt.NDArray[np.uint32]

    @classmethod
    def merged(cls, parts: list[_Entries]) -> _Entries:
        keys, offsets, files = (
            np.concatenate([getattr(p, name) for p in parts]) for name in ("keys", "offsets", "files")
        )
        order = np.lexsort((offsets, files, keys))
        return cls(keys[order], offsets[order], files[order])

    def of(self, key: int) -> Iterator[tuple[int, int]]:
        """Yield file and offset of the lines of a key."""
        wanted = np.uint64(key)
        begin = int(np.searchsorted(self.keys, wanted))
        end = int(np.searchsorted(self.keys, wanted, side="right"))
        yield from zip(self.files[begin:end].tolist(), self.offsets[begin:end].tolist(), strict=True)


_NONE = _Entries(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.uint32))


class JournalIndex:
    """Finds the attempts of single quanta in a run's journal.

    Parameters
    ----------
    folder : RunFolder
        Folder of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._headers: dict[int, Header | None] = {}
        self.problems: list[str] = []
        """Damage found in lines that were asked for."""
        self._open(_stored(folder))

    def _open(self, stored: tuple[list[tuple[str, int]], _Entries]) -> None:
        known, self._entries = stored
        self._names = [name for name, _ in known]
        self._ends = [end for _, end in known]
        try:
            there = {
                e.name: e.stat().st_size for e in os.scandir(self._folder.journal) if e.name[-6:] == ".jsonl"
            }
        except OSError:
            there = {}
        if any(there.get(name, -1) < end for name, end in known):
            # Somebody took files away, or cut them: the index is of another journal.
            self._names, self._ends, self._entries = [], [], _NONE
        late = []
        for name in sorted(there):
            if name not in self._names:
                self._names.append(name)
                self._ends.append(0)
            number = self._names.index(name)
            if there[name] > self._ends[number]:
                part, self._ends[number] = _scan(self._folder.journal / name, number, self._ends[number])
                late.append(part)
        self._late = _Entries.merged(late) if late else _NONE
        self.is_complete = not len(self._late.keys)
        """Whether the file has all that the journal has."""

    def save(self) -> None:
        """Write the index to its file, whole or not at all.

        Raises
        ------
        OSError
            It cannot be written.
        """
        whole = _Entries.merged([self._entries, self._late])
        said = {"count": len(whole.keys), "files": list(zip(self._names, self._ends, strict=True))}
        head = _MAGIC + json.dumps(said, separators=(",", ":")).encode()
        head += b" " * (-(len(head) + 1) % _ALIGN) + b"\n"
        path = _path(self._folder)
        temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            with temporary.open("xb") as file:
                file.write(head)
                for column in (whole.keys, whole.offsets, whole.files):
                    file.write(np.ascontiguousarray(column).data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._entries, self._late, self.is_complete = whole, _NONE, True

    def attempts(
        self, identity: bytes, types: Mapping[str, type[Dataset]] | None = None
    ) -> list[tuple[Attempt, Path]]:
        """Return the ended attempts of a quantum, first to last, each with the file that it stands in.

        Parameters
        ----------
        identity : bytes
            Of the quantum.
        types : Mapping, optional
            Dataset types by name; without these, outputs are left out.
        """
        found, sound = self._attempts(identity, types)
        if not sound:
            self._open(([], _NONE))
            found, _ = self._attempts(identity, types)
        found.sort(key=lambda pair: (pair[0].number, pair[0].start))
        return found

    def _attempts(
        self, identity: bytes, types: Mapping[str, type[Dataset]] | None
    ) -> tuple[list[tuple[Attempt, Path]], bool]:
        """Return attempts, and whether the index led to lines that are what it says."""
        key, text = int.from_bytes(identity[:8], "big"), identity.hex()
        found = []
        for entries in (self._entries, self._late):
            for number, offset in entries.of(key):
                if number >= len(self._names):
                    return [], False
                path = self._folder.journal / self._names[number]
                value = self._line(path, offset)
                if value is None:
                    continue
                if value.get("event") != "end" or not str(value["quantum"]).startswith(text[:_DIGITS]):
                    return [], False
                header = self._header(number)
                if value["quantum"] == text and header is not None:
                    found.append((decode_attempt(value, header, types), path))
        return found, True

    def _line(self, path: Path, offset: int) -> dict[str, Any] | None:
        with path.open("rb") as file:
            file.seek(offset)
            body = unseal(file.readline())
        if body is None:
            problem = f"{path}: the line at byte {offset} is torn or altered and is left out"
            if problem not in self.problems:
                self.problems.append(problem)
            return None
        value: dict[str, Any] = json.loads(body)
        return value

    def _header(self, number: int) -> Header | None:
        if number not in self._headers:
            path = self._folder.journal / self._names[number]
            value = self._line(path, 0)
            self._headers[number] = (
                Header.from_line(value) if value is not None and value.get("event") == "header" else None
            )
        return self._headers[number]

    def headers(self) -> list[Header]:
        """Return the headers of all files that have one, oldest first."""
        found = (self._header(n) for n in range(len(self._names)))
        return sorted((h for h in found if h is not None), key=lambda h: h.time)


def index_journal(folder: RunFolder) -> None:
    """Write the index of a run's journal, if that is possible; it can be made at any time."""
    with contextlib.suppress(OSError):
        index = JournalIndex(folder)
        if not index.is_complete:
            index.save()


def _path(folder: RunFolder) -> Path:
    return folder.path / "journal.index"


def _stored(folder: RunFolder) -> tuple[list[tuple[str, int]], _Entries]:
    """Read what was written, columns left in the file; nothing where that is not of this form."""
    path = _path(folder)
    try:
        with path.open("rb") as file:
            if file.readline() != _MAGIC:
                return [], _NONE
            said = json.loads(file.readline())
            begin, size = file.tell(), os.fstat(file.fileno()).st_size
        n = int(said["count"])
        files = [(os.path.basename(str(name)), int(end)) for name, end in said["files"]]
        if size != begin + 20 * n or not n:
            return ([], _NONE) if n else (files, _NONE)
        columns = (
            np.memmap(path, kind, "r", begin + shift * n, (n,))
            for kind, shift in (("uint64", 0), ("int64", 8), ("uint32", 16))
        )
        return files, _Entries(*columns)
    except (OSError, ValueError, KeyError, TypeError):
        return [], _NONE


def _scan(path: Path, number: int, begin: int) -> tuple[_Entries, int]:
    """Find the ``end`` lines of a file from some byte on; return them and where the last whole line ends."""
    keys, offsets = [], []
    with path.open("rb") as file:
        file.seek(begin)
        rest = b""
        while chunk := file.read(_CHUNK):
            data = rest + chunk
            cut = data.rfind(b"\n") + 1
            found, places = _ends_in(np.frombuffer(data, np.uint8, cut))
            keys.append(found)
            offsets.append(places + begin)
            begin += cut
            rest = data[cut:]
    key = np.concatenate(keys) if keys else np.empty(0, np.uint64)
    offset = np.concatenate(offsets) if offsets else np.empty(0, np.int64)
    return _Entries(key, offset, np.full(len(key), number, np.uint32)), begin


def _ends_in(data: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return key and place of each ``end`` line in whole lines."""
    breaks = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate([np.zeros(1, np.int64), breaks + 1])[: len(breaks)]
    starts = starts[breaks - starts >= _BEFORE + _DIGITS]
    if len(starts):
        words = np.ndarray((len(data) - 7,), "<u8", np.ascontiguousarray(data).data, strides=(1,))
        for at in (
            *range(0, len(_LEAD) - 8, 8),
            len(_LEAD) - 8,
        ):  # the last eight overlap
            starts = starts[words[starts + (_BODY + at)] == _LEAD[at : at + 8].view("<u8")[0]]
    nibbles = _NIBBLE[data[starts[:, None] + np.arange(_BEFORE, _BEFORE + _DIGITS)]]
    packed = np.ascontiguousarray(nibbles[:, 0::2] << 4 | nibbles[:, 1::2])
    return packed.view(">u8").ravel().astype(np.uint64), starts
