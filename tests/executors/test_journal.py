from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executors.journal.journal import Header, Journal, encode_attempt, encode_start, read_log
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder
from executors.outcome import Attempt, Failure, QuantumStatus
from supertask.datasets import Dataset
from supertask.errors import ExecutionError
from supertask.rows import FileRecord

ROOT = Path(__file__).parents[2]
SUCCEEDED, NO_WORK, FAILED, LOST, PLANNED = (
    QuantumStatus.SUCCEEDED, QuantumStatus.NO_WORK, QuantumStatus.FAILED, QuantumStatus.LOST,
    QuantumStatus.PLANNED,
)  # fmt: skip
N = 20
IDENTITIES = np.arange(16 * N, dtype=np.uint8).reshape(N, 16)
Image = Dataset.subclass("image", ("visit",), "json")


def header(**more):
    return Header(**{"run": "u/r", "plan": "p", "quanta": N, "tasks": (("a", 0, 15), ("b", 15, 5)), **more})


def attempt(index, status=SUCCEEDED, **more):
    dataset = Image(visit=index)
    record = FileRecord(dataset, f"u/r/image/{index}.json", 7, "blake2b:" + "0" * 32, bytes(16))
    known = {
        "index": index,
        "identity": IDENTITIES[index].tobytes(),
        "label": "a" if index < 15 else "b",
        "status": status,
        "start": 5,
        "end": 9,
        "wall": 0.25,
        "cpu": 0.125,
        "records": (record,) if status is SUCCEEDED else (),
        "host": header().host,
        "pid": os.getpid(),
    }
    return Attempt(**{**known, **more})


def start(index, number=1):
    return encode_start(index, IDENTITIES[index].tobytes().hex(), number, 3)


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(str(tmp_path), "u/r")
    folder.make()
    return folder


@pytest.fixture
def journal(folder):
    journal = Journal(folder, header())
    yield journal
    journal.close()


def end(journal, index, status=SUCCEEDED, **more):
    journal.write(start(index, more.get("number", 1)))
    return journal.write(encode_attempt(attempt(index, status, **more), journal.header))


def statuses(found):
    return {i: QuantumStatus.from_code(c) for i, c in enumerate(found.statuses) if c != PLANNED.code}


def test_an_attempt_is_read_back_as_it_was_written(folder, journal):
    written = [
        attempt(3, records=()),
        attempt(4, NO_WORK, reason="all pixels are bad", log_span=(3, 9), metadata={"n": {"x": 1.5}}),
        attempt(5, FAILED, failure=Failure("ValueError", '"ü\udc80"', "trace\nback"), dataId={"visit": 5}),
        attempt(16, missing=(b"m" * 16,), unread=(b"u" * 16,), host="elsewhere", pid=3, number=2),
    ]  # fmt: skip
    for a in written:
        journal.write(encode_attempt(a, journal.header))
    found = replay(folder, IDENTITIES)
    back = list(found.attempts([3, 4, 5, 16], {"image": Image}))
    assert back == [attrs.evolve(a, dataId=None) if a.status is not FAILED else a for a in written]
    assert found.partial == {16: frozenset({b"m" * 16})}
    assert not found.problems


def test_the_last_attempt_says_where_a_quantum_stands_whichever_file_it_is_in(folder):
    first, second = Journal(folder, header(time=1)), Journal(folder, header(time=2))
    end(second, 1, FAILED, number=3)
    end(first, 1, SUCCEEDED, number=2)
    end(first, 2, SUCCEEDED)
    found = replay(folder, IDENTITIES)
    assert statuses(found) == {1: FAILED, 2: SUCCEEDED}
    assert found.numbers[[0, 1, 2]].tolist() == [0, 3, 1]


def test_an_attempt_without_an_end_runs_while_its_process_lives_and_is_lost_after(folder):
    journal = Journal(folder, header())
    journal.write(start(7))
    end(journal, 8)
    journal.write(start(9))
    (seven, nine) = replay(folder, IDENTITIES).begun
    assert (seven.index, seven.number, seven.alive, nine.index) == (7, 1, True, 9)
    journal.close()
    assert [b.alive for b in replay(folder, IDENTITIES).begun] == [False, False]
    other = Journal(folder, header(role="other"))
    other.write(encode_attempt(attempt(7, LOST), other.header))
    assert [b.index for b in replay(folder, IDENTITIES).begun] == [9]


def test_what_is_registered_is_known_for_the_attempt_that_was(folder, journal):
    end(journal, 1)
    end(journal, 2, number=2)
    ids = [IDENTITIES[i].tobytes().hex() for i in (1, 2)]
    line = {"event": "registered", "quanta": ids, "indices": [1, 2], "attempts": {"2": 2}}
    journal.write(json.dumps(line))
    assert replay(folder, IDENTITIES).registered[[0, 1, 2]].tolist() == [0, 1, 2]


def test_a_quantum_is_known_by_its_identity_in_another_plan(folder, journal):
    end(journal, 3)
    end(journal, 4)
    subset = IDENTITIES[[9, 4, 8]]
    found = replay(folder, subset)
    assert statuses(found) == {1: SUCCEEDED}
    assert found.foreign.keys() == {"u/r/image/3.json"}
    (back,) = found.attempts([1])
    assert back.index == 1


