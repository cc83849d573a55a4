from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from supertask.butler.content import checksum_bytes, checksum_file, content_identity
from supertask.butler.datastore import Datastore
from supertask.butler.layout import ROOT_FILE
from supertask.butler.templates import DEFAULT_TEMPLATE, PathTemplate, check_run_name
from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import RepositoryError, StorageError

Note = Dataset.subclass("note", ("visit",), "text")
UNITS = ("instrument", "visit")


# -- templates --------------------------------------------------------------------------------------


def fill(text, dataId, units=UNITS, run="u/me/run1"):
    return PathTemplate.parse(text, units).fill(run=run, type_name="raw", dataId=dataId, extension=".fits")


def test_the_default_template_has_folders_and_a_name_that_says_all():
    dataId = {"instrument": "Cam", "visit": 42}
    assert fill(DEFAULT_TEMPLATE, dataId) == "u/me/run1/raw/Cam/raw_Cam_42.fits"
    assert fill(DEFAULT_TEMPLATE, {}, ()) == "u/me/run1/raw/raw.fits"
    assert fill("{run}/{visit:06d}-{instrument}{ext}", dataId) == "u/me/run1/000042-Cam.fits"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{type}/{dataId}", r"\{run\} is missing"),
        ("{run}/{instrument}", "does not name visit"),
        ("{run}/{dataId}/{vist}", "did you mean 'visit'"),
        ("../{run}/{dataId}", "stay within"),
        ("/{run}/{dataId}", "stay within"),
        ("~/{run}/{dataId}", "stay within"),
        ("{run}/.hidden/{dataId}", "begin with"),
        (".{run}/{dataId}", "begin with"),
        ("{run}\\{dataId}", "backslash"),
        ("{run/{dataId}", "."),
        ("{run}/{dataId}{}", "one word each"),
        ("{run}/{dataId!r}", "one word each"),
        ("{run}/{dataId.x}", "is not known here"),
        ("{run}/{dataId:10}", "take a width"),
        ("{run}/{dataId}/{visit:>3}", "take a width"),
    ],
)
def test_a_template_that_would_mix_up_files_or_leave_the_root_is_refused(text, words):
    with pytest.raises(RepositoryError, match=words):
        PathTemplate.parse(text, UNITS)


keys = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.text(min_size=1, max_size=300).filter(lambda s: "\0" not in s)
)


@hypothesis.given(first=st.tuples(keys, keys, keys), second=st.tuples(keys, keys, keys))
def test_different_data_ids_never_share_a_file_and_no_file_leaves_the_root(first, second):
    units = ("a", "b", "c")
    paths = [
        fill(DEFAULT_TEMPLATE, dict(zip(units, values, strict=True)), units) for values in (first, second)
    ]
    if tuple(map(str, first)) != tuple(map(str, second)):
        assert paths[0] != paths[1]
    for path in paths:
        assert path.isascii()
        assert path.startswith("u/me/run1/raw/")
        for part in path.split("/"):
            assert part
            assert not part.startswith(".")
            assert len(part) <= 205
            assert set(part) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+=@,-%~")


@pytest.mark.parametrize("name", ["u/me/run1", "raw", "2026-01-05", "a.b+c=d@e:f,g", "x" * 200])
def test_names_of_runs_may_have_parts(name):
    assert check_run_name(name) is None


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "../x", "a/../b", ".a", "a/.b", "a b", "a\\b", "a\n", "x" * 201, "ü"]
)
def test_names_that_are_no_folders_are_refused(name):
    assert "use letters" in check_run_name(name)


# -- files --------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return Datastore(tmp_path, {"default": PathTemplate.parse(DEFAULT_TEMPLATE)})


def test_a_file_is_there_when_it_is_published_and_not_before(store, tmp_path):
    written = store.write("text", Note, "run/a.txt")
    assert os.listdir(tmp_path / "run") != ["a.txt"]
    assert [os.path.basename(p)[:5] for p in store.temporary_files()] == [".tmp-"]
    written.publish()
    assert os.listdir(tmp_path / "run") == ["a.txt"]
    assert (written.size, written.checksum) == (4, checksum_bytes(b"text"))
    assert store.read(Note, "run/a.txt") == "text"
    written.drop()
    assert store.exists("run/a.txt")


