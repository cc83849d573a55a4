"""A quantum in a capsule runs elsewhere, comes to the same, and is refused where it was tampered with."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from executors.capsule.contents import MANIFEST, Manifest, sums_of
from executors.capsule.running import run_capsule
from executors.capsule.writing import write_capsule
from executors.inprocess import InProcessFramework
from graphbuilder.builder import GraphBuilder
from supertask.butler.repository import Butler
from supertask.datasets import Dataset
from supertask.errors import ExecutionError, PreflightError
from supertask.pipelines.pipeline import Pipeline

STEPS = """
from supertask import InputField, OutputField, Struct, SuperTask, SuperTaskConfig, field


class SkyConfig(SuperTaskConfig):
    quantum_units = ("visit", "detector")
    frame = InputField(units=("visit", "detector"), storage="json", doc="A frame.")
    sky = OutputField(units=("visit", "detector"), storage="json", doc="Its sky level.")
    factor: float = field(1.0, doc="Multiply by this.")


class SkyTask(SuperTask):
    ConfigClass = SkyConfig
    _DefaultName = "sky"

    def run(self, frame, dataId):
        self.log.warning("\\x1b[31mred <b>visit %s</b>", dataId["visit"])
        return Struct(sky=frame * self.config.factor)
"""
RUN = "u/me/run"


@pytest.fixture
def done(tmp_path, monkeypatch):
    """A repository in which a run was made by a module that lies in no installed package."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "capsule_steps.py").write_text(STEPS)
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [*sys.path, str(here)])
    monkeypatch.delitem(sys.modules, "capsule_steps", raising=False)
    import capsule_steps

    frame = Dataset.subclass("frame", ("visit", "detector"), "json")
    with Butler.create(here / "repo", "imaging") as butler:
        butler.insert_units("instrument", [{"instrument": "Cam"}])
        butler.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in range(2)])
        butler.insert_units("visit", [{"instrument": "Cam", "visit": v} for v in range(3)])
        for visit in range(3):
            for detector in range(2):
                butler.put(
                    visit + detector, frame, instrument="Cam", visit=visit, detector=detector, run="raw"
                )
        pipeline = Pipeline("Sky.")
        pipeline.add("sky", capsule_steps.SkyTask, capsule_steps.SkyConfig(factor=3.0))
        dag = GraphBuilder(pipeline, butler, RUN, collections=["raw"]).makeGraph()
        assert InProcessFramework().execute(dag, butler).exit_code == 0
        yield butler
    sys.modules.pop("capsule_steps", None)


@pytest.fixture
def capsule(done, tmp_path):
    write_capsule(done, RUN, "sky", {"visit": 2, "detector": 1}, to=tmp_path / "sky.zip", outputs=True)
    return tmp_path / "sky.zip"


@pytest.fixture
def away(done, capsule, tmp_path, monkeypatch):
    """Somewhere else: repository and code are gone."""
    folder = tmp_path / "away"
    folder.mkdir()
    shutil.move(capsule, folder / "sky.zip")
    shutil.rmtree(tmp_path / "here" / "repo")
    (tmp_path / "here" / "capsule_steps.py").unlink()
    monkeypatch.chdir(folder)
    return folder


def test_it_runs_where_nothing_else_is_and_gives_equal_bytes(away):
    found = run_capsule("sky.zip", "out")
    assert (found.status, found.notes) == ("succeeded", ())
    assert found.is_same
    [output] = found.outputs
    assert json.loads(Path(output.path).read_text()) == 9.0
    assert "visit 2" in found.log


def test_a_folder_runs_as_a_zip_does(away, tmp_path):
    with zipfile.ZipFile("sky.zip") as archive:
        archive.extractall("folder")
    assert run_capsule("folder", "out").is_same
    assert set(os.listdir("folder")) >= {
        "README.md",
        "capsule.json",
        "config.yaml",
        "log.txt",
        "provenance.json",
    }
    assert "supertask run-capsule ." in Path("folder/README.md").read_text()
    assert "factor: 3.0" in Path("folder/config.yaml").read_text()


def test_other_code_is_said_and_run(away):
    Path("capsule_steps.py").write_text(STEPS.replace("frame * self", "1 + frame * self"))
    found = run_capsule("sky.zip", "out")
    assert found.status == "succeeded"
    assert "source code" in found.notes[0]
    assert not found.is_same
    assert found.outputs[0].difference.parts[0].most == 1.0


