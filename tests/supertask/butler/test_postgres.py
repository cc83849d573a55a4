from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supertask.butler.layout import ROOT_FILE
from supertask.butler.registry.postgresurl import PostgresUrl
from supertask.butler.repository import Butler
from supertask.datasets import Dataset
from supertask.errors import RepositoryError, RepositoryVersionError
from supertask.testing import postgres
from supertask.testing.butler import fill_with_survey

Raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
engine = [pytest.mark.engine, pytest.mark.xdist_group("postgres")]


def raw(exposure=101, detector=0):
    return Raw(instrument="Cam", exposure=exposure, detector=detector)


def marked(function):
    for mark in engine:
        function = mark(function)
    return function


@pytest.fixture
def butler(postgres_server, new_repository):
    butler = new_repository(postgres_server)
    fill_with_survey(butler)
    butler.run = "run"
    return butler


@pytest.fixture
def own_server():
    """A server that may be stopped and started."""
    reason = postgres.why_not()
    if reason or os.environ.get("SUPERTASK_POSTGRES"):
        pytest.skip(reason or "a server that is given is not stopped")
    with postgres.server() as server:
        yield server


# -- what needs no server ---------------------------------------------------------------------------


def test_a_url_is_kept_without_its_password_and_shown_so():
    url = PostgresUrl.parse("postgresql://me:se%40cret@db.example:5433/survey?sslmode=require", schema="s")
    assert str(url) == "postgresql://me@db.example:5433/survey?schema=s&sslmode=require"
    assert "cret" not in repr(url)
    assert url.parameters() == {
        "sslmode": "require", "host": "db.example", "port": 5433, "user": "me", "password": "se@cret",
        "dbname": "survey",
    }  # fmt: skip
    again = PostgresUrl.parse(str(url))
    assert again.schema == "s"
    assert not again.has_password
    assert PostgresUrl.parse("postgresql:///?service=team", schema="s").parameters() == {"service": "team"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("postgresql://me:secret@host:port/db", "cannot be understood"),
        ("postgresql://me:secret@host/db?schema=a-b", "no name for a schema"),
        ("postgresql://me:secret@host/db?schema=pg_x", "no name for a schema"),
        ("postgresql+asyncpg://me:secret@host/db", "only psycopg"),
        ("postgresql://host/db?password=secret", "password does not belong"),
    ],
)
def test_a_bad_url_is_refused_and_its_password_not_shown(tmp_path, text, said):
    with pytest.raises(RepositoryError, match=said) as caught:
        Butler.create(tmp_path / "r", registry=text)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "r" / ROOT_FILE).exists()


def test_without_psycopg_the_way_out_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(RepositoryError, match=r"psycopg is needed.*pip install 'supertask\[postgres\]'"):
        Butler.create(tmp_path / "r", registry="postgresql://host/db")


def test_a_repository_on_sqlite_does_not_import_psycopg():
    script = "import sys, supertask.butler.repository; print('psycopg' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout == "False\n"


def test_a_server_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RepositoryError, match=r"127\.0\.0\.1:1/db.*no server answers there"):
        Butler.create(tmp_path / "r", registry="postgresql://me:secret@127.0.0.1:1/db?connect_timeout=3")
    with pytest.raises(RepositoryError, match=r"no server answers there"):
        Butler.create(tmp_path / "r", registry=f"postgresql:///db?host={tmp_path}")
    with pytest.raises(RepositoryError, match=r"parameter that libpq does not know"):
        Butler.create(tmp_path / "r", registry="postgresql://127.0.0.1:1/db?sslmod=x")


# -- what is refused, and why --------------------------------------------------------------------------


@marked
def test_a_missing_database_or_user_is_said(tmp_path, postgres_server):
    missing = postgres_server.url.rpartition("/")[0] + "/nowhere"
    with pytest.raises(RepositoryError, match=r"no such database or user.*nowhere"):
        Butler.create(tmp_path / "r", registry=missing)


@marked
def test_a_refused_password_is_said_and_not_shown(own_server, tmp_path):
    import psycopg

    with psycopg.connect(own_server.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
        connection.execute("GRANT CREATE ON DATABASE postgres TO guest")
    access = Path(own_server.folder, "data", "pg_hba.conf")
    access.write_text("host all guest all scram-sha-256\n" + access.read_text())
    own_server.stop()
    own_server.start()
    at = own_server.url.rpartition("@")[2]
    with pytest.raises(RepositoryError, match=r"refused the password") as caught:
        Butler.create(tmp_path / "r", registry=f"postgresql://guest:wrong@{at}")
    assert "wrong" not in str(caught.value)
    with pytest.raises(RepositoryError, match=r"wants a password; put it into ~/\.pgpass"):
        Butler.create(tmp_path / "r", registry=f"postgresql://guest@{at}")
    with Butler.create(tmp_path / "r", registry=f"postgresql://guest:right@{at}") as butler:
        butler.insert_units("band", [{"band": "r"}])
    assert "right" not in (tmp_path / "r" / ROOT_FILE).read_text()
    with pytest.raises(RepositoryError, match=r"wants a password"):
        Butler(tmp_path / "r")
    os.environ["PGPASSWORD"] = "right"
    try:
        with Butler(tmp_path / "r") as butler:
            assert butler.units("band") == [{"band": "r"}]
    finally:
        del os.environ["PGPASSWORD"]


@marked
def test_who_may_only_read_reads_and_is_told_why_not_to_write(butler, postgres_server):
    import psycopg

    butler.put([1], raw())
    schema = butler._registry._backend.url.schema
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO reader")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader")
    url = str(butler._registry._backend.url).replace("supertask@", "reader@")
    with Butler(butler.root, run="run", registry=url) as reading:
        assert reading.get(raw()) == [1]
        assert reading.query(Raw, visit=1) == [raw()]
        with pytest.raises(RepositoryError, match=r"read-only \(user 'reader' has no right to write to it\)"):
            reading.put([1], raw(102))
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY reader")
        connection.execute("DROP ROLE reader")


