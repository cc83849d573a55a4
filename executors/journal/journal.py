"""The journal: what every attempt came to, written before it counts.

A run's journal is a folder of files, one for each process that ran quanta or drove the run, so that no two
processes ever write to one file. A file is only ever appended to. Each line is a CRC-32 in hexadecimal, a
space, and a JSON object::

    5d2e1b07 {"event":"header","version":1,"run":"u/me/run1","plan":"…","quanta":1200,…}
    0f3c7a55 {"event":"start","quantum":"<identity>","index":7,"attempt":1,"time":…}
    c1740b2e {"event":"end","quantum":"<identity>","index":7,"attempt":1,"status":"succeeded",…}

The events are ``header`` (first in each file), ``start`` and ``end`` of an attempt, ``retry`` (what is done
about one that failed), ``blocked`` (by whom),
``registered`` (whose outputs the repository knows), ``overhead`` (time that quanta of a bundle share, and
that was spent after they had ended), ``session`` (a driver began or ended). A line is one
``write`` to a file opened for appending: it outlives the process from then on, and the machine from the next
`Journal.sync`, which is called for many lines at once. While its writer lives, a file is locked; whether an
attempt that has no end is running or lost is thereby known.

What a task logged goes to a file of its own beside the journal; its place there stands in the ``end`` line.
"""

from __future__ import annotations

import json
import os
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from executors.journal.runfolder import RunFolder, hold
from executors.outcome import Attempt, Failure, Making, QuantumStatus, Stage
from supertask.datasets import Dataset
from supertask.errors import ExecutionError
from supertask.filerecords import FileRecord

__all__ = [
    "VERSION",
    "Header",
    "Journal",
    "alike_lines",
    "decode_attempt",
    "encode_attempt",
    "encode_overhead",
    "encode_retry",
    "encode_start",
    "label_of",
    "read_log",
    "seal",
    "unseal",
]

VERSION = 1

_encode = json.JSONEncoder(separators=(",", ":"), default=str, check_circular=False).encode
_TEXT_LIMIT = 1 << 15
"""Characters of a message or traceback that are kept."""
_METADATA_LIMIT = 1 << 16


@attrs.frozen(kw_only=True)
class Header:
    """The first line of each file: to which run and plan it belongs, and who wrote it."""

    run: str
    plan: str
    """Identity of the plan in hexadecimal: its quanta and where they write."""
    quanta: int
    """How many the plan has."""
    tasks: tuple[tuple[str, int, int], ...]
    """Label, index of the first quantum, and number of quanta of each task."""
    plan_file: str = ""
    """Where the plan can be read."""
    repository: str = ""
    tags: Mapping[str, Any] = attrs.field(factory=dict)
    """Of the run."""
    role: str = "driver"
    """``driver`` or ``worker``."""
    host: str = attrs.field(factory=socket.gethostname)
    pid: int = attrs.field(factory=os.getpid)
    time: int = attrs.field(factory=time.time_ns)
    """UTC, ns since 1970."""

    @classmethod
    def from_line(cls, value: Mapping[str, Any]) -> Header:
        """Read it back.

        Raises
        ------
        ExecutionError
            It was written by a newer version of this software.
        """
        if value["version"] > VERSION:
            raise ExecutionError(
                f"the journal of run {value['run']!r} was written by a newer SuperTask (journal version "
                f"{value['version']}, this one reads up to {VERSION}); use that to go on with it"
            )
        known = {f.name for f in attrs.fields(cls)}
        fields = {k: v for k, v in value.items() if k in known}
        return cls(**{**fields, "tasks": tuple((str(t[0]), int(t[1]), int(t[2])) for t in value["tasks"])})


