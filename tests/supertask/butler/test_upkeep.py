from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from supertask.butler import checking, upkeep
from supertask.butler.checking import Kind
from supertask.butler.layout import ROOT_FILE, Layout
from supertask.butler.port import CollectionKind
from supertask.butler.registry import migrations
from supertask.butler.registry.schema import SCHEMA_VERSION
from supertask.butler.repository import Butler
from supertask.conditions import Compare, Comparison, Constant, Name
from supertask.datasets import Dataset
from supertask.errors import RepositoryError, RepositoryVersionError
from supertask.testing.butler import fill_with_survey

Raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
OLD = Path(__file__).with_name("registry_version_1.sql")
ENGINES = [
    "sqlite",
    pytest.param("postgres", marks=[pytest.mark.engine, pytest.mark.xdist_group("postgres")]),
]


def raw(exposure=101, detector=0):
    return Raw(instrument="Cam", exposure=exposure, detector=detector)


@pytest.fixture(params=ENGINES)
def butler(request, tmp_path):
    if request.param == "sqlite":
        butler = Butler.create(tmp_path / "repo")
    else:
        server = request.getfixturevalue("postgres_server")
        butler = request.getfixturevalue("new_repository")(server)
    fill_with_survey(butler)
    butler.run = "run"
    yield butler
    butler.close()


@pytest.fixture
def old_repository(tmp_path):
    """A repository whose registry schema version 1 laid out."""
    root = tmp_path / "old"
    root.mkdir()
    with sqlite3.connect(root / "registry.sqlite3") as db:
        db.executescript(OLD.read_text())
    db.close()
    Layout("imaging").write(root)
    return root


def version_of(root):
    db = sqlite3.connect(root / "registry.sqlite3")
    found = db.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()[0]
    names = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    db.close()
    return int(found), names


# -- migrating -------------------------------------------------------------------------------------------


def test_a_registry_of_version_1_is_used_as_it_is_and_migrated_when_asked_for(old_repository):
    dim = Compare(Comparison.GT, Name("visit", "airmass"), Constant(1.15))
    with Butler(old_repository) as butler:
        before = butler.query(Raw, where=dim), butler.units("visit"), butler.collection_infos()
    assert len(before[0]) == 4
    assert version_of(old_repository)[0] == 1
    done = upkeep.migrate_registry(old_repository)
    assert (done.before, done.after, len(done.steps)) == (1, SCHEMA_VERSION, 1)
    version, indices = version_of(old_repository)
    assert version == SCHEMA_VERSION
    assert "unit_visit_by_airmass" in indices
    with Butler(old_repository) as butler:
        assert (butler.query(Raw, where=dim), butler.units("visit"), butler.collection_infos()) == before
    again = upkeep.migrate_registry(old_repository)
    assert not again.steps
    # The copy that was made first is a registry of its own right.
    Path(old_repository, "registry.sqlite3").unlink()
    os.rename(done.backup, Path(old_repository, "registry.sqlite3"))
    assert version_of(old_repository)[0] == 1
    with Butler(old_repository) as butler:
        assert butler.query(Raw, where=dim) == before[0]


def test_a_new_registry_and_a_migrated_one_have_the_same_tables_and_indices(old_repository, tmp_path):
    upkeep.migrate_registry(old_repository)
    with Butler.create(tmp_path / "new") as butler:
        butler.register_type(Raw)
    assert version_of(tmp_path / "new") == version_of(old_repository)


def test_a_migration_that_fails_changes_nothing(old_repository, monkeypatch):
    def fail(connection, schema):
        connection.exec_driver_sql("DROP TABLE relation_overlap")
        raise RuntimeError("interrupted")

    before = version_of(old_repository)
    steps = (*migrations.MIGRATIONS, migrations.Migration(3, "what fails", fail))
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", steps)
        with pytest.raises(RuntimeError, match="interrupted"):
            upkeep.migrate_registry(old_repository)
    assert version_of(old_repository) == before
    with Butler(old_repository) as butler:
        assert len(butler.query(Raw)) == 6


def test_what_this_software_cannot_do_without_must_be_migrated_first(old_repository, monkeypatch):
    steps = (migrations.Migration(2, "a column", migrations.MIGRATIONS[0].apply),)
    monkeypatch.setattr(migrations, "MIGRATIONS", steps)
    with pytest.raises(RepositoryVersionError, match=r"lacks a column.*supertask registry migrate"):
        Butler(old_repository)
    upkeep.migrate_registry(old_repository)
    Butler(old_repository).close()


