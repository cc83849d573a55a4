"""Brings home what jobs made, and merges what they wrote in the run's journal; as often as one likes.

In this order, so that it may be killed at any moment: an output gets its place in the repository, whole, then
the end of its quantum gets into the journal. Found again, the same is done again, to the same effect; an end
that the journal has is passed over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence

import attrs
import numpy as np

from executors.jobs.belongings import bring_all_home, bring_quantum_home
from executors.jobs.folder import JobFolder
from executors.jobs.pieces import Line, Piece
from executors.journal.journal import Journal, decode_attempt, encode_attempt, read_log, seal
from executors.outcome import Attempt, Failure, QuantumStatus
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.content import checksum_file
from supertask.butler.datastore import TEMPORARY_PREFIX, Datastore
from supertask.errors import PreflightError, StorageError
from supertask.rows import FileRecord

__all__ = ["Begun", "Gatherer", "Progressed"]

_LATE = 30.0
_WIDTH = 16
_TOGETHER = 1000
"""So many lines of a job are taken before who asked hears of it."""
_TAKEN = {"start", "progress", "end"}


@attrs.frozen
class Begun:
    """An attempt that a job began."""

    index: int
    number: int
    host: str
    pid: int
    time: int
    """UTC, ns since 1970."""


@attrs.frozen
class Progressed:
    """How far a quantum is, as its task says."""

    index: int
    fraction: float
    message: str


class Gatherer:
    """Takes what jobs of one run wrote.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    datastore : Datastore
        The repository's files.
    journal : Journal
        Where ends are written.
    ended : callable
        Returns the number of the last attempt of a quantum that the journal knows the end of, 0 for none.
    late : float, optional
        Seconds to wait for files that a shared file system may show late.
    stopped : callable, optional
        Called with a job and the index of a quantum that was broken off as its job was stopped; returns why
        that counts as a failure, None where it does not.
    """

    def __init__(
        self,
        plan: ScienceDag,
        datastore: Datastore,
        journal: Journal,
        ended: Callable[[int], int],
        late: float = _LATE,
        stopped: Callable[[JobFolder, int], Failure | None] = lambda _, __: None,
    ) -> None:
        self.problems: list[str] = []
        self._plan = plan
        self._types = {t.name: t for t in plan.datasets}
        self._identities = memoryview(np.ascontiguousarray(plan.identities)).cast("B")
        self._datastore = datastore
        self._journal = journal
        self._ended_before = ended
        self._taken: dict[int, int] = {}
        self._late = late
        self._stopped = stopped
        self._waiting: dict[Piece, tuple[float, list[Line]]] = {}
        """Pieces with outputs that are not seen yet → since when, and their lines from there on."""

    def clear_away(self, job: JobFolder) -> None:
        """Delete the folder of a job that has ended, once all that it has beside its outputs is brought home.

        Raises
        ------
        StorageError
            The repository does not take it.
        """
        with _storing(self._datastore.root):
            bring_all_home(job, self._datastore.root, self._plan.meta.output_run)
        job.take_back()  # an engine may start it once more
        shutil.rmtree(job.path, ignore_errors=True)

    def is_waiting(self, piece: Piece) -> bool:
        """Tell whether a piece speaks of outputs that are not seen yet."""
        return piece in self._waiting

    def take(self, piece: Piece) -> Iterator[Begun | Progressed | Attempt]:
        """Give what is new in a piece: attempts that began, that go on, or that ended and are in the journal.

        Raises
        ------
        ExecutionError
            The journal cannot be written.
        StorageError
            The repository does not take an output.
        """
        since, held = self._waiting.pop(piece, (time.monotonic(), []))
        lines = [*held, *piece.read()]
        self._collect_problems(piece)
        piece.look_for_folders()
        for begin in range(0, len(lines), _TOGETHER):
            found: list[Begun | Progressed | Attempt] = []
            ends: list[bytes] = []
            try:
                at = self._read(piece, lines[begin : begin + _TOGETHER], since, found, ends)
            finally:
                # What was brought home before something went wrong counts.
                if ends:
                    self._journal.append(b"".join(ends))
                    self._taken.update(
                        (each.index, each.number) for each in found if isinstance(each, Attempt)
                    )
            yield from found
            if at is not None:
                self._waiting[piece] = (since, lines[begin + at :])
                return

    def _read(
        self,
        piece: Piece,
        lines: Sequence[Line],
        since: float,
        found: list[Begun | Progressed | Attempt],
        ends: list[bytes],
    ) -> int | None:
        """Find out what lines say, and bring home what they speak of; return which one has to wait.

        What they say is added to `found`, and the lines of ends that the journal is to have to `ends`.
        """
        taken: dict[int, int] = {}
        for at, line in enumerate(lines):
            said = line.said
            event = said["event"]
            if event not in _TAKEN:
                continue
            index = self._index(line)
            if index is None:
                continue
            if event == "progress":
                found.append(Progressed(index, said["fraction"], said["message"]))
                continue
            known = max(taken.get(index, 0), self._known(index))
            if said["attempt"] <= known:
                continue  # a duplicate: its end is in the journal
            if event == "start":
                header = line.header
                found.append(Begun(index, said["attempt"], header.host, header.pid, said["time"]))
                continue
            same = index == said["index"]
            made = decode_attempt(said if same else {**said, "index": index}, line.header, self._types)
            attempt = made
            try:
                self._bring_home(piece, attempt)
            except _NotSeenError as late:
                if time.monotonic() - since < self._late:
                    return at
                attempt = attrs.evolve(attempt, status=QuantumStatus.LOST, reason=str(late), records=())
            attempt = self._completed(piece, attempt, line)
            found.append(attempt)
            ends.append(self._line_of(attempt, line if same and attempt is made else None))
            taken[index] = attempt.number
        return None

    def _line_of(self, attempt: Attempt, line: Line | None) -> bytes:
        """Return the line for the run's journal; most are those of the job, and tell whose process it was."""
        if line is None:
            return seal(encode_attempt(attempt, self._journal.header).encode("utf-8", "backslashreplace"))
        return seal(line.text if "process" in line.said else line.text[:-1] + line.process)

    def _known(self, index: int) -> int:
        return max(self._taken.get(index, 0), self._ended_before(index))

    def _collect_problems(self, piece: Piece) -> None:
        self.problems += piece.problems
        piece.problems.clear()

    def _index(self, line: Line) -> int | None:
        """Return which quantum of the plan a line is about; what is of another plan is left where it is."""
        meta, said = self._plan.meta, line.said
        if line.header.run == meta.output_run and line.header.repository in {"", meta.repository}:
            index, identity = said["index"], said["quantum"]
            if self._identities[_WIDTH * index : _WIDTH * index + _WIDTH].hex() == identity:
                return int(index)
            with contextlib.suppress(PreflightError):
                return self._plan.find_identity(bytes.fromhex(identity))
        problem = f"{line.path}: it is of another plan (of run {line.header.run!r}), and is not taken"
        if problem not in self.problems:
            self.problems.append(problem)
        return None

    def _completed(self, piece: Piece, attempt: Attempt, line: Line) -> Attempt:
        """Return an attempt as the run's journal has it."""
        if attempt.status is QuantumStatus.CANCELLED:
            # Stopped was this one job; the run goes on.
            failure = self._stopped(piece.job, attempt.index)
            status = QuantumStatus.LOST if failure is None else QuantumStatus.FAILED
            reason = "its job was stopped" if failure is None else ""
            attempt = attrs.evolve(attempt, status=status, reason=reason, failure=failure)
        log = read_log(line.path, attempt.log_span) if attempt.log_span else ""
        span = self._journal.write_log(log) if log else None
        # The journal has data IDs of failures alone; to look one up takes longer than all else here.
        dataId = attempt.dataId
        if dataId is None and attempt.failure is not None:
            dataId = self._plan.quanta[attempt.index].dataId
        label = self._plan.task_of(attempt.index).label
        same = label == attempt.label and dataId is attempt.dataId and span is attempt.log_span is None
        if same:  # most are, and to make another takes as long as to read it
            return attempt
        return attrs.evolve(attempt, log=log, log_span=span, dataId=dataId, label=label)

    # -- outputs ------------------------------------------------------------------------------

    def _bring_home(self, piece: Piece, attempt: Attempt) -> None:
        root, run = self._datastore.root, self._plan.meta.output_run
        if piece.has_folders(run):
            label = self._plan.task_of(attempt.index).label
            with _storing(root):
                bring_quantum_home(piece.job, root, run, label, attempt.identity)
        for record in attempt.records:
            source = piece.path_of(record.location)
            final = self._datastore.path(record.location)
            if source and os.path.exists(source):
                _place(source, final, record)
            elif not _is_there(final, record):
                raise _NotSeenError(f"its output {record.location} is not to be found in {piece.job.path}")


