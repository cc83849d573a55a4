"""Where data came from and what was made of them, through quanta, plans and runs."""

from __future__ import annotations

import json
import shutil

import pytest
from prov.model import ProvActivity, ProvDocument, ProvEntity

from executors.inprocess import InProcessFramework
from executors.lineage.prov import to_prov, write_prov
from executors.lineage.trace import provenance, run_lineage
from executors.lineage.values import FileState, Use
from executors.outcome import QuantumStatus
from graphbuilder.reuse.planning import Check, Reuse
from supertask.errors import (
    ConfigError,
    DataIdError,
    DatasetNotFoundError,
    DatasetTypeError,
    ExecutionError,
)
from tests.executors import coadds, frames


@pytest.fixture
def done(butler, control):
    InProcessFramework().execute(frames.plan(butler, control), butler)
    return butler


def test_a_dataset_leads_to_the_quantum_that_made_it_and_to_its_inputs(done):
    found = provenance(done, "stack", visit=2)
    quantum = found.made_by(found.root)
    assert (quantum.label, quantum.run, quantum.status) == ("stack", frames.RUN, QuantumStatus.SUCCEEDED)
    assert quantum.class_path.endswith(":StackTask")
    assert quantum.config["image"] == "image"
    assert len(quantum.source) == 32
    assert quantum.last.host
    assert quantum.last.wall > 0
    read = [found.datasets[i.dataset] for i in quantum.inputs if i.use is Use.READ]
    assert sum(d.name == "image" for d in read) == 3
    assert found.runs[frames.RUN].versions["numpy"]


def test_all_the_way_up_ends_at_what_was_ingested(done):
    found = provenance(done, "report", up=None)
    counts = {
        label: sum(q.label == label for q in found.quanta.values()) for label in ("reduce", "stack", "report")
    }
    assert counts == {"reduce": 12, "stack": 4, "report": 1}
    raw = [d for d in found.datasets.values() if d.name == "raw"]
    assert len(raw) == 12
    assert {d.run for d in raw} == {"raw"}
    assert not any(d.maker for d in raw)
    assert all(d.maker for d in found.datasets.values() if d.name not in {"raw", "mask"})


def test_all_the_way_down_from_one_frame(done):
    found = provenance(done, "raw", visit=1, detector=2, up=0, down=None)
    assert sorted(q.label for q in found.quanta.values()) == ["reduce", "report", "stack"]


def test_depth_counts_quanta(done):
    assert len(provenance(done, "report", up=1).quanta) == 1
    assert len(provenance(done, "report", up=2).quanta) == 5
    assert len(provenance(done, "raw", visit=1, detector=2, down=2).quanta) == 2


def test_inputs_that_were_never_made_are_told_from_those_read(butler, control):
    InProcessFramework().execute(frames.plan(butler, control, masks=False), butler)
    found = provenance(butler, "stack", visit=0)
    uses = {found.datasets[i.dataset].name: i.use for i in found.made_by(found.root).inputs}
    assert uses == {"image": Use.READ, "mask": Use.ABSENT}


def test_an_input_that_another_run_made_leads_there(tmp_path):
    with coadds.make_repository(tmp_path / "repo") as butler:
        InProcessFramework().execute(coadds.plan(butler, "u/first"), butler)
        changed = coadds.plan(butler, "u/second", reuse=Reuse(None, Check.FILES), kernel="lanczos5")
        InProcessFramework().execute(changed, butler)
        one = butler.query("catalogue", collections=["u/second"])[0]
        found = provenance(butler, one, up=None, collections=["u/second"])
        runs = {q.label: q.run for q in found.quanta.values()}
        assert runs == {"catalogue": "u/second", "coadd": "u/second", "warp": "u/second", "isr": "u/first"}
        image = next(d for d in found.datasets.values() if d.name == "image")
        down = provenance(butler, image.name, image.dataId, up=0, down=1, collections=["u/first"])
        assert {q.run for q in down.quanta.values()} == {"u/first", "u/second"}


