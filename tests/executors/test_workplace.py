"""Scratch staging and elision: where quanta work makes no difference to what comes out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from executors import InProcessFramework, MultiprocessFramework, QuantumStatus
from executors.events import QuantumEnded
from executors.journal.runfolder import RunFolder
from executors.workplaces.scratch import ScratchFolder, check_scratch, memory_folder, sweep_scratch
from executors.workplaces.workplace import Workplace, WorkplaceSpec
from graphbuilder.dag.values import Bundling
from supertask.butler.datastore import Datastore
from supertask.errors import ExecutionError, StorageError
from tests.executors.frames import RUN, outputs, plan, ran

SUCCEEDED, FAILED, BLOCKED = QuantumStatus.SUCCEEDED, QuantumStatus.FAILED, QuantumStatus.BLOCKED


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def whole(tmp_path, butler):
    """Outputs of a run that nothing special was asked of."""
    root = tmp_path / "other"
    shutil.copytree(butler.root, root)
    with type(butler)(root) as other:
        assert InProcessFramework().execute(plan(other), other).exit_code == 0
    return outputs(root)


def bundled(dag):
    """One bundle for each visit, its reductions and its stack; the report by itself."""
    members = [[*range(3 * v, 3 * v + 3), 12 + v] for v in range(4)] + [[16]]
    indptr = np.cumsum([0, *map(len, members)])
    return dag.with_bundling(Bundling("by visit", indptr, np.concatenate(members).astype(np.int32)))


def left_in_memory():
    return [path for path, _ in sweep_scratch(memory_folder(), dry_run=True)]


def ends(root):
    """What the journal says of each end, in order of its files."""
    lines = []
    for path in sorted(RunFolder(str(root), RUN).journal.glob("*.jsonl")):
        values = [json.loads(line[9:]) for line in path.read_bytes().splitlines()]
        lines += [v for v in values if v["event"] == "end"]
    return lines


# -- scratch ---------------------------------------------------------------------------------------


def test_on_scratch_the_same_comes_out_and_nothing_is_left_there(framework, butler, scratch, root, whole):
    report = framework.execute(plan(butler), butler, scratch=scratch)
    assert report.exit_code == 0
    assert outputs(root) == whole
    assert list(scratch.iterdir()) == []
    assert not list(root.rglob(".tmp-*"))
    for dataset in butler.query("image", collections=[RUN]):
        butler.verify(dataset)


def test_a_copy_is_made_once_and_the_one_used_longest_ago_goes_first(tmp_path, scratch):
    sources = []
    for name in "abc":
        source = tmp_path / name
        source.write_bytes(name.encode() * 100)
        sources.append(str(source))
    folder = ScratchFolder(scratch, limit=250)
    a, b = folder.fetch(sources[0]), folder.fetch(sources[1])
    assert folder.fetch(sources[0]) == a
    assert folder.copied == 2
    c = folder.fetch(sources[2])
    assert (os.path.exists(a), os.path.exists(b), os.path.exists(c)) == (True, False, True)
    assert folder.used == 200
    with open(c, "rb") as file:
        assert file.read() == b"c" * 100
    folder.close()
    assert list(scratch.iterdir()) == []


def test_a_file_that_changed_is_copied_anew(tmp_path, scratch):
    source = tmp_path / "a"
    source.write_text("old")
    folder = ScratchFolder(scratch)
    folder.fetch(str(source))
    replaced = tmp_path / "b"
    replaced.write_text("newer")
    replaced.replace(source)
    with open(folder.fetch(str(source))) as file:
        assert file.read() == "newer"
    folder.close()


def test_a_copy_that_somebody_deleted_is_made_again(tmp_path, scratch):
    source = tmp_path / "a"
    source.write_text("x")
    folder = ScratchFolder(scratch)
    os.unlink(folder.fetch(str(source)))
    assert os.path.exists(folder.fetch(str(source)))
    shutil.rmtree(next(scratch.iterdir()))
    assert os.path.exists(folder.fetch(str(source)))
    folder.close()


def test_scratch_that_is_gone_fails_quanta_clearly_and_leaves_nothing(framework, butler, scratch, root):
    dag = plan(butler).subset(["reduce"])

    def vanish(event):
        if isinstance(event, QuantumEnded):
            shutil.rmtree(scratch, ignore_errors=True)

    vanish.inline = True
    report = framework.execute(dag, butler, scratch=scratch, listeners=[vanish])
    assert report.counts[FAILED] > 0
    assert "scratch" in report.failures[0].message
    assert "the folder is gone" in report.failures[0].message
    assert not list(root.rglob(".tmp-*"))
    assert len(butler.query("image", collections=[RUN])) == report.counts.get(SUCCEEDED, 0)
    scratch.mkdir(exist_ok=True)
    assert framework.execute(dag, butler, scratch=scratch).exit_code == 0


def test_scratch_that_is_no_folder_is_refused_before_anything_runs(here, butler, tmp_path, root):
    with pytest.raises(ExecutionError, match=r"scratch .*nowhere is not a folder"):
        here.execute(plan(butler), butler, scratch=tmp_path / "nowhere")
    assert not RunFolder(str(root), RUN).path.exists()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ExecutionError, match="is not a folder"):
        check_scratch(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_full_scratch_fails_quanta_clearly_and_leaves_nothing(here, butler, tmp_path, root):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=False).returncode:
        pytest.skip("this container may not mount")
    try:
        (small / "filler").write_bytes(bytes(65_536))
        report = here.execute(plan(butler), butler, scratch=small)
        assert report.counts[FAILED] == 12
        assert "full" in report.failures[0].message
        assert outputs(root).keys() == {k for k in outputs(root) if "config" in k or "schema" in k}
        (small / "filler").unlink()
        report = here.execute(plan(butler), butler, scratch=small)
        assert report.exit_code == 0, str(report)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_has_is_not(scratch):
    script = (
        "import sys, time\nfrom executors.workplaces.scratch import ScratchFolder\n"
        "f = ScratchFolder(sys.argv[1]); open(f.place('in', 'x'), 'w').write('some bytes')\n"
        "print('made', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(scratch)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"made\n"
        (folder,) = scratch.iterdir()
        assert folder.name.startswith(f"supertask-{socket.gethostname()}-{process.pid}-")
        assert sweep_scratch(scratch) == []
        process.send_signal(signal.SIGKILL)
    (scratch / "supertask-elsewhere-7-abc").mkdir()
    assert sweep_scratch(scratch, dry_run=True) == [(str(folder), 10)]
    assert sweep_scratch(scratch) == [(str(folder), 10)]
    assert [p.name for p in scratch.iterdir()] == ["supertask-elsewhere-7-abc"]


def test_several_datasets_of_one_file_are_read_from_one_copy(butler, scratch, root):
    from supertask.datasets import Dataset

    home = Datastore.open(root)
    Data = Dataset.subclass("data", ("visit",), "numpy")
    home.write(np.arange(3), Data, "x/data.npy").publish()
    with Workplace(home, WorkplaceSpec(scratch=str(scratch))) as workplace:
        assert list(workplace.read(Data, "x/data.npy")) == [0, 1, 2]
        with pytest.raises(StorageError, match=r"its file .*/repo/x/none\.npy is gone"):
            workplace.read(Data, "x/none.npy")


# -- elision ---------------------------------------------------------------------------------------


def test_what_only_its_bundle_reads_is_never_written(framework, butler, root, whole):
    report = framework.execute(bundled(plan(butler)), butler, retain={"image": "until-used"})
    assert report.exit_code == 0
    kept = {name: data for name, data in whole.items() if not name.startswith("image/")}
    assert outputs(root) == kept
    assert [v["elided"] for v in ends(root) if v["index"] < 12] == [["image"]] * 12
    assert all("files" not in v or all(f[0] != "image" for f in v["files"]) for v in ends(root))
    assert left_in_memory() == []
    report = framework.execute(bundled(plan(butler)), butler)
    assert (report.finished_before, report.exit_code) == (17, 0)


def test_what_is_kept_is_written(framework, butler, root, whole):
    framework.execute(bundled(plan(butler)), butler, retain={"mask": "until-used"})
    assert {n for n in outputs(root) if not n.startswith("mask/")} == {
        n for n in whole if not n.startswith("mask/")
    }
    assert not any(n.startswith("mask/") for n in outputs(root))


def test_what_a_failed_reader_would_read_is_written_after_all(framework, butler, root, control, whole):
    (control / "stack-2").write_text("raise")
    dag = bundled(plan(butler, control))
    report = framework.execute(dag, butler, retain={"image": "until-used"})
    assert (report.counts[FAILED], report.counts[SUCCEEDED]) == (1, 15)
    there = butler.query("image", collections=[RUN])
    assert {d["visit"] for d in there} == {2}
    for dataset in there:
        butler.verify(dataset)
    (control / "stack-2").unlink()
    (control / "ran").unlink()
    assert framework.execute(dag, butler).exit_code == 0
    assert sorted(ran(control)) == ["report", "stack-2"] or len(ran(control)) == 2
    assert not list(root.rglob(".tmp-*"))


def test_a_reader_without_work_counts_as_having_read(framework, butler, root, control):
    (control / "stack-2").write_text("nothing")
    report = framework.execute(bundled(plan(butler, control)), butler, retain={"*": "until-used"})
    assert report.exit_code == 0
    assert not any(n.startswith(("image/", "mask/")) for n in outputs(root))


def test_what_others_read_too_is_written(here, butler, root):
    dag = plan(butler)
    members = [[*range(3 * v, 3 * v + 3)] for v in range(4)] + [[12, 13, 14, 15, 16]]
    indptr = np.cumsum([0, *map(len, members)])
    apart = dag.with_bundling(Bundling("apart", indptr, np.concatenate(members).astype(np.int32)))
    here.execute(apart, butler, retain={"image": "until-used", "stack": "until-used"})
    by_label = {v["index"]: v.get("elided") for v in ends(root)}
    assert all(by_label[q] is None for q in range(12))
    assert all(by_label[q] == ["stack"] for q in range(12, 16))
    assert not any(n.startswith(("image/", "stack/")) for n in outputs(root))


def test_a_worker_killed_between_maker_and_reader_loses_nothing(butler, root, control, whole):
    """Where the reader dies its makers had not ended for good: they run again, and only they."""
    (control / "stack-2").write_text("kill")
    dag = bundled(plan(butler, control))
    framework = MultiprocessFramework(2)
    report = framework.execute(dag, butler, retain={"image": "until-used"})
    assert report.counts[FAILED] == 1
    (control / "stack-2").unlink()
    assert framework.execute(dag, butler, retain={"image": "until-used"}).exit_code == 0
    aside = ("image/", "reduce_config", "stack_config", "report_config")
    assert {n: d for n, d in outputs(root).items() if not n.startswith(aside)} == {
        n: d for n, d in whole.items() if not n.startswith(aside)
    }
    done = [v["index"] for v in ends(root) if v["status"] == "succeeded"]
    assert len(done) == len(set(done)) == 17
    assert left_in_memory() == []


def test_too_much_to_hold_is_written(butler, root):
    home = Datastore.open(root)
    from supertask.datasets import Dataset

    Data = Dataset.subclass("data", ("visit",), "numpy")
    with Workplace(home, WorkplaceSpec(elide=("data",), held_size=1000)) as workplace:
        workplace.hold(["x/0.npy", "x/1.npy"])
        for name in ("x/0.npy", "x/1.npy"):
            workplace.write(np.arange(500), Data, name).publish(durable=False)
        assert workplace.is_holding("x/0.npy")
        assert not workplace.is_holding("x/1.npy")
        assert not home.exists("x/0.npy")
        assert home.exists("x/1.npy")
        assert (workplace.read(Data, "x/0.npy") == np.arange(500)).all()
        workplace.write_back("x/0.npy")
        assert (home.read(Data, "x/0.npy") == np.arange(500)).all()
    assert left_in_memory() == []


def test_what_is_wrong_with_a_value_is_said_whether_it_is_held_or_not(butler, root):
    from supertask.datasets import Dataset

    Data = Dataset.subclass("data", ("visit",), "numpy")
    with Workplace(Datastore.open(root), WorkplaceSpec(elide=("data",))) as workplace:
        workplace.hold(["x/0.npy"])
        with pytest.raises(StorageError, match="cannot be written as numpy"):
            workplace.write(object(), Data, "x/0.npy", what="data 0")
        assert not workplace.is_holding("x/0.npy")
