"""The smaller parts around the runner: logs, leftovers, resources, reports."""

from __future__ import annotations

import logging
import subprocess
import sys

import attrs
import numpy as np
import pytest

from executors.host.resources import Meter, environment
from executors.journal.journal import Header
from executors.journal.report import Report, Tally
from executors.keeping.leftovers import Presence, sweep
from executors.outcome import Attempt, Failure, QuantumStatus
from executors.quanta.logs import LogCapture
from executors.quanta.runner import failure_of
from supertask.butler.datastore import Datastore
from supertask.dataids import DataId

SUCCEEDED, FAILED, NO_WORK, BLOCKED = (
    QuantumStatus.SUCCEEDED, QuantumStatus.FAILED, QuantumStatus.NO_WORK, QuantumStatus.BLOCKED,
)  # fmt: skip


# -- logs ------------------------------------------------------------------------------------------


@pytest.fixture
def logger():
    return logging.getLogger("test_runner_parts")


def test_what_a_task_and_its_subtasks_log_is_kept(logger):
    capture = LogCapture(logger)
    logger.info("reading %d pixels", 12)
    logging.getLogger("test_runner_parts.fit").warning("did not converge")
    logging.getLogger("elsewhere").warning("not mine")
    capture.close()
    lines = capture.text.splitlines()
    assert [line.partition("Z ")[2] for line in lines] == [
        "INFO test_runner_parts: reading 12 pixels",
        "WARNING test_runner_parts.fit: did not converge",
    ]


def test_what_the_program_shows_does_not_change(logger, caplog):
    with caplog.at_level(logging.WARNING):
        capture = LogCapture(logger)
        logger.info("quiet")
        logger.warning("loud")
        capture.close()
    assert [r.message for r in caplog.records] == ["loud"]
    assert (logger.level, logger.propagate, logger.handlers) == (logging.NOTSET, True, [])


def test_each_quantum_has_its_own_log(logger):
    capture = LogCapture(logger)
    logger.info("one")
    capture.begin()
    logger.info("two")
    capture.close()
    assert "one" not in capture.text
    assert capture.text.endswith("two\n")


def test_what_is_logged_says_of_which_data(logger, caplog):
    capture = LogCapture(logger)
    capture.begin(DataId({"visit": 42, "detector": 3}))
    logger.warning("faint")
    capture.close()
    assert capture.text.endswith("WARNING test_runner_parts {visit=42, detector=3}: faint\n")
    assert [r.dataId for r in caplog.records] == [" {visit=42, detector=3}"]


def test_of_a_long_log_the_beginning_and_the_end_are_kept(logger):
    capture = LogCapture(logger, limit=2000)
    for i in range(1000):
        logger.info("line %d", i)
    capture.close()
    assert len(capture.text) < 2500
    assert "line 0\n" in capture.text
    assert "line 999\n" in capture.text
    assert "lines left out" in capture.text


def test_a_bad_format_string_loses_no_quantum(logger):
    capture = LogCapture(logger)
    logger.info("%d pixels", "many")
    capture.close()
    assert "cannot be formatted" in capture.text


# -- leftovers -------------------------------------------------------------------------------------