@pytest.mark.engine
@pytest.mark.xdist_group("postgres")
def test_a_registry_on_postgres_is_migrated(postgres_server, new_repository):
    import psycopg

    butler = new_repository(postgres_server)
    fill_with_survey(butler)
    schema = butler._registry._backend.url.schema
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"UPDATE {schema}.meta SET value = '1' WHERE name = 'schema_version'")
        connection.execute(f"DROP INDEX {schema}.unit_visit_by_airmass")
    done = upkeep.migrate_registry(butler.root)
    assert (done.before, done.after, done.backup) == (1, SCHEMA_VERSION, "")
    with psycopg.connect(postgres_server.url) as connection:
        names = "SELECT 1 FROM pg_indexes WHERE schemaname = %s AND indexname = 'unit_visit_by_airmass'"
        assert connection.execute(names, (schema,)).fetchall()
    assert not upkeep.migrate_registry(butler.root).steps


# -- from one database to another ---------------------------------------------------------------------------


def everything(root):
    with Butler(root) as butler:
        rows = {unit: butler.units(unit) for unit in butler.model.names}
        with butler.reader() as reader:
            overlap = {u: c.tolist() for u, c in reader.relation("overlap").units.items()}
            raws = reader.datasets(Raw)
            ids = dict(zip(raws.ids.tolist(), raws.locations, strict=True))
        overlap = sorted(zip(*overlap.values(), strict=True))
        found = (butler.query(Raw), butler.collection_infos(), butler.run_provenance("run"))
        return rows, overlap, ids, found, butler.get(raw())


@pytest.mark.engine
@pytest.mark.xdist_group("postgres")
def test_a_registry_goes_to_postgres_and_back_whole(postgres_server, tmp_path):
    root = tmp_path / "r"
    with Butler.create(root) as butler:
        fill_with_survey(butler)
        butler.run = "run"
        for e in (101, 102, 103):
            butler.put([e], raw(e))
        butler.set_run_provenance("run", {"by": "me"})
        butler.create_collection("tags", CollectionKind.TAGGED)
        butler.tag("tags", [raw()], run="run")
        butler.create_collection("calib", CollectionKind.CALIBRATION)
        butler.certify("calib", [raw(102)], None, "2026-01-05", run="run")
        butler.create_collection("chain", CollectionKind.CHAINED, children=["tags", "run"])
    before = everything(root)
    done = upkeep.copy_registry(root, f"{postgres_server.url}?schema=copied")
    assert done.rows["unit_visit"] == 6
    assert "schema=copied" in (root / ROOT_FILE).read_text()
    os.rename(root / "registry.sqlite3", tmp_path / "kept.sqlite3")
    assert everything(root) == before
    with Butler(root, run="run") as butler:
        # Rows go on being numbered after those that came with their numbers.
        butler.insert_units("visit", [{"instrument": "Cam", "visit": 77, "physical_filter": "R1"}])
        butler.put([4], raw(104))
    later = everything(root)
    upkeep.copy_registry(root, "sqlite:")
    assert everything(root) == later
    assert checking.check(Butler(root)).findings == ()
    with pytest.raises(RepositoryError, match=r"schema already"):
        upkeep.copy_registry(root, f"{postgres_server.url}?schema=copied")
    assert everything(root) == later
    import psycopg

    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA copied CASCADE")


def test_a_copy_is_refused_where_it_would_write_over_something(old_repository, tmp_path):
    with pytest.raises(RepositoryError, match="already"):
        upkeep.copy_registry(old_repository, "sqlite:")
    with pytest.raises(RepositoryError, match=r"version 1; first: supertask registry migrate"):
        upkeep.copy_registry(old_repository, f"sqlite:{tmp_path / 'other.sqlite3'}")
    assert not list(tmp_path.glob("*other*"))


# -- registry against files --------------------------------------------------------------------------------


def kinds(checked):
    return {(f.kind, f.what) for f in checked.findings}


def test_a_repository_in_order_is_found_so(butler):
    butler.put([1], raw())
    checked = checking.check(butler, checksums=True)
    assert (checked.datasets, checked.files, checked.findings) == (1, 1, ())


def make_a_mess(butler):
    """A file gone, one of another size, one with other bytes, one of no dataset, one half written."""
    for e in (101, 102, 103, 104):
        butler.put([e], raw(e))
    paths = {e: Path(butler.path_of(raw(e))) for e in (101, 102, 103)}
    paths[101].unlink()
    paths[102].write_text("[1, 2, 3]\n")
    text = paths[103].read_text()
    paths[103].write_text(text.replace("103", "301"))
    folder = paths[102].parent
    (folder / "stray.json").write_text("1")
    (folder / ".tmp-1-2-raw.json").write_text("1")
    (folder / "young.json").write_text("1")
    long_ago = time.time() - 7200
    for name in ("stray.json", ".tmp-1-2-raw.json"):
        os.utime(folder / name, (long_ago, long_ago))
    return paths, os.path.relpath(folder, butler.root)


