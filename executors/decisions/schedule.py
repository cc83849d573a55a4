"""What may run next: a state machine over the plan's edges, without I/O.

Events go in (`finish`, `postpone`, `give_back`, `stop`), decisions come out (`take`, and what a failure
blocks). Time comes in as an argument. The rules:

- A quantum may run when all quanta that it depends on have finished: succeeded, or ended without work.
- A failed quantum blocks its descendants and nothing else; one that is to be tried again has not failed yet.
- A quantum that has a quorum without what failed is not blocked. It waits until all that it depends on has
  ended for good, so that it gets the same inputs in whatever order things happen.
- A quantum without work leaves its outputs unmade, and one that succeeded may have left out some. Those that
  depend on it run with fewer inputs, and are told whose outputs are absent; whether enough is left is for the
  runner to decide, which knows the minimums.
- With bundles, what is handed out is a bundle: as soon as everything outside that it depends on has ended,
  however it ended. Quanta that are blocked by then are left out. Behind a failure inside of a bundle its
  process leaves out all that depends on it; what of that may still run comes with the bundle's rest, once
  nothing of the bundle runs any more.
- What an earlier session finished stays finished, even behind something that must run again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from executors.decisions.budget import Budget
from executors.decisions.bundles import Bundles, Bundling
from executors.decisions.work import Work
from executors.outcome import QuantumStatus
from supertask.errors import ExecutionError

__all__ = ["Quorum", "Schedule"]

Successors = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]
Quorum = Callable[[int, Sequence[int]], bool]
"""Says whether a quantum may run although these others, which it depends on, failed or were blocked."""

_PLANNED = QuantumStatus.PLANNED.code
_RUNNING = QuantumStatus.RUNNING.code
_SUCCEEDED = QuantumStatus.SUCCEEDED.code
_NO_WORK = QuantumStatus.NO_WORK.code
_FAILED = QuantumStatus.FAILED.code
_BLOCKED = QuantumStatus.BLOCKED.code
_CANCELLED = QuantumStatus.CANCELLED.code
_NONE: list[int] = []
_ENDS = frozenset({_SUCCEEDED, _NO_WORK, _FAILED})


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
    tainted : collection of int, optional
        Quanta that succeeded in earlier sessions without all that the plan means them to have.
    quorum : callable, optional
        See `Quorum`; unless given, whatever depends on a failed quantum is blocked.
    max_failures : int, optional
        Hand out nothing more once so many have failed; 1 is "fail fast".
    budgets : iterable of Budget, optional
        The same for some quanta each.
    keep_failed : bool, optional
        Whether what failed in earlier sessions stays failed; else it is planned anew.

    Raises
    ------
    ExecutionError
        The bundling does not fit the plan.
    """

    def __init__(
        self,
        successors: Successors,
        bundling: Bundling | None = None,
        *,
        statuses: npt.NDArray[np.uint8] | None = None,
        partial: Collection[int] = (),
        tainted: Collection[int] = (),
        quorum: Quorum | None = None,
        max_failures: int | None = None,
        budgets: Iterable[Budget] = (),
        keep_failed: bool = False,
    ) -> None:
        indptr, indices = successors
        n = len(indptr) - 1
        done = np.zeros(n, bool) if statuses is None else (statuses == _SUCCEEDED) | (statuses == _NO_WORK)
        codes = np.full(n, _PLANNED, np.uint8)
        failed = np.zeros(n, bool)
        if statuses is not None:
            codes[done] = statuses[done]
            if keep_failed:
                failed = statuses == _FAILED
                codes[failed] = _FAILED
        self.n_quanta = n
        self.stopped = False
        self.why_stopped = ""
        """Which budget is spent, where that is why nothing more is handed out."""
        self.n_running = 0
        self.n_open = int(n - done.sum() - failed.sum())
        """How many are planned or running."""
        self._budgets = list(budgets)
        if max_failures is not None:
            self._budgets.append(Budget("", 0, n, max_failures))
        self._quorum = quorum
        # Memoryviews: scalar access to numpy arrays costs three times as much, lists 127 bytes per quantum.
        self._indptr = memoryview(np.ascontiguousarray(indptr, np.int64))
        self._indices = memoryview(np.ascontiguousarray(indices, np.int32))
        self._codes = codes
        self._status = memoryview(codes)
        self._absent: dict[int, list[int]] = {}
        self._lost: dict[int, list[int]] = {}
        self._behind: dict[int, list[int]] = {}
        self._failing: set[int] = set()
        """Quanta whose last attempt failed and that wait to be tried again."""
        self._later: list[tuple[float, int]] = []
        """A heap: when, and which quantum (or bundle) is ready then."""
        self._back: dict[int, float] = {}
        """Bundles of which something runs and something was given back → when the latter may run."""
        self._ready: deque[int] = deque()
        """Quanta, or bundles where there are any."""
        owners = np.repeat(np.arange(n, dtype=np.int32), np.diff(indptr)) if done.any() or bundling else None
        if bundling is None:
            self._bundles: Bundles | None = None
            waiting = np.bincount(indices, minlength=n).astype(np.int32)
            if owners is not None:
                waiting -= np.bincount(indices[done[owners]], minlength=n).astype(np.int32)
            self._ready.extend(np.flatnonzero((waiting == 0) & ~done & ~failed).tolist())
            # What is finished is never released again: from -1 it only goes down.
            waiting[done | failed] = -1
            self._waiting = memoryview(waiting)
        else:
            assert owners is not None  # noqa: S101 - made three lines above
            self._bundles = Bundles(bundling, indices, owners, done)
            self._waiting = self._bundles.waiting
            self._ready.extend(b for b in range(self._bundles.n) if not self._waiting[b])
        if owners is not None:
            for some, code, told in ((partial, _NO_WORK, self._absent), (tainted, -1, self._behind)):
                marked = codes == code
                marked[list(some)] = True
                for edge in np.flatnonzero(marked[owners]).tolist():
                    told.setdefault(int(indices[edge]), []).append(int(owners[edge]))
        for q in np.flatnonzero(failed).tolist():
            self._lose(q)

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
        if self._bundles is not None:
            self._bundles.running[bundle] = len(chosen)
        if self._failing:
            self._failing.difference_update(chosen)
        return self._work(chosen, bundle)

    def _work(self, chosen: Sequence[int], bundle: int) -> Work:
        told = [
            {q: tuple(known[q]) for q in chosen if q in known} if known else {}
            for known in (self._absent, self._lost, self._behind)
        ]
        return Work(tuple(chosen), bundle, *told)

    def foresee(self) -> Iterator[Work]:
        """Give all bundles that are left to run, with what is known now; they are not counted as running."""
        if self._bundles is None:
            return
        for bundle in range(self._bundles.n):
            chosen = [q for q in self._bundles.quanta(bundle) if self._status[q] == _PLANNED]
            if chosen:
                yield self._work(chosen, bundle)

    def claim(self, works: Iterable[Work]) -> list[bool]:
        """Count as running what somebody has begun already, as if it had been taken.

        Parameters
        ----------
        works : iterable of Work
            Each with all that is left of a bundle, where there are bundles.

        Returns
        -------
        list of bool
            For each whether it was; False if it could not have been taken as it is.
        """
        claimed: set[int] = set()
        found = []
        for work in works:
            found.append(self._may_claim(work))
            if found[-1]:
                for q in work.quanta:
                    self._status[q] = _RUNNING
                self.n_running += len(work.quanta)
                if self._bundles is not None:
                    self._bundles.running[work.bundle] = len(work.quanta)
                claimed.update(work.quanta if self._bundles is None else [work.bundle])
        self._ready = deque(r for r in self._ready if r not in claimed)
        return found

    def _may_claim(self, work: Work) -> bool:
        status, bundles = self._status, self._bundles
        if self.stopped or not work.quanta or (work.bundle >= 0) != (bundles is not None):
            return False
        if bundles is None:
            return all(status[q] == _PLANNED and not self._waiting[q] for q in work.quanta)
        if work.bundle >= bundles.n or self._waiting[work.bundle]:
            return False
        return {q for q in bundles.quanta(work.bundle) if status[q] == _PLANNED} == set(work.quanta)

    def wake(self, now: float) -> float | None:
        """Make ready what was postponed until now, and return when the next will be; None for never.

        Parameters
        ----------
        now : float
            Seconds of the clock by which things are postponed.
        """
        later = self._later
        while later and later[0][0] <= now:
            self._ready.appendleft(heapq.heappop(later)[1])
        return later[0][0] if later and not self.stopped else None

    @property
    def next_ready(self) -> int | None:
        """The quantum that `take` would begin with, where there are no bundles."""
        return self._ready[0] if self._ready and self._bundles is None and not self.stopped else None

    @property
    def n_ready(self) -> int:
        """How many quanta (or bundles) could be taken at once; a bundle may turn out to be all blocked."""
        return 0 if self.stopped else len(self._ready)

    @property
    def margin(self) -> int:
        """How many more failures are borne at least before nothing more is handed out."""
        return min((b.allowed - b.failed for b in self._budgets), default=self.n_quanta)

    @property
    def n_postponed(self) -> int:
        """How many quanta (or bundles) are to be tried again later."""
        return len(self._later)

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing more may be taken.

        Raises
        ------
        ExecutionError
            Quanta are left that wait for each other.
        """
        if not self.n_open:
            return True  # bundles may be left in which nothing needs to run
        if self.n_running or self.n_ready or (self._later and not self.stopped):
            return False
        if self.n_open and not self.stopped:
            raise ExecutionError(
                f"{self.n_open} quanta wait for each other: the plan or its bundles have a cycle. "
                "Plan again, or batch again"
            )
        return True

    # -- what happened ------------------------------------------------------------------------

    def finish(
        self, quantum: int, status: QuantumStatus, *, partial: bool = False, whole: bool = True
    ) -> list[int]:
        """Take note that a running quantum ended for good.

        Parameters
        ----------
        quantum : int
            Its index.
        status : QuantumStatus
            SUCCEEDED, NO_WORK or FAILED.
        partial : bool, optional
            Whether it succeeded and left out outputs.
        whole : bool, optional
            Whether it had all that the plan means it to have: False behind failures that it ran without.

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
        self.n_open -= 1
        blocked = _NONE
        if code == _FAILED:
            self._charge(quantum)
            self._take_back_inside(quantum)
            blocked = self._lose(quantum)
        else:
            if code == _NO_WORK or partial:
                self._note(self._absent, quantum)
            if not whole:
                self._note(self._behind, quantum)
            self._release(quantum)
        self._leave(quantum)
        return blocked

    def _note(self, told: dict[int, list[int]], quantum: int) -> None:
        for c in self._indices[self._indptr[quantum] : self._indptr[quantum + 1]]:
            if self._status[c] == _PLANNED or self._bundles is not None:
                told.setdefault(c, []).append(quantum)

    def _charge(self, quantum: int) -> None:
        for budget in self._budgets:
            if budget.first <= quantum < budget.stop:
                budget.failed += 1
                if budget.failed >= budget.allowed and not self.stopped:
                    self.stopped = True
                    self.why_stopped = str(budget)

    def _leave(self, quantum: int) -> None:
        """Take note that a quantum does not run any more."""
        self.n_running -= 1
        if self._bundles is None:
            return
        bundle = self._bundles.of[quantum]
        running = self._bundles.running
        running[bundle] -= 1
        if not running[bundle] and bundle in self._back:
            self._ready_at(self._back.pop(bundle), bundle)

    def _ready_at(self, due: float, which: int) -> None:
        if due:
            heapq.heappush(self._later, (due, which))
        else:
            self._ready.appendleft(which)

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

    def _lose(self, quantum: int) -> list[int]:
        """Block what depends on a quantum that failed and has no quorum without it; return what that is."""
        status, indptr, indices = self._status, self._indptr, self._indices
        blocked: list[int] = []
        front = [quantum]
        while front:
            q = front.pop()
            for c in indices[indptr[q] : indptr[q + 1]]:
                if status[c] != _PLANNED:
                    continue
                if self._quorum is not None and self._quorum(c, [*self._lost.get(c, ()), q]):
                    self._lost.setdefault(c, []).append(q)
                    if self._bundles is None:
                        self._release_one(c)
                    continue
                status[c] = _BLOCKED
                blocked.append(c)
                front.append(c)
        self.n_open -= len(blocked)
        self._failing.difference_update(blocked)
        if self._bundles is not None:
            for q in (quantum, *blocked):
                self._release(q)
        return blocked

    def _release_one(self, quantum: int) -> None:
        left = self._waiting[quantum] - 1
        self._waiting[quantum] = left
        if not left:
            self._ready.append(quantum)

    def _take_back_inside(self, quantum: int) -> None:
        """Take back what of its bundle depends on a quantum that failed: its process leaves that out."""
        if self._bundles is None:
            return
        status, indptr, indices = self._status, self._indptr, self._indices
        front = [quantum]
        while front:
            q = front.pop()
            for c in indices[indptr[q] : indptr[q + 1]]:
                if status[c] == _RUNNING:  # of the same bundle: others wait until all outside has ended
                    status[c] = _PLANNED
                    self._back.setdefault(self._bundles.of[c], 0.0)
                    self._leave(c)
                    front.append(c)

    def postpone(self, quantum: int, until: float) -> None:
        """Take back a running quantum whose attempt failed, to be tried again.

        Parameters
        ----------
        quantum : int
            Its index.
        until : float
            When, in seconds of the clock that `wake` is told; 0 for at once.
        """
        if self._status[quantum] != _RUNNING:
            raise ValueError(f"quantum {quantum} is {self.status(quantum).value}: it cannot be tried again")
        self._failing.add(quantum)
        self._take_back_inside(quantum)
        self._status[quantum] = _PLANNED
        if self._bundles is None:
            self._ready_at(until, quantum)
        else:
            bundle = self._bundles.of[quantum]
            self._back[bundle] = max(until, self._back.get(bundle, 0.0))
        self._leave(quantum)

    def give_back(self, quanta: Iterable[int]) -> None:
        """Take back quanta that were handed out and not begun, or are to be tried again; they come first."""
        back = [q for q in quanta if self._status[q] == _RUNNING]
        for q in back:
            self._status[q] = _PLANNED
        if self._bundles is None:
            self._ready.extendleft(reversed(back))
            self.n_running -= len(back)
            return
        for q in back:
            self._back.setdefault(self._bundles.of[q], 0.0)
            self._leave(q)

    def stop(self) -> None:
        """Hand out nothing more. What runs may still finish."""
        self.stopped = True

    def cancel(self) -> int:
        """Give up on what has not finished; return how many that were."""
        left = (self._codes == _PLANNED) | (self._codes == _RUNNING)
        self._codes[left] = _CANCELLED
        self._codes[list(self._failing)] = _FAILED
        self.stopped = True
        self._failing.clear()
        self.n_open = self.n_running = 0
        return int(left.sum())

    # -- how things stand ---------------------------------------------------------------------

    def not_running(self, quanta: Iterable[int]) -> list[int]:
        """Return those of some quanta that are not handed out."""
        statuses = self._status
        return [q for q in quanta if statuses[q] != _RUNNING]

    def status(self, quantum: int) -> QuantumStatus:
        """Return where a quantum stands."""
        return QuantumStatus.from_code(self._status[quantum])

    @property
    def statuses(self) -> npt.NDArray[np.uint8]:
        """A copy of all codes, shape (n,)."""
        return self._codes.copy()
