"""WfFormat instances: real ones, and such as contradict themselves."""

from __future__ import annotations

import json

import pytest

from executors import InProcessFramework, MultiprocessFramework
from graphbuilder.exports.wfformat import document
from graphbuilder.workflows.importing import Scales, import_instance
from graphbuilder.workflows.instance import read_instance
from supertask import Butler
from supertask.errors import PipelineError
from tests.workflows import fork_and_join, instance, task

REAL = [
    "helloworld-forkjoin-10-chameleon",
    "epigenomics-chameleon-hep-1seq-100k-001",
    "1000genome-chameleon-2ch-100k-001",
    "montage-chameleon-2mass-01d-001",
    pytest.param("rnaseq-dirt02-001", marks=pytest.mark.slow),
    pytest.param("montage-chameleon-dss-10d-001", marks=pytest.mark.slow),
]
"""Executions that WfCommons recorded; they lie with the real data, and are no part of the project."""
QUICK = Scales(time=1e-4)


def structure(said):
    """Return what of an instance must stay: tasks with parents and files, sizes, run times."""
    workflow = said["workflow"]
    ran = {each["id"]: each for each in workflow.get("execution", {}).get("tasks", ())}
    tasks = {
        task["id"]: {
            "name": task["name"],
            "parents": set(task["parents"]),
            "children": set(task["children"]),
            "inputFiles": set(task.get("inputFiles", ())),
            "outputFiles": set(task.get("outputFiles", ())),
            "seconds": ran.get(task["id"], {}).get("runtimeInSeconds", 0.0),
            "program": ran.get(task["id"], {}).get("command", {}).get("program"),
        }
        for task in workflow["specification"]["tasks"]
    }
    sizes = {f["id"]: f["sizeInBytes"] for f in workflow["specification"].get("files", ())}
    return tasks, sizes


def imported(path, tmp_path, scales=QUICK):
    return import_instance(read_instance(path), tmp_path / "repo", "u/wf/run", scales=scales)[0]


@pytest.mark.parametrize("name", REAL)
def test_a_real_instance_is_planned_run_and_exported_again_unchanged(name, shared_data, tmp_path):
    path = shared_data / "workflows" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"there is no {path}")
    dag = imported(path, tmp_path)
    before = json.loads(path.read_text())
    assert dag.n_quanta == len(before["workflow"]["specification"]["tasks"])
    with Butler(tmp_path / "repo") as butler:
        assert InProcessFramework().execute(dag, butler).exit_code == 0
    assert structure(document(dag, None, "again")) == structure(before)


def test_an_instance_runs_in_a_pool_in_bundles(tmp_path):
    from graphbuilder import QuantumBatcher

    dag = QuantumBatcher(max_quanta=3).batch(imported(fork_and_join(tmp_path), tmp_path))
    with Butler(tmp_path / "repo") as butler:
        report = MultiprocessFramework(processes=2).execute(dag, butler)
    assert report.exit_code == 0
    assert report.n_quanta == 10


def test_what_is_exported_can_be_imported_again(tmp_path):
    dag = imported(fork_and_join(tmp_path), tmp_path)
    said = document(dag, None, "again")
    (tmp_path / "again.json").write_text(json.dumps(said))
    again = read_instance(tmp_path / "again.json")
    second, _ = import_instance(again, tmp_path / "second", "u/wf/run", scales=QUICK)
    assert structure(document(second, None, "third")) == structure(said)


def test_tasks_that_share_no_file_wait_for_each_other_all_the_same(tmp_path):
    path = instance(tmp_path, [task("b", "a"), task("a", children=["b"]), task("c", "a", "b")])
    dag = imported(path, tmp_path)
    assert dag.levels().tolist() == [0, 1, 2]
    with Butler(tmp_path / "repo") as butler:
        assert InProcessFramework().execute(dag, butler).exit_code == 0
    tasks, _ = structure(document(dag, None, "again"))
    assert {name: said["parents"] for name, said in tasks.items()} == {
        "a": set(),
        "b": {"a"},
        "c": {"a", "b"},
    }
    assert all(not said["outputFiles"] for said in tasks.values())


