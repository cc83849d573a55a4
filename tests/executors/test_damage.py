"""Full disks, damaged journals, a locked registry, clocks that go back: the same call again ends well."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from executors import InProcessFramework, MultiprocessFramework, QuantumStatus, status
from executors.driving import driver
from executors.events import QuantumEnded, RunStarted
from executors.journal.journal import Header
from executors.journal.runfolder import RunFolder
from supertask.butler.registry import database, sqlite
from supertask.butler.repository import Butler
from supertask.errors import SuperTaskError
from tests.executors.frames import RUN, ReduceTask, make_repository, outputs, plan, ran
from tests.executors.test_crashes import left_over, succeeded_in_journal

PAGE = 4096
LOCK = """
import sqlite3, sys
registry = sqlite3.connect(sys.argv[1], isolation_level=None)
sys.stdin.readline()
registry.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def whole(tmp_path):
    """Outputs of a run that nothing happened to."""
    root = tmp_path / "undisturbed"
    with make_repository(root) as butler:
        assert InProcessFramework().execute(plan(butler), butler).exit_code == 0
    return outputs(root)


@pytest.fixture
def small(tmp_path):
    """A file system of a few megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system, and not in every container")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder, pages):
    """Leave so many pages free."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - pages * PAGE))


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_costs_nothing_but_another_call(small, tmp_path, whole):
    with make_repository(tmp_path / "fresh") as butler:
        plan(butler)
    refused = 0
    for pages in range(0, 400, 3):
        root = small / "repo"
        shutil.copytree(tmp_path / "fresh", root)
        fill(small, pages)
        code = None
        try:
            with Butler(root) as butler:
                code = InProcessFramework().execute(plan(butler), butler).exit_code
        except SuperTaskError:
            code = 2
        refused += code != 0
        (small / "filler").unlink()
        with Butler(root) as butler:
            report = InProcessFramework().execute(plan(butler), butler)
            assert report.exit_code == 0, (pages, str(report))
            assert len(butler.query("image", collections=[RUN])) == 12
        assert outputs(root) == whole, pages
        assert not left_over(root), pages
        shutil.rmtree(root)
        if code == 0:
            break
    assert code == 0, "at last there is room"
    assert refused > 10


class Mounted:
    """A folder that another one is mounted on."""

    def __init__(self, tmp_path):
        self.real, self.here = tmp_path / "real", tmp_path / "mounted"
        self.real.mkdir()
        self.here.mkdir()

    def mount(self):
        words = ["mount", "--bind", str(self.real), str(self.here)]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    def lose(self):
        """Take it away from who opens files from now on."""
        subprocess.run(["umount", "--lazy", str(self.here)], check=True)


@pytest.fixture
def mounted(tmp_path):
    made = Mounted(tmp_path)
    if os.geteuid() != 0 or not made.mount():
        pytest.skip("only root may mount a folder, and not in every container")
    yield made
    subprocess.run(["umount", "--lazy", str(made.here)], check=False, capture_output=True)


@pytest.mark.parametrize("after", [1, 5, 14])
@pytest.mark.parametrize("how", ["in process", "before it writes", "pool"])
def test_a_mount_that_is_lost_costs_nothing_but_another_call(
    mounted, monkeypatch, tmp_path, whole, how, after
):
    count, reduce = [], ReduceTask.run

    def lose(event):
        if isinstance(event, QuantumEnded) and how != "before it writes":
            count.append(event)
            if len(count) == after:
                mounted.lose()

    def run(self, raw):
        if how == "before it writes":
            count.append(raw)
            if len(count) == min(after, 12):
                mounted.lose()
        return reduce(self, raw)

    lose.inline = True
    monkeypatch.setattr(ReduceTask, "run", run)
    root = mounted.here / "repo"
    make_repository(root).close()
    framework = MultiprocessFramework(2) if how == "pool" else InProcessFramework()
    with suppress(SuperTaskError), Butler(root) as butler:
        framework.execute(plan(butler), butler, listeners=[lose])
    assert list(mounted.here.iterdir()) == [], "nothing is written below a mount point"
    assert mounted.mount()
    with Butler(root) as butler:
        assert framework.execute(plan(butler), butler).exit_code == 0
        assert len(butler.query("image", collections=[RUN])) == 12
    assert outputs(root) == whole
    assert set(succeeded_in_journal(root)) == set(range(17))
    assert not left_over(root)


