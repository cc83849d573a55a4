"""What a job asks of its engine by what its tasks were measured to need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from executors.condor.site import CondorSite
from executors.jobs.enginejobs import Job, Measured
from executors.slurm.controller import Controller, Known
from executors.slurm.framework import SlurmFramework
from executors.slurm.site import SlurmSite
from executors.testing.survey import Survey
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.requests import Need
from supertask.butler.repository import Butler

ROOM = 1 << 30


class Noting(Controller):
    """A cluster that takes jobs, notes what they ask for, and never begins them."""

    asked: ClassVar[list[str]] = []

    def submit(self, arguments: Sequence[str], script: str) -> str:
        self.asked.append(" ".join(word for word in arguments if word.startswith(("--mem", "--time"))))
        return "1"

    def known(self, names: Iterable[str]) -> list[Known]:
        return []

    @property
    def largest_array(self) -> int:
        return 1000


@pytest.fixture
def survey(tmp_path: Path) -> Survey:
    return Survey(tmp_path / "survey")


@pytest.fixture
def butler(survey: Survey) -> Iterator[Butler]:
    with Butler(survey.root) as butler:
        yield butler


def asked(plan: ScienceDag, butler: Butler, site: SlurmSite, **options: Any) -> set[str]:
    Noting.asked.clear()
    SlurmFramework(controller=Noting(), detached=True, site=site).execute(plan, butler, **options)
    return set(Noting.asked)


def measured(plan: ScienceDag, **seconds: float) -> ScienceDag:
    """Return a plan whose tasks were measured, each quantum to take so many seconds."""
    needs = {label: Need(0.0, each, 0.0, each, ROOM, 0.95).plain() for label, each in seconds.items()}
    bundling = plan.bundling(None)
    assert bundling is not None
    return plan.with_bundling(attrs.evolve(bundling, name="measured", about={"needs": needs}))


EACH = {"flatten": 600.0, "stars": 600.0, "galaxies": 600.0, "merge": 60.0, "summary": 60.0}


def test_long_bundles_ask_for_the_time_and_memory_that_their_tasks_were_measured_to_need(
    survey: Survey, butler: Butler
) -> None:
    plan = survey.bundled(butler)
    site = SlurmSite(minutes=60, memory=500)
    assert asked(plan, butler, site) == {"--mem=500M --time=65"}
    found = asked(measured(plan, **EACH), butler, site)
    # Seven quanta of a visit take 61 minutes, and twice that is asked for; the summary takes two.
    assert found == {"--mem=1536M --time=135", "--mem=1536M --time=65"}


def test_where_a_task_was_not_measured_the_site_says_it_all(survey: Survey, butler: Butler) -> None:
    plan = measured(survey.bundled(butler), flatten=6000.0)
    assert asked(plan, butler, SlurmSite(minutes=60, memory=500)) == {"--mem=500M --time=65"}


def test_limits_of_tasks_go_before_what_was_measured(survey: Survey, butler: Butler) -> None:
    plan = measured(survey.bundled(butler), **EACH)
    limits = {"*": {"timeout": 60.0, "memory": "100 MB"}}
    found = asked(plan, butler, SlurmSite(minutes=60, memory=500), policies=limits)
    assert {word.split()[0] for word in found} == {"--mem=296M"}
    assert all(int(word.split("--time=")[1]) < 60 for word in found)


def test_condor_is_asked_for_as_much_and_a_job_without_a_limit_has_none(tmp_path: Path) -> None:
    job = Job(
        name="b0", folder=tmp_path, command=("true",), quanta=1, labels=(),
        measured=Measured(memory=2 * ROOM, seconds=7200.0),
    )  # fmt: skip
    assert "request_memory = 2048" in CondorSite(memory=500).asked(job)
    assert "allowed_execute_duration = 7500" in CondorSite(minutes=60).asked(job)
    assert not [line for line in CondorSite().asked(job) if "duration" in line]


def test_a_long_bundle_is_not_given_to_a_pilot_that_ends_before(tmp_path: Path) -> None:
    job = Job(
        name="b0", folder=tmp_path, command=("true",), quanta=1, labels=(),
        measured=Measured(memory=1, seconds=6 * 3600.0),
    )  # fmt: skip
    assert not SlurmSite(pilot_minutes=240).fits_a_pilot(job)
    assert SlurmSite(pilot_minutes=600).fits_a_pilot(job)
    assert SlurmSite(pilot_minutes=30).fits_a_pilot(
        attrs.evolve(job, measured=Measured(memory=1, seconds=600.0))
    )
