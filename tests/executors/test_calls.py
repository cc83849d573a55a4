"""What surrounds a call of a task: folder, tags, progress, environment, restored state; job folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from executors.events import QuantumProgressed
from executors.quanta.surroundings import quantum_folder
from executors.testing.blind import BlindFramework
from graphbuilder.builder import GraphBuilder
from supertask import (
    ConfigurableField,
    DependencyField,
    InitStep,
    InputField,
    JobRequest,
    OutputField,
    PathField,
    Pipeline,
    Struct,
    SubmitHook,
    SuperTask,
    SuperTaskConfig,
    cache,
    field,
    needs,
    submit_hook,
)
from supertask.errors import ConfigError, ExecutionError
from supertask.runtags import dataset_tags, set_run_tags, tagged
from supertask.testing.quanta import runQuantum
from tests.executors import frames

UNITS = ("visit", "detector")


@submit_hook
class Licence(SubmitHook):
    server: str

    def process(self, job: JobRequest) -> JobRequest:
        if "HOOKED" in os.environ:
            with Path(os.environ["HOOKED"]).open("a") as file:
                file.write("x")
        return job.with_environ(LICENCE=self.server).replace(timeout=600.0)


class LearnConfig(SuperTaskConfig):
    quantum_units = ("detector",)
    raw = InputField(units=UNITS, storage="json", doc="Raw.")
    weights = OutputField(units=("detector",), storage="json", doc="Learned.")
    order: int = field(2, doc="Order.", tag="order")


class LearnTask(SuperTask):
    ConfigClass = LearnConfig
    _DefaultName = "learn"
    tags = {"stage": "training"}
    tokens = {"gpu": 1}

    def run(self, raw):
        self.progress(0.4, "fitting")
        return Struct(weights={"sum": sum(r["value"] for r in raw)})


class LoadModel(InitStep):
    _DefaultName = "loadModel"

    def restore(self, weights):
        print("restored")
        return {"model": weights["sum"]}


class ApplyConfig(SuperTaskConfig):
    quantum_units = UNITS
    raw = InputField(units=UNITS, storage="json", doc="Raw.")
    weights = InputField(units=("detector",), storage="json", doc="Learned.")
    model = ConfigurableField(LoadModel, doc="The model, restored.")
    result = OutputField(units=UNITS, storage="json", doc="Result.")
    notes = PathField("notes/run.txt", doc="Notes.")


@needs(Licence("host:27000"))
class ApplyTask(SuperTask):
    ConfigClass = ApplyConfig
    _DefaultName = "apply"

    @cache()
    def table(self, n: int) -> list:
        print("computed")
        return list(range(n))

    def run(self, raw, model):
        with self.path("notes").open("a") as notes:
            notes.write(f"attempt {self.call.number}\n")
        return Struct(
            result={
                "value": raw["value"] + model["model"],
                "licence": os.environ["LICENCE"],
                "tags": dict(self.call.tags),
                "table": self.table(3),
            }
        )


@submit_hook
class Greed(SubmitHook):
    cores: int

    def process(self, job: JobRequest) -> JobRequest:
        return job.replace(cores=self.cores, priority=5, memory="1 GiB")


@needs(Greed(3))
class GreedyTask(ApplyTask):
    """Has the hook of its base class, and one of its own."""


class PublishConfig(SuperTaskConfig):
    quantum_units = ("detector",)
    result = DependencyField(units=UNITS, storage="json", doc="All results must be there first.")
    page = OutputField(units=("detector",), storage="json", doc="Page.")


class PublishTask(SuperTask):
    ConfigClass = PublishConfig
    _DefaultName = "publish"

    def run(self):
        return Struct(page={"published": True})


def plan(butler, **config):
    pipeline = Pipeline("Learn, apply, publish.")
    pipeline.add("learn", LearnTask, LearnConfig(**config))
    pipeline.add("apply", ApplyTask)
    pipeline.add("publish", PublishTask)
    return GraphBuilder(pipeline, butler, frames.RUN, collections=["raw"]).makeGraph()


def results(butler) -> list[dict]:
    return [butler.get(d) for d in butler.query("result", collections=[frames.RUN])]


def test_what_a_task_asks_of_its_call_is_there_in_every_framework(
    framework, butler, root, monkeypatch, tmp_path
):
    monkeypatch.setenv("HOOKED", str(tmp_path / "hooked"))
    events = []
    dag = plan(butler)
    report = framework.execute(
        dag, butler, listeners=[events.append], tags={"paper": 3}, tokens={"gpu": 1}, job_folders=True
    )
    assert report.exit_code == 0, report
    found = results(butler)
    assert len(found) == 12
    assert {r["licence"] for r in found} == {"host:27000"}
    assert found[0]["tags"] == {"paper": 3, "stage": "training", "order": 2}
    assert found[0]["table"] == [0, 1, 2]
    assert "LICENCE" not in os.environ
    assert (tmp_path / "hooked").read_text() == "x"  # once for the task, not for each quantum
    told = [e for e in events if isinstance(e, QuantumProgressed)]
    assert {(e.label, e.fraction, e.message) for e in told} == {("learn", 0.4, "fitting")}
    assert len(told) == 3
    notes = list((root / ".supertask/runs" / frames.RUN / "quanta/apply").rglob("run.txt"))
    assert len(notes) == 12
    assert notes[0].read_text() == "attempt 1\n"
    assert len(list((root / ".supertask/cache").rglob("*.json"))) == 1


def test_each_job_leaves_a_folder_and_no_attempt_writes_over_another(pool, butler, root):
    dag = plan(butler)
    pool.execute(dag, butler, tokens={"gpu": 3}, job_folders=True)
    jobs = root / ".supertask/runs" / frames.RUN / "jobs"
    folders = list(jobs.glob("apply-*/attempt-001"))
    assert len(folders) == 12
    for folder in folders:
        assert {p.name for p in folder.iterdir()} == {
            "job.sh", "parameters.json", "status.json", "stdout", "stderr",
        }  # fmt: skip
        status = json.loads((folder / "status.json").read_text())
        assert (status["state"], list(status["quanta"].values())) == ("ended", ["succeeded"])
    told = json.loads((folders[0] / "parameters.json").read_text())
    assert told["environ"] == {"LICENCE": "host:27000"}
    assert "restored" in "".join((f / "stdout").read_text() for f in folders)
    script = (folders[0] / "job.sh").read_text()
    assert "export LICENCE=host:27000\n" in script
    done = subprocess.run(
        [folders[0] / "job.sh"],
        check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_script_of_a_job_folder_runs_quanta_that_need_tokens_too(here, butler, root, tmp_path):
    report = here.execute(
        plan(butler), butler, tokens={"gpu": 1}, token_folder=tmp_path / "tokens", job_folders=True
    )
    assert report.exit_code == 0
    (folder, *_) = (root / ".supertask/runs" / frames.RUN / "jobs").glob("learn-*/attempt-001")
    told = json.loads((folder / "parameters.json").read_text())
    assert (told["tokens"], told["token_folder"]) == ({"gpu": 1}, str(tmp_path / "tokens"))
    done = subprocess.run(
        [folder / "job.sh"], check=False, env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_engines_are_told_what_hooks_ask_for(butler, tmp_path):
    asked = {}

    class Noting(BlindFramework):
        def submit(self, jobs):
            asked.update({label: job for job in jobs for label in job.labels})
            super().submit(jobs)

    pipeline = Pipeline().add("learn", LearnTask).add("apply", GreedyTask).add("publish", PublishTask)
    dag = GraphBuilder(pipeline, butler, frames.RUN, collections=["raw"]).makeGraph()
    assert Noting(tmp_path / "jobs").execute(dag, butler, tokens={"gpu": 1}).exit_code == 0
    greedy, plain = asked["apply"], asked["learn"]
    assert (greedy.cores, greedy.precedence, greedy.memory) == (3, 0, 2**30)
    assert (plain.cores, plain.precedence, plain.memory) == (1, -5, None)


def test_state_is_restored_once_for_all_quanta_that_need_the_same(here, butler, capsys):
    here.execute(plan(butler), butler, tokens={"gpu": 1})
    assert capsys.readouterr().out.count("restored") == 3  # one for each detector, twelve quanta
    assert capsys.readouterr().out.count("computed") == 0


def test_a_quantum_waits_for_what_it_is_marked_to_depend_on_and_is_another_with_it(here, butler):
    dag, other = plan(butler), plan(butler, order=3)
    here.execute(dag, butler, tokens={"gpu": 1})
    pages = butler.query("page", collections=[frames.RUN])
    assert [butler.get(p) for p in pages] == [{"published": True}] * 3
    ours, theirs = (
        {bytes(p.identities[q]) for q in range(t.first, t.first + t.count)}
        for p in (dag, other)
        for t in p.tasks
        if t.label == "publish"
    )
    assert not ours & theirs


def test_tags_find_outputs_and_change_no_identity(here, butler):
    dag = plan(butler)
    here.execute(dag, butler, tags={"paper": 3}, tokens={"gpu": 1})
    assert dataset_tags(butler, frames.RUN, "result") == {"paper": 3, "stage": "training", "order": 2}
    assert [(r, t) for r, t, _ in tagged(butler, {"paper": "3"})] == [(frames.RUN, "")]
    assert {t for _, t, _ in tagged(butler, {"order": "2"})} == {"weights", "result", "page"}
    assert not tagged(butler, {"order": "3"})
    set_run_tags(butler, frames.RUN, {"good": True}, remove=["paper"])
    assert not tagged(butler, {"paper": ""})
    assert tagged(butler, {"good": "true"}, "result")
    report = here.execute(dag, butler, tags={"again": 1}, tokens={"gpu": 1})
    assert report.tags == {"good": True, "again": 1}
    assert report.finished_before == dag.n_quanta


def test_a_run_says_how_many_tokens_there_are_or_is_refused(here, butler):
    with pytest.raises(ExecutionError, match="nobody said how many there are"):
        here.execute(plan(butler), butler)
    with pytest.raises(ConfigError, match="'a=b' is not a name"):
        here.execute(plan(butler), butler, tags={"a=b": 1}, tokens={"gpu": 1})


def test_a_path_that_leads_out_of_the_quantums_folder_is_refused():
    for wrong in ("../x", "/etc/x", "", "a/../../x"):
        with pytest.raises(ConfigError, match="inside of the quantum's folder"):
            ApplyConfig(notes=wrong)
    with pytest.raises(ExecutionError, match="inside of the quantum's folder"):
        LearnTask().path("../x")
    assert quantum_folder("/r", "run", "a", b"\x01").is_relative_to("/r/.supertask/runs/run")


def test_a_task_called_by_hand_restores_too_and_has_a_folder(monkeypatch):
    monkeypatch.setenv("LICENCE", "none")
    monkeypatch.setenv("SUPERTASK_CACHE", str(LearnTask().call.folder))
    given = {"raw": {"value": 1}, "weights": {"sum": 4}}
    result = runQuantum(ApplyTask(), given, {"visit": 1, "detector": 2})
    assert result.result["value"] == 5


def test_an_init_step_that_reads_what_the_task_has_not_is_named():
    class Wrong(InitStep):
        def restore(self, weight):
            return np.zeros(1)

    with pytest.raises(ConfigError, match="did you mean 'weights'"):
        runQuantum(
            ApplyTask(config=ApplyConfig(model=Wrong)),
            {"raw": {}, "weights": {}},
            {"visit": 1, "detector": 2},
        )


def test_rerun_refuses_what_is_no_job(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "executors.cmdline", "rerun", str(tmp_path)], check=False, capture_output=True
    )
    assert done.returncode == 2
    assert b"is not the folder of a job" in done.stderr
