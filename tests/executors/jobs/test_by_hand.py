"""Bundles that are packed, run and collected by hand, as a batch system without a driver would."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import attrs
import pytest

from executors import InProcessFramework, QuantumStatus, status
from executors.cmdline.main import main
from executors.jobs.bundlefile import read_bundle
from executors.jobs.folder import ExitCode, JobFolder
from executors.jobs.running import run_job
from executors.jobs.warmth import Warmth
from executors.testing.around import _by_visit
from executors.testing.calling import ApplyTask, LearnTask
from executors.testing.survey import RUN, Survey
from graphbuilder import GraphBuilder, ScienceDag
from supertask import Pipeline
from supertask.butler.datastore import Datastore
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "survey", visits=2)


@pytest.fixture
def plan(survey, tmp_path):
    with Butler(survey.root) as butler:
        survey.bundled(butler).save(tmp_path / "plan.h5")
    return str(tmp_path / "plan.h5")


@pytest.fixture
def undisturbed(tmp_path):
    survey = Survey(tmp_path / "undisturbed", visits=2)
    with Butler(survey.root) as butler:
        InProcessFramework().execute(survey.plan(butler), butler)
    return survey.outputs()


def packed(plan, home, *more):
    assert main(["pack", plan, "--to", str(home), "--staged", *more]) == 0
    return sorted(home.iterdir())


def run(folder, *more, **env):
    """Run a job in a process without a home folder, and return its exit code."""
    known = {k: v for k, v in os.environ.items() if k != "HOME"} | env
    words = [sys.executable, "-m", "executors.cmdline", "run-bundle", str(folder), *more]
    return subprocess.run(words, env=known, stdout=subprocess.DEVNULL, check=False).returncode


# A cold job is its imports: what stands here took more than all the rest of one.
UNUSED = """
asyncio astropy csv email h5py http importlib.metadata importlib.resources lark logging.config multiprocessing
numpy psutil random rich shapely sqlalchemy ssl subprocess tempfile yaml zipfile
executors.cmdline.pack executors.driving.driver executors.overheads.layout graphbuilder.dag.file
supertask.conditions supertask.formats.differences supertask.rows supertask.yamlfiles.text
"""
SEEN = f"""
import sys
from executors.cmdline.main import main
code = main(["run-bundle", sys.argv[1]])
print(*(name for name in {UNUSED.split()} if name in sys.modules))
sys.exit(code)
"""


def begin(folder):
    words = [sys.executable, "-m", "executors.cmdline", "run-bundle", str(folder), "--grace", "0.2"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


def until(happened):
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def stands(survey):
    return status(str(survey.root), RUN).counts


def test_bundles_run_with_the_repository_moved_away_and_are_collected(survey, plan, tmp_path, undisturbed):
    folders = packed(plan, tmp_path / "sent")
    away = survey.root.rename(tmp_path / "away")
    carried = [shutil.copytree(f, tmp_path / "node" / f.name) for f in folders]
    assert [run(f) for f in carried] == [0, 0]
    away.rename(survey.root)
    assert main(["collect", plan, "--from", str(tmp_path / "node")]) == 1, "the rest has not run"
    (last,) = packed(plan, tmp_path / "last")
    assert run(last) == 0
    assert main(["collect", plan, "--from", str(last)]) == 0
    assert survey.outputs() == undisturbed
    with Butler(survey.root) as butler:
        assert butler.get("summary", instrument="Cam")["visits"] == 2
    assert not list(survey.root.rglob(".tmp-*"))


def test_a_job_whose_data_are_no_arrays_loads_neither_numpy_nor_yaml_nor_what_else_it_does_not_use(
    plan, tmp_path
):
    first, *_ = packed(plan, tmp_path / "sent")
    done = subprocess.run(
        [sys.executable, "-c", SEEN, str(first)], stdout=subprocess.PIPE, text=True, check=True
    )
    ran, loaded = done.stdout.splitlines()
    assert ran.endswith(": 7 succeeded")
    assert loaded == ""


def test_a_bundle_runs_straight_from_the_plan_where_the_repository_is_seen(survey, plan, undisturbed):
    assert main(["run-bundle", plan, "--bundle", "0"]) == 0
    assert main(["run-bundle", plan, "--bundle", "2"]) == 75, "it waits for the others"
    assert main(["run-bundle", plan, "--bundle", "1"]) == 0
    assert main(["collect", plan]) == 1
    assert main(["run-bundle", plan, "--bundle", "2"]) == 0
    assert main(["collect", plan]) == 0
    assert survey.outputs() == undisturbed


def test_what_was_run_by_hand_a_driver_goes_on_with(survey, plan, undisturbed):
    assert main(["run-bundle", plan, "--bundle", "0"]) == 0
    with Butler(survey.root) as butler:
        assert InProcessFramework().execute(plan, butler).exit_code == 0
    assert len(survey.calls()) == survey.n_quanta
    assert survey.outputs() == undisturbed


def test_what_the_pipeline_says_of_retention_is_heeded_without_a_driver(survey, plan):
    dag = ScienceDag.load(plan)
    said = {**dag.meta.pipeline, "retention": {"flat": "until-used"}}
    dag.meta = attrs.evolve(dag.meta, pipeline=said)
    dag.save(plan)
    for bundle in "012":
        assert main(["run-bundle", plan, "--bundle", bundle]) == 0
    assert [path for path in survey.outputs() if "flat" in path]
    assert main(["collect", plan]) == 0
    assert not [path for path in survey.outputs() if "flat" in path]


def test_the_exit_code_says_that_some_failed_and_the_rest_counts(survey, plan, tmp_path):
    survey.order("stars-0-1", "raise")
    first, _ = packed(plan, tmp_path / "sent")
    assert run(first) == 1
    main(["collect", plan, "--from", str(first)])
    assert stands(survey)[QuantumStatus.FAILED] == 1
    assert stands(survey)[QuantumStatus.SUCCEEDED] == 5


def test_collecting_twice_changes_nothing(survey, plan, tmp_path):
    first, _ = packed(plan, tmp_path / "sent")
    run(first)
    again = shutil.copytree(first, tmp_path / "again")
    main(["collect", plan, "--from", str(first)])
    before, made = stands(survey), survey.outputs()
    assert not first.exists(), "what is taken is cleared away"
    main(["collect", plan, "--from", str(again)])
    assert (stands(survey), survey.outputs()) == (before, made)


def test_a_job_that_ended_does_not_run_again(survey, plan, tmp_path):
    first, _ = packed(plan, tmp_path / "sent")
    assert [run(first), run(first)] == [0, 0]
    assert len(survey.calls()) == len(set(survey.calls())) == 7


@pytest.mark.parametrize(
    ("host", "warm", "sees"), [("", True, False), ("elsewhere", True, True), ("", False, True)]
)
def test_whoever_alone_can_sees_to_it_that_outputs_outlive_the_machine(
    plan, tmp_path, monkeypatch, host, warm, sees
):
    folder = packed(plan, tmp_path / "sent")[0]
    seen = []
    monkeypatch.setattr(Datastore, "sync", lambda _, locations: seen.extend(locations))
    if host:
        monkeypatch.setattr("socket.gethostname", lambda: host)
    assert run_job(folder, warmth=Warmth() if warm else None).code is ExitCode.SUCCEEDED
    assert bool(seen) is sees, "the driver of a warm job on his own machine does so before he registers them"


def test_a_preempted_job_gives_back_what_did_not_finish(survey, plan, tmp_path):
    survey.order("galaxies-0-0", "1 times hang")
    first, _ = packed(plan, tmp_path / "sent")
    job = begin(first)
    until(lambda: "galaxies-0-0" in survey.calls())
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == ExitCode.AGAIN
    said = json.loads((first / "done.json").read_text())
    assert said["counts"]["cancelled"] == 1
    assert run(first) == 0, "put back in its queue it does the rest"
    assert survey.calls().count("galaxies-0-0") == 2
    assert survey.calls().count("flatten-0-0") == 1


@pytest.mark.parametrize("victim", ["flatten-0-1", "stars-0-0", "merge-0"])
def test_a_job_that_is_killed_goes_on_in_its_folder(survey, plan, tmp_path, victim, undisturbed):
    survey.order(victim, "1 times hang")
    first, second = packed(plan, tmp_path / "sent")
    job = begin(first)
    until(lambda: victim in survey.calls())
    job.kill()
    job.wait()
    assert run(first) == run(second) == 0
    assert survey.calls().count(victim) == 2
    assert len(survey.calls()) == 15
    main(["collect", plan, "--from", str(tmp_path / "sent")])
    with Butler(survey.root) as butler:
        assert InProcessFramework().execute(plan, butler).exit_code == 0
    assert survey.outputs() == undisturbed


def test_a_killed_job_is_collected_as_far_as_it_came(survey, plan, tmp_path):
    survey.order("merge-0", "hang")
    first, _ = packed(plan, tmp_path / "sent")
    job = begin(first)
    until(lambda: "merge-0" in survey.calls())
    assert main(["collect", plan, "--from", str(first)]) == 1
    assert stands(survey)[QuantumStatus.SUCCEEDED] == 6
    job.kill()
    job.wait()
    assert first.exists(), "it has not ended: the same may be run again"


@pytest.mark.parametrize("moment", range(6))
def test_a_collector_that_is_killed_goes_on(survey, plan, tmp_path, moment, undisturbed):
    for folder in packed(plan, tmp_path / "sent"):
        run(folder)
    code = f"""
