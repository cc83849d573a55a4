"""Lines about attempts, on their way into the journal and then to whoever is to hear of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import attrs

from executors.journal.journal import (
    Header,
    Journal,
    alike_lines,
    decode_attempt,
    encode_attempt,
    encode_overhead,
    encode_start,
    label_of,
)
from executors.outcome import Attempt, Making, QuantumStatus
from graphbuilder.dag.values import Outline
from supertask.datasets import Dataset

__all__ = ["Alike", "Lines", "read_lines"]

_PLAIN = re.compile(
    rb'[0-9a-f]{8} \{"event":"(?:start","quantum":"[0-9a-f]{32}","index":(\d+),"attempt":(\d+),"time":(\d+)|'
    rb'end","quantum":"([0-9a-f]{32})","index":(\d+),"attempt":(\d+),"status":"([a-z ]+)","start":(\d+),'
    rb'"end":(\d+),"wall":([0-9.]+),"cpu":([0-9.]+),"memory":(\d+),"read":(\d+),"written":(\d+))\}'
)
"""Lines of which there are many: a start, and an end of which nothing more is to be said."""
_BODY = 9
_STATUSES = {s.value.encode(): s for s in QuantumStatus}

Started = Callable[[int, int, int, bytes], object]
Ended = Callable[[Attempt, bytes], object]
Alike = Callable[[Attempt, Sequence[Outline], bytes], object]

_MOST = 512
"""Lines that are written at once."""


class Lines:
    """Writes what becomes of attempts, and tells it once it is written.

    A write costs more than a line. So the end of a quantum may be held until the next begins, where that
    follows at once, and quanta that end together are written together. Nobody hears of anything before it is
    in the journal; a process that is killed in between loses what it held, as if it had been killed just
    before that ended.

    Parameters
    ----------
    journal : Journal
        This process's file.
    started : callable
        Called with index, number and time of each attempt that begins, and with what was written since the
        last call.
    ended : callable
        Called with each attempt that ended, and likewise.
    shared : callable
        Called with each line about time that quanta share.
    alike : callable, optional
        Called with an attempt, others that came to the very same, and what was written of these; unless
        given, `started` and `ended` are called with each.
    """

    def __init__(
        self,
        journal: Journal,
        started: Started,
        ended: Ended,
        shared: Callable[[bytes], object],
        alike: Alike | None = None,
    ) -> None:
        self._journal = journal
        self._started = started
        self._ended = ended
        self._shared = shared
        self._alike = alike
        self._lines: list[str] = []
        self._told: list[tuple[int, int, int] | Attempt] = []
        self._together = False
        self.held = False
        """Whether the next end may be held until something else begins."""

    def begin(self, index: int, identity: str, number: int, time_ns: int) -> None:
        """Write that an attempt begins; `identity` of its quantum in hexadecimal."""
        self._lines.append(encode_start(index, identity, number, time_ns))
        self._told.append((index, number, time_ns))
        self._write()

    def end(self, attempt: Attempt) -> None:
        """Write what came of an attempt."""
        self._lines.append(encode_attempt(attempt, self._journal.header))
        self._told.append(attempt)
        if self.held:
            self.held = False
        else:
            self._write()

    def end_alike(self, attempt: Attempt, others: Sequence[Outline]) -> None:
        """Write that others, which are in their first attempts, came to the very same as this one."""
        self.flush()
        for at in range(0, len(others), _MOST // 2):
            part = others[at : at + _MOST // 2]
            quanta = [(index, identity) for index, _, _, identity, _ in part]
            data = self._journal.append(alike_lines(attempt, self._journal.header, quanta))
            if self._alike is not None:
                self._alike(attempt, part, data)
                continue
            for index, _, _, identity, _ in part:
                self._started(index, 1, attempt.start, data)
                self._ended(attrs.evolve(attempt, index=index, identity=identity), b"")
                data = b""

    def share(self, making: Making) -> None:
        """Write of time that quanta share, and that was spent after they had ended."""
        self.flush()
        self._shared(self._journal.write(encode_overhead(making)))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write what begins and ends in the block together; nothing of a task's may run in it."""
        self._together = True
        try:
            yield
        finally:
            self._together = False
            self.flush()

    def _write(self) -> None:
        if not self._together or len(self._lines) >= _MOST:
            self.flush()

    def flush(self) -> None:
        """Write what is held, and tell it."""
        self.held = False
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        told, self._told = self._told, []
        data = self._journal.write(*lines)
        for each in told:
            if isinstance(each, Attempt):
                self._ended(each, data)
            else:
                self._started(*each, data)
            data = b""


def read_lines(
    data: bytes, header: Header, types: Mapping[str, type[Dataset]]
) -> Iterator[tuple[int, int, int] | Attempt]:
    """Give what whole lines of a process's file say: index, number and time of what began, and what ended.

    Parameters
    ----------
    data : bytes
        The lines, not damaged.
    header : Header
        Of the file.
    types : Mapping
        Dataset types by name.
    """
    for line in data.splitlines():
        found = _PLAIN.fullmatch(line)
        if found is None:
            value = json.loads(line[_BODY:])
            if value["event"] == "start":
                yield value["index"], value["attempt"], value["time"]
            elif value["event"] == "end":
                yield decode_attempt(value, header, types)
            continue
        first = found[1]
        if first is not None:
            yield int(first), int(found[2]), int(found[3])
            continue
        identity, index, number, status, start, end, wall, cpu, memory, read, written = found.groups()[3:]
        yield Attempt(
            index=int(index),
            identity=bytes.fromhex(identity.decode()),
            label=label_of(int(index), header),
            status=_STATUSES[status],
            number=int(number),
            host=header.host,
            pid=header.pid,
            start=int(start),
            end=int(end),
            wall=float(wall),
            cpu=float(cpu),
            peak_memory=int(memory),
            bytes_read=int(read),
            bytes_written=int(written),
        )
