from __future__ import annotations

import json
import logging

import attrs
import pytest

from executors.journal.journal import Header, Journal
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder
from executors.keeping.collect import Collector
from executors.outcome import Attempt, QuantumStatus
from supertask.butler.datastore import Datastore
from supertask.datasets import Dataset
from supertask.errors import DataIdError, RepositoryError
from supertask.rows import FileRecord

Image = Dataset.subclass("image", ("visit",), "json")


class FakeButler:
    """Registers what is given to it unless it is out of order, or the visit is not known to it."""

    def __init__(self):
        self.registered = {}
        self.calls = 0
        self.locked = False
        self.unknown = set()

    def register(self, run, records, *, skip_existing):
        self.calls += 1
        if self.locked:
            raise RepositoryError("the registry is locked")
        for record in records:
            if record.dataset["visit"] in self.unknown:
                raise DataIdError(f"visit {record.dataset['visit']} is not known")
        new = [r for r in records if r.location not in self.registered]
        self.registered |= {r.location: r for r in new}
        return len(new)


def attempt(index, number=1):
    record = FileRecord(Image(visit=index), f"run/{index}.json", 1, "", bytes(16))
    return Attempt(
        index=index, identity=bytes([index]) * 16, label="a", status=QuantumStatus.SUCCEEDED, number=number,
        records=(record,),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(str(tmp_path), "run")
    folder.make()
    (tmp_path / "run").mkdir()
    return folder


@pytest.fixture
def butler():
    return FakeButler()


@pytest.fixture
def synced():
    return []


@pytest.fixture
def collector(folder, butler, synced):
    header = Header(run="run", plan="p", quanta=20, tasks=(("a", 0, 20),))
    journal = Journal(folder, header)
    yield Collector(
        butler, Datastore(folder.root), "run", journal, lambda: synced.append(len(butler.registered)),
        quanta=5, seconds=1000.0,
    )  # fmt: skip
    journal.close()


def registered(folder):
    return replay(folder).registered.tolist()


def test_outputs_are_registered_many_at_a_time(collector, butler, folder):
    for index in range(4):
        collector.add(attempt(index))
    assert not collector.due
    collector.add(attempt(4, number=3))
    assert collector.due
    collector.flush()
    assert not collector.due
    assert len(butler.registered) == collector.n_registered == 5
    assert butler.calls == 1
    assert registered(folder)[:6] == [1, 1, 1, 1, 3, 0]


def test_the_journal_outlives_the_machine_before_the_registry_knows(collector, synced):
    collector.add(attempt(0))
    collector.flush()
    assert synced == [0]


def test_registering_what_is_registered_does_no_harm(collector, butler):
    for _ in range(2):
        collector.add(attempt(0))
        collector.flush()
    assert collector.n_registered == 1


def test_a_locked_registry_holds_nothing_up_and_gets_it_later(collector, butler, caplog):
    butler.locked = True
    collector.add(attempt(0))
    with caplog.at_level(logging.WARNING):
        collector.flush()
    assert "wait for the next batch: the registry is locked" in caplog.text
    assert len(collector) == 1
    butler.locked = False
    collector.add(attempt(1))
    collector.flush()
    assert len(butler.registered) == 2
    assert len(collector) == 0


def test_a_registry_that_stays_locked_is_said_at_the_end(collector, butler, folder):
    butler.locked = True
    for index in range(4):
        collector.add(attempt(index))
    collector.flush(last=True)
    assert butler.calls == 1
    assert len(collector) == 4
    (problem,) = collector.problems
    assert (
        "outputs waiting (4 quanta) are whole but could not be registered: the registry is locked" in problem
    )
    assert registered(folder) == [0] * 20


def test_one_that_cannot_be_registered_stands_in_nobodys_way(collector, butler, folder):
    butler.unknown = {2}
    for index in range(5):
        collector.add(attempt(index))
    collector.flush(last=True)
    assert sorted(butler.registered) == [f"run/{i}.json" for i in (0, 1, 3, 4)]
    assert len(collector) == 1
    (problem,) = collector.problems
    assert "visit 2 is not known" in problem
    assert registered(folder)[:5] == [1, 1, 0, 1, 1]


def test_a_quantum_without_outputs_counts_as_registered(collector, butler, folder):
    collector.add(attrs.evolve(attempt(3), records=()))
    collector.flush()
    assert butler.calls == 0
    assert registered(folder)[3] == 1


def test_notes_are_lines_of_the_journal(collector, folder):
    collector.add(attempt(7))
    collector.flush()
    (path,) = folder.journal.glob("*.jsonl")
    said = json.loads(path.read_bytes().splitlines()[-1][9:])
    assert said == {"event": "registered", "quanta": ["07" * 16], "indices": [7]}