def test_a_dropped_file_leaves_nothing(store):
    store.write("text", Note, "run/a.txt").drop()
    assert not list(store.temporary_files())


def test_a_folder_that_was_removed_meanwhile_is_made_again(store):
    store.write("text", Note, "run/deep/a.txt").publish()
    assert store.remove("run/deep/a.txt")
    assert not store.exists("run")
    store.write("text", Note, "run/deep/a.txt").publish()
    assert store.exists("run/deep/a.txt")


@pytest.mark.parametrize("count", [1, 50])
def test_files_that_are_gone_need_no_disk_but_a_repository_that_is_gone_is_missed(tmp_path, count):
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / ROOT_FILE).touch()
    store = Datastore(tmp_path / "repo")
    locations = [f"run/{i}.txt" for i in range(count)]
    for location in locations:
        store.write("text", Note, location).publish(durable=False)
    store.sync(locations)
    store.remove(locations[0])
    store.sync(locations)
    (tmp_path / "repo").rename(tmp_path / "away")
    with pytest.raises(StorageError, match="is its file system mounted"):
        store.sync(locations)


def test_only_our_files_are_deleted(store, tmp_path):
    other = tmp_path.parent / f"{tmp_path.name}-other.txt"
    other.write_text("theirs")
    for location in (str(other), other.as_uri()):
        assert store.read(Note, location) == "theirs"
        assert not store.remove(location)
    assert other.exists()
    assert not store.remove("run/never.txt")
    other.unlink()


def test_a_file_in_the_way_of_a_folder_is_said(store, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StorageError, match="in the way of a folder|cannot be written"):
        store.write("text", Note, "run/a.txt")


def test_what_cannot_be_read_is_said(store, tmp_path):
    with pytest.raises(StorageError, match=r"note is registered, but its file .*a\.txt is gone"):
        store.read(Note, "run/a.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=r"cannot be read from .*folder"):
        store.read(Note, "folder")
    with pytest.raises(StorageError, match="cannot be read"):
        store.checksum("run/a.txt")


def test_a_datastore_is_opened_from_its_root_alone(tmp_path):
    from supertask.butler.repository import Butler

    Butler.create(tmp_path / "r").close()
    store = Datastore.open(tmp_path / "r")
    dataId = DataId(instrument="Cam", visit=1)
    assert store.location_for(Note, dataId, "run") == "run/note/Cam/note_Cam_1.txt"
    with pytest.raises(RepositoryError, match="not a data repository"):
        Datastore.open(tmp_path)


# -- content ------------------------------------------------------------------------------------------


def test_checksums_of_bytes_and_files_agree(tmp_path):
    for data in (b"", b"x", os.urandom((1 << 20) + 17)):
        path = Path(tmp_path / "f")
        path.write_bytes(data)
        assert checksum_file(path) == checksum_bytes(data)
    assert checksum_bytes(b"").startswith("blake2b:")
    assert len(checksum_bytes(b"")) == len("blake2b:") + 32


def test_identities_of_content_differ_in_everything_and_not_in_order():
    base = content_identity("raw", {"a": 1, "b": "x"}, "sum")
    assert len(base) == 16
    assert base == content_identity("raw", DataId(b="x", a=1), "sum")
    others = [
        content_identity("raw2", {"a": 1, "b": "x"}, "sum"),
        content_identity("raw", {"a": "1", "b": "x"}, "sum"),
        content_identity("raw", {"a": 1, "b": "x"}, "sum2"),
        content_identity("raw", {"a": 1, "bx": ""}, "sum"),
        content_identity("raw", {"a": 1, "b": "y"}, "sum"),
        content_identity("raw", {"a": 1}, "sum"),
    ]
    assert len({base, *others}) == 7
    # What is written into repositories may never change.
    assert base.hex() == "b67a92ffdb13e885e1de9e355349ffc4"