import os, sys
from executors.jobs import gathering
calls = []
def dying(real):
    def call(*arguments):
        calls.append(1)
        if len(calls) == {3 * moment + 1}:
            os._exit(9)
        return real(*arguments)
    return call
os.replace, os.link = dying(os.replace), dying(os.link)
from executors.cmdline.main import main
sys.exit(main(sys.argv[1:]))
"""
    words = ["collect", plan, "--from", str(tmp_path / "sent")]
    subprocess.run([sys.executable, "-c", code, *words], check=False)
    main(words)
    assert stands(survey)[QuantumStatus.SUCCEEDED] == 14
    with Butler(survey.root) as butler:
        assert InProcessFramework().execute(plan, butler).exit_code == 0
    assert len(survey.calls()) == survey.n_quanta
    assert survey.outputs() == undisturbed


def test_outputs_that_a_file_system_shows_late_are_waited_for(survey, plan, tmp_path, undisturbed):
    first, _ = packed(plan, tmp_path / "sent")
    run(first)
    (late,) = first.rglob("merged_Cam_0.json")
    hidden = late.rename(tmp_path / "hidden.json")
    words = [sys.executable, "-m", "executors.cmdline", "collect", plan, "--from", str(first), "--late", "20"]
    collector = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    time.sleep(2)
    hidden.rename(late)
    collector.wait(60)
    assert survey.outputs()["merged/Cam/merged_Cam_0.json"] == undisturbed["merged/Cam/merged_Cam_0.json"]
    assert stands(survey)[QuantumStatus.SUCCEEDED] == 7


def test_a_piece_of_another_run_is_not_taken(survey, plan, tmp_path, capsys):
    other = Survey(tmp_path / "other", visits=2)
    with Butler(other.root) as butler:
        other.bundled(butler).save(tmp_path / "other.h5")
    theirs, _ = packed(str(tmp_path / "other.h5"), tmp_path / "theirs")
    run(theirs)
    main(["collect", plan, "--from", str(theirs)])
    assert "it is of another plan" in capsys.readouterr().err
    assert not stands(survey).get(QuantumStatus.SUCCEEDED)
    assert theirs.exists()


def test_a_damaged_bundle_is_refused(plan, tmp_path, capsys):
    first, _ = packed(plan, tmp_path / "sent")
    file = first / "bundle.json"
    file.write_bytes(file.read_bytes().replace(b"flatten", b"flattem", 1))
    assert main(["run-bundle", str(first)]) == 2
    assert "truncated or altered" in capsys.readouterr().err
    file.write_text("{}")
    with pytest.raises(ExecutionError, match="is not a bundle"):
        read_bundle(file)


def test_a_job_that_was_taken_back_does_not_begin(plan, tmp_path, capsys):
    first, _ = packed(plan, tmp_path / "sent")
    JobFolder(first).bundle.unlink()
    assert main(["run-bundle", str(first)]) == 2
    assert "taken back" in capsys.readouterr().err


def test_bundles_that_are_packed_by_hand_have_what_hooks_say_and_nobody_counts_tokens(
    survey, tmp_path, capsys
):
    with Butler(survey.root) as butler:
        pipeline = (
            Pipeline().add("learn", LearnTask).add("apply", ApplyTask, {"calls": str(tmp_path / "noted")})
        )
        made = GraphBuilder(pipeline, butler, RUN, collections=["raw"]).makeGraph()
        InProcessFramework().execute(made.subset(labels=["learn"]), butler)
        _by_visit(made).save(tmp_path / "plan.h5")
    folders = packed(str(tmp_path / "plan.h5"), tmp_path / "sent")
    assert "no more of them run at once than there are of 'licence'" in capsys.readouterr().err
    assert [run(folder) for folder in folders] == [0, 0]
    assert main(["collect", str(tmp_path / "plan.h5"), "--from", str(tmp_path / "sent")]) == 0
    with Butler(survey.root) as butler:
        result = butler.get("result", instrument="Cam", visit=1, detector=1)
    assert (result["licence"], result["tags"]["order"]) == ("host:27000", 2)
    assert len(list((survey.root / ".supertask/runs" / RUN / "quanta/apply").rglob("run.txt"))) == 4


def test_a_repository_that_was_moved_is_said_where_it_is_or_put_back(survey, plan, tmp_path, capsys):
    now = survey.root.rename(tmp_path / "now")
    for words, way in (
        (["pack", plan], "say where it is with --repo"),
        (["collect", plan], "say where it is with --repo"),
        (["run-bundle", plan, "--bundle", "0"], "put it back"),
        (["batch", plan, "--missing"], "put it back"),
    ):
        assert main(words) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "is not there; if it was moved, " + way in said
    jobs = packed(plan, tmp_path / "sent", "--repo", str(now))
    assert [run(job) for job in jobs] == [0, 0]
    assert main(["collect", plan, "--from", str(tmp_path / "sent"), "--repo", str(now)]) == 1
    with Butler(now) as butler:
        assert len(butler.query("merged", collections=[RUN])) == 2


def test_a_plan_without_bundles_says_how_to_make_some(survey, tmp_path, capsys):
    with Butler(survey.root) as butler:
        survey.plan(butler).save(tmp_path / "bare.h5")
    assert main(["pack", str(tmp_path / "bare.h5")]) == 2
    assert "supertask batch" in capsys.readouterr().err


def test_a_bundle_that_there_is_not_is_refused(plan, capsys):
    assert main(["run-bundle", plan, "--bundle", "7"]) == 2
    assert "the plan has 0 to 2" in capsys.readouterr().err
    assert main(["run-bundle", plan]) == 2
