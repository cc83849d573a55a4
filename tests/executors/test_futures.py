"""What is the same for all engines that call functions and return futures, on threads of this process."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from executors import InProcessFramework
from executors.batch import Job
from executors.events import QuantumStarted
from executors.futures import errand
from executors.futures.children import Children, Manner
from executors.futures.framework import FuturesFramework
from executors.futures.site import DaskSite, ParslSite, made_by
from executors.host.processes import is_alive
from executors.testing.survey import Survey
from supertask.butler.repository import Butler
from supertask.errors import ConfigError, ExecutionError


class LostError(Exception):
    pass


class Threads(FuturesFramework):
    """The smallest engine of this kind."""

    engine = "Threads"

    def __init__(self, jobs: Path | None = None, **options: Any) -> None:
        super().__init__(jobs, **{"late": 1.0, **options})
        self.most = 0
        self.why_closed = ""
        self.answers: dict[str, Any] = {}
        """Name of a job's quantum or bundle → what comes of its call instead."""
        self._open: set[Future[str]] = set()
        self._pool: ThreadPoolExecutor | None = None

    def open(self, folder: Path) -> None:
        self._pool = ThreadPoolExecutor(2)

    def call(self, job: Job, *arguments: str) -> Future[str]:
        future = self._pool.submit(self._answer, job.name, *arguments)
        self._open = {f for f in self._open if not f.done()} | {future}
        self.most = max(self.most, len(self._open))
        return future

    def _answer(self, name: str, *arguments: str) -> str:
        answer = self.answers.get(name.partition("-")[0], errand.run)
        if isinstance(answer, Exception):
            raise answer
        return answer(*arguments)

    def closed(self) -> str:
        return self.why_closed

    def is_loss(self, error: BaseException) -> bool:
        return isinstance(error, LostError)

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "survey", visits=2, detectors=2)


@pytest.fixture
def butler(survey):
    with Butler(survey.root) as butler:
        yield butler


def manner(**more: Any) -> str:
    return Manner(session="s", **more).to_text()


def test_the_engine_has_no_more_calls_at_once_than_there_are_slots(survey, butler):
    engine = Threads(slots=3)
    assert engine.execute(survey.plan(butler), butler, policies={}).exit_code == 0
    assert 1 <= engine.most <= 3


def test_a_job_that_is_called_for_twice_runs_once(survey, butler):
    def twice(*arguments):
        return errand.run(*arguments) and errand.run(*arguments)

    engine = Threads()
    engine.answers = {f"n{q}": twice for q in range(survey.n_quanta)}
    assert engine.execute(survey.plan(butler), butler).exit_code == 0
    assert len(survey.calls()) == survey.n_quanta


def test_a_lost_worker_is_tried_again_as_a_disturbance_from_outside(survey, butler):
    """Its child goes with it, in the middle of a quantum."""
    survey.order("merge-1", "1 times kill")

    def lost(*arguments):
        errand.run(*arguments)
        if survey.calls().count("merge-1") == 1:
            raise LostError
        return errand.Ended(0).to_text()

    engine = Threads()
    engine.answers = {f"n{q}": lost for q in range(survey.n_quanta)}
    report = engine.execute(survey.plan(butler), butler, policies={"*": {"delay": 0.0, "retries.killed": 0}})
    assert report.exit_code == 0
    assert survey.calls().count("merge-1") == 2


def test_workers_that_lack_our_software_are_found_out_at_the_first_job(survey, butler):
    engine = Threads()
    engine.answers = {"n0": ModuleNotFoundError("No module named 'executors'")}
    with pytest.raises(ExecutionError, match="workers of Threads cannot run jobs: .*No module named"):
        engine.execute(survey.plan(butler), butler)
    assert InProcessFramework().execute(survey.plan(butler), butler).exit_code == 0


def test_another_version_of_ours_on_workers_is_found_out_at_the_first_job(survey, butler, monkeypatch):
    from executors.jobs import sheafwriting

    monkeypatch.setattr(sheafwriting, "FORMAT", 77)
    with pytest.raises(ExecutionError, match="is of format 77, .* use the same version"):
        Threads().execute(survey.plan(butler), butler)
    monkeypatch.undo()
    assert InProcessFramework().execute(survey.plan(butler), butler).exit_code == 0


def test_an_interpreter_that_is_not_there_is_told_of_at_the_first_job(survey, butler):
    with pytest.raises(ExecutionError, match="could not begin .* /nowhere/python cannot be started"):
        Threads(python="/nowhere/python").execute(survey.plan(butler), butler)


