"""The worker processes of a pool, as the driver sees them: who has what, who is idle, who died."""

from __future__ import annotations

import json
import multiprocessing
import os
import selectors
import signal
import socket
import time
from contextlib import nullcontext, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs

from executors.decisions.work import Work
from executors.driving.cutshort import cut_short
from executors.driving.driver import Driver
from executors.host.processes import end_holders, end_left_behind, end_tree, is_alive, memory_of
from executors.host.starting import limited_threads, no_main_module, start_fork_server
from executors.journal.journal import Header
from executors.journal.lines import read_lines
from executors.outcome import Attempt, Failure, QuantumStatus
from executors.pool import worker
from graphbuilder.dag.dag import ScienceDag
from supertask.configs.policy import FailureClass, say_size
from supertask.errors import ExecutionError

__all__ = ["Crew", "warm_up"]

_AHEAD = 0.1
"""Seconds of work that a worker has at most before it, where quanta are that short."""
_MOST = 256
_PATIENCE = 0.05
"""Seconds after which an idle worker may ask for what another has and has not begun."""
_GRACE = 5.0
"""Seconds in which a process must end after its pipe has."""
_LOOK = 0.1
"""Seconds between two looks at how much memory a limited quantum holds."""
_ROUND = 1.0
"""Seconds between two looks at whether workers live that run something long."""
_DEATHS = 3
"""So many workers in a row may die before one has run anything."""


@attrs.define(eq=False)
class _Member:
    """One worker process."""

    process: Any
    pipe: Connection
    header: Header
    """Of its journal: its host and process."""
    journal: Path | None = None
    """None until it is ready."""
    seen: int = 0
    """Bytes of its journal that were heard of."""
    left: dict[int, None] = attrs.field(factory=dict)
    """Quanta that it has and that have not ended, in order."""
    current: tuple[int, int, int] | None = None
    """Index, number and time of the attempt that it has begun and not ended."""
    since: float = 0.0
    """When the driver heard of its beginning, by a clock that never goes back."""
    looked: float = 0.0
    """When its memory was looked at last, by the same clock."""
    paused: float = 0.0
    """Since when it makes what other quanta need too, by the same clock; 0 if it does not."""
    ending: Failure | None = None
    """Why it is being ended."""
    seconds: float | None = None
    """How long one of its quanta takes, as far as known."""
    asked: bool = False
    """Whether it was asked to give back work and had none, or has not answered, and has not got new since."""
    stopping: bool = False

    @property
    def ahead(self) -> float:
        """Seconds of work that it has, as far as known."""
        if not self.left:
            return 0.0
        if self.seconds is None or self.running > _PATIENCE:
            return float("inf")
        return len(self.left) * self.seconds

    @property
    def running(self) -> float:
        """Seconds since it began what it runs."""
        return time.monotonic() - self.since if self.current else 0.0