def test_sweeping_takes_a_file_and_its_temporaries_and_nothing_else(tmp_path):
    for name in ("a/x.json", "a/.tmp-12-3-x.json", "a/.tmp-12-4-y.json", "a/y.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert sweep(Datastore(tmp_path), ["a/x.json", "b/none.json"]) == 2
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [".tmp-12-4-y.json", "y.json"]


def test_presence_is_right_whether_asked_once_or_often(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(0, 10, 2):
        (tmp_path / f"a/{i}").touch()
    there = Presence(Datastore(tmp_path))
    assert [there(f"a/{i}") for i in range(10)] == [i % 2 == 0 for i in range(10)]
    assert not any(there(f"gone/{i}") for i in range(3))


# -- resources -------------------------------------------------------------------------------------


def test_time_of_child_processes_counts():
    meter = Meter()
    meter.start()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    used = meter.stop()
    assert used.cpu > 0.03
    assert used.wall > 0.03
    assert used.end > used.start


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the mark of memory only grows")
def test_peak_memory_is_that_of_the_block():
    meter = Meter()
    meter.start()
    big = np.ones(20_000_000)
    first = meter.stop().peak_memory
    del big
    meter.start()
    second = meter.stop().peak_memory
    assert first - second > 100e6


def test_the_environment_says_what_ran_where():
    said = environment()
    assert said["packages"]["numpy"] == np.__version__
    assert said["host"]


# -- failures and reports --------------------------------------------------------------------------


def test_a_failure_says_what_was_raised_without_our_own_frames():
    def runner():
        task()

    def task():
        raise KeyError("flux")

    try:
        runner()
    except KeyError as error:
        failure = failure_of(error)
    assert failure.exception == "KeyError"
    assert failure.message == "'flux'"
    assert "in task" in failure.traceback


def test_an_exception_that_cannot_be_shown_is_shown_anyway():
    class BadlyMadeError(Exception):
        def __str__(self):
            raise RuntimeError

    failure = failure_of(BadlyMadeError())
    assert failure.exception.endswith("BadlyMadeError")
    assert failure.message == "its message cannot be shown: RuntimeError"


def failed(index, message, label="isr"):
    return Attempt(
        index=index, identity=bytes(16), label=label, status=FAILED, dataId={"visit": index},
        failure=Failure("ValueError", message), wall=1.0, cpu=0.5, peak_memory=index,
    )  # fmt: skip


def test_failures_that_differ_in_numbers_and_data_ids_are_one_group():
    tally = Tally()
    for i in range(30):
        tally.add(failed(i, f"frame {{visit={i}}} has {i * 1.5} bad pixels, see /data/{i}/raw.fits"))
    tally.add(failed(30, "no header"))
    first, second = tally.failures()
    assert (first.count, len(first.indices), second.count) == (30, 20, 1)
    assert first.message == "frame {visit=0} has 0.0 bad pixels, see /data/0/raw.fits"


def test_a_tally_adds_up():
    tally = Tally()
    for i in range(4):
        tally.add(failed(i, "x"))
    codes = np.array([FAILED.code] * 4 + [SUCCEEDED.code, BLOCKED.code], np.uint8)
    isr, coadd = tally.tasks([("isr", 0, 4), ("coadd", 4, 2)], codes)
    assert (isr.counts, isr.ended, isr.wall, isr.cpu, isr.peak_memory) == ({FAILED: 4}, 4, 4.0, 2.0, 3)
    assert (coadd.counts, coadd.ended) == ({SUCCEEDED: 1, BLOCKED: 1}, 0)


@pytest.mark.parametrize(
    ("codes", "unregistered", "exit_code"),
    [
        ([SUCCEEDED, NO_WORK], 0, 0),
        ([SUCCEEDED, SUCCEEDED], 1, 1),
        ([SUCCEEDED, FAILED], 0, 1),
        ([SUCCEEDED, BLOCKED], 0, 1),
        ([SUCCEEDED, QuantumStatus.CANCELLED], 0, 1),
        ([SUCCEEDED, QuantumStatus.PLANNED], 0, 1),
    ],
)
def test_the_exit_code_says_whether_all_is_well(codes, unregistered, exit_code):
    columns = np.array([c.code for c in codes], np.uint8)
    report = Report("run", Tally().tasks([("a", 0, 2)], columns), unregistered=unregistered)
    assert report.exit_code == exit_code
    assert report.to_dict()["exit_code"] == exit_code


def test_a_header_of_a_later_minor_version_may_have_more_fields():
    header = Header(run="r", plan="p", quanta=1, tasks=(("a", 0, 1),))
    assert Header.from_line({**attrs.asdict(header), "version": 1, "new": 3}) == header
