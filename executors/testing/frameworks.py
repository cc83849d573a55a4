"""The contract of ExecutionFrameworks: one situation after another, the same for each of them.

Subclass it with pytest; `make` returns a new framework. What a framework cannot do by its nature it says by
class attributes.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.batch import BatchFramework
from executors.events import (
    BundleEnded,
    BundleStarted,
    Event,
    QuantaBlocked,
    QuantumEnded,
    QuantumStarted,
    Registered,
    RunFinished,
    RunStarted,
)  # fmt: skip
from executors.inprocess import InProcessFramework
from executors.journal.replay import replay
from executors.journal.report import Report, status
from executors.journal.runfolder import RunFolder
from executors.outcome import QuantumStatus
from executors.port import ExecutionFramework
from executors.testing.around import SurroundingsContract
from executors.testing.survey import DRIVE, RUN, Survey
from supertask.butler.repository import Butler
from supertask.errors import ExecutionError

__all__ = ["FrameworkContract"]

SUCCEEDED, NO_WORK, FAILED, BLOCKED, CANCELLED = (
    QuantumStatus.SUCCEEDED, QuantumStatus.NO_WORK, QuantumStatus.FAILED, QuantumStatus.BLOCKED,
    QuantumStatus.CANCELLED,
)  # fmt: skip
_AT_ONCE = {"*": {"delay": 0.0}}


class FrameworkContract(SurroundingsContract):
    """What every framework must master."""

    survives_killed_workers = True
    """Whether a task that kills its process leaves the framework alive."""
    follows_jobs = False
    """Whether what a killed driver had begun goes on, so that the next one need not begin it again."""
    patience = 60.0
    """Seconds in which a run of this size must have got somewhere."""

    def make(self, tmp_path: Path) -> ExecutionFramework:
        """Return a new framework; called again, one that could go on where the other ended."""
        raise NotImplementedError

    # -- what tests are made with -------------------------------------------------------------

    @pytest.fixture
    def framework(self, tmp_path: Path) -> ExecutionFramework:
        """Make a new framework."""
        return self.make(tmp_path)

    @pytest.fixture
    def survey(self, tmp_path: Path) -> Survey:
        """Make a survey of three visits with two detectors."""
        return Survey(tmp_path / "survey")

    @pytest.fixture
    def butler(self, survey: Survey) -> Iterator[Butler]:
        """Open its repository."""
        with Butler(survey.root) as butler:
            yield butler

    @pytest.fixture
    def run(self, framework: ExecutionFramework, survey: Survey, butler: Butler) -> Callable[..., Report]:
        """Call it to run the survey's plan, or what is left of it."""

        def run(**more: Any) -> Report:
            return framework.execute(more.pop("plan", None) or survey.plan(butler), butler, **more)

        return run

    @pytest.fixture
    def undisturbed(self, tmp_path: Path) -> dict[str, bytes]:
        """Return what a run in process makes, where nothing is in its way."""
        survey = Survey(tmp_path / "undisturbed")
        with Butler(survey.root) as butler:
            InProcessFramework().execute(survey.plan(butler), butler)
        return survey.outputs()

    # -- all is well --------------------------------------------------------------------------

    def test_a_diamond_is_run_and_makes_what_a_run_in_process_makes(
        self, run: Any, survey: Survey, undisturbed: dict[str, bytes]
    ) -> None:
        report = run()
        assert report.exit_code == 0
        assert report.counts == {SUCCEEDED: survey.n_quanta}
        assert survey.outputs() == undisturbed
        assert not list(survey.root.rglob(".tmp-*"))

    def test_every_quantum_runs_once(self, run: Any, survey: Survey) -> None:
        run()
        assert len(survey.calls()) == len(set(survey.calls())) == survey.n_quanta

    def test_a_quantum_runs_after_all_that_it_depends_on(self, run: Any, survey: Survey) -> None:
        run()
        at = {name: n for n, name in enumerate(survey.calls())}
        for v in range(survey.visits):
            for d in range(survey.detectors):
                for side in ("stars", "galaxies"):
                    assert (
                        at[f"flatten-{v}-{d}"] < at[f"{side}-{v}-{d}"] < at[f"merge-{v}"] < at["summary-Cam"]
                    )

    def test_a_wide_gather_reads_everything(self, framework: ExecutionFramework, tmp_path: Path) -> None:
        wide = Survey(tmp_path / "wide", visits=40, detectors=1)
        with Butler(wide.root) as butler:
            framework.execute(wide.plan(butler), butler)
            assert butler.get("summary", instrument="Cam")["visits"] == 40

    def test_outputs_are_registered_as_the_plan_has_them(
        self, run: Any, survey: Survey, butler: Butler
    ) -> None:
        plan = survey.plan(butler)
        report = run(plan=plan)
        assert report.unregistered == 0
        record = plan.record(plan.find_quantum("merge", visit=1, instrument="Cam"))
        for datasets in record.quantum.outputs.values():
            for dataset in datasets:
                assert butler.locate(dataset, collections=[RUN]).identity == record.identities[dataset]
                butler.verify(dataset)

    def test_a_plan_in_a_file_is_run(self, run: Any, survey: Survey, butler: Butler, tmp_path: Path) -> None:
        survey.plan(butler).save(tmp_path / "plan.h5")
        assert run(plan=tmp_path / "plan.h5").exit_code == 0

    def test_what_each_attempt_used_is_measured(self, run: Any, survey: Survey) -> None:
        survey.order("stars-1-1", "sleep 0.3")
        events: list[Event] = []
        run(listeners=[events.append])
        attempts = {e.attempt.index: e.attempt for e in _of(QuantumEnded, events)}
        assert len(attempts) == survey.n_quanta
        slept = [a for a in attempts.values() if a.metadata == {"stars": {"order": "sleep 0.3"}}]
        assert len(slept) == 1
        assert slept[0].wall > 0.3 > slept[0].cpu
        assert all(
            a.host and a.pid and a.peak_memory > 1e6 and a.end >= a.start > 0 for a in attempts.values()
        )
        assert all(a.bytes_read and a.bytes_written for a in attempts.values())

    def test_what_a_task_logs_is_kept(self, run: Any, survey: Survey) -> None:
        run()
        assert "works on flatten-2-1" in _log(survey, "flatten", visit=2, detector=1)

    # -- events -------------------------------------------------------------------------------

    def test_events_come_once_for_each_attempt_and_in_order(self, run: Any, survey: Survey) -> None:
        survey.order("stars-0-0", "raise")
        events: list[Event] = []
        report = run(listeners=[events.append])
        started, ended = _of(QuantumStarted, events), _of(QuantumEnded, events)
        assert len({e.index for e in started}) == len(started) == len(ended) == survey.n_quanta - 2
        for e in started:
            (its_end,) = [x for x in ended if x.attempt.index == e.index]
            assert events.index(e) < events.index(its_end)
        assert isinstance(events[0], RunStarted)
        assert events[-1] == RunFinished(report)
        assert [e.counts for e in _of(QuantaBlocked, events)] == [{"merge": 1, "summary": 1}]
        assert sum(e.datasets for e in _of(Registered, events)) == report.registered

    def test_a_listener_that_raises_hurts_nothing(self, run: Any) -> None:
        def broken(_: Event) -> None:
            raise RuntimeError("no screen")

        report = run(listeners=[broken])
        assert report.exit_code == 0
        assert "no screen" in report.problems[0]

    # -- failures -----------------------------------------------------------------------------

    def test_a_failed_quantum_blocks_what_depends_on_it_and_nothing_else(
        self, run: Any, survey: Survey
    ) -> None:
        survey.order("stars-0-0", "raise")
        report = run()
        assert report.exit_code == 1
        assert report.counts == {SUCCEEDED: survey.n_quanta - 3, FAILED: 1, BLOCKED: 2}
        assert not (survey.root / RUN / "star_list/Cam/0/star_list_Cam_0_0.json").exists()

    def test_the_report_says_what_failed_and_where(self, run: Any, survey: Survey) -> None:
        survey.order("stars-0-0", "raise")
        (group,) = run().failures
        assert (group.label, group.exception, group.message) == ("stars", "ValueError", "the sky was cloudy")
        assert group.dataIds[0] == {"instrument": "Cam", "visit": 0, "detector": 0}
        assert "_obey" in group.traceback

    def test_a_task_that_calls_exit_fails_alone(self, run: Any, survey: Survey) -> None:
        survey.order("galaxies-2-1", "exit")
        assert run().counts == {SUCCEEDED: survey.n_quanta - 3, FAILED: 1, BLOCKED: 2}

    def test_a_killed_worker_fails_what_it_ran_and_nothing_else(self, run: Any, survey: Survey) -> None:
        self._needs_survival()
        survey.order("stars-1-0", "kill")
        report = run()
        assert report.counts == {SUCCEEDED: survey.n_quanta - 3, FAILED: 1, BLOCKED: 2}
        assert report.failures[0].kind == "killed"

    def test_a_killed_worker_is_tried_again_where_its_task_says_so(
        self, run: Any, survey: Survey, undisturbed: dict[str, bytes]
    ) -> None:
        self._needs_survival()
        survey.order("stars-1-0", "1 times kill")
        report = run(policies={"stars": {"retries.killed": 1, "delay": 0.0}})
        assert report.exit_code == 0
        assert survey.calls().count("stars-1-0") == 2
        assert survey.outputs() == undisturbed

    def test_a_disturbance_from_outside_is_tried_again(self, run: Any, survey: Survey) -> None:
        survey.order("flatten-1-1", "1 times transient")
        report = run(policies=_AT_ONCE)
        assert report.exit_code == 0
        assert survey.calls().count("flatten-1-1") == 2

    def test_trying_again_ends(self, run: Any, survey: Survey) -> None:
        survey.order("flatten-1-1", "transient")
        report = run(policies={"*": {"delay": 0.0, "retries.transient": 2}})
        assert report.exit_code == 1
        assert survey.calls().count("flatten-1-1") == 3
        assert report.failures[0].attempts == 3

    def test_bad_input_is_not_tried_again(self, run: Any, survey: Survey) -> None:
        survey.order("flatten-1-1", "bad")
        report = run(policies={"*": {"delay": 0.0, "retries.error": 3}})
        assert report.failures[0].kind == "bad input"
        assert survey.calls().count("flatten-1-1") == 1

    def test_what_takes_too_long_is_ended(self, run: Any, survey: Survey) -> None:
        survey.order("merge-1", "hang")
        report = run(policies={"merge": {"timeout": 4.0}})
        assert report.counts == {SUCCEEDED: survey.n_quanta - 2, FAILED: 1, BLOCKED: 1}
        assert report.failures[0].kind == "timeout"

    def test_what_took_too_long_is_tried_again_where_its_task_says_so(self, run: Any, survey: Survey) -> None:
        survey.order("merge-1", "1 times hang")
        report = run(policies={"merge": {"timeout": 4.0, "retries.timeout": 1, "delay": 0.0}})
        assert report.exit_code == 0

    def test_memory_that_a_task_cannot_get_is_a_failure_of_that_class(self, run: Any, survey: Survey) -> None:
        survey.order("merge-2", "memory")
        assert run().failures[0].kind == "out of memory"

    def test_what_ran_out_of_memory_is_tried_again_with_more(self, run: Any, survey: Survey) -> None:
        gc.collect()  # what is given back meanwhile may be used: where tasks run in this process, by them
        survey.order("merge-2", f"allocate {150 << 20}")
        report = run(policies={"merge": {"memory": "100 MB", "memory_growth": 4.0, "delay": 0.0}})
        assert report.exit_code == 0
        assert survey.calls().count("merge-2") == 2

    # -- less than everything -----------------------------------------------------------------

    def test_what_found_no_work_is_a_success_without_outputs(self, run: Any, survey: Survey) -> None:
        survey.order("stars-1-*", "nothing")
        report = run()
        assert report.exit_code == 0
        assert report.counts[NO_WORK] == 3, "nothing to merge, either"

    def test_a_gather_goes_on_with_what_was_made(self, run: Any, survey: Survey, butler: Butler) -> None:
        survey.order("stars-1-0", "nothing")
        assert run().exit_code == 0
        merged = butler.get("merged", instrument="Cam", visit=1)
        assert merged["lists"] == [1, 2]

    def test_a_quorum_runs_without_what_failed_and_says_so(
        self, run: Any, survey: Survey, butler: Butler
    ) -> None:
        survey.order("stars-1-0", "raise")
        report = run(policies={"merge": {"quorum": "50%"}})
        assert report.counts == {SUCCEEDED: survey.n_quanta - 1, FAILED: 1}
        assert butler.get("merged", instrument="Cam", visit=1)["lists"] == [1, 2]
        assert any("1 of 2 'star_list'" in c.caveat for c in report.caveats)

    def test_too_few_for_a_quorum_block(self, run: Any, survey: Survey) -> None:
        survey.order("stars-1-*", "raise")
        report = run(policies={"merge": {"quorum": "50%"}})
        assert report.counts == {SUCCEEDED: survey.n_quanta - 4, FAILED: 2, BLOCKED: 2}

    def test_partial_outputs_are_kept_with_their_caveat(self, run: Any, survey: Survey) -> None:
        survey.order("galaxies-0-1", "caveat")
        report = run()
        assert report.exit_code == 0
        assert next((c.label, c.caveat) for c in report.caveats) == ("galaxies", "half of it is cloudy")

    def test_nothing_more_begins_once_too_many_have_failed(self, run: Any, survey: Survey) -> None:
        survey.order("flatten-*", "raise")
        report = run(fail_fast=True)
        assert report.exit_code == 1
        assert "too many" in report.stopped
        assert report.counts[FAILED] < 6 or CANCELLED not in report.counts

    # -- going on -----------------------------------------------------------------------------

    def test_what_is_finished_does_not_run_again(self, run: Any, survey: Survey) -> None:
        run()
        report = run()
        assert report.finished_before == len(survey.calls()) == survey.n_quanta

    def test_going_on_redoes_what_failed_and_what_it_blocked(
        self, run: Any, survey: Survey, undisturbed: dict[str, bytes]
    ) -> None:
        survey.order("stars-0-0", "raise")
        run()
        survey.countermand()
        before = len(survey.calls())
        assert run().exit_code == 0
        assert sorted(survey.calls()[before:]) == ["merge-0", "stars-0-0", "summary-Cam"]
        assert survey.outputs() == undisturbed

    def test_a_run_that_is_not_to_be_gone_on_with_is_refused(self, run: Any) -> None:
        run()
        with pytest.raises(ExecutionError, match="was begun before"):
            run(resume=False)

    def test_what_was_begun_in_process_is_finished_here(
        self, run: Any, survey: Survey, butler: Butler, undisturbed: dict[str, bytes]
    ) -> None:
        survey.order("merge-0", "raise")
        InProcessFramework().execute(survey.plan(butler), butler)
        survey.countermand()
        assert run().exit_code == 0
        assert survey.outputs() == undisturbed
        assert len(survey.calls()) == survey.n_quanta + 1

    def test_what_was_begun_here_is_finished_in_process(
        self, run: Any, survey: Survey, butler: Butler, undisturbed: dict[str, bytes]
    ) -> None:
        survey.order("merge-0", "raise")
        run()
        survey.countermand()
        assert InProcessFramework().execute(survey.plan(butler), butler).exit_code == 0
        assert survey.outputs() == undisturbed

    def test_a_killed_driver_loses_and_repeats_nothing_that_was_finished(
        self, tmp_path: Path, survey: Survey, undisturbed: dict[str, bytes]
    ) -> None:
        survey.order("merge-1", "1 times sleep 20" if self.follows_jobs else "1 times hang")
        self._in_child(tmp_path, survey, signal.SIGKILL)
        with Butler(survey.root) as butler:
            plan = survey.plan(butler)
            assert self.make(tmp_path).execute(plan, butler).exit_code == 0
        assert survey.calls().count("merge-1") == (1 if self.follows_jobs else 2)
        assert survey.outputs() == undisturbed
        assert survey.successes(plan) == [1] * survey.n_quanta
        assert not list(survey.root.rglob(".tmp-*"))

    def test_asked_to_stop_it_ends_in_order_and_goes_on_later(
        self, tmp_path: Path, survey: Survey, undisturbed: dict[str, bytes]
    ) -> None:
        survey.order("stars-1-0", "1 times sleep 2")
        self._in_child(tmp_path, survey, signal.SIGTERM, "stars-1-0")
        with Butler(survey.root) as butler:
            plan = survey.plan(butler)
            assert self.make(tmp_path).execute(plan, butler).exit_code == 0
        assert survey.outputs() == undisturbed
        assert survey.successes(plan) == [1] * survey.n_quanta

    def test_two_drivers_on_one_run_are_refused(
        self, framework: ExecutionFramework, survey: Survey, butler: Butler
    ) -> None:
        folder = RunFolder(str(survey.root), RUN)
        folder.make()
        lock = folder.lock()
        try:
            with pytest.raises(ExecutionError, match="being executed already"):
                framework.execute(survey.plan(butler), butler)
        finally:
            lock.release()

    # -- bundles, staging, what stays ---------------------------------------------------------

    def test_bundles_run_whole_and_are_told_of(self, run: Any, survey: Survey, butler: Butler) -> None:
        events: list[Event] = []
        plan = survey.bundled(butler)
        report = run(plan=plan, listeners=[events.append])
        assert report.exit_code == 0
        n = len(plan.bundlings["by visit"])
        assert len(_of(BundleStarted, events)) == len(_of(BundleEnded, events)) == n

    def test_a_failure_in_a_bundle_takes_down_nothing_else_of_it(
        self, run: Any, survey: Survey, butler: Butler
    ) -> None:
        survey.order("stars-0-0", "raise")
        report = run(plan=survey.bundled(butler))
        assert report.counts == {SUCCEEDED: survey.n_quanta - 3, FAILED: 1, BLOCKED: 2}

    def test_a_retry_in_a_bundle_is_followed_by_what_waited_for_it(
        self, run: Any, survey: Survey, butler: Butler, undisturbed: dict[str, bytes]
    ) -> None:
        survey.order("flatten-0-0", "1 times transient")
        report = run(plan=survey.bundled(butler), policies=_AT_ONCE)
        assert report.exit_code == 0
        assert survey.outputs() == undisturbed

    def test_intermediates_need_not_leave_a_bundle(
        self, run: Any, survey: Survey, butler: Butler, undisturbed: dict[str, bytes]
    ) -> None:
        report = run(plan=survey.bundled(butler), retain={"flat": "until-used"})
        assert report.exit_code == 0
        left = {name: data for name, data in undisturbed.items() if not name.startswith("flat/")}
        assert survey.outputs() == left

    def test_scratch_changes_nothing_and_is_left_empty(
        self, run: Any, survey: Survey, tmp_path: Path, undisturbed: dict[str, bytes]
    ) -> None:
        (tmp_path / "scratch").mkdir()
        assert run(scratch=tmp_path / "scratch").exit_code == 0
        assert survey.outputs() == undisturbed
        assert not list((tmp_path / "scratch").iterdir())

    def test_jobs_that_do_not_see_the_repository_make_the_same(
        self, framework: ExecutionFramework, run: Any, survey: Survey, butler: Butler, undisturbed: Any
    ) -> None:
        if not isinstance(framework, BatchFramework):
            pytest.skip("its workers are where the repository is")
        framework.staged = True
        plan = survey.bundled(butler)
        assert run(plan=plan).exit_code == 0
        assert survey.outputs() == undisturbed
        assert survey.successes(plan) == [1] * plan.n_quanta

    def test_how_the_run_stands_can_be_asked_after(self, run: Any, survey: Survey) -> None:
        survey.order("merge-2", "raise")
        run()
        found = status(str(survey.root), RUN)
        assert found.counts == {SUCCEEDED: survey.n_quanta - 2, FAILED: 1, BLOCKED: 1}
        assert not found.active

    # -- what the tests above are made of -----------------------------------------------------

    def _needs_survival(self) -> None:
        if not self.survives_killed_workers:
            pytest.skip("its tasks run in the driver's own process")

    def _in_child(self, tmp_path: Path, survey: Survey, end: signal.Signals, begun: str = "merge-1") -> None:
        """Drive the run in a process of its own, and end that once a quantum has begun."""
        # A new interpreter: a forked one would share this one's pools and threads.
        words = [type(self).__module__, type(self).__qualname__, str(tmp_path), str(survey.folder)]
        paths = os.pathsep.join([*sys.path, os.getcwd()])
        child = subprocess.Popen(
            [sys.executable, "-c", DRIVE, *words], env={**os.environ, "PYTHONPATH": paths}
        )
        until = time.monotonic() + self.patience
        while begun not in survey.calls():
            assert time.monotonic() < until, f"{begun} has not begun"
            time.sleep(0.02)
        time.sleep(0.2)
        child.send_signal(end)
        assert child.wait(self.patience) == (-signal.SIGKILL if end is signal.SIGKILL else 1)


def _of(kind: type[Any], events: list[Event]) -> list[Any]:
    return [e for e in events if isinstance(e, kind)]


def _log(survey: Survey, label: str, **units: Any) -> str:
    with Butler(survey.root) as butler:
        plan = survey.plan(butler)
    found = replay(RunFolder(str(survey.root), RUN), np.asarray(plan.identities))
    (attempt,) = found.attempts([plan.find_quantum(label, instrument="Cam", **units)])
    return found.log(attempt)
