"""What may run next: a state machine over the plan's edges, without I/O.

Events go in (`finish`, `give_back`, `stop`), decisions come out (`take`, and what a failure blocks). The
rules:

- A quantum may run when all quanta that it depends on have finished: succeeded, or ended without work.
- A failed quantum blocks its descendants and nothing else.
- A quantum without work leaves its outputs unmade, and one that succeeded may have left out some. Those that
  depend on it run with fewer inputs, and are told whose outputs are absent; whether enough is left is for the
  runner to decide, which knows the minimums.
- With bundles, what is handed out is a bundle: as soon as everything outside that it depends on has ended,
  however it ended. Quanta that are blocked by then are left out.
- What an earlier session finished stays finished, even behind something that must run again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from executors.outcome import QuantumStatus
from supertask.errors import ExecutionError

__all__ = ["BundleWalk", "Schedule", "Work"]

Successors = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]

_PLANNED = QuantumStatus.PLANNED.code
_RUNNING = QuantumStatus.RUNNING.code
_SUCCEEDED = QuantumStatus.SUCCEEDED.code
_NO_WORK = QuantumStatus.NO_WORK.code
_FAILED = QuantumStatus.FAILED.code
_BLOCKED = QuantumStatus.BLOCKED.code
_CANCELLED = QuantumStatus.CANCELLED.code
_NONE: list[int] = []
_ENDS = frozenset({_SUCCEEDED, _NO_WORK, _FAILED})


class _Bundling(Protocol):
    """Quanta of each bundle, one after another; `graphbuilder.dag.values.Bundling` is one."""

    @property
    def indptr(self) -> npt.NDArray[np.int64]: ...
    @property
    def indices(self) -> npt.NDArray[np.int32]: ...


@attrs.frozen
class Work:
    """What is handed out at once, to be run in this order."""

    quanta: tuple[int, ...]
    bundle: int = -1
    """Its number, or -1 for quanta that are independent of each other."""
    absent: dict[int, tuple[int, ...]] = attrs.field(factory=dict)
    """Quantum → those it depends on that ended without all of their outputs."""


class Schedule:
    """Says what may run next.

    Parameters
    ----------
    successors : tuple of numpy.ndarray
        For each quantum those that wait for it: indptr (n + 1,) int64 and indices int32.
    bundling : Bundling, optional
        What to hand out together. Every quantum is in exactly one bundle, after those of the same bundle
        that it depends on.
    statuses : numpy.ndarray, optional
        Shape (n,), uint8: codes of `QuantumStatus` from earlier sessions. What finished stays finished; all
        else is planned anew.
    partial : collection of int, optional
        Quanta that succeeded in earlier sessions and left out outputs.
    max_failures : int, optional
        Hand out nothing more once so many have failed; 1 is "fail fast".

    Raises
    ------
    ExecutionError
        The bundling does not fit the plan.
    """

    def __init__(
        self,
        successors: Successors,
        bundling: _Bundling | None = None,
        *,
        statuses: npt.NDArray[np.uint8] | None = None,
        partial: Collection[int] = (),
        max_failures: int | None = None,
    ) -> None:
        indptr, indices = successors
        n = len(indptr) - 1
        done = np.zeros(n, bool) if statuses is None else (statuses == _SUCCEEDED) | (statuses == _NO_WORK)
        codes = np.full(n, _PLANNED, np.uint8)
        if statuses is not None:
            codes[done] = statuses[done]
        self.n_quanta = n
        self.stopped = False
        self.n_failed = 0
        self.n_running = 0
        self.n_open = int(n - done.sum())
        """How many are planned or running."""
        self._max_failures = max_failures
        # Memoryviews: scalar access to numpy arrays costs three times as much, lists 127 bytes per quantum.
        self._indptr = memoryview(np.ascontiguousarray(indptr, np.int64))
        self._indices = memoryview(np.ascontiguousarray(indices, np.int32))
        self._codes = codes
        self._status = memoryview(codes)
        self._absent: dict[int, list[int]] = {}
        self._ready: deque[int] = deque()
        """Quanta, or bundles where there are any."""
        owners = np.repeat(np.arange(n, dtype=np.int32), np.diff(indptr)) if done.any() or bundling else None
        if bundling is None:
            self._bundles: _Bundles | None = None
            waiting = np.bincount(indices, minlength=n).astype(np.int32)
            if owners is not None:
                waiting -= np.bincount(indices[done[owners]], minlength=n).astype(np.int32)
            self._ready.extend(np.flatnonzero((waiting == 0) & ~done).tolist())
            # What is finished is never released again: from -1 it only goes down.
            waiting[done] = -1
            self._waiting = memoryview(waiting)
        else:
            assert owners is not None  # noqa: S101 - made three lines above
            self._bundles = _Bundles(bundling, indices, owners, done)
            self._waiting = self._bundles.waiting
            self._ready.extend(b for b in range(self._bundles.n) if not self._waiting[b])
        if owners is not None:
            short = codes == _NO_WORK
            short[list(partial)] = True
            for edge in np.flatnonzero(short[owners]).tolist():
                self._absent.setdefault(int(indices[edge]), []).append(int(owners[edge]))

    # -- what may run -------------------------------------------------------------------------

    def take(self, most: int = 1) -> Work | None:
        """Return what to run next and count it as running; None where nothing is ready, or all stopped.

        Parameters
        ----------
        most : int, optional
            How many quanta at most, where there are no bundles. A bundle is always whole.
        """
        if self.stopped:
            return None
        ready, status = self._ready, self._status
        bundle = -1
        chosen: list[int] = []
        if self._bundles is None:
            while ready and len(chosen) < most:
                chosen.append(ready.popleft())
        else:
            while ready and not chosen:
                bundle = ready.popleft()
                chosen = [q for q in self._bundles.quanta(bundle) if status[q] == _PLANNED]
        if not chosen:
            return None
        for q in chosen:
            status[q] = _RUNNING
        self.n_running += len(chosen)
        absent = self._absent
        known = {q: tuple(absent[q]) for q in chosen if q in absent} if absent else {}
        return Work(tuple(chosen), bundle, known)

    @property
    def next_ready(self) -> int | None:
        """The quantum that `take` would begin with, where there are no bundles."""
        return self._ready[0] if self._ready and self._bundles is None and not self.stopped else None

    @property
    def n_ready(self) -> int:
        """How many quanta (or bundles) could be taken at once; a bundle may turn out to be all blocked."""
        return 0 if self.stopped else len(self._ready)

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing more may be taken.

        Raises
        ------
        ExecutionError
            Quanta are left that wait for each other.
        """
        if self.n_running or self.n_ready:
            return False
        if self.n_open and not self.stopped:
            raise ExecutionError(
                f"{self.n_open} quanta wait for each other: the plan or its bundles have a cycle. "
                "Plan again, or batch again"
            )
        return True

    # -- what happened ------------------------------------------------------------------------

    def finish(self, quantum: int, status: QuantumStatus, *, partial: bool = False) -> list[int]:
        """Take note that a running quantum ended.

        Parameters
        ----------
        quantum : int
            Its index.
        status : QuantumStatus
            SUCCEEDED, NO_WORK or FAILED.
        partial : bool, optional
            Whether it succeeded and left out outputs.

        Returns
        -------
        list of int
            Quanta that are blocked now and were not before.
        """
        code = status.code
        if self._status[quantum] != _RUNNING or code not in _ENDS:
            now = QuantumStatus.from_code(self._status[quantum])
            raise ValueError(f"quantum {quantum} is {now.value}: it cannot become {status.value}")
        self._status[quantum] = code
        self.n_running -= 1
        self.n_open -= 1
        if code == _FAILED:
            self.n_failed += 1
            if self._max_failures is not None and self.n_failed >= self._max_failures:
                self.stopped = True
            return self._block_descendants(quantum)
        if code == _NO_WORK or partial:
            for c in self._indices[self._indptr[quantum] : self._indptr[quantum + 1]]:
                if self._status[c] == _PLANNED or self._bundles is not None:
                    self._absent.setdefault(c, []).append(quantum)
        self._release(quantum)
        return _NONE

    def _release(self, quantum: int) -> None:
        waiting, ready = self._waiting, self._ready
        indptr, bundles = self._indptr, self._bundles
        after = self._indices[indptr[quantum] : indptr[quantum + 1]]
        if bundles is None:
            for c in after:
                left = waiting[c] - 1
                waiting[c] = left
                if not left:
                    ready.append(c)
            return
        own = bundles.of[quantum]
        for c in after:
            b = bundles.of[c]
            if b != own and not bundles.done[c]:
                left = waiting[b] - 1
                waiting[b] = left
                if not left:
                    ready.append(b)

    def _block_descendants(self, quantum: int) -> list[int]:
        status, indptr, indices = self._status, self._indptr, self._indices
        blocked: list[int] = []
        front = [quantum]
        while front:
            q = front.pop()
            for c in indices[indptr[q] : indptr[q + 1]]:
                # One that runs is of the same bundle: its runner knows of the failure and leaves it out.
                if status[c] == _PLANNED or (status[c] == _RUNNING and self._bundles is not None):
                    if status[c] == _RUNNING:
                        self.n_running -= 1
                    status[c] = _BLOCKED
                    blocked.append(c)
                    front.append(c)
        self.n_open -= len(blocked)
        if self._bundles is not None:
            for q in (quantum, *blocked):
                self._release(q)
        return blocked

    def give_back(self, quanta: Iterable[int]) -> None:
        """Take back quanta that were handed out and not begun, or are to be tried again; they come first."""
        back = [q for q in quanta if self._status[q] == _RUNNING]
        for q in back:
            self._status[q] = _PLANNED
        self.n_running -= len(back)
        if self._bundles is None:
            self._ready.extendleft(reversed(back))
        else:
            of = self._bundles.of
            self._ready.extendleft(dict.fromkeys(of[q] for q in reversed(back)))

    def stop(self) -> None:
        """Hand out nothing more. What runs may still finish."""
        self.stopped = True

    def cancel(self) -> int:
        """Give up on what has not finished; return how many that were."""
        left = (self._codes == _PLANNED) | (self._codes == _RUNNING)
        self._codes[left] = _CANCELLED
        self.stopped = True
        self.n_open = self.n_running = 0
        return int(left.sum())

    # -- how things stand ---------------------------------------------------------------------

    def status(self, quantum: int) -> QuantumStatus:
        """Return where a quantum stands."""
        return QuantumStatus.from_code(self._status[quantum])

    @property
    def statuses(self) -> npt.NDArray[np.uint8]:
        """A copy of all codes, shape (n,)."""
        return self._codes.copy()


