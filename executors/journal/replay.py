"""Reading a run's journal: where every quantum stands, in one pass.

Reading is tolerant: a line that is torn (its writer was killed while writing) or altered does not pass its
checksum and is reported and left out. Files of one run are merged by the number of the attempt: the last
attempt of a quantum says where it stands.
"""

from __future__ import annotations

import json
import re
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from executors.journal.journal import Header, decode_attempt, read_log
from executors.journal.runfolder import RunFolder, is_held
from executors.outcome import Attempt, QuantumStatus
from supertask.datasets import Dataset

__all__ = ["Begun", "Replay", "replay"]

_END = re.compile(
    rb'\{"event":"end","quantum":"([0-9a-f]{32})","index":(\d+),"attempt":(\d+),"status":"([a-z ]+)"'
)
_START = re.compile(
    rb'\{"event":"start","quantum":"([0-9a-f]{32})","index":(\d+),"attempt":(\d+),"time":(\d+)\}'
)
_FILE = re.compile(rb'\["([^"]+)","([^"]+)",\d+,"')
"""A file in an ``end`` line: its type's name and its location."""
_FILES = b'"files":'
_METADATA = b',"metadata":'
"""Comes last, and may hold anything."""
_INCOMPLETE = re.compile(rb'"(?:missing|elided)":\[|"whole":false')
_START_MARK = b'{"event":"start"'
_HEX = 32
_BODY = 9
"""A line's first eight bytes are its checksum, then comes a space."""
_CODES = {s.value.encode(): s.code for s in QuantumStatus}
_PLANNED = QuantumStatus.PLANNED.code
_SUCCEEDED = QuantumStatus.SUCCEEDED.code


@attrs.frozen
class Begun:
    """An attempt of which no end is known."""

    index: int
    number: int
    time: int
    """When it began: UTC, ns since 1970."""
    header: Header
    alive: bool
    """Whether the process that began it lives; if not, the attempt is lost."""


@attrs.define
class Replay:
    """What a journal says."""

    headers: list[Header] = attrs.field(factory=list)
    """Of all files, oldest first."""
    statuses: npt.NDArray[np.uint8] = attrs.field(factory=lambda: np.empty(0, np.uint8))
    """Shape (quanta,): code of the `QuantumStatus` that the last attempt of each came to."""
    numbers: npt.NDArray[np.int32] = attrs.field(factory=lambda: np.empty(0, np.int32))
    """Shape (quanta,): number of the last attempt that began, 0 where none did."""
    registered: npt.NDArray[np.int32] = attrs.field(factory=lambda: np.empty(0, np.int32))
    """Shape (quanta,): number of the attempt whose outputs the repository knows, 0 where it knows none."""
    begun: list[Begun] = attrs.field(factory=list)
    """Attempts without an end."""
    blocked: set[int] = attrs.field(factory=set)
    """Quanta that the last session said to be blocked."""
    sessions: list[dict[str, Any]] = attrs.field(factory=list)
    """What drivers said when they began and ended."""
    problems: list[str] = attrs.field(factory=list)
    """Lines that were left out, and why."""
    partial: dict[int, frozenset[bytes]] = attrs.field(factory=dict)
    """Quanta that succeeded and left out outputs, with the identities of these."""
    gone: list[int] = attrs.field(factory=list)
    """Quanta that had succeeded and whose files are not there, although nobody said that they may go."""
    deleted: dict[int, frozenset[str]] = attrs.field(factory=dict)
    """Quanta that have succeeded → names of types of which their outputs were deleted on purpose."""
    tainted: set[int] = attrs.field(factory=set)
    """Quanta that ended without all that the plan means them to have."""
    retries: dict[int, int] = attrs.field(factory=dict)
    """Quanta that the last session was to try again → number of the attempt that had failed."""
    memory: dict[int, int] = attrs.field(factory=dict)
    """Quanta that ran out of memory → bytes that the next attempt is to be granted."""
    foreign: dict[str, bytes] = attrs.field(factory=dict)
    """Locations of what quanta of other plans wrote in this run → the identity of each, in hexadecimal."""
    replaced: dict[str, set[str]] = attrs.field(factory=dict)
    """Token of a plan that replaces what was there → locations of what went, see `clobbering`."""
    _paths: list[Path] = attrs.field(factory=list)
    _file: Any = None
    _where: Any = None

    def attempts(
        self, quanta: Iterable[int], types: Mapping[str, type[Dataset]] | None = None
    ) -> Iterator[Attempt]:
        """Read back the last ended attempts of some quanta, those that have one; see `decode_attempt`."""
        places = sorted((self._file[q], self._where[q], q) for q in quanta if self._file[q] >= 0)
        opened, file = -1, None
        try:
            for which, where, q in places:
                if which != opened:
                    if file is not None:
                        file.close()
                    file, opened = self._paths[which].open("rb"), which
                assert file is not None  # noqa: S101 - opened just above
                file.seek(where + _BODY)
                value = json.loads(file.readline())
                # Another plan may have known the quantum by another index.
                yield decode_attempt({**value, "index": q}, self.headers[which], types)
        finally:
            if file is not None:
                file.close()

    def log(self, attempt: Attempt) -> str:
        """Return what the task logged in a quantum's last attempt; empty where nothing was kept."""
        if attempt.log_span is None or self._file[attempt.index] < 0:
            return attempt.log
        return read_log(self._paths[self._file[attempt.index]], attempt.log_span)


