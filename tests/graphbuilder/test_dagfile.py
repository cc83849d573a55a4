"""The plan file: what is written is read, and what was harmed is refused."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from surveys import fill

from graphbuilder.batcher import QuantumBatcher
from graphbuilder.dag.columnfile import ColumnReader, ColumnWriter
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.memory import InMemoryButler
from supertask.butler.port import AbstractButler
from supertask.errors import DagFileError

Make = Callable[..., ScienceDag]


@pytest.fixture
def butler() -> AbstractButler:
    """The survey in memory: what is tested here is behind the Butler."""
    return fill(InMemoryButler("imaging"))


@pytest.fixture
def saved(make: Make, tmp_path: Path) -> tuple[ScienceDag, Path]:
    dag = QuantumBatcher(max_quanta=3).batch(make())
    dag.save(tmp_path / "plan.h5")
    return dag, tmp_path / "plan.h5"


def same(one: ScienceDag, two: ScienceDag) -> bool:
    return (
        one.meta == two.meta
        and one.tasks == two.tasks
        and list(one.quanta) == list(two.quanta)
        and np.array_equal(np.asarray(one.identities), np.asarray(two.identities))
        and [one.record(i) for i in range(len(one))] == [two.record(i) for i in range(len(two))]
        and list(one.bundlings) == list(two.bundlings)
    )


@pytest.mark.parametrize("way", [ScienceDag.load, ScienceDag.open])
def test_what_is_saved_is_read(saved: tuple[ScienceDag, Path], way: Any) -> None:
    dag, path = saved
    read = way(path)
    assert same(read, dag)
    bundling, other = read.bundling(), dag.bundling()
    assert bundling is not None
    assert other is not None
    assert np.array_equal(np.asarray(bundling.indices), other.indices)
    assert [q.parameters for q in read.quanta if q.label == "merge"] == [
        q.parameters for q in dag.quanta if q.label == "merge"
    ]


def test_a_plan_that_was_read_can_be_saved_again_to_the_same_bytes(
    saved: tuple[ScienceDag, Path], tmp_path: Path
) -> None:
    _, path = saved
    for way in (ScienceDag.load, ScienceDag.open):
        way(path).save(tmp_path / "again.h5")
        with h5py.File(path) as one, h5py.File(tmp_path / "again.h5") as two:
            assert one.attrs["seal"] == two.attrs["seal"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(saved: tuple[ScienceDag, Path], where: float) -> None:
    _, path = saved
    whole = path.read_bytes()
    cut = path.with_name("cut.h5")
    cut.write_bytes(whole[: int(len(whole) * where)])
    for way in (ScienceDag.load, ScienceDag.open):
        with pytest.raises(DagFileError, match=r"cut\.h5"):
            way(cut)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_an_altered_byte_is_found_or_harmless(
    saved: tuple[ScienceDag, Path], where: float, flip: int
) -> None:
    dag, path = saved
    altered = bytearray(path.read_bytes())
    altered[int(len(altered) * where)] ^= flip
    other = path.with_name("altered.h5")
    other.write_bytes(altered)
    try:
        read = ScienceDag.load(other)
    except DagFileError as error:
        assert "altered.h5" in str(error)  # noqa: PT017 - either outcome is right
    else:
        # The byte stood in space that HDF5 does not use.
        assert same(read, dag)


@pytest.mark.parametrize("name", ["packed", "index"])
def test_contents_changed_by_a_tool_break_the_seal(saved: tuple[ScienceDag, Path], name: str) -> None:
    _, path = saved
    with h5py.File(path, "r+") as file:
        file[name][-30] ^= 1
    with pytest.raises(DagFileError, match=r"seal|altered"):
        ScienceDag.load(path)


@pytest.mark.parametrize("version", [0, 4, 99])
def test_another_format_version_is_refused_with_the_way_out(
    saved: tuple[ScienceDag, Path], version: int
) -> None:
    _, path = saved
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = version
    with pytest.raises(DagFileError, match=rf"format version {version}.*(update|preflight)"):
        ScienceDag.load(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("way", [ScienceDag.load, ScienceDag.open])
def test_plans_that_older_software_wrote_are_read(make: Make, version: int, way: Any) -> None:
    old = way(Path(__file__).parent / "oldplans" / f"format-{version}.h5")
    new = QuantumBatcher(max_quanta=3).batch(make("visit > 0"))
    assert list(old.quanta) == list(new.quanta)
    assert np.array_equal(np.asarray(old.identities), np.asarray(new.identities))
    assert [n.label for n in old.tasks] == [n.label for n in new.tasks]
    bundling, other = old.bundling(), new.bundling()
    assert np.array_equal(np.asarray(bundling.indices), other.indices)


def test_long_columns_and_short_ones_are_read_alike(tmp_path: Path) -> None:
    short = {
        "ends": np.arange(0, 3000, 3),
        "keys": np.array([b"a", "ö".encode(), b"ccc"]),
        "digests": np.arange(48, dtype=np.uint8).reshape(3, 16),
        "nothing": np.empty(0, np.int32),
        "no_keys": np.empty(0, "S1"),
        "flags": np.array([True, False]),
    }
    long = {
        "rows": np.arange(100_000, dtype=np.int32) % 977,
        "many_digests": np.arange(160_000, dtype=np.uint32).view(np.uint8).reshape(-1, 16),
    }
    with h5py.File(tmp_path / "columns.h5", "w") as file:
        writer = ColumnWriter(file)
        for name, column in {**short, **long}.items():
            writer.column(name, column)
        writer.text("about", {"long": "x" * 200_000})
        writer.finish()
        assert set(file) == {*long, "about", "packed", "index"}
    with h5py.File(tmp_path / "columns.h5") as file:
        for lazy in (False, True):
            reader = ColumnReader(file, lazy=lazy)
            assert reader.text("about") == {"long": "x" * 200_000}
            for name, column in {**short, **long}.items():
                again = reader.column(name)
                assert np.array_equal(again[:], column)
                assert again[:].dtype == column.dtype
                assert np.array_equal(again[np.arange(len(column))[::-2]], column[::-2])
            reader.check_seal("about")
            assert reader.column("keys", text=True)[:].tolist() == ["a", "ö", "ccc"]
            assert reader.column("keys", text=True)[1] == "ö"
        with pytest.raises(KeyError):
            ColumnReader(file, lazy=False).column("missing")


def test_files_that_are_no_plans_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.h5"
    text.write_text("not a plan")
    (tmp_path / "empty.h5").touch()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1]
    for name in ("text.h5", "empty.h5", "other.h5", "missing.h5", "."):
        for way in (ScienceDag.load, ScienceDag.open):
            with pytest.raises(DagFileError):
                way(tmp_path / name)


def test_a_folder_that_is_not_there_is_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(DagFileError, match="no such folder"):
        make().save(tmp_path / "nowhere" / "plan.h5")


def test_a_pipe_or_device_is_not_replaced_by_a_plan(make: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DagFileError, match="this is a device or pipe"):
        make().save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_full_disk_leaves_the_old_plan_and_nothing_else(saved: tuple[ScienceDag, Path]) -> None:
    dag, path = saved
    before = path.read_bytes()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(DagFileError, match="cannot write the plan"):
            dag.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    assert path.read_bytes() == before
    assert [p for p in path.parent.iterdir() if p.name.startswith(".tmp-")] == []


def test_a_reader_keeps_its_plan_while_another_is_written_in_its_place(
    saved: tuple[ScienceDag, Path], make: Make
) -> None:
    dag, path = saved
    reader = ScienceDag.open(path)
    make("visit = 1").save(path)
    assert reader.record(20).quantum == dag.record(20).quantum
    assert len(ScienceDag.load(path)) < len(dag)


def test_many_readers_at_once(saved: tuple[ScienceDag, Path]) -> None:
    dag, path = saved
    code = (
        "import sys; from graphbuilder.dag.dag import ScienceDag;"
        "d = ScienceDag.open(sys.argv[1]);"
        "print(','.join(d.record(i).identity.hex() for i in range(len(d))))"
    )
    root = Path(__file__).parents[2]

    def read(_: int) -> str:
        command = [sys.executable, "-c", code, str(path)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            cwd=root,
            # Where the class of the quanta's parameters is found.
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        ).stdout.strip()

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(read, range(6)))
    assert answers == {",".join(bytes(i).hex() for i in dag.identities)}


def test_reading_a_plan_imports_neither_builder_nor_database(saved: tuple[ScienceDag, Path]) -> None:
    _, path = saved
    code = (
        "import sys; from graphbuilder.dag.dag import ScienceDag; ScienceDag.open(sys.argv[1]).record(0);"
        "print([m for m in ('graphbuilder.builder', 'sqlalchemy', 'lark', 'astropy', 'networkx', 'shapely')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"


def test_a_copy_on_another_path_is_the_same_plan(saved: tuple[ScienceDag, Path], tmp_path: Path) -> None:
    dag, path = saved
    folder = tmp_path / "ein Ordner – ß"
    folder.mkdir()
    shutil.copy(path, folder / "plan.h5")
    assert same(ScienceDag.load(folder / "plan.h5"), dag)
