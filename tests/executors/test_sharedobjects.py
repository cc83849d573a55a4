"""What the processes of a machine hold once, and that nothing of it stays, however they end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import attrs
import numpy as np
import psutil
import pytest

from executors.host.processes import is_alive
from executors.inprocess import InProcessFramework
from executors.multiprocess import MultiprocessFramework
from executors.outcome import QuantumStatus
from executors.overheads.layout import Layout, built
from executors.overheads.shared import SharedObjects
from graphbuilder import GraphBuilder, QuantumBatcher
from supertask.butler.repository import Butler
from supertask.configs.config import field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import ExecutionError
from supertask.pipelines.pipeline import Pipeline
from supertask.tasks.overheads import overhead
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the system has no such memory")

STAR = Dataset.subclass("star", ("visit",), "json")
RUN = "u/me/run"
MEGABYTES = 64
SIZE = MEGABYTES << 20
LONG = 60.0
N = 8


@attrs.frozen(eq=False)
class Grid:
    """A model."""

    flux: np.ndarray
    _names: tuple[str, ...]


class FitConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    star = InputField(("visit",), "json", doc="A star.")
    labels = OutputField(("visit",), "json", doc="Its labels.")
    library: str = field("main", doc="Which grid.", overhead=True)
    folder: str = field("", doc="Where calls are noted.", meta=True)
    trouble: str = field("", doc="What goes wrong.", meta=True)


class FitTask(SuperTask):
    ConfigClass = FitConfig
    _DefaultName = "fit"

    @overhead(config=("library", "folder", "trouble"), shared=True)
    def model(self):
        self.note("model", os.getpid())
        if self.config.trouble == "object":
            return Grid(np.array([object()]), ())
        return Grid(np.full(SIZE // 8, 1.5), ("teff",))

    def run(self, star, dataId):
        model = self.model()
        assert float(model.flux.sum()) == 1.5 * SIZE / 8
        self.note("run", os.getpid())
        self.meet()
        if self.config.trouble == "kill driver" and dataId["visit"] > 1:
            time.sleep(LONG)
        if self.config.trouble == f"die {dataId['visit']}":
            os.kill(os.getpid(), signal.SIGKILL)
        mapped = [m for m in psutil.Process().memory_maps() if "memfd:supertask-" in m.path]
        used = psutil.Process().memory_full_info()
        return Struct(labels=[os.getpid(), [(m.rss, m.pss) for m in mapped], used.uss])

    def meet(self):
        """Wait until two processes have the model."""
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            lines = (Path(self.config.folder) / "calls").read_text().splitlines()
            if len({line for line in lines if line.startswith("run")}) > 1:
                return
            time.sleep(0.02)

    def note(self, *words):
        with (Path(self.config.folder) / "calls").open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Have a folder for what processes tell each other that no other test has."""
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = segments()
    yield tmp_path / f"supertask-shared-{os.getuid()}"
    assert segments() <= before
    assert not multiprocessing.active_children()


def segments():
    """Return what is in memory by a name, and as large as the model: others' things come and go."""
    shm = Path("/dev/shm")
    found = set()
    for path in shm.iterdir() if shm.is_dir() else ():
        with contextlib.suppress(OSError):
            if path.stat().st_size >= SIZE:
                found.add(path.name)
    return found


def holders(folder):
    """Return the processes that tell of an object and do have it."""
    names = [p.name.split(".") for p in folder.glob("*.*.*")]
    return {int(pid) for _, pid, fd in names if os.path.lexists(f"/proc/{pid}/fd/{fd}")}


def prepared(root, tmp_path, trouble=""):
    pipeline = Pipeline().add("fit", FitTask, {"folder": str(tmp_path), "trouble": trouble})
    with Butler.create(root, unit_model="imaging") as butler:
        butler.insert_units("instrument", [{"instrument": "Cam"}])
        butler.insert_units("band", [{"band": "g"}])
        butler.insert_units("physical_filter", [{"instrument": "Cam", "physical_filter": "G", "band": "g"}])
        visits = [{"instrument": "Cam", "visit": v, "physical_filter": "G"} for v in range(1, N + 1)]
        butler.insert_units("visit", visits)
        butler.register_type(STAR)
        for v in range(1, N + 1):
            butler.put(v, STAR(instrument="Cam", visit=v), run="raw/all")
        dag = GraphBuilder(pipeline, butler, output_run=RUN).makeGraph()
    return QuantumBatcher(max_quanta=2).batch(dag)


def calls(tmp_path):
    return Counter(line.split()[0] for line in (tmp_path / "calls").read_text().splitlines())


def test_two_workers_hold_one_copy(tmp_path, folder):
    dag = prepared(tmp_path / "repo", tmp_path)
    with Butler(tmp_path / "repo", collections=(RUN,)) as butler:
        assert MultiprocessFramework(2).execute(dag, butler).exit_code == 0
        said = [butler.get(d) for d in butler.query("labels")]
    assert calls(tmp_path)["model"] == 1
    assert len({pid for pid, _, _ in said}) == 2
    for _pid, mapped, uss in said:
        ((rss, pss),) = mapped
        assert rss >= SIZE  # all of it is here
        assert pss < 0.6 * SIZE  # and half of it counts, as another process has it too
        assert uss < SIZE + (200 << 20)
    assert not holders(folder)


