from __future__ import annotations

import os

import numpy as np
import pytest

from supertask.butler.content import checksum_bytes, checksum_file, content_identity
from supertask.butler.datastore import Datastore
from supertask.butler.limited import LimitedButler
from supertask.butler.templates import DEFAULT_TEMPLATE, PathTemplate
from supertask.datasets import Dataset
from supertask.errors import (
    DataIdError,
    DatasetExistsError,
    DatasetNotFoundError,
    DatasetTypeError,
    RepositoryError,
    StorageError,
)
from supertask.unitmodels import load_unit_model

Raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
Calexp = Dataset.subclass("calexp", ("exposure", "detector"), "numpy")
Log = Dataset.subclass("log", ("exposure", "detector"), "text")

MODEL = load_unit_model("imaging")


def at(dataset_type, exposure=1, detector=2):
    return dataset_type(instrument="Cam", exposure=exposure, detector=detector)


@pytest.fixture
def store(tmp_path):
    store = Datastore(tmp_path / "repo", {"default": PathTemplate.parse(DEFAULT_TEMPLATE)})
    written = store.write({"pixels": 3}, Raw, "raw/all/one.json")
    written.publish()
    return store


@pytest.fixture
def butler(store):
    return LimitedButler(
        store,
        MODEL,
        inputs={at(Raw): "raw/all/one.json", at(Raw, 5): "raw/all/gone.json"},
        outputs={at(Calexp): "run/calexp/one.npy", at(Log): "run/log/one.txt"},
        identities={at(Calexp): bytes(range(16))},
        label="isr",
    )


def test_it_reads_inputs_and_remembers_which(butler):
    assert butler.reads == set()
    deferred = butler.get_deferred(at(Raw))
    assert butler.reads == set()
    assert deferred.get() == butler.get("raw", instrument="Cam", exposure=1, detector=2) == {"pixels": 3}
    assert butler.reads == {at(Raw)}


def test_it_writes_outputs_and_reports_them(butler, store):
    assert not butler.exists(at(Calexp))
    assert butler.put(np.arange(3), at(Calexp)) == at(Calexp)
    butler.put("done", Log, instrument="Cam", exposure=1, detector=2)
    assert butler.exists(at(Calexp))
    assert butler.get(at(Calexp)).tolist() == [0, 1, 2]
    assert at(Calexp) not in butler.reads
    first, second = butler.records
    path = store.path("run/calexp/one.npy")
    assert (first.dataset, first.location) == (at(Calexp), "run/calexp/one.npy")
    assert (first.size, first.checksum) == (os.path.getsize(path), checksum_file(path))
    assert first.identity == bytes(range(16))
    assert second.checksum == checksum_bytes(b"done")
    assert second.identity == content_identity("log", at(Log).dataId, second.checksum)


def test_what_the_quantum_does_not_declare_is_refused_with_dataset_and_task(butler):
    with pytest.raises(
        DatasetNotFoundError, match=r"task 'isr' may not read raw\{.*exposure=9.*inputs.*raw\{.*exposure=1"
    ):
        butler.get(at(Raw, 9))
    with pytest.raises(RepositoryError, match=r"task 'isr' may not write raw\{.*outputs.*calexp"):
        butler.put(1, at(Raw))
    with pytest.raises(RepositoryError, match=r"may not write calexp\{.*exposure=7"):
        butler.put(np.ones(1), at(Calexp, 7))
    with pytest.raises(DatasetNotFoundError, match="its output calexp.* before it has put it"):
        butler.get(at(Calexp))
    with pytest.raises(DatasetTypeError, match="did you mean 'calexp'"):
        butler.get("calex", instrument="Cam", exposure=1, detector=2)
    with pytest.raises(DataIdError, match="'detector' is missing"):
        butler.get("calexp", instrument="Cam", exposure=1)
    assert not butler.exists(at(Raw, 9))
    assert butler.records == []


def test_an_input_that_was_never_made_is_said(butler):
    assert not butler.exists(at(Raw, 5))
    with pytest.raises(DatasetNotFoundError, match=r"task 'isr' cannot read raw.*no file .*gone\.json"):
        butler.get(at(Raw, 5))


def test_an_output_is_put_once_in_an_attempt_and_replaced_by_the_next(butler, store):
    butler.put("first", at(Log))
    with pytest.raises(DatasetExistsError, match="put .*log.* already"):
        butler.put("second", at(Log))
    again = LimitedButler(store, MODEL, {}, {at(Log): "run/log/one.txt"})
    assert not again.exists(at(Log)), "what an earlier attempt left is not this one's"
    again.put("third", at(Log))
    assert store.read(Log, "run/log/one.txt") == "third"


def test_a_value_that_cannot_be_written_leaves_nothing(butler, store):
    with pytest.raises(StorageError, match=r"log\{.*text keeps a str"):
        butler.put(3, at(Log))
    with pytest.raises(StorageError, match=r"calexp\{.*with objects"):
        butler.put(np.array([object()]), at(Calexp))
    assert butler.records == []
    assert not list(store.temporary_files())
    assert not os.path.exists(store.path("run/log/one.txt"))


def test_an_interrupted_format_leaves_nothing(butler, store, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(np.lib.format, "write_array", interrupt)
    with pytest.raises(KeyboardInterrupt):
        butler.put(np.ones(3), at(Calexp))
    assert not list(store.temporary_files())


def test_a_parameter_for_a_partial_read_goes_to_the_format(butler):
    butler.put({"x": np.arange(3), "y": np.ones(2)}, at(Calexp))
    assert list(butler.get(at(Calexp), parameters={"arrays": ["y"]})) == ["y"]
    with pytest.raises(StorageError, match="no parameter 'cutout'"):
        butler.get(at(Calexp), parameters={"cutout": 1})