def test_other_versions_are_said(away):
    with zipfile.ZipFile("sky.zip") as archive:
        archive.extractall("folder")
    path = Path("folder") / MANIFEST
    manifest = Manifest.from_json(path.read_bytes(), path)
    manifest.versions["numpy"] = "0.0.1"
    path.write_bytes(manifest.to_json())
    assert any("numpy is" in n and "was 0.0.1" in n for n in run_capsule("folder", "out").notes)


def test_code_that_raises_is_told(away):
    Path("capsule_steps.py").write_text(
        STEPS.replace("return Struct", "raise ValueError('too bright')\n        return Struct")
    )
    found = run_capsule("sky.zip", "out")
    assert (found.status, found.is_close) == ("failed", False)
    assert "too bright" in found.why


def test_code_that_cannot_be_imported_is_told(away):
    Path("capsule_steps.py").write_text("import nothing_of_this_name\n")
    found = run_capsule("sky.zip", "out")
    assert not found.is_close
    assert "nothing_of_this_name" in found.why


def test_capsules_of_one_quantum_are_the_same_bytes(done, capsule, tmp_path):
    write_capsule(done, RUN, "sky", {"visit": 2, "detector": 1}, to=tmp_path / "again.zip", outputs=True)
    assert (tmp_path / "again.zip").read_bytes() == capsule.read_bytes()


def test_what_is_done_to_a_capsule_is_not_done_to_the_repository(done, tmp_path):
    write_capsule(done, RUN, "sky", {"visit": 0, "detector": 0}, to=tmp_path / "folder")
    [copy] = (tmp_path / "folder" / "job" / "in").iterdir()
    assert copy.stat().st_nlink == 1


def rewritten(source, target, change):
    """Write a zip again with its files as `change` gives them."""
    with zipfile.ZipFile(source) as archive:
        files = {i.filename: archive.read(i) for i in archive.infolist()}
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in change(files).items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: {n: d + b" " if "/in/" in n else d for n, d in f.items()}, "truncated or altered"),
        (lambda f: {n: d for n, d in f.items() if "/in/" not in n}, "not whole"),
        (lambda f: {**f, "../../evil.py": b"x"}, "outside of its folder"),
        (lambda f: {**f, "/tmp/evil.py": b"x"}, "outside of its folder"),
        (lambda f: {**f, "code/..\\evil.py": b"x"}, "outside of its folder"),
        (lambda f: {**f, "code/more.py": b"x"}, "does not speak of"),
        (lambda f: {**f, MANIFEST: f[MANIFEST].replace(b"sky", b"skv")}, "truncated or altered"),
        (lambda f: {**f, MANIFEST: f[MANIFEST].replace(b'capsule": 1', b'capsule": 9')}, "format 9"),
        (lambda f: {**f, MANIFEST: b"{}"}, "not a capsule"),
        (lambda f: {n: d for n, d in f.items() if n != MANIFEST}, "not a capsule"),
    ],
)
def test_what_was_tampered_with_is_refused(capsule, tmp_path, change, says):
    rewritten(capsule, tmp_path / "bad.zip", change)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ExecutionError, match=says):
        run_capsule(tmp_path / "bad.zip", tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == before
    assert not Path("/tmp/evil.py").exists()


def test_a_manifest_that_names_files_outside_is_refused(capsule, tmp_path):
    with zipfile.ZipFile(capsule) as archive:
        archive.extractall(tmp_path / "folder")
    path = tmp_path / "folder" / MANIFEST
    manifest = Manifest.from_json(path.read_bytes(), path)
    (tmp_path / "secret").write_text("x")
    manifest.files["../secret"] = next(iter(sums_of(tmp_path / "folder").values()))
    path.write_bytes(manifest.to_json())
    with pytest.raises(ExecutionError, match="outside of its folder"):
        run_capsule(tmp_path / "folder", tmp_path / "out")


def test_links_are_refused(capsule, tmp_path):
    with zipfile.ZipFile(capsule) as archive:
        files = {i.filename: archive.read(i) for i in archive.infolist()}
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            if name == "config.yaml":
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, data)
    with pytest.raises(ExecutionError, match="is a link"):
        run_capsule(tmp_path / "bad.zip", tmp_path / "out")


