from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from supertask.butler.content import checksum_bytes
from supertask.butler.layout import ROOT_FILE
from supertask.butler.port import CollectionKind
from supertask.butler.registry import columns as registry_columns
from supertask.butler.registry.schema import SCHEMA_VERSION
from supertask.butler.repository import Butler
from supertask.conditions import And, Compare, Comparison, Constant, In, Name, Range
from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import (
    DatasetExistsError,
    RepositoryError,
    RepositoryVersionError,
    StorageError,
    UnitModelError,
)
from supertask.rows import FileRecord, RelationRows
from supertask.testing.butler import fill_with_survey
from supertask.units import FieldKind, KeyKind, Unit, UnitField, UnitModel

Raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
Count = Dataset.subclass("count", ("detector",), "json")


def raw(exposure=101, detector=0):
    return Raw(instrument="Cam", exposure=exposure, detector=detector)


@pytest.fixture
def butler(tmp_path):
    with Butler.create(tmp_path / "repo") as butler:
        fill_with_survey(butler)
        butler.run = "run"
        yield butler


# -- making and opening ---------------------------------------------------------------------------


def test_a_repository_is_found_again_with_its_model_and_contents(butler):
    butler.put([1], raw())
    with Butler(butler.root, collections="run") as other:
        assert other.model == butler.model
        assert other.get("raw", instrument="Cam", exposure=101, detector=0) == [1]
        assert other.dataset_types() == {"raw": Raw}
        assert "searches run" in repr(other)


def test_own_unit_models_are_kept_in_the_repository(tmp_path):
    model = UnitModel("lab", (Unit("sample"),))
    with Butler.create(tmp_path, model) as butler:
        butler.insert_units("sample", [{"sample": 1}])
    with Butler(tmp_path) as butler:
        assert butler.model == model
        assert butler.units("sample") == [{"sample": 1}]


def test_every_kind_of_field_and_key_comes_back(tmp_path):
    from astropy import units as u
    from astropy.time import Time

    fields = tuple(
        UnitField(f"f_{kind.value}", kind, "s" if kind is FieldKind.FLOAT else "") for kind in FieldKind
    )
    model = UnitModel("all", (Unit("night", KeyKind.DATE), Unit("shot", parents=("night",), fields=fields)))
    row = {
        "night": "2026-01-05",
        "shot": -(2**63),
        "f_int": 2**63 - 1,
        "f_float": 1.0 / 3.0 * u.min,
        "f_str": "naïve\n'text' \u2603",
        "f_bool": False,
        "f_time": Time("2026-01-05T00:00:00", scale="tai"),
    }
    with Butler.create(tmp_path, model) as butler:
        butler.insert_units("night", [{"night": "2026-01-05"}])
        butler.insert_units("shot", [row, {"night": Time("2026-01-05"), "shot": 2, "f_float": float("inf")}])
        first, second = butler.units("shot")
        assert first["night"] == "2026-01-05"
        assert first["shot"] == -(2**63)
        assert first["f_int"] == 2**63 - 1
        assert first["f_float"] == (1.0 / 3.0 * u.min).to_value("s")
        assert first["f_str"] == row["f_str"]
        assert first["f_bool"] is False
        assert first["f_time"] == 1767571200 * 10**9
        assert second["f_float"] == float("inf")
        assert second["f_bool"] is None
        assert butler.insert_units("shot", [first, second]) == 0


def test_what_is_no_repository_is_said(tmp_path):
    with pytest.raises(RepositoryError, match=r"not a data repository.*Butler\.create"):
        Butler(tmp_path)
    (tmp_path / ROOT_FILE).write_text("a: [1\n")
    with pytest.raises(RepositoryError, match="cannot be read"):
        Butler(tmp_path)
    (tmp_path / ROOT_FILE).write_text(
        "repository: 1\nunit_model: imaging\nregistri: x\ntemplates: {default: '../x'}\n"
    )
    with pytest.raises(
        RepositoryError, match=r"(?s)did you mean 'registry'.*'registry' must be text.*stay within"
    ):
        Butler(tmp_path)


