"""Of which class a failure is, and whether it is tried again."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.decisions.policy import QuantumTimeout, Retry, Tried, classify, decide, failures_allowed, grown
from supertask.configs.policy import FailureClass, FailurePolicy, Retries
from supertask.errors import BadInputError, DatasetNotFoundError, StorageError, TransientError

GB = 1_000_000_000
KINDS = list(FailureClass)


def chained(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("x"), FailureClass.ERROR),
        (TransientError("x"), FailureClass.TRANSIENT),
        (ConnectionResetError(), FailureClass.TRANSIENT),
        (TimeoutError(), FailureClass.TRANSIENT),
        (OSError(errno.ESTALE, "stale"), FailureClass.TRANSIENT),
        (OSError(errno.ENOSPC, "full"), FailureClass.ERROR),
        (FileNotFoundError(errno.ENOENT, "gone"), FailureClass.ERROR),
        (MemoryError(), FailureClass.OUT_OF_MEMORY),
        (QuantumTimeout(), FailureClass.TIMEOUT),
        (BadInputError("x"), FailureClass.BAD_INPUT),
        (DatasetNotFoundError("x"), FailureClass.BAD_INPUT),
        (SystemExit(3), FailureClass.ERROR),
        (chained(StorageError("x"), OSError(errno.EIO, "lost")), FailureClass.TRANSIENT),
        (chained(StorageError("x"), chained(ValueError(), MemoryError())), FailureClass.OUT_OF_MEMORY),
    ],
)
def test_failures_are_classed_by_what_was_raised_or_what_that_came_of(error, kind):
    assert classify(error) is kind


def test_errors_that_cause_each_other_are_no_endless_loop():
    a, b = ValueError(), KeyError()
    a.__cause__, b.__cause__ = b, a
    assert classify(a) is FailureClass.ERROR


POLICIES = st.builds(
    FailurePolicy,
    retries=st.builds(
        Retries,
        **dict.fromkeys(("transient", "out_of_memory", "timeout", "killed", "error"), st.integers(0, 4)),
    ),
    delay=st.floats(0, 100),
    max_delay=st.floats(0, 100),
    memory_growth=st.floats(1, 8),
)


@given(
    POLICIES, st.lists(st.sampled_from(KINDS), min_size=1, max_size=20), st.binary(min_size=16, max_size=16)
)
def test_retries_come_to_an_end_and_never_follow_bad_input(policy, kinds, identity):
    tried, count = [], 0
    for kind in kinds:
        tried.append(Tried(kind, GB))
        retry = decide(policy, tried, identity)
        assert retry == decide(policy, tried, identity), "the same again"
        if retry is None:
            break
        count += 1
        assert kind is not FailureClass.BAD_INPUT
        assert 0 <= retry.delay <= policy.max_delay
        assert retry.memory >= GB
    assert count <= sum(policy.retries.of(kind) for kind in KINDS)


def test_waiting_times_double_and_differ_between_quanta():
    policy = FailurePolicy(retries={"transient": 20}, delay=1.0, max_delay=60.0)
    waits = [decide(policy, [Tried(FailureClass.TRANSIENT)] * n, bytes(16)).delay for n in range(1, 12)]
    for n, wait in enumerate(waits):
        assert 0.5 * min(60, 2**n) <= wait <= min(60, 2**n)
    assert decide(policy, [Tried(FailureClass.TRANSIENT)], b"x" * 16).delay != waits[0]


def test_memory_grows_up_to_the_cap_and_then_the_failure_is_final():
    policy = FailurePolicy(memory="1 GB", memory_cap="3 GB", retries={"out_of_memory": 9})
    tried, granted = [Tried(FailureClass.OUT_OF_MEMORY, GB)], []
    while (retry := decide(policy, tried, bytes(16), machine=64 * GB)) is not None:
        assert retry.delay == 0
        granted.append(retry.memory)
        tried.append(Tried(FailureClass.OUT_OF_MEMORY, retry.memory))
    assert granted == [2 * GB, 3 * GB]


def test_nobody_is_granted_more_than_the_machine_has():
    assert grown(FailurePolicy(), 3 * GB, machine=4 * GB) == 4 * GB
    assert (
        decide(FailurePolicy(), [Tried(FailureClass.OUT_OF_MEMORY, 4 * GB)], bytes(16), machine=4 * GB)
        is None
    )


def test_without_a_limit_there_is_nothing_to_grow():
    assert decide(FailurePolicy(), [Tried(FailureClass.OUT_OF_MEMORY)], bytes(16)) is None


def test_other_classes_keep_what_was_granted():
    policy = FailurePolicy(delay=0.0)
    assert decide(policy, [Tried(FailureClass.TRANSIENT, GB)], bytes(16)) == Retry(0.0, GB)


@pytest.mark.parametrize(
    ("share", "quanta", "allowed"), [(3, 100, 3), (0.05, 100, 5), (0.05, 101, 6), (0.001, 10, 1), (1.0, 7, 7)]
)
def test_shares_of_failures_are_rounded_up(share, quanta, allowed):
    assert failures_allowed(share, quanta) == allowed