class Journal:
    """One process's file of the journal.

    Parameters
    ----------
    folder : RunFolder
        Folder of the run.
    header : Header
        First line.
    lasting : bool, optional
        Whether the file must outlive the machine from its first line on, which takes milliseconds.

    Raises
    ------
    ExecutionError
        It cannot be written.
    """

    def __init__(self, folder: RunFolder, header: Header, *, lasting: bool = True) -> None:
        stem = f"{header.time:019d}-{header.role}-{header.host}-{header.pid}"
        self.header = header
        self.path = folder.journal / f"{stem}.jsonl"
        self._log_path = folder.journal / f"{stem}.log"
        self._log_fd = -1
        self._log_end = 0
        self._torn = False
        self._unsynced = False
        try:
            self._fd = os.open(
                self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666
            )
            hold(self._fd)
            self.write(_encode({"event": "header", "version": VERSION, **attrs.asdict(header)}))
            if lasting:
                self.sync()
                _sync_folder(folder.journal)
        except OSError as error:
            raise self._failed(error) from error

    def write(self, *lines: str) -> bytes:
        """Append lines; from now on they outlive this process.

        Returns
        -------
        bytes
            The lines as they stand in the file.

        Raises
        ------
        ExecutionError
            They cannot be written: the disk is full, say. They do not count then.
        """
        return self.append(b"".join([seal(line.encode("utf-8", "backslashreplace")) for line in lines]))

    def append(self, data: bytes) -> bytes:
        """Do the same with lines as `alike_lines` makes them."""
        rest = memoryview(b"\n" + data if self._torn else data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            # Part of a line may stand there; the next write begins a new one.
            self._torn = True
            raise self._failed(error) from error
        self._torn = False
        self._unsynced = True
        return data

    def write_log(self, text: str) -> tuple[int, int] | None:
        """Append to the file of logs and return where it lies there; None where it cannot be written."""
        data = text.encode("utf-8", "backslashreplace")
        try:
            if self._log_fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._log_fd = os.open(self._log_path, flags, 0o666)
            written = os.write(self._log_fd, data)
        except OSError:
            return None  # a lost log is no reason to lose work
        begin = self._log_end
        self._log_end += written
        return begin, written

    def sync(self) -> None:
        """See to it that what was written outlives the machine.

        Raises
        ------
        ExecutionError
            The disk does not take it.
        """
        if self._unsynced:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                raise self._failed(error) from error
            self._unsynced = False

    def filenos(self) -> list[int]:
        """Return the files that are open."""
        return [fd for fd in (self._fd, self._log_fd) if fd >= 0]

    def close(self) -> None:
        """Close the file: its writer is gone."""
        for fd in self.filenos():
            os.close(fd)
        self._fd = self._log_fd = -1

    def _failed(self, error: OSError) -> ExecutionError:
        return ExecutionError(
            f"the journal cannot be written: {self.path}: {error.strerror or error}; nothing runs without "
            "it. Make room or mend the disk, and run the same again: what is in the journal is not redone"
        )


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def seal(body: bytes) -> bytes:
    """Return a line of a journal, with its checksum."""
    return b"%08x %b\n" % (zlib.crc32(body), body)


def unseal(line: bytes) -> bytes | None:
    """Return the JSON text of a line, or None where it is torn or altered."""
    body = line[9:-1]
    sound = line.endswith(b"\n") and body and b"%08x " % zlib.crc32(body) == line[:9]
    return body if sound else None


# -- attempts as lines ------------------------------------------------------------------------------


def encode_start(index: int, identity: str, number: int, time_ns: int) -> str:
    """Return the line that says that an attempt begins; `identity` in hexadecimal."""
    return f'{{"event":"start","quantum":"{identity}","index":{index},"attempt":{number},"time":{time_ns}}}'


def alike_lines(attempt: Attempt, header: Header, quanta: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the lines of start and end of others that came to the very same as an attempt, in their first.

    Parameters
    ----------
    attempt : Attempt
        What it came to.
    header : Header
        Of the file.
    quanta : iterable of tuple
        Index and identity of each.
    """
    said = encode_attempt(attempt, header).encode("utf-8", "backslashreplace")
    tail = said[len(_end_head(attempt.identity.hex(), attempt.index, attempt.number)) :]
    lines = []
    for index, identity in quanta:
        quantum = identity.hex()
        start = encode_start(index, quantum, 1, attempt.start).encode()
        end = _end_head(quantum, index, 1).encode() + tail
        lines.append(b"%08x %b\n%08x %b\n" % (zlib.crc32(start), start, zlib.crc32(end), end))
    return b"".join(lines)


def _end_head(identity: str, index: int, number: int) -> str:
    return f'{{"event":"end","quantum":"{identity}","index":{index},"attempt":{number},'


def encode_attempt(attempt: Attempt, header: Header) -> str:
    """Return the line that says what an attempt came to, for the file that begins with `header`."""
    a = attempt
    line = (
        f"{_end_head(a.identity.hex(), a.index, a.number)}"
        f'"status":"{a.status.value}","start":{a.start},"end":{a.end},"wall":{a.wall:.9f},"cpu":{a.cpu:.9f},'
        f'"memory":{a.peak_memory},"read":{a.bytes_read},"written":{a.bytes_written}'
    )
    more: dict[str, Any] = {}
    if a.records:
        more["files"] = [
            (r.dataset.name, r.location, r.size, r.checksum, r.identity.hex(), dict(r.dataset.dataId))
            for r in a.records
        ]
    if a.failure is not None:
        more["failure"] = [
            a.failure.exception, a.failure.message[:_TEXT_LIMIT], a.failure.traceback[-_TEXT_LIMIT:],
            a.failure.kind.value,
        ]  # fmt: skip
        more["dataId"] = dict(a.dataId or {})
    if a.pid != header.pid or a.host != header.host:
        more["process"] = [a.host, a.pid]
    if a.reason:
        more["reason"] = a.reason[:_TEXT_LIMIT]
    if a.log_span:
        more["log"] = a.log_span
    if a.elided:
        more["elided"] = a.elided
    if a.missing:
        more["missing"] = [m.hex() for m in a.missing]
    if a.short:
        more["short"] = [s.hex() for s in a.short]
    if a.caveats:
        more["caveats"] = a.caveats
    if not a.whole:
        more["whole"] = False
    if a.unread:
        more["unread"] = [u.hex() for u in a.unread]
    if a.uses:
        more |= _shared(a)
    if a.metadata:
        more["metadata"] = _bounded(a.metadata)
    return f"{line},{_encode(more)[1:]}" if more else line + "}"


def encode_progress(index: int, identity: str, fraction: float, message: str) -> str:
    """Return the line that says how far a quantum is, where nobody listens but by reading the journal."""
    said = {
        "event": "progress", "quantum": identity, "index": index, "fraction": fraction, "message": message
    }  # fmt: skip
    return _encode(said)


def encode_retry(attempt: Attempt, delay: float | None, memory: int | None) -> str:
    """Return the line that says what is done about an attempt that failed.

    Parameters
    ----------
    attempt : Attempt
        The one that failed.
    delay : float, optional
        After how many seconds it is tried again; None where its failure is final.
    memory : int, optional
        Bytes that whoever tries it again is to grant, where it ran out of what it had.
    """
    said = {
        "event": "retry",
        "quantum": attempt.identity.hex(),
        "index": attempt.index,
        "attempt": attempt.number,
        "class": attempt.failure.kind.value if attempt.failure is not None else "",
        "delay": delay,
        "memory": memory,
        "final": delay is None,
    }
    return _encode(said)


def _bounded(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        length = len(_encode(dict(metadata)))
    except (TypeError, ValueError, RecursionError) as error:
        return {"left out": f"not JSON: {error}"}
    return dict(metadata) if length <= _METADATA_LIMIT else {"left out": f"too much: {length} characters"}


def decode_attempt(
    value: Mapping[str, Any], header: Header, types: Mapping[str, type[Dataset]] | None = None
) -> Attempt:
    """Return what an ``end`` line says.

    Parameters
    ----------
    value : Mapping
        The line's JSON object.
    header : Header
        Of the file that it stands in.
    types : Mapping, optional
        Dataset types by name; without these, outputs are left out.
    """
    index = value["index"]
    host, pid = value.get("process") or (header.host, header.pid)
    return Attempt(
        index=index,
        identity=bytes.fromhex(value["quantum"]),
        label=label_of(index, header),
        status=QuantumStatus(value["status"]),
        number=value["attempt"],
        host=host,
        pid=pid,
        start=value["start"],
        end=value["end"],
        wall=value["wall"],
        cpu=value["cpu"],
        peak_memory=value["memory"],
        bytes_read=value["read"],
        bytes_written=value["written"],
        **(_more_of(value, types) if len(value) > _PLAIN else {}),
    )


def _more_of(value: Mapping[str, Any], types: Mapping[str, type[Dataset]] | None) -> dict[str, Any]:
    """Return what a line says besides what every one says: not much, for most."""
    more = {name: read(value[key]) for key, (name, read) in _MORE.items() if key in value}
    if types is not None and "files" in value:
        more["records"] = tuple(_records(value["files"], types))
    return more


def label_of(index: int, header: Header) -> str:
    """Return the label of the task whose quantum it is; empty where the header knows none."""
    for label, first, count in header.tasks:
        if first <= index < first + count:
            return label
    return ""


def _shared(attempt: Attempt) -> dict[str, Any]:
    """Return what an attempt shared with others, and in which stages it was run."""
    said: dict[str, Any] = {"uses": attempt.uses}
    if attempt.makings:
        said["makings"] = [
            (m.serial, m.name, m.wall, m.cpu, m.stage.value, m.inside) for m in attempt.makings
        ]
    if attempt.stages:
        said["stages"] = {stage.value: times for stage, times in attempt.stages.items()}
    return said


def _making(said: Sequence[Any]) -> Making:
    serial, name, wall, cpu, stage, inside = said
    return Making(serial, name, wall, cpu, Stage(stage), inside)


def _as_it_is(said: Any) -> Any:
    return said


def _digests(said: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, said))


_PLAIN = 12
"""How many things every line of an end says."""
_MORE: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "dataId": ("dataId", _as_it_is),
    "failure": ("failure", lambda said: Failure(*said)),
    "reason": ("reason", _as_it_is),
    "log": ("log_span", tuple),
    "elided": ("elided", tuple),
    "missing": ("missing", _digests),
    "unread": ("unread", _digests),
    "short": ("short", _digests),
    "caveats": ("caveats", tuple),
    "whole": ("whole", _as_it_is),
    "metadata": ("metadata", _as_it_is),
    "makings": ("makings", lambda said: tuple(map(_making, said))),
    "uses": ("uses", tuple),
    "stages": ("stages", lambda said: {Stage(stage): tuple(times) for stage, times in said.items()}),
}
"""What else a line may say → field of `Attempt`, and how that is read."""


def encode_overhead(making: Making) -> str:
    """Return the line of time that a bundle shared after the last of its quanta had ended."""
    said = (making.serial, making.name, making.wall, making.cpu, making.stage.value, making.inside)
    return _encode({"event": "overhead", "making": said})


def _records(files: Iterable[Any], types: Mapping[str, type[Dataset]]) -> Iterable[FileRecord]:
    for name, location, size, checksum, identity, dataId in files:
        yield FileRecord(types[name](dataId), location, size, checksum, bytes.fromhex(identity))


def read_log(journal_file: str | Path, span: tuple[int, int]) -> str:
    """Return what a task logged, given the journal file and the place that its ``end`` line names."""
    try:
        with Path(journal_file).with_suffix(".log").open("rb") as file:
            file.seek(span[0])
            return file.read(span[1]).decode("utf-8", "replace")
    except OSError:
        return ""