def test_a_repository_is_not_made_over_another(butler):
    with pytest.raises(RepositoryError, match="already"):
        Butler.create(butler.root)
    assert butler.units("band")


def test_an_interrupted_creation_leaves_no_repository_and_is_done_again(tmp_path, monkeypatch):
    from supertask.butler.layout import Layout

    def interrupt(self, root):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Layout, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Butler.create(tmp_path / "r")
    with pytest.raises(RepositoryError, match="not a data repository"):
        Butler(tmp_path / "r")
    Butler.create(tmp_path / "r").close()


def test_an_unknown_unit_model_or_registry_is_refused(tmp_path):
    with pytest.raises(UnitModelError, match="did you mean 'imaging'"):
        Butler.create(tmp_path / "a", "imagin")
    with pytest.raises(RepositoryError, match=r"'mysql':…: only SQLite and PostgreSQL") as caught:
        Butler.create(tmp_path / "b", registry="mysql://me:secret@host/db")
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "b" / ROOT_FILE).exists()


def test_a_registry_may_lie_elsewhere(tmp_path):
    with Butler.create(tmp_path / "r", registry=f"sqlite:{tmp_path / 'db.sqlite3'}") as butler:
        butler.insert_units("band", [{"band": "r"}])
    with Butler(tmp_path / "r") as butler:
        assert butler.units("band") == [{"band": "r"}]
    assert not list((tmp_path / "r").glob("*.sqlite3"))


def test_the_registry_of_another_repository_is_not_written_over(tmp_path):
    url = f"sqlite:{tmp_path / 'db.sqlite3'}"
    with Butler.create(tmp_path / "one", registry=url) as butler:
        butler.insert_units("band", [{"band": "r"}])
    with pytest.raises(RepositoryError, match="there is a registry at .* already"):
        Butler.create(tmp_path / "two", registry=url)
    with Butler(tmp_path / "one") as butler:
        assert butler.units("band") == [{"band": "r"}]


@pytest.mark.parametrize("what", ["layout", "schema"])
def test_a_repository_of_a_newer_version_is_refused_with_the_way_out(butler, what):
    butler.close()
    root = Path(butler.root)
    if what == "layout":
        text = (root / ROOT_FILE).read_text().replace("repository: 1", "repository: 99")
        (root / ROOT_FILE).write_text(text)
    else:
        with sqlite3.connect(root / "registry.sqlite3") as db:
            db.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
        db.close()
    with pytest.raises(RepositoryVersionError, match=r"version 99.*up to [12]; install a newer SuperTask"):
        Butler(root)
    assert SCHEMA_VERSION == 2


@pytest.mark.parametrize("how", ["missing", "text", "empty", "other database"])
def test_a_broken_registry_is_said(butler, how):
    butler.close()
    path = Path(butler.root) / "registry.sqlite3"
    path.unlink()
    if how == "text":
        path.write_text("this is no database, and quite long enough to be read as one" * 20)
    elif how == "empty":
        path.touch()
    elif how == "other database":
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE x (a)")
        db.close()
    with pytest.raises(RepositoryError, match=r"registry\.sqlite3.*(not there|not a registry|lacks a table)"):
        Butler(butler.root)


# -- reading where nothing can be written -----------------------------------------------------------


def test_writeable_false_reads_and_refuses_to_write(butler):
    butler.put([1], raw())
    with Butler(butler.root, run="run", writeable=False) as reading:
        assert reading.get(raw()) == [1]
        assert reading.query(Raw, visit=1) == [raw()]
        for write in (
            lambda: reading.put([1], raw(102)),
            lambda: reading.insert_units("band", [{"band": "z"}]),
            lambda: reading.register_type(Count),
            lambda: reading.create_collection("x", CollectionKind.RUN),
            lambda: reading.remove([raw()], run="run"),
        ):
            with pytest.raises(RepositoryError, match=r"not possible.*read-only.*writeable=False"):
                write()
    assert not list(butler.datastore.temporary_files())


