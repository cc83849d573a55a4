"""A run's schedule and journal, driven by whatever may happen, against a model of a few lines.

Sessions begin, hand out quanta, hear that they began, ended, failed (to be tried again or for good), are told
things twice, lose drivers and workers, and begin again from the journal. The model knows which quanta have
succeeded, which ran out of tries in this session, and who depends on whom.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from executors.decisions.schedule import Schedule
from executors.journal.journal import Header, Journal, encode_attempt, encode_retry, encode_start
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder
from executors.outcome import Attempt, Failure, QuantumStatus
from supertask.configs.policy import FailureClass
from tests.executors.test_schedule import Bundles, successors

PLANNED, RUNNING, SUCCEEDED, NO_WORK, FAILED, BLOCKED, CANCELLED, LOST = QuantumStatus
FINISHED = {SUCCEEDED, NO_WORK}
RUN = "u/machine"


def identity(q):
    return q.to_bytes(16, "big")


class Sessions(RuleBasedStateMachine):
    """Rules are what happens; invariants are what must hold whatever happens."""

    @initialize(
        n=st.integers(2, 9),
        seed=st.integers(0, 10**6),
        bundled=st.sampled_from([True, True, False]),
        tolerance=st.integers(0, 2),
    )
    def begin(self, n, seed, bundled, tolerance):
        dice = random.Random(seed)
        self.root = Path(tempfile.mkdtemp())
        self.folder = RunFolder(str(self.root), RUN)
        self.folder.make()
        self.n = n
        self.edges = [(a, b) for b in range(n) for a in range(b) if dice.random() < 0.4]
        self.before = {b: {a for a, c in self.edges if c == b} for b in range(n)}
        self.bundling = None
        if bundled:
            size = dice.randint(2, 5)
            self.bundling = Bundles.of(*(list(range(i, min(i + size, n))) for i in range(0, n, size)))
        self.tolerance = tolerance
        self.finished = {}  # the model's memory: quantum → how it finished, which nothing takes away
        self.clock = 0.0
        self.sessions = 0
        self.schedule = None
        self.journal = None
        self.resume()

    # -- sessions ---------------------------------------------------------------------------------

    def resume(self):
        self.close()
        identities = np.frombuffer(b"".join(map(identity, range(self.n))), np.uint8).reshape(self.n, 16)
        found = replay(self.folder, identities)
        assert not [p for p in found.problems if "torn" not in p]
        now = {q: QuantumStatus.from_code(int(c)) for q, c in enumerate(found.statuses)}
        assert {q: s for q, s in now.items() if s in FINISHED} == self.finished, "neither lost nor made up"
        self.sessions += 1
        header = Header(
            run=RUN, plan="p", quanta=self.n, tasks=(("t", 0, self.n),), pid=self.sessions,
            time=self.sessions, host="here",
        )  # fmt: skip
        self.journal = Journal(self.folder, header)
        self.numbers = {q: int(found.numbers[q]) for q in range(self.n)}
        for begun in found.begun:
            assert not begun.alive
            self.write_end(begun.index, LOST, begun.number)
        self.schedule = Schedule(
            successors(self.n, self.edges),
            self.bundling,
            statuses=found.statuses.copy(),
            tainted=found.tainted,
            quorum=lambda q, lost: len(set(lost)) <= self.tolerance,
        )
        self.out = {}  # quantum → its piece of work; handed out and not back
        self.begun = {}  # quantum → number
        self.failed = set()
        self.waiting = set()

    def close(self):
        if self.journal is not None:
            self.journal.close()
            self.journal = None

    def teardown(self):
        self.close()
        if hasattr(self, "root"):
            shutil.rmtree(self.root)

    def write_end(self, q, status, number, **more):
        kind = more.pop("kind", FailureClass.ERROR)
        attempt = Attempt(
            index=q, identity=identity(q), label="t", status=status, number=number, host="here",
            pid=self.sessions, failure=Failure("E", "m", kind=kind) if status is FAILED else None, **more,
        )  # fmt: skip
        self.journal.write(encode_attempt(attempt, self.journal.header))
        return attempt

    # -- what happens -----------------------------------------------------------------------------

    @rule(most=st.integers(1, 4))
    def take(self, most):
        self.schedule.wake(self.clock)
        work = self.schedule.take(most)
        if work is None:
            return
        lost = {q: set(ps) for q, ps in work.lost.items()}
        for q in work.quanta:
            assert q not in self.out, "at most once at a time"
            assert q not in self.finished, "nothing finished runs again"
            assert q not in self.failed, "what failed for good does not run again in this session"
            inside = set(work.quanta) if work.bundle >= 0 else set()
            for p in self.before[q] - inside:
                if p in self.finished:
                    continue
                assert self.schedule.status(p) in {FAILED, BLOCKED}, "all that it depends on has ended"
                assert p in lost.get(q, ()), "and it is told what it does without"
            assert len(lost.get(q, ())) <= self.tolerance
            self.out[q] = work
            self.waiting.discard(q)

    def next_of(self, data):
        """A quantum that may begin now: of a bundle, what it depends on inside has ended."""
        able = [
            q for q, work in sorted(self.out.items())
            if q not in self.begun and all(p in self.finished or p not in self.out for p in self.before[q])
        ]  # fmt: skip
        return data.draw(st.sampled_from(able)) if able else None

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def start(self, data):
        q = self.next_of(data)
        if q is None:
            return
        self.numbers[q] += 1
        self.begun[q] = self.numbers[q]
        self.journal.write(encode_start(q, identity(q).hex(), self.numbers[q], 1))

    @precondition(lambda self: self.begun)
    @rule(
        data=st.data(),
        status=st.sampled_from([SUCCEEDED, SUCCEEDED, SUCCEEDED, NO_WORK]),
        whole=st.booleans(),
        twice=st.booleans(),
    )
    def succeed(self, data, status, whole, twice):
        q = data.draw(st.sampled_from(sorted(self.begun)))
        for _ in range(1 + twice):  # a line that was written, not heard of, and is written again
            self.write_end(q, status, self.begun[q], whole=whole)
        assert self.schedule.finish(q, status, whole=whole) == []
        self.finished[q] = status
        self.forget(q)

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def fail(self, data):
        q = data.draw(st.sampled_from(sorted(self.begun)))
        self.write_end(q, FAILED, self.begun[q])
        blocked = self.schedule.finish(q, FAILED)
        assert not set(blocked) & set(self.finished)
        assert not set(blocked) & set(self.begun), "nothing that runs is blocked"
        self.failed |= {q, *blocked}
        self.waiting -= set(blocked)
        self.forget(q)

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 1.0, 5.0]))
    def fail_and_try_again(self, data, delay):
        q = data.draw(st.sampled_from(sorted(self.begun)))
        attempt = self.write_end(q, FAILED, self.begun[q], kind=FailureClass.TRANSIENT)
        self.journal.write(encode_retry(attempt, delay, None))
        self.schedule.postpone(q, self.clock + delay if delay else 0.0)
        self.waiting.add(q)
        self.forget(q)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def hear_of_an_end_twice(self, data):
        """A duplicate event of one that does not run is refused, and changes nothing."""
        q = data.draw(st.sampled_from(range(self.n)))
        if self.schedule.status(q) is RUNNING:
            return
        before = self.schedule.statuses.tolist()
        with pytest.raises(ValueError, match="cannot"):
            self.schedule.finish(q, SUCCEEDED)
        with pytest.raises(ValueError, match="cannot"):
            self.schedule.postpone(q, 0.0)
        self.schedule.give_back([q])
        assert self.schedule.statuses.tolist() == before

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def lose_a_worker(self, data):
        """Nothing is heard of a process any more: what it ran has failed, what it had comes back."""
        work = data.draw(st.sampled_from(sorted(self.out.values(), key=lambda w: w.quanta)))
        mine = [q for q in work.quanta if self.out.get(q) is work]
        for q in [q for q in mine if q in self.begun]:
            self.write_end(q, FAILED, self.begun[q], kind=FailureClass.KILLED)
            self.failed |= {q, *self.schedule.finish(q, FAILED)}
            self.forget(q)
        back = [q for q in mine if self.schedule.status(q) is RUNNING]
        self.schedule.give_back(back)
        for q in mine:
            self.out.pop(q, None)

    @rule(seconds=st.sampled_from([0.5, 2.0, 10.0]))
    def time_passes(self, seconds):
        self.clock += seconds

    @rule(tear=st.booleans(), luck=st.integers(0, 5))
    def crash(self, tear, luck):
        """The driver and its workers are gone; what they were just writing may stand there in part."""
        if luck:
            return  # or sessions would be too short for much else to happen
        path = self.journal.path
        self.close()
        if tear:
            with path.open("ab") as file:
                file.write(b'0badc0de {"event":"end","quantum":"')
        self.resume()

    def forget(self, q):
        self.begun.pop(q, None)
        self.out.pop(q, None)
        # What is left out behind a failure in a bundle comes back to the schedule.
        for other in [o for o in self.out if self.schedule.status(o) is not RUNNING]:
            assert other not in self.begun
            del self.out[other]

    # -- what holds -------------------------------------------------------------------------------

    @invariant()
    def statuses_are_as_the_model_says(self):
        if self.schedule is None:
            return
        for q in range(self.n):
            status = self.schedule.status(q)
            assert (status in FINISHED) == (q in self.finished)
            assert (status is RUNNING) == (q in self.out)
            if status is BLOCKED:
                assert any(self.schedule.status(p) in {FAILED, BLOCKED} for p in self.before[q])
        assert self.schedule.n_running == len(self.out)

    @invariant()
    def a_run_comes_to_an_end(self):
        """As long as something is left, something runs, is ready, or becomes ready with time."""
        if self.schedule is None:
            return
        left = [q for q in range(self.n) if self.schedule.status(q) in {PLANNED, RUNNING}]
        assert self.schedule.n_open == len(left)
        if left:
            s = self.schedule
            assert s.n_running or s.n_ready or s.n_postponed


Sessions.TestCase.settings = settings(
    max_examples=250,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
TestSessions = pytest.mark.slow(Sessions.TestCase)