@marked
def test_a_registry_of_a_newer_schema_is_refused(butler, postgres_server):
    import psycopg

    schema = butler._registry._backend.url.schema
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"UPDATE {schema}.meta SET value = '99' WHERE name = 'schema_version'")
    with pytest.raises(RepositoryVersionError, match=r"version 99.*install a newer SuperTask"):
        Butler(butler.root)


@marked
def test_a_schema_that_is_taken_or_gone_is_said(butler, postgres_server, tmp_path):
    import psycopg

    url = str(butler._registry._backend.url)
    with pytest.raises(RepositoryError, match=r"a registry in this schema already.*\?schema=NAME"):
        Butler.create(tmp_path / "other", registry=url)
    assert butler.units("band")
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {butler._registry._backend.url.schema} CASCADE")
    with pytest.raises(RepositoryError, match=r"lacks a table"):
        Butler(butler.root)


@marked
def test_an_interrupted_creation_leaves_no_schema(postgres_server, tmp_path, monkeypatch):
    import psycopg

    from supertask.butler.layout import Layout

    def interrupt(self, root):
        raise KeyboardInterrupt

    url = f"{postgres_server.url}?schema=interrupted"
    with monkeypatch.context() as patch:
        patch.setattr(Layout, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Butler.create(tmp_path / "r", registry=url)
    with psycopg.connect(postgres_server.url) as connection:
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'interrupted'").fetchall()
    assert not found


# -- a server that goes away ----------------------------------------------------------------------------


@marked
def test_a_server_that_goes_away_half_way_leaves_nothing_half_done(own_server, tmp_path):
    butler = Butler.create(tmp_path / "r", registry=own_server.url)
    fill_with_survey(butler)
    butler.run = "run"
    reader = butler.reader()
    write = butler.datastore.write

    def stop_first(*args, **kwargs):
        written = write(*args, **kwargs)
        own_server.stop("immediate")
        return written

    butler.datastore.write = stop_first
    with pytest.raises(RepositoryError, match=r"lost half-way.*do it again|no server answers"):
        butler.put([1], raw())
    butler.datastore.write = write
    with pytest.raises(RepositoryError, match=r"connection was lost half-way"):
        reader.units("visit")
    reader.close()
    with pytest.raises(RepositoryError, match=r"no server answers"):
        butler.query("raw")
    own_server.start()
    assert "raw" not in butler.dataset_types()
    assert not list(butler.datastore.temporary_files())
    butler.put([1], raw())
    assert butler.get(raw()) == [1]
    butler.close()


@marked
def test_a_connection_that_is_cut_inside_a_transaction_takes_all_of_it_back(butler, postgres_server):
    import psycopg

    insert = butler._registry._backend.insert

    def cut(connection, table, *args):
        new = insert(connection, table, *args)
        if table.name.startswith("dataset_"):
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            with psycopg.connect(postgres_server.url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        return new

    butler._registry._backend.insert = cut
    with pytest.raises(RepositoryError, match=r"lost half-way"):
        butler.put([1], raw())
    del butler._registry._backend.insert
    assert butler.collection_infos() == []
    butler.put([2], raw())
    assert butler.get(raw()) == [2]


@marked
def test_connections_that_a_restart_cut_are_replaced_without_a_word(own_server, tmp_path):
    with Butler.create(tmp_path / "r", registry=own_server.url) as butler:
        fill_with_survey(butler)
        own_server.stop()
        own_server.start()
        assert len(butler.units("visit")) == 6
        own_server.stop()
        own_server.start()
        butler.insert_units("band", [{"band": "z"}])


# -- many at once ------------------------------------------------------------------------------------------


@marked
def test_writers_of_different_rows_do_not_wait_for_each_other(butler):
    butler.put([1], raw())
    with butler._registry._database.write("a long change") as connection:
        table = butler._registry._schema.units["visit"]
        butler._registry._backend.insert(connection, table, ("instrument_id", "visit"), [(1, 77)])
        with Butler(butler.root, run="run") as other:
            other.put([2], raw(102))
            other.insert_units("visit", [{"instrument": "Cam", "visit": 78, "physical_filter": "R1"}])
            assert not [v for v in other.units("visit") if v["visit"] == 77], "not committed yet"


@marked
def test_what_many_try_to_make_first_is_made_once(butler):
    """Dataset types, runs and chains are the catalog, which one at a time changes."""
    from concurrent.futures import ThreadPoolExecutor

    def make(i):
        with Butler(butler.root, run="new/run") as mine:
            Kind = Dataset.subclass("kind", ("detector",), "json")
            return (
                mine.put([i], Kind(instrument="Cam", detector=i % 3)) if i < 3 else mine.register_type(Kind)
            )

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(make, range(6)))
    assert len(butler.query("kind", collections=["new/run"])) == 3


# -- as SQLite does ---------------------------------------------------------------------------------------


@marked
def test_row_ids_stay_dense_when_things_are_inserted_again(butler):
    visits = [{"instrument": "Cam", "visit": v} for v in range(1, 60)]
    for _ in range(5):
        butler.insert_units("visit", visits)
    with butler.reader() as reader:
        assert reader.units("visit", ()).ids.max() == 59
