"""A worker process: started once, reads the plan itself, and runs what the driver sends it.

Driver and worker talk over one pipe in JSON. The driver says ``run`` (quanta, in order), ``return`` (give
back some that have not begun) and ``stop``. The worker says ``ready``, then sends each line that it wrote to
its journal, just as it stands there, and says what it gives back. Lines of quanta that are short share
messages, one for each fiftieth of a second. Since lines are written before they are sent, a driver that finds
a worker dead reads the rest in the worker's journal.

A thread reads the pipe while quanta run. When the pipe ends, the driver is gone, and so is the worker, at
once, with all that its tasks have started. (The kernel may be quicker and end the worker alone; what is left
behind then, the next driver ends.)
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import attrs

from executors.decisions.work import Work
from executors.host.limits import Guard, Limits
from executors.host.processes import become_reaper, end_children, keep_files
from executors.journal.journal import Header, Journal
from executors.journal.runfolder import RunFolder
from executors.outcome import Attempt
from executors.overheads.making import Overheads
from executors.overheads.shared import SharedObjects
from executors.overheads.store import OverheadStore
from executors.quanta.fusion import Fusion, Readings
from executors.quanta.jobfolders import folded, job_folders
from executors.quanta.performer import Performer
from executors.quanta.runner import QuantumRunner, failure_of
from executors.quanta.surroundings import Surroundings, SurroundingsSpec
from executors.quanta.taskset import TaskSet
from executors.workplaces.workplace import Workplace, WorkplaceSpec
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Outline
from supertask.butler.datastore import Datastore
from supertask.butler.limited import LimitedButler
from supertask.datasets import Dataset

__all__ = ["WorkerSpec", "main"]

_PR_SET_PDEATHSIG = 1
_SLICE = 0.02
"""Seconds for which lines may wait to share a message, where quanta are that short."""


@attrs.frozen
class WorkerSpec:
    """What a worker must know to begin."""

    root: str
    """Folder of the repository."""
    plan_file: str
    header: dict[str, Any]
    """Fields of the run's journal `Header`."""
    init_inputs: list[tuple[str, str, str]]
    """Init inputs from outside of the plan: name, storage format, location."""
    memory: dict[str, list[int | None]] = attrs.field(factory=dict)
    """Task label → bytes that its quanta, or those of each variant, may hold; see `executors.host.limits`."""
    workplace: WorkplaceSpec = attrs.field(factory=WorkplaceSpec)
    """Where quanta work."""
    surroundings: SurroundingsSpec | None = None
    """Of each call."""
    inherited: tuple[int, ...] = ()
    """Of a forked worker: the driver's open files, which would keep its locks and pipes alive after it."""
    parent: int = 0
    """Of a forked worker: the driver's process."""