def replay(
    folder: RunFolder,
    identities: npt.NDArray[np.uint8] | None = None,
    *,
    exists: Callable[[str], bool] | None = None,
    also: Iterable[Path] = (),
) -> Replay:
    """Read all of a run's journal.

    Parameters
    ----------
    folder : RunFolder
        Folder of the run.
    identities : numpy.ndarray, optional
        Shape (n, 16), uint8: identities of the plan's quanta, by which they are known again. Unless given,
        the journal's own indices are taken.
    exists : callable, optional
        Tells whether the file of a location is there. If given, a quantum whose files are gone counts as
        planned.
    also : iterable of Path, optional
        Files of journals that belong to it and lie elsewhere: of jobs that were not collected.

    Raises
    ------
    ExecutionError
        A newer version of this software wrote it.
    """
    found = Replay()
    reader = _Reader(found, identities, exists)
    try:
        paths = sorted(folder.journal.glob("*.jsonl"))
    except OSError:
        paths = []
    for path in (*paths, *also):
        reader.read(path)
    reader.close()
    return found


class _Reader:
    """Merges file after file into one `Replay`."""

    def __init__(
        self,
        found: Replay,
        identities: npt.NDArray[np.uint8] | None,
        exists: Callable[[str], bool] | None,
    ) -> None:
        self.found = found
        self.exists = exists
        self.digests = (
            None if identities is None else np.ascontiguousarray(identities).tobytes().hex().encode()
        )
        """All identities in hexadecimal, 32 digits each."""
        self.n = 0
        self.status = bytearray()
        self.ended = array("i")
        self.began = array("i")
        self.registered = array("i")
        self.file = array("i")
        self.where = array("q")
        self.by_identity: dict[bytes, int] | None = None
        self.gone: dict[int, frozenset[str]] = {}
        """Quantum → names of types of which files are missing."""
        self.deleted: dict[int, tuple[int, frozenset[str]]] = {}
        """Quantum → number of the attempt, names of types that were deleted."""
        if self.digests is not None:
            self._grow(len(self.digests) // _HEX)

    def _grow(self, n: int) -> None:
        more = n - self.n
        if more <= 0:
            return
        self.status.extend(bytes([_PLANNED]) * more)
        for column in (self.ended, self.began, self.registered):
            column.frombytes(bytes(4 * more))
        self.file.extend([-1] * more)
        self.where.frombytes(bytes(8 * more))
        self.n = n

    def index(self, identity: bytes, index: int) -> int | None:
        """Return the plan's index of a quantum that the journal knows by this identity and index."""
        digests = self.digests
        if digests is None:
            return index if index < self.n else None
        if digests[_HEX * index : _HEX * index + _HEX] == identity:
            return index
        if self.by_identity is None:
            self.by_identity = {digests[i : i + _HEX]: i // _HEX for i in range(0, len(digests), _HEX)}
        return self.by_identity.get(identity)

    def read(self, path: Path) -> None:
        """Merge one file."""
        number = len(self.found._paths)
        with path.open("rb", buffering=1 << 20) as file:
            header = self._header(file.readline(), path)
            if header is None:
                return
            self.found.headers.append(header)
            self.found._paths.append(path)
            if self.digests is None:
                self._grow(header.quanta)
            self._lines(file, number, header, path)

    def _header(self, line: bytes, path: Path) -> Header | None:
        if _sealed(line):
            value = json.loads(line[_BODY:])
            if value.get("event") == "header":
                return Header.from_line(value)
        if line or not is_held(path):
            self.found.problems.append(f"{path}: its first line is damaged or missing; the file is left out")
        return None

    def _lines(self, file: Any, number: int, header: Header, path: Path) -> None:
        begin, open_start = file.tell(), b""
        starts: list[bytes] = []
        start_mark, seal, match, index_of = _START_MARK, _sealed, _END.match, self.index
        partial, tainted, special = self.found.partial, self.found.tainted, _INCOMPLETE.search
        ended, statuses, files, wheres, exists = self.ended, self.status, self.file, self.where, self.exists
        for line in file:
            where, begin = begin, begin + len(line)
            if line.startswith(start_mark, _BODY):
                # Nearly always the end follows at once and says all that the start does.
                if open_start:
                    starts.append(open_start)
                open_start = line
                continue
            if not seal(line):
                self._torn(line, where, path)
                continue
            end = match(line, _BODY)
            if end is None:
                self._other(json.loads(line[_BODY:]))
                continue
            identity, index_text, attempt_text, status = end.groups()
            if open_start:
                if identity not in open_start:
                    starts.append(open_start)
                open_start = b""
            attempt = int(attempt_text)
            index = index_of(identity, int(index_text))
            if index is None:
                self.found.foreign.update((place.decode(), identity) for _, place in _files(line))
            elif attempt >= ended[index]:
                code = _CODES[status]
                # Most of what is looked at has files, but what has none needs no look.
                if exists is not None and code == _SUCCEEDED and (_FILES in line or self.gone):
                    code = self._checked(index, line, exists)
                if special(line) or partial or tainted:
                    self._incomplete(index, attempt, line)
                statuses[index] = code
                ended[index] = attempt
                files[index] = number
                wheres[index] = where
        if open_start:
            starts.append(open_start)
        if starts:
            alive = is_held(path)
            for line in starts:
                self._start(line, header, alive=alive)

    def _torn(self, line: bytes, where: int, path: Path) -> None:
        """Report a damaged line, unless it is empty or just being written."""
        if line == b"\n" or (not line.endswith(b"\n") and is_held(path)):
            return
        self.found.problems.append(
            f"{path}: {len(line)} bytes at {where} are torn or altered and are left out"
        )

    def _checked(self, index: int, line: bytes, exists: Callable[[str], bool]) -> int:
        """Return the status of a quantum that succeeded, given what has become of its files."""
        missing = [name for name, place in _files(line) if not exists(place.decode())]
        if not missing:
            self.gone.pop(index, None)
            return _SUCCEEDED
        self.gone[index] = _shared(frozenset(name.decode() for name in missing))
        return _PLANNED

    def _deleted(self, index: int, attempt: int, names: Iterable[str]) -> None:
        before = self.deleted.get(index)
        if before is None or before[0] < attempt:
            self.deleted[index] = (attempt, _shared(frozenset(names)))
        elif before[0] == attempt:
            self.deleted[index] = (attempt, _shared(before[1] | frozenset(names)))

    def _incomplete(self, index: int, attempt: int, line: bytes) -> None:
        """Take note of outputs that a quantum left out, or that nobody needed to be written."""
        value = json.loads(line[_BODY:])
        left_out, elided = value.get("missing"), value.get("elided")
        if left_out:
            self.found.partial[index] = frozenset(map(bytes.fromhex, left_out))
        else:
            self.found.partial.pop(index, None)
        if value.get("whole", True):
            self.found.tainted.discard(index)
        else:
            self.found.tainted.add(index)
        if elided:
            self._deleted(index, attempt, elided)

    def _start(self, line: bytes, header: Header, *, alive: bool) -> None:
        found = _START.match(line, _BODY) if _sealed(line) else None
        if found is None:
            return
        index = self.index(found[1], int(found[2]))
        if index is not None:
            attempt = int(found[3])
            self.began[index] = max(self.began[index], attempt)
            self.found.begun.append(Begun(index, attempt, int(found[4]), header, alive))

    def _other(self, value: Mapping[str, Any]) -> None:
        event = value.get("event")
        if event == "registered":
            special = value.get("attempts", {})
            for identity, listed in zip(value["quanta"], value["indices"], strict=True):
                index = self.index(identity.encode(), listed)
                if index is not None:
                    self.registered[index] = special.get(str(listed), 1)
        elif event == "deleted":
            special = value.get("attempts", {})
            names = (value["type"],)
            for identity, listed in zip(value["quanta"], value["indices"], strict=True):
                index = self.index(identity.encode(), listed)
                if index is not None:
                    self._deleted(index, special.get(str(listed), 1), names)
        elif event == "blocked":
            for identity, listed in zip(value["quanta"], value["indices"], strict=True):
                index = self.index(identity.encode(), listed)
                if index is not None:
                    self.found.blocked.add(index)
        elif event == "retry":
            self._retry(value)
        elif event == "replaced":
            self._replaced(value)
        elif event == "session":
            self.found.sessions.append(dict(value))
            if value.get("state") == "began":
                self.found.blocked.clear()
                self.found.retries.clear()

    def _replaced(self, value: Mapping[str, Any]) -> None:
        """Forget what came of quanta whose outputs were removed to be made anew."""
        self.found.replaced.setdefault(value["token"], set()).update(value["locations"])
        for location in value["locations"]:
            self.found.foreign.pop(location, None)
        for identity, listed in zip(value["quanta"], value["indices"], strict=True):
            if listed < 0 and self.digests is None:
                continue  # of another plan, whose indices are not known
            index = self.index(identity.encode(), listed)
            if index is not None:
                self.status[index] = _PLANNED
                self.registered[index] = 0
                self.gone.pop(index, None)
                self.deleted.pop(index, None)
                self.found.partial.pop(index, None)
                self.found.tainted.discard(index)

    def _retry(self, value: Mapping[str, Any]) -> None:
        index = self.index(value["quantum"].encode(), value["index"])
        if index is None:
            return
        if not value["final"]:
            self.found.retries[index] = value["attempt"]
        if value["memory"] is not None:
            self.found.memory[index] = value["memory"]

    def close(self) -> None:
        """Hand over the columns."""
        found = self.found
        found.statuses = np.frombuffer(self.status, np.uint8) if self.n else np.empty(0, np.uint8)
        ended = np.array(self.ended, np.int32)
        found.numbers = np.maximum(ended, np.array(self.began, np.int32))
        found.registered = np.array(self.registered, np.int32)
        found.begun = [b for b in found.begun if ended[b.index] < b.number]
        for index, (attempt, names) in self.deleted.items():
            # Of an earlier attempt it says nothing about what the last one made.
            if attempt == ended[index] and (
                found.statuses[index] == _SUCCEEDED or self.gone.get(index, frozenset("?")) <= names
            ):
                found.deleted[index] = names
                if self.gone.pop(index, None):
                    self.status[index] = _SUCCEEDED
        found.gone = sorted(self.gone)
        found._file, found._where = self.file, self.where


def _files(line: bytes) -> list[tuple[bytes, bytes]]:
    """Return type and location of each file of an ``end`` line."""
    return _FILE.findall(line.partition(_METADATA)[0])


@lru_cache(maxsize=1024)
def _shared(names: frozenset[str]) -> frozenset[str]:
    """Return the one object for equal sets, of which there are few and that many quanta have."""
    return names


def _sealed(line: bytes) -> bool:
    return (
        line.endswith(b"\n") and len(line) > _BODY
        and b"%08x" % zlib.crc32(line[_BODY:-1]) == line[:8]
    )  # fmt: skip
