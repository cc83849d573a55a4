"""The index of a journal finds what the journal says, whatever has become of the index itself."""

from __future__ import annotations

import pytest

from executors.inprocess import InProcessFramework
from executors.journal.index import JournalIndex, index_journal
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder
from executors.multiprocess import MultiprocessFramework
from executors.outcome import QuantumStatus
from tests.executors import frames


@pytest.fixture
def dag(butler, control):
    return frames.plan(butler, control)


@pytest.fixture
def folder(root):
    return RunFolder(str(root), frames.RUN)


def identity(dag, q):
    return dag.identities[q].tobytes()


def test_index_is_written_when_a_run_ends_and_finds_every_attempt(butler, dag, folder):
    MultiprocessFramework(2).execute(dag, butler)
    index = JournalIndex(folder)
    assert index.is_complete
    told = {a.index: a for a in replay(folder, dag.identities).attempts(range(dag.n_quanta))}
    for q in range(dag.n_quanta):
        [(attempt, path)] = index.attempts(identity(dag, q))
        assert path.suffix == ".jsonl"
        assert attempt == told[q]


def test_all_attempts_of_a_quantum_are_found_first_to_last(butler, dag, folder, control):
    (control / "reduce-1-1").write_text("raise")
    InProcessFramework().execute(dag, butler)
    (control / "reduce-1-1").unlink()
    InProcessFramework().execute(dag, butler)
    q = dag.find_quantum("reduce", instrument="Cam", visit=1, detector=1)
    found = [a for a, _ in JournalIndex(folder).attempts(identity(dag, q))]
    assert [(a.number, a.status) for a in found] == [(1, QuantumStatus.FAILED), (2, QuantumStatus.SUCCEEDED)]


def test_what_was_written_after_the_index_is_found_too(butler, dag, folder):
    InProcessFramework().execute(dag.subset(["reduce"]), butler)
    old = (folder.path / "journal.index").read_bytes()
    InProcessFramework().execute(dag, butler)
    (folder.path / "journal.index").write_bytes(old)
    index = JournalIndex(folder)
    assert not index.is_complete
    assert all(index.attempts(identity(dag, q)) for q in range(dag.n_quanta))


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "swapped", "noise", "other files"])
def test_a_damaged_index_costs_time_and_nothing_else(butler, dag, folder, damage):
    InProcessFramework().execute(dag, butler)
    path = folder.path / "journal.index"
    data = path.read_bytes()
    n = dag.n_quanta
    if damage == "missing":
        path.unlink()
    elif damage == "swapped":  # offsets that lead to other lines
        begin = len(data) - 12 * n
        path.write_bytes(
            data[:begin] + data[begin + 8 : begin + 8 * n] + data[begin : begin + 8] + data[-4 * n :]
        )
    elif damage == "other files":
        path.write_bytes(data.replace(b".jsonl", b".jsnol"))
    else:
        path.write_bytes({"empty": b"", "cut": data[:-30], "noise": b"\xff" * len(data)}[damage])
    index = JournalIndex(folder)
    for q in range(n):
        assert [a.index for a, _ in index.attempts(identity(dag, q))] == [q]


def test_an_altered_line_is_left_out_and_said(butler, dag, folder):
    InProcessFramework().execute(dag, butler)
    [path] = folder.journal.glob("*.jsonl")
    lines = path.read_bytes().split(b"\n")
    at = next(
        i for i, line in enumerate(lines) if identity(dag, 0).hex().encode() in line and b'"end"' in line
    )
    lines[at] = lines[at].replace(b"succeeded", b"succeedee")
    path.write_bytes(b"\n".join(lines))
    index = JournalIndex(folder)
    assert index.attempts(identity(dag, 0)) == []
    assert "torn or altered" in index.problems[0]


def test_a_journal_that_cannot_be_indexed_is_no_error(tmp_path):
    index_journal(RunFolder(str(tmp_path), "nothing"))
    assert JournalIndex(RunFolder(str(tmp_path), "nothing")).attempts(bytes(16)) == []