@contextlib.contextmanager
def _storing(root: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{root} cannot be written: {error}") from error


class _NotSeenError(Exception):
    """An output is not there, or not yet."""


def _is_there(path: str, record: FileRecord) -> bool:
    try:
        return os.stat(path).st_size == record.size
    except OSError:
        return False


def _place(source: str, final: str, record: FileRecord) -> None:
    """Give a file its place in the repository, at once."""
    folder, _, name = final.rpartition("/")
    # Who is killed here leaves it to the next, who alone holds the run's lock and finds it by its name.
    temporary = f"{folder}/{TEMPORARY_PREFIX}home-{name}"
    try:
        if not _is_there(source, record):
            raise _NotSeenError(f"its output {source} has not the {record.size} bytes that it should")
        os.makedirs(folder, exist_ok=True)
        _link_or_copy(source, temporary, record.checksum)
        os.replace(temporary, final)
        # Two names of one file are left as they are by rename.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise StorageError(f"{final} cannot be written: {error}") from error


def _link_or_copy(source: str, target: str, checksum: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}:
            raise
    else:
        return
    shutil.copyfile(source, target)
    fd = os.open(target, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    if checksum and checksum_file(target) != checksum:
        raise _NotSeenError(f"its output {source} is not what was written: its checksum differs")