class _Bundles:
    """Which bundle each quantum is in, and for how much outside of it each bundle waits."""

    def __init__(
        self,
        bundling: _Bundling,
        consumers: npt.NDArray[np.int32],
        producers: npt.NDArray[np.int32],
        done: npt.NDArray[np.bool_],
    ) -> None:
        indptr, members = np.asarray(bundling.indptr), np.asarray(bundling.indices)
        n = len(done)
        self.n = len(indptr) - 1
        if len(members) != n or (np.bincount(members, minlength=n) != 1).any():
            raise ExecutionError(
                f"the bundles hold {len(members)} quanta of {n}, or some twice: they are of another plan"
            )
        of = np.empty(n, np.int32)
        of[members] = np.repeat(np.arange(self.n, dtype=np.int32), np.diff(indptr))
        position = np.empty(n, np.int32)
        position[members] = np.arange(n, dtype=np.int32)
        inside = of[producers] == of[consumers]
        if (position[producers] >= position[consumers])[inside].any():
            raise ExecutionError(
                "a bundle holds a quantum before one that it depends on; batch the plan again"
            )
        outer = ~inside & ~done[producers] & ~done[consumers]
        self.waiting = memoryview(np.bincount(of[consumers[outer]], minlength=self.n).astype(np.int32))
        self.of = memoryview(of)
        self.done = memoryview(done)
        """What earlier sessions finished; edges to these were never counted."""
        self._indptr, self._members = indptr, members

    def quanta(self, bundle: int) -> list[int]:
        """Return the quanta of a bundle in order."""
        found: list[int] = self._members[self._indptr[bundle] : self._indptr[bundle + 1]].tolist()
        return found


