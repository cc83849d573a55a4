"""What `supertask run` is told about failures, and what it says of them."""

from __future__ import annotations

import click
import pytest

from executors.cmdline.failures import parse_failures, parse_seconds
from executors.cmdline.nextsteps import next_steps, run_again
from executors.journal.report import FailureGroup, Report, TaskReport
from executors.outcome import QuantumStatus

NONE = {"max_failures": (), "retries": (), "timeout": (), "memory": (), "quorum": ()}


def parsed(**words):
    return parse_failures({**NONE, **words})


def test_words_without_a_label_are_for_all_tasks_and_labels_have_the_last_say():
    found = parsed(
        timeout=("isr=5m", "90"), memory=("isr=2 GB",), quorum=("coadd=80%",), max_failures=("isr=3", "5%")
    )
    assert found.policies == {
        "*": {"timeout": 90.0},
        "isr": {"timeout": 300.0, "memory": "2 GB", "max_failures": "3"},
        "coadd": {"quorum": "80%"},
    }
    assert (found.max_failures, found.retry_failed) == (0.05, True)


def test_retries_are_for_all_classes_or_for_one():
    found = parsed(retries=("isr:timeout=3", "1")).policies
    assert found["isr"] == {"retries.timeout": 3}
    assert set(found["*"].values()) == {1}
    assert set(found["*"]) == {
        f"retries.{kind}" for kind in ("transient", "out_of_memory", "timeout", "killed", "error")
    }


def test_fail_fast_has_the_last_say():
    assert parse_failures({**NONE, "max_failures": ("5",)}, fail_fast=True).max_failures == 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("1 d", 86400)]
)
def test_times_are_read_as_people_write_them(text, seconds):
    assert parse_seconds(text, text) == seconds


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"retries": ("isr=often",)}, "'often' is not a number of retries"),
        ({"retries": ("isr:timeot=2",)}, r"'timeot' is no class of failure \(did you mean 'timeout'\?\)"),
        ({"retries": ("=2",)}, "there is no label before '='"),
        ({"timeout": ("isr=long",)}, "'long' is not a time: write 90, 5m or 2h"),
        ({"timeout": ("0",)}, "'0' is not a time"),
        ({"memory": ("isr=much",)}, "'much' is not a size"),
        ({"quorum": ("coadd=half",)}, "neither a number nor a share"),
        ({"max_failures": ("0",)}, "neither a number nor a share"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_the_word_and_the_way_out(words, message):
    with pytest.raises(click.UsageError, match=message):
        parsed(**words)


def report(counts, *kinds, **more):
    failures = tuple(FailureGroup("isr", "ValueError", "bad", 1, (0,), ({},), "", kind) for kind in kinds)
    planned = sum(counts.values())
    return Report("u/run", (TaskReport("isr", planned, counts),), failures, **more)


def test_a_run_that_is_done_needs_nothing():
    assert not list(next_steps(report({QuantumStatus.SUCCEEDED: 3}), "supertask run plan.h5"))


def test_a_run_that_goes_on_needs_nothing():
    assert not list(next_steps(report({QuantumStatus.PLANNED: 3}, active=True), "supertask run plan.h5"))


def test_what_to_do_next_is_a_command_to_copy():
    counts = {QuantumStatus.SUCCEEDED: 1, QuantumStatus.FAILED: 2, QuantumStatus.BLOCKED: 1}
    said = list(next_steps(report(counts, "timeout", "out of memory", "bad input"), "supertask run plan.h5"))
    assert said == [
        "to try again what failed: supertask run plan.h5",
        "isr took too long: let it take longer: --timeout isr=TIME",
        "isr ran out of memory: let it have more: --memory isr=SIZE",
        "to run what is blocked with the inputs that there are: --quorum isr=80%",
    ]


def test_what_was_broken_off_can_be_finished_without_what_failed():
    counts = {QuantumStatus.FAILED: 1, QuantumStatus.CANCELLED: 5}
    said = list(next_steps(report(counts, "error"), "supertask run plan.h5"))
    assert "to do the rest and leave what failed: supertask run plan.h5 --no-retry-failed" in said


def test_a_command_that_nobody_knows_is_the_same_again():
    assert list(next_steps(report({QuantumStatus.PLANNED: 1}))) == ["to go on: the same command again"]


def test_what_goes_on_goes_on_in_the_same_way():
    words = ["run", "my plan.h5", "--no-resume", "-j", "4", "--retain", "raw=keep", "--no-retry-failed"]
    assert run_again(words) == "supertask run 'my plan.h5' -j 4 --retain raw=keep"
