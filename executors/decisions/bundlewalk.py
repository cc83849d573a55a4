"""What to run of one piece of work: the rules of `schedule` inside a bundle, for the process that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from executors.decisions.work import Work
from executors.outcome import QuantumStatus

__all__ = ["BundleWalk"]


class BundleWalk:
    """What to run of one piece of work, for the process that runs it.

    It keeps the rules of `Schedule` inside a bundle: quanta behind a failure are left out (even those that
    may run without it, or after it is tried again: the driver hands them out anew), those behind one without
    work are told so.

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
        self._behind: dict[int, list[int]] = {q: list(b) for q, b in work.behind.items()}
        self._left_out: set[int] = set()

    @property
    def tells(self) -> bool:
        """Whether anything is to be told of any quantum."""
        return bool(self._absent or self._behind or self.work.lost)

    def may_run(self, quantum: int) -> bool:
        """Tell whether nothing of this bundle that it depends on failed."""
        return quantum not in self._left_out

    def absent(self, quantum: int) -> Sequence[int]:
        """Return those that it depends on that ended without all of their outputs."""
        return self._absent.get(quantum, ())

    def lost(self, quantum: int) -> Sequence[int]:
        """Return those that it depends on that failed or were blocked, and that it runs without."""
        return self.work.lost.get(quantum, ())

    def behind(self, quantum: int) -> Sequence[int]:
        """Return those that it depends on that were made without all that the plan means them to have."""
        return self._behind.get(quantum, ())

    def finish(
        self, quantum: int, status: QuantumStatus, *, partial: bool = False, whole: bool = True
    ) -> None:
        """Take note that one ended, as `Schedule.finish` does."""
        if not self._members or (status is QuantumStatus.SUCCEEDED and not partial and whole):
            return
        indptr, indices = self._successors()
        front = [quantum]
        while front:
            q = front.pop()
            for c in indices[indptr[q] : indptr[q + 1]].tolist():
                if c not in self._members:
                    continue
                if status is not QuantumStatus.FAILED:
                    if partial or status is QuantumStatus.NO_WORK:
                        self._absent.setdefault(c, []).append(q)
                    if not whole:
                        self._behind.setdefault(c, []).append(q)
                elif c not in self._left_out:
                    self._left_out.add(c)
                    front.append(c)