READ_ONLY = """
import json, os, sys
from supertask.butler.repository import Butler
from supertask.datasets import Dataset
from supertask.errors import SuperTaskError
if sys.argv[2] == "other user":
    os.setgid(65534); os.setuid(65534)
Raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
butler = Butler(sys.argv[1], run="run")
print(butler.get(Raw, instrument="Cam", exposure=101, detector=0))
print(butler.query("raw", visit=1), len(butler.reader().relation("overlap").units["visit"]))
try:
    butler.put(1, Raw, instrument="Cam", exposure=102, detector=0)
except SuperTaskError as error:
    print(type(error).__name__, error)
butler.close()
"""


def run_script(text, *args):
    root = Path(__file__).parents[3]
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", text, *map(str, args)],
        capture_output=True, text=True, cwd=root, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("log", [False, True], ids=["closed", "open for writing elsewhere"])
def test_another_user_reads_and_is_told_why_not_to_write(butler, log):
    butler.put([1], raw())
    for folder in Path(butler.root).parents:
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 0o011)
    if not log:
        butler.close()
    done = run_script(READ_ONLY, butler.root, "other user")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[1]\n")
    assert "36" in done.stdout
    assert "RepositoryError" in done.stdout
    assert "read-only for this user or on this mount" in done.stdout


def mounted_read_only(source, target):
    target.mkdir()
    for args in (["--bind", source, target], ["-o", "remount,ro,bind", target]):
        done = subprocess.run(["mount", *map(str, args)], capture_output=True, check=False)
        if done.returncode:
            subprocess.run(["umount", str(target)], capture_output=True, check=False)
            pytest.skip("mounting is not possible here")


LEFT_OPEN = """
import os, signal, sys
from supertask.butler.repository import Butler
butler = Butler(sys.argv[1])
butler.insert_units("band", [{"band": "left in the log"}])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("shared", [True, False], ids=["all that it left", "its log alone"])
def test_what_a_killed_writer_left_in_its_log_is_read_on_a_read_only_mount(butler, tmp_path, shared):
    butler.close()
    assert run_script(LEFT_OPEN, butler.root).returncode == -signal.SIGKILL
    files = Path(butler.root)
    assert (files / "registry.sqlite3-wal").stat().st_size
    if not shared:
        (files / "registry.sqlite3-shm").unlink()
    mount = tmp_path / "mount"
    mounted_read_only(butler.root, mount)
    try:
        with Butler(mount) as reading:
            assert {"band": "left in the log"} in reading.units("band")
            with pytest.raises(RepositoryError, match="read-only for this user or on this mount"):
                reading.insert_units("band", [{"band": "z"}])
    finally:
        subprocess.run(["umount", str(mount)], capture_output=True, check=False)


def test_a_read_only_mount_is_read(butler, tmp_path):
    butler.put([1], raw())
    butler.close()
    mount = tmp_path / "mount"
    mounted_read_only(butler.root, mount)
    try:
        done = run_script(READ_ONLY, mount, "same user")
    finally:
        subprocess.run(["umount", str(mount)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "read-only for this user or on this mount" in done.stdout


# -- interrupted and failing writes -------------------------------------------------------------------

KILLED = """
import os, signal, sys
from supertask.butler import datastore
from supertask.butler.registry import registry
from supertask.butler.repository import Butler
from supertask.datasets import Dataset
Raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
butler = Butler(sys.argv[1], run="run")
step = sys.argv[2]
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
if step == "before fsync":
    os.makedirs(os.path.join(sys.argv[1], "run/raw/Cam/101"))  # made durable first of all
    os.fsync = die
elif step == "before rename":
    datastore.WrittenFile.publish = die
elif step == "after rename":
    publish = datastore.WrittenFile.publish
    datastore.WrittenFile.publish = lambda self: (publish(self), die())