def test_a_killed_worker_takes_nothing_from_the_others_and_leaves_nothing(tmp_path, folder):
    dag = prepared(tmp_path / "repo", tmp_path, "die 3")
    with Butler(tmp_path / "repo") as butler:
        report = MultiprocessFramework(2).execute(dag, butler)
    assert "SIGKILL" in report.failures[0].message
    assert report.counts[QuantumStatus.FAILED] == 1
    assert calls(tmp_path)["model"] == 1  # nor is it made again for the one in its place
    assert not holders(folder)


DRIVER = """
import sys
sys.path.insert(0, sys.argv[1])
from executors.multiprocess import MultiprocessFramework
from supertask.butler.repository import Butler
if __name__ == "__main__":
    with Butler(sys.argv[2]) as butler:
        MultiprocessFramework(2).execute(sys.argv[3], butler)
"""


def test_a_killed_driver_leaves_nothing(tmp_path, folder):
    prepared(tmp_path / "repo", tmp_path, "kill driver").save(tmp_path / "plan.h5")
    (tmp_path / "driver.py").write_text(DRIVER)
    root = str(Path(__file__).resolve().parents[2])
    arguments = [tmp_path / "driver.py", root, tmp_path / "repo", tmp_path / "plan.h5"]
    driver = subprocess.Popen([sys.executable, *map(str, arguments)], env={**os.environ, "PYTHONPATH": root})
    try:
        wait_for(lambda: folder.is_dir() and len(holders(folder)) == 2)
        workers = holders(folder)
    finally:
        driver.kill()
        driver.wait(LONG)
    wait_for(lambda: not any(map(is_alive, workers)))
    assert not holders(folder)
    # What they could not take away are names, and the next process does.
    assert SharedObjects("a", folder=folder).get(b"key", "what", lambda: np.ones(3)).sum() == 3
    assert len(list(folder.iterdir())) <= 1


def wait_for(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_what_cannot_be_shared_is_told(tmp_path):
    dag = prepared(tmp_path / "repo", tmp_path, "object")
    with Butler(tmp_path / "repo") as butler:
        report = InProcessFramework().execute(dag, butler)
    assert "leave away shared=True" in report.failures[0].message
    assert "FitTask.model" in report.failures[0].message


def test_objects_come_back_as_they_were():
    values = {
        "a": np.arange(12.0).reshape(3, 4),
        "turned": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "strided": np.arange(10)[::3],
        "table": np.array([(1, 2.5, "x")], [("n", "i4"), ("x", ">f8", (1,)), ("s", "U3")]),
        "empty": np.empty((0, 3)),
        "zero": np.array(7.0),
        "scalar": np.float32(2.5),
        "grid": Grid(np.ones(2), ("a",)),
        "many": [1, None, True, "ü", 2.5, (float("inf"), {"x": np.zeros(1, bool)})],
    }
    layout = Layout(values, "it")
    buffer = bytearray(layout.size)
    layout.write(buffer)
    found = built(memoryview(buffer).toreadonly())
    for name in ("a", "turned", "strided", "table", "empty", "zero"):
        assert found[name].dtype == values[name].dtype
        assert found[name].shape == values[name].shape
        assert (found[name] == values[name]).all()
        assert not found[name].flags.writeable
    assert found["turned"].flags.f_contiguous
    assert found["scalar"] == np.float32(2.5)
    assert isinstance(found["scalar"], np.float32)
    assert isinstance(found["grid"], Grid)
    assert found["grid"]._names == ("a",)
    assert found["many"][:5] == [1, None, True, "ü", 2.5]
    assert isinstance(found["many"][5], tuple)


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": {3}}, np.array([None]), [lambda: 1]])
def test_other_objects_are_refused(value):
    with pytest.raises(ExecutionError, match="overhead method m makes"):
        Layout(value, "overhead method m")


def test_objects_are_found_by_key_and_scope_and_go_with_the_last_use(folder):
    made = []

    def make():
        made.append(1)
        return np.ones(1000)

    ours, same, other = (SharedObjects(*scope, folder=folder) for scope in ("ab", "ab", ("a", "c")))
    first = ours.get(b"key", "it", make)
    second = same.get(b"key", "it", make)
    assert len(made) == 1
    with pytest.raises(ValueError, match="read-only"):
        second[0] = 2
    other.get(b"key", "it", make)
    same.get(b"another key", "it", make)
    assert len(made) == 3
    del first, second
    assert not list(folder.iterdir())
    ours.get(b"key", "it", make)
    assert len(made) == 4


def test_names_that_lie_are_not_believed(folder):
    shared = SharedObjects("a", folder=folder)
    held = shared.get(b"key", "it", lambda: np.ones(3))
    (entry,) = folder.iterdir()
    name, pid, fd = entry.name.split(".")
    liar = folder / f"{'0' * len(name)}.{pid}.{fd}"
    for path in (liar, folder / f"{name}.{pid}.0", folder / f"{name}.999999999.{fd}"):
        path.touch()
    (folder / f"{name}.lock").touch()
    again = SharedObjects("a", folder=folder)
    assert again.get(b"key", "it", lambda: np.zeros(3)).sum() == held.sum() == 3
    assert not liar.exists()
    assert all(p.name.startswith(f"{name}.{pid}.") for p in folder.iterdir())


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path):
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o777)
    open_to_all.chmod(0o777)
    assert SharedObjects("a", folder=open_to_all).get(b"key", "it", lambda: 5) == 5
    assert not list(open_to_all.iterdir())