def test_what_is_cut_short_or_no_zip_is_refused(capsule, tmp_path):
    (tmp_path / "cut.zip").write_bytes(capsule.read_bytes()[:-40])
    (tmp_path / "text.zip").write_text("hello")
    for name in ("cut.zip", "text.zip", "none.zip"):
        with pytest.raises(ExecutionError, match=name):
            run_capsule(tmp_path / name, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_inputs_that_are_gone_are_named(done, tmp_path):
    for file in (Path(done.root) / "raw").rglob("*_2_1.json"):
        file.unlink()
    with pytest.raises(ExecutionError, match="inputs of sky .* are gone"):
        write_capsule(done, RUN, "sky", {"visit": 2, "detector": 1}, to=tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_inputs_that_were_altered_are_noted(done, tmp_path):
    [file] = (Path(done.root) / "raw").rglob("*_2_1.json")
    file.write_text("7\n")
    manifest = write_capsule(done, RUN, "sky", {"visit": 2, "detector": 1}, to=tmp_path / "x.zip")
    assert "was altered" in manifest.notes[0]


@pytest.mark.parametrize(
    ("run", "quantum", "dataId", "error", "says"),
    [
        ("u/me/rum", "sky", {}, ExecutionError, "did you mean 'u/me/run'"),
        (RUN, "sky", {"visit": 9}, PreflightError, "6 others"),
        (RUN, "sky", {"visit": 1}, PreflightError, "2 quanta"),
        (RUN, "skv", {"visit": 1}, ExecutionError, "did you mean 'sky'"),
        (RUN, "abcdef", {}, PreflightError, "0 quanta"),
    ],
)
def test_what_is_not_there_is_refused_in_words(done, tmp_path, run, quantum, dataId, error, says):
    with pytest.raises(error, match=says):
        write_capsule(done, run, quantum, dataId, to=tmp_path / "x.zip")


PACKAGE = {
    "__init__.py": "",
    "levels.py": "def level(frame):\n    return 2 * frame\n",
    "steps.py": """
import os

from capsule_pack.levels import level
from supertask import InputField, OutputField, PathField, Struct
from supertask import SubmitHook, SuperTask, SuperTaskConfig, needs


class Licence(SubmitHook):
    def process(self, job):
        return job.with_environ(LICENCE="host")


class LevelConfig(SuperTaskConfig):
    quantum_units = ("visit", "detector")
    frame = InputField(units=("visit", "detector"), storage="json", doc="A frame.")
    level = OutputField(units=("visit", "detector"), storage="json", doc="Its level.")
    notes = PathField("notes.txt", doc="Notes.")


@needs(Licence())
class LevelTask(SuperTask):
    ConfigClass = LevelConfig
    _DefaultName = "level"
    tags = {"stage": "first"}

    def run(self, frame):
        with self.path("notes").open("a") as notes:
            notes.write("x")
        said = [level(frame), os.environ["LICENCE"], dict(self.call.tags), self.path("notes").read_text()]
        return Struct(level=said)
""",
}


@pytest.fixture
def packaged(done, tmp_path, monkeypatch):
    """A capsule of a task in a package of several modules, which asks for all that surrounds its call."""
    folder = tmp_path / "here" / "capsule_pack"
    folder.mkdir()
    for name, text in PACKAGE.items():
        (folder / name).write_text(text)
    import capsule_pack.steps

    try:
        pipeline = Pipeline().add("level", capsule_pack.steps.LevelTask)
        dag = GraphBuilder(pipeline, done, "u/me/levels", collections=["raw"]).makeGraph()
        assert InProcessFramework().execute(dag, done, tags={"paper": 2}).exit_code == 0
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == "capsule_pack"]:
            del sys.modules[name]
    write_capsule(done, "u/me/levels", "level", {"visit": 2, "detector": 1}, to=tmp_path / "level.zip")
    shutil.rmtree(folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_surrounded_the_call_then_surrounds_it_in_a_capsule(packaged):
    found = run_capsule("level.zip", "out")
    assert (found.status, found.notes, found.is_same) == ("succeeded", (), True)
    (output,) = found.outputs
    assert json.loads(Path(output.path).read_text()) == [6, "host", {"paper": 2, "stage": "first"}, "x"]


def test_other_code_in_a_module_that_the_task_imports_is_said_and_run(packaged):
    folder = packaged / "capsule_pack"
    folder.mkdir()
    for name, text in PACKAGE.items():
        (folder / name).write_text(text.replace("2 * frame", "3 * frame"))
    found = run_capsule("level.zip", "out")
    assert found.status == "succeeded"
    assert found.notes == ("the code of capsule_pack.levels is not that of then",)
    assert json.loads(Path(found.outputs[0].path).read_text())[0] == 9