def test_files_without_rows_and_rows_without_files_are_named(butler):
    paths, folder = make_a_mess(butler)
    at = {e: os.path.relpath(p, butler.root) for e, p in paths.items()}
    found = checking.check(butler)
    expected = {
        (Kind.MISSING_FILE, at[101]),
        (Kind.WRONG_SIZE, at[102]),
        (Kind.UNKNOWN_FILE, f"{folder}/stray.json"),
        (Kind.TEMPORARY, f"{folder}/.tmp-1-2-raw.json"),
    }
    assert kinds(found) == expected
    assert kinds(checking.check(butler, checksums=True)) == expected | {(Kind.WRONG_BYTES, at[103])}
    assert kinds(checking.check(butler, age=0)) == expected | {(Kind.UNKNOWN_FILE, f"{folder}/young.json")}
    assert len(found.left) == 4


def test_repair_deletes_no_data_unless_it_is_asked_for_by_name(butler):
    paths, folder = make_a_mess(butler)
    folder = Path(butler.root, folder)
    repaired = checking.check(butler, repair=True)
    assert {f.kind for f in repaired.findings if f.repaired} == {Kind.TEMPORARY}
    assert not (folder / ".tmp-1-2-raw.json").exists()
    assert (folder / "stray.json").exists()
    assert len(butler.query(Raw)) == 4
    more = checking.check(butler, forget_missing=True, delete_unknown=True)
    assert {f.kind for f in more.findings if f.repaired} == {Kind.MISSING_FILE, Kind.UNKNOWN_FILE}
    assert not (folder / "stray.json").exists()
    assert (folder / "young.json").exists()
    assert [d.dataId["exposure"] for d in butler.query(Raw)] == [102, 103, 104]
    # What was altered is only told: which of the two is right nobody here knows.
    last = checking.check(butler, repair=True, forget_missing=True, delete_unknown=True)
    assert {f.kind for f in last.findings} == {Kind.WRONG_SIZE}
    butler.put([101], raw(101))
    assert paths[101].exists()


def test_files_of_a_run_whose_journal_is_there_are_left_to_it(butler):
    butler.put([1], raw())
    Path(butler.root, ".supertask", "runs", "u/me/run1", "journal").mkdir(parents=True)
    made = Path(butler.root, "u/me/run1/warp/1.json")
    made.parent.mkdir(parents=True)
    made.write_text("1")
    os.utime(made, (1.0, 1.0))
    checked = checking.check(butler, repair=True, delete_unknown=True)
    assert [f.kind for f in checked.findings] == [Kind.UNREGISTERED]
    assert not checked.left
    assert made.exists()


def test_rows_that_refer_to_nothing_are_found_and_put_right(butler):
    butler.put([1], raw())
    butler.create_collection("tags", CollectionKind.TAGGED)
    butler.tag("tags", [raw()], run="run")
    butler.create_collection("chain", CollectionKind.CHAINED, children=["run"])
    with butler._registry._database.write("making a mess") as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql("DELETE FROM collection_type")
        connection.exec_driver_sql("UPDATE collection SET kind = 'tagged' WHERE name = 'chain'")
        connection.exec_driver_sql("UPDATE meta SET value = 'x' WHERE name = 'catalog'")
    assert not butler.query(Raw, collections=["run"])
    found = checking.check(butler)
    assert {f.kind for f in found.findings} == {Kind.ORPHAN}
    assert {f.what for f in found.findings} == {"collection_type", "collection_child"}
    checking.check(butler, repair=True)
    assert checking.check(butler).findings == ()
    assert butler.query(Raw, collections=["run"]) == butler.query(Raw, collections=["tags"]) == [raw()]


def test_orphans_that_foreign_keys_should_have_kept_out_are_removed(butler):
    butler.put([1], raw())
    butler.put([2], raw(102))
    butler.create_collection("tags", CollectionKind.TAGGED)
    butler.tag("tags", [raw(), raw(102)], run="run")
    backend = butler._registry._backend
    if hasattr(backend, "path"):
        db = sqlite3.connect(backend.path)
        db.execute("DELETE FROM dataset_1 WHERE id = 1")
        db.commit()
        db.close()
    else:
        with butler._registry._database.write("making a mess") as connection:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            connection.exec_driver_sql("DELETE FROM dataset_1 WHERE id = 1")
    found = checking.check(butler)
    assert [f.what for f in found.findings if f.kind is Kind.ORPHAN] == ["tag_1"]
    checking.check(butler, repair=True)
    assert not [f for f in checking.check(butler).findings if f.kind is Kind.ORPHAN]
    assert butler.query(Raw, collections=["tags"]) == [raw(102)]


def test_a_repository_that_is_read_only_is_checked_and_not_repaired(butler):
    make_a_mess(butler)
    with Butler(butler.root, writeable=False) as reading:
        assert checking.check(reading).findings
        with pytest.raises(RepositoryError, match="repairing is not possible.*read-only"):
            checking.check(reading, repair=True)