class BundleWalk:
    """What to run of one piece of work, for the process that runs it.

    It keeps the rules of `Schedule` inside a bundle: quanta behind a failure are left out, those behind one
    without work are told so.

    Parameters
    ----------
    work : Work
        What was handed out.
    successors : callable
        Returns the plan's (indptr, indices); called only when a quantum did not succeed.
    """

    def __init__(self, work: Work, successors: Callable[[], Any]) -> None:
        self.work = work
        self._successors = successors
        self._members = set(work.quanta) if work.bundle >= 0 else set()
        self._absent: dict[int, list[int]] = {q: list(a) for q, a in work.absent.items()}
        self._left_out: set[int] = set()

    def may_run(self, quantum: int) -> bool:
        """Tell whether nothing of this bundle that it depends on failed."""
        return quantum not in self._left_out

    def absent(self, quantum: int) -> Sequence[int]:
        """Return those that it depends on that ended without all of their outputs."""
        return self._absent.get(quantum, ())

    def finish(self, quantum: int, status: QuantumStatus, *, partial: bool = False) -> None:
        """Take note that one ended; `partial` if it succeeded and left out outputs."""
        if not self._members or (status is QuantumStatus.SUCCEEDED and not partial):
            return
        indptr, indices = self._successors()
        front = [quantum]
        while front:
            q = front.pop()
            for c in indices[indptr[q] : indptr[q + 1]].tolist():
                if c not in self._members:
                    continue
                if status is not QuantumStatus.FAILED:
                    self._absent.setdefault(c, []).append(q)
                elif c not in self._left_out:
                    self._left_out.add(c)
                    front.append(c)