class Crew:
    """Starts workers, hands out work, hears what became of it, and replaces those that die.

    Parameters
    ----------
    driver : Driver
        Who has the work.
    spec : WorkerSpec
        What workers must know.
    processes : int
        How many workers there are.
    method : str
        How processes are started.
    threads : int
        How many threads numerical libraries may use in each.
    """

    def __init__(
        self, driver: Driver, spec: worker.WorkerSpec, processes: int, method: str, threads: int
    ) -> None:
        self._driver = driver
        self._spec = spec
        self._size = processes
        self._threads = threads
        self._context: Any = multiprocessing.get_context(method)
        self._forks = method == "fork"
        if method == "forkserver":
            warm_up(driver.plan, threads)
        self._members: list[_Member] = []
        self._selector = selectors.DefaultSelector()
        self._seconds: dict[str, float] = {}
        """Task label → how long its quanta take, a moving average."""
        self._deaths = 0
        self._limited = any(any(each) for each in driver.retrying.limits.values())
        self._looked = time.monotonic()
        self._dirty: set[Path] = set()
        self._stopping = False
        driver.on_sync(self._sync)

    # -- beginning and ending -----------------------------------------------------------------

    def start(self) -> None:
        """Start the workers: as many as there is work for."""
        for _ in range(min(self._size, self._driver.schedule.n_open)):
            self._hire()

    def _hire(self) -> None:
        ours, theirs = self._context.Pipe()
        spec = self._spec
        if self._forks:
            pipes = [ours.fileno(), *(m.pipe.fileno() for m in self._members)]
            spec = attrs.evolve(spec, inherited=(*self._driver.open_files(), *pipes), parent=os.getpid())
        with limited_threads(self._threads), nullcontext() if self._forks else no_main_module():
            process = self._context.Process(target=worker.main, args=(theirs, spec), name="supertask-worker")
            process.start()
        theirs.close()
        header = attrs.evolve(self._driver.header, role="worker", pid=process.pid, host=socket.gethostname())
        member = _Member(process, ours, header)
        self._members.append(member)
        self._selector.register(ours.fileno(), selectors.EVENT_READ, member)

    def stop(self) -> None:
        """Let every worker finish what it runs, and end."""
        self._stopping = True
        for member in self._members:
            if not member.stopping:
                member.stopping = True
                self._tell(member, {"do": "stop"})

    def dismiss(self) -> None:
        """End workers that have nothing left to do."""
        self.stop()
        until = time.monotonic() + _GRACE
        while self._members and time.monotonic() < until:
            self.listen()
        self._end_processes()

    def kill(self) -> None:
        """End all workers at once; what they ran is lost, what they finished is not."""
        self._stopping = True
        for member in self._members:
            end_tree(member.header.pid)
        with suppress(ExecutionError):  # raised where the journal cannot be written; the next session says it
            while self._members:
                self._lose(self._members[0], QuantumStatus.LOST)
        self._end_processes()

    def _end_processes(self) -> None:
        for member in self._members:
            member.process.kill()
            member.process.join()
            member.pipe.close()
        self._members.clear()
        self._selector.close()

    # -- work ---------------------------------------------------------------------------------

    def hand_out(self) -> None:
        """Give work to those who have little, and take back some where others have none."""
        driver = self._driver
        for member in sorted(self._members, key=lambda m: len(m.left)):
            if member.journal is None or member.ahead > _AHEAD / 2:
                continue
            if len(member.left) >= driver.schedule.margin:
                continue
            work = driver.take(self._share())
            if work is None:
                break
            self._send(member, work)
        if not driver.schedule.n_ready and any(m.journal is not None and not m.left for m in self._members):
            self._even_out()

    def _share(self) -> int:
        """Return how many quanta to hand out at once: few where they are long, or few are left."""
        first = self._driver.schedule.next_ready
        if first is None:
            return 1
        seconds = self._seconds.get(self._driver.plan.task_of(first).label)
        if seconds is None:
            return 1
        fair = -(-self._driver.schedule.n_ready // len(self._members))
        # Where few failures are too many, each has no more before it than may fail.
        margin = self._driver.schedule.margin
        return max(1, min(_MOST, fair, margin, int(_AHEAD / max(seconds, 1e-6))))

    def _send(self, member: _Member, work: Work) -> None:
        driver = self._driver
        message: dict[str, Any] = {"do": "run", "bundle": work.bundle, "quanta": work.quanta}
        if work.absent:
            message["absent"] = work.absent
            missing = driver.missing(work)
            if missing:
                message["missing"] = {p: [m.hex() for m in left_out] for p, left_out in missing.items()}
        numbers = driver.numbers(work.quanta)
        if numbers:
            message["numbers"] = numbers
        if work.lost:
            message["lost"] = work.lost
        if work.behind:
            message["behind"] = work.behind
        granted = driver.retrying.granted(work.quanta)
        if granted:
            message["memory"] = granted
        member.left.update(dict.fromkeys(work.quanta))
        member.seconds = self._seconds.get(driver.plan.task_of(work.quanta[0]).label)
        member.asked = False
        self._tell(member, message)

    def _tell(self, member: _Member, message: dict[str, Any]) -> None:
        with suppress(OSError):  # it is dead, which the selector says next
            member.pipe.send_bytes(json.dumps(message, separators=(",", ":")).encode())

    def _even_out(self) -> None:
        """Ask the one who has most that has not begun for half of it."""
        richest = max(self._members, key=lambda m: 0 if m.asked or m.stopping else len(m.left))
        if richest.asked or richest.stopping or len(richest.left) < 2:
            return
        if richest.running > _PATIENCE or _PATIENCE < richest.ahead < float("inf"):
            richest.asked = True
            self._tell(richest, {"do": "return", "most": len(richest.left) // 2})

    # -- hearing ------------------------------------------------------------------------------

    def listen(self) -> None:
        """Wait a moment for what workers say, and take note of it."""
        for key, _ in self._selector.select(_PATIENCE):
            member: _Member = key.data
            try:
                data = member.pipe.recv_bytes()
            except (EOFError, OSError):
                self._lose(member, QuantumStatus.FAILED)
                continue
            if data[:1] == b"{":
                self._hear(member, json.loads(data))
            else:
                self._read(member, data)
        self._look_for_dead()
        if self._limited:
            self._hold_to_limits()

    def _hear(self, member: _Member, message: dict[str, Any]) -> None:
        said = message["say"]
        if said == "ready":
            member.journal = Path(message["journal"])
            member.seen = _first_line(member.journal)
            member.header = attrs.evolve(member.header, pid=message["pid"])
        elif said == "progress":
            self._driver.progressed(message["index"], message["fraction"], message["message"])
        elif said == "returned":
            member.asked = not message["quanta"]
            for q in message["quanta"]:
                member.left.pop(q, None)
            self._driver.give_back(message["quanta"])
        elif said == "pause":
            member.paused = time.monotonic()
        elif said == "resume":
            member.since += time.monotonic() - member.paused
            member.paused = 0.0
        elif said == "bye":
            self._driver.worker_cpu += message["cpu"]
            member.stopping = True
        else:
            raise ExecutionError(
                f"worker process {member.header.pid} cannot {'go on' if member.journal else 'begin'}: "
                f"{message['what']}\n{message['traceback']}".rstrip()
            )

    def _read(self, member: _Member, data: bytes) -> None:
        """Take note of lines of a worker's journal."""
        driver = self._driver
        member.seen += len(data)
        if member.journal is not None:
            self._dirty.add(member.journal)
        for event in read_lines(data, member.header, driver.types):
            if not isinstance(event, Attempt):
                member.current = index, number, at = event
                member.since = member.looked = time.monotonic()
                driver.started(index, number, member.header.host, member.header.pid, at)
                continue
            attempt = event
            member.current = None
            member.left.pop(attempt.index, None)
            self._deaths = 0
            self._learn(member, attempt)
            driver.ended(attempt)
            # Only behind a failure is anything left out; to look each time would cost all that is handed out.
            if member.left and attempt.status is QuantumStatus.FAILED:
                self._drop_left_out(member)

    def _drop_left_out(self, member: _Member) -> None:
        """Forget what the worker leaves out behind a failure in its bundle."""
        for q in self._driver.schedule.not_running(member.left):
            del member.left[q]

    def _learn(self, member: _Member, attempt: Attempt) -> None:
        known = self._seconds.get(attempt.label)
        now = attempt.wall if known is None else known + 0.2 * (attempt.wall - known)
        self._seconds[attempt.label] = member.seconds = now

    def _look_for_dead(self) -> None:
        """Find workers whose end the pipe does not tell, since children that a task forked have it too."""
        now = time.monotonic()
        if now - self._looked < _ROUND:
            return
        self._looked = now
        for member in list(self._members):
            # What it began last it may have had no time to tell.
            quiet = member.current is None or member.running > _ROUND
            if member.left and quiet and not is_alive(member.header.pid):
                self._lose(member, QuantumStatus.FAILED)

    # -- limits -------------------------------------------------------------------------------

    def _hold_to_limits(self) -> None:
        """End workers whose quanta take too long or hold too much, with all that these started."""
        now = time.monotonic()
        for member in list(self._members):
            if member.current is None:
                continue
            label = self._driver.plan.task_of(member.current[0]).label
            limits = self._driver.retrying.limits_of(member.current[0], label)
            if limits.timeout is not None and not member.paused and now - member.since > limits.timeout:
                self._end(
                    member,
                    Failure(
                        "Timeout",
                        f"it took longer than the {limits.timeout:g} s that it may take",
                        kind=FailureClass.TIMEOUT,
                    ),
                )
            elif limits.memory is not None and now - member.looked > _LOOK:
                member.looked = now
                held = memory_of(member.header.pid, limits.memory)
                if held > limits.memory:
                    self._end(
                        member,
                        Failure(
                            "MemoryLimit",
                            f"it and what it started held {say_size(held)} in memory, and may hold "
                            f"{say_size(limits.memory)}",
                            kind=FailureClass.OUT_OF_MEMORY,
                        ),
                    )

    def _end(self, member: _Member, failure: Failure) -> None:
        """End a worker for what it runs; if that ends in the last moment, it counts."""
        end_tree(member.header.pid)
        member.ending = failure
        self._lose(member, QuantumStatus.FAILED)

    # -- deaths -------------------------------------------------------------------------------

    def _lose(self, member: _Member, status: QuantumStatus) -> None:
        """Take note that a worker is gone: of what it still wrote, what it ran, and what it had."""
        self._selector.unregister(member.pipe.fileno())
        self._members.remove(member)
        member.pipe.close()
        self._bury(member)
        if member.journal is not None:
            with suppress(OSError), member.journal.open("rb") as file:
                file.seek(member.seen)
                rest = file.read()
                self._read(member, rest[: rest.rfind(b"\n") + 1])
        code = member.process.exitcode
        begun = member.current
        if begun is not None:
            member.left.pop(begun[0], None)
            self._driver.died(self._attempt_of_dead(member, begun, status, code))
            self._drop_left_out(member)
        self._driver.give_back(member.left)
        if self._stopping or self._driver.schedule.stopped:
            return
        self._deaths += begun is None
        if self._deaths >= _DEATHS:
            raise ExecutionError(
                f"{self._deaths} worker processes in a row ended before they ran anything, the last one "
                f"{_how(code)}; what they wrote to stderr may say why"
            )
        if not self._driver.over:
            self._hire()

    def _bury(self, member: _Member) -> None:
        """See to it that a worker and all that it started has ended, before others do its work."""
        in_order = member.stopping and member.current is None
        if in_order:
            member.process.join(_GRACE)
        if not in_order or member.process.is_alive():
            until = time.monotonic() + _GRACE
            # Not by the process object: children that a task forked keep its signs of life open.
            while is_alive(member.header.pid) and time.monotonic() < until:
                time.sleep(0.005)
            end_tree(member.header.pid)  # a task may have closed the pipe over our heads
            end_holders([member.journal] if member.journal is not None else [])
            end_left_behind(self._driver.folder.path, member.header.pid)
        member.process.join()

    def _attempt_of_dead(
        self, member: _Member, begun: tuple[int, int, int], status: QuantumStatus, code: int | None
    ) -> Attempt:
        index, number, start = begun
        why: Failure | str = "its process was ended with the run"
        if status is QuantumStatus.FAILED:
            why = member.ending or Failure(
                "WorkerDied",
                f"the process that ran it (process {member.header.pid} on {member.header.host}) {_how(code)}",
                kind=FailureClass.KILLED,
            )
        where = member.header.host, member.header.pid
        return cut_short(self._driver.plan, index, number, where, start, why)

    def _sync(self) -> None:
        for path in self._dirty:
            try:
                fd = os.open(path, os.O_RDONLY)
                try:
                    os.fdatasync(fd)
                finally:
                    os.close(fd)
            except OSError as error:
                raise _unseen(path, error) from error
        self._dirty.clear()


def warm_up(plan: ScienceDag, threads: int) -> None:
    """Have what workers of a plan import imported once for all of them, beside what this process does."""
    start_fork_server(["executors.pool.worker", "graphbuilder.dag.file", *plan.task_modules()], threads)


def _first_line(path: Path) -> int:
    """Return the length of a journal's header, which is not sent."""
    try:
        with path.open("rb") as file:
            return len(file.readline())
    except OSError as error:
        raise _unseen(path, error) from error


def _unseen(path: Path, error: OSError) -> ExecutionError:
    why = error.strerror or error
    return ExecutionError(
        f"the journal of a worker cannot be read: {path}: {why}; run the same again once it can"
    )


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    hint = "; the system may have run out of memory" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{hint}"