butler.put([1], Raw, instrument="Cam", exposure=101, detector=0)
"""


@pytest.mark.parametrize("step", ["before fsync", "before rename", "after rename"])
def test_a_put_that_is_killed_leaves_no_half_dataset_and_can_be_done_again(butler, step):
    done = run_script(KILLED, butler.root, step)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not butler.exists(raw())
    assert butler.query(Raw) == [] if "raw" in butler.dataset_types() else True
    left = list(butler.datastore.temporary_files())
    assert all(os.path.basename(p).startswith(".tmp-") for p in left)
    assert bool(left) == (step != "after rename")
    butler.put([2], raw())
    assert butler.get(raw()) == [2]
    butler.verify(raw())


def test_a_full_disk_is_said_and_leaves_nothing(butler, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting is not possible here")
    Big = Dataset.subclass("big", ("detector",), "numpy")
    try:
        with Butler.create(small / "repo", registry=f"sqlite:{tmp_path / 'db.sqlite3'}") as full:
            fill_with_survey(full)
            full.run = "run"
            handle = Big(instrument="Cam", detector=0)
            with pytest.raises(
                StorageError, match=r"big\{.*cannot be written to .*big_Cam_0\.npy.*disk is full"
            ):
                full.put(np.zeros(2**18), handle)
            assert not list(full.datastore.temporary_files())
            assert not full.exists(handle)
            full.put(np.zeros(2), handle)
    finally:
        subprocess.run(["umount", str(small)], capture_output=True, check=False)


def test_a_file_that_cannot_be_written_is_named_with_the_reason(butler, monkeypatch):
    def refuse(*args):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=r"raw_Cam_101_0\.json.*mounted read-only"):
        butler.put([1], raw())
    assert not list(butler.datastore.temporary_files())


def test_verify_finds_what_was_altered_or_is_gone(butler):
    butler.put([1], raw())
    butler.verify(raw())
    path = Path(butler.path_of(raw()))
    path.write_text("[2]\n")
    with pytest.raises(StorageError, match="not those that were registered"):
        butler.verify(raw())
    path.write_text("[2, 3]\n")
    with pytest.raises(StorageError, match="has 7 bytes, and had 4"):
        butler.verify(raw())
    path.unlink()
    with pytest.raises(StorageError, match="gone"):
        butler.verify(raw())


def test_the_identity_of_what_was_put_is_that_of_its_content(butler):
    butler.put([1], raw())
    butler.put([1], raw(), run="other")
    butler.put([2], raw(102))
    first, second, third = (
        butler.locate(d, collections=[run])
        for d, run in ((raw(), "run"), (raw(), "other"), (raw(102), "run"))
    )
    assert first.identity == second.identity != third.identity
    assert first.checksum == checksum_bytes(b"[1]\n")
    assert first.size == 4


def test_removing_deletes_our_files_and_empty_folders_only(butler, tmp_path):
    butler.put([1], raw())
    butler.put([1], raw(102))
    path = Path(butler.path_of(raw()))
    butler.remove([raw()], run="run")
    assert not path.exists()
    assert not path.parent.exists()
    assert Path(butler.path_of(raw(102))).exists()
    butler.remove_collection("run")
    assert not (Path(butler.root) / "run").exists()


# -- several at once ------------------------------------------------------------------------------------


def work(root, number, n, queue):
    """Insert, register and put things of which half are what others insert, register and put, too."""
    try:
        counts = {"units": 0, "registered": 0, "put": 0, "relations": 0}
        with Butler(root, run="shared") as butler:
            for i in range(n):
                visits = [
                    {"instrument": "Cam", "visit": 1000 + (i + k) % (2 * n), "ra": 1.0} for k in range(5)
                ]
                counts["units"] += butler.insert_units("visit", visits)
                detectors = [{"instrument": "Cam", "detector": 100 + number * n + i}]
                counts["units"] += butler.insert_units("detector", detectors)
                rows = [{**v, "detector": 0, "skymap": "sky", "tract": 0, "patch": 0} for v in visits]
                for row in rows:
                    del row["ra"]
                counts["relations"] += butler.insert_relation("overlap", rows)
                own = Count(instrument="Cam", detector=100 + number * n + i)
                butler.put({"by": number}, own)
                counts["put"] += 1
                try:
                    butler.put({"by": number}, raw(101 + i % 6, i % 3))
                    counts["put"] += 1
                except DatasetExistsError:
                    pass
                Kind = Dataset.subclass(f"kind{i}", ("visit",), "json")
                records = [
                    FileRecord(Kind(instrument="Cam", visit=v["visit"]), f"/x/{i}", 1, "", bytes(16))
                    for v in visits
                ]
                counts["registered"] += butler.register("shared", records, skip_existing=True)
        queue.put(counts)
    except BaseException as error:
        queue.put(repr(error))
        raise


def test_processes_write_at_once_with_no_loss_no_duplicate_and_no_deadlock(butler):
    n, workers = 12, 3
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=work, args=(butler.root, k, n, queue)) for k in range(workers)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=100) for _ in processes]
    for process in processes:
        process.join(30)
    assert all(isinstance(r, dict) for r in results), results
    total = {key: sum(r[key] for r in results) for key in results[0]}
    visits = {1000 + (i + k) % (2 * n) for i in range(n) for k in range(5)}
    assert total["units"] == len(visits) + workers * n
    assert {row["visit"] for row in butler.units("visit")} == visits | set(range(1, 7))
    assert total["relations"] == len(visits)
    assert total["registered"] == 5 * n
    assert total["put"] == workers * n + min(n, 6)
    butler.collections = ("shared",)
    assert len(butler.query(Count)) == workers * n
    for handle in butler.query(Raw):
        butler.verify(handle)
    for i in range(n):
        assert len(butler.query(f"kind{i}")) == 5
    assert not list(butler.datastore.temporary_files())


def test_a_butler_goes_on_working_in_a_forked_process(butler):
    butler.put([1], raw())
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            butler.put([2], raw(102))
            code = 0 if butler.get(raw()) == [1] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert butler.get(raw(102)) == [2]
    butler.put([3], raw(103))


def test_what_another_process_makes_known_is_seen(butler):
    with Butler(butler.root, run="elsewhere") as other:
        assert other.dataset_types() == {}
        butler.put([1], raw())
        assert other.get("raw", instrument="Cam", exposure=101, detector=0) == [1]
        butler.remove_collection("run")
        assert not other.exists(raw())
        butler.create_collection("run", CollectionKind.TAGGED)
        other.put([2], raw())
        butler.tag("run", [raw()], run="elsewhere")
        assert other.query(Raw, collections=["run"]) == [raw()]


# -- selections are looked up, not scanned for ----------------------------------------------------------


def grow(root, n_visits, n_detectors=10, runs=1):
    """Make a repository of which only a part is asked for."""
    butler = Butler.create(root)
    butler.insert_units("instrument", [{"instrument": "Cam"}])
    butler.insert_units("band", [{"band": "r"}])
    butler.insert_units("physical_filter", [{"instrument": "Cam", "physical_filter": "R", "band": "r"}])
    butler.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in range(n_detectors)])
    visits = [
        {"instrument": "Cam", "visit": v, "physical_filter": "R", "night": f"n{v // 10}"}
        for v in range(n_visits)
    ]
    butler.insert_units("visit", visits)
    butler.insert_units(
        "exposure",
        [{"instrument": "Cam", "exposure": v, "visit": v, "physical_filter": "R"} for v in range(n_visits)]
        + [{"instrument": "Cam", "exposure": 10**6, "obs_type": "bias"}],
    )
    butler.insert_units("skymap", [{"skymap": "s"}])
    butler.insert_units("tract", [{"skymap": "s", "tract": 0}])
    butler.insert_units("patch", [{"skymap": "s", "tract": 0, "patch": p} for p in range(100)])
    v = np.repeat(np.arange(1, n_visits + 1), n_detectors)
    d = np.tile(np.arange(1, n_detectors + 1), n_visits)
    butler.insert_relation_rows(RelationRows("overlap", {"visit": v, "detector": d, "patch": v % 100 + 1}))
    shape = DataId.shape(("instrument", "exposure", "detector"))
    for run in range(runs):
        butler.register(
            f"run{run}",
            [
                FileRecord(Raw(DataId.from_sorted(shape, (k, e, "Cam"))), f"r{run}/{e}/{k}", 1, "", bytes(16))
                for e in (*range(n_visits), 10**6)
                for k in range(n_detectors)
            ],
        )
    return butler


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    with grow(tmp_path_factory.mktemp("grown") / "r", 3000) as butler:
        yield butler


VISITS = In(Name("visit"), (), (Range(11, 20),))


@pytest.mark.parametrize(
    "where",
    [
        VISITS,
        And((VISITS, Compare(Comparison.EQ, Name("band"), Constant("r")))),
        Compare(Comparison.EQ, Name("visit", "night"), Constant("n1")),
        Compare(Comparison.EQ, Name("visit"), Constant(11)),
    ],
    ids=str,
)
def test_a_selection_is_looked_up_in_indices(grown, where, monkeypatch):
    import sqlalchemy as sa

    monkeypatch.setattr(registry_columns, "_SMALL", 0)
    plans = []

    def watch(connection, cursor, statement, parameters, *_):
        if "group_concat" in statement:
            explained = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in explained)

    sa.event.listen(sa.Engine, "before_cursor_execute", watch)
    try:
        with grown.reader(where=where) as reader:
            raws, overlaps = reader.datasets(Raw), reader.relation("overlap")
            exposures = reader.units("exposure", ())
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", watch)
    n = 1 if "= 11" in str(where) else 10
    assert len(raws.ids) == 10 * n + 10, "and the bias, which has no visit"
    assert len(overlaps.units["visit"]) == 10 * n
    assert len(exposures.ids) == n + 1
    big = [p for p in plans if any(t in p for t in ("dataset_", "relation_", "unit_visit", "unit_exposure"))]
    assert big
    assert not [p for p in big if p.startswith("SCAN")], plans
    assert all("USING" in p for p in big), plans
    # A range of row IDs is a scan by another name, if it is the whole range.
    assert not [p for p in big if "PRIMARY KEY (rowid>? AND rowid<?)" in p], plans


def test_what_is_read_does_not_grow_with_the_number_of_runs(tmp_path):
    with grow(tmp_path / "r", 60, runs=12) as butler:
        assert len(butler.reader(collections=["run3"], where=VISITS).datasets(Raw).ids) == 110
        everything = butler.reader(where=VISITS).datasets(Raw)
        assert len(everything.ids) == 110
        assert all(location.startswith("r11/") for location in everything.locations)
        some = [f"run{i}" for i in (3, 7)]
        assert all(x.startswith("r3/") for x in butler.reader(collections=some).datasets(Raw).locations)
        ten = [f"run{i}" for i in range(1, 11)]
        assert all(x.startswith("r1/") for x in butler.reader(collections=ten).datasets(Raw).locations)


def test_an_unreadable_page_is_said_as_an_error_of_the_repository(butler):
    butler.put([1], raw())
    reader = butler.reader()
    reader._connection.exec_driver_sql("DROP TABLE relation_overlap")
    with pytest.raises(RepositoryError, match=r"registry .* cannot be read.*lacks a table"):
        reader.relation("overlap")
    reader.close()


def test_templates_of_the_root_file_say_where_files_lie(butler):
    path = Path(butler.root) / ROOT_FILE
    path.write_text(
        path.read_text()
        + "  raw: '{run}/raw/{instrument}/{exposure:05d}-{detector}{ext}'\n  count: '{run}/x'\n"
    )
    with Butler(butler.root, run="run") as other:
        other.put([1], raw())
        assert other.locate(raw()).location == "run/raw/Cam/00101-0.json"
        assert butler.get(raw()) == [1]
        with pytest.raises(RepositoryError, match=r"count.*does not name instrument, detector"):
            other.put([1], Count(instrument="Cam", detector=0))


def test_importing_the_limited_butler_and_datastore_imports_no_database_and_no_astropy():
    script = textwrap.dedent("""
        import json, sys
        import supertask.butler.limited, supertask.butler.datastore
        heavy = ("sqlalchemy", "astropy", "h5py", "pyarrow", "networkx")
        print(json.dumps([m for m in heavy if m in sys.modules]))
    """)
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