def test_every_attempt_and_its_log_is_told(butler, control):
    (control / "stack-1").write_text("raise")
    dag = frames.plan(butler, control)
    InProcessFramework().execute(dag, butler)
    (control / "stack-1").unlink()
    InProcessFramework().execute(dag, butler)
    quantum = (found := provenance(butler, "stack", visit=1, logs=True)).made_by(found.root)
    assert [a.status for a in quantum.attempts] == [QuantumStatus.FAILED, QuantumStatus.SUCCEEDED]
    assert len(quantum.logs) == 2


def test_a_dataset_is_found_by_its_file_and_by_its_identity(done):
    asked = provenance(done, "stack", visit=2)
    node = asked.datasets[asked.root]
    for word in (node.path, node.identity, node.identity[:10]):
        assert provenance(done, word).root == asked.root


def test_what_was_altered_behind_the_registry_is_said(done, root):
    path = root / frames.RUN / "stack"
    files = sorted(path.rglob("*_1.json"))
    text = files[0].read_text()
    files[0].write_text(text.replace("1", "2"))  # as long as before
    plain = provenance(done, "stack", visit=1)
    assert plain.datasets[plain.root].state is FileState.THERE
    checked = provenance(done, "stack", visit=1, check=True)
    assert checked.datasets[checked.root].state is FileState.ALTERED
    files[0].write_text(text + " ")
    plain = provenance(done, "stack", visit=1)
    assert plain.datasets[plain.root].state is FileState.ALTERED
    files[0].unlink()
    gone = provenance(done, "stack", visit=1)
    assert gone.datasets[gone.root].state is FileState.GONE
    other = provenance(done, "stack", visit=2, check=True)
    assert other.datasets[other.root].state is FileState.VERIFIED


def test_without_journal_the_plan_still_tells_what_made_it(done, root):
    shutil.rmtree(root / ".supertask" / "runs" / frames.RUN / "journal")
    found = provenance(done, "stack", visit=1)
    assert found.made_by(found.root).attempts == ()
    assert "has no journal" in found.problems[0]


def test_without_a_plan_that_is_said(done, root):
    for path in (root / ".supertask" / "runs" / frames.RUN / "plans").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    found = provenance(done, "stack", visit=1)
    assert not found.quanta
    assert any("no plan" in p for p in found.problems)


@pytest.mark.parametrize(
    ("words", "units", "error", "says"),
    [
        ("stakc", {"visit": 1}, DatasetTypeError, "did you mean 'stack'"),
        ("stack", {"visit": 99}, DatasetNotFoundError, "there are 4 others"),
        ("stack", {}, DatasetNotFoundError, "say which"),
        ("stack", {"visits": 1}, DataIdError, "did you mean 'visit'"),
        ("0123456789abcdef", {}, DatasetNotFoundError, "identity"),
        ("/nowhere/at/all.json", {}, DatasetNotFoundError, "/nowhere/at/all.json"),
    ],
)
def test_what_is_not_there_is_refused_in_words(done, words, units, error, says):
    with pytest.raises(error, match=says):
        provenance(done, words, **units)


def test_a_run_is_told_whole_and_within_the_limit(done):
    assert len(run_lineage(done, frames.RUN).quanta) == 17
    part = run_lineage(done, frames.RUN, limit=5)
    assert len(part.quanta) == 5
    assert "more than 5 quanta" in part.problems[0]
    with pytest.raises(ExecutionError, match=f"did you mean '{frames.RUN}'"):
        run_lineage(done, frames.RUN + "x")


def test_provenance_is_plain_data(done):
    assert json.loads(json.dumps(provenance(done, "report", up=None).to_dict()))["root"]


def test_prov_says_the_same_and_is_read_back(done, tmp_path):
    found = provenance(done, "report", up=None)
    document = to_prov(found)
    assert len(list(document.get_records(ProvActivity))) == 17
    named = [e for e in document.get_records(ProvEntity) if "dataset" in str(e.identifier)]
    assert len(named) == len(found.datasets)
    write_prov(found, tmp_path / "report.json")
    assert ProvDocument.deserialize(str(tmp_path / "report.json")) == document
    text = (tmp_path / "report.json").read_text()
    assert "voprov:name" in text
    write_prov(found, tmp_path / "report.provn")
    assert "wasGeneratedBy" in (tmp_path / "report.provn").read_text()
    with pytest.raises(ConfigError, match=r"\.json"):
        write_prov(found, tmp_path / "report.txt")
