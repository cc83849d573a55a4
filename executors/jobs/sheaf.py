"""A sheaf: many bundles packed in one file, of which each job reads what is alike in all, and its own part.

::

    {"supertask-sheaf": 1, "shared": …, "seal": …}      a line: bytes of what is alike, and its checksum
    what is alike                                       JSON: run, tasks, layout of columns; where parts end
    part, part, …                                       one for each bundle

A part begins with what JSON says of the bundle (its quanta in order, what they are told, how many rows there
are in which group), after that come the columns of each group: quanta of one task, or some of another bundle
that these speak of. `executors.jobs.sheafwriting` has the other side. Nothing is imported here that a job
need not have, numpy above all.
"""

from __future__ import annotations

import contextlib
import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from executors.jobs.slots import FOLDER, Slot, Slots
from graphbuilder.dag.values import Outline, QuantumRecord
from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import ExecutionError
from supertask.quanta import Quantum

__all__ = ["FORMAT", "Group", "PackedRecords", "discard", "names_in", "open_in", "part_of"]

FORMAT = 1
_WIDTH = 16


def part_of(slot: Slot) -> tuple[dict[str, Any], bytes]:
    """Return what is said of a job's bundle, and its columns.

    Raises
    ------
    ExecutionError
        The sheaf is missing, truncated, altered or of another version.
    """
    path = slot.sheaf
    try:
        with path.open("rb") as file:
            shared, begin = _shared(file.readline(), file.read, path)
            ends = shared["ends"]
            file.seek(begin + (ends[slot.at - 1] if slot.at else 0))
            part = file.read(ends[slot.at] - (ends[slot.at - 1] if slot.at else 0))
    except FileNotFoundError:
        raise ExecutionError(
            f"there is no job to be run: {path} is not there. It was taken back; its run went on without it"
        ) from None
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ExecutionError(
            f"{path} cannot be read: {error}; give the command that runs the plan again"
        ) from None
    if zlib.crc32(part) != shared["seals"][slot.at]:
        raise _altered(path)
    (size,) = struct.unpack_from("<I", part)
    own = json.loads(part[4 : 4 + size])
    return {**shared, **own}, part[4 + size :]


def names_in(path: Path) -> list[str]:
    """Return the names of the jobs in a sheaf.

    Raises
    ------
    ExecutionError
        As `part_of`.
    """
    try:
        with path.open("rb") as file:
            names: list[str] = _shared(file.readline(), file.read, path)[0]["names"]
            return names
    except (OSError, ValueError, KeyError) as error:
        raise ExecutionError(f"{path} cannot be read: {error}") from None


def open_in(home: Path) -> list[str]:
    """Return the names of jobs that may begin, of all sheaves beside the folders of jobs.

    Those of a sheaf that cannot be read have no names; see `discard`.
    """
    found: list[str] = []
    for path in _sheaves(home):
        slots = Slots(path).open()
        with contextlib.suppress(ExecutionError):
            names = names_in(path) if slots else ()
            found += [names[i] for i in slots if i < len(names)]
    return found


def discard(home: Path) -> None:
    """Delete sheaves that nobody can go on with: of another version, damaged, or never finished.

    None of their jobs begins then; those that have begun are found by their folders.
    """
    for path in _sheaves(home):
        try:
            names_in(path)
        except ExecutionError:
            Slots(path).delete()
        else:
            if not Slots(path).open():
                Slots(path).delete()


def _sheaves(home: Path) -> list[Path]:
    folder = home / FOLDER
    return sorted(folder.glob("*.sheaf")) if folder.is_dir() else []


def _shared(line: bytes, read: Callable[[int], bytes], path: Path) -> tuple[dict[str, Any], int]:
    head = json.loads(line)
    if head["supertask-sheaf"] != FORMAT:
        raise ExecutionError(
            f"{path} is of format {head['supertask-sheaf']}, and this SuperTask reads {FORMAT}; use the same "
            "version where bundles are packed and where they run"
        )
    data = read(head["shared"])
    if zlib.crc32(data) != head["seal"]:
        raise _altered(path)
    shared: dict[str, Any] = json.loads(data)
    return shared, len(line) + len(data)


def _altered(path: Path) -> ExecutionError:
    return ExecutionError(f"{path} is truncated or altered: give the command that runs the plan again")


