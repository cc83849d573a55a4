"""Lines of attempts: written before they are told, several with one write."""

from __future__ import annotations

import attrs
import pytest

from executors.journal.journal import Header, Journal
from executors.journal.lines import Lines, read_lines
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder
from executors.outcome import Attempt, Making, QuantumStatus
from graphbuilder.dag.values import Outline

ENDED = Attempt(
    index=0,
    identity=bytes(16),
    label="fit",
    status=QuantumStatus.SUCCEEDED,
    host="here",
    pid=1,
    start=5,
    end=9,
)


def identity(index: int) -> bytes:
    return index.to_bytes(16, "big")


def ended(index: int, **changes: object) -> Attempt:
    return attrs.evolve(ENDED, index=index, identity=identity(index), **changes)


@pytest.fixture
def journal(tmp_path):
    folder = RunFolder(tmp_path, "run")
    folder.make()
    header = Header(run="run", plan="p", quanta=8, tasks=(("fit", 0, 8),), host="here", pid=1)
    made = Journal(folder, header)
    yield made
    made.close()


@pytest.fixture
def told():
    return []


@pytest.fixture
def lines(journal, told):
    def started(index, number, at, data):
        told.append(("start", index, data))
        assert data in journal.path.read_bytes()

    def end(attempt, data):
        told.append(("end", attempt.index, data))
        assert data in journal.path.read_bytes()

    return Lines(journal, started, end, lambda data: told.append(("shared", -1, data)))


def test_what_is_held_is_told_with_what_begins_next(lines, journal, told):
    lines.begin(0, identity(0).hex(), 1, 5)
    lines.held = True
    lines.end(ended(0))
    assert [t[:2] for t in told] == [("start", 0)]
    assert b'"event":"end"' not in journal.path.read_bytes()
    lines.begin(1, identity(1).hex(), 1, 6)
    assert [t[:2] for t in told] == [("start", 0), ("end", 0), ("start", 1)]


def test_what_is_told_is_all_that_is_written(lines, journal, told):
    first = journal.path.stat().st_size
    for index in range(3):
        lines.begin(index, identity(index).hex(), 1, 5)
        lines.held = True
        lines.end(ended(index))
    with lines.together():
        lines.begin(3, identity(3).hex(), 1, 5)
        lines.end(ended(3))
    lines.share(Making(1, "model", 3, 2))
    lines.end_alike(ended(3), [Outline(i, "fit", 0, identity(i), 0) for i in (4, 5, 6, 7)])
    assert b"".join(data for _, _, data in told) == journal.path.read_bytes()[first:]
    assert [index for kind, index, _ in told if kind == "end"] == list(range(8))


def test_lines_are_read_as_they_were_written(lines, journal):
    odd = ended(1, status=QuantumStatus.NO_WORK, reason='too "few" stars', wall=0.25)
    lines.begin(0, identity(0).hex(), 2, 5)
    lines.end(ended(0, number=2, peak_memory=7, bytes_read=3))
    lines.end(odd)
    data = journal.path.read_bytes().partition(b"\n")[2]
    assert list(read_lines(data, journal.header, {})) == [
        (0, 2, 5),
        ended(0, number=2, peak_memory=7, bytes_read=3),
        odd,
    ]


def test_others_that_came_to_the_same_are_each_in_the_journal(lines, journal, tmp_path):
    lines.begin(2, identity(2).hex(), 1, 5)
    lines.end(ended(2, uses=(3,)))
    lines.end_alike(ended(2, uses=(3,)), [Outline(i, "fit", 0, identity(i), 0) for i in (4, 6)])
    found = replay(RunFolder(tmp_path, "run"))
    assert found.numbers.tolist() == [0, 0, 1, 0, 1, 0, 1, 0]
    assert [a.uses for a in found.attempts([2, 4, 6])] == [(3,)] * 3
    assert {a.identity for a in found.attempts([4])} == {identity(4)}