def main(pipe: Connection, spec: WorkerSpec) -> None:
    """Run quanta until told to stop; what a worker process is started with."""
    for fd in spec.inherited:
        os.close(fd)
    _end_with_parent(spec.parent)
    keep_files()
    become_reaper(RunFolder(spec.root, spec.header["run"]).path)
    # The driver heeds signals for all. Not SIG_IGN, which a task's own children would inherit.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        worker = _Worker(pipe, spec)
        worker.say({"say": "ready", "pid": os.getpid(), "journal": str(worker.journal.path)})
    except BaseException as error:
        failure = failure_of(error)
        pipe.send_bytes(
            json.dumps({"say": "trouble", "what": str(failure), "traceback": failure.traceback}).encode()
        )
        raise SystemExit(1) from error
    code = 0
    try:
        worker.run()
    except BaseException as error:  # noqa: BLE001 - said to the driver, which decides
        failure = failure_of(error)
        worker.say({"say": "trouble", "what": str(failure), "traceback": failure.traceback})
        code = 1
    worker.workplace.close()
    worker.journal.close()
    worker.say({"say": "bye", "cpu": time.process_time()})
    _flush_streams()
    # Tasks may leave threads that never end; nothing of ours is left to do.
    os._exit(code)


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def _end_with_parent(parent: int) -> None:
    """Ask the kernel to end this process with the one that started it, even while it runs C code."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        os._exit(1)  # it ended before it was asked


class _Worker:
    def __init__(self, pipe: Connection, spec: WorkerSpec) -> None:
        self._pipe = pipe
        self._pipe_lock = threading.Lock()
        self._changed = threading.Condition()
        self._queue: deque[_Piece] = deque()
        self._stopping = False
        self._plan = ScienceDag.load(spec.plan_file)
        datastore = Datastore.open(spec.root)
        inputs = {
            Dataset.subclass(name, (), storage)(): location for name, storage, location in spec.init_inputs
        }
        tasks = TaskSet(self._plan.tasks, LimitedButler(datastore, self._plan.model, inputs, {}))
        fields = {**spec.header, "role": "worker", "tasks": tuple(map(tuple, spec.header["tasks"]))}
        header = Header(**{k: v for k, v in fields.items() if k not in {"host", "pid", "time"}})
        self.journal = Journal(RunFolder(spec.root, header.run), header)
        held = {label: tuple(Limits(memory=one) for one in each) for label, each in spec.memory.items()}
        guard = Guard(held)
        self._guard = guard
        machine = SharedObjects(spec.root, header.run, header.plan)
        overheads = Overheads(OverheadStore(spec.workplace.overhead_memory), self._paused, machine)
        self.workplace = Workplace(datastore, spec.workplace)
        fusion = Fusion(self._plan, self.workplace, Readings(self._plan)) if spec.workplace.elide else None
        around = Surroundings(spec.surroundings, self._progressed) if spec.surroundings is not None else None
        keep_log = self.journal.write_log
        self._runner = QuantumRunner(self._plan, self.workplace, tasks, keep_log, guard, around, overheads)
        folders = job_folders(spec.surroundings, self._plan, header.plan, own_process=True)
        ended = folders.noting(self._ended) if folders is not None else self._ended
        alike = self._ended_alike if folders is None else None
        performer = Performer(
            self._runner, self.journal, self._started, ended, fusion, self._keep_line, alike
        )
        self._performer = folded(performer, folders)
        self._lines: list[bytes] = []
        self._sent = 0.0
        self._waits = threading.Event()
        """Whether lines wait."""
        self._at_once = bool(spec.memory)
        """Whether somebody holds quanta to limits, and so must hear of each at once."""

    def say(self, message: dict[str, Any]) -> None:
        """Send a message that is not in the journal, after all that is."""
        self._flush(json.dumps(message).encode())

    def _keep_line(self, data: bytes) -> None:
        with self._pipe_lock:
            self._lines.append(data)
            if not self._waits.is_set():
                self._waits.set()

    def _flush(self, *messages: bytes) -> None:
        """Send the lines that wait, and then some messages."""
        with self._pipe_lock:
            lines = b"".join(self._lines)
            self._lines.clear()
            self._waits.clear()
            self._sent = time.monotonic()
            try:
                for data in (lines, *messages):
                    if data:
                        self._pipe.send_bytes(data)
            except OSError:  # the driver is gone; its next session reads the journal
                os._exit(1)

    def _send_waiting(self) -> None:
        """Send what waits now and then; a thread of its own does so while a task runs long."""
        while True:
            self._waits.wait()
            time.sleep(_SLICE)
            self._flush()

    def _progressed(self, index: int, fraction: float, message: str) -> None:
        self.say({"say": "progress", "index": index, "fraction": fraction, "message": message})

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Let the driver's clock stand still within the block, and no limit hold."""
        self.say({"say": "pause"})
        try:
            with self._guard.paused():
                yield
        finally:
            self.say({"say": "resume"})

    def _started(self, index: int, number: int, time_ns: int, data: bytes) -> None:
        self._keep_line(data)
        if self._at_once or time.monotonic() - self._sent >= _SLICE:
            self._flush()

    def _ended(self, attempt: Attempt, data: bytes) -> None:
        # The start of the next quantum follows within microseconds and shares its message.
        self._keep_line(data)

    def _ended_alike(self, _: Attempt, __: Sequence[Outline], data: bytes) -> None:
        self._keep_line(data)

    def run(self) -> None:
        """Run what comes until told to stop."""
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._send_waiting, daemon=True).start()
        while True:
            with self._changed:
                while not self._queue and not self._stopping:
                    self._flush()
                    self._changed.wait()
                if self._stopping:
                    break
                piece = self._queue[0]
            self._performer.perform(
                piece.work,
                self._next(piece),
                numbers=piece.numbers,
                missing=piece.missing,
                memory=piece.memory,
            )
        self._flush()

    def _next(self, piece: _Piece) -> Iterator[int]:
        """Give the quanta of one piece that are still wanted."""
        while True:
            with self._changed:
                if self._stopping or not piece.left:
                    if self._queue and self._queue[0] is piece:
                        self._queue.popleft()
                    return
                q = piece.left.popleft()
            yield q

    def _listen(self) -> None:
        while True:
            try:
                message = json.loads(self._pipe.recv_bytes())
            except (EOFError, OSError):
                end_children()
                os._exit(1)
            with self._changed:
                if message["do"] == "run":
                    self._queue.append(_Piece.from_message(message))
                elif message["do"] == "stop":
                    self._stopping = True
                else:
                    self._give_back(message["most"])
                self._changed.notify()

    def _give_back(self, most: int) -> None:
        """Give back quanta from the end of the queue; bundles stay whole."""
        back: list[int] = []
        for piece in reversed(self._queue):
            while piece.work.bundle < 0 and piece.left and len(back) < most:
                back.append(piece.left.pop())
        self.say({"say": "returned", "quanta": back[::-1]})


@attrs.define
class _Piece:
    """Work in the queue."""

    work: Work
    left: deque[int]
    numbers: dict[int, int]
    missing: dict[int, frozenset[bytes]]
    memory: dict[int, int]

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> _Piece:
        quanta = tuple(message["quanta"])
        told = [
            {int(q): tuple(ps) for q, ps in message.get(name, {}).items()}
            for name in ("absent", "lost", "behind")
        ]
        return cls(
            Work(quanta, message["bundle"], *told),
            deque(quanta),
            {int(q): n for q, n in message.get("numbers", {}).items()},
            {
                int(p): frozenset(map(bytes.fromhex, left_out))
                for p, left_out in message.get("missing", {}).items()
            },
            {int(q): m for q, m in message.get("memory", {}).items()},
        )