class _Columns:
    """Takes one column after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def bytes(self, n: int) -> bytes:
        self._at += n
        return self._data[self._at - n : self._at]

    def numbers(self, kind: str, n: int) -> tuple[int, ...]:
        return struct.unpack(f"<{n}{kind}", self.bytes(n * struct.calcsize(f"<{kind}")))

    def texts(self, n: int) -> list[str]:
        ends = [0, *accumulate(self.numbers("I", n))]
        heap = self.bytes(ends[-1])
        return [heap[a:b].decode() for a, b in pairwise(ends)]

    def values(self, kind: str, words: Sequence[str], n: int) -> Sequence[Any]:
        """Return keys of a unit: numbers, words by their number, or text of a width."""
        if kind.startswith("S"):
            width = int(kind[1:])
            data = self.bytes(n * width)
            return [data[i : i + width].rstrip(b"\0").decode() for i in range(0, len(data), width)]
        found = self.numbers(kind, n)
        return [words[i] for i in found] if words else found

    def data_ids(self, layout: Mapping[str, Any], n: int) -> list[DataId]:
        """Return data IDs; empty ones where there are no units."""
        shape = DataId.shape(tuple(layout["shown"]))
        columns = [self.values(kind, words, n) for kind, words in layout["keys"]]
        if not columns:
            return [DataId()] * n
        return [DataId.from_sorted(shape, values) for values in zip(*columns, strict=True)]


class _Side:
    """The datasets of one type that quanta of a group read or write, quantum after quantum."""

    __slots__ = ("ends", "handles", "identities", "locations", "type")

    def __init__(self, layout: Mapping[str, Any], columns: _Columns, n: int, made: type[Dataset]) -> None:
        counts: Sequence[int] = (1,) * n if layout["single"] else columns.numbers("I", n)
        self.type = made
        self.ends = [0, *accumulate(counts)]
        total = self.ends[-1]
        self.handles = [made.from_row(dataId, -1) for dataId in columns.data_ids(layout, total)]
        self.identities = columns.bytes(_WIDTH * total)
        self.locations = columns.texts(total) if layout["located"] else None


class Group:
    """Quanta of one task in one part.

    Parameters
    ----------
    layout : Mapping
        What columns there are.
    columns : _Columns
        They begin with the group's.
    n : int
        Number of quanta.
    types : Mapping
        Name → dataset type.
    """

    def __init__(
        self, layout: Mapping[str, Any], columns: _Columns, n: int, types: Mapping[str, type[Dataset]]
    ) -> None:
        self.label: str = layout["label"]
        self.indices = columns.numbers("i", n)
        self._identities = columns.bytes(_WIDTH * n)
        self._variants = columns.numbers("H", n) if layout["varying"] else (0,) * n
        self._data_ids = columns.data_ids(layout, n)
        self._parameters = columns.texts(n) if layout["parameters"] else None
        self._minimums = {types[name]: least for name, least in layout["minimums"].items()}
        self._sides = [
            [_Side(each, columns, n, types[each["type"]]) for each in layout[side]]
            for side in ("inputs", "outputs")
        ]

    def identity(self, at: int) -> bytes:
        """Return the identity of one of its quanta, 16 bytes."""
        return self._identities[_WIDTH * at : _WIDTH * at + _WIDTH]

    def outline(self, at: int) -> Outline:
        """Return what can be said of a quantum without making it."""
        outputs = sum(side.ends[at + 1] - side.ends[at] for side in self._sides[1])
        return Outline(self.indices[at], self.label, self._variants[at], self.identity(at), outputs)

    def record(self, at: int, parameters: Callable[[Any], Any]) -> QuantumRecord:
        """Return all that a runner needs to run a quantum."""
        locations: dict[Dataset, str] = {}
        identities: dict[Dataset, bytes] = {}
        sides: list[dict[type[Dataset], set[Dataset]]] = []
        for side in self._sides:
            sides.append({})
            for part in side:
                begin, end = part.ends[at], part.ends[at + 1]
                handles = part.handles[begin:end]
                sides[-1][part.type] = set(handles)
                for i, handle in enumerate(handles, begin):
                    identities[handle] = part.identities[_WIDTH * i : _WIDTH * i + _WIDTH]
                    if part.locations is not None and part.locations[i]:
                        locations[handle] = part.locations[i]
        said = None if self._parameters is None else json.loads(self._parameters[at])
        quantum = Quantum(sides[0], sides[1], self.label, parameters(said), self._data_ids[at])
        return QuantumRecord(
            self.indices[at],
            self.label,
            self.identity(at),
            quantum,
            locations,
            identities,
            self._minimums,
            self._variants[at],
        )


class PackedRecords:
    """The quanta of one part.

    Parameters
    ----------
    said : Mapping
        What `part_of` returned first.
    data : bytes
        Its columns.
    types : Mapping
        Name → dataset type.
    """

    def __init__(self, said: Mapping[str, Any], data: bytes, types: Mapping[str, type[Dataset]]) -> None:
        columns = _Columns(data)
        self._places: dict[int, tuple[Group, int]] = {}
        for number, n in said["groups"]:
            group = Group(said["layout"][number], columns, n, types)
            self._places.update((q, (group, at)) for at, q in enumerate(group.indices))

    def identity(self, index: int) -> bytes:
        """Return the identity of a quantum, 16 bytes."""
        group, at = self._places[index]
        return group.identity(at)

    def outline(self, index: int) -> Outline:
        """Return what can be said of a quantum without making it."""
        group, at = self._places[index]
        return group.outline(at)

    def record(self, index: int, parameters: Callable[[Any], Any]) -> QuantumRecord:
        """Return all that a runner needs to run a quantum."""
        group, at = self._places[index]
        return group.record(at, parameters)
