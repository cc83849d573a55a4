"""The contract of ExecutionFrameworks, as far as it is about what surrounds calls: the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.events import Event, QuantumProgressed
from executors.testing.calling import ApplyTask, LearnTask
from executors.testing.survey import RUN, Survey
from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Bundling
from supertask.butler.repository import Butler
from supertask.pipelines.pipeline import Pipeline

__all__ = ["SurroundingsContract"]

_STAY = {"job.sh", "parameters.json", "status.json", "stdout", "stderr"}


class SurroundingsContract:
    """Situations in which tasks ask for what surrounds their calls; a part of `FrameworkContract`."""

    def test_a_call_has_tags_environment_state_folder_and_cache(
        self, run: Any, survey: Survey, butler: Butler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOOKED", str(tmp_path / "hooked"))
        report = run(plan=_plan(survey, butler), tags={"paper": 3}, tokens={"licence": 2})
        assert report.exit_code == 0, report.failures
        results = [butler.get(d) for d in butler.query("result", collections=[RUN])]
        assert len(results) == survey.visits * survey.detectors
        assert {r["licence"] for r in results} == {"host:27000"}
        assert results[0]["tags"] == {"paper": 3, "stage": "training", "order": 2}
        assert [r["table"] for r in results] == [[0, 1, 2]] * len(results)
        assert butler.get("result", instrument="Cam", visit=1, detector=0)["value"] == 11 + (1 + 11 + 21)
        assert (tmp_path / "hooked").read_text() == "x", "a hook is asked once for a task"
        notes = [p.read_text() for p in _folder(survey, "quanta/apply").rglob("run.txt")]
        assert notes == ["attempt 1\n"] * len(results)
        assert len(list((survey.root / ".supertask/cache").rglob("*.json"))) == 1

    def test_what_tasks_say_of_their_progress_is_told(self, run: Any, survey: Survey, butler: Butler) -> None:
        events: list[Event] = []
        run(plan=_plan(survey, butler), tokens={"licence": 2}, listeners=[events.append])
        told = [e for e in events if isinstance(e, QuantumProgressed)]
        assert {(e.label, e.fraction, e.message) for e in told} == {("learn", 0.4, "fitting")}
        assert len(told) == survey.detectors

    def test_no_more_quanta_than_there_are_tokens_run_at_once(
        self, run: Any, survey: Survey, butler: Butler
    ) -> None:
        assert run(plan=_plan(survey, butler), tokens={"licence": 1}).exit_code == 0
        said = [line for line in _calls(survey) if line != "computed"]
        assert said == ["begin", "end"] * (survey.visits * survey.detectors)

    def test_bundles_hold_tokens_as_quanta_do(self, run: Any, survey: Survey, butler: Butler) -> None:
        report = run(plan=_by_visit(_plan(survey, butler)), tokens={"licence": 1})
        assert report.exit_code == 0, report.failures
        said = [line for line in _calls(survey) if line != "computed"]
        assert said == ["begin", "end"] * (survey.visits * survey.detectors)

    def test_the_folder_of_a_quantum_outlives_its_attempts(
        self, run: Any, survey: Survey, butler: Butler
    ) -> None:
        plan = _plan(survey, butler, stumbles=True)
        report = run(plan=plan, tokens={"licence": 2}, policies={"*": {"delay": 0.0}})
        assert report.exit_code == 0, report.failures
        notes = [p.read_text() for p in _folder(survey, "quanta/apply").rglob("run.txt")]
        assert notes == ["attempt 1\nattempt 2\n"] * (survey.visits * survey.detectors)

    def test_each_attempt_of_a_bundle_has_a_folder_of_its_own(
        self, run: Any, survey: Survey, butler: Butler
    ) -> None:
        plan = _by_visit(_plan(survey, butler, stumbles=True))
        policies = {"apply": {"retries.transient": 0}}
        more = {"tokens": {"licence": 2}, "job_folders": True, "policies": policies}
        assert run(plan=plan, **more).exit_code == 1
        homes = [h for h in sorted(_folder(survey, "jobs").glob("bundle-*")) if _says(h, 1, "apply")]
        assert len(homes) == survey.visits
        before = [_contents(home / "attempt-001") for home in homes]
        for home, (visit, each) in zip(homes, enumerate(before), strict=True):
            assert each.keys() == _STAY
            assert each["stdout"] == f"applies to {10 * visit + 1}\napplies to {10 * visit + 2}\n"
            status = json.loads(each["status.json"])
            assert (status["state"], set(status["quanta"].values())) == ("ended", {"failed"})
            described = json.loads(each["parameters.json"])
            assert described["environ"] == {"LICENCE": "host:27000"}
            assert described["repository"] == str(survey.root)
            assert str(home / "attempt-001") in each["job.sh"]
        assert run(plan=plan, **more).exit_code == 0
        assert [_contents(home / "attempt-001") for home in homes] == before
        assert [_says(home, 2, "succeeded") for home in homes] == [True] * len(homes)


def _plan(survey: Survey, butler: Butler, *, stumbles: bool = False) -> ScienceDag:
    pipeline = Pipeline("Learn and apply.").add("learn", LearnTask)
    pipeline.add("apply", ApplyTask, {"calls": str(_noted(survey)), "stumbles": stumbles})
    return GraphBuilder(pipeline, butler, RUN, collections=["raw"]).makeGraph()


def _by_visit(plan: ScienceDag) -> ScienceDag:
    """Return the plan with a bundle for each visit, and one for what has none."""
    members: dict[Any, list[int]] = {}
    for q, quantum in enumerate(plan.quanta):
        members.setdefault(dict(quantum.dataId or ()).get("visit", -1), []).append(q)
    groups = [members[key] for key in sorted(members)]
    ends = np.cumsum([0, *map(len, groups)]).astype(np.int64)
    return plan.with_bundling(
        Bundling("by visit", ends, np.array([q for each in groups for q in each], np.int32))
    )


def _noted(survey: Survey) -> Path:
    return survey.orders / "noted"


def _calls(survey: Survey) -> list[str]:
    return _noted(survey).read_text().split()


def _folder(survey: Survey, name: str) -> Path:
    return survey.root / ".supertask" / "runs" / RUN / name


def _contents(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir()}


def _says(home: Path, attempt: int, what: str) -> bool:
    folder = home / f"attempt-{attempt:03d}"
    return what in (folder / "parameters.json").read_text() + (folder / "status.json").read_text()