def test_parents_that_follow_from_files_alone_are_found_and_told(tmp_path):
    path = instance(tmp_path, [task("b", reads=["x"]), task("a", writes=["x"])])
    read = read_instance(path)
    assert [job.id for job in read.jobs] == ["a", "b"]
    assert read.notes == ("1 parents are not declared, and follow from files",)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "$(touch owned)", "a\nb", "';rm -rf *", "{x}", "é" * 200, ".."]
)
def test_hostile_names_stay_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = instance(
        tmp_path,
        [task(name, writes=[f"{name} out"]), task("next", name, reads=[f"{name} out", name])],
        files=[{"id": name, "sizeInBytes": 3_000_000}],
    )
    dag = imported(path, tmp_path)
    with Butler(tmp_path / "repo") as butler:
        assert InProcessFramework().execute(dag, butler).exit_code == 0
    tasks, _ = structure(document(dag, None, "again"))
    assert tasks["next"]["inputFiles"] == {f"{name} out", name}
    assert tasks["next"]["parents"] == {name}
    assert {p.name for p in tmp_path.iterdir()} == {"instance.json", "repo"}


@pytest.mark.parametrize(
    ("tasks", "more", "message"),
    [
        ([task("a", "b"), task("b", "a")], {}, "'a' for 'b' for 'a'|'b' for 'a' for 'b'"),
        ([task("a", "a")], {}, "wait for each other"),
        ([task("a", "nobody")], {}, "names 'nobody', which is no task"),
        ([task("a"), task("a")], {}, "'a' is there twice"),
        ([task("a", writes=["x"]), task("b", writes=["x"])], {}, "is written by 'a' and by 'b'"),
        ([task("a", reads=["x"], writes=["x"])], {}, "reads and writes 'x'"),
        ([task("a")], {"ran": [{"id": "a", "runtimeInSeconds": -3}]}, "runtimeInSeconds is -3"),
        ([task("a")], {"ran": [{"id": "a", "runtimeInSeconds": "long"}]}, "runtimeInSeconds is 'long'"),
        ([task("a")], {"files": [{"id": "x", "sizeInBytes": -1}]}, "sizeInBytes is -1"),
        ([{"name": "a", "parents": []}], {}, "has no id"),
        ([task("a")], {"schemaVersion": "1.3"}, "1.5 and 1.6 are read"),
        ([], {}, "no specification with tasks"),
        ([{**task("a"), "parents": "b"}], {}, "must be a list"),
    ],
)
def test_what_contradicts_itself_is_refused(tasks, more, message, tmp_path):
    with pytest.raises(PipelineError, match=message):
        read_instance(instance(tmp_path, tasks, **more))


def test_all_that_is_wrong_is_named_at_once(tmp_path):
    path = instance(tmp_path, [task("a", "x"), task("b", "y")], ran=[{"id": "a", "runtimeInSeconds": -1}])
    with pytest.raises(PipelineError, match="3 problems"):
        read_instance(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"workflow": 3}', "[" * 100_000, "\udcff"])
def test_what_is_no_instance_is_refused(text, tmp_path):
    path = tmp_path / "broken.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(PipelineError):
        read_instance(path)


def test_a_truncated_instance_is_refused(tmp_path):
    path = fork_and_join(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(PipelineError, match="truncated"):
        read_instance(path)


def test_files_that_would_fill_the_disk_are_refused(tmp_path):
    path = instance(tmp_path, [task("a", writes=["x"])], files=[{"id": "x", "sizeInBytes": 10**15}])
    with pytest.raises(PipelineError, match="smaller scale for sizes"):
        imported(path, tmp_path, Scales(size=1.0))
    assert not (tmp_path / "repo").exists()


def test_a_scale_below_nothing_is_refused():
    with pytest.raises(PipelineError, match="must be 0 or more"):
        Scales(time=-1.0)