def test_a_quantum_whose_file_is_gone_is_planned_again(folder, journal):
    end(journal, 3)
    end(journal, 4)
    found = replay(folder, IDENTITIES, exists=lambda location: location.endswith("/4.json"))
    assert statuses(found) == {4: SUCCEEDED}
    assert found.gone == [3]


def test_a_torn_tail_is_reported_and_left_out(folder):
    journal = Journal(folder, header())
    end(journal, 1)
    line = end(journal, 2)
    journal.close()
    with journal.path.open("r+b") as file:
        file.truncate(journal.path.stat().st_size - len(line) // 2)
    found = replay(folder, IDENTITIES)
    assert statuses(found) == {1: SUCCEEDED}
    assert [b.index for b in found.begun] == [2]
    (problem,) = found.problems
    assert "torn or altered" in problem


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0), value=st.integers(0, 255), cut=st.booleans())
def test_whatever_byte_is_altered_no_status_is_made_up(tmp_path_factory, place, value, cut):
    folder = RunFolder(str(tmp_path_factory.mktemp("journal")), "u/r")
    folder.make()
    journal = Journal(folder, header())
    for index in range(5):
        end(journal, index, SUCCEEDED if index % 2 else FAILED)
    journal.close()
    data = bytearray(journal.path.read_bytes())
    place %= len(data)
    same = data[place] == value
    data[place] = value
    journal.path.write_bytes(data[:place] if cut else data)
    found = replay(folder, IDENTITIES)
    for index, status in statuses(found).items():
        assert status is (SUCCEEDED if index % 2 else FAILED)
        assert index < 5
    lost = 5 - len(statuses(found))
    if not cut:
        header_ends = data.index(b"\n")
        assert lost == 0 if same else lost <= 2 or place <= header_ends


def test_a_full_disk_is_an_error_and_spoils_no_later_line(folder, journal, monkeypatch):
    end(journal, 1)
    here = journal.path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (here + 40, hard))
    try:
        with pytest.raises(ExecutionError, match=r"the journal cannot be written: .*File too large"):
            end(journal, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, was)
    assert journal.path.stat().st_size == here + 40
    end(journal, 3)
    assert statuses(replay(folder, IDENTITIES)) == {1: SUCCEEDED, 3: SUCCEEDED}


def test_a_journal_of_a_newer_version_is_refused(folder, journal):
    line = json.dumps({**attrs.asdict(header()), "event": "header", "version": 99})
    journal.path.write_bytes(b"")
    journal.write(line)
    with pytest.raises(ExecutionError, match="written by a newer SuperTask"):
        replay(folder, IDENTITIES)


def test_a_folder_without_a_journal_says_nothing(tmp_path):
    found = replay(RunFolder(str(tmp_path), "none"))
    assert len(found.statuses) == 0
    assert not found.headers


def test_logs_are_kept_beside_the_journal(folder, journal):
    assert journal.write_log("first\n") == (0, 6)
    span = journal.write_log("sécond")
    assert read_log(journal.path, span) == "sécond"
    assert read_log(folder.journal / "gone.jsonl", span) == ""


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from test_journal import *
folder = RunFolder({root!r}, "u/r")
folder.make()
journal = Journal(folder, header())
for i in range(N):
    end(journal, i)
print("written", flush=True)
time.sleep(60)
"""


def test_what_is_written_outlives_a_killed_writer(tmp_path):
    script = KILLED.format(tests=str(Path(__file__).parent), root=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout.readline() == "written\n"
        child.kill()
    found = replay(RunFolder(str(tmp_path), "u/r"), IDENTITIES)
    assert len(statuses(found)) == N
    assert not found.problems


def test_one_driver_at_a_time_and_none_is_locked_out_by_a_dead_one(tmp_path):
    script = (
        "import sys, time\nfrom executors.journal.runfolder import RunFolder\n"
        f"folder = RunFolder({str(tmp_path)!r}, 'u/r')\nfolder.make()\nlock = folder.lock()\n"
        "print('locked', flush=True)\ntime.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    folder = RunFolder(str(tmp_path), "u/r")
    with child:
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(ExecutionError, match=f"being executed already, by process {child.pid} on"):
            folder.lock()
        child.kill()
    lock = folder.lock()
    with pytest.raises(ExecutionError, match=f"by process {os.getpid()} on"):
        folder.lock()
    lock.release()
    folder.lock().release()


def test_a_repository_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / ".supertask").write_text("a file in the way")
    with pytest.raises(ExecutionError, match=r"run 'u/r' cannot keep its journal in .*a run writes into"):
        RunFolder(str(tmp_path), "u/r").make()


def test_reading_a_quantum_costs_microseconds(folder, journal):
    """Held loosely, since the machine may be busy: the figure itself is in the benchmarks."""
    n = 5000
    many = np.random.default_rng(1).integers(0, 256, (n, 16), np.uint8)
    for i in range(n):
        a = attrs.evolve(attempt(1), index=i, identity=many[i].tobytes())
        journal.write(encode_start(i, many[i].tobytes().hex(), 1, 3), encode_attempt(a, journal.header))
    begin = time.process_time()
    found = replay(folder, many)
    assert (time.process_time() - begin) / n < 60e-6
    assert (found.statuses == SUCCEEDED.code).all()
