"""One driver at a time, on whatever machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors import InProcessFramework, MultiprocessFramework, QuantumStatus
from executors.host.processes import is_alive
from executors.journal.lease import Holder, Lease, Standing, Watch
from supertask.errors import ExecutionError
from tests.executors.frames import family, plan, ran
from tests.executors.test_crashes import drive, succeeded_in_journal, workers_of
from tests.executors.test_crashes import is_alive as runs

QUICK = {"interval": 0.02, "patience": 0.2}


def elsewhere(beat=0):
    return attrs.evolve(Holder.me(), host="another-machine", beat=beat)


# -- watching --------------------------------------------------------------------------------------


def test_whose_number_moves_lives():
    watch = Watch(patience=10)
    assert watch.saw("a", 1, 0.0) is Standing.UNKNOWN
    assert watch.saw("a", 1, 9.9) is Standing.UNKNOWN
    assert watch.saw("a", 2, 9.95) is Standing.ALIVE


def test_whose_number_stands_still_for_long_is_dead():
    watch = Watch(patience=10)
    watch.saw("a", 1, 100.0)
    assert watch.saw("a", 1, 110.0) is Standing.STALE


def test_another_holder_is_a_sign_of_life():
    watch = Watch(patience=10)
    watch.saw("a", 1, 0.0)
    assert watch.saw("b", 1, 50.0) is Standing.ALIVE


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=1, max_size=40))
def test_nobody_who_beats_more_often_than_patience_is_ever_taken_for_dead(steps):
    """Lost beats and late looks count for nothing as long as one beat is seen in time."""
    watch, now, beat = Watch(patience=1000.0), 0.0, 0
    for wait, beats in steps:
        now += wait
        beat += beats
        assert watch.saw("a", beat, now) is not Standing.STALE


# -- holding ---------------------------------------------------------------------------------------


def test_a_lease_is_had_once_and_names_who_has_it(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom executors.journal.lease import Lease\n"
        "Lease(Path(sys.argv[1]), 'u/r')\nprint('held', flush=True)\ntime.sleep(60)\n"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ExecutionError, match=rf"'u/r' is being .*, by process {other.pid} on "):
            Lease(tmp_path / "lock", "u/r")
        other.kill()
        other.wait()
        began = time.monotonic()
        Lease(tmp_path / "lock", "u/r").release()
        assert time.monotonic() - began < 1, "nobody waits for the dead of this machine"


def test_who_died_on_another_machine_is_waited_for_and_then_followed(tmp_path):
    path = tmp_path / "lock"
    path.write_bytes(elsewhere().to_bytes())
    began = time.monotonic()
    with Lease(path, "u/r", **QUICK):
        assert time.monotonic() - began >= 0.2
        assert Holder.from_bytes(path.read_bytes()).pid == os.getpid()
    assert path.read_bytes() == b""


def test_who_lives_on_another_machine_is_left_alone_though_its_lock_is_not_seen(tmp_path):
    path = tmp_path / "lock"
    theirs = elsewhere(7)
    path.write_bytes(theirs.to_bytes())
    script = "import sys, time\nsys.stdin.readline()\nopen(sys.argv[1], 'r+b').write(sys.argv[2].encode())\n"
    words = [sys.executable, "-c", script, str(path), attrs.evolve(theirs, beat=8).to_bytes().decode()]
    with subprocess.Popen(words, stdin=subprocess.PIPE, text=True) as other:
        other.stdin.write("\n")
        other.stdin.flush()
        with pytest.raises(ExecutionError, match="by process .* on another-machine since"):
            Lease(path, "u/r", interval=0.02, patience=20)
    assert Holder.from_bytes(path.read_bytes()).host == "another-machine"


def test_a_clock_that_is_set_back_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    with Lease(path, "u/r", **QUICK) as lease:
        monkeypatch.setattr(time, "time", lambda: 0.0)
        monkeypatch.setattr(time, "time_ns", lambda: 0)
        time.sleep(0.03)
        lease.beat()
        assert Holder.from_bytes(path.read_bytes()).beat == 1


def test_who_was_taken_over_finds_it_at_the_next_beat_and_ends(tmp_path):
    path = tmp_path / "lock"
    with Lease(path, "u/r", **QUICK) as lease:
        path.write_bytes(elsewhere().to_bytes())
        time.sleep(0.03)
        with pytest.raises(ExecutionError, match="was taken over by process .* on another-machine"):
            lease.beat()
    assert Holder.from_bytes(path.read_bytes()).host == "another-machine", "and leaves the other's name"


def test_a_thread_beats_while_a_quantum_takes_long(tmp_path):
    path = tmp_path / "lock"
    with Lease(path, "u/r", **QUICK) as lease:
        with lease.beating():
            time.sleep(0.3)
        assert Holder.from_bytes(path.read_bytes()).beat >= 3


def test_a_file_that_is_being_written_names_nobody():
    assert Holder.from_bytes(b"") is None
    assert Holder.from_bytes(b'{"host": "a", "pi') is None
    me = Holder.me()
    assert Holder.from_bytes(me.to_bytes()) == me


# -- killing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["in process", "pool"])
def test_a_second_driver_is_refused_and_runs_nothing(root, butler, control, tmp_path, kind):
    (control / "reduce-@").write_text("sleep:30")
    file = tmp_path / "plan.h5"
    plan(butler, control).save(file)
    with drive(root, file, kind) as first:
        while not ran(control):
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.01)
        calls = len(ran(control))
        for framework in (InProcessFramework(), MultiprocessFramework(2)):
            with pytest.raises(ExecutionError, match=f"already, by process {first.pid} on "):
                framework.execute(file, butler)
        assert calls <= len(ran(control)) <= 2
        first.kill()


@pytest.mark.parametrize("kind", ["pool", "forked pool"])
def test_no_quantum_runs_twice_at_once_when_the_driver_is_killed(root, butler, control, tmp_path, kind):
    """Not even what its tasks started is at work when the next driver begins."""
    (control / "reduce-0-0").write_text("family")
    file = tmp_path / "plan.h5"
    plan(butler, control).save(file)
    with drive(root, file, kind) as driver:
        while len(family(control)) < 2:
            assert driver.poll() is None, driver.stderr.read()
            time.sleep(0.01)
        driver.kill()
    (control / "reduce-0-0").unlink()
    report = InProcessFramework().execute(file, butler)
    assert report.counts == {QuantumStatus.SUCCEEDED: 17}
    assert not any(map(is_alive, family(control)))
    assert not any(map(runs, workers_of(root)))
    assert set(succeeded_in_journal(root).values()) == {1}


def test_a_killed_worker_leaves_nothing_at_work(pool, butler, control, root):
    (control / "reduce-0-0").write_text("family")

    def kill(_):
        while len(family(control)) < 2:
            time.sleep(0.01)
        for pid in workers_of(root):
            if f"reduce-0-0 {pid}" in (control / "ran").read_text().splitlines():
                os.kill(pid, signal.SIGKILL)

    import threading

    thread = threading.Thread(target=kill, args=(None,))
    thread.start()
    report = pool.execute(plan(butler, control).subset(["reduce"]), butler)
    thread.join()
    assert report.counts[QuantumStatus.FAILED] == 1
    assert [g.kind for g in report.failures] == ["killed"]
    assert not any(map(is_alive, family(control)))


def test_a_worker_is_known_to_be_dead_though_its_forked_children_live(pool, butler, control, root):
    (control / "reduce-0-0").write_text("forked")
    began = time.monotonic()
    report = pool.execute(plan(butler, control).subset(["reduce"]), butler)
    assert time.monotonic() - began < 20
    assert report.counts == {QuantumStatus.SUCCEEDED: 11, QuantumStatus.FAILED: 1}
    assert not any(map(is_alive, family(control)))


@pytest.mark.parametrize("kind", ["in process", "pool"])
def test_a_second_signal_ends_what_tasks_started_too(root, butler, control, tmp_path, kind):
    (control / "reduce-0-0").write_text("family")
    file = tmp_path / "plan.h5"
    plan(butler, control).save(file)
    with drive(root, file, kind) as driver:
        while len(family(control)) < 2:
            assert driver.poll() is None, driver.stderr.read()
            time.sleep(0.01)
        driver.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(20) == 1
        left = [pid for pid in family(control) if is_alive(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert driver.stderr.read() == ""
    assert len(left) <= (0 if kind == "pool" else 1), "in one process, an orphan cannot be told from others"