@pytest.mark.slow
def test_a_journal_cut_or_altered_anywhere_near_its_end_costs_a_few_quanta_at_most(tmp_path, whole):
    dice = random.Random(7)
    first = tmp_path / "first"
    with make_repository(first) as butler:
        dag = plan(butler)
        InProcessFramework().execute(dag.subset(["reduce", "stack"]), butler)
    (path,) = RunFolder(str(first), RUN).journal.glob("*.jsonl")
    length = path.stat().st_size
    for cut in range(length - 1500, length, 41):
        for how in ("cut", "altered"):
            root = tmp_path / "repo"
            shutil.copytree(first, root)
            journal = root / path.relative_to(first)
            data = bytearray(journal.read_bytes())
            if how == "cut":
                del data[cut:]
            else:
                data[cut] ^= 1 << dice.randrange(8)
            journal.write_bytes(data)
            with Butler(root) as butler:
                report = InProcessFramework().execute(plan(butler), butler)
                assert report.exit_code == 0, (how, cut, str(report))
                assert report.finished_before >= 10
            assert outputs(root) == whole, (how, cut)
            assert not left_over(root)
            shutil.rmtree(root)


@pytest.fixture
def unregistered(butler, root, control, monkeypatch):
    """A run of which all has ended and nothing is registered."""
    words = [sys.executable, "-c", LOCK, str(root / "registry.sqlite3")]
    other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def lock(event):
        if isinstance(event, RunStarted):
            other.stdin.write(b"now\n")
            other.stdin.flush()
            assert other.stdout.readline() == b"locked\n"

    lock.inline = True
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.2)
    monkeypatch.setattr(database, "_PATIENCE", 0.5)
    with Butler(root) as impatient:
        report = InProcessFramework().execute(plan(impatient, control), impatient, listeners=[lock])
    other.communicate()
    assert other.returncode == 0
    return report


def test_a_registry_that_stays_locked_delays_registering_and_loses_nothing(butler, control, unregistered):
    assert unregistered.counts == {QuantumStatus.SUCCEEDED: 17}
    assert (unregistered.exit_code, unregistered.unregistered) == (1, 17)
    assert any("run the same again to try again" in p for p in unregistered.problems)
    report = InProcessFramework().execute(plan(butler, control), butler)
    assert (report.exit_code, report.finished_before) == (0, 17)
    assert len(butler.query("image", collections=[RUN])) == 12


def test_what_a_disk_did_not_have_when_the_machine_went_down_is_made_again(
    butler, root, control, unregistered
):
    """Files get to the disk before they are registered, and not before their quanta end."""
    empty, altered, *_ = sorted(
        p for p in root.rglob("*") if p.is_file() and f"/{RUN}/" in str(p) and "image" in p.name
    )
    before, whole = len(ran(control)), outputs(root)
    empty.write_bytes(b"")
    data = bytearray(altered.read_bytes())
    data[len(data) // 2] ^= 1
    altered.write_bytes(data)
    report = InProcessFramework().execute(plan(butler, control), butler)
    assert (report.exit_code, report.finished_before) == (0, 15)
    assert len(ran(control)) == before + 2
    assert sum("is not what was written there" in p for p in report.problems) == 2
    assert outputs(root) == whole
    assert len(butler.query("image", collections=[RUN])) == 12


def test_a_clock_that_goes_back_confuses_nothing(framework, butler, root, control, monkeypatch):
    """Files of the journal are sorted by time; which attempt is the last one does not hang on that."""
    now = time.time_ns()
    for day, (name, what) in enumerate([("reduce-1-1", "raise"), ("stack-1", "raise"), ("", "")]):
        for each in control.glob("[rs]*-*"):
            each.unlink()
        if name:
            (control / name).write_text(what)
        begun = now - day * 86400 * 10**9
        monkeypatch.setattr(driver, "Header", lambda begun=begun, **known: Header(time=begun, **known))
        report = framework.execute(plan(butler, control), butler)
        assert report.exit_code == (1 if name else 0)
    assert sorted(set(ran(control))) == sorted(
        [f"reduce-{v}-{d}" for v in range(4) for d in range(3)]
        + [f"stack-{v}" for v in range(4)]
        + ["report-Cam"]
    )
    assert len(ran(control)) == 19, "only what had failed ran again"
    assert status(root, RUN).exit_code == 0
    assert report.wall >= 0
    assert all(t.wall >= 0 for t in report.tasks)
