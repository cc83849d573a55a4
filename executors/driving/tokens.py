"""Tokens that bound how many quanta use a scarce resource at once: counted by the schedule.

What needs tokens is handed out when it can have all of them, one quantum or bundle at a time, and gives
them back when nothing of it runs any more. What has to wait for tokens lets others pass.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs

from executors.decisions.schedule import Schedule
from executors.decisions.work import Work
from executors.journal.locks import hold
from executors.outcome import QuantumStatus
from executors.quanta.taskset import TaskSet
from graphbuilder.dag.values import TaskNode
from supertask.errors import ExecutionError, Problems, did_you_mean
from supertask.tasks.tokens import check_tokens, tokens_of

__all__ = ["Counter", "MachineCounter", "Need", "TokenSchedule", "TokenUse", "token_use"]

_PLANNED = QuantumStatus.PLANNED
_LOOK = 0.05
"""Seconds between two looks for tokens that others hold."""

Need = Mapping[str, int]
_NONE: Need = {}


class Tokens(Protocol):
    """Counts what is in use."""

    shared: bool
    """Whether others may hold tokens, too."""

    def take(self, need: Need) -> bool:
        """Take all that is needed, or nothing."""

    def give(self, need: Need) -> None:
        """Give back what was taken."""

    def filenos(self) -> list[int]:
        """Return the files by which tokens are held."""


class Counter:
    """Counts the tokens of one run.

    Parameters
    ----------
    limits : Mapping
        Name → how many there are.
    """

    shared = False

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.limits = dict(limits)
        self.used = dict.fromkeys(limits, 0)

    def take(self, need: Need) -> bool:
        """Take all that is needed, or nothing."""
        if any(self.used[name] + n > self.limits[name] for name, n in need.items()):
            return False
        for name, n in need.items():
            self.used[name] += n
        return True

    def give(self, need: Need) -> None:
        """Give back what was taken."""
        for name, n in need.items():
            self.used[name] -= n

    def filenos(self) -> list[int]:
        """Return nothing: tokens are held by counting."""
        return []


class MachineCounter:
    """Counts the tokens of all runs that name one folder, by locks that end with the process that has them.

    Parameters
    ----------
    limits : Mapping
        Name → how many there are.
    folder : path
        Where the lock files lie: ``<name>/<number>.token``.

    Raises
    ------
    ExecutionError
        The folder cannot be made.
    """

    shared = True

    def __init__(self, limits: Mapping[str, int], folder: str | Path) -> None:
        self.limits = dict(limits)
        self._folder = Path(folder)
        self._held: dict[str, list[int]] = {name: [] for name in limits}
        try:
            for name in limits:
                (self._folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExecutionError(
                f"tokens cannot be kept in {self._folder}: {error.strerror or error}; name a folder "
                "that can be written"
            ) from error

    def take(self, need: Need) -> bool:
        """Take all that is needed, or nothing."""
        taken: dict[str, list[int]] = {}
        # In one order everywhere; and nobody waits with tokens in hand.
        for name in sorted(need):
            taken[name] = self._some(name, need[name])
            if len(taken[name]) < need[name]:
                for fds in taken.values():
                    for fd in fds:
                        os.close(fd)
                return False
        for name, fds in taken.items():
            self._held[name] += fds
        return True

    def _some(self, name: str, wanted: int) -> list[int]:
        found: list[int] = []
        for number in range(self.limits[name]):
            if len(found) == wanted:
                break
            path = self._folder / name / f"{number}.token"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if hold(fd):
                found.append(fd)
            else:
                os.close(fd)
        return found

    def give(self, need: Need) -> None:
        """Give back what was taken."""
        for name, n in need.items():
            for _ in range(n):
                os.close(self._held[name].pop())

    def filenos(self) -> list[int]:
        """Return the files by which tokens are held, which no other process may keep open."""
        return [fd for fds in self._held.values() for fd in fds]


@attrs.frozen
class TokenUse:
    """Which quanta need how many tokens, and who counts them."""

    stops: Sequence[int]
    """Index after the last quantum of each task."""
    needs: Sequence[Need]
    """What a quantum of each task needs."""
    tokens: Tokens

    def of(self, quantum: int) -> Need:
        """Return what one quantum needs."""
        return self.needs[bisect_right(self.stops, quantum)]


def token_use(
    nodes: Iterable[TaskNode], tasks: TaskSet, limits: Mapping[str, int] | None, folder: str = ""
) -> TokenUse | None:
    """Return how tokens are used in a run; None where no task needs any.

    Parameters
    ----------
    nodes : iterable of TaskNode
        The plan's tasks, in order.
    tasks : TaskSet
        Makes them.
    limits : Mapping, optional
        Name → how many tokens there are; None where nobody counts them.
    folder : str, optional
        Where tokens are shared with other runs; unless given, they are this run's own.

    Raises
    ------
    ExecutionError
        Names every token of which nobody said how many there are, or of which a quantum needs more.
    ConfigError
        Something is no count.
    """
    if limits is None:
        return None
    limits = check_tokens(limits, "this run")
    problems = Problems("tokens of this run")
    stops, needs = [], []
    known: set[str] = set()
    for node in nodes:
        task = tasks[node.label]
        need = tokens_of(type(task), task.config)
        known |= need.keys()
        for name, n in need.items():
            if name not in limits:
                problems.add(
                    f"task {node.label!r} needs {n} of {name!r}, and nobody said how many there are: "
                    f"give tokens={{{name!r}: …}}, or --tokens {name}=N"
                )
            elif n > limits[name]:
                problems.add(
                    f"one quantum of task {node.label!r} needs {n} of {name!r}, and there are {limits[name]}"
                )
        stops.append(node.first + node.count)
        needs.append(need)
    for name in limits:
        if name not in known:
            problems.add(f"no task needs {name!r}{did_you_mean(name, known)}")
    problems.raise_if_any(ExecutionError)
    if not known:
        return None
    tokens: Tokens = MachineCounter(limits, folder) if folder else Counter(limits)
    return TokenUse(stops, needs, tokens)


@attrs.define
class _Grant:
    """Tokens that something holds which was handed out."""

    need: Need
    left: int
    """How many of its quanta have not ended."""


class TokenSchedule(Schedule):
    """A schedule that hands out only what can have its tokens.

    Parameters
    ----------
    use : TokenUse
        Who needs how many.
    *args, **kwargs
        As for `Schedule`.
    """

    def __init__(self, use: TokenUse, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._use = use
        self._grants: dict[int, _Grant] = {}
        self._held: deque[int] = deque()
        """Quanta (or bundles) that are ready but for tokens."""

    def claim(self, works: Iterable[Work]) -> list[bool]:
        """Claim nothing: what an earlier driver had begun has no tokens of this one."""
        return [False for _ in works]

    def take(self, most: int = 1) -> Work | None:
        """Return what to run next and can have its tokens; see `Schedule.take`."""
        ready = self._ready
        while ready and not self.stopped:
            need = self._need(ready[0])
            if need is None:  # a bundle with nothing left to run
                ready.popleft()
            elif not need:
                free = 1
                if self._bundles is None:
                    while free < min(most, len(ready)) and not self._use.of(ready[free]):
                        free += 1
                return super().take(free)
            elif self._use.tokens.take(need):
                work = super().take(1)
                assert work is not None  # noqa: S101 - it was looked at just above
                grant = _Grant(need, len(work.quanta))
                self._grants.update(dict.fromkeys(work.quanta, grant))
                return work
            else:
                self._held.append(ready.popleft())
        return None

    def _need(self, which: int) -> Need | None:
        """Return what a quantum, or a bundle, needs at once: of what runs one after another, the most."""
        if self._bundles is None:
            return self._use.of(which)
        needs = [self._use.of(q) for q in self._bundles.quanta(which) if self.status(q) is _PLANNED]
        if not needs:
            return None
        names = {name for need in needs for name in need}
        return {name: max(need.get(name, 0) for need in needs) for name in names}

    def _leave(self, quantum: int) -> None:
        super()._leave(quantum)
        self._free(quantum)

    def give_back(self, quanta: Iterable[int]) -> None:
        """Take back quanta that were handed out and not begun; see `Schedule.give_back`."""
        back = list(quanta)
        super().give_back(back)
        for quantum in back:
            self._free(quantum)

    def _free(self, quantum: int) -> None:
        grant = self._grants.pop(quantum, None)
        if grant is None:
            return
        grant.left -= 1
        if not grant.left:
            self._use.tokens.give(grant.need)
            self._look_again()

    def _look_again(self) -> None:
        self._ready.extendleft(reversed(self._held))
        self._held.clear()

    def wake(self, now: float) -> float | None:
        """Make ready what was postponed until now; see `Schedule.wake`."""
        due = super().wake(now)
        if not self._held or not self._use.tokens.shared or self.stopped:
            return due
        self._look_again()
        return now + _LOOK if due is None else min(due, now + _LOOK)

    def cancel(self) -> int:
        """Give up on what has not finished; see `Schedule.cancel`."""
        for quantum in list(self._grants):
            self._free(quantum)
        self._held.clear()
        return super().cancel()

    @property
    def n_ready(self) -> int:
        """How many could be taken, if there were tokens for all."""
        return 0 if self.stopped else super().n_ready + len(self._held)

    @property
    def n_postponed(self) -> int:
        """How many are to be looked at again later."""
        waiting = len(self._held) if self._use.tokens.shared else 0
        return super().n_postponed + waiting
