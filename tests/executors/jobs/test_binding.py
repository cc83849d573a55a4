"""What a job that was submitted before others had run finds out of these when it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.jobs import binding
from executors.jobs.bundlefile import read_job
from executors.jobs.folder import JobFolder
from executors.jobs.settling import folder_for, names_in
from executors.slurm.controller import Controller
from executors.slurm.framework import SlurmFramework
from executors.testing.survey import Survey
from graphbuilder.batcher import QuantumBatcher
from supertask.butler.repository import Butler


class Clock:
    """Time that passes while somebody sleeps, and not otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Taking(Controller):
    """A cluster that takes jobs and never begins them."""

    def submit(self, arguments: object, script: str) -> str:
        return "1"

    @property
    def largest_array(self) -> int:
        return 1000


def test_jobs_that_never_began_are_waited_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = Survey(tmp_path / "survey", visits=5)
    with Butler(survey.root) as butler:
        plan = QuantumBatcher(max_quanta=2).batch(survey.plan(butler))
        SlurmFramework(controller=Taking(), detached=True).execute(plan, butler)
        home = folder_for(plan, butler)
    bundles = {name: read_job(JobFolder(home / name)) for name in names_in(home)}
    name, bundle = max(bundles.items(), key=lambda each: len(each[1].said.get("after", ())))
    assert len(bundle.said["after"]) >= 3
    clock = Clock()
    monkeypatch.setattr(binding, "time", clock)
    assert binding.bind(bundle, home / name, 30.0) == len(bundle.said["quanta"])
    assert 30.0 <= clock.now < 31.0