def test_an_interpreter_without_our_software_is_told_of_at_the_first_job(survey, butler, tmp_path):
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    with pytest.raises(ExecutionError, match="before it was up .*does .* have SuperTask"):
        Threads(python=str(bare)).execute(survey.plan(butler), butler)


def test_an_engine_that_is_closed_midway_ends_the_run_and_loses_nothing(survey, butler):
    engine = Threads(slots=1)

    def close(event):
        if isinstance(event, QuantumStarted):
            engine.why_closed = "somebody closed it"

    with pytest.raises(ExecutionError, match="takes no more jobs: somebody closed it.*goes on"):
        engine.execute(survey.plan(butler), butler, listeners=[close])
    assert InProcessFramework().execute(survey.plan(butler), butler).exit_code == 0
    assert len(survey.calls()) == survey.n_quanta


def test_what_was_withdrawn_before_it_began_never_begins(tmp_path):
    job = tmp_path / "n0"
    job.mkdir()
    assert errand.claim(job)
    ended = errand.Ended.from_text(errand.run(str(job), manner()))
    assert ended.begun_before
    assert ended.code is None


def test_a_folder_that_is_not_seen_is_said(tmp_path):
    ended = errand.Ended.from_text(errand.run(str(tmp_path / "nowhere" / "n0"), manner()))
    assert "is not seen on" in ended.said


def test_a_job_that_another_driver_takes_back_is_ended(survey, butler):
    """As after a driver was killed whose workers live on."""
    survey.order("flatten-0-0", "hang")
    engine = Threads()

    def drive():
        # What its driver, which is not told, makes of it is not looked at.
        with suppress(ExecutionError), Butler(survey.root) as own:
            engine.execute(survey.plan(own), own)

    thread = threading.Thread(target=drive)
    thread.start()
    until = time.monotonic() + 60
    while "flatten-0-0" not in survey.calls():
        assert time.monotonic() < until
        time.sleep(0.02)
    begun = time.monotonic()
    for slots in survey.root.rglob("jobs/.sheaves/*.open"):
        slots.unlink()
    thread.join(60)
    assert time.monotonic() - begun < 50, "well before the quantum would have ended"


def test_children_are_kept_for_the_same_session_alone():
    children = Children()
    with children.lent(Manner("one")) as first:
        first.start()
    with children.lent(Manner("one")) as again:
        assert again is first
    with children.lent(Manner("two")) as other:
        assert other is not first
        assert first.pid is None, "it ended"
        other.stop()


def test_children_of_a_session_that_is_over_end():
    children = Children()
    with children.lent(Manner("one")) as idle:
        idle.start()
    with children.lent(Manner("one")) as other:
        children.dismiss("two")
        assert other.pid is not None
        children.dismiss("one")
        assert other.pid is not None, "it works"
    assert other.pid is None


def test_children_that_have_nothing_to_do_end():
    children = Children(idle=0.2)
    with children.lent(Manner("one")) as child:
        child.start()
        pid = child.pid
    until = time.monotonic() + 60
    while is_alive(pid):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_sites_name_what_makes_clusters(tmp_path, monkeypatch):
    (tmp_path / "oursite.py").write_text("config = 'made'\ndef cluster():\n    return 7\ndef bad(): 1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert made_by("oursite:config") == "made"
    assert made_by("oursite:cluster") == 7
    for path, said in [
        ("oursite", "names no function"),
        ("oursite:clustr", "did you mean 'cluster'"),
        ("oursite:bad", "ZeroDivisionError"),
        ("nosuchsite:config", "cannot be imported"),
    ]:
        with pytest.raises(ConfigError, match=said):
            made_by(path)


def test_mistakes_in_a_sites_file_are_named(tmp_path):
    file = tmp_path / "site.yaml"
    file.write_text("schedular: tcp://host:8786\n")
    with pytest.raises(ConfigError, match="did you mean 'scheduler'"):
        DaskSite.load(file)
    file.write_text("scheduler: tcp://host:8786\ncluster: oursite:cluster\n")
    with pytest.raises(ConfigError, match="not both"):
        DaskSite.load(file)
    file.write_text("config: oursite:config\n")
    assert ParslSite.load(file).config == "oursite:config"


def test_leash_ends_its_program_with_the_process_that_holds_it(tmp_path):
    import subprocess
    import sys

    holder = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note = tmp_path / "pid"
    program = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    leash = subprocess.Popen(
        [sys.executable, "-m", "executors.testing.leash", str(holder.pid), sys.executable, "-c", program],
        cwd=os.getcwd(),
    )
    until = time.monotonic() + 60
    while not note.exists() or not note.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    holder.kill()  # and nobody collects it yet
    assert leash.wait(60) != 0
    holder.wait()
    assert not is_alive(int(note.read_text()))
