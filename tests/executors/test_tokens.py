"""Tokens that bound how many quanta use a scarce resource at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executors.decisions.schedule import Schedule
from executors.driving.tokens import Counter, MachineCounter, TokenSchedule, TokenUse, token_use
from executors.outcome import QuantumStatus
from supertask.errors import ConfigError, ExecutionError
from supertask.tasks.tokens import parse_tokens


def edges(n: int, pairs: list[tuple[int, int]]):
    indptr, indices = np.zeros(n + 1, np.int64), []
    for q in range(n):
        indices += sorted({b for a, b in pairs if a == q})
        indptr[q + 1] = len(indices)
    return indptr, np.array(indices, np.int32)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_however_quanta_end_no_more_tokens_are_out_than_there_are_and_all_get_done(data) -> None:
    n = data.draw(st.integers(1, 12))
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1]))
    )
    limits = {"gpu": 2, "disk": 3}
    needs = [
        {
            k: v
            for k, v in (("gpu", data.draw(st.integers(0, 2))), ("disk", data.draw(st.integers(0, 3))))
            if v
        }
        for _ in range(n)
    ]
    counter = Counter(limits)
    schedule = TokenSchedule(TokenUse(list(range(1, n + 1)), needs, counter), edges(n, pairs))
    running: list[int] = []
    tries = dict.fromkeys(range(n), 0)
    steps = 0
    while not schedule.over:
        steps += 1
        assert steps < 500
        schedule.wake(float(steps))
        work = schedule.take(data.draw(st.integers(1, 4)))
        if work is not None:
            running += work.quanta
        for name, limit in limits.items():
            used = sum(needs[q].get(name, 0) for q in running)
            assert used == counter.used[name] <= limit
        if running and (work is None or data.draw(st.booleans())):
            q = running.pop(data.draw(st.integers(0, len(running) - 1)))
            tries[q] += 1
            what = data.draw(st.sampled_from(["succeed", "back", "later"])) if tries[q] < 3 else "succeed"
            if what == "succeed":
                schedule.finish(q, QuantumStatus.SUCCEEDED)
            elif what == "back":
                schedule.give_back([q])
            else:
                schedule.postpone(q, float(steps + 1))
    assert counter.used == {"gpu": 0, "disk": 0}
    assert not running
    assert all(schedule.status(q) is QuantumStatus.SUCCEEDED for q in range(n))


def test_what_needs_no_token_passes_what_waits_for_one() -> None:
    use = TokenUse([2, 4], [{"gpu": 1}, {}], Counter({"gpu": 1}))
    schedule = TokenSchedule(use, edges(4, []))
    taken = [schedule.take(4), schedule.take(4), schedule.take(4)]
    assert [w.quanta if w else None for w in taken] == [(0,), (2, 3), None]
    schedule.finish(0, QuantumStatus.SUCCEEDED)
    assert schedule.take(4).quanta == (1,)


def test_a_failure_gives_its_tokens_back() -> None:
    use = TokenUse([2], [{"gpu": 1}], Counter({"gpu": 1}))
    schedule = TokenSchedule(use, edges(2, []))
    schedule.take()
    schedule.finish(0, QuantumStatus.FAILED)
    assert schedule.take().quanta == (1,)


def test_tokens_of_one_folder_are_shared_by_runs_and_freed_with_their_holder(tmp_path) -> None:
    one, other = (MachineCounter({"gpu": 2, "disk": 1}, tmp_path) for _ in range(2))
    assert one.take({"gpu": 1, "disk": 1})
    assert not other.take({"gpu": 1, "disk": 1})
    assert other.take({"gpu": 1})
    assert not one.take({"gpu": 1})
    one.give({"gpu": 1, "disk": 1})
    assert other.take({"gpu": 1, "disk": 1})
    assert len(other.filenos()) == 3


def test_a_run_waits_for_tokens_that_another_has(tmp_path) -> None:
    mine, others = (MachineCounter({"gpu": 1}, tmp_path) for _ in range(2))
    others.take({"gpu": 1})
    schedule = TokenSchedule(TokenUse([1], [{"gpu": 1}], mine), edges(1, []))
    assert schedule.take() is None
    assert not schedule.over
    assert schedule.wake(1.0) == pytest.approx(1.05)
    others.give({"gpu": 1})
    schedule.wake(1.05)
    assert schedule.take().quanta == (0,)


def test_without_tokens_a_run_has_the_plain_schedule(here, butler, control) -> None:
    from executors.driving.driver import Driver
    from tests.executors import frames

    with Driver(frames.plan(butler, control), butler) as driver:
        assert type(driver.schedule) is Schedule


def test_numbers_that_nobody_said_and_needs_beyond_them_are_all_named() -> None:
    class Task:
        def __init__(self, **tokens):
            type(self).tokens = tokens
            self.config = type("C", (), {"config_fields": {}})()

    a, b = type("A", (Task,), {})(gpu=1, tape=1), type("B", (Task,), {})(disk=4)
    nodes = [type("N", (), {"label": x, "first": i, "count": 1})() for i, x in enumerate("ab")]
    with pytest.raises(ExecutionError, match=r"(?s)'tape'.*how many there are.*needs 4 of 'disk'.*'gpus'"):
        token_use(nodes, {"a": a, "b": b}, {"gpu": 1, "disk": 3, "gpus": 1})
    for wrong in ({"gpu": -1}, {"a/b": 1}, {"gpu": True}, {"gpu": "2"}):
        with pytest.raises(ConfigError):
            token_use(nodes, {"a": a, "b": b}, wrong)
    with pytest.raises(ConfigError, match="name=count"):
        parse_tokens("gpu=two")
    assert parse_tokens("gpu=2") == ("gpu", 2)
